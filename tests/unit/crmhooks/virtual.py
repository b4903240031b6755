"""A loop whose time jumps to the next timer instead of passing, a desk in memory, and hooks made of functions."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from crmhooks.connector import Question
from pbxcore.call.drive import drive
from pbxcore.control import Card, ContactEntry
from pbxcore.hooks import CallSnapshot, CallState, Decision, IncomingCall

ANNA = ContactEntry("1", "Anna Ivanova", ("+12025550100",), owner="101", instructions="Speak slowly.", tags=("gold",))
BORIS = ContactEntry("2", "Boris Petrov", ("+12025550100",))


class _Selector(selectors.DefaultSelector):
    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if ready or timeout is None or timeout <= 0:
            return ready or super().select(timeout)
        self.loop.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.now = 1000.0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now


def run(main: Callable[[VirtualLoop], Coroutine[Any, Any, None]]) -> VirtualLoop:
    """Run a test in virtual time. What it left behind on the loop fails it."""
    loop = VirtualLoop()
    faults: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: faults.append(context))
    try:
        loop.run_until_complete(main(loop))
        left = asyncio.all_tasks(loop)
        assert not left, left
        assert not faults, faults
    finally:
        loop.close()
    return loop


async def driven(coroutine: Coroutine[Any, None, Decision | None]) -> Decision | None:
    """Drive a coroutine as a call does: outside any task."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Decision | None] = loop.create_future()

    def start() -> None:
        assert asyncio.current_task() is None
        drive(coroutine, done.set_result)

    loop.call_soon(start)
    return await done


def sent_once(coroutine: Coroutine[Any, None, Decision | None]) -> Decision | None:
    """The result of a coroutine that must not wait for anything."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: Decision | None = stop.value
        return result
    coroutine.close()
    raise AssertionError("it waited")


class Desk:
    """The embedded CRM as far as the runner sees it."""

    def __init__(self, *contacts: ContactEntry) -> None:
        self.contacts = contacts
        self.cards: dict[str, Card] = {}

    def card_of(self, call: IncomingCall) -> Card:
        return Card(call.call_id, call.caller, self.lookup(call.caller), "")

    def card_for(self, call: IncomingCall) -> Card:
        number = call.called if call.direction == "outbound" else call.caller
        found = self.lookup(number)
        card = Card(call.call_id, number, found, found[0].instructions if len(found) == 1 else "")
        self.cards[call.call_id] = card
        return card

    def put_card(self, card: Card) -> None:
        self.cards[card.call_id] = card

    def card(self, call_id: str) -> Card | None:
        return self.cards.get(call_id)

    def lookup(self, number: str) -> tuple[ContactEntry, ...]:
        return tuple(contact for contact in self.contacts if number in contact.numbers)


class FakeHook:
    """A hook of functions; what is asked is kept in `asked`."""

    def __init__(
        self,
        name: str = "fake",
        *,
        incoming: Callable[[IncomingCall], Coroutine[Any, Any, Any]] | None = None,
        lookup: Callable[[str], Coroutine[Any, Any, Any]] | None = None,
        ended: Callable[[CallSnapshot], Coroutine[Any, Any, None]] | None = None,
        answered: Callable[[CallSnapshot], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        given: dict[Question, Any] = {
            "on_incoming": incoming, "lookup": lookup, "on_ended": ended, "on_answered": answered
        }  # fmt: skip
        self.name = name
        self._given = given
        self.answers: frozenset[Question] = frozenset(q for q, function in given.items() if function is not None)
        self.asked: list[Any] = []
        self.closed = False

    async def lookup(self, number: str) -> Sequence[ContactEntry]:
        return await self._ask("lookup", number)  # type: ignore[no-any-return]  # hooks lie

    async def on_incoming(self, call: IncomingCall) -> Decision | None:
        return await self._ask("on_incoming", call)  # type: ignore[no-any-return]  # hooks lie

    async def on_answered(self, call: CallSnapshot) -> None:
        await self._ask("on_answered", call)

    async def on_ended(self, call: CallSnapshot) -> None:
        await self._ask("on_ended", call)

    async def close(self) -> None:
        self.closed = True

    async def _ask(self, question: Question, argument: Any) -> Any:
        self.asked.append(argument)
        return await self._given[question](argument)


def after(seconds: float, answer: Any = None) -> Callable[[Any], Coroutine[Any, Any, Any]]:
    """A hook's method that answers after so long; an exception is raised."""

    async def method(_: Any) -> Any:
        if seconds:
            await asyncio.sleep(seconds)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    return method


def incoming(call_id: str = "c1", caller: str = "+12025550100", called: str = "101", **more: Any) -> IncomingCall:
    return IncomingCall(call_id, caller, called, more.pop("direction", "inbound"), 1_700_000_000.0, **more)


def ended(call_id: str = "c1") -> CallSnapshot:
    return CallSnapshot(call_id, CallState.ENDED, "inbound", "+12025550100", "101", 1_700_000_000.0)
