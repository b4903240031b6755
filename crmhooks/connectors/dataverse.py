"""Microsoft Dynamics 365 by Dataverse's Web API, as an application user (client credentials).

Numbers are stored there as they were typed, so contacts, accounts and leads are asked for the usual spellings of one. A
call is a `phonecall` whose primary key is made from the call's id, so that a second one is refused; the id itself is in
`external_id_field` (`subcategory`). Nothing can be changed once it is completed: the summary goes first.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from crmhooks.connector import CrmActivity, CrmRecord, NewContact, Refused, Unreachable
from crmhooks.connectors.common import Account, Found, Tools, having, iso, needed, rows, seconds, text
from crmhooks.connectors.oauth import Authorised, Tokens, client_credentials
from crmhooks.connectors.site import Answer, Denied, Pace, Site
from crmhooks.numbers import Number, spellings
from pbxcore.control import ContactEntry
from pbxcore.settings import CrmConnector as Settings

VERSION = "v9.2"
LOGIN = "https://login.microsoftonline.com"
OURS = uuid.UUID("2d0a4f6e-6f0b-4b83-9b56-5b0f4a4d7c11")     # namespace of the keys of our phonecalls
MARK = "hookline:"
SETS = {"contact": "contacts", "account": "accounts", "lead": "leads"}
NAMES = {"contact": "fullname", "account": "name", "lead": "fullname"}
NUMBERS = {
    "contact": ("telephone1", "telephone2", "mobilephone"),
    "account": ("telephone1", "telephone2", "telephone3"),
    "lead": ("telephone1", "telephone2", "telephone3", "mobilephone"),
}
MORE = {"contact": ("emailaddress1", "description", "_parentcustomerid_value"), "account": ("description",),
        "lead": ("companyname", "description")}  # fmt: skip
SHOWN = "@OData.Community.Display.V1.FormattedValue"
PAGE = 500
LONGEST_DESCRIPTION = 2000
LONGEST_TEXT = 200
OPEN, COMPLETED = 0, 1
MADE, RECEIVED = 2, 4            # statuscode of a completed call
NO_CONTENT = 204
SENDER, TO = 1, 2                # participationtypemask
RATE, BURST = 20.0, 40           # requests a second: 6,000 in five minutes are allowed
HEADERS = {"odata-version": "4.0", "odata-maxversion": "4.0", "if-none-match": "null"}


class Dataverse(Account):
    """One organisation. Implements `connector.CrmConnector`."""

    instructs = "description"

    def __init__(self, settings: Settings, tools: Tools) -> None:
        super().__init__(settings, tools)
        self._field = settings.external_id_field or "subcategory"
        root = settings.url.rstrip("/")
        site = Site(
            f"{root}/api/data/{VERSION}",
            tools.wall,
            headers=HEADERS,
            describe=_message,
            pace=Pace(RATE, BURST, tools.clock),
            timeout=tools.timeout,
            transport=tools.transport,
        )
        login = settings.tenant if settings.tenant.startswith("http") else f"{LOGIN}/{settings.tenant}"
        form = client_credentials(settings) | {"scope": f"{root}/.default"}
        self._site = Authorised(site, Tokens(site, f"{login.rstrip('/')}/oauth2/v2.0/token", form, tools.clock))

    async def _who_has(self, wanted: Number) -> Sequence[ContactEntry]:
        found = await asyncio.gather(*(self._having(entity, spellings(wanted)) for entity in SETS))
        return having(self.name, wanted, self._country, [one for of_entity in found for one in of_entity])

    async def create_contact(self, contact: NewContact) -> str:
        fields = {"lastname": contact.name, "mobilephone": contact.number, **self._owner(contact.agent)}
        headers = {"mscrm.suppressduplicatedetection": "false", "prefer": "return=representation"}
        try:
            answer = await self._site.ask("POST", "contacts", json=fields, headers=headers)
        except Denied as error:
            known = await self.lookup(contact.number) if error.status == 412 else ()
            if len(known) != 1:
                raise
            return known[0].id.removeprefix(f"{self.name}:")
        return f"contact/{needed(answer.body, 'contactid')}"

    async def find_activity(self, external_id: str) -> Sequence[CrmRecord]:
        found = await self._calls(f"{self._field} eq {_quoted(MARK + external_id)}")
        return [record for record in found if record.external_id == external_id]

    async def open_activity(self, activity: CrmActivity) -> str:
        key = str(uuid.uuid5(OURS, activity.external_id))
        fields = self._fields(activity) | {"activityid": key, self._field: MARK + activity.external_id}
        if parties := self._parties(activity):
            fields["phonecall_activity_parties"] = parties
        try:
            answer = await self._site.ask("POST", "phonecalls", json=fields)
        except Denied as error:
            if error.status != 412:     # there is one with this key
                raise
            return key
        if key not in answer.headers.get("odata-entityid", ""):
            raise Unreachable("it did not say that it made the record")
        return key

    async def update_activity(self, record_id: str, activity: CrmActivity) -> None:
        await self._change(record_id, self._fields(activity))

    async def complete_activity(self, record_id: str, activity: CrmActivity) -> None:
        fields = self._fields(activity)
        try:
            await self._change(record_id, fields)
        except Denied as error:
            if error.status == 404 or not await self._says(record_id, fields["description"]):
                raise
            return
        status = MADE if activity.direction == "outbound" else RECEIVED
        await self._change(record_id, {"statecode": COMPLETED, "statuscode": status})

    async def remove_activity(self, record_id: str) -> None:
        try:
            _done(await self._site.ask("DELETE", f"phonecalls({record_id})"))
        except Denied as error:
            if error.status != 404:
                raise

    async def activities(self, since: float, until: float) -> Sequence[CrmRecord]:
        # Times are kept by the second.
        span = f"actualstart ge {iso(since)} and actualstart lt {iso(until)}"
        return await self._calls(f"{span} and startswith({self._field},{_quoted(MARK)})")

    async def close(self) -> None:
        await self._site.close()

    async def _having(self, entity: str, numbers: Sequence[str]) -> list[Found]:
        fields = NUMBERS[entity]
        terms = [f"{name} eq {_quoted(number)}" for name in fields for number in numbers]
        select = (f"{entity}id", NAMES[entity], *fields, *MORE[entity], "_ownerid_value")
        params = {"$select": ",".join(select), "$filter": " or ".join(terms), "$top": "50"}
        headers = {"prefer": f'odata.include-annotations="{SHOWN[1:]}"'}
        answer = await self._site.ask("GET", SETS[entity], params=params, headers=headers)
        return [
            Found(
                f"{entity}/{text(row, f'{entity}id')}",
                text(row, NAMES[entity]),
                tuple(text(row, name) for name in fields),
                company=text(row, "companyname") or text(row, f"_parentcustomerid_value{SHOWN}"),
                email=text(row, "emailaddress1"),
                owner=self._users.extension_of(row.get("_ownerid_value")),
                instructions=text(row, "description"),
            )
            for row in rows(answer.body, "value")
        ]

    async def _calls(self, where: str) -> list[CrmRecord]:
        """All pages, the oldest first."""
        select = f"activityid,actualstart,statecode,{self._field}"
        params = {"$select": select, "$filter": where, "$orderby": "createdon asc"}
        headers = {"prefer": f"odata.maxpagesize={PAGE}"}
        answer = await self._site.ask("GET", "phonecalls", params=params, headers=headers)
        found = [self._record(row) for row in rows(answer.body, "value")]
        while following := text(answer.body, "@odata.nextLink"):
            if not following.startswith(self._site.site.base + "/"):    # our token is for nobody else
                raise Unreachable("its next page is at another address: is the url right?")
            answer = await self._site.ask("GET", following, headers=headers)
            found += [self._record(row) for row in rows(answer.body, "value")]
        return found

    def _record(self, row: Mapping[str, Any]) -> CrmRecord:
        mark = text(row, self._field)
        external_id = mark.removeprefix(MARK) if mark.startswith(MARK) else ""
        completed = row.get("statecode") != OPEN
        return CrmRecord(needed(row, "activityid"), external_id, seconds(row.get("actualstart")), completed)

    async def _change(self, record_id: str, fields: Mapping[str, Any]) -> None:
        """If-Match: a record that is gone must not be made anew by this."""
        _done(await self._site.ask("PATCH", f"phonecalls({record_id})", json=fields, headers={"if-match": "*"}))

    async def _says(self, record_id: str, description: str) -> bool:
        """Whether it is completed, with this summary: an earlier try went through after all."""
        answer = await self._site.ask("GET", f"phonecalls({record_id})", params={"$select": "statecode,description"})
        row = answer.body if isinstance(answer.body, dict) else {}
        return row.get("statecode") == COMPLETED and text(row, "description") == description

    def _fields(self, activity: CrmActivity) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "subject": activity.subject[:LONGEST_TEXT],
            "phonenumber": activity.number[:LONGEST_TEXT],
            "directioncode": activity.direction == "outbound",
            "actualstart": iso(activity.started_at),
            **self._owner(activity.agent),
        }
        if activity.ended_at is not None:
            fields["actualend"] = iso(activity.ended_at)
            fields["actualdurationminutes"] = -(-activity.seconds // 60)
        if activity.summary:
            fields["description"] = activity.summary[:LONGEST_DESCRIPTION]
        if activity.contact_id is not None:
            entity, _, key = activity.contact_id.partition("/")
            fields[f"regardingobjectid_{entity}_phonecall@odata.bind"] = f"/{SETS.get(entity, entity)}({key})"
        return fields

    def _owner(self, extension: str | None) -> dict[str, str]:
        user = self._users.id_of(extension)
        return {} if user is None else {"ownerid@odata.bind": f"/systemusers({user})"}

    def _parties(self, activity: CrmActivity) -> list[dict[str, Any]]:
        """Who called whom."""
        user, outbound = self._users.id_of(activity.agent), activity.direction == "outbound"
        parties: list[dict[str, Any]] = []
        if user is not None:
            mask = SENDER if outbound else TO
            parties.append({"partyid_systemuser@odata.bind": f"/systemusers({user})", "participationtypemask": mask})
        if activity.contact_id is not None:
            entity, _, key = activity.contact_id.partition("/")
            whom = f"/{SETS.get(entity, entity)}({key})"
            mask = TO if outbound else SENDER
            parties.append({f"partyid_{entity}@odata.bind": whom, "participationtypemask": mask})
        return parties


def _done(answer: Answer) -> None:
    """An answer that is none of its own, such as the second half of an earlier one, is not taken for a yes."""
    if answer.status != NO_CONTENT:
        raise Unreachable(f"answered {answer.status} where 204 says that it was done")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _message(body: Any) -> str:
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, dict):
        return f"{text(error, 'message')} ({text(error, 'code')})"
    return text(body, "error_description") if isinstance(body, dict) else ""


def make(settings: Settings, tools: Tools) -> Dataverse:
    """The connector of a settings section. Raises Refused for one that cannot work."""
    if not settings.client_secret.get_secret_value():
        raise Refused("client_secret is missing")
    return Dataverse(settings, tools)
