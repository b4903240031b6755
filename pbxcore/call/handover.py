"""A party of an answered call gives its place to another one: what all ways to do so share.

Whoever stays is offered the newcomer's media by a re-INVITE, and the newcomer what he answers (RFC 3725 with offers in
every INVITE, because that is what every phone knows). It runs inside of the call's coroutine: signals that are not
about what it has sent go on to the conversation. Who comes, and why, is for `transfer`, `join` and `pickup`.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from pbxcore.call import inputs
from pbxcore.call.body import sdp_or_nothing
from pbxcore.call.connected import introduce
from pbxcore.call.leg import SDP_TYPE, CallerLeg, Leg
from pbxcore.call.report import Report
from pbxcore.call.retell import alike, awake
from pbxcore.call.signal import Kind, Signal
from pbxcore.call.through import answer_by_relay, offer_by_relay
from pbxcore.media.backend import MediaError
from pbxcore.sip import build
from pbxcore.sip.errors import SipError
from pbxcore.sip.message import Request, Response
from pbxcore.sip.transaction import ClientTransaction, ServerTransaction

if TYPE_CHECKING:
    from pbxcore.call.conversation import Conversation

QUIET_SECONDS = 10.0      # how long a change of media under way may take
OFFER_SECONDS = 35.0      # a re-INVITE that rings, or is never answered, is cancelled
OFFER_TRIES = 3


class Over(Exception):
    """The call has ended meanwhile; everybody in it has been told."""


class Gone(Exception):
    """The party that was to come has hung up."""


class Moving(Protocol):
    """What a conversation asks while one of its parties is being moved."""

    def takes(self, leg: Leg, tx: ServerTransaction, request: Request) -> bool:
        """Whether a request inside of a dialog is dealt with."""
        ...

    def resent(self, old: ClientTransaction, new: ClientTransaction) -> None: ...


class Errand(Protocol):
    """What another call, or a request outside of any, wants done in this one."""

    async def run(self, conversation: Conversation) -> None: ...

    def void(self) -> None:
        """The call has ended before anything was done."""
        ...


class Handover:
    """`leaver` goes, `stays` stays. `by` is the party who made it so, `gone` whether the leaver has hung up."""

    __slots__ = ("_client", "by", "comers", "conversation", "gone", "leaver", "live", "report", "stays")

    def __init__(self, conversation: Conversation, leaver: Leg, by: str, report: Report | None = None) -> None:
        self.conversation = conversation
        self.live = conversation.live
        self.leaver = leaver
        self.stays = conversation.peer(leaver)
        self.by = by
        self.report = report or Report(self.live.exchange, leaver, 0, silent=True)
        self.gone = False
        self.comers: list[Leg] = []  # who may come
        self._client: ClientTransaction | None = None  # a re-INVITE of ours under way

    # ---- what the conversation asks (Moving)

    def takes(self, leg: Leg, tx: ServerTransaction, request: Request) -> bool:
        layer, method = self.live.exchange.layer, request.method
        if method == "REFER":
            layer.respond(tx, build.response(request, 491))
        elif method == "SUBSCRIBE" and leg is self.leaver and not self.report.silent:
            self.report.subscribed(tx, request)
        elif method == "BYE" and leg is self.leaver:
            layer.respond(tx, build.response(request, 200))
            self.left()
        elif self.gone and method != "BYE":  # there is nobody it could be passed on to
            layer.respond(tx, build.response(request, 491 if method == "INVITE" else 480))
        else:
            return False
        return True

    def left(self) -> None:
        """The transferor has hung up: he wants no more of it, whatever becomes of the transfer."""
        self.gone = True
        self.leaver.ending = True
        self.leaver.session = None
        self.leaver.leave()
        self.conversation.leaves(self.leaver)
        self.live.apply(inputs.LegLeft(self.live.exchange.wall(), self.leaver.label))

    def resent(self, old: ClientTransaction, new: ClientTransaction) -> None:
        if old is self._client:
            self._client = new

    def begin(self) -> None:
        self.conversation.transfer = self

    def cease(self) -> None:
        """The conversation goes on by itself."""
        self.conversation.transfer = None
        self.conversation.frozen = False
        self.comers.clear()

    async def hear(self, deadline: float) -> Signal:
        """The next signal; what is not about us has been dealt with. Raises Over."""
        signal = await self.conversation.hear(deadline)
        if self.conversation.over:
            raise Over
        ours = signal.leg in self.comers or (signal.client is not None and signal.client is self._client)
        if signal.kind is not Kind.TIMEOUT and not ours:
            await self.conversation.take(signal)
            if self.conversation.over:
                raise Over
        return signal

    # ---- the change of media

    async def connect(self, comer: Leg, told: bytes) -> None:
        """The one who stays is offered the newcomer's media, and the newcomer what he answers, unless it was `told`
        just that before. Raises SipError, Gone, Over; what flowed before then still flows, as far as that can be."""
        await self.quiet(comer)
        try:
            await self.exchange_media(comer, self.stays, comer)
        except Gone:
            await self.restore()
            raise
        if not told or not alike(told, self.stays.sdp):
            try:
                await self.exchange_media(self.stays, comer, comer)
            except (SipError, Gone):
                await self.restore()
                raise

    async def restore(self) -> None:
        """Back to the one who was to leave."""
        if not self.gone:
            await self.exchange_media(self.leaver, self.stays, self.leaver)

    async def quiet(self, comer: Leg | None = None) -> None:
        """Wait until nobody offers anything, and let nobody begin. Raises SipError, Over, and Gone when the newcomer
        has hung up meanwhile."""
        conversation, clock = self.conversation, self.live.exchange.clock
        deadline = clock() + QUIET_SECONDS
        while not conversation.quiet:
            signal = await self.hear(deadline)
            if signal.kind is Kind.TIMEOUT:
                raise SipError(491, build.REASONS[491])
            if signal.leg is comer and comer is not None:
                self._while_coming(comer, signal)
        conversation.frozen = True

    async def exchange_media(self, giver: Leg, taker: Leg, comer: Leg) -> bytes:
        """Offer the giver's media to the taker by a re-INVITE; the taker's answer, as the giver may get it."""
        live = self.live
        record = live.call.legs.get(giver.label)
        sdp = giver.sdp if record is not None and record.held else awake(giver.sdp)
        try:
            body = await offer_by_relay(live, giver, taker, sdp)
            introduce(live, giver, taker)
            answer = await self._offer(taker, body, comer)
            rendered = await answer_by_relay(live, taker, giver, answer)
        except MediaError as error:
            live.exchange.media_refused(live.call.offered.call_id, error)
            raise SipError(488, build.REASONS[488]) from None
        taker.sdp = answer
        return rendered

    async def _offer(self, taker: Leg, body: bytes, comer: Leg) -> bytes:
        """Re-INVITE; again when both sides began at once (RFC 3261 section 14.1)."""
        live = self.live
        for attempt in range(OFFER_TRIES):
            if attempt:
                await self._pause(taker, comer)
            client = self._client = taker.send("INVITE", [SDP_TYPE], body)
            invite = client.request
            response, lost = await self._final(client, comer, taker)
            if response.status == 491 and not lost:
                continue
            if response.status >= 300:
                raise SipError(response.status, response.reason)
            taker.accepted(response)
            if taker.dialog is not None:
                live.exchange.layer.acknowledge(client, taker.dialog.ack(invite), taker.flow, response)
            if lost:
                raise Gone
            sdp = sdp_or_nothing(response)
            if not sdp:
                raise SipError(488, build.REASONS[488])
            return sdp
        raise SipError(491, build.REASONS[491])

    async def _final(self, client: ClientTransaction, comer: Leg, taker: Leg) -> tuple[Response, bool]:
        """The final response, and whether the newcomer has hung up meanwhile: an offer that was made is waited for all
        the same. Raises SipError when there is none, Over, and Gone when it was his."""
        layer = self.live.exchange.layer
        deadline = self.live.exchange.clock() + OFFER_SECONDS
        lost = False
        while True:
            try:
                signal = await self.hear(deadline)
                self._of_newcomers(comer, signal)
            except (Over, Gone) as error:
                lost = True
                if taker is comer or isinstance(error, Over):
                    layer.cancel(client)
                    raise
                continue
            if signal.kind is Kind.TIMEOUT:
                layer.cancel(client)
                raise SipError(408, build.REASONS[408])
            if signal.client is None or signal.client is not self._client:
                continue
            if signal.response is None:
                raise SipError(signal.status, build.REASONS[signal.status])
            if signal.response.status >= 200:
                return signal.response, lost

    def _of_newcomers(self, comer: Leg, signal: Signal) -> None:
        """Raises Gone when it says that this one has hung up; another one is to go anyway."""
        if signal.client is not None and signal.client is self._client:
            return
        if signal.leg is comer:
            self._while_coming(comer, signal)
        elif signal.leg is not None and signal.leg in self.comers:
            with suppress(Gone):
                self._while_coming(signal.leg, signal)

    def _while_coming(self, comer: Leg, signal: Signal) -> None:
        """A request of the newcomer before he is in the call. Raises Gone."""
        request, tx, layer = signal.request, signal.server, self.live.exchange.layer
        if isinstance(comer, CallerLeg) and comer.gives_up(signal):
            comer.respond(487)  # now, however long the other side takes over its answer
            raise Gone
        if signal.kind is Kind.NO_ACK:
            raise Gone
        if signal.kind is not Kind.REQUEST or request is None or tx is None:
            return
        if request.method == "BYE":
            layer.respond(tx, build.response(request, 200))
            comer.ending = True
            comer.leave()
            raise Gone
        layer.respond(tx, build.response(request, 491 if request.method in ("INVITE", "UPDATE", "REFER") else 480))

    async def _pause(self, taker: Leg, comer: Leg) -> None:
        """As section 14.1 says: who has made the Call-ID waits longer. Raises Over, Gone."""
        chance = int(self.live.exchange.token()[:4], 16) / 0xFFFF
        until = self.live.exchange.clock() + (2.0 * chance if isinstance(taker, CallerLeg) else 2.1 + 1.9 * chance)
        while (signal := await self.hear(until)).kind is not Kind.TIMEOUT:
            self._of_newcomers(comer, signal)

    # ---- the end

    def finish(self, comer: Leg) -> None:
        """The newcomer is in the call, and the other one out of it."""
        live, leaver = self.live, self.leaver
        exchange = live.exchange
        self.conversation.leaves(leaver)
        self.conversation.replace(leaver, comer)
        live.apply(inputs.Transferred(exchange.wall(), comer.label, leaver.label, self.by))
        exchange.states.left(live.call, [live.call.legs[leaver.label]])
        exchange.media.drop_leg(live.call.offered.call_id, leaver.label)
        self.comers.clear()
        if self.gone:
            self.report.close(200)
        else:
            leaver.call = None
            self.report.close(200, "OK", leaver.bye)
