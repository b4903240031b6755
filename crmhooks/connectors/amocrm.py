"""amoCRM and Kommo by their API v4, with a long-lived token or with OAuth 2 (one-time refresh tokens).

A call is a note (`call_in`, `call_out`) of the contact or company, with the call's id as `uniq`. `POST /api/v4/calls`
does not serve: it gives no note that could be changed later, and drops the call of a number that nobody has. Notes can
be searched by nothing but their type and time, so a call is looked for among those of the last days; they cannot be
deleted or moved either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from crmhooks.connector import CrmActivity, CrmRecord, NewContact, Refused, TryAgain, Unreachable
from crmhooks.connectors.common import Account, Found, Tools, having, needed, rows, text
from crmhooks.connectors.oauth import Authorised
from crmhooks.connectors.rotating import RotatingTokens
from crmhooks.connectors.site import Answer, Denied, Pace, Site, Unauthorised
from crmhooks.numbers import Number
from pbxcore.control import ContactEntry
from pbxcore.settings import CrmConnector as Settings

KINDS = ("contacts", "companies")
INCOMING, OUTGOING = "call_in", "call_out"
UNKNOWN = "Unknown callers"      # the contact that has the calls of nobody known
SOURCE = "Hookline"
TALKED, NOT_REACHED, BUSY = 4, 6, 7      # call_status
RATE, BURST = 6.0, 6             # requests a second: who asks for more than 7 is throttled (429), then shut out (403)
REST = 3.0                       # seconds after a 429 that does not say
LOOKED_BACK = 8 * 86_400.0       # seconds: a day more than what waits in the outbox is tried for
PAGE = 250
HITS = 50
NO_CONTENT = 204                 # for an empty list
LONGEST_RESULT = 10_000
TAKEN_BACK = "Taken back: it is a part of another call."
SHUT_OUT = frozenset((402, 403))


class AmoCrm(Account):
    """One account. Implements `connector.CrmConnector`."""

    def __init__(self, settings: Settings, tools: Tools) -> None:
        super().__init__(settings, tools)
        self._wall: Callable[[], float] = tools.wall
        self._unknown = ""
        self._lock = asyncio.Lock()
        self._site = _site(settings, tools, self.name)

    async def _who_has(self, wanted: Number) -> Sequence[ContactEntry]:
        found = await asyncio.gather(*(self._having(kind, wanted.national) for kind in KINDS))
        return having(self.name, wanted, self._country, [one for of_kind in found for one in of_kind])

    async def create_contact(self, contact: NewContact) -> str:
        phone = {"field_code": "PHONE", "values": [{"value": contact.number, "enum_code": "WORK"}]}
        made = await self._make({"name": contact.name, "custom_fields_values": [phone], **self._owner(contact.agent)})
        return f"contacts/{made}"

    async def find_activity(self, external_id: str) -> Sequence[CrmRecord]:
        found = await self._notes(self._wall() - LOOKED_BACK)
        return [record for record in found if record.external_id == external_id]

    async def open_activity(self, activity: CrmActivity) -> str:
        kind, _, own = (activity.contact_id or f"contacts/{await self._nobody()}").partition("/")
        if kind not in KINDS:
            raise Refused(f"there are no {kind} that a call can belong to")
        note = {
            "entity_id": _number(own),
            "note_type": OUTGOING if activity.direction == "outbound" else INCOMING,
            "created_at": round(activity.started_at),
            "params": self._params(activity),
            **self._owner(activity.agent),
        }
        answer = await self._ask("POST", f"{kind}/notes", json=[note])
        made = _rows(answer, "notes")
        if len(made) != 1:
            raise Unreachable("it did not say that it made the record")
        return f"{kind}/{own}/{needed(made[0], 'id')}"

    async def update_activity(self, record_id: str, activity: CrmActivity) -> None:
        has = await self._ours(record_id, activity.external_id)
        params = self._params(activity)
        if not activity.summary and has.get("call_result"):
            params["call_result"] = has["call_result"]     # somebody has written it there
        await self._change(record_id, {"params": params, **self._owner(activity.agent)})

    async def complete_activity(self, record_id: str, activity: CrmActivity) -> None:
        await self._ours(record_id, activity.external_id)
        await self._change(record_id, {"params": self._params(activity), **self._owner(activity.agent)})

    async def remove_activity(self, record_id: str) -> None:
        try:
            has = (await self._note(record_id)).get("params") or {}
            if has.get("uniq"):
                await self._change(record_id, {"params": {**has, "uniq": "", "call_result": TAKEN_BACK}})
        except Denied as error:
            if error.status != 404:
                raise

    async def activities(self, since: float, until: float) -> Sequence[CrmRecord]:
        # A note is not changed before it is made, so none of the span is missed.
        return [record for record in await self._notes(since) if since <= record.started_at < until]

    async def close(self) -> None:
        await self._site.close()

    async def _ask(self, method: str, path: str, **more: Any) -> Answer:
        """Some refusals speak of us, not of this one thing: too many questions, no licence, no rights."""
        try:
            return await self._site.ask(method, path, **more)
        except TryAgain as error:
            throttled = error.after is None and str(error).startswith("answered 429")
            raise TryAgain(str(error), REST if throttled else error.after) from None
        except Denied as error:
            if error.status in SHUT_OUT:
                raise Unauthorised(str(error)) from None
            raise

    async def _having(self, kind: str, digits: str) -> list[Found]:
        answer = await self._ask("GET", kind, params={"query": digits, "limit": str(HITS)})
        return [
            Found(
                f"{kind}/{text(row, 'id')}",
                text(row, "name"),
                tuple(_values(row, "PHONE")),
                email=next(iter(_values(row, "EMAIL")), ""),
                owner=self._users.extension_of(text(row, "responsible_user_id")),
                tags=tuple(text(tag, "name") for tag in _embedded(row, "tags")),
            )
            for row in _rows(answer, kind)
        ]

    async def _notes(self, since: float) -> list[CrmRecord]:
        """Those of ours that were made or changed since then, the oldest first."""
        found: list[tuple[int, CrmRecord]] = []
        for kind in KINDS:
            page, more = 1, True
            while more:
                asked = {
                    "filter[note_type][0]": INCOMING,
                    "filter[note_type][1]": OUTGOING,
                    "filter[updated_at][from]": str(max(0, int(since))),
                    "order[id]": "asc",
                    "limit": str(PAGE),
                    "page": str(page),
                }
                answer = await self._ask("GET", f"{kind}/notes", params=asked)
                for row in _rows(answer, "notes"):
                    params = row.get("params")
                    if isinstance(params, dict) and params.get("source") == SOURCE and params.get("uniq"):
                        found.append((_number(row.get("id")), _record(kind, row, params)))
                links = answer.body.get("_links") if isinstance(answer.body, dict) else None
                more, page = isinstance(links, dict) and "next" in links, page + 1
        return [record for _, record in sorted(found, key=lambda one: one[0])]

    async def _note(self, record_id: str) -> Mapping[str, Any]:
        kind, own, note = _parts(record_id)
        answer = await self._ask("GET", f"{kind}/{own}/notes/{note}")
        if needed(answer.body, "id") != note:
            raise Unreachable("answered about another record")
        row: Mapping[str, Any] = answer.body
        return row

    async def _ours(self, record_id: str, external_id: str) -> Mapping[str, Any]:
        """Its parameters. Raises Refused for one that was taken back."""
        params = (await self._note(record_id)).get("params")
        if not isinstance(params, dict) or params.get("uniq") != external_id:
            raise Refused("the note is not that of this call any more")
        return params

    async def _change(self, record_id: str, fields: Mapping[str, Any]) -> None:
        kind, own, note = _parts(record_id)
        answer = await self._ask("PATCH", f"{kind}/notes/{note}", json={"entity_id": _number(own), **fields})
        if needed(answer.body, "id") != note:
            raise Unreachable("answered about another record")

    async def _make(self, contact: Mapping[str, Any]) -> str:
        made = _rows(await self._ask("POST", "contacts", json=[contact]), "contacts")
        if len(made) != 1:
            raise Unreachable("it did not say that it made the contact")
        return needed(made[0], "id")

    async def _nobody(self) -> str:
        """The contact for calls of nobody known; made once."""
        async with self._lock:
            if not self._unknown:
                answer = await self._ask("GET", "contacts", params={"filter[name][0]": UNKNOWN, "order[id]": "asc"})
                named = [row for row in _rows(answer, "contacts") if text(row, "name") == UNKNOWN]
                self._unknown = needed(named[0], "id") if named else await self._make({"name": UNKNOWN})
            return self._unknown

    def _params(self, activity: CrmActivity) -> dict[str, Any]:
        params: dict[str, Any] = {
            "uniq": activity.external_id,
            "duration": activity.seconds,
            "source": SOURCE,
            "phone": activity.number,
        }
        user = self._users.id_of(activity.agent)
        if user is not None:
            params["call_responsible"] = _number(user)
        if activity.ended_at is not None:
            missed = BUSY if activity.disposition == "busy" else NOT_REACHED
            params["call_status"] = missed if activity.answered_at is None else TALKED
        if activity.summary:
            params["call_result"] = activity.summary[:LONGEST_RESULT]
        return params

    def _owner(self, extension: str | None) -> dict[str, int]:
        user = self._users.id_of(extension)
        return {} if user is None else {"responsible_user_id": _number(user)}


def _record(kind: str, row: Mapping[str, Any], params: Mapping[str, Any]) -> CrmRecord:
    record_id = f"{kind}/{needed(row, 'entity_id')}/{needed(row, 'id')}"
    completed = bool(params.get("call_result"))
    return CrmRecord(record_id, text(params, "uniq"), float(_number(row.get("created_at"))), completed)


def _rows(answer: Answer, key: str) -> list[Mapping[str, Any]]:
    if answer.status == NO_CONTENT:
        return []
    return rows(answer.body.get("_embedded") if isinstance(answer.body, dict) else None, key)


def _embedded(row: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    embedded = row.get("_embedded")
    return rows(embedded, key) if isinstance(embedded, dict) and isinstance(embedded.get(key), list) else []


def _values(row: Mapping[str, Any], code: str) -> list[str]:
    """Of a field with several values."""
    fields = row.get("custom_fields_values")
    return [
        text(value, "value")
        for field in (fields if isinstance(fields, list) else [])
        if isinstance(field, dict) and field.get("field_code") == code
        for value in rows(field, "values")
    ]


def _parts(record_id: str) -> tuple[str, str, str]:
    kind, _, rest = record_id.partition("/")
    own, _, note = rest.partition("/")
    if kind not in KINDS or not note:
        raise Refused(f"{record_id} is not the id of a note")
    return kind, own, note


def _number(own: object) -> int:
    """Ids are whole numbers there. Raises Refused."""
    try:
        return int(str(own))
    except ValueError:
        raise Refused(f"{own!r} is no id: it gives whole numbers") from None


def _message(body: Any) -> str:
    if not isinstance(body, dict):
        return ""
    faults = body.get("validation-errors")
    errors = [error for fault in faults for error in rows(fault, "errors")] if isinstance(faults, list) else []
    words = text(body, "detail") or text(body, "hint") or text(body, "title")
    return "; ".join([words, *(f"{text(error, 'path')}: {text(error, 'detail')}" for error in errors)])


def _site(settings: Settings, tools: Tools, name: str) -> Site | Authorised:
    root, key = settings.url.rstrip("/"), settings.api_key.get_secret_value()
    headers = {} if settings.client_id else {"authorization": f"Bearer {key}"}
    site = Site(
        f"{root}/api/v4",
        tools.wall,
        headers=headers,
        describe=_message,
        pace=Pace(RATE, BURST, tools.clock),
        timeout=tools.timeout,
        transport=tools.transport,
    )
    if not settings.client_id:
        return site
    form = {
        "client_id": settings.client_id,
        "client_secret": settings.client_secret.get_secret_value(),
        "redirect_uri": settings.redirect_uri,
    }
    file: Path | None = tools.beside and tools.beside.with_name(f"{tools.beside.name}-crm-{name}.token")
    url = f"{root}/oauth2/access_token"
    return Authorised(site, RotatingTokens(site, url, form, tools.clock, first=key, file=file))


def make(settings: Settings, tools: Tools) -> AmoCrm:
    """The connector of a settings section. Raises Refused for one that cannot work."""
    secret, uri = settings.client_secret.get_secret_value(), settings.redirect_uri
    if bool(settings.client_id) != bool(secret) or bool(settings.client_id) != bool(uri):
        raise Refused("client_id, client_secret and redirect_uri go together; a long-lived token needs none of them")
    return AmoCrm(settings, tools)
