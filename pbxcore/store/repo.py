"""Users, bindings, extensions and server secrets: small tables, each with what its owner asks of it."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

import sqlalchemy as sa
from sqlmodel import Session, col, select

from pbxcore.control import Invalid, NotFound
from pbxcore.store.database import Store
from pbxcore.store.models import BindingRow, ExtensionRow, MetaRow, TextRow, UserRow
from pbxcore.store.rows import Packed
from pbxcore.store.statements import clean

Role = Literal["admin", "supervisor", "agent"]
Control = Literal["third-party", "first-party"]
ROLES = ("admin", "supervisor", "agent")


@dataclass(frozen=True, slots=True)
class User:
    """Who may use the panel. `password` is whatever the panel hashed it to; `created_at` is Unix time."""

    username: str
    password: str
    role: Role
    extension: str | None
    created_at: float


class Users:
    """The panel's accounts. Names are compared without case."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def all(self) -> list[User]:
        return await self._store.ask(
            lambda session: [_user(row) for row in session.exec(select(UserRow).order_by(col(UserRow.username)))]
        )

    async def find(self, username: str) -> User | None:
        def query(session: Session) -> User | None:
            row = session.get(UserRow, clean(username.casefold()))
            return None if row is None else _user(row)

        return await self._store.ask(query)

    async def create(self, username: str, password: str, role: Role, extension: str | None, now: float) -> User:
        """Raises Invalid for a name that is taken or empty and for a role that is none."""
        row = UserRow(
            username=_name(username), password=password, role=_role(role), extension=extension, created_at=now
        )

        def job(session: Session) -> User:
            if session.get(UserRow, row.username) is not None:
                raise Invalid("username", "account.taken", name=row.username)
            session.add(row)
            session.flush()
            return _user(row)

        return await self._store.change(job)

    async def change(
        self,
        username: str,
        *,
        password: str | None = None,
        role: Role | None = None,
        extension: str | None = None,
    ) -> User:
        """Change what is given; an empty `extension` takes it away. Raises NotFound, Invalid."""
        if role is not None:
            _role(role)

        def job(session: Session) -> User:
            row = session.get(UserRow, username.casefold())
            if row is None:
                raise NotFound(f"no user {username}")
            row.password = row.password if password is None else password
            row.role = row.role if role is None else role
            row.extension = row.extension if extension is None else (extension or None)
            session.add(row)
            session.flush()
            return _user(row)

        return await self._store.change(job)

    async def delete(self, username: str) -> None:
        """Raises NotFound."""

        def job(session: Session) -> None:
            row = session.get(UserRow, username.casefold())
            if row is None:
                raise NotFound(f"no user {username}")
            session.delete(row)

        await self._store.change(job)


@dataclass(frozen=True, slots=True)
class Binding:
    """Where one phone of an address-of-record is reached until `expires_at` (Unix time); RFC 3261 section 10.

    `received` is the address its REGISTER came from (`192.0.2.1:5060`), `path` the values of RFC 3327.
    """

    aor: str
    contact: str
    expires_at: float
    received: str = ""
    transport: str = "UDP"
    call_id: str = ""
    cseq: int = 0
    user_agent: str = ""
    instance: str = ""
    path: tuple[str, ...] = ()


class Bindings:
    """The registrar's memory through a restart. Changes are queued: the registrar never waits for them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._plan = store.plans["bindings"]

    def put(self, binding: Binding) -> None:
        self._store.writer.put(self._plan, (binding.aor, binding.contact), binding, _pack_binding)

    def drop(self, aor: str, contact: str) -> None:
        self._store.writer.put(self._plan, (aor, contact), (aor, contact))

    def load(self, now: float) -> list[Binding]:
        """Those still good at `now`; the rest is forgotten. Blocks: for the start."""

        def query(session: Session) -> list[Binding]:
            rows = session.exec(select(BindingRow).where(col(BindingRow.expires_at) > now)).all()
            session.connection().execute(sa.delete(BindingRow).where(col(BindingRow.expires_at) <= now))
            session.commit()
            return [
                Binding(
                    row.aor, row.contact, row.expires_at, row.received, row.transport,
                    row.call_id, row.cseq, row.user_agent, row.instance, tuple(row.path),
                )
                for row in rows
            ]  # fmt: skip

        return self._store.ask_now(query)


@dataclass(frozen=True, slots=True)
class StoredText:
    """A text that waits for its receiver's phone. Times are Unix seconds."""

    text_id: str
    receiver: str
    sender: str
    content_type: str
    body: bytes
    sent_at: float
    expires_at: float


