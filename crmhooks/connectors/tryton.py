"""Tryton 8 with the module `party`, by JSON-RPC, as a user who is an administrator: others may search notes only of
records that they name.

Numbers are looked up among the contact mechanisms of parties, whatever is written between their digits. Tryton's
standard modules have no calls, so a call is a note (`ir.note`) of the party, or of the connector's own user while
nobody knows whose call it was. Notes cannot be changed: a newer one takes the place of the older, so the record goes by
the call's id, which the last line of a note has with its start and state. `users` are names to be shown there.
"""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from os import path
from typing import Any

from crmhooks.connector import CrmActivity, CrmError, CrmRecord, NewContact, Refused, TryAgain, Unreachable
from crmhooks.connectors.common import Account, Found, Tools, having, iso, seconds, text
from crmhooks.connectors.site import Denied, Site, Unauthorised
from crmhooks.numbers import Number
from crmhooks.text import one_line
from pbxcore.control import ContactEntry
from pbxcore.settings import CrmConnector as Settings

MARK = "hookline:"
LAST_LINE = re.compile(rf"{MARK}(.+) (\S+) (open|completed)\Z")
PHONES = ["phone", "mobile"]
PAGE = 100
HITS = 50
LONGEST_SUMMARY = 30_000
FOR_GOOD = frozenset(("UserError", "UserWarning"))


class Tryton(Account):
    """One database. Implements `connector.CrmConnector`."""

    def __init__(self, settings: Settings, tools: Tools) -> None:
        super().__init__(settings, tools)
        self._login = settings.username
        self._password = settings.password.get_secret_value()
        self._site = Site(
            f"{settings.url.rstrip('/')}/{settings.database}", tools.wall, timeout=tools.timeout,
            transport=tools.transport,
        )  # fmt: skip
        self._user = 0
        self._session = ""
        self._lock = asyncio.Lock()
        self._asked = 0

    async def _who_has(self, wanted: Number) -> Sequence[ContactEntry]:
        ends = "%" + "%".join(wanted.national)
        having_it = [["type", "in", PHONES], ["value", "like", ends], ["party.active", "=", True]]
        hits = await self._search("party.contact_mechanism", having_it, ["party"], HITS)
        if not hits:
            return ()
        parties = sorted({hit["party"] for hit in hits if isinstance(hit.get("party"), int)})
        of_them = [["party", "in", parties], ["type", "in", [*PHONES, "email"]]]
        fields = ["type", "value", "party", "party.rec_name"]
        known: dict[int, list[Mapping[str, Any]]] = {party: [] for party in parties}
        for row in await self._search("party.contact_mechanism", of_them, fields, HITS * 20):
            known.setdefault(row.get("party", 0), []).append(row)
        return having(self.name, wanted, self._country, [_found(party, rows) for party, rows in known.items()])

    async def create_contact(self, contact: NewContact) -> str:
        number = {"type": "phone", "value": contact.number}
        party = {"name": contact.name, "contact_mechanisms": [["create", [number]]]}
        return str(_one_id(await self._call("model.party.party.create", [party])))

    async def find_activity(self, external_id: str) -> Sequence[CrmRecord]:
        return list((await self._notes_of(external_id)).values())[-1:]

    async def open_activity(self, activity: CrmActivity) -> str:
        await self._write(activity, completed=False)
        return activity.external_id

    async def update_activity(self, record_id: str, activity: CrmActivity) -> None:
        await self._replace(record_id, activity, completed=False)

    async def complete_activity(self, record_id: str, activity: CrmActivity) -> None:
        await self._replace(record_id, activity, completed=True)

    async def remove_activity(self, record_id: str) -> None:
        if found := await self._notes_of(record_id):
            await self._call("model.ir.note.delete", list(found))

    async def activities(self, since: float, until: float) -> Sequence[CrmRecord]:
        begins = path.commonprefix((iso(since), iso(until)))  # noqa: RUF071 - of texts
        found = (await self._notes(f"%{MARK}% {begins}%")).values()
        newest = {record.external_id: record for record in found}
        return [record for record in newest.values() if int(since) <= record.started_at < until]

    async def close(self) -> None:
        await self._site.close()

    async def _notes_of(self, external_id: str) -> dict[int, CrmRecord]:
        like = re.sub(r"([\\%_])", r"\\\1", external_id)
        found = await self._notes(f"%{MARK}{like} %")
        return {note: record for note, record in found.items() if record.external_id == external_id}

    async def _notes(self, like: str) -> dict[int, CrmRecord]:
        """All pages, the oldest first, by the ids of the notes."""
        found: dict[int, CrmRecord] = {}
        seen = 0
        while True:    # the next page is what comes after the last note, whatever was deleted meanwhile
            where = [["message", "like", like], ["id", ">", seen]]
            page = await self._search("ir.note", where, ["message"], PAGE)
            for row in page:
                seen = row["id"]
                last = LAST_LINE.search(text(row, "message"))
                if last is not None:
                    found[seen] = CrmRecord(last[1], last[1], seconds(last[2]), last[3] == "completed")
            if len(page) < PAGE:
                return found

    async def _replace(self, record_id: str, activity: CrmActivity, *, completed: bool) -> None:
        """The new note first: broken off in between, the call has two, of which the next try takes away both."""
        older = await self._notes_of(record_id)
        if not older:
            raise Refused("the note of this call is not there any more")
        await self._write(activity, completed=completed)
        await self._call("model.ir.note.delete", list(older))

    async def _write(self, activity: CrmActivity, *, completed: bool) -> None:
        _one_id(await self._call("model.ir.note.create", [await self._note(activity, completed=completed)]))

    async def _note(self, activity: CrmActivity, *, completed: bool) -> dict[str, str]:
        if activity.contact_id is None:
            await self._signed_in()       # it tells who we are
        user = self._users.id_of(activity.agent)
        told = [activity.direction, activity.number, *([user] if user else []), activity.disposition]
        if activity.ended_at is not None:
            told.append(f"{activity.seconds} s")
        start = iso(activity.started_at)
        state = "completed" if completed else "open"
        lines = [f"{activity.subject}\n{start}, {', '.join(told)}", activity.summary[:LONGEST_SUMMARY]]
        lines.append(f"{MARK}{activity.external_id} {start} {state}")
        whose = f"res.user,{self._user}" if activity.contact_id is None else f"party.party,{activity.contact_id}"
        return {"message": "\n\n".join(line for line in lines if line), "resource": whose}

    async def _search(self, model: str, domain: list[Any], fields: list[str], limit: int) -> list[dict[str, Any]]:
        """The oldest first. No call waits for notes, and what is done about them must not go by an answer that a kept
        connection still had: they are asked for on one of their own."""
        order = [["id", "ASC"]]
        question = model != "ir.note"
        method = f"model.{model}.search_read"
        found = await self._call(method, domain, 0, limit, order, fields, question=question)
        if not isinstance(found, list) or not all(isinstance(row, dict) and row.get("id") for row in found):
            raise Unreachable("its answer is no list of records: is the url right?")
        return found

    async def _call(self, method: str, *params: Any, question: bool = False) -> Any:
        """What it did not take for its session it has not done: it is asked again with a fresh one."""
        for last in (False, True):
            session = await self._signed_in()
            try:
                return await self._ask(method, [*params, {}], {"authorization": f"Session {session}"}, question)
            except Unauthorised:
                if session == self._session:      # another one may have been opened meanwhile
                    self._session = ""
                if last:
                    raise
        raise Unreachable("no session")

    async def _signed_in(self) -> str:
        async with self._lock:       # however many ask at once
            if not self._session:
                try:
                    made = await self._ask("common.db.login", [self._login, {"password": self._password}], {}, False)
                except Denied as error:
                    raise Unauthorised(f"opens no session: {error}") from None
                if not isinstance(made, list) or len(made) < 2 or not isinstance(made[0], int):
                    raise Unreachable("it did not say that it opened a session")
                self._user = made[0]
                self._session = b64encode(f"{self._login}:{made[0]}:{made[1]}".encode()).decode()
            return self._session

    async def _ask(self, method: str, params: list[Any], headers: dict[str, str], question: bool) -> Any:
        """The result. An answer that has another number is none to this question."""
        self._asked += 1
        asked = {"id": self._asked, "method": method, "params": params}
        body = (await self._site.ask("POST", "rpc/", json=asked, headers=headers, question=question)).body
        if not isinstance(body, dict) or body.get("id") != asked["id"] or not body.keys() & {"result", "error"}:
            raise Unreachable("its answer is none to what was asked: is the url right?")
        if body.get("error"):
            raise _fault(body["error"])
        return body.get("result")


