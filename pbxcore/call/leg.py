"""One side of a call as SIP sees it: its dialog, its flow, and the transactions inside of it.

A leg turns what the transaction layer tells into signals for the call's coroutine. `CallerLeg` is the dialog that came
in (RFC 3261 section 12.1.1); one that the exchange opened is in `branch`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from pbxcore.call.abilities import SUPPORTED, asks, supported
from pbxcore.call.registrar import contact_port
from pbxcore.call.reliable import Acknowledger, Reliably
from pbxcore.call.session_timer import SessionTimer, Wanted
from pbxcore.call.signal import ACK, CANCEL, NO_ACK, PRACKED, REQUEST, RESPONSE, UNREACHED, Notice, Signal
from pbxcore.call.tailor import offered
from pbxcore.call.trunks import Trunk
from pbxcore.profiles import PhoneProfile
from pbxcore.sip import build
from pbxcore.sip.dialog import Dialog
from pbxcore.sip.errors import SipError
from pbxcore.sip.headers import NameAddr
from pbxcore.sip.layer import Flow, Layer
from pbxcore.sip.message import Field, Request, Response
from pbxcore.sip.transaction import ClientTransaction, ServerTransaction
from pbxcore.sip.uri import join_host

if TYPE_CHECKING:
    from pbxcore.call.b2bua import LiveCall

ALLOW = "INVITE, ACK, CANCEL, BYE, PRACK, UPDATE, OPTIONS, INFO, MESSAGE, REGISTER, SUBSCRIBE, PUBLISH, REFER"
ALLOWED: Field = ("allow", f"Allow: {ALLOW}")
REFRESHING = ("INVITE", "UPDATE")  # RFC 4028 section 4
SDP_TYPE: Field = ("content-type", "Content-Type: application/sdp")
# RFC 7118 section 5.2: the URI of a secure WebSocket says ws, too.
URI_TRANSPORT = {
    "UDP": "", "TCP": ";transport=tcp", "TLS": ";transport=tls", "WS": ";transport=ws", "WSS": ";transport=ws",
}  # fmt: skip


PLAINLY = (ALLOWED, SUPPORTED)


class LegHost(Protocol):
    """The exchange, as far as a leg needs it."""

    layer: Layer
    dialogs: dict[tuple[str, str], Leg]
    trail: deque[tuple[str, str]]
    session: Wanted

    def flow_to(self, transport: str, host: str, port: int) -> Flow: ...


def contact_of(user: str, flow: Flow, *, secure: bool = False) -> str:
    """Our Contact towards a peer, with angle brackets; `secure` makes it a sips URI (RFC 3261 section 8.1.1.8)."""
    return f"<{'sips' if secure else 'sip'}:{user}{'@' if user else ''}{_place(flow.local, flow.transport)}"


@lru_cache(maxsize=64)
def _place(local: tuple[str, int], transport: str) -> str:
    """What every Contact of ours on one socket ends with."""
    return f"{join_host(*local)}{URI_TRANSPORT[transport]}>"


class Leg:
    """What both kinds share. `call` is None once the call has nothing more to do with the leg."""

    __slots__ = ("call", "dialog", "early", "ending", "flow", "host", "identity", "key", "label", "make", "party",
                 "renames", "sdp", "session", "trunk", "untold", "updates")  # fmt: skip

    def __init__(
        self, host: LegHost, call: LiveCall | None, label: str, party: str, flow: Flow, trunk: Trunk | None
    ) -> None:
        self.host = host
        self.call: LiveCall | None = call
        self.label = label
        self.party = party
        self.flow = flow
        self.trunk = trunk
        self.make: PhoneProfile | None = None   # of phones that need something special
        self.dialog: Dialog | None = None
        self.key = ("", "")
        self.ending = False
        self.sdp = b""  # what it has said last of its media
        self.session: SessionTimer | None = None
        self.early: Acknowledger | None = None  # once a branch has told us something reliably
        self.updates = False  # whether the peer takes UPDATE
        self.renames = False  # whether our From may change for it (RFC 4916)
        self.identity: tuple[Field, ...] = ()  # whom it speaks to, where that has changed (`connected`)
        self.untold = False  # and it has not been told yet

    def _enter(self, call_id: str, local_tag: str) -> None:
        self.key = (call_id, local_tag)
        self.host.dialogs[self.key] = self
        if self.call is not None:
            self.host.trail.append((self.call.call.offered.call_id, call_id))
        if self.trunk is not None:
            self.trunk.calls += 1

    def _join(self, dialog: Dialog) -> None:
        """The dialog that our INVITE has made."""
        self.dialog = dialog
        self._head_for(dialog, self.flow)

    def _head_for(self, dialog: Dialog, flow: Flow) -> None:
        """Where requests of ours inside of the dialog go: to a phone where it was last heard from, because that is the
        way its NAT keeps open; to a carrier by its routes and its Contact (12.2.1.1)."""
        before = self.flow.local
        self.flow = flow if self.trunk is None else self.trunk.flow_for(dialog.next_hop, flow)
        if self.make is not None and self.make.reach == "contact":
            self.flow = self._at_contact(dialog, flow)
        if self.flow.local != before:   # a phone that has left the office with its call: another address leads to us
            own = NameAddr.parse(dialog.contact).uri
            dialog.contact = contact_of(own.user or "", self.flow, secure=own.scheme == "sips")

    def _at_contact(self, dialog: Dialog, flow: Flow) -> Flow:
        """The way to a phone that does not listen where it sends from."""
        with suppress(SipError):
            port = contact_port(dialog.remote_target, flow.remote[0])
            if port is not None and not flow.reliable:
                return self.host.flow_to(flow.transport, flow.remote[0], port)
        return flow

    def leave(self) -> None:
        """Forget the dialog: nothing of it is expected any more."""
        self.call = None
        if self.early is not None:
            self.early.close()
        if self.host.dialogs.pop(self.key, None) is not None and self.trunk is not None:
            self.trunk.calls -= 1

    # ---- out

    def send(self, method: str, fields: Sequence[Field] = (), body: bytes = b"") -> ClientTransaction:
        """A request inside of the dialog; its responses come back as signals."""
        dialog = self.dialog
        if dialog is None:
            raise ValueError("a leg without a dialog sends nothing inside of one")
        if body and self.make is not None:
            body = offered(body, self.make)
        request = dialog.request(method, rows=fields, body=body)
        if method in REFRESHING:
            request.fields += self.refreshing_rows()
        return self.host.layer.request(request, self._way(), self)

    def refreshing_rows(self) -> list[Field]:
        """What we are able to, and what is to become of the session timer."""
        rows = [ALLOWED, *supported(self), *self.identity]
        return rows + self.session.ask() if self.session is not None else rows

    def accepting(self, request: Request) -> list[Field]:
        """The rows of our 2xx to a re-INVITE or an UPDATE of the peer."""
        dialog = self.dialog_with(request.from_tag)
        rows = [("contact", f"Contact: {dialog.contact}")] if dialog is not None else []
        rows += [ALLOWED, *supported(self)]
        if self.session is None and "session-expires" in request:
            self.session = SessionTimer(self.host.session)
        if self.session is not None:
            rows += self.session.answer(request, asks(self, self.host.session), self.host.layer.clock())
        return rows

    def accepted(self, response: Response) -> None:
        """A re-INVITE or an UPDATE of ours was answered 2xx."""
        if self.dialog is not None:
            self.dialog.refresh(response)
        if self.session is not None:
            self.session.answered(response, self.host.layer.clock())

    def way_for(self, dialog: Dialog) -> Flow:
        """The flow to the peer of a dialog that is not the leg's own yet."""
        return self._way() if self.trunk is None else self.trunk.flow_for(dialog.next_hop, self._way())

    def _way(self) -> Flow:
        """The flow to the peer, made anew when its connection is gone; where that cannot be, the layer will tell."""
        if self.flow.closed:
            with suppress(SipError):
                reopen = self.host.flow_to if self.trunk is None else self.trunk.again
                self.flow = reopen(self.flow.transport, *self.flow.remote)
        return self.flow

    def bye(self, fields: Sequence[Field] = ()) -> None:
        """End the dialog; the leg is forgotten when the peer has answered."""
        if self.ending:
            return
        self.ending = True
        self.call = None
        if self.dialog is None:
            self.leave()
        else:
            self.send("BYE", fields)

    def gives_up(self, signal: Signal) -> bool:
        """Whether the call that this leg came in with is cancelled, and not an offer inside of its dialog."""
        return False

    def dialog_with(self, tag: str | None) -> Dialog | None:
        """The dialog with the peer of this tag; an early one, too."""
        return self.dialog

    def with_credentials(self, request: Request, response: Response) -> Request | None:
        """The request anew with the trunk's credentials; None when it has none, or has been refused with them."""
        row = self.trunk.authorize(request, response) if self.trunk is not None else None
        if row is None or row[0] in request:
            return None
        again = Request(request.method, request.uri, [f for f in request.fields if f[0] != "via"], request.body)
        dialog = self.dialog_with(request.to_tag)
        number = request.cseq.number + 1
        if dialog is not None:
            dialog.local_seq += 1
            number = dialog.local_seq
        again.replace("CSeq", f"{number} {request.method}")
        again.fields.append(row)
        return again

    # ---- what the layer tells (ClientOwner)

    def on_response(self, tx: ClientTransaction, response: Response) -> None:
        status = response.status
        if status < 200:
            return
        if status in (401, 407) and tx.request is not None:
            again = self.with_credentials(tx.request, response)
            if again is not None:
                new = self.host.layer.request(again, self._way(), self)
                if self.call is not None:
                    self.call.resent(tx, new)
                return
        if self.call is None and status < 300 and response.cseq.method == "INVITE":
            self.settle(tx, response)
        elif self.call is None and self.ending:  # as nearly always: the answer to our BYE
            self.leave()
        else:
            self._settle(Signal(RESPONSE, self, None, None, tx, response))

    def on_timeout(self, tx: ClientTransaction) -> None:
        self._settle(Notice(UNREACHED, self, client=tx, status=408))

    def on_transport_error(self, tx: ClientTransaction | ServerTransaction) -> None:
        if isinstance(tx, ClientTransaction):
            self._settle(Notice(UNREACHED, self, client=tx, status=503))

    def _settle(self, signal: Signal) -> None:
        if self.call is not None:
            self.call.post(signal)
        elif self.ending:
            self.leave()

    def settle(self, tx: ClientTransaction, response: Response | None) -> None:
        """What a request came to (None: nothing) when the call had let go of the leg: a re-INVITE that was answered is
        acknowledged all the same."""
        if response is None or not 200 <= response.status < 300 or response.cseq.method != "INVITE":
            return
        if self.dialog is not None:
            self.host.layer.acknowledge(tx, self.dialog.ack(tx.request), self._way(), response)

    # ---- what arrives inside of the dialog

    def on_request(self, tx: ServerTransaction, request: Request) -> None:
        """A request with the tags of this leg, checked against its dialog."""
        layer = self.host.layer
        if self.dialog is not None and (request.from_tag or "") != self.dialog.remote_tag:
            layer.respond(tx, build.response(request, 481))  # another fork of the same INVITE
            return
        if self.ending or self.call is None:
            status = 200 if request.method == "BYE" else 481
            layer.respond(tx, build.response(request, status))
            return
        dialog = self.dialog if self.early is None else self.dialog_with(request.from_tag)
        if dialog is not None:
            refused = dialog.accept(request)
            if refused is not None:
                layer.respond(tx, build.response(request, refused.status, refused.reason))
                return
            if request.method != "BYE":  # after which there is nothing to send
                dialog.refresh(request)
                if dialog is self.dialog:
                    self._head_for(dialog, tx.flow)
        tx.owner = self
        if request.method == "PRACK":
            self.on_prack(tx, request)
        else:
            self.call.post(Signal(REQUEST, self, tx, request))

    def on_prack(self, tx: ServerTransaction, prack: Request) -> None:
        """We have sent nothing reliably here."""
        self.host.layer.respond(tx, build.response(prack, 481))

    # ---- ServerOwner

    def on_cancel(self, tx: ServerTransaction, cancel: Request) -> None:
        if self.call is not None:
            self.call.post(Signal(CANCEL, self, tx, cancel))

    def on_ack(self, tx: ServerTransaction, ack: Request) -> None:
        call = self.call
        if call is not None and (call.conversation is None or not call.conversation.acknowledged(self, ack)):
            call.post(Signal(ACK, self, tx, ack))

    def on_no_ack(self, tx: ServerTransaction) -> None:
        if self.call is not None:
            self.call.post(Signal(NO_ACK, self, tx))


