"""Tokens that programs sign in to the API with. What is kept is a hash of each: it is shown once, when it is made."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass

import sqlalchemy as sa
from sqlmodel import Session, col, select

from pbxcore.control import Invalid, NotFound
from pbxcore.store.database import Store
from pbxcore.store.models import MetaRow
from pbxcore.store.repo import ROLES, Role, User
from pbxcore.store.statements import clean

KEY = "token:"
PREFIX = "hookline_"


@dataclass(frozen=True, slots=True)
class ApiToken:
    """Who a program is: an agent's token acts on his extension only, those of the other roles on any."""

    name: str
    role: Role
    extension: str | None
    created_at: float

    def user(self, key: str) -> User:
        return User(f"token:{self.name}", key, self.role, self.extension, self.created_at)


def key_of(token: str) -> str:
    """96 random bits and more need no slow hash."""
    return KEY + hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


class ApiTokens:
    """In the table of single values, a row each under the token's hash."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def make(self, name: str, role: Role, extension: str | None, now: float) -> str:
        """The new token. Raises Invalid."""
        name = clean(name.strip())
        if not 0 < len(name) <= 64:
            raise Invalid("name", "token.name")
        if role not in ROLES:
            raise Invalid("role", "account.role", role=role)
        if role == "agent" and not extension:
            raise Invalid("extension", "token.agent")
        token = PREFIX + secrets.token_urlsafe(32)
        value = json.dumps({"name": name, "role": role, "extension": extension, "created_at": now})

        def job(session: Session) -> None:
            if any(one.name == name for one in _all(session).values()):
                raise Invalid("name", "token.taken", name=name)
            session.add(MetaRow(key=key_of(token), value=value))

        await self._store.change(job)
        return token

    async def find(self, key: str) -> User | None:
        """Whose token has this key (`key_of`)."""

        def query(session: Session) -> User | None:
            row = session.get(MetaRow, key)
            return None if row is None else _read(row.value).user(key)

        return await self._store.ask(query)

    async def all(self) -> list[ApiToken]:
        return await self._store.ask(lambda session: sorted(_all(session).values(), key=lambda one: one.name))

    async def drop(self, name: str) -> None:
        """Take it back; streams that were opened with it end. Raises NotFound."""

        def job(session: Session) -> None:
            keys = [key for key, one in _all(session).items() if one.name == name]
            if not keys:
                raise NotFound(f"no token {name}")
            session.connection().execute(sa.delete(MetaRow).where(col(MetaRow.key).in_(keys)))

        await self._store.change(job)


def _all(session: Session) -> dict[str, ApiToken]:
    rows = session.exec(select(MetaRow).where(col(MetaRow.key).startswith(KEY)))
    return {row.key: _read(row.value) for row in rows}


def _read(value: str) -> ApiToken:
    return ApiToken(**json.loads(value))