class StoredTexts:
    """Texts through a restart. Changes are queued."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._plan = store.plans["texts"]

    def put(self, text: StoredText, then: Callable[[], None]) -> bool:
        """True when it is durable already; otherwise `then` is called once it is."""
        writer = self._store.writer
        return writer.when_settled(writer.put(self._plan, text.text_id, text, _pack_text), then)

    def drop(self, text_id: str) -> None:
        self._store.writer.put(self._plan, text_id, (text_id,))

    def load(self, now: float) -> list[StoredText]:
        """Those still good at `now`; the rest is forgotten. Blocks: for the start."""

        def query(session: Session) -> list[StoredText]:
            rows = session.exec(select(TextRow).where(col(TextRow.expires_at) > now)).all()
            session.connection().execute(sa.delete(TextRow).where(col(TextRow.expires_at) <= now))
            session.commit()
            return [
                StoredText(
                    row.text_id, row.receiver, row.sender, row.content_type, b64decode(row.body),
                    row.sent_at, row.expires_at,
                )
                for row in rows
            ]  # fmt: skip

        return self._store.ask_now(query)


@dataclass(frozen=True, slots=True)
class StoredExtension:
    """An extension that is not in the settings file; `secret` is its SIP password."""

    number: str
    secret: str
    name: str = ""
    profile: str = ""
    crm_control: Control = "third-party"


class Extensions:
    """Extensions made in the panel or on the first start."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def load(self) -> list[StoredExtension]:
        """All of them. Blocks: for the start."""
        query = select(ExtensionRow).order_by(col(ExtensionRow.number))
        return self._store.ask_now(lambda session: [_extension(row) for row in session.exec(query)])

    async def save(self, extension: StoredExtension) -> None:
        """Make it, or change it."""

        def job(session: Session) -> None:
            session.merge(
                ExtensionRow(
                    number=extension.number,
                    name=clean(extension.name),
                    secret=extension.secret,
                    profile=extension.profile,
                    crm_control=extension.crm_control,
                )
            )

        await self._store.change(job)

    async def delete(self, number: str) -> None:
        """Raises NotFound."""

        def job(session: Session) -> None:
            row = session.get(ExtensionRow, number)
            if row is None:
                raise NotFound(f"no stored extension {number}")
            session.delete(row)

        await self._store.change(job)


class Secrets:
    """Single values that must stay the same through restarts, such as the key that signs sessions."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, key: str) -> str | None:
        """Blocks: for the start."""

        def query(session: Session) -> str | None:
            row = session.get(MetaRow, key)
            return None if row is None else row.value

        return self._store.ask_now(query)

    async def put(self, key: str, value: str) -> None:
        await self._store.change(lambda session: session.merge(MetaRow(key=key, value=value)))

    async def get_or_make(self, key: str, fresh: str) -> str:
        """The value of `key`; `fresh` becomes it when there was none."""

        def job(session: Session) -> str:
            row = session.get(MetaRow, key)
            if row is None:
                session.add(MetaRow(key=key, value=fresh))
                return fresh
            return row.value

        return await self._store.change(job)


def _pack_binding(binding: Binding) -> Packed:
    return (
        binding.aor, binding.contact, binding.expires_at, binding.received, binding.transport,
        binding.call_id, binding.cseq, binding.user_agent, binding.instance, binding.path,
    )  # fmt: skip


def _pack_text(text: StoredText) -> Packed:
    body = b64encode(text.body).decode("ascii")
    return (text.text_id, text.receiver, text.sender, text.content_type, body, text.sent_at, text.expires_at)


def _user(row: UserRow) -> User:
    return User(row.username, row.password, cast(Role, row.role), row.extension, row.created_at)


def _extension(row: ExtensionRow) -> StoredExtension:
    return StoredExtension(row.number, row.secret, row.name, row.profile, cast(Control, row.crm_control))


def _name(username: str) -> str:
    name = clean(username.strip().casefold())
    if not name or len(name) > 64:
        raise Invalid("username", "account.name")
    return name


def _role(role: str) -> str:
    if role not in ROLES:
        raise Invalid("role", "account.role", role=role)
    return role