def _is_secure(invite: Request) -> bool:
    """RFC 3261 section 12.1.1: our Contact is sips when the Request-URI is, or the topmost Record-Route, or without one
    the Contact. Looked for in the text: hardly ever there, and all of it costs a call less than one view."""
    rows = invite.first_lines
    row = rows.get("record-route") or rows.get("contact") or ""
    return invite.uri[:5] == "sips:" or "sips:" in row.partition(",")[0]


class CallerLeg(Leg):
    """The leg that came in: `invite` and `tx` are the INVITE and its transaction until it is answered."""

    __slots__ = ("invite", "reliable", "tx")

    def __init__(
        self, host: LegHost, call: LiveCall, tx: ServerTransaction, invite: Request, party: str, trunk: Trunk | None
    ) -> None:
        Leg.__init__(self, host, call, "a", party, tx.flow, trunk)
        self.tx: ServerTransaction | None = tx
        self.reliable: Reliably | None = None
        self.invite = invite
        self._enter(invite.call_id, host.layer.token())
        tx.owner = self

    def open(self) -> Dialog:
        """The dialog that our first response makes (12.1.1). Not made with the leg: the phone that is to ring would
        wait for it."""
        dialog = self.dialog
        if dialog is None:
            invite = self.invite
            contact = contact_of(invite.request_uri.user or "", self.flow, secure=_is_secure(invite))
            dialog = self.dialog = Dialog.uas(invite, self.key[1], contact=contact)
        return dialog

    def on_transport_error(self, tx: ClientTransaction | ServerTransaction) -> None:
        """The caller's connection is gone: before an answer that is a caller who gave up."""
        if tx is self.tx and self.call is not None:
            self.call.post(Signal(CANCEL, self, tx))
        else:
            super().on_transport_error(tx)

    def respond(self, status: int, reason: str | None = None, fields: Sequence[Field] = (), body: bytes = b"") -> None:
        """Answer the INVITE; after a final response there is nothing left to answer."""
        tx = self.tx
        if tx is None:
            return
        dialog = self.dialog or self.open()
        rows: list[Field] = []
        if status < 300:
            rows.append(("contact", f"Contact: {dialog.contact}"))
            if status >= 200:
                profile = self.trunk.profile if self.trunk is not None else self.make
                plain = profile is None or (profile.reliable != "avoid" and profile.session_timer != "avoid")
                rows += PLAINLY if plain else (ALLOWED, *supported(self))
                if self.session is not None:
                    wanted = self.host.session
                    rows += self.session.answer(self.invite, asks(self, wanted), self.host.layer.clock())
                dialog.confirm()
                self._head_for(dialog, self.flow)
        if body:
            rows.append(SDP_TYPE)
        if fields:
            rows += fields
        response = build.response(self.invite, status, reason, to_tag=dialog.local_tag, rows=rows, body=body)
        reliable = self.reliable
        if status >= 200:
            self.tx = None
            if reliable is not None:
                reliable.stop()
        elif reliable is not None and status > 100 and (body or reliable.always):
            reliable.send(response)
            return
        self.host.layer.respond(tx, response)

    def gives_up(self, signal: Signal) -> bool:
        return signal.kind is CANCEL and signal.server is self.tx

    def on_prack(self, tx: ServerTransaction, prack: Request) -> None:
        """For what was sent reliably; with a body it is for the call, which it brings an offer or an answer."""
        if self.reliable is None or not self.reliable.acknowledged(prack):
            super().on_prack(tx, prack)
            return
        if not prack.body:
            self.host.layer.respond(tx, build.response(prack, 200))
        if self.call is not None:
            kind = REQUEST if prack.body else PRACKED
            self.call.post(Signal(kind, self, tx, prack))
