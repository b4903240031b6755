"""A CRM by its 3CX server-side template (`pbxcore.settings_file.threecx_template`), read as it is.

Numbers are looked up by the scenarios without an Id, somebody new is made by `CreateContactRecordFromClient` (or
`CreateContactRecord`), a call that is over is told by `ReportCall`. As 3CX tells each call but once and without an id,
so it is here, with two more ways for the receiver to know a call that is told twice: the variable [CallId], and the
header Idempotency-Key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parseaddr
from urllib.parse import quote, unquote

from crmhooks.connector import Ability, CrmActivity, NewContact, Refused, Unreachable
from crmhooks.connectors.common import Found, Receiver, Tools, having
from crmhooks.connectors.threecx_engine import Engine
from crmhooks.numbers import Number, normalise
from pbxcore.control import ContactEntry
from pbxcore.settings import CrmConnector as Settings
from pbxcore.settings_file.rest_template import TemplateError
from pbxcore.settings_file.threecx_methods import Value
from pbxcore.settings_file.threecx_template import CREATING, LOOKUP, REPORT, Template, read

PREFIXES = {"AsIs": "+", "Plus": "+", "Off": "", "Zeros": "00"}
BY_URL = "@"         # what the id of a contact begins with that has an address in the CRM and no id
EMPTY = ("QueueExtension", "RecordingUrl", "RecordingHyperLink", "Transcription", "Sentiment")   # we have none of these
LINE = "\n"


class ThreeCx(Receiver):
    """One CRM. Implements `connector.CrmConnector`."""

    def __init__(self, settings: Settings, tools: Tools, template: Template) -> None:
        super().__init__(settings, tools)
        self.parallel = max(1, template.parallel)
        self._template = template
        self._zone = tools.zone
        self._engine = Engine(template, tools)
        self.can = frozenset(self._abilities())

    def _abilities(self) -> list[Ability]:
        """What the template has scenarios for, and its parameters do not switch off."""
        found: list[Ability] = ["lookup"] if self._template.all(LOOKUP) else []
        creating = self._template.first(*CREATING)
        if creating is not None and not self._engine.skips(creating, {"CallDirection": "Inbound"}):
            found.append("create")
        return found

    async def _who_has(self, wanted: Number) -> Sequence[ContactEntry]:
        found: dict[str, Found] = {}
        values = self._number(wanted) | {"CallDirection": "Inbound"}
        for scenario in self._template.all(LOOKUP):
            for end in await self._engine.run(scenario, {**values, "FoundRecordCount": float(len(found))}):
                contact = _contact(end.outputs)
                if contact.contact_id:
                    found[contact.contact_id] = contact
        return having(self.name, wanted, self._country, found.values())

    async def create_contact(self, contact: NewContact) -> str:
        scenario = self._template.first(*CREATING)
        number = normalise(contact.number, self._country)
        if scenario is None or number is None:
            raise Refused("its template has no scenario that makes a contact")
        first, _, last = contact.name.rpartition(" ")
        values = self._number(number) | self._agent(contact.agent)
        values |= {"FirstName": first, "LastName": last, "Name": contact.name, "CallDirection": "Inbound"}
        for end in await self._engine.run(scenario, values):
            made = _contact(end.outputs).contact_id
            if made:
                return made
        raise Unreachable(f'its answer to <Scenario Id="{scenario.id}"> has neither EntityId nor ContactUrl')

    async def open_activity(self, activity: CrmActivity) -> str:
        """Tell of a call that is over. Empty where the template skips it, or has no scenario for it."""
        scenario = self._template.first(REPORT)
        if scenario is None:
            return ""
        key = {"idempotency-key": quote(activity.external_id, safe="")}
        ends = await self._engine.run(scenario, self._call(activity), key)
        return activity.external_id if any(end.asked for end in ends) else ""

    async def close(self) -> None:
        await self._engine.close()

    def _number(self, number: Number) -> dict[str, Value]:
        digits = number.e164[1:]
        length = self._engine.say(self._template.length, {}).strip()
        if length.isascii() and length.isdigit() and 0 < int(length) < len(digits):
            return {"Number": digits[-int(length) :]}
        return {"Number": PREFIXES[self._template.prefix] + digits}

    def _agent(self, extension: str | None) -> dict[str, Value]:
        """Who `users` say he is: an e-mail address, with his name before it or not."""
        name, email = parseaddr(self._users.id_of(extension) or "")
        first, _, last = name.partition(" ")
        known = {"AgentEmail": email, "AgentFirstName": first, "AgentLastName": last}
        return {"Agent": extension or "", **known}

    def _call(self, activity: CrmActivity) -> dict[str, Value]:
        number = normalise(activity.number, self._country)
        kind, _, own = (activity.contact_id or "").partition("/")
        ended = activity.ended_at if activity.ended_at is not None else activity.started_at
        length = timedelta(seconds=activity.seconds)
        outbound, answered = activity.direction == "outbound", activity.answered_at is not None
        spoken = {(False, True): "Inbound", (False, False): "Missed", (True, True): "Outbound"}
        times: dict[str, Value] = {}
        for name, at in (("Start", activity.started_at), ("Established", activity.answered_at), ("End", ended)):
            for zone_name, zone in (("UTC", UTC), ("Local", self._zone)):
                times[f"Call{name}Time{zone_name}"] = "" if at is None else datetime.fromtimestamp(at, zone)
        return {
            **(self._number(number) if number is not None else {"Number": activity.number}),
            **self._agent(activity.agent),
            **times,
            **dict.fromkeys(EMPTY, ""),
            "CallId": activity.external_id,
            "CallType": spoken.get((outbound, answered), "Notanswered"),
            "CallDirection": "Outbound" if outbound else "Inbound",
            "Name": activity.name,
            "EntityId": "" if kind == BY_URL else own,
            "EntityType": "" if kind == BY_URL else unquote(kind),
            "ContactUrl": own if kind == BY_URL else "",
            "Duration": length,
            "DurationTimespan": length,
            "DateTime": datetime.fromtimestamp(activity.started_at, self._zone),
            "Summary": activity.summary,
            "LineBreak": LINE,
        }


def _contact(said: Mapping[str, str]) -> Found:
    own, url = said.get("EntityId", ""), said.get("ContactUrl", "")
    names = (said.get("FirstName", ""), said.get("LastName", ""))
    reference = f"{quote(said.get('EntityType', ''), safe='')}/{own}" if own else f"{BY_URL}/{url}" if url else ""
    return Found(
        reference,
        " ".join(name for name in names if name) or said.get("FullName", ""),
        tuple(text for kind, text in said.items() if kind.startswith(("Phone", "Mobile", "Fax")) and text),
        company=said.get("CompanyName", ""),
        email=said.get("Email", ""),
    )


def make(settings: Settings, tools: Tools) -> ThreeCx:
    """The connector of a settings section. Raises Refused for one that cannot work."""
    parameters = {name: value.get_secret_value() for name, value in settings.parameters.items()}
    try:
        return ThreeCx(settings, tools, read(settings.template, parameters))
    except TemplateError as error:
        raise Refused(str(error)) from None
