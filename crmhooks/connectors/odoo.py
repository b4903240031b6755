"""Odoo. With `api_key` alone by JSON-2 (Odoo 19 and later); with `database`, `username` and `password` by execute_kw,
for older ones.

Numbers are looked up in contacts by their usual spellings and compared by E.164. Where the module crm_phonecall is
installed a call is a `crm.phonecall`, else an activity of the type "phone call" at the contact: open until its summary
is written, which is its feedback. A done activity goes into the contact's messages, and is archived by newer versions
and deleted by older ones; so it is found in either by the last line of its note, which has the id of the call.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from html import unescape
from typing import Any

from crmhooks.connector import CrmActivity, CrmRecord, NewContact, Refused
from crmhooks.connectors.common import Account, Found, Tools, having, text
from crmhooks.connectors.odoo_records import Activities, Book, Phonecalls
from crmhooks.connectors.odoo_rpc import ExecuteKw, Json2, Rpc, created, found
from crmhooks.connectors.site import Unauthorised
from crmhooks.numbers import Number, spellings
from pbxcore.control import ContactEntry
from pbxcore.settings import CrmConnector as Settings

FIELDS = ("name", "phone", "mobile", "email", "parent_id", "user_id", "comment")
HITS = 50
_TAG = re.compile(r"<[^<>]*>")
_LINE_END = re.compile(r"<br\s*/?>|</(?:p|div|li)>", re.IGNORECASE)


class Odoo(Account):
    """One database. Implements `connector.CrmConnector`."""

    instructs = "comment"

    def __init__(self, settings: Settings, tools: Tools, rpc: Rpc) -> None:
        super().__init__(settings, tools)
        self._field = settings.external_id_field
        self._rpc = rpc
        self._partner: frozenset[str] = frozenset()     # names of a contact's fields, once asked
        self._book: Book | None = None
        self._lock = asyncio.Lock()

    async def _who_has(self, wanted: Number) -> Sequence[ContactEntry]:
        if not self._partner:
            self._partner = await fields_of(self._rpc, "res.partner")
        typed = spellings(wanted)
        if "phone_mobile_search" in self._partner:      # of phone_validation: it passes over blanks, dots and brackets
            digits = dict.fromkeys(one for one in typed if one.lstrip("+").isdigit())
            asked: list[Any] = [["phone_mobile_search", "=", one] for one in digits]
        else:
            asked = [[field, "in", list(typed)] for field in ("phone", "mobile") if field in self._partner]
        domain = [*["|"] * (len(asked) - 1), *asked]
        shown = [field for field in FIELDS if field in self._partner]
        named = {"domain": domain, "fields": shown, "limit": HITS}
        rows = found(await self._rpc.call("res.partner", "search_read", named, waiting=True))
        return having(self.name, wanted, self._country, map(self._found, rows))

    async def create_contact(self, contact: NewContact) -> str:
        fields: dict[str, Any] = {"name": contact.name, "phone": contact.number}
        if (owner := self._users.id_of(contact.agent)) is not None:
            fields["user_id"] = int(owner)
        return str(created(await self._rpc.call("res.partner", "create", {"vals_list": [fields]})))

    async def find_activity(self, external_id: str) -> Sequence[CrmRecord]:
        return await (await self._records()).find(external_id)

    async def open_activity(self, activity: CrmActivity) -> str:
        return await (await self._records()).open(activity)

    async def update_activity(self, record_id: str, activity: CrmActivity) -> None:
        await (await self._records()).update(record_id, activity)

    async def complete_activity(self, record_id: str, activity: CrmActivity) -> None:
        await (await self._records()).complete(record_id, activity)

    async def remove_activity(self, record_id: str) -> None:
        await (await self._records()).remove(record_id)

    async def activities(self, since: float, until: float) -> Sequence[CrmRecord]:
        return await (await self._records()).within(since, until)

    async def close(self) -> None:
        await self._rpc.close()

    async def _records(self) -> Book:
        """What calls are in this database: an office installs modules rarely, so it is asked once."""
        async with self._lock:
            if self._book is None:
                try:
                    has = await fields_of(self._rpc, "crm.phonecall")
                except Unauthorised:
                    raise
                except Refused:     # no such model, or none for us
                    has = frozenset()
                if has:
                    self._book = Phonecalls(self._rpc, self._users, has, self._field)
                else:
                    self._book = Activities(self._rpc, self._users, await fields_of(self._rpc, "mail.activity"))
            return self._book

    def _found(self, row: Any) -> Found:
        parent, owner = row.get("parent_id"), row.get("user_id")
        return Found(
            text(row, "id"),
            text(row, "name"),
            (text(row, "phone"), text(row, "mobile")),
            company=str(parent[1]) if isinstance(parent, list) and len(parent) == 2 else "",
            email=text(row, "email"),
            owner=self._users.extension_of(str(owner[0])) if isinstance(owner, list) and owner else None,
            instructions=plain(text(row, "comment")),
        )


async def fields_of(rpc: Rpc, model: str) -> frozenset[str]:
    """The names of its fields. Raises Refused where there is no such model, Unreachable for what is no answer."""
    answer = await rpc.call(model, "fields_get", {"attributes": ["type"]})
    return frozenset(answer if isinstance(answer, dict) and "id" in answer else found(None))


def plain(html: str) -> str:
    """The text of a note."""
    return unescape(_TAG.sub("", _LINE_END.sub("\n", html))).strip()


def make(settings: Settings, tools: Tools) -> Odoo:
    """The connector of a settings section. Raises Refused for one that cannot work."""
    for pair in settings.users:
        if not pair.partition("=")[2].strip().isdigit():
            raise Refused(f'users: "{pair}" has no id; Odoo\'s users have numbers, such as "101=7"')
    if settings.username:
        if not (settings.database and (settings.password or settings.api_key)):
            raise Refused("username needs database and password too")
        return Odoo(settings, tools, ExecuteKw(settings, tools))
    if not settings.api_key:
        raise Refused("api_key is missing (Odoo 19 and later), or database, username and password (older ones)")
    return Odoo(settings, tools, Json2(settings, tools))
