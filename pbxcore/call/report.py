"""How a REFER goes, told to its sender: the notifications of the subscription that it makes (RFC 3515 section 2.4.4).

Never more than one is on its way; of what happens meanwhile the last is told. The subscription lives in the dialog of
the call, and may outlive the call itself (RFC 5057 section 4): it keeps what it needs of the leg.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pbxcore.call.leg import Leg
from pbxcore.sip import build
from pbxcore.sip.layer import Layer
from pbxcore.sip.message import Request, Response
from pbxcore.sip.timers import Timers
from pbxcore.sip.transaction import ClientTransaction, ServerTransaction

SECONDS = 180          # how long a transfer may take, as the subscriber is told; its end comes before
PATIENCE = 2.0         # seconds until what is to follow the last notification follows it, answered or not
FRAGMENT = "message/sipfrag;version=2.0"


class Host(Protocol):
    """The exchange, as far as this needs it."""

    layer: Layer
    timers: Timers
    clock: Callable[[], float]


class Report:
    """`number` is the CSeq of the REFER, by which every notification says what it is about (2.4.6 allows it for the
    first of a dialog, too: which that was its sender cannot know when two overtake each other). With `silent` nothing
    is sent (RFC 4488), and what is to follow follows at once."""

    __slots__ = ("_event", "_host", "_leg", "_next", "_then", "_waits", "over", "silent", "told")

    def __init__(self, host: Host, leg: Leg, number: int, *, silent: bool = False) -> None:
        self._host = host
        self._leg = leg
        self._event = f"refer;id={number}"
        self._next: str | None = None
        self._waits = False
        self._then: Callable[[], None] | None = None
        self.told = ""
        self.over = False
        self.silent = silent

    def tell(self, status: int, reason: str = "") -> None:
        """A provisional status of what the REFER has led to."""
        line = f"SIP/2.0 {status} {reason or build.REASONS.get(status, 'Progress')}"
        if not self.over and line != self.told:
            self.told = line
            self._send()

    def close(self, status: int, reason: str = "", then: Callable[[], None] | None = None) -> None:
        """The final one. `then` is called when the subscriber has it, or soon after."""
        if self.over:
            return
        self.told = f"SIP/2.0 {status} {reason or build.REASONS.get(status, 'Done')}"
        self.over = True
        self._then = then
        if self.silent:
            self._follow()
        else:
            self._host.timers.start(self._host.clock() + PATIENCE, self, "patience")
            self._send()

    def subscribed(self, tx: ServerTransaction, request: Request) -> None:
        """A SUBSCRIBE to this very subscription: refreshed, or ended by its subscriber (2.4.4)."""
        wanted = (request.first("expires") or "").strip()
        seconds = min(int(wanted), SECONDS) if wanted.isascii() and wanted.isdigit() and len(wanted) < 10 else SECONDS
        dialog = self._leg.dialog
        rows = [("Expires", str(seconds)), ("Contact", dialog.contact if dialog is not None else "")]
        self._host.layer.respond(tx, build.response(request, 200, headers=rows))
        if not self.over:
            self._send("active" if seconds else "terminated;reason=timeout")
            self.silent = self.silent or not seconds

    # ---- out

    def _send(self, state: str = "") -> None:
        dialog = self._leg.dialog
        if self.silent or dialog is None:
            return
        if self._waits:
            self._next = state
            return
        self._waits = True
        state = state or ("terminated;reason=noresource" if self.over else "active")
        rows = [
            ("Event", self._event),
            ("Subscription-State", f"{state};expires={SECONDS}" if state == "active" else state),
            ("Content-Type", FRAGMENT),
            ("User-Agent", "Hookline"),
        ]
        request = dialog.request("NOTIFY", headers=rows, body=f"{self.told}\r\n".encode("utf-8", "replace"))
        self._host.layer.request(request, self._leg.way_for(dialog), self)

    def _follow(self) -> None:
        then, self._then = self._then, None
        if then is not None:
            then()

    # ---- ClientOwner

    def on_response(self, tx: ClientTransaction, response: Response) -> None:
        if response.status < 200:
            return
        self._waits = False
        if response.status >= 300:  # it does not want to hear more
            self.silent = True
        state, self._next = self._next, None
        if state is not None and not self.silent:
            self._send(state)
        elif self.over:
            self._follow()

    def on_timeout(self, tx: ClientTransaction) -> None:
        self.silent = True
        self._follow()

    def on_transport_error(self, tx: ClientTransaction | ServerTransaction) -> None:
        self.silent = True
        self._follow()

    def on_timer(self, name: str, now: float) -> None:
        self._follow()
