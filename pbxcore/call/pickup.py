"""An INVITE that takes somebody's place in a call: Replaces (RFC 3891), by which phones pick up calls of others.

Only a phone of the office may. The call may ring, then the phone that rings is cancelled and told who has it (RFC
3326); or it is answered, then its party is hung up on. An INVITE of a caller is never replaced before it is answered
(section 3): the one who waits for the answer is the one who takes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pbxcore.call import crossing, inputs
from pbxcore.call.abilities import check, enlist
from pbxcore.call.answering import not_told_yet
from pbxcore.call.body import sdp_in
from pbxcore.call.branch import Branch
from pbxcore.call.dialogs import find
from pbxcore.call.early import settled
from pbxcore.call.handover import Gone, Handover, Over
from pbxcore.call.leg import CallerLeg, Leg
from pbxcore.call.reason import ELSEWHERE
from pbxcore.call.refer import replaces_in
from pbxcore.call.retell import answer
from pbxcore.call.signal import Kind, Notice
from pbxcore.call.through import answer_by_relay, offer_by_relay
from pbxcore.media.backend import MediaError
from pbxcore.sip import build
from pbxcore.sip.errors import SipError
from pbxcore.sip.message import Request
from pbxcore.sip.transaction import ServerTransaction

if TYPE_CHECKING:
    from pbxcore.call.b2bua import LiveCall
    from pbxcore.call.conversation import Conversation
    from pbxcore.call.exchange import Exchange


def admit(exchange: Exchange, tx: ServerTransaction, request: Request, extension: str | None) -> None:
    """An INVITE with Replaces of this extension; None for a trunk's. Raises SipError."""
    if extension is None:
        raise SipError(403, build.REASONS[403])
    place = find(exchange.dialogs, replaces_in(request))
    live = place.call
    if live is None:
        raise SipError(481, build.REASONS[481])
    sdp = sdp_in(request)
    if not sdp:  # its offer would come in an answer of ours that nobody could make yet
        raise SipError(488, build.REASONS[488])
    talk = live.conversation
    if talk is None:
        if not isinstance(place, Branch) or place.answered:
            raise SipError(481 if place is live.a else 491, build.REASONS[481 if place is live.a else 491])
        if not live.offer:
            raise SipError(488, build.REASONS[488])
    elif talk.over:
        raise SipError(481, build.REASONS[481])
    elif talk.transfer is not None or place not in (talk.a, talk.b):
        raise SipError(491, build.REASONS[491])
    make = exchange.registrar.caller(extension, request)
    check(request, make, exchange.session)
    leg = CallerLeg(exchange, live, tx, request, extension, None)
    leg.make = make
    enlist(leg, request, exchange.session)
    leg.sdp = sdp
    crossing.admit(live, leg)
    live.post(Notice(Kind.JOIN, leg, errand=PickUp(leg, place)))


class PickUp:
    """An errand: `leg` takes the place of the leg `place`."""

    def __init__(self, leg: CallerLeg, place: Leg) -> None:
        self.leg = leg
        self.place = place

    def _refuse(self, status: int) -> None:
        self.leg.respond(status)
        self.leg.leave()

    def void(self) -> None:
        self._refuse(481)

    # ---- of a call that is answered

    async def run(self, conversation: Conversation) -> None:
        leg = self.leg
        if conversation.transfer is not None or self.place not in (conversation.a, conversation.b):
            self._refuse(491)
            return
        handover = Handover(conversation, self.place, leg.party)
        handover.comers.append(leg)
        handover.begin()
        try:
            await handover.quiet(leg)
            body = await handover.exchange_media(leg, handover.stays, leg)
        except (SipError, Gone, Over) as error:
            self._refuse(error.status if isinstance(error, SipError) else 487)
            conversation.live.media_drop(leg.label)
            if isinstance(error, Gone) and conversation.frozen:
                await self._restore(handover)
        else:
            leg.respond(200, body=body)
            _joins(conversation.live, leg)
            handover.finish(leg)
        finally:
            handover.cease()

    async def _restore(self, handover: Handover) -> None:
        try:
            await handover.restore()
        except (SipError, Gone, Over):
            if not handover.conversation.over:
                handover.conversation.end(488, build.REASONS[488])

    # ---- of one that rings

    async def take_ringing(self, live: LiveCall, ringing: list[Branch]) -> Leg | None:
        """The caller's offer and the newcomer's are each other's answers; None when they do not fit, or the phone that
        rang does so no more."""
        leg, place = self.leg, self.place
        if not isinstance(place, Branch) or place not in ringing:
            self._refuse(481)
            return None
        try:
            to_caller, to_comer = await self._cross(live)
        except MediaError as error:
            live.exchange.media_refused(live.call.offered.call_id, error)
            self._refuse(488)
            live.media_drop(leg.label)
            return None
        if any(leg.gives_up(signal) for signal in live.inbox):  # while the relay worked: the phones ring on
            self._refuse(487)
            live.media_drop(leg.label)
            return None
        for branch in ringing:
            live.drop(branch, 487, ELSEWHERE)
        ringing.clear()
        if (live.a.reliable is not None or live.early is not None) and not await settled(live, leg):
            self._refuse(487)
            return None
        if live.a.tx is None or leg.tx is None:
            return None
        _joins(live, leg)
        snapshot = live.apply(inputs.Transferred(live.exchange.wall(), leg.label, place.label, leg.party))
        leg.respond(200, body=to_comer)
        live.a.respond(200, body=not_told_yet(live, leg, to_caller))
        if snapshot is not None:
            live.exchange.hooks.on_answered(snapshot)
        return leg

    async def _cross(self, live: LiveCall) -> tuple[bytes, bytes]:
        leg, caller = self.leg, live.a
        from_comer, from_caller = answer(live.offer, leg.sdp), answer(leg.sdp, live.offer)
        if from_comer is None or from_caller is None:
            raise MediaError("the two offers have no format in common")
        await offer_by_relay(live, caller, leg, live.offer)
        to_caller = await answer_by_relay(live, leg, caller, from_comer)
        to_comer = await offer_by_relay(live, caller, leg, from_caller)
        return to_caller, to_comer


def _joins(live: LiveCall, leg: CallerLeg) -> None:
    now = live.exchange.wall()
    live.apply(inputs.LegJoined(now, leg.label, leg.party, leg.party, now))
