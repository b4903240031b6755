"""A MESSAGE outside of any dialog (RFC 3428), passed on to the phones of an extension.

The sender gets 200 as soon as one phone has taken it. Where no phone can be reached the text may be kept for later
(`texts`), and the sender gets 202 when it is durable; else he gets the best of the refusals.
"""

from __future__ import annotations

from collections.abc import Callable

from pbxcore.call.outcome import Outcome, worse
from pbxcore.call.passing import passed
from pbxcore.sip import build
from pbxcore.sip.layer import Flow, Layer
from pbxcore.sip.message import Request, Response
from pbxcore.sip.transaction import ClientTransaction, ServerTransaction
from pbxcore.sip.uri import escape_user, join_host

Keep = Callable[[Callable[[], None]], Callable[[], None] | None]
"""Is given whom to tell when the text is durable, maybe at once; gives what takes it back, None when it is not kept."""

PhoneWay = tuple[Flow, str, tuple[str, ...]]
"""The flow to a phone, its Contact, and the proxies before it."""

UNREACHED = frozenset({408, 480})
PATIENCE = 10.0  # seconds before a phone that says nothing counts as unreachable: the sender waits for 32 at most
STUCK = 10.0  # seconds before a text that is not durable yet is taken back: its sender is told that, not nothing
MAX_FORWARDS = 70


def text_to(layer: Layer, way: PhoneWay, sender: str, number: str, domain: str, hops: int = MAX_FORWARDS) -> Request:
    """A MESSAGE from one extension to a phone of another, without its body."""
    flow, uri, path = way
    host = domain or join_host(flow.local[0], None)
    rows = [
        ("Max-Forwards", str(hops)),
        ("From", f"<sip:{escape_user(sender)}@{host}>;tag={layer.token()}"),
        ("To", f"<sip:{escape_user(number)}@{host}>"),
        ("Call-ID", layer.token()),
        ("CSeq", "1 MESSAGE"),
        *[("Route", proxy) for proxy in path],
    ]
    return build.request("MESSAGE", uri, rows)


class MessageRelay:
    """The owner of the copies of one MESSAGE. `keep` is asked to keep one that reached nobody; it is taken back when a
    phone answers late after all."""

    __slots__ = ("_best", "_domain", "_forget", "_keep", "_layer", "_request", "_sender", "_tx", "_waiting")

    def __init__(
        self, layer: Layer, tx: ServerTransaction, request: Request, sender: str, domain: str,
        keep: Keep | None = None,
    ) -> None:  # fmt: skip
        self._layer = layer
        self._tx: ServerTransaction | None = tx
        self._request = request
        self._sender = sender
        self._domain = domain
        self._keep = keep
        self._forget: Callable[[], None] | None = None
        self._waiting = 0
        self._best: Outcome | None = None

    def start(self, ways: list[PhoneWay]) -> None:
        """Send a copy to each phone; none at all is as if none had answered."""
        self._waiting = len(ways)
        for way in ways:
            self._layer.request(self._copy(way), way[0], self)
        if not ways:
            self._best = Outcome(480, build.REASONS[480])
            self._finish()
        elif self._keep is not None:
            self._layer.timers.start(self._layer.clock() + PATIENCE, self, "patience")

    def _copy(self, way: PhoneWay) -> Request:
        request = self._request
        hops = request.max_forwards
        hops = MAX_FORWARDS if hops is None else max(0, min(hops, 255) - 1)
        copy = text_to(self._layer, way, self._sender, request.request_uri.username, self._domain, hops)
        copy.body = request.body
        copy.fields += passed(request)
        copy.add_lines("content-type", request.lines("content-type"))
        return copy

    def on_timer(self, name: str, now: float) -> None:
        """Nobody has taken it: whoever answers from now on is late. Or the disk is."""
        if name == "stuck":
            if self._tx is not None and self._best is not None:
                self._take_back()
                self._answer(self._best)
        elif self._tx is not None and self._best is None:
            self._best = Outcome(408, build.REASONS[408])
            self._finish(last=False)

    def on_response(self, tx: ClientTransaction, response: Response) -> None:
        if response.status >= 200:
            self._take(Outcome.of(response))

    def on_timeout(self, tx: ClientTransaction) -> None:
        self._take(Outcome(408, build.REASONS[408]))

    def on_transport_error(self, tx: ClientTransaction) -> None:
        self._take(Outcome(480, build.REASONS[480]))

    def _take(self, outcome: Outcome) -> None:
        self._waiting -= 1
        if outcome.status < 300:
            self._best = outcome
            self._take_back()
            self._answer(outcome)
            return
        if self._best is None or worse(self._best, outcome):
            self._best = outcome
        if self._waiting == 0:
            self._finish()

    def _finish(self, *, last: bool = True) -> None:
        """Nobody took it, or nobody has yet."""
        best = self._best
        if self._tx is None or best is None or self._forget is not None:
            return
        if self._keep is not None and best.status in UNREACHED:
            self._forget = self._keep(self._durable)
            if self._forget is not None:
                if self._tx is not None:
                    self._layer.timers.start(self._layer.clock() + STUCK, self, "stuck")
                return
        if last:
            self._answer(best)
        else:
            self._best = None  # it cannot be kept: whatever the phones say in the end is the answer

    def _durable(self) -> None:
        """It will reach its phone whatever becomes of this process: the sender may forget it."""
        self._answer(Outcome(202, build.REASONS[202]))

    def _take_back(self) -> None:
        forget, self._forget = self._forget, None
        if forget is not None:
            forget()

    def _answer(self, outcome: Outcome) -> None:
        tx, self._tx = self._tx, None
        if tx is not None:
            answer = build.response(self._request, outcome.status, outcome.reason, to_tag=self._layer.token())
            self._layer.respond(tx, answer)
