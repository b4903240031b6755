"""A MESSAGE outside of any dialog (RFC 3428), passed on to the phones of an extension.

The sender gets 200 as soon as one phone has taken it, else the best of the refusals. Nothing is kept for later.
"""

from __future__ import annotations

from pbxcore.call.outcome import Outcome, worse
from pbxcore.call.passing import passed
from pbxcore.sip import build
from pbxcore.sip.layer import Flow, Layer
from pbxcore.sip.message import Request, Response
from pbxcore.sip.transaction import ClientTransaction, ServerTransaction
from pbxcore.sip.uri import escape_user, join_host


class MessageRelay:
    """The owner of the copies of one MESSAGE."""

    __slots__ = ("_best", "_domain", "_layer", "_request", "_sender", "_tx", "_waiting")

    def __init__(self, layer: Layer, tx: ServerTransaction, request: Request, sender: str, domain: str) -> None:
        self._layer = layer
        self._tx: ServerTransaction | None = tx
        self._request = request
        self._sender = sender
        self._domain = domain
        self._waiting = 0
        self._best: Outcome | None = None

    def start(self, ways: list[tuple[Flow, str, tuple[str, ...]]]) -> None:
        """Send a copy to each phone: its flow, its contact URI and the proxies before it."""
        self._waiting = len(ways)
        for flow, uri, path in ways:
            copy = self._copy(flow, uri)
            copy.fields += [("route", f"Route: {proxy}") for proxy in path]
            self._layer.request(copy, flow, self)

    def _copy(self, flow: Flow, uri: str) -> Request:
        request = self._request
        host = self._domain or join_host(flow.local[0], None)
        number = escape_user(request.request_uri.username)
        hops = request.max_forwards
        copy = build.request(
            "MESSAGE",
            uri,
            [
                ("Max-Forwards", str(70 if hops is None else max(0, min(hops, 255) - 1))),
                ("From", f"<sip:{escape_user(self._sender)}@{host}>;tag={self._layer.token()}"),
                ("To", f"<sip:{number}@{host}>"),
                ("Call-ID", self._layer.token()),
                ("CSeq", "1 MESSAGE"),
            ],
            request.body,
        )
        copy.fields += passed(request)
        copy.add_lines("content-type", request.lines("content-type"))
        return copy

    def on_response(self, tx: ClientTransaction, response: Response) -> None:
        if response.status >= 200:
            self._take(Outcome.of(response))

    def on_timeout(self, tx: ClientTransaction) -> None:
        self._take(Outcome(408, build.REASONS[408]))

    def on_transport_error(self, tx: ClientTransaction) -> None:
        self._take(Outcome(480, build.REASONS[480]))

    def _take(self, outcome: Outcome) -> None:
        self._waiting -= 1
        if self._best is None or worse(self._best, outcome):
            self._best = outcome
        if outcome.status < 300 or (self._waiting == 0 and self._tx is not None):
            best = outcome if outcome.status < 300 else self._best
            tx, self._tx = self._tx, None
            if tx is not None:
                answer = build.response(self._request, best.status, best.reason, to_tag=self._layer.token())
                self._layer.respond(tx, answer)
