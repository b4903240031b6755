"""A coroutine with an inbox: what drives a call without a task of the event loop (`drive`).

Signals come in from wherever they like; the coroutine runs on the stack of whoever posts one, unless it is running
already or waits for the relay.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from pbxcore.call.drive import PAUSE, Deadline, resume_after
from pbxcore.call.signal import Kind, Signal

if TYPE_CHECKING:
    from pbxcore.call.exchange import Exchange


class Driven:
    """What `LiveCall` is besides a call. It fills the slots itself."""

    __slots__ = ("_blocked", "_coroutine", "_deadline", "_running", "_waiting", "exchange", "inbox")

    exchange: Exchange
    inbox: deque[Signal]
    _coroutine: Coroutine[Any, None, None] | None
    _deadline: Deadline
    _running: bool
    _waiting: bool
    _blocked: bool

    def start(self) -> None:
        self._step()

    def post(self, signal: Signal) -> None:
        """Queue a signal; the coroutine goes on at once unless it is already running or waits for the relay."""
        self.inbox.append(signal)
        if not self._running and not self._blocked:
            self._step()

    async def next(self, deadline: float) -> Signal:
        """The next signal, or TIMEOUT at `deadline` (monotonic seconds). Of legs that have been let go since they
        spoke (the call was waiting for the relay) nothing is told: that is settled here."""
        inbox = self.inbox
        while True:
            if not inbox:
                self._deadline.set(deadline, self.exchange.clock())
                self._waiting = True
                while not inbox:
                    await PAUSE
                self._waiting = False
            signal = inbox.popleft()
            if signal.leg is None or signal.leg.call is not None:
                return signal
            self._left_over(signal)

    def on_deadline(self) -> None:
        if self._waiting:
            self.post(Signal(Kind.TIMEOUT))

    def _step(self) -> None:
        coroutine = self._coroutine
        if coroutine is None:
            return
        self._running = True
        try:
            waited = coroutine.send(None)
        except StopIteration:
            self._clear()
            return
        except Exception as error:  # a fault of ours must not leave a phone ringing or a line open
            try:
                self._abort(error)
            finally:
                self._clear()
            return
        finally:
            self._running = False
        if waited is not None:
            self._blocked = True
            resume_after(waited, self._unblock)

    def _unblock(self) -> None:
        self._blocked = False
        self._step()

    def put_back(self, kept: list[Signal]) -> None:
        """For whoever reads next."""
        self.inbox.extendleft(reversed(kept))

    def _left_over(self, signal: Signal) -> None:
        """What came of a leg that has been let go."""
        raise NotImplementedError

    def _abort(self, error: Exception) -> None:
        """After a fault of ours: everybody gets his answer."""
        raise NotImplementedError

    def _clear(self) -> None:
        """The coroutine is over."""
        raise NotImplementedError