def _fault(error: Any) -> CrmError:
    """`["UserError", ["what", "why", ...]]` for what it will not do, `[what, traceback]` for what went wrong there."""
    kind, more = (error[0], error[1]) if isinstance(error, list) and len(error) > 1 else (error, None)
    if kind in FOR_GOOD:
        said = more[:2] if isinstance(more, list) else [more]
        return Refused("does not do it: " + one_line(" ".join(str(part) for part in said if part)[:300]))
    return TryAgain("failed: " + one_line(str(kind)[:300]))


def _found(party: int, rows: list[Mapping[str, Any]]) -> Found:
    names = [row["party."] for row in rows if isinstance(row.get("party."), dict)]
    return Found(
        str(party),
        text(names[0], "rec_name") if names else "",
        tuple(text(row, "value") for row in rows if row.get("type") in PHONES),
        email=next((text(row, "value") for row in rows if row.get("type") == "email"), ""),
    )


def _one_id(made: Any) -> int:
    if not isinstance(made, list) or len(made) != 1 or not isinstance(made[0], int):
        raise Unreachable("it did not say which record it made")
    return made[0]


def make(settings: Settings, tools: Tools) -> Tryton:
    """The connector of a settings section. Raises Refused for one that cannot work."""
    if not settings.password.get_secret_value():
        raise Refused("password is missing")
    return Tryton(settings, tools)
