"""Layers without sockets: fake flows, a virtual clock, and a wire that loses, copies and reorders by a seed."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable
from heapq import heappop, heappush

from pbxcore.sip import build, message
from pbxcore.sip.dialog import Dialog
from pbxcore.sip.errors import ParseError
from pbxcore.sip.layer import Flow, Layer
from pbxcore.sip.message import Request, Response
from pbxcore.sip.timers import Timers
from pbxcore.sip.transaction import ClientTransaction, ServerTransaction

A_ADDRESS = ("127.0.0.1", 5061)
B_ADDRESS = ("127.0.0.2", 5062)


class FakeFlow:
    """Keeps what was sent with the time of sending; `carry` takes it to the other side, if there is one."""

    def __init__(
        self,
        clock: Callable[[], float],
        local: tuple[str, int] = A_ADDRESS,
        remote: tuple[str, int] = B_ADDRESS,
        transport: str = "UDP",
    ) -> None:
        self.clock = clock
        self.local = local
        self.remote = remote
        self.transport = transport
        self.reliable = transport != "UDP"
        self.closed = False
        self.sent: list[tuple[float, bytes]] = []
        self.carry: Callable[[bytes], None] | None = None
        self.others: dict[tuple[str, int], FakeFlow] = {}

    def send(self, data: bytes) -> None:
        self.sent.append((self.clock(), data))
        if self.carry is not None:
            self.carry(data)

    def to(self, host: str, port: int) -> FakeFlow:
        return self.others.setdefault((host, port), FakeFlow(self.clock, self.local, (host, port), self.transport))

    @property
    def messages(self) -> list[Request | Response]:
        return [message.parse(data) for _, data in self.sent]

    @property
    def lines(self) -> list[str]:
        """The start lines of what was sent, without the URI and the version."""
        names = []
        for msg in self.messages:
            names.append(msg.method if isinstance(msg, Request) else f"{msg.status} {msg.cseq.method}")
        return names

    @property
    def times(self) -> list[float]:
        """When it was sent, in seconds after the first."""
        return [round(at - self.sent[0][0], 3) for at, _ in self.sent]


class Recorder:
    """A transaction user and owner that notes what it is told, and answers as `answers` says."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.servers: list[ServerTransaction] = []
        self.responses: list[Response] = []
        self.on_invite: Callable[[ServerTransaction], None] | None = None

    def on_request(self, tx: ServerTransaction, request: Request) -> None:
        self.heard.append(request.method)
        self.servers.append(tx)
        tx.owner = self
        if self.on_invite is not None:
            self.on_invite(tx)

    def on_stray_ack(self, request: Request, flow: Flow) -> None:
        self.heard.append("stray ACK")

    def on_cancel(self, tx: ServerTransaction, cancel: Request) -> None:
        self.heard.append("cancel")

    def on_ack(self, tx: ServerTransaction, ack: Request) -> None:
        self.heard.append("ack")

    def on_no_ack(self, tx: ServerTransaction) -> None:
        self.heard.append("no ack")

    def on_response(self, tx: ClientTransaction, response: Response) -> None:
        self.heard.append(str(response.status))
        self.responses.append(response)

    def on_timeout(self, tx: ClientTransaction) -> None:
        self.heard.append("timeout")

    def on_transport_error(self, tx: ServerTransaction | ClientTransaction) -> None:
        self.heard.append("transport error")


def tables_empty(layer: Layer) -> bool:
    return not (layer._servers or layer._clients or layer._by_dialog or layer._streams)


