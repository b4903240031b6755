"""Any CRM with a REST interface that a template describes (`pbxcore.settings_file.rest_template`)."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from crmhooks.connector import CrmActivity, CrmRecord, NewContact, Refused, Unreachable
from crmhooks.connectors.common import Account, Found, Tools, having, iso, seconds, utc
from crmhooks.connectors.site import Answer, Denied, Pace, Site
from crmhooks.numbers import Number, normalise, spellings
from pbxcore.control import ContactEntry
from pbxcore.settings import CrmConnector as Settings
from pbxcore.settings_file.rest_template import PLACEHOLDER, Ask, Template, TemplateError, read

Values = Mapping[str, Any]
GONE = frozenset((404, 410))
CONFLICT = 409
MOST_PAGES = 1000
MESSAGES = ("error_description", "message", "error.message", "detail", "title", "error", "errors.0.message")


class Rest(Account):
    """One CRM. Implements `connector.CrmConnector`."""

    instructs = "instructions"

    def __init__(self, settings: Settings, tools: Tools, template: Template) -> None:
        super().__init__(settings, tools)
        self.lag = template.lag
        self.parallel = template.parallel
        self._template = template
        user, password = settings.username, settings.password.get_secret_value()
        self._secrets = {
            "api_key": settings.api_key.get_secret_value(),
            "username": user,
            "password": password,
            "basic": base64.b64encode(f"{user}:{password}".encode()).decode(),
        }
        self._site = Site(
            settings.url,
            tools.wall,
            headers=_texts(template.headers, self._secrets),
            describe=_message,
            pace=Pace(template.rate, max(1, round(template.rate)), tools.clock) if template.rate else None,
            timeout=tools.timeout,
            transport=tools.transport,
        )

    async def _who_has(self, wanted: Number) -> Sequence[ContactEntry]:
        ask = self._template.requests["lookup"]
        texts = spellings(wanted) if ask.each_spelling else (wanted.e164,)
        found = await asyncio.gather(*(self._rows(ask, _number(text, wanted)) for text in texts))
        return having(self.name, wanted, self._country, [self._found(row) for rows in found for row in rows])

    async def create_contact(self, contact: NewContact) -> str:
        known = _number(contact.number, normalise(contact.number, self._country))
        known |= {"name": contact.name, "user": self._users.id_of(contact.agent)}
        ask = self._template.requests["create"]
        return _id(await self._ask(ask, known), ask.confirms)

    async def find_activity(self, external_id: str) -> Sequence[CrmRecord]:
        rows = await self._rows(self._template.requests["find"], {"external_id": external_id})
        found = [self._record(row) for row in rows]
        return [record for record in found if record.external_id == external_id]

    async def open_activity(self, activity: CrmActivity) -> str:
        ask = self._template.requests["open"]
        try:
            return _id(await self._ask(ask, self._call(activity)), ask.confirms)
        except Denied as error:
            found = await self.find_activity(activity.external_id) if error.status == CONFLICT else ()
            if not found:
                raise
            return found[0].record_id

    async def update_activity(self, record_id: str, activity: CrmActivity) -> None:
        ask = self._template.requests.get("update")
        if ask is not None:      # else it hears of everything when it is completed
            await self._do(ask, self._call(activity) | {"record_id": record_id})

    async def complete_activity(self, record_id: str, activity: CrmActivity) -> None:
        for ask in self._template.complete:
            await self._do(ask, self._call(activity) | {"record_id": record_id})

    async def remove_activity(self, record_id: str) -> None:
        ask = self._template.requests.get("remove")
        if ask is None:
            raise Refused("its template says not how to take a record back: it has no [remove]")
        try:
            await self._do(ask, {"record_id": record_id})
        except Denied as error:
            if error.status not in GONE:
                raise

    async def activities(self, since: float, until: float) -> Sequence[CrmRecord]:
        asked = {"since": self._time(since), "until": self._time(until)}
        rows = await self._rows(self._template.requests["list"], asked, thorough=True)
        found = [self._record(row) for row in rows]
        return [record for record in found if record.external_id and since <= record.started_at < until]

    async def close(self) -> None:
        await self._site.close()

    async def _ask(self, ask: Ask, known: Values, *, question: bool | None = None) -> Answer:
        return await self._site.ask(
            ask.method,
            _filled(ask.path, known, lambda text: quote(text, safe="")),
            params=_texts(ask.params, known) or None,
            headers=_texts(ask.headers, {**known, **self._secrets}),
            json=_body(ask.body, known),
            form=_texts(ask.form, known) if ask.form is not None else None,
            question=question,
        )

    async def _do(self, ask: Ask, known: Values) -> None:
        answer = await self._ask(ask, known)
        if ask.confirms and not _all(answer.body, ask.confirms):
            raise Unreachable(f'its answer has no "{ask.confirms}": was it done?')

    async def _rows(self, ask: Ask, known: Values, *, thorough: bool = False) -> list[Any]:
        """All pages of it. The last one is shorter, or, as some CRMs give less than one asks for, empty."""
        found: list[Any] = []
        for place in range(MOST_PAGES):
            pages = {"page": ask.first_page + place, "offset": len(found), "size": ask.size}
            answer = await self._ask(ask, {**known, **pages}, question=True)
            page = _items(answer.body, ask.items)
            found += page
            if not ask.size or not page or (len(page) < ask.size and not thorough):
                return found
        raise Unreachable(f"gave {MOST_PAGES} pages and no end: does it look at {{page}} or {{offset}}?")

    def _found(self, row: Any) -> Found:
        paths = self._template.contact
        return Found(
            " ".join(_read(row, paths["id"])),
            " ".join(_read(row, paths["name"])),
            tuple(_read(row, paths["numbers"])),
            company=" ".join(_read(row, paths.get("company", ()))),
            email=next(iter(_read(row, paths.get("email", ()))), ""),
            owner=self._users.extension_of(next(iter(_read(row, paths.get("owner", ()))), "")),
            tags=tuple(_read(row, paths.get("tags", ()))),
            instructions="\n".join(_read(row, paths.get("instructions", ()))),
        )

    def _record(self, row: Any) -> CrmRecord:
        paths = self._template.record
        said = _read(row, paths["completed"])
        when = paths.get("completed_when", ("true", "True", "1"))
        at = next(iter(_all(row, paths["started_at"][0])), None)
        return CrmRecord(
            _id_of(row, paths["id"]), " ".join(_read(row, paths["external_id"])), self._moment(at),
            any(word in when for word in said),
        )  # fmt: skip

    def _call(self, activity: CrmActivity) -> dict[str, Any]:
        words = self._template.words
        ended, answered = activity.ended_at, activity.answered_at
        return _number(activity.number, normalise(activity.number, self._country)) | {
            "external_id": activity.external_id,
            "direction": words.get("direction", {}).get(activity.direction, activity.direction),
            "subject": activity.subject,
            "contact_id": activity.contact_id,
            "user": self._users.id_of(activity.agent),
            "agent": activity.agent,
            "started_at": self._time(activity.started_at),
            "answered_at": None if answered is None else self._time(answered),
            "ended_at": None if ended is None else self._time(ended),
            "seconds": activity.seconds,
            "minutes": -(-activity.seconds // 60),
            "disposition": words.get("disposition", {}).get(activity.disposition, activity.disposition),
            "summary": activity.summary or None,
        }

    def _time(self, at: float) -> str | int:
        match self._template.times:
            case "unix":
                return int(at)
            case "milliseconds":
                return int(at * 1000)
            case "utc":
                return utc(at)
        return iso(at)

    def _moment(self, said: object) -> float:
        if isinstance(said, int | float):
            return said / 1000 if self._template.times == "milliseconds" else float(said)
        return seconds(said)


def _number(text: str, number: Number | None) -> dict[str, Any]:
    digits = text if number is None else number.e164[1:]
    return {"number": text, "digits": digits, "national": text if number is None else number.national}


def _filled(text: str, known: Values, spelled: Callable[[str], str] = lambda text: text) -> str:
    """What is not known becomes nothing."""
    return PLACEHOLDER.sub(lambda found: spelled(_text(known.get(found[1]))), text)


def _texts(fields: Mapping[str, Any], known: Values) -> dict[str, str]:
    return {name: _filled(text, known) if isinstance(text, str) else _text(text) for name, text in fields.items()}


def _body(body: Any, known: Values) -> Any:
    """A text that is nothing but a placeholder becomes its value, number or text; without a value its field is left
    out."""
    if isinstance(body, str):
        alone = PLACEHOLDER.fullmatch(body)
        return known.get(alone[1]) if alone else _filled(body, known)
    if isinstance(body, dict):
        made = {name: _body(value, known) for name, value in body.items()}
        return {name: value for name, value in made.items() if value is not None}
    if isinstance(body, list):
        return [value for value in (_body(one, known) for one in body) if value is not None]
    return body


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else ""


def _all(value: Any, path: str) -> list[Any]:
    """Whatever is at the path, none of it None."""
    found = [value]
    for part in path.split("."):
        step: list[Any] = []
        for one in found:
            if part == "*":
                step += one if isinstance(one, list) else one.values() if isinstance(one, dict) else ()
            elif isinstance(one, dict) and part in one:
                step.append(one[part])
            elif isinstance(one, list) and part.isdigit() and int(part) < len(one):
                step.append(one[int(part)])
        found = step
    return [one for one in found if one is not None]


def _read(row: Any, paths: Sequence[str]) -> list[str]:
    said = (_text(value) for path in paths for value in _all(row, path))
    return [text for text in said if text]


def _items(body: Any, path: str) -> list[Any]:
    found = next(iter(_all(body, path)), None) if path else body
    if not isinstance(found, list):
        raise Unreachable(f'its answer has no list "{path}": is the url right?' if path else "its answer is no list")
    return found


def _id(answer: Answer, path: str) -> str:
    return _id_of(answer.body, (path,))


def _id_of(row: Any, paths: Sequence[str]) -> str:
    found = _read(row, paths)
    if not found:
        raise Unreachable(f'its answer has no "{paths[0]}": is the url right?')
    return found[0]


def _message(body: Any) -> str:
    return next((text for text in _read(body, MESSAGES)), "")


def make(settings: Settings, tools: Tools) -> Rest:
    """The connector of a settings section. Raises Refused for one that cannot work."""
    try:
        return Rest(settings, tools, read(settings.template))
    except TemplateError as error:
        raise Refused(str(error)) from None
