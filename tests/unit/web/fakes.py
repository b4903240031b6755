"""An exchange and a CRM of a few lines each, for the panel's tests: they keep what the doors promise, in memory."""

from __future__ import annotations

import itertools
import math
import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from argon2 import PasswordHasher
from starlette.applications import Starlette

from crmhooks.rulebook import RuleBook
from pbxcore.bus import Bus
from pbxcore.control import (
    ActivityChange,
    ActivityEntry,
    AgentState,
    Card,
    ContactEntry,
    ExtensionState,
    Invalid,
    NotFound,
    Trace,
    TrunkState,
)
from pbxcore.events import (
    CardFound,
    ConnectionCleared,
    Delivered,
    Established,
    Event,
    Held,
    Originated,
    RegistrationChanged,
    SummaryWritten,
)
from pbxcore.hooks import (
    CallSnapshot,
    CallState,
    Direction,
    Disposition,
    ExplainStep,
    LegSnapshot,
    Proceed,
    StreamStats,
)
from pbxcore.settings import Office, Settings
from pbxcore.store.repo import Role, User
from web.app import create_app

NUMBER = re.compile(r"\+?[0-9 ()./-]{3,}")
PASSWORD = "correct-horse"
LIGHT = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)    # nobody attacks these
_HASH = LIGHT.hash(PASSWORD)


class FakeUsers:
    """The store's user repository, in a dict."""

    def __init__(self) -> None:
        self.rows: dict[str, User] = {}

    def put(self, username: str, role: Role, extension: str | None = None) -> None:
        self.rows[username] = User(username, _HASH, role, extension, 0.0)

    async def find(self, username: str) -> User | None:
        return self.rows.get(username.casefold())

    async def all(self) -> list[User]:
        return list(self.rows.values())

    async def create(self, username: str, password: str, role: Role, extension: str | None, now: float) -> User:
        if username in self.rows:
            raise Invalid("username", "account.taken", name=username)
        self.rows[username] = User(username, password, role, extension, now)
        return self.rows[username]

    async def change(
        self, username: str, *, password: str | None = None, role: Role | None = None, extension: str | None = None
    ) -> User:
        if username not in self.rows:
            raise NotFound(f"no user {username}")
        row = self.rows[username]
        row = replace(row, password=password or row.password, role=role or row.role)
        if extension is not None:
            row = replace(row, extension=extension or None)
        self.rows[username] = row
        return row

    async def delete(self, username: str) -> None:
        if self.rows.pop(username, None) is None:
            raise NotFound(f"no user {username}")


