"""The four transaction machines: RFC 3261 section 17 and RFC 6026. The tables are in `figures`, their actions here.

A finished transaction lets go of its request, its bytes and its owner at once and lingers as little more than a key.
Which message belongs to which transaction is the business of `layer`; nothing here is matched or parsed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pbxcore.sip import build
from pbxcore.sip.figures import CLIENT, INVITE_CLIENT, INVITE_SERVER, SERVER, Input, State, Table
from pbxcore.sip.message import Request, Response

if TYPE_CHECKING:
    from pbxcore.sip.layer import ClientOwner, Flow, Layer, ServerOwner

TRYING_DELAY = 0.2
"""Seconds after which an INVITE is answered 100 if the transaction user has sent nothing (17.2.1)."""
TIMER_D = 32.0
"""Seconds for which a client keeps its ACK ready; the RFC wants at least 32 over UDP."""

TRYING, CALLING = State.TRYING, State.CALLING
REQUEST = Input.REQUEST
PROVISIONAL, SUCCESS, FAILURE, FINAL = Input.PROVISIONAL, Input.SUCCESS, Input.FAILURE, Input.FINAL
A, B, D, E, F, G = Input.TIMER_A, Input.TIMER_B, Input.TIMER_D, Input.TIMER_E, Input.TIMER_F, Input.TIMER_G
H, TIMER_I, J, K, L, M = Input.TIMER_H, Input.TIMER_I, Input.TIMER_J, Input.TIMER_K, Input.TIMER_L, Input.TIMER_M
TIMER_TRYING, TIMER_2XX, TIMER_CANCEL = Input.TIMER_TRYING, Input.TIMER_2XX, Input.TIMER_CANCEL

# A response's input by the first digit of its status; the parser lets no other digits through.
INVITE_INPUTS = (FAILURE, PROVISIONAL, SUCCESS, FAILURE, FAILURE, FAILURE, FAILURE)
INPUTS = (FINAL, PROVISIONAL, FINAL, FINAL, FINAL, FINAL, FINAL)

# Compiled: a state is the dict of its inputs; a row holds the next state, its dict, and the actions as functions.
Action = Callable[[Any, Any, float], None]
Node = dict[str, tuple[State, "Node", tuple[Action, ...]]]


def compile_table(table: Table, machine: type[Any]) -> dict[State, Node]:
    """The states of a figure, linked to each other. AttributeError for an action that `machine` lacks."""
    nodes: dict[State, Node] = {state: {} for state in State}
    for (state, what), (following, actions) in table.items():
        nodes[state][what] = (following, nodes[following], tuple([getattr(machine, name) for name in actions]))
    return nodes


SPENT = build.request(
    "SPENT",
    "sip:spent.invalid",
    (
        ("Via", "SIP/2.0/UDP spent.invalid;branch=z9hG4bKspent"),
        ("From", "<sip:spent.invalid>;tag=spent"),
        ("To", "<sip:spent.invalid>"),
        ("Call-ID", "spent"),
        ("CSeq", "1 SPENT"),
    ),
)
"""What stands in for the request that a finished transaction has dropped: a late answer can still be built from it, and
`layer.respond` throws it away."""


class Transaction:
    """What the four machines share. `feed` is the only way to change its state."""

    __slots__ = ("data", "flow", "interval", "key", "layer", "node", "owner", "request", "state")

    inputs: tuple[Input, ...]  # by the first digit of a status
    start: Node

    layer: Layer
    key: str  # in the layer's table
    state: State
    node: Node  # the compiled rows of `state`
    request: Request  # SPENT once it is no longer needed
    flow: Flow  # where this transaction sends
    data: bytes  # what would be sent again
    interval: float  # of the running retransmission timer, in seconds
    owner: Any

    def feed(self, what: str, message: Any, now: float) -> bool:
        """Takes one arrow of the figure; False when there is none."""
        row = self.node.get(what)
        if row is None:
            return False
        self.state, self.node, actions = row
        for action in actions:
            action(self, message, now)
        return True

    def on_timer(self, name: str, now: float) -> None:
        row = self.node.get(name)
        if row is not None:
            self.state, self.node, actions = row
            for action in actions:
                action(self, None, now)

    def send_again(self, _: Any, now: float) -> None:
        self.layer.counters.retransmissions_out += 1
        self.flow.send(self.data)

    def restart(self, timer: Input, interval: float, now: float) -> None:
        self.interval = interval
        self.layer.timers.start(now + interval, self, timer)

    def linger(self, timer: Input, seconds: float, now: float) -> None:
        """Stays to absorb copies; over a reliable transport there are none to come (timers D, I, J and K are zero)."""
        if self.flow.reliable:
            self.on_timer(timer, now)
        else:
            self.layer.timers.start(now + seconds, self, timer)


class ServerTransaction(Transaction):
    """One request that we received. `owner` is set by the transaction user when it wants to hear more of it."""

    __slots__ = ("dialog_key", "response")

    owner: ServerOwner | None
    dialog_key: str  # finds copies by another path (8.2.2.2) and the ACK of a 2xx; empty when not in that table
    response: Response | None  # the last one sent, while it may be asked for

    def __init__(self, layer: Layer, key: str, request: Request, flow: Flow) -> None:
        self.layer = layer
        self.key = key
        self.state = TRYING
        self.node = self.start
        self.request = request
        self.flow = flow
        self.data = b""
        self.interval = 0.0
        self.owner = None
        self.dialog_key = ""
        self.response = None

    def again(self, now: float) -> None:
        """A copy of the request has come."""
        self.layer.counters.retransmissions_in += 1
        self.feed(REQUEST, None, now)

    def send(self, response: Response, now: float) -> None:
        if self.response is None:
            self.layer.untold.pop(self, None)
        self.response = response
        self.data = data = response.to_bytes()
        self.flow.send(data)

    def tell_error(self, _: Any, now: float) -> None:
        owner, self.owner = self.owner, None
        if owner is not None:
            owner.on_transport_error(self)
        self.request = SPENT

    def drop(self, _: Any, now: float) -> None:
        self.owner = None
        self.request = SPENT

    def end(self, _: Any, now: float) -> None:
        """Leaves the tables; owner and request stay for one last word, if the row has one."""
        self.layer.forget_server(self)
        self.data = b""
        self.response = None


class InviteServer(ServerTransaction):
    """17.2.1 and RFC 6026 section 7.1."""

    __slots__ = ()
    inputs = INVITE_INPUTS

    def send_trying(self, _: Any, now: float) -> None:
        self.send(build.response(self.request, 100), now)

    def start_l(self, _: Any, now: float) -> None:
        layer = self.layer
        layer.timers.start(now + 64 * layer.t1, self, L)
        self.interval = layer.t1
        layer.unheard.start(self, TIMER_2XX, now)

    def restart_2xx(self, _: Any, now: float) -> None:
        self.restart(TIMER_2XX, min(2 * self.interval, self.layer.t2), now)

    def start_g_h(self, _: Any, now: float) -> None:
        layer = self.layer
        self.owner = None
        self.request = SPENT
        self.response = None
        layer.timers.start(now + 64 * layer.t1, self, H)
        if not self.flow.reliable:
            self.restart(G, layer.t1, now)

    def restart_g(self, _: Any, now: float) -> None:
        self.restart(G, min(2 * self.interval, self.layer.t2), now)

    def start_i(self, _: Any, now: float) -> None:
        self.data = b""
        self.linger(TIMER_I, self.layer.t4, now)

    def tell_cancel(self, cancel: Request, now: float) -> None:
        if self.owner is not None:
            self.owner.on_cancel(self, cancel)
        else:  # nobody took the call, so nobody else will end it
            self.layer.respond(self, build.response(self.request, 487, to_tag=self.layer.token()))

    def tell_ack(self, ack: Request, now: float) -> None:
        owner, self.owner = self.owner, None
        self.data = b""
        self.response = None
        self.layer.unheard.pop(self, None)
        if owner is not None:
            owner.on_ack(self, ack)
        self.request = SPENT

    def tell_no_ack(self, _: Any, now: float) -> None:
        owner, self.owner = self.owner, None
        if owner is not None:
            owner.on_no_ack(self)
        self.request = SPENT

    def report_error(self, _: Any, now: float) -> None:
        """The ACK may yet come over another flow, and on_no_ack will be said if it does not."""
        if self.owner is not None:
            self.owner.on_transport_error(self)


class NonInviteServer(ServerTransaction):
    """17.2.2."""

    __slots__ = ()
    inputs = INPUTS

    def start_j(self, _: Any, now: float) -> None:
        self.owner = None
        self.request = SPENT
        self.response = None
        self.linger(J, 64 * self.layer.t1, now)


class ClientTransaction(Transaction):
    """One request that we sent. Its owner hears one final response, or one on_timeout or on_transport_error."""

    __slots__ = ("acks", "branch", "reason", "sent_by", "via")

    start_state = TRYING
    again: Input  # the timer that sends the request again over UDP
    last: Input  # the timer that gives it up

    owner: ClientOwner | None
    branch: str
    via: str  # the row that goes above those of the request
    acks: dict[str, tuple[Flow, bytes] | None] | None  # INVITE: by To tag, from the first 2xx on (13.2.2.4)
    reason: str | None  # INVITE: for its CANCEL (RFC 3326)
    sent_by: tuple[str, int]  # host and port of our Via; the flow's own may change when its stream gets connected

    def __init__(
        self, layer: Layer, branch: str, key: str, request: Request, via: str, flow: Flow, owner: ClientOwner | None
    ) -> None:
        self.layer = layer
        self.state = self.start_state
        self.node = self.start
        self.branch = branch
        self.key = key
        self.request = request
        self.via = via
        self.flow = flow
        self.data = b""
        self.interval = layer.t1
        self.owner = owner
        self.acks = None
        self.reason = None
        self.sent_by = flow.local

    def begin(self, data: bytes, now: float) -> None:
        """Starts the timers of a request that goes out as `data`.

        Over UDP that is timer A or E alone. B or F starts when the request is sent again for the first time: nearly
        every one is answered before.
        """
        layer = self.layer
        if self.flow.reliable:
            layer.bind(self, self.flow)
            layer.timers.start(now + 64 * layer.t1, self, self.last)
        else:
            self.data = data
            layer.unheard.start(self, self.again, now)

    def restart_again(self, interval: float, now: float) -> None:
        """Timer A or E once more; after the first one, which took T1, B or F has 63*T1 to go."""
        layer = self.layer
        if self.interval == layer.t1:
            layer.timers.start(now + 63 * layer.t1, self, self.last)
        self.restart(self.again, interval, now)

    def pass_provisional(self, response: Response, now: float) -> None:
        if self.owner is not None:
            self.owner.on_response(self, response)

    def pass_final(self, response: Response, now: float) -> None:
        owner, self.owner = self.owner, None
        if owner is not None:
            owner.on_response(self, response)
        self.request = SPENT

    def tell_timeout(self, _: Any, now: float) -> None:
        owner, self.owner = self.owner, None
        if owner is not None:
            owner.on_timeout(self)
        self.request = SPENT

    def tell_error(self, _: Any, now: float) -> None:
        owner, self.owner = self.owner, None
        if owner is not None:
            owner.on_transport_error(self)
        self.request = SPENT

    def end(self, _: Any, now: float) -> None:
        """Leaves the tables; owner and request stay for one last word, if the row has one."""
        self.layer.forget_client(self)
        self.data = b""


class InviteClient(ClientTransaction):
    """17.1.1 and RFC 6026 section 7.2."""

    __slots__ = ()
    start_state = CALLING
    inputs = INVITE_INPUTS
    again, last = A, B

    def pass_provisional(self, response: Response, now: float) -> None:
        if self.data:
            self.data = b""
            self.layer.unheard.pop(self, None)
        if self.owner is not None:
            self.owner.on_response(self, response)

    def restart_a(self, _: Any, now: float) -> None:
        self.restart_again(2 * self.interval, now)

    def send_cancel(self, _: Any, now: float) -> None:
        self.layer.timers.start(now + 64 * self.layer.t1, self, TIMER_CANCEL)
        self.layer.send_cancel(self, bytes_within(self.request, self.via, "CANCEL", reason=self.reason), now)

    def send_ack(self, response: Response, now: float) -> None:
        """The ACK of a non-2xx final response is the transaction's own (17.1.1.3)."""
        self.data = data = bytes_within(self.request, self.via, "ACK", response.first_lines["to"])
        self.flow.send(data)

    def start_d(self, _: Any, now: float) -> None:
        self.linger(D, TIMER_D, now)

    def start_m(self, _: Any, now: float) -> None:
        self.data = b""
        self.acks = {}
        self.layer.timers.start(now + 64 * self.layer.t1, self, M)

    def pass_success(self, response: Response, now: float) -> None:
        """A new To tag is a new dialog (a forked INVITE); a known one is answered with the ACK it had."""
        acks = self.acks
        if acks is None:
            return
        tag = response.to_tag or ""
        if tag not in acks:
            acks[tag] = None
            if self.owner is not None:
                self.owner.on_response(self, response)
            else:
                self.layer.hang_up(self, response)
            return
        self.layer.counters.retransmissions_in += 1
        kept = acks[tag]
        if kept is not None:
            self.layer.counters.retransmissions_out += 1
            kept[0].send(kept[1])

    def end(self, _: Any, now: float) -> None:
        self.layer.forget_client(self)
        self.data = b""
        if self.acks is not None:
            self.acks = None
            self.owner = None
            self.request = SPENT


