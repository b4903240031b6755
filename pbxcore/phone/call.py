"""One call of a phone, from its INVITE to its BYE: RFC 3261 sections 9, 12 to 15, RFC 3264. Sans I/O.

Early media and forks (13.2.2.4), offers in either direction, CANCEL that crosses a 200, a 2xx that nobody
acknowledges. What happens inside of an established call is in `pbxcore.phone.session`.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from pbxcore.phone.session import Session
from pbxcore.phone.wording import ALLOW, USER_AGENT, sdp_of
from pbxcore.sip import build
from pbxcore.sip.dialog import Dialog, Forks
from pbxcore.sip.errors import SipError
from pbxcore.sip.layer import Flow
from pbxcore.sip.message import Request, Response
from pbxcore.sip.transaction import ClientTransaction, ServerTransaction
from pbxcore.sip.uri import Uri

if TYPE_CHECKING:
    from pbxcore.phone.agent import PhoneAgent

SDP = ("Content-Type", "application/sdp")


class PhoneCallState(StrEnum):
    CALLING = "calling"      # ours, nothing heard yet
    RINGING = "ringing"      # either way
    UP = "up"
    ENDING = "ending"        # we have hung up, the other side has not said its last word
    ENDED = "ended"


CALLING, RINGING, UP, ENDING, ENDED = PhoneCallState


class PhoneCall:
    """A call. `status` is the last response's, 200 for one that was answered; times are those of the phone's clock."""

    def __init__(self, agent: PhoneAgent, direction: Literal["in", "out"], number: str, call_id: str) -> None:
        self.agent = agent
        self.direction = direction
        self.number = number                  # the other side, as user part
        self.name = ""                        # what it calls itself, on a call to us
        self.call_id = call_id
        self.state = CALLING
        self.status = 0
        self.reason = ""
        self.ended_by: Literal["us", "them", ""] = ""
        self.started_at = agent.clock()
        self.ringing_at: float | None = None
        self.answered_at: float | None = None
        self.ended_at: float | None = None
        self.media = agent.media(self)
        self.session = Session(self)
        self.dialog: Dialog | None = None     # the one that counts, once it does
        self._keys: list[str] = []
        self._forks: Forks | None = None
        self._client: ClientTransaction | None = None
        self._server: ServerTransaction | None = None
        self._invite: Request | None = None
        self._target = ""
        self._tag = agent.token()
        self._headers: Sequence[tuple[str, str]] = ()
        self._offer = b""                     # theirs, until it is answered
        self._answer = b""                    # ours to it
        self._late_offer = False
        self._tries = 0
        self._sequence = 0
        self._unacknowledged = False
        agent.calls.append(self)

    # ---- a call of ours

    @classmethod
    def outgoing(
        cls, agent: PhoneAgent, target: str, *, late_offer: bool, headers: Sequence[tuple[str, str]]
    ) -> PhoneCall:
        uri = Uri.parse(target)
        call = cls(agent, "out", uri.username or target, agent.token())
        call._target = target
        call._late_offer = late_offer
        call._headers = headers
        return call

    def send_invite(self, credentials: Sequence[tuple[str, str]] = ()) -> None:
        """Raises SipError when there is no way to the target; the call is over then."""
        agent = self.agent
        try:
            flow = agent.flow_for(self._target)
        except SipError as error:
            self._end(error.status, error.reason, "us")
            raise
        self._tries += 1
        self._sequence += 1
        offer = b"" if self._late_offer else self.media.offer("sendrecv")
        rows = [
            ("Max-Forwards", "70"),
            ("From", agent.from_value(self._tag)),
            ("To", f"<{self._target}>"),
            ("Call-ID", self.call_id),
            ("CSeq", f"{self._sequence} INVITE"),
            ("Contact", agent.contact(flow)),
            ("Allow", ALLOW),
            ("User-Agent", USER_AGENT),
            *self._headers,
            *credentials,
            *([SDP] if offer else []),
        ]
        self._invite = build.request("INVITE", self._target, rows, offer)
        self._forks = Forks(self._invite)
        self._client = agent.layer.request(self._invite, flow, self)

    def on_response(self, tx: ClientTransaction, response: Response) -> None:
        status = response.status
        if tx is not self._client or status == 100:
            return
        if status < 200:
            self._progress(response)
        elif status < 300:
            self._success(tx, response)
        elif status in (401, 407) and self.state is not ENDING and self._try_again(response):
            return
        else:
            self._end(status, response.reason, "us" if self.state is ENDING else "them")

    def _try_again(self, response: Response) -> bool:
        assert self._invite is not None
        credentials = self.agent.credentials.answer(response, self._invite, self._tries)
        if credentials:
            try:
                self.send_invite(credentials)
            except SipError:
                return True   # it has ended, and said so
        return bool(credentials)

    def _progress(self, response: Response) -> None:
        dialog = self._forks.take(response) if self._forks is not None else None
        if dialog is not None:
            self._join(dialog)
        if self.state is ENDING:
            return
        self.state = RINGING
        self.status = response.status
        self.ringing_at = self.ringing_at or self.agent.clock()
        early = _sdp_or_nothing(response)
        if early and not self._late_offer:
            try:
                self.media.accept(early)
                self.media.start()
            except SipError:
                early = b""   # not what we can play: the answer proper may be
        self.agent.listener.on_progress(self, response.status)

    def _success(self, tx: ClientTransaction, response: Response) -> None:
        layer = self.agent.layer
        if self.state in (UP, ENDING, ENDED) or self._forks is None or self._invite is None:
            layer.hang_up(tx, response)   # another fork's, or it crossed our CANCEL
            if self.state is ENDING:
                self._end(487, "Request Terminated", "us")
            return
        dialog = self._forks.take(response)
        if dialog is None:   # a 2xx without a To tag: RFC 2543
            dialog = Dialog.uac(self._invite, response)
        self._forks.drop_early()
        self._join(dialog)
        try:
            answer = self._agree(sdp_of(response))
        except SipError as error:
            layer.acknowledge(tx, dialog.ack(self._invite), self.dialog_flow(tx.flow), response)
            self._part(error.status, error.reason)
            return
        ack = dialog.ack(self._invite, headers=[SDP] if answer else (), body=answer)
        layer.acknowledge(tx, ack, self.dialog_flow(tx.flow), response)
        self._up()

    def _join(self, dialog: Dialog) -> None:
        """Requests inside of `dialog` come to us from now on; it is the one that counts till another does."""
        self.dialog = dialog
        if dialog.key not in self._keys:
            self._keys.append(dialog.key)
            self.agent.phones.calls[dialog.key] = self

    def _agree(self, theirs: bytes) -> bytes:
        """Takes their SDP in a 2xx; gives our answer when it was the offer. Raises SipError 488."""
        if self._late_offer:
            if not theirs:
                raise SipError(488, "No Offer")
            return self.media.answer(theirs)
        if theirs:
            self.media.accept(theirs)
        return b""

    def on_timeout(self, tx: ClientTransaction) -> None:
        if tx is self._client:
            self._end(408, "Request Timeout", "us" if self.state is ENDING else "them")

    # ---- a call to us

    @classmethod
    def incoming(cls, agent: PhoneAgent, tx: ServerTransaction, request: Request, offer: bytes) -> PhoneCall:
        """Raises SipError 488 when the offer does not fit."""
        call = cls(agent, "in", request.from_.uri.username, request.call_id)
        call.name = request.from_.display or ""
        call._server = tx
        call._invite = request
        call._offer = offer
        try:
            call._answer = call.media.answer(offer) if offer else b""
        except SipError:
            call.state = ENDED
            call._let_go()
            raise
        tx.owner = call
        call._join(Dialog.uas(request, call._tag, contact=agent.contact(tx.flow)))
        call.state = RINGING
        call.ringing_at = agent.clock()
        return call

    def apply_rules(self) -> None:
        """What the phone does by itself with a call that came."""
        if self.state is not RINGING:
            return
        after = self.agent.answer_after
        if after is not None and after <= 0:
            self.answer()
            return
        self.ring()
        if after is not None:
            self.agent.timers.start(self.agent.clock() + after, self, "answer")

    def on_timer(self, name: str, now: float) -> None:
        if self.state is RINGING and self.direction == "in":
            self.answer()

    def ring(self) -> None:
        self._respond(180)

    def progress(self) -> None:
        """Send 183 with our answer and let our audio be heard before we answer (early media)."""
        if self._respond(183, self._answer):
            self.media.start()

    def answer(self) -> None:
        """Take a call that rings; of no effect in any other state."""
        if self.state is not RINGING or self.direction == "out":
            return
        body = self._answer or self.media.offer("sendrecv")
        self._unacknowledged = True
        self._respond(200, body)
        if self.dialog is not None:
            self.dialog.confirm()
        self._up()

    def reject(self, status: int = 603) -> None:
        """Refuse a call that rings."""
        if self.state is RINGING and self.direction == "in" and self._respond(status):
            self._end(status, build.REASONS.get(status, ""), "us")

    def _respond(self, status: int, body: bytes = b"") -> bool:
        tx, request = self._server, self._invite
        if tx is None or request is None or self.state not in (RINGING, UP):
            return False
        rows = [("User-Agent", USER_AGENT)]
        if status < 300:
            rows += [("Contact", self.agent.contact(tx.flow)), ("Allow", ALLOW)]
        if body:
            rows.append(SDP)
        response = build.response(request, status, to_tag=self._tag, headers=rows, body=body)
        self.status = status
        self.agent.layer.respond(tx, response)
        return True

    def on_cancel(self, tx: ServerTransaction, cancel: Request) -> None:
        if self.state is RINGING and self._respond(487):
            self._end(487, "Request Terminated", "them")

    def on_ack(self, tx: ServerTransaction, ack: Request) -> None:
        self._unacknowledged = False
        if self.state is ENDING:
            self._send_bye()
        elif not self._offer and self.state is UP:
            try:
                self.media.accept(sdp_of(ack))
            except SipError as error:
                self._part(error.status, error.reason)
                return
            self.media.start()

    def on_no_ack(self, tx: ServerTransaction) -> None:
        self._unacknowledged = False
        if self.state is UP:
            self._part(408, "No ACK")
        elif self.state is ENDING:
            self._send_bye()

    # ---- either

    @property
    def invite(self) -> Request | None:
        """The INVITE as it was sent or received last, for what else it says; None before it is sent."""
        return self._invite

    def on_transport_error(self, tx: ClientTransaction | ServerTransaction) -> None:
        if self.state not in (UP, ENDED):
            self._end(503, "Service Unavailable", "us" if self.state is ENDING else "them")

    def on_request(self, tx: ServerTransaction, request: Request) -> None:
        """A request inside of our dialog."""
        self.session.on_request(tx, request)

    def dialog_flow(self, fallback: Flow) -> Flow:
        """The way to the other side's Contact: the connection we have with that address, or another."""
        assert self.dialog is not None
        uri = Uri.parse(self.dialog.next_hop)
        if (uri.host.strip("[]"), uri.port or 5060) == fallback.remote and not fallback.closed:
            return fallback
        try:
            return self.agent.route(str(uri))
        except SipError:
            return fallback

    def flow(self) -> Flow:
        """The flow for requests of ours inside of the dialog."""
        tx = self._client or self._server
        assert tx is not None
        return self.dialog_flow(tx.flow)

    def hang_up(self) -> None:
        """End the call in whatever state it is: CANCEL, refuse, or BYE."""
        if self.state is UP:
            self._part(self.status, self.reason)
        elif self.direction == "in":
            self.reject(self.agent.reject_with or 603)
        elif self.state in (CALLING, RINGING) and self._client is not None:
            self.state = ENDING
            self.agent.layer.cancel(self._client)

    def hold(self) -> None:
        """Put the other side on hold by re-INVITE (RFC 3264 section 8.4)."""
        self.session.set_hold(True)

    def resume(self) -> None:
        self.session.set_hold(False)

    def press(self, digits: str, *, info: bool = False) -> None:
        """Send digits, by RFC 4733 or, with `info`, by INFO requests."""
        if info:
            self.session.send_info(digits)
        else:
            self.media.press(digits)

    def transfer(self, target: str) -> None:
        """Blind transfer by REFER (RFC 3515); what becomes of it is told by `on_transfer`."""
        self.session.refer(self.agent.uri_of(target))

    def ended_by_peer(self) -> None:
        """They said BYE."""
        if self.state is RINGING and self.direction == "in":
            self._respond(487)
        self._end(self.status, self.reason, "us" if self.state is ENDING else "them")

    def lost(self, status: int, reason: str) -> None:
        """A request of ours inside of the dialog was answered that there is none (12.2.1.2)."""
        if self.state is UP:
            self._part(status, reason)

    def _up(self) -> None:
        self.state = UP
        self.status = 200
        self.reason = "OK"
        self.answered_at = self.agent.clock()
        if self.direction == "out" or self._offer:   # else their answer comes with the ACK
            self.media.start()
        self.agent.listener.on_answered(self)

    def _part(self, status: int, reason: str) -> None:
        """BYE, and the end told when it is answered; before our 200 has its ACK, BYE waits (section 15)."""
        self.state = ENDING
        self.status, self.reason = status, reason
        self.ended_at = self.agent.clock()
        self.media.close()
        if not self._unacknowledged:
            self._send_bye()

    def _send_bye(self) -> None:
        self.session.send_bye(lambda: self._end(self.status, self.reason, "us"))

    def _end(self, status: int, reason: str, by: Literal["us", "them"]) -> None:
        if self.state is ENDED:
            return
        self.state = ENDED
        self.status, self.reason = status, reason
        self.ended_by = by
        self.ended_at = self.ended_at or self.agent.clock()
        self._let_go()
        self.agent.listener.on_ended(self)

    def _let_go(self) -> None:
        self.media.close()
        if self in self.agent.calls:
            self.agent.calls.remove(self)
        for key in self._keys:
            self.agent.phones.calls.pop(key, None)
        if self.dialog is not None:
            self.dialog.terminate()
        if self._client is not None:
            self.agent.layer.release(self._client)
        self._forks = None


def _sdp_or_nothing(response: Response) -> bytes:
    try:
        return sdp_of(response)
    except SipError:
        return b""