class FakeControl:
    """The exchange: live calls in a dict."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.live: dict[str, CallSnapshot] = {}
        self.hung_up: list[str] = []
        self.ordered: list[tuple[str, str]] = []
        self.transferred: list[tuple[str, str, str | None]] = []
        self.noted: list[str] = []      # with each of them
        self.goes_already = False       # what a transfer meets that was ordered meanwhile
        self.steps: dict[str, tuple[ExplainStep, ...]] = {}
        self.written: list[str] = []
        self.traces: dict[str, Trace] = {}
        self.cards: dict[str, bytes] = {}
        self.states = [
            ExtensionState("101", "Anna Weber", "third-party", ("Snom D785/10.1",), False),
            ExtensionState("102", "Boris Ivanov", "first-party", ("baresip/3.9",), False),
            ExtensionState("103", "Chen Li", "third-party", (), False),
        ]

    def calls(self) -> list[CallSnapshot]:
        return list(self.live.values())

    def call(self, call_id: str) -> CallSnapshot:
        try:
            return self.live[call_id]
        except KeyError:
            raise NotFound(f"no call {call_id}") from None

    def hang_up(self, call_id: str) -> None:
        self.call(call_id)
        self.hung_up.append(call_id)

    def originate(self, agent: str, to: str) -> str:
        if not to:
            raise Invalid("to", "order.unreached")
        self.ordered.append((agent, to))
        return f"ordered{len(self.ordered)}"

    def transfer(self, call_id: str, to: str, party: str | None = None, notes: str = "") -> None:
        self.rung_by(call_id, to, party)
        if self.goes_already:
            raise Invalid("call", "transfer.running")
        self.transferred.append((call_id, to, party))
        self.noted.append(notes)

    def rung_by(self, call_id: str, to: str, party: str | None = None) -> tuple[str, ...]:
        self.call(call_id)
        if not to:
            raise Invalid("to", "order.unreached")
        return (to,) if to in {state.number for state in self.states} else ()

    def extensions(self) -> list[ExtensionState]:
        talking = {leg.party for call in self.live.values() for leg in call.legs if leg.state == "answered"}
        return [replace(state, busy=state.number in talking) for state in self.states]

    def agent_says(self, number: str, state: AgentState) -> None:
        self.states = [replace(one, state=state) if one.number == number else one for one in self.states]

    def summary_written(self, call_id: str) -> None:
        self.written.append(call_id)

    def trunks(self) -> list[TrunkState]:
        return [TrunkState("city", "sip.example.net", sum(1 for c in self.live.values() if c.trunk))]

    async def explain(self, call: CallSnapshot) -> tuple[ExplainStep, ...]:
        return self.steps.get(call.call_id, ())

    def trace(self, call_id: str) -> Trace:
        if call_id not in self.traces:
            raise NotFound(f"no message of the call {call_id} is remembered")
        return self.traces[call_id]

    def trace_capture(self, call_id: str) -> bytes:
        return b"pcap" + self.trace(call_id).call_id.encode()

    def caller_card(self, token: str) -> bytes:
        if token not in self.cards:
            raise NotFound("no such card, or none any more")
        return self.cards[token]


class FakeDesk:
    """The CRM: everything in lists; cards only when a test puts them."""

    def __init__(self, bus: Bus, wall: Callable[[], float]) -> None:
        self.bus = bus
        self.wall = wall
        self.cards: dict[str, Card] = {}
        self.entries: dict[str, ContactEntry] = {}
        self.acts: dict[str, ActivityEntry] = {}
        self.records: list[CallSnapshot] = []
        self.lookups: list[str] = []
        self._ids = itertools.count(1)

    def add(self, name: str, *numbers: str, **more: Any) -> ContactEntry:
        entry = ContactEntry(f"c{next(self._ids)}", name, numbers, **more)
        self.entries[entry.id] = entry
        return entry

    def card(self, call_id: str) -> Card | None:
        return self.cards.get(call_id)

    def people(self, company_id: str) -> tuple[ContactEntry, ...]:
        return tuple(c for c in self.entries.values() if c.company_id == company_id)

    def lookup(self, number: str) -> tuple[ContactEntry, ...]:
        self.lookups.append(number)
        return tuple(c for c in self.entries.values() if number in c.numbers)

    async def contacts(
        self, search: str = "", limit: int = 50, offset: int = 0, *, companies: bool = False
    ) -> list[ContactEntry]:
        wanted = search.casefold()
        found = [
            c
            for c in sorted(self.entries.values(), key=lambda c: c.name)
            if (wanted in c.name.casefold() or wanted in c.company.casefold() or any(wanted in n for n in c.numbers))
            and (not companies or c.kind == "company")
        ]
        return found[offset : offset + limit]

    async def contact(self, contact_id: str) -> ContactEntry:
        try:
            return self.entries[contact_id]
        except KeyError:
            raise NotFound(f"no contact {contact_id}") from None

    async def save_contact(self, entry: ContactEntry) -> ContactEntry:
        if not entry.name.strip():
            raise Invalid("name", "contact.nameless")
        for number in entry.numbers:
            if not NUMBER.fullmatch(number):
                raise Invalid("numbers", "number.unread", said=number)
        if entry.id:
            await self.contact(entry.id)
        else:
            entry = replace(entry, id=f"c{next(self._ids)}")
        self.entries[entry.id] = entry
        return entry

    async def delete_contact(self, contact_id: str) -> None:
        await self.contact(contact_id)
        del self.entries[contact_id]

    async def activities(
        self,
        *,
        agent: str | None = None,
        contact_id: str | None = None,
        call_id: str | None = None,
        open_only: bool = False,
        overdue: bool = False,
        follow_up: bool = False,
        limit: int = 50,
        offset: int = 0,
    ) -> list[ActivityEntry]:
        found = [
            a
            for a in self.acts.values()
            if (agent is None or a.agent == agent)
            and (contact_id is None or a.contact_id == contact_id)
            and (call_id is None or a.call_id == call_id)
            and (not open_only or a.state == "open")
            and (not overdue or (a.follow_up_at or math.inf) <= self.wall())
            and (not follow_up or a.follow_up_at is not None)
        ]
        found.sort(key=lambda a: a.started_at, reverse=True)
        return found[offset : offset + limit]

    async def change_activity(self, call_id: str, change: ActivityChange) -> ActivityEntry:
        if call_id not in self.acts:
            raise NotFound(f"no activity of call {call_id}")
        said: dict[str, Any] = {("summary" if name == "notes" else name): value for name, value in change.items()}
        self.acts[call_id] = replace(self.acts[call_id], **said)
        return self.acts[call_id]

    async def write_summary(
        self,
        call_id: str,
        summary: str,
        author: str,
        contact_id: str | None = None,
        change: ActivityChange | None = None,
    ) -> ActivityEntry:
        if call_id not in self.acts:
            raise NotFound(f"no activity of call {call_id}")
        if not summary.strip():
            raise Invalid("summary", "call.summary")
        act = self.acts[call_id]
        contact = self.entries.get(contact_id or act.contact_id or "")
        act = replace(
            act,
            summary=summary.strip(),
            state="completed",
            contact_id=contact.id if contact else None,
            contact_name=contact.name if contact else act.contact_name,
            **(change or {}),
        )
        self.acts[call_id] = act
        self.bus.publish(SummaryWritten(self.wall(), call_id, author))
        return act

    async def history(
        self, *, party: str | None = None, call_id: str | None = None, limit: int = 50, offset: int = 0
    ) -> list[CallSnapshot]:
        found = [
            c
            for c in sorted(self.records, key=lambda c: c.arrived_at, reverse=True)
            if (call_id is None or c.call_id == call_id)
            and (party is None or any(leg.party == party for leg in c.legs))
        ]
        return found[offset : offset + limit]


class World:
    """An office: the exchange, the CRM, three extensions, four users, and calls that a test lets happen."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self.wall = wall
        self.bus = Bus()
        self.control = FakeControl(self.bus)
        self.desk = FakeDesk(self.bus, wall)
        self.users = FakeUsers()
        self.rules = RuleBook([{"name": "Of the file", "tag": "gold", "then": {"kind": "ring", "targets": ["101"]}}])
        self.users.put("admin", "admin")
        self.users.put("super", "supervisor")
        self.users.put("anna", "agent", "101")
        self.users.put("boris", "agent", "102")
        self.monotonic: Callable[[], float] = time.monotonic
        self._ids = itertools.count(1)

    def app(self, **more: Any) -> Starlette:
        settings = more.pop("settings", Settings(office=Office(name="Hookline", country="US")))
        return create_app(
            control=self.control,
            desk=self.desk,
            bus=self.bus,
            settings=settings,
            users=self.users,
            rules=self.rules,
            secret_key=b"k" * 32,
            clock=lambda: self.monotonic(),
            wall=self.wall,
            **more,
        )

    def publish(self, event: Event) -> None:
        self.bus.publish(event)

    def ring(
        self,
        caller: str = "+15550100",
        to: str = "101",
        *,
        known: bool = True,
        caller_name: str | None = None,
        direction: Direction = "inbound",
        late: bool = False,
        call_id: str = "",
    ) -> str:
        """A call arrives and the phone of `to` rings. `late`: the CRM has not said anything yet."""
        call_id = call_id or f"call{next(self._ids):04}"
        now = self.wall()
        inbound = direction == "inbound"
        a_party = "trunk:city" if inbound else caller
        legs = (
            LegSnapshot(a_party, "a", "calling", caller, now),
            LegSnapshot(to, "b", "ringing", to, now, ringing_at=now),
        )
        contacts = self.desk.lookup(caller) if known else ()
        call = CallSnapshot(
            call_id,
            CallState.RINGING,
            direction,
            caller,
            "+15550199" if inbound else to,
            now,
            caller_name=caller_name,
            trunk="city" if inbound else None,
            extension=None if inbound else caller,
            display_name=contacts[0].name if len(contacts) == 1 else None,
            ringing_at=now,
            legs=legs,
            decided_by="embedded" if contacts else "dial plan",
            lookup_ms=0.4,
        )
        self.control.live[call_id] = call
        self.publish(Originated(now, call_id, caller, call.called))
        if not late and inbound:
            self.found(call_id, late=False)
        self.publish(Delivered(now, call_id, to))
        return call_id

    def found(self, call_id: str, *, late: bool = True) -> None:
        """The CRM answers."""
        call = self.control.live[call_id]
        contacts = self.desk.lookup(call.caller)
        recent = tuple(a for a in self.desk.acts.values() if contacts and a.contact_id == contacts[0].id)
        text = "\n".join(c.instructions for c in contacts if c.instructions) if len(contacts) == 1 else ""
        self.desk.cards[call_id] = Card(call_id, call.caller, contacts, text, recent, late)
        self.publish(CardFound(self.wall(), call_id, late))

    def answer(self, call_id: str, party: str = "101") -> None:
        now = self.wall()
        call = self.control.live[call_id]
        legs = tuple(replace(leg, state="answered", answered_at=now) for leg in call.legs)
        self.control.live[call_id] = replace(
            call,
            state=CallState.ANSWERED,
            legs=legs,
            answered_at=now,
            answered_by=party,
            disposition=Disposition.ANSWERED,
        )
        if call.direction != "internal":
            self.open_activity(call_id, party)
        self.publish(Established(now, call_id, party))

    def open_activity(self, call_id: str, agent: str) -> None:
        call = self.control.live[call_id]
        contacts = self.desk.lookup(call.caller)
        one = contacts[0] if len(contacts) == 1 else None
        self.desk.acts[call_id] = ActivityEntry(
            f"a{next(self._ids)}",
            call_id,
            call.direction,
            call.caller,
            one.id if one else None,
            one.name if one else "",
            agent,
            call.arrived_at,
            call.answered_at,
            None,
            "answered",
            "open",
        )

    def hold(self, call_id: str, party: str = "101") -> None:
        self.control.live[call_id] = replace(self.control.live[call_id], state=CallState.HELD)
        self.publish(Held(self.wall(), call_id, party))

    def end(self, call_id: str, disposition: Disposition | None = None) -> CallSnapshot:
        now = self.wall()
        call = self.control.live.pop(call_id)
        legs = tuple(replace(leg, state="ended", ended_at=now) for leg in call.legs)
        outcome = disposition or (Disposition.ANSWERED if call.answered_at else Disposition.CANCELLED)
        call = replace(
            call,
            state=CallState.ENDED,
            legs=legs,
            ended_at=now,
            disposition=outcome,
            hung_up_by="caller",
            from_a=StreamStats(1204, 206_000, 3, 1.9),
            from_b=StreamStats(1199, 205_000, 0, 0.8),
        )
        self.desk.records.append(call)
        self.control.steps[call_id] = (
            ExplainStep("embedded", "one contact", 0.4, Proceed(display_name=call.display_name, tags=("gold",))),
        )
        if call_id in self.desk.acts:
            self.desk.acts[call_id] = replace(self.desk.acts[call_id], ended_at=now)
        self.publish(ConnectionCleared(now, call_id, call))
        return call

    def registered(self, extension: str, bindings: int) -> None:
        self.control.states = [
            replace(s, phones=("phone",) * bindings) if s.number == extension else s for s in self.control.states
        ]
        self.publish(RegistrationChanged(self.wall(), extension, bindings))
