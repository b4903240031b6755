"""What a call's coroutine waits for: one queue of signals, whoever they come from."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from pbxcore.hooks import Decision
from pbxcore.sip.message import Request, Response
from pbxcore.sip.transaction import ClientTransaction, ServerTransaction

if TYPE_CHECKING:
    from pbxcore.call.leg import Leg


class Kind(StrEnum):
    RESPONSE = "response"  # a response to a request that the exchange sent on a leg
    UNREACHED = "unreached"  # no response at all: `status` is 408 or 503 (RFC 3261 section 8.1.3.1)
    REQUEST = "request"  # a request inside of a leg's dialog
    PRACKED = "pracked"  # a provisional of ours has arrived; a PRACK with a body is a request
    CANCEL = "cancel"  # the sender of an INVITE gave up
    ACK = "ack"
    NO_ACK = "no ack"  # 64*T1 without an ACK for a 2xx of ours
    NO_PRACK = "no prack"  # 64*T1 without a PRACK for a reliable provisional of ours
    DECIDED = "decided"  # the CRM has answered, or its budget is spent
    DURABLE = "durable"  # the journal's row is committed
    TIMEOUT = "timeout"  # the deadline of this wait
    HANG_UP = "hang up"  # somebody in the office ends the call
    TRANSFER = "transfer"  # somebody in the office wants `leg` out of it, and `text`, told `decision`, in its place
    JOIN = "join"  # `leg` of another call, or one that came in, is to be in this one: `errand` knows where
    DIGIT = "digit"  # a key, `text`, of a party that the exchange itself talks to
    PLAYED = "played"  # the sounds of that `number` have come to their end
    RECORDED = "recorded"  # a recording is whole; `number` is its length in ms
    MEDIA_LOST = "media lost"  # no RTP for too long, or the relay is gone


# Bound to plain names: reading a member off its enum costs more than most of what is done with it.
RESPONSE, UNREACHED, REQUEST, CANCEL = Kind.RESPONSE, Kind.UNREACHED, Kind.REQUEST, Kind.CANCEL
ACK, NO_ACK, DECIDED, TIMEOUT = Kind.ACK, Kind.NO_ACK, Kind.DECIDED, Kind.TIMEOUT
DURABLE, PRACKED = Kind.DURABLE, Kind.PRACKED


class Signal:
    """What came from a leg, as a message or as its silence. Not changed once it is made."""

    __slots__ = ("client", "kind", "leg", "request", "response", "server")

    status: int = 0
    decision: Decision | None = None
    text: str = ""
    errand: object = None
    number: int = 0

    def __init__(
        self,
        kind: Kind,
        leg: Leg | None = None,
        server: ServerTransaction | None = None,
        request: Request | None = None,
        client: ClientTransaction | None = None,
        response: Response | None = None,
    ) -> None:
        self.kind = kind
        self.leg = leg
        self.server = server
        self.request = request
        self.client = client
        self.response = response


class Notice(Signal):
    """A signal that brings something else than a message."""

    __slots__ = ("decision", "errand", "number", "status", "text")

    def __init__(
        self,
        kind: Kind,
        leg: Leg | None = None,
        *,
        client: ClientTransaction | None = None,
        status: int = 0,
        decision: Decision | None = None,
        text: str = "",
        errand: object = None,
        number: int = 0,
    ) -> None:
        self.kind = kind
        self.leg = leg
        self.server = self.request = self.response = None
        self.client = client
        self.status = status
        self.decision = decision
        self.text = text
        self.errand = errand
        self.number = number


TIMED_OUT = Signal(TIMEOUT)
WRITTEN_DOWN = Signal(DURABLE)
