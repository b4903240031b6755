"""Keep-alives of ours over UDP: a CRLF now and then holds open the binding of a phone's NAT (RFC 5626 section 4.4.1 as
it is used over UDP in the field; RFC 4787 section 4.3: a NAT may forget after two minutes, and many do after half of
one).

Phones that are reached at the address that their Contact says get none. Connections are kept alive in `net.stream`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from pbxcore.sip.errors import SipError
from pbxcore.sip.timers import Timers
from pbxcore.sip.uri import Uri, same_host

if TYPE_CHECKING:
    from pbxcore.call.registrar import Binding, Registrar

CRLF = b"\r\n\r\n"
TICK = 1.0   # seconds: the phones of an office are told in turn and not all at once


def behind_nat(contact: Uri, remote: tuple[str, int]) -> bool:
    """Whether a phone's packets come from elsewhere than it says it can be reached at."""
    return (contact.port or 5060) != remote[1] or not same_host(contact.host, remote[0])


class KeepAlive:
    """Every phone behind a NAT is sent a CRLF every `seconds`, 0 for never."""

    def __init__(self, registrar: Registrar, timers: Timers, clock: Callable[[], float], seconds: float) -> None:
        self._registrar = registrar
        self._timers = timers
        self._seconds = seconds
        self._round: list[Binding] = []   # who has not been told in this round
        self._share = 0                   # how many a tick
        self._ends = 0.0
        self.sent = 0
        if seconds:
            self._ends = clock() + seconds
            timers.start(clock() + min(TICK, seconds), self, "keep-alive")

    def on_timer(self, name: str, now: float) -> None:
        if now >= self._ends and not self._round:
            self._begin(now)
        for _ in range(min(self._share, len(self._round))):
            self._tell(self._round.pop())
        self._timers.start(now + min(TICK, self._seconds), self, "keep-alive")

    def _begin(self, now: float) -> None:
        self._ends = now + self._seconds
        self._round = [
            binding
            for binding in self._registrar.all()
            if binding.transport == "UDP" and behind_nat(Uri.parse(binding.contact), binding.remote)
        ]
        self._share = -(-len(self._round) // max(1, int(self._seconds / TICK) - 1))

    def _tell(self, binding: Binding) -> None:
        with suppress(SipError):   # its network is away for now
            self._registrar.flow(binding).send(CRLF)
            self.sent += 1
