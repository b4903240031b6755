"""One subscription (RFC 6665 section 4.2): its dialog, its end, and its notifications one after the other.

Never more than one NOTIFY is on its way, and never two within the package's `gap`; what changes meanwhile is gathered,
so that the watcher gets the newest state and not every one. A NOTIFY that nobody takes ends the subscription.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Protocol

from pbxcore.call.drive import Deadline
from pbxcore.call.subscriptions.package import Package
from pbxcore.sip.dialog import Dialog
from pbxcore.sip.errors import SipError
from pbxcore.sip.layer import Flow, Layer
from pbxcore.sip.message import Request, Response
from pbxcore.sip.timers import Timers
from pbxcore.sip.transaction import ClientTransaction

MAX_PENDING = 64          # parts that are gathered; beyond that the whole state says it shorter
MAX_FAILURES = 3          # notifications in a row that the watcher's side was in trouble with
RETRY_SECONDS = (5.0, 60.0)


class Host(Protocol):
    """The exchange, as far as a subscription needs it. `clock` is monotonic seconds."""

    layer: Layer
    timers: Timers
    clock: Callable[[], float]

    def flow_to(self, transport: str, host: str, port: int) -> Flow: ...


class Subscription:
    """`event` is the value of its Event header, `watcher` the extension whose phone it is. `gone` is told the
    subscription when nothing of it is left."""

    __slots__ = (
        "_deadline", "_dirty", "_failures", "_gone", "_host", "_not_before", "_outstanding", "_urgent", "dialog",
        "entity", "event", "expires_at", "flow", "package", "pending", "reason", "resource", "version", "watcher",
        "whole",
    )  # fmt: skip

    def __init__(
        self, host: Host, package: Package, watcher: str, resource: str, entity: str, event: str, dialog: Dialog,
        flow: Flow, gone: Callable[[Subscription], None],
    ) -> None:  # fmt: skip
        self._host = host
        self.package = package
        self.watcher = watcher
        self.resource = resource
        self.entity = entity
        self.event = event
        self.dialog = dialog
        self.flow = flow
        self.expires_at = 0.0
        self.version = 0
        self.whole = True
        self.pending: dict[str, object] = {}
        self.reason: str | None = None  # why it ends, once it does
        self._gone: Callable[[Subscription], None] | None = gone
        self._deadline = Deadline(self, host.timers)
        self._dirty = self._urgent = self._outstanding = False
        self._failures = 0
        self._not_before = 0.0

    @property
    def key(self) -> tuple[str, str]:
        return self.dialog.call_id, self.dialog.local_tag

    @property
    def left(self) -> int:
        """Seconds until it expires."""
        return max(0, round(self.expires_at - self._host.clock()))

    # ---- what happens to it

    def renew(self, seconds: int, flow: Flow) -> None:
        """A SUBSCRIBE was accepted: the whole state follows at once (4.2.1.1), whatever was said a moment ago."""
        self.flow = flow
        self.expires_at = self._host.clock() + seconds
        self.whole = self._dirty = self._urgent = True
        if not seconds:
            self.reason = "timeout"
        self._go()

    def changed(self, parts: Mapping[str, object]) -> None:
        """Something of the resource changed; the watcher hears of it as soon as he may, and not behind the end."""
        if self.reason is not None:
            return
        self.pending.update(parts)
        if len(self.pending) > MAX_PENDING:
            self.pending.clear()
            self.whole = True
        self._dirty = True
        self._go()

    def end(self, reason: str) -> None:
        """End it with a last notification; `reason` is the value and the parameters of RFC 6665 section 4.1.3."""
        if self.reason is None:
            self.reason = reason
            self.whole = self._dirty = True
            self._go()

    def drop(self) -> None:
        """Forget it without a word."""
        gone, self._gone = self._gone, None
        self._deadline.drop()
        if gone is not None:
            gone(self)

    def on_deadline(self) -> None:
        if self.reason is None and self._host.clock() >= self.expires_at:
            self.end("timeout")
        else:
            self._go()

    # ---- notifications

    def _go(self) -> None:
        if self._gone is None or self._outstanding:
            return
        now = self._host.clock()
        if self._dirty and (self._urgent or self.reason is not None or now >= self._not_before):
            self._notify(now)
            return
        self._deadline.set(min(self.expires_at, self._not_before) if self._dirty else self.expires_at, now)

    def _notify(self, now: float) -> None:
        body = self.package.document(self)
        request = self.dialog.request("NOTIFY", headers=self._headers(), body=body)
        self.version += 1
        self.pending.clear()
        self.whole = self._dirty = self._urgent = False
        self._not_before = now + self.package.gap
        self._outstanding = True
        self._deadline.set(self.expires_at, now)
        self._host.layer.request(request, self._way(), self)

    def _headers(self) -> list[tuple[str, str]]:
        state = f"active;expires={self.left}" if self.reason is None else f"terminated;reason={self.reason}"
        return [
            ("Event", self.event),
            ("Subscription-State", state),
            ("Content-Type", self.package.content_type),
            ("User-Agent", "Hookline"),
        ]

    def _way(self) -> Flow:
        """Where the watcher was last heard from; a connection that is gone is made anew."""
        if self.flow.closed:
            with suppress(SipError):
                self.flow = self._host.flow_to(self.flow.transport, *self.flow.remote)
        return self.flow

    # ---- ClientOwner

    def on_response(self, tx: ClientTransaction, response: Response) -> None:
        """What the watcher's phone said (4.2.2): no means that it does not want to hear any more; trouble is waited
        for."""
        status = response.status
        if status < 200:
            return
        self._outstanding = False
        if self.reason is not None and not self._dirty:
            self.drop()
        elif status < 300:
            self._failures = 0
            self.dialog.refresh(response)
            self._go()
        elif 500 <= status < 600 and status != 501 and self._failures < MAX_FAILURES - 1:
            self._failures += 1
            self.whole = self._dirty = True
            self._not_before = self._host.clock() + _retry_after(response)
            self._go()
        else:
            self.drop()

    def on_timeout(self, tx: ClientTransaction) -> None:
        self.drop()

    def on_transport_error(self, tx: ClientTransaction) -> None:
        self.drop()

    def accept(self, request: Request, flow: Flow) -> SipError | None:
        """Take a SUBSCRIBE inside of the dialog in, or say what it is refused with (RFC 3261 section 12.2.2)."""
        refused = self.dialog.accept(request)
        if refused is None:
            self.dialog.refresh(request)
            self.flow = flow
        return refused


def _retry_after(response: Response) -> float:
    least, most = RETRY_SECONDS
    text = (response.first("retry-after") or "").partition(";")[0].partition("(")[0].strip()
    return min(most, max(least, float(text[:6]))) if text.isascii() and text.isdigit() else least
