"""Who is free: extensions with a phone, without a call, and ready. One for the whole exchange."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from pbxcore.call.services.queue import Line

if TYPE_CHECKING:
    from pbxcore.call.exchange import Exchange


class Agents:
    """`ready` says whether an agent wants calls now: not while he writes his summary, or has gone for lunch. `rung` are
    those whom a queue rings just now."""

    def __init__(self, exchange: Exchange, ready: Callable[[str], bool]) -> None:
        self._exchange = exchange
        self.ready = ready
        self.rung: set[str] = set()
        self._lines: dict[str, Line] = {}
        self._last: dict[str, float] = {}     # when the last call of an extension ended

    def line(self, queue: str) -> Line:
        return self._lines.setdefault(queue, Line())

    def free(self, numbers: Iterable[str]) -> list[str]:
        """Those of these who could take a call now, in the order given."""
        busy = self.busy()
        registrar = self._exchange.registrar
        return [
            number for number in numbers
            if number not in busy and number not in self.rung and self.ready(number) and registrar.bindings(number)
        ]  # fmt: skip

    def busy(self) -> set[str]:
        """Extensions in a call, or rung by one."""
        return {
            leg.party for live in self._exchange.live.values() for leg in live.call.legs.values()
            if leg.ended_at is None
        }  # fmt: skip

    def was_in_a_call(self, parties: Iterable[str]) -> None:
        """These have hung up."""
        now = self._exchange.clock()
        for party in parties:
            if party in self._exchange.dial_plan.watched:
                self._last[party] = now

    def longest_idle(self, numbers: list[str]) -> str:
        """Whose last call ended first; nobody's comes before, in the order given."""
        return min(numbers, key=lambda number: self._last.get(number, 0.0))

    def by_idleness(self, numbers: Iterable[str]) -> list[str]:
        return sorted(numbers, key=lambda number: self._last.get(number, 0.0))
