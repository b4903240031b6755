"""The end of a call: its last record, and the hooks that hear of it.

What the relay counted comes a moment after the call is over, and belongs into the record. So the record of a call that
was answered waits for it, to be written once; not for long, because people look at it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pbxcore.call import inputs
from pbxcore.call.call import Call
from pbxcore.hooks import StreamStats

if TYPE_CHECKING:
    from pbxcore.call.exchange import Exchange

# Seconds that a record waits for the relay's figures, which come within milliseconds. If the process is killed while it
# waits, a call that was over stays behind as interrupted; so no longer than a busy relay needs. What it tells later is
# written over the record.
LAST_WORD = 0.25
MAX_LATE = 10_000


class Endings:
    """The calls of an exchange that are over and not quite done with."""

    __slots__ = ("_exchange", "_late", "_watching", "counting")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.counting: dict[str, tuple[Call, float]] = {}  # the relay's figures are to come, in good time by then
        self._late: dict[str, Call] = {}  # written down without them
        self._watching = False  # one timer for all of them

    def cleared(self, call: Call) -> None:
        """Nothing is left of a call but its transactions."""
        exchange = self._exchange
        call_id = call.offered.call_id
        exchange.live.pop(call_id, None)
        if exchange.states.seconds:
            exchange.states.left(call, call.legs.values())
        if exchange.dial_plan.watched:
            exchange.agents.was_in_a_call([leg.party for leg in call.legs.values()])
        if call.answered_at is None:
            exchange.media.delete(call_id)
            self._record(call)
        else:
            exchange.counters.answered += 1
            due = exchange.clock() + LAST_WORD
            self.counting[call_id] = call, due
            if not self._watching:
                self._watching = True
                exchange.timers.start(due, self, "last word")
            exchange.media.delete(call_id)

    def counted(self, call_id: str, from_a: StreamStats, from_b: StreamStats) -> None:
        """The relay's last word on a call."""
        waiting = self.counting.pop(call_id, None)
        if waiting is not None:
            call = waiting[0]
            call.apply(inputs.Counted(self._exchange.wall(), from_a, from_b))
            self._record(call)
        elif (late := self._late.pop(call_id, None)) is not None:
            late.apply(inputs.Counted(self._exchange.wall(), from_a, from_b))
            self._exchange.journal.write(late.snapshot())

    def uncounted(self, call_id: str) -> None:
        """There will be none."""
        waiting = self.counting.pop(call_id, None)
        if waiting is not None:
            self._record(waiting[0])

    def on_timer(self, name: str, now: float) -> None:
        """Calls that the relay takes its time over: their figures are written when they come."""
        self._watching = False
        while self.counting:
            call_id, (call, due) = next(iter(self.counting.items()))
            if due > now:  # and so are those that came after it
                self._watching = True
                self._exchange.timers.start(due, self, name)
                return
            del self.counting[call_id]
            if len(self._late) >= MAX_LATE:
                del self._late[next(iter(self._late))]
            self._late[call_id] = call
            self._record(call)

    def close(self) -> None:
        """Write down what still waits: there is no later."""
        while self.counting:
            self._record(self.counting.popitem()[1][0])

    def _record(self, call: Call) -> None:
        exchange, snapshot = self._exchange, call.snapshot()
        exchange.journal.write(snapshot)
        exchange.hooks.on_ended(snapshot)