class NonInviteClient(ClientTransaction):
    """17.1.2."""

    __slots__ = ()
    inputs = INPUTS
    again, last = E, F

    def restart_e(self, _: Any, now: float) -> None:
        self.restart_again(min(2 * self.interval, self.layer.t2), now)

    def restart_e_t2(self, _: Any, now: float) -> None:
        self.restart_again(self.layer.t2, now)

    def start_k(self, _: Any, now: float) -> None:
        self.data = b""
        self.layer.unheard.pop(self, None)
        self.linger(K, self.layer.t4, now)


def bytes_within(request: Request, via: str, method: str, to_line: str = "", reason: str | None = None) -> bytes:
    """An ACK (17.1.1.3) or a CANCEL (9.1) of an INVITE of ours: same Request-URI, Via, From, Call-ID, Routes.

    `to_line` is the To row of the answered response; without it the request's own goes.
    """
    rows = []
    for key, line in request.fields:
        if key in ("from", "call-id", "route"):
            rows.append(line)
        elif key == "to":
            rows.append(to_line or line)
    if reason is not None:
        rows.append(f"Reason: {reason}")
    head = (f"{method} {request.uri} SIP/2.0", via, "Max-Forwards: 70", *rows, f"CSeq: {request.cseq.number} {method}")
    return ("\r\n".join(head) + "\r\nContent-Length: 0\r\n\r\n").encode("utf-8", "surrogateescape")


InviteServer.start = compile_table(INVITE_SERVER, InviteServer)[TRYING]
NonInviteServer.start = compile_table(SERVER, NonInviteServer)[TRYING]
InviteClient.start = compile_table(INVITE_CLIENT, InviteClient)[CALLING]
NonInviteClient.start = compile_table(CLIENT, NonInviteClient)[TRYING]
