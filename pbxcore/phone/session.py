"""What happens inside of an established call: re-INVITE and UPDATE both ways, hold, INFO, transfer, BYE.

RFC 3261 sections 14 and 15, RFC 3264 section 8, RFC 3311, RFC 3515, RFC 6086. Sans I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from zlib import crc32

from pbxcore.phone.asking import Ask, Header
from pbxcore.phone.wording import (
    ALLOW,
    METHODS,
    USER_AGENT,
    content_type,
    digit_body,
    digit_of,
    fragment_status,
    sdp_of,
)
from pbxcore.sip import build
from pbxcore.sip.errors import SipError
from pbxcore.sip.message import Request, Response
from pbxcore.sip.transaction import ClientTransaction, ServerTransaction

if TYPE_CHECKING:
    from pbxcore.phone.call import PhoneCall

SDP = ("Content-Type", "application/sdp")


class Session:
    """The dialog's requests of one call, and its re-INVITEs."""

    def __init__(self, call: PhoneCall) -> None:
        self._call = call
        self._held_by_us = False
        self._held_by_them = False
        self._client: ClientTransaction | None = None   # our re-INVITE under way
        self._request: Request | None = None
        self._tries = 0
        self._server: ServerTransaction | None = None   # their re-INVITE without an offer: the answer comes in its ACK

    @property
    def held(self) -> bool:
        return self._held_by_us

    # ---- requests of theirs

    def on_request(self, tx: ServerTransaction, request: Request) -> None:
        call = self._call
        assert call.dialog is not None
        error = call.dialog.accept(request)
        if error is not None:
            self._respond(tx, error.status)
            return
        match request.method:
            case "BYE":
                self._respond(tx, 200)
                call.ended_by_peer()
            case "INVITE" | "UPDATE":
                self._offered(tx, request)
            case "INFO":
                self._respond(tx, 200)
                digit = digit_of(request)
                if digit is not None:
                    call.agent.listener.on_dtmf(call, digit)
            case "NOTIFY":
                self._notified(tx, request)
            case "OPTIONS":
                self._respond(tx, 200, [("Allow", ALLOW)])
            case "MESSAGE":
                self._respond(tx, 200)
                text = request.body.decode("utf-8", "replace")
                call.agent.listener.on_message(call.agent, request.from_.uri.username, text)
            case _:
                self._respond(tx, 405 if request.method in METHODS else 501, [("Allow", ALLOW)])

    def _respond(self, tx: ServerTransaction, status: int, rows: Sequence[Header] = (), body: bytes = b"") -> None:
        headers = [*rows, ("User-Agent", USER_AGENT)]
        self._call.agent.layer.respond(tx, build.response(tx.request, status, headers=headers, body=body))

    def _offered(self, tx: ServerTransaction, request: Request) -> None:
        """A re-INVITE or an UPDATE, with an offer or without."""
        call = self._call
        if self._client is not None:   # glare (14.2)
            self._respond(tx, 491)
            return
        if call.state != "up":   # the first offer is not answered yet (14.2, RFC 3311 section 5.2), or all is over
            ringing = call.state == "ringing"
            self._respond(tx, 500 if ringing else 481, [("Retry-After", "2")] if ringing else ())
            return
        try:
            offer = sdp_of(request)
            if offer:
                body = call.media.answer(offer)
            else:
                body = call.media.offer(self._direction()) if request.method == "INVITE" else b""
        except SipError as error:
            self._respond(tx, error.status)
            return
        assert call.dialog is not None
        call.dialog.refresh(request)
        if request.method == "INVITE":
            tx.owner = self
            self._server = None if offer else tx
        rows = [("Contact", call.agent.contact(tx.flow)), ("Allow", ALLOW), *([SDP] if body else [])]
        self._respond(tx, 200, rows, body)
        if offer:
            self._hear_hold()

    def _direction(self) -> str:
        return "sendonly" if self._held_by_us else "sendrecv"

    def _hear_hold(self) -> None:
        held = self._call.media.held
        if held != self._held_by_them:
            self._held_by_them = held
            self._call.agent.listener.on_held(self._call, held)

    def on_ack(self, tx: ServerTransaction, ack: Request) -> None:
        if tx is not self._server:
            return
        self._server = None
        try:
            self._call.media.accept(sdp_of(ack))
        except SipError as error:
            self._call.lost(error.status, error.reason)
            return
        self._hear_hold()

    def on_cancel(self, tx: ServerTransaction, cancel: Request) -> None:
        """Too late: every re-INVITE is answered at once."""

    def on_no_ack(self, tx: ServerTransaction) -> None:
        self._call.lost(408, "No ACK")

    def on_transport_error(self, tx: ServerTransaction | ClientTransaction) -> None:
        if tx is self._client:
            self._finished(503)

    def _notified(self, tx: ServerTransaction, request: Request) -> None:
        event = (request.first("event") or "").partition(";")[0].strip().lower()
        if event != "refer":
            self._respond(tx, 489)
            return
        self._respond(tx, 200)
        told = fragment_status(request.body) if content_type(request) == "message/sipfrag" else None
        if told is not None:
            self._call.agent.listener.on_transfer(self._call, *told)

    # ---- requests of ours

    def _ask(
        self,
        method: str,
        rows: Sequence[Header] = (),
        body: bytes = b"",
        done: Callable[[int, str, Response | None], None] | None = None,
    ) -> None:
        call = self._call
        dialog = call.dialog
        if dialog is None:
            return

        def make(credentials: Sequence[Header]) -> Request:
            return dialog.request(method, headers=[("User-Agent", USER_AGENT), *rows, *credentials], body=body)

        def finished(status: int, reason: str, response: Response | None) -> None:
            if status in (408, 481) and method != "BYE":
                call.lost(status, reason)
            if done is not None:
                done(status, reason, response)

        Ask(call.agent, make, call.flow(), finished)

    def send_bye(self, then: Callable[[], None]) -> None:
        self._ask("BYE", done=lambda status, reason, response: then())

    def send_info(self, digits: str) -> None:
        for digit in digits:
            kind, body = digit_body(digit)
            self._ask("INFO", [("Content-Type", kind)], body)

    def refer(self, target: str) -> None:
        call = self._call

        def done(status: int, reason: str, response: Response | None) -> None:
            call.agent.listener.on_transfer(call, status, reason)

        rows = [("Refer-To", f"<{target}>"), ("Referred-By", f"<{call.agent.aor}>")]
        self._ask("REFER", rows, done=done)

    def set_hold(self, held: bool) -> None:
        self._held_by_us = held
        if self._client is None:
            self._tries = 0
            self._reinvite()

    def _reinvite(self, credentials: Sequence[Header] = ()) -> None:
        call = self._call
        if call.dialog is None or call.state != "up":
            return
        self._tries += 1
        rows = [("Allow", ALLOW), ("User-Agent", USER_AGENT), *credentials, SDP]
        body = call.media.offer(self._direction())
        self._request = call.dialog.request("INVITE", headers=rows, body=body)
        self._client = call.agent.layer.request(self._request, call.flow(), self)

    def on_response(self, tx: ClientTransaction, response: Response) -> None:
        status = response.status
        if tx is not self._client or status < 200:
            return
        if status in (401, 407) and self._request is not None:
            credentials = self._call.agent.credentials.answer(response, self._request, self._tries)
            if credentials:
                self._reinvite(credentials)
                return
        if status < 300:
            self._accepted(tx, response)
        self._finished(status)

    def _accepted(self, tx: ClientTransaction, response: Response) -> None:
        call = self._call
        assert call.dialog is not None
        assert self._request is not None
        call.dialog.refresh(response)
        call.agent.layer.acknowledge(tx, call.dialog.ack(self._request), call.flow(), response)
        call.agent.layer.release(tx)
        try:
            call.media.accept(sdp_of(response))
        except SipError as error:
            call.lost(error.status, error.reason)

    def on_timeout(self, tx: ClientTransaction) -> None:
        if tx is self._client:
            self._finished(408)

    def _finished(self, status: int) -> None:
        call = self._call
        wanted = self._held_by_us
        asked = self._request
        self._client = self._request = None
        if status == 491 and asked is not None:   # 14.1: the owner of the Call-ID waits longer, so that one side wins
            share = crc32(call.agent.token().encode()) / 2**32
            pause = 2.1 + 1.9 * share if call.direction == "out" else 2.0 * share
            call.agent.timers.start(call.agent.clock() + pause, self, "glare")
            return
        if status in (408, 481):
            call.lost(status, build.REASONS[status])
        call.agent.listener.on_hold_done(call, status)
        if asked is not None and status < 300 and wanted != (b"a=sendonly" in asked.body):
            self._reinvite()   # it was changed while the answer was on its way

    def on_timer(self, name: str, now: float) -> None:
        if self._client is None:
            self._tries = 0
            self._reinvite()