class Bench:
    """One layer, one flow, one recorder, and a clock that jumps from timer to timer."""

    def __init__(self, transport: str = "UDP") -> None:
        self.now = 1000.0
        numbers = itertools.count(1)
        self.user = Recorder()
        self.timers = Timers()
        self.layer = Layer(self.user, self.timers, lambda: self.now, lambda: f"tok{next(numbers):013d}")
        self.flow = FakeFlow(lambda: self.now, transport=transport)

    def run(self, seconds: float) -> None:
        """Fires every timer of the next `seconds`."""
        end = self.now + seconds
        while (at := self.timers.next_at()) is not None and at <= end:
            self.now = at
            self.timers.fire(at)
        self.now = end

    def receive(self, msg: Request | Response | str | bytes, flow: FakeFlow | None = None) -> None:
        if isinstance(msg, bytes):
            data = msg
        else:
            data = msg.replace("\n", "\r\n").encode() if isinstance(msg, str) else msg.to_bytes()
        flow = flow or self.flow
        try:
            parsed = message.parse(data)
        except ParseError as error:
            self.layer.receive_error(error, flow, self.now)
            return
        self.layer.receive(parsed, flow, self.now)

    def answer(self, status: int, to_tag: str = "theirs") -> None:
        """The peer answers the last request that we sent, ACK excepted."""
        request = next(msg for msg in reversed(self.flow.messages) if isinstance(msg, Request) and msg.method != "ACK")
        headers = [("Contact", "<sip:peer@127.0.0.2:5062>")]
        tag = None if status == 100 else to_tag
        self.receive(build.response(request, status, to_tag=tag, headers=headers))

    @property
    def empty(self) -> bool:
        return tables_empty(self.layer)


def request(
    method: str = "INVITE",
    *,
    branch: str | None = "z9hG4bKpeer1",
    sent_by: str = "127.0.0.2:5062",
    via_params: str = "",
    to_tag: str = "",
    from_tag: str = "theirs",
    cseq: int = 1,
    call_id: str = "call1",
    uri: str = "sip:us@127.0.0.1:5061",
    transport: str = "UDP",
    more: Iterable[tuple[str, str]] = (),
) -> Request:
    """A request as a peer at 127.0.0.2:5062 would send it. `branch` None leaves it out, as in RFC 2543."""
    branch_param = "" if branch is None else f";branch={branch}"
    return build.request(
        method,
        uri,
        [
            ("Via", f"SIP/2.0/{transport} {sent_by}{branch_param}{via_params}"),
            ("Max-Forwards", "70"),
            ("From", f"<sip:peer@example.com>;tag={from_tag}"),
            ("To", "<sip:us@example.com>" + (f";tag={to_tag}" if to_tag else "")),
            ("Call-ID", call_id),
            ("CSeq", f"{cseq} {method}"),
            ("Contact", "<sip:peer@127.0.0.2:5062>"),
            *more,
        ],
    )


def outgoing(
    method: str = "INVITE", *, cseq: int = 1, more: Iterable[tuple[str, str]] = (), call_id: str = "out1"
) -> Request:
    """A request of ours, without Via."""
    return build.request(
        method,
        "sip:peer@127.0.0.2:5062",
        [
            ("Max-Forwards", "70"),
            ("From", "<sip:us@example.com>;tag=ours"),
            ("To", "<sip:peer@example.com>"),
            ("Call-ID", call_id),
            ("CSeq", f"{cseq} {method}"),
            ("Contact", "<sip:us@127.0.0.1:5061>"),
            *more,
        ],
    )


