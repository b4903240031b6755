"""A coroutine that is sent signals: what drives a call without a task of the event loop (`drive`).

Signals come in from wherever they like. A coroutine that waits for one gets it at once and runs on the stack of whoever
posts it; one that is running already, or waits for the relay, finds it in its inbox.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Coroutine, Generator
from types import coroutine
from typing import TYPE_CHECKING, Any

from pbxcore.call.drive import Deadline, resume_after
from pbxcore.call.signal import TIMED_OUT, Signal

if TYPE_CHECKING:
    from pbxcore.call.exchange import Exchange


class Driven(ABC):
    """What `LiveCall` is besides a call. It fills the slots itself."""

    __slots__ = ("_coroutine", "_deadline", "_waiting", "exchange", "inbox")

    exchange: Exchange
    inbox: deque[Signal]
    _coroutine: Coroutine[Any, Signal | None, None] | None
    _deadline: Deadline
    _waiting: bool  # for a signal, so that the inbox is empty

    def start(self) -> None:
        self._go_on(None)

    def post(self, signal: Signal) -> None:
        """The coroutine goes on with this signal, unless it is already running or waits for the relay: then later."""
        if self._waiting:
            self._waiting = False
            self._go_on(signal)
        else:
            self.inbox.append(signal)

    @coroutine
    def next(self, deadline: float) -> Generator[None, Signal, Signal]:
        """The next signal, or TIMEOUT at `deadline` (monotonic seconds). Of legs that have been let go since they
        spoke (the call was waiting for the relay) nothing is told: that is settled here."""
        inbox = self.inbox
        while True:
            if inbox:
                signal = inbox.popleft()
            else:
                if deadline != self._deadline.at:
                    self._deadline.set(deadline, self.exchange.clock())
                self._waiting = True
                signal = yield
            leg = signal.leg
            if leg is None or leg.call is not None:
                return signal
            self._left_over(signal)

    def on_deadline(self) -> None:
        if self._waiting:
            self.post(TIMED_OUT)

    def _go_on(self, signal: Signal | None) -> None:
        """Run the coroutine, which there is, up to where it waits next."""
        try:
            waited = self._coroutine.send(signal)  # type: ignore[union-attr]
        except StopIteration:
            self._clear()
            return
        except Exception as error:  # a fault of ours must not leave a phone ringing or a line open
            try:
                self._abort(error)
            finally:
                self._clear()
            return
        if waited is not None:
            resume_after(waited, self._resume)

    def _resume(self) -> None:
        """What the relay was asked for is there; the call may be over since."""
        if self._coroutine is not None:
            self._go_on(None)

    def put_back(self, kept: list[Signal]) -> None:
        """For whoever reads next."""
        self.inbox.extendleft(reversed(kept))

    @abstractmethod
    def _left_over(self, signal: Signal) -> None:
        """What came of a leg that has been let go."""

    @abstractmethod
    def _abort(self, error: Exception) -> None:
        """After a fault of ours: everybody gets his answer."""

    @abstractmethod
    def _clear(self) -> None:
        """The coroutine is over."""
