"""The transaction layer: RFC 3261 sections 8.2.2.2, 9, 17.1.3, 17.2.3, 18.1.2, 18.2 and RFC 3581.

Finds the transaction of every message, opens new ones, and keeps those duties of the UA core that are about sending
again: 2xx until its ACK (13.3.1.4), ACK for every copy of a 2xx (13.2.2.4), CANCEL after a provisional (9.1).
`transaction` has the machines, `dialog` the dialogs; calls are made elsewhere. Opens no sockets and reads no clock.

Counted and dropped: responses that match nothing or whose Via is not ours, what cannot be answered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol
from zlib import crc32

from pbxcore.sip import build, message
from pbxcore.sip.addresses import is_stranded
from pbxcore.sip.dialog import farewell
from pbxcore.sip.errors import ParseError, SipError
from pbxcore.sip.figures import Input, State
from pbxcore.sip.message import Request, Response
from pbxcore.sip.timers import Lane, Timers
from pbxcore.sip.transaction import (
    SPENT,
    TIMER_TRYING,
    TRYING_DELAY,
    ClientTransaction,
    InviteClient,
    InviteServer,
    NonInviteClient,
    NonInviteServer,
    ServerTransaction,
)
from pbxcore.sip.uri import join_host, same_host

COOKIE = "z9hG4bK"
ACCEPTED = State.ACCEPTED
ACK, CANCEL, REFUSAL = Input.ACK, Input.CANCEL, Input.REFUSAL
TRANSPORT_ERROR = Input.TRANSPORT_ERROR
UNHEARD = (State.CALLING, State.TRYING)
MOST_BY_UDP = 1300
"""Bytes of a request; a larger one tries TCP first (18.1.1: the path MTU is not known)."""


class Flow(Protocol):
    """A way to one peer (RFC 5626): a stream, or the address of a peer on a UDP socket. `net` has the real ones."""

    @property
    def transport(self) -> str:
        """As in Via: UDP, TCP, TLS, WS, WSS."""

    @property
    def reliable(self) -> bool: ...
    @property
    def local(self) -> tuple[str, int]:
        """What goes into Via and Contact towards this peer; never a wildcard."""

    @property
    def remote(self) -> tuple[str, int]: ...
    @property
    def closed(self) -> bool: ...
    def send(self, data: bytes) -> None:
        """Never raises, never blocks."""


class TransactionUser(Protocol):
    def on_request(self, tx: ServerTransaction, request: Request) -> None:
        """Every new request but ACK and CANCEL, inside of dialogs too. It is to be answered by `Layer.respond`."""

    def on_stray_ack(self, request: Request, flow: Flow) -> None:
        """An ACK that matches nothing; may be ignored."""


class ServerOwner(Protocol):
    """Who follows an INVITE that we received: `ServerTransaction.owner`, set in `on_request`."""

    def on_cancel(self, tx: ServerTransaction, cancel: Request) -> None:
        """The CANCEL has been answered 200; the INVITE is to be answered 487."""

    def on_ack(self, tx: ServerTransaction, ack: Request) -> None:
        """The first ACK of our 2xx."""

    def on_no_ack(self, tx: ServerTransaction) -> None:
        """64*T1 without an ACK for our 2xx: the session is to be ended with BYE (13.3.1.4)."""

    def on_transport_error(self, tx: ServerTransaction) -> None:
        """The stream is lost. The last word, but after a 2xx: then on_ack or on_no_ack still comes."""


class ClientOwner(Protocol):
    """Who sent a request. Hears exactly one of: a final response, on_timeout, on_transport_error."""

    def on_response(self, tx: ClientTransaction, response: Response) -> None:
        """Every provisional, 100 too, and the final one. For INVITE, a 2xx with another To tag is another dialog."""

    def on_timeout(self, tx: ClientTransaction) -> None:
        """Timer B or F, or 64*T1 after a CANCEL: treat as 408 (8.1.3.1)."""

    def on_transport_error(self, tx: ClientTransaction) -> None:
        """The stream is lost: treat as 503 (8.1.3.1)."""


@dataclass(slots=True)
class Counters:
    """Numbers since start, for /metrics."""

    requests_in: int = 0
    requests_out: int = 0
    responses_in: int = 0
    retransmissions_in: int = 0
    retransmissions_out: int = 0
    malformed: int = 0  # failed the parser or the check, answered or not
    merged: int = 0  # came by two paths: 482
    stray_responses: int = 0  # no such transaction
    foreign_responses: int = 0  # the topmost Via is not what we sent, or not the only one
    stray_acks: int = 0
    stray_cancels: int = 0
    late_responses: int = 0  # a transaction user answered what had been answered


class Layer:
    """All transactions of one endpoint. Times in seconds; `token` gives at least 64 fresh random bits as text."""

    def __init__(
        self,
        user: TransactionUser,
        timers: Timers,
        clock: Callable[[], float],
        token: Callable[[], str],
        *,
        t1: float = 0.5,
        t2: float = 4.0,
        t4: float = 5.0,
    ) -> None:
        self.user = user
        self.timers = timers
        self.clock = clock
        self.token = token
        self.t1 = t1
        self.t2 = t2
        self.t4 = t4
        self.untold = Lane(timers, TRYING_DELAY)  # whose peer has heard nothing of us: 100 is due
        self.unheard = Lane(timers, t1)  # who has heard nothing of its peer and sends again: timers A and E, 2xx
        self.counters = Counters()
        self._servers: dict[str, ServerTransaction] = {}
        self._clients: dict[str, ClientTransaction] = {}
        self._by_dialog: dict[str, ServerTransaction] = {}
        self._streams: dict[Flow, set[ServerTransaction | ClientTransaction]] = {}
        self._narrow: dict[object, Flow] = {}  # by transaction, the way of its request if TCP leads nowhere

    def server_count(self) -> int:
        return len(self._servers)

    def client_count(self) -> int:
        return len(self._clients)

    # ---- from the wire

    def copied(self, data: bytes) -> ServerTransaction | None:
        """The transaction of which this datagram is a copy of the request, as far as its first two rows tell: it is to
        be told so (`again`), and all is done that `receive` would do, for a tenth of the cost. None says nothing."""
        found = message.glance(data)
        if found is None:
            return None
        method, branch, sent_by = found
        return self._servers.get(f"{branch} {sent_by} {method}") if branch[:7] == COOKIE and len(branch) > 7 else None

    def receive(self, msg: Request | Response, flow: Flow, now: float) -> None:
        """One message that `message.parse` made. Raises only what the transaction user raises."""
        if not isinstance(msg, message.Checked):
            try:
                message.check(msg)
            except ParseError as error:
                self.receive_error(error, flow, now)
                return
        if isinstance(msg, Request):
            self._receive_request(msg, flow, now)
        else:
            self._receive_response(msg, now)

    def receive_error(self, error: ParseError, flow: Flow, now: float) -> None:
        """What could not be read is answered without a transaction (8.2.7) when enough of it could; else dropped."""
        self.counters.malformed += 1
        if error.partial is not None:
            self._refuse(error.partial, error.status, error.reason, flow)

    def _receive_request(self, request: Request, flow: Flow, now: float) -> None:
        method = request.method
        if method == "ACK":
            self._receive_ack(request, flow, now)
            return
        key = _server_key(request, method)
        tx = self._servers.get(key)
        if tx is not None:
            tx.again(now)
        elif method == "CANCEL":
            self._receive_cancel(request, key, flow, now)
        else:
            self._open(request, key, flow, now)

    def _open(self, request: Request, key: str, flow: Flow, now: float) -> None:
        self.counters.requests_in += 1
        invite = request.method == "INVITE"
        fresh = request.to_tag is None
        dialog_key = ""
        if invite or fresh:
            dialog_key = _dialog_key(request, request.method)
            if fresh and dialog_key in self._by_dialog:
                self.counters.merged += 1
                self._refuse(request, 482, None, flow)
                return
        back = _way_back(request, flow)
        tx: ServerTransaction
        if invite:
            tx = InviteServer(self, key, request, back)
            self.untold.start(tx, TIMER_TRYING, now)
        else:
            tx = NonInviteServer(self, key, request, back)
        self._servers[key] = tx
        if dialog_key:
            tx.dialog_key = dialog_key
            self._by_dialog[dialog_key] = tx
        if back.reliable:
            self.bind(tx, back)
        try:
            self.user.on_request(tx, request)
        except Exception:  # a fault of ours: the peer gets its final response all the same, the shell gets the fault
            tx.feed(tx.inputs[5], build.response(request, 500, to_tag=self.token()), now)
            raise

    def _receive_ack(self, ack: Request, flow: Flow, now: float) -> None:
        tx = self._servers.get(_server_key(ack, "INVITE"))
        if tx is None:  # the ACK of a 2xx is a transaction of its own: found by its dialog
            tx = self._by_dialog.get(_dialog_key(ack, "INVITE"))
            if tx is not None and tx.response is not None and tx.response.to_tag != ack.to_tag:
                tx = None
        if tx is None or not tx.feed(ACK, ack, now):
            self.counters.stray_acks += 1
            self.user.on_stray_ack(ack, flow)

    def _receive_cancel(self, cancel: Request, key: str, flow: Flow, now: float) -> None:
        tx = NonInviteServer(self, key, cancel, _way_back(cancel, flow))
        self._servers[key] = tx
        if tx.flow.reliable:
            self.bind(tx, tx.flow)
        invite = self._servers.get(_server_key(cancel, "INVITE"))
        if invite is None:
            self.counters.stray_cancels += 1
            self.respond(tx, build.response(cancel, 481, to_tag=self.token()))
            return
        tag = invite.response.to_tag if invite.response is not None else None
        self.respond(tx, build.response(cancel, 200, to_tag=tag or self.token()))
        invite.feed(CANCEL, cancel, now)

    def _receive_response(self, response: Response, now: float) -> None:
        self.counters.responses_in += 1
        tx = self._clients.get(f"{response.branch}{response.cseq.method}")
        if tx is None:
            self.counters.stray_responses += 1
            return
        host, port = tx.sent_by
        sent_by = response.sent_by
        ours = (sent_by.port or 5060) == port and (sent_by.host == host or same_host(sent_by.host, host))
        # 8.1.3.3: a response with a second Via is misrouted.
        plain = response.unrepeated and "," not in response.first_lines["via"]
        if not ours or not (plain or len(response.values("via")) == 1):
            self.counters.foreign_responses += 1
            return
        if not tx.feed(tx.inputs[response.status // 100], response, now):
            self.counters.stray_responses += 1

    def flow_lost(self, flow: Flow) -> None:
        """A stream was closed: what waits for its peer ends with on_transport_error."""
        now = self.clock()
        for tx in self._streams.pop(flow, ()):
            if not (self._narrow and self._by_datagram(tx, now)):
                tx.feed(TRANSPORT_ERROR, None, now)

    def _by_datagram(self, tx: ServerTransaction | ClientTransaction, now: float) -> bool:
        """18.1.1: a large request that nobody took over TCP goes by UDP after all. False for any other."""
        flow = self._narrow.pop(tx, None)
        if flow is None or not isinstance(tx, ClientTransaction) or tx.state not in UNHEARD:
            return False
        tx.flow, tx.sent_by, tx.via = flow, flow.local, via_row(flow, tx.branch)
        tx.data = data = tx.request.to_bytes(tx.via)
        tx.restart(tx.again, self.t1, now)
        flow.send(data)
        return True

    # ---- from the transaction user

    def respond(self, tx: ServerTransaction, response: Response) -> None:
        """Sends it. A 2xx to an INVITE is sent again until its ACK arrives, over every transport (13.3.1.4)."""
        status = response.status
        if not tx.feed(tx.inputs[status // 100], response, self.clock()):
            self.counters.late_responses += 1
        elif status == 401 or status == 407:  # has had no effect; clients that keep their CSeq for the next try are met
            self._forget_dialog(tx)

    def refuse(self, tx: ServerTransaction, response: Response) -> None:
        """Sends a final response other than 2xx once and forgets the request (8.2.7): for challenges and strangers.

        Nothing is sent again and nothing is kept, so that a forged source gains nothing; a copy of the request is a new
        one. `stateless_tag` has the To tag for it.
        """
        if not tx.feed(REFUSAL, response, self.clock()):
            self.counters.late_responses += 1

    def request(self, request: Request, flow: Flow, owner: ClientOwner | None) -> ClientTransaction:
        """Sends it with our Via on top. Not for ACK and CANCEL. A closed flow is told to `owner` afterwards."""
        now = self.clock()
        branch = COOKIE + self.token()
        via = via_row(flow, branch)
        data = request.to_bytes(via)
        self.counters.requests_out += 1
        narrow: Flow | None = None
        if len(data) > MOST_BY_UDP and (wide := way_for_large(flow)) is not None:
            narrow, flow = flow, wide
            via = via_row(flow, branch)
            data = request.to_bytes(via)
        tx: ClientTransaction
        if request.method == "INVITE":
            tx = InviteClient(self, branch, branch + "INVITE", request, via, flow, owner)
        else:
            tx = NonInviteClient(self, branch, branch + request.method, request, via, flow, owner)
        self._clients[tx.key] = tx
        if narrow is not None:
            self._narrow[tx] = narrow
        tx.begin(data, now)
        if flow.closed:
            self.timers.start(now, tx, TRANSPORT_ERROR)
        else:
            flow.send(data)
        return tx

    def acknowledge(self, tx: ClientTransaction, ack: Request, flow: Flow, response: Response) -> None:
        """Sends the ACK of the 2xx `response` and keeps it: every copy of that 2xx gets it again (13.2.2.4)."""
        data = ack.to_bytes(via_row(flow, COOKIE + self.token()))
        if tx.acks is not None:
            tx.acks[response.to_tag or ""] = (flow, data)
        flow.send(data)

    def cancel(self, tx: ClientTransaction, *, reason: str | None = None) -> None:
        """Cancels an INVITE of ours, once it has a provisional response (9.1); nothing once it has a final one.

        `reason` is the value of a Reason header (RFC 3326). The owner still hears the final response (487, or a 2xx
        that crossed, or on_timeout).
        """
        tx.reason = reason
        tx.feed(CANCEL, None, self.clock())

    def release(self, tx: ClientTransaction) -> None:
        """The session of an answered INVITE of ours is over: its owner and its request go before Timer M does.

        Copies of its 2xx still get their ACK; a 2xx of another fork is answered with ACK and BYE by the layer.
        """
        if tx.state is ACCEPTED:
            tx.owner = None
            tx.request = SPENT

    # ---- for the machines

    def hang_up(self, tx: ClientTransaction, response: Response) -> None:
        """Ends the dialog of a 2xx that nobody waits for (13.2.2.4)."""
        ack, bye = farewell(response)
        self.acknowledge(tx, ack, tx.flow, response)
        self.request(bye, tx.flow, None)

    def send_cancel(self, invite: ClientTransaction, data: bytes, now: float) -> None:
        """A CANCEL is a transaction of its own with the branch of its INVITE (9.1)."""
        flow = invite.flow
        key = invite.branch + "CANCEL"
        tx = NonInviteClient(self, invite.branch, key, SPENT, invite.via, flow, None)
        tx.sent_by = invite.sent_by
        self._clients[key] = tx
        tx.begin(data, self.clock())
        self.counters.requests_out += 1
        flow.send(data)

    def forget_server(self, tx: ServerTransaction) -> None:
        self._servers.pop(tx.key, None)
        if tx.dialog_key:
            self._forget_dialog(tx)
        if tx.flow.reliable:
            self._unbind(tx, tx.flow)

    def _forget_dialog(self, tx: ServerTransaction) -> None:
        if self._by_dialog.get(tx.dialog_key) is tx:
            del self._by_dialog[tx.dialog_key]

    def forget_client(self, tx: ClientTransaction) -> None:
        self._clients.pop(tx.key, None)
        if self._narrow:
            self._narrow.pop(tx, None)
        if tx.flow.reliable:
            self._unbind(tx, tx.flow)

    def bind(self, tx: ServerTransaction | ClientTransaction, flow: Flow) -> None:
        bound = self._streams.get(flow)
        if bound is None:
            self._streams[flow] = {tx}
        else:
            bound.add(tx)

    def _unbind(self, tx: ServerTransaction | ClientTransaction, flow: Flow) -> None:
        bound = self._streams.get(flow)
        if bound is not None:
            bound.discard(tx)
            if not bound:
                del self._streams[flow]

    def _refuse(self, request: Request, status: int, reason: str | None, flow: Flow) -> None:
        """A response without a transaction (8.2.7): every copy of the request gets the same one, To tag included."""
        if request.method == "ACK":
            return
        back = _way_back(request, flow)
        back.send(build.response(request, status, reason, to_tag=stateless_tag(request)).to_bytes())


def stateless_tag(request: Request) -> str:
    """A To tag for answers without a transaction: the same for every copy of `request` (8.2.7). Can be guessed."""
    text = f"{request.first('call-id')} {request.first('from')} {request.first('cseq')}"
    return f"{crc32(text.encode('utf-8', 'surrogateescape')):08x}"


def via_row(flow: Flow, branch: str) -> str:
    """Our Via on a request that goes this way (18.1.1)."""
    return f"{_via_head(flow.transport, flow.local)}{branch};rport"


@lru_cache(maxsize=64)
def _via_head(transport: str, local: tuple[str, int]) -> str:
    return f"Via: SIP/2.0/{transport} {join_host(*local)};branch="


def way_for_large(flow: Flow) -> Flow | None:
    """A reliable way to the same peer; None when there is none, or `flow` is one."""
    wide: Callable[[], Flow | None] | None = getattr(flow, "wide", None)
    return None if wide is None else wide()


def _server_key(request: Request, method: str) -> str:
    """17.2.3: branch, sent-by and method; `method` is INVITE for the ACK and the CANCEL of one."""
    branch = request.branch
    if branch is not None and branch[:7] == COOKIE and len(branch) > 7:
        return f"{branch} {request.sent_by.text} {method}"
    # RFC 2543: what an INVITE and its ACK have in common. The To tag, which an INVITE has not yet, is left out.
    number = request.cseq.number
    return f"{request.uri} {request.first('from')} {request.call_id} {number} {request.first('via')} {method}"


def _dialog_key(request: Request, method: str) -> str:
    """8.2.2.2: what a request has in common with its copy by another path, and an INVITE with the ACK of its 2xx."""
    return f"{request.call_id} {request.from_tag} {request.cseq.number} {method}"


def _way_back(request: Request, flow: Flow) -> Flow:
    """Writes the source into the Via (18.2.1, RFC 3581) and gives the flow for the responses (18.2.2).

    Always the source address, so that no Via makes us talk to a third party, a network or a group (maddr is ignored);
    over UDP without rport its port is that of the Via, unless the Via shows that a NAT is between: it passes nothing
    that is sent to another port.
    """
    host, port = flow.remote
    request.mark_source(host, port)
    if flow.reliable:
        return flow
    sent_by = request.sent_by
    sent_by_port = sent_by.port or 5060
    if sent_by_port == port or "rport" in request.via.params or is_stranded(sent_by.host, host):
        return flow
    to: Callable[[str, int], Flow] | None = getattr(flow, "to", None)
    if to is None:
        return flow
    try:
        return to(host, sent_by_port)
    except SipError:
        return flow