class Wire:
    """Two layers back to back. Loss, copies and delays come from a seed; messages are in order when there is none."""

    def __init__(
        self, seed: int | None = None, *, loss: float = 0.0, copies: float = 0.0, transport: str = "UDP"
    ) -> None:
        self.now = 1000.0
        self.chance = random.Random(seed)
        self.loss = loss
        self.copies = copies
        self.slowest = 0.0 if seed is None else 0.3
        self.under_way: list[tuple[float, int, Layer, FakeFlow, bytes]] = []
        self.count = itertools.count()
        numbers = itertools.count(1)
        self.trace: list[str] = []

        def clock() -> float:
            return self.now

        def token() -> str:
            return f"tok{next(numbers):013d}"

        self.a = Side(self, clock, token, FakeFlow(clock, A_ADDRESS, B_ADDRESS, transport))
        self.b = Side(self, clock, token, FakeFlow(clock, B_ADDRESS, A_ADDRESS, transport))
        self.a.flow.carry = lambda data: self.post(self.b, data)
        self.b.flow.carry = lambda data: self.post(self.a, data)

    def post(self, to: Side, data: bytes) -> None:
        self.trace.append(f"{self.now:.6f} {data.partition(bytes([13]))[0].decode()}")
        if to.flow.reliable:
            copies = [0.0]
        elif self.chance.random() < self.loss:
            copies = []
        else:
            copies = [0.0, 0.01] if self.chance.random() < self.copies else [0.0]
        for later in copies:
            at = self.now + later + self.chance.random() * self.slowest
            heappush(self.under_way, (at, next(self.count), to.layer, to.flow, data))

    def run(self, seconds: float) -> None:
        """Delivers and fires everything of the next `seconds`, in the order of its time."""
        end = self.now + seconds
        timers = (self.a.timers, self.b.timers)
        while True:
            deadlines = [at for at in (timer.next_at() for timer in timers) if at is not None]
            at = min([*deadlines, *(row[0] for row in self.under_way[:1])], default=end + 1)
            if at > end:
                break
            self.now = max(at, self.now)
            while self.under_way and self.under_way[0][0] <= self.now:
                _, _, layer, flow, data = heappop(self.under_way)
                layer.receive(message.parse(data), flow, self.now)
            for timer in timers:
                timer.fire(self.now)
        self.now = end

    @property
    def empty(self) -> bool:
        return tables_empty(self.a.layer) and tables_empty(self.b.layer)


class Side:
    """A very small user agent: it can call and be called, and notes what it hears."""

    def __init__(self, wire: Wire, clock: Callable[[], float], token: Callable[[], str], flow: FakeFlow) -> None:
        self.clock = clock
        self.flow = flow
        self.timers = Timers()
        self.layer = Layer(self, self.timers, clock, token)
        self.token = token
        self.heard: list[str] = []
        self.finals: list[int] = []
        self.server: ServerTransaction | None = None
        self.client: ClientTransaction | None = None
        self.dialog: Dialog | None = None
        self.script: Callable[[ServerTransaction, Request], None] = lambda tx, request: None

    @property
    def contact(self) -> str:
        return f"<sip:me@{self.flow.local[0]}:{self.flow.local[1]}>"

    def call(self) -> None:
        self.client = self.layer.request(outgoing(call_id=self.token()), self.flow, self)

    def answer(self, status: int) -> None:
        assert self.server is not None
        headers = [("Contact", self.contact)]
        self.layer.respond(self.server, build.response(self.server.request, status, to_tag="callee", headers=headers))

    def hang_up(self) -> None:
        assert self.dialog is not None
        self.layer.request(self.dialog.request("BYE"), self.flow, self)

    def on_request(self, tx: ServerTransaction, request: Request) -> None:
        self.heard.append(request.method)
        if request.method == "INVITE":
            self.server = tx
            tx.owner = self
            self.script(tx, request)
        else:
            self.layer.respond(tx, build.response(request, 200))

    def on_stray_ack(self, request: Request, flow: Flow) -> None:
        self.heard.append("stray ACK")

    def on_cancel(self, tx: ServerTransaction, cancel: Request) -> None:
        self.heard.append("cancel")
        self.layer.respond(tx, build.response(tx.request, 487, to_tag="callee"))

    def on_ack(self, tx: ServerTransaction, ack: Request) -> None:
        self.heard.append("ack")
        self.server = None

    def on_no_ack(self, tx: ServerTransaction) -> None:
        self.heard.append("no ack")
        self.server = None

    def on_response(self, tx: ClientTransaction, response: Response) -> None:
        method = response.cseq.method
        self.heard.append(f"{response.status} {method}")
        if method == "INVITE" and response.status >= 200:
            self.finals.append(response.status)
            if response.status < 300:
                self.dialog = Dialog.uac(tx.request, response)
                self.layer.acknowledge(tx, self.dialog.ack(tx.request), self.flow, response)
            self.client = None

    def on_timeout(self, tx: ClientTransaction) -> None:
        self.heard.append("timeout")
        self.finals.append(408)
        self.client = None

    def on_transport_error(self, tx: ServerTransaction | ClientTransaction) -> None:
        self.heard.append("transport error")
        self.client = self.server = None
