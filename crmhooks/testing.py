"""For the tests of an office's own hooks: a pytest plugin with the fixtures `ask_hook` and `hookline_call`.

A hook is asked by the runner that the exchange asks it by: the same budget, checks and words, without an exchange, a
phone or a database.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import pytest

from crmhooks.cards import instructions_of
from crmhooks.connectors.python import PythonHook, load
from crmhooks.embedded.index import ContactIndex
from crmhooks.numbers import normalise
from crmhooks.records import number_of
from crmhooks.runner import Runner
from pbxcore.bus import Bus
from pbxcore.control import Card, ContactEntry
from pbxcore.explained import LATE
from pbxcore.hooks import CallSnapshot, CallState, Decision, Direction, Disposition, ExplainStep, IncomingCall

Ends = Literal["", "answered", "cancelled"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of it. `decision` is None when the hook had none that came in time and could be followed: `outcomes`
    says why, in the words of `hookline explain`."""

    decision: Decision | None
    steps: tuple[ExplainStep, ...]
    card: Card | None
    ms: float

    @property
    def outcomes(self) -> list[str]:
        return [f"{step.source}: {step.outcome}" for step in self.steps if step.source != "embedded CRM"]

    @property
    def in_time(self) -> bool:
        return not any(code in LATE for step in self.steps for code, _ in step.said)


class _Desk:
    """The contacts of one test."""

    def __init__(self, contacts: Iterable[ContactEntry], country: str) -> None:
        self._index = ContactIndex(contacts)
        self._country = country
        self._cards: dict[str, Card] = {}

    def card_of(self, call: IncomingCall) -> Card:
        number = number_of(call, self._country)
        contacts = self._index.find(number)
        return Card(call.call_id, number, contacts, instructions_of(contacts))

    def card_for(self, call: IncomingCall) -> Card:
        card = self._cards[call.call_id] = self.card_of(call)
        return card

    def put_card(self, card: Card) -> None:
        self._cards[card.call_id] = card

    def card(self, call_id: str) -> Card | None:
        return self._cards.get(call_id)

    def lookup(self, number: str) -> tuple[ContactEntry, ...]:
        found = normalise(number, self._country)
        return () if found is None else self._index.find(found.e164)


def make_call(
    caller: str = "+12025550100", called: str = "101", direction: Direction = "inbound", **fields: Any
) -> IncomingCall:
    """A call as a hook sees it; `fields` are others of `IncomingCall`."""
    known: dict[str, Any] = {"call_id": "test-call", "received_at": time.time()}
    return IncomingCall(caller=caller, called=called, direction=direction, **(known | fields))


async def ask(
    hook: object | str,
    call: IncomingCall,
    *,
    contacts: Iterable[ContactEntry] = (),
    country: str = "US",
    deadline_ms: int = 300,
    ends: Ends = "",
) -> Asked:
    """Ask a hook (an object, a class or `module:Class`) about a call, and tell it of the end that `ends` names. Raises
    AssertionError when it fails at that."""
    if isinstance(hook, str):
        wrapped = load("target", "hook", hook)
    else:
        wrapped = PythonHook("hook", hook() if isinstance(hook, type) else hook)
    desk, deadline = _Desk(contacts, country), deadline_ms / 1000
    runner = Runner(desk, Bus(), hooks=[(wrapped, deadline)], budget=deadline, country=country)
    began = time.perf_counter()
    decision = await runner.on_incoming(call)
    elapsed = (time.perf_counter() - began) * 1000
    steps = runner.explain(call.call_id)
    if ends:
        over = _ended(call, ends)
        if ends == "answered":
            runner.on_answered(over)
        runner.on_ended(over)
    await runner.close()
    failed = [notices.last_error for notices in runner.notices() if notices.failed]
    assert not failed, f"the hook failed when it was told of the end: {failed[0]}"
    if not any(step.decision is not None and step.source == "hook" for step in steps):
        decision = None      # somebody else's, who stands in for the hook
    return Asked(decision, steps, desk.card(call.call_id), elapsed)


def _ended(call: IncomingCall, ends: Ends) -> CallSnapshot:
    answered = ends == "answered"
    at = call.received_at
    return CallSnapshot(
        call.call_id, CallState.ENDED, call.direction, call.caller, call.called, at, call.caller_name,
        trunk=call.trunk, extension=call.extension, ringing_at=at + 1, answered_at=at + 3 if answered else None,
        ended_at=at + 60, answered_by=call.called if answered else None, hung_up_by="caller",
        disposition=Disposition.ANSWERED if answered else Disposition.CANCELLED,
    )  # fmt: skip


def _on_a_loop_of_its_own(job: Callable[[], Awaitable[T]]) -> T:
    """Run it to its end, whether or not the test has a running loop."""
    results: list[T] = []
    faults: list[BaseException] = []

    async def main() -> None:
        results.append(await job())

    def work() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            faults.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if faults:
        raise faults[0]
    return results[0]


@pytest.fixture
def hookline_call() -> Callable[..., IncomingCall]:
    """Makes a call: `hookline_call(caller="+12025550123", called="101", direction="inbound", caller_name=...)`."""
    return make_call


@pytest.fixture
def ask_hook() -> Callable[..., Asked]:
    """Asks a hook: `ask_hook(Desk(), caller="+12025550123")`, or `ask_hook(Desk(), call=hookline_call(...))`.

    `contacts`, `country`, `deadline_ms` and `ends` are those of `crmhooks.testing.ask`, all else is the call's.
    """

    def asked(
        hook: object | str,
        *,
        call: IncomingCall | None = None,
        contacts: Iterable[ContactEntry] = (),
        country: str = "US",
        deadline_ms: int = 300,
        ends: Ends = "",
        **fields: Any,
    ) -> Asked:
        one = call or make_call(**fields)
        more: dict[str, Any] = {"contacts": contacts, "country": country, "deadline_ms": deadline_ms, "ends": ends}
        return _on_a_loop_of_its_own(lambda: ask(hook, one, **more))

    return asked
