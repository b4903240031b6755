"""What goes through the exchange from one leg of a conversation to the other.

Descriptions go by the relay, which puts itself between the two. A call for help goes on without it: where the relay has
no port, or is gone, each gets the other's description as it is, for as long as the call lasts. INFO, MESSAGE and
OPTIONS inside of the dialogs go as they came, and their answers go back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pbxcore.call.leg import Leg
from pbxcore.call.outcome import as_ours
from pbxcore.call.passing import passed, with_body
from pbxcore.call.router import is_emergency
from pbxcore.call.signal import Signal
from pbxcore.media.backend import MediaError
from pbxcore.sip import build
from pbxcore.sip.message import Request
from pbxcore.sip.transaction import ClientTransaction, ServerTransaction

if TYPE_CHECKING:
    from pbxcore.call.b2bua import LiveCall

PASSED_ON = frozenset({"INFO", "MESSAGE", "OPTIONS"})
MAX_PENDING = 32


async def offer_by_relay(live: LiveCall, leg: Leg, peer: Leg, sdp: bytes) -> bytes:
    """The offer of `leg`, as its peer may get it. Raises MediaError."""
    if live.unrelayed:
        return sdp
    try:
        return await live.exchange.media.offer(
            live.call.offered.call_id, leg.label, peer.label, sdp, local=peer.flow.local[0], source=leg.flow.remote[0]
        )
    except MediaError as error:
        if not _goes_without(live, error):
            raise
        return sdp


async def answer_by_relay(live: LiveCall, leg: Leg, peer: Leg, sdp: bytes) -> bytes:
    """The answer of `leg`, as its peer may get it. Raises MediaError."""
    if live.unrelayed:
        return sdp
    try:
        return await live.exchange.media.answer(
            live.call.offered.call_id, leg.label, peer.label, sdp, local=peer.flow.local[0], source=leg.flow.remote[0]
        )
    except MediaError as error:
        if not _goes_without(live, error):
            raise
        live.early_offers().renew.add(leg.label)  # who answered has been told a port of the relay
        return sdp


def _goes_without(live: LiveCall, error: MediaError) -> bool:
    """False where the call is not for help, or flows through the relay already."""
    exchange, offered = live.exchange, live.call.offered
    if live.conversation is not None or not is_emergency(offered, exchange.dial_plan):
        return False
    exchange.media_refused(offered.call_id, error)
    live.unrelayed = True
    return True


class Through:
    """Requests of a conversation that wait for the other side's answer."""

    __slots__ = ("_live", "_waiting")

    def __init__(self, live: LiveCall) -> None:
        self._live = live
        self._waiting: dict[ClientTransaction, tuple[ServerTransaction, Request]] = {}

    def take(self, tx: ServerTransaction, request: Request, peer: Leg) -> None:
        if len(self._waiting) >= MAX_PENDING:
            self._live.exchange.layer.respond(tx, build.response(request, 500, headers=[("Retry-After", "5")]))
            return
        client = peer.send(request.method, with_body(request, passed(request)), request.body)
        self._waiting[client] = (tx, request)

    def answered(self, client: ClientTransaction, signal: Signal) -> int:
        """Hand the answer on; its status, or 0 when it is of none of these requests."""
        waiting = self._waiting.pop(client, None)
        if waiting is None:
            return 0
        tx, request = waiting
        response = signal.response
        if response is None:
            answer = build.response(request, signal.status)
        else:
            status, reason, fields = as_ours(response)
            answer = build.response(request, status, reason, body=response.body)
            answer.fields += with_body(response, fields)
        self._live.exchange.layer.respond(tx, answer)
        return answer.status

    def resent(self, old: ClientTransaction, new: ClientTransaction) -> None:
        if old in self._waiting:
            self._waiting[new] = self._waiting.pop(old)

    def leaves(self, leg: Leg) -> None:
        """This side is gone: nobody will answer, or nobody waits for it any more."""
        for tx, request in self._waiting.values():
            self._live.exchange.layer.respond(tx, build.response(request, 481 if tx.owner is leg else 480))
        self._waiting.clear()

    def close(self) -> None:
        """The conversation is over."""
        for tx, request in self._waiting.values():
            self._live.exchange.layer.respond(tx, build.response(request, 481))
        self._waiting.clear()
