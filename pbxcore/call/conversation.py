"""Two parties talk: requests inside of the dialogs, until one of them ends it (RFC 3261 sections 12.2, 14 and 15).

An offer of one side becomes an offer to the other, with the relay between them, and so hold, resume and a change of
address go through. One offer is under way at a time: a second one from the same side is answered 500, one from the
other side 491 (14.2), and so is one of the callee before the caller has acknowledged (14.1). An offer that comes by
UPDATE (RFC 3311) goes on by UPDATE where the other side takes it, else by re-INVITE. What the exchange asks of its own
accord is in `refresher`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from pbxcore.call import inputs
from pbxcore.call.body import sdp_in, sdp_or_nothing
from pbxcore.call.branch import Branch
from pbxcore.call.handover import Errand, Moving
from pbxcore.call.inputs import HungUpBy
from pbxcore.call.leg import ALLOW, SDP_TYPE, Leg
from pbxcore.call.outcome import as_ours
from pbxcore.call.passing import passed
from pbxcore.call.reason import q850, row
from pbxcore.call.referral import begin
from pbxcore.call.refresher import Refresher
from pbxcore.call.retell import holds
from pbxcore.call.session_timer import too_small
from pbxcore.call.signal import ACK, CANCEL, NO_ACK, REQUEST, RESPONSE, TIMEOUT, UNREACHED, Kind, Signal
from pbxcore.call.through import PASSED_ON, Through, answer_by_relay, offer_by_relay
from pbxcore.call.underway import Offer
from pbxcore.media.backend import MediaError
from pbxcore.sip import build
from pbxcore.sip.errors import SipError
from pbxcore.sip.message import Field, Request, Response
from pbxcore.sip.transaction import ClientTransaction, ServerTransaction

if TYPE_CHECKING:
    from pbxcore.call.b2bua import LiveCall

KNOWN = frozenset({"REGISTER", "SUBSCRIBE", "NOTIFY", "PUBLISH", "REFER"})
MAX_SECONDS = 24 * 3600.0  # no call lasts longer: a line that nobody closed is closed
ACK_SECONDS = 33.0
GONE = frozenset({408, 481})  # to a re-INVITE: the dialog is no more (RFC 5057 section 5.1)


class Conversation:
    """The answered part of a call: the caller's leg and the branch that answered."""

    __slots__ = (
        "_acked", "_answer", "_idle", "_offer", "_parting", "_refresher", "_through", "a", "b", "frozen", "live",
        "over", "transfer",
    )  # fmt: skip

    def __init__(self, live: LiveCall, b: Leg, answer: Response | None) -> None:
        self.live = live
        self.a: Leg = live.a
        self.b: Leg = b
        self.a.sdp = live.offer
        self.transfer: Moving | None = None
        self.frozen = False  # no offer of either side is taken: the exchange is about to make one
        self._acked = False
        self._idle = False  # nothing is under way, and nobody waits for anything in particular
        self._answer: Response | None = None if live.offer else answer  # to be acknowledged with the caller's answer
        self._offer: Offer | None = None
        self._through: Through | None = None
        self.over = False
        self._parting: list[Field] = []  # what the caller is told of the end
        renew = live.early.renew if live.early is not None else None
        self._refresher: Refresher | None = None
        if renew or live.a.session is not None or b.session is not None:
            self._refresher = Refresher(self, renew or set())

    async def run(self) -> None:
        until = self.live.exchange.clock() + MAX_SECONDS
        while not self.over:
            if self._refresher is None:
                self._idle = True
                signal = await self.live.next(until)
                self._idle = False
                await self.take(signal)
            else:
                signal = await self.hear(until)
                if not self.over:
                    await self.take(signal)
        if not self._acked:
            await self._wait_for_ack()
        self.a.bye(self._parting)

    async def hear(self, until: float) -> Signal:
        """The next signal, or TIMEOUT at `until`; what the sessions ask for meanwhile is done, and may end the call."""
        clock = self.live.exchange.clock
        while True:
            refresher = self._refresher
            signal = await self.live.next(until if refresher is None else min(until, refresher.due))
            if signal.kind is not TIMEOUT or refresher is None or clock() >= until:
                return signal
            await refresher.act(clock())
            if self.over:
                return signal

    async def take(self, signal: Signal) -> None:
        kind = signal.kind
        if kind is REQUEST:
            await self._request(signal)
        elif kind is RESPONSE or kind is UNREACHED:
            await self._response(signal)
        elif kind is ACK:
            await self._ack(signal)
        elif kind is CANCEL:
            self._cancel(signal)
        elif kind is NO_ACK:
            self._acked = True
            self._release("exchange", 408, "No ACK")
        elif kind is Kind.MEDIA_LOST:
            self._release("exchange", 408, signal.text)
        elif kind is Kind.HANG_UP or kind is TIMEOUT:
            self._release("exchange", 200, "Normal Clearing")
        elif kind is Kind.TRANSFER or kind is Kind.JOIN:
            await begin(self, signal)

    def peer(self, leg: Leg) -> Leg:
        return self.b if leg is self.a else self.a

    # ---- requests

    async def _request(self, signal: Signal) -> None:
        leg, tx, request = signal.leg, signal.server, signal.request
        if leg is None or tx is None or request is None:
            return
        layer = self.live.exchange.layer
        method = request.method
        if self.transfer is not None and self.transfer.takes(leg, tx, request):
            return
        if leg is not self.a and leg is not self.b:
            layer.respond(tx, build.response(request, 481))
        elif method == "BYE":
            layer.respond(tx, build.response(request, 200))
            self._end_by(leg, request)
        elif method == "INVITE" or method == "UPDATE":
            await self._reinvite(leg, tx, request)
        elif method in PASSED_ON:
            if self._through is None:
                self._through = Through(self.live)
            self._through.take(tx, request, self.peer(leg))
        elif method == "REFER":
            await begin(self, signal)
        else:
            status = 405 if method in KNOWN else 501
            layer.respond(tx, build.response(request, status, headers=[("Allow", ALLOW)]))

    def _end_by(self, leg: Leg, bye: Request) -> None:
        by: HungUpBy = "caller" if leg is self.a else "callee"
        fields, cause = passed(bye), q850(bye) if "reason" in bye.first_lines else None
        if leg is self.a:
            self._acked = True  # whoever hangs up has had our 200
            self._release(by, 200, "Normal Clearing", fields, cause)
            self.a.leave()
            self.a.ending = True
        else:
            self.b.ending = True
            self._parting = fields
            self._release(by, 200, "Normal Clearing", cause=cause)
            self.b.leave()

    async def _reinvite(self, leg: Leg, tx: ServerTransaction, request: Request) -> None:
        layer, pending, peer = self.live.exchange.layer, self._offer, self.peer(leg)
        try:
            sdp = sdp_in(request)
        except SipError as error:
            accept = [("Accept", "application/sdp")]
            layer.respond(tx, build.response(request, error.status, error.reason, headers=accept))
            return
        least = self.live.exchange.session.minimum
        if too_small(request, least):
            layer.respond(tx, build.response(request, 422, headers=[("Min-SE", str(least))]))
            return
        updates = request.method == "UPDATE"
        if updates and not sdp:
            self._refreshed(leg, tx, request)
            return
        by_update = updates and peer.updates
        unready = self._answer is not None or (leg is self.b and not self._acked and not by_update)
        if pending is not None or unready or self.frozen:
            same = pending is not None and pending.leg is leg and pending.request is not None
            headers = [("Retry-After", str(3 if same else 0))] if same else []
            layer.respond(tx, build.response(request, 500 if same else 491, headers=headers))
            return
        offer = self._offer = Offer(leg, tx, request)
        offer.late = not sdp
        body = b""
        if sdp:
            try:
                body = await offer_by_relay(self.live, leg, peer, sdp)
            except MediaError:
                self._offer = None
                layer.respond(tx, build.response(request, 488))
                return
        fields = passed(request)
        if body:
            fields.append(SDP_TYPE)
        self._send_offer(offer, peer, "UPDATE" if by_update else "INVITE", fields, body)

    def _send_offer(self, offer: Offer, peer: Leg, method: str, fields: list[Field], body: bytes) -> None:
        offer.client = peer.send(method, fields, body)
        offer.invite = offer.client.request

    def _refreshed(self, leg: Leg, tx: ServerTransaction, update: Request) -> None:
        """An UPDATE that offers nothing says where its sender is, and that he is (RFC 3311 section 5.2, RFC 4028)."""
        answer = build.response(update, 200)
        answer.fields += self._accepting(leg, update)
        self.live.exchange.layer.respond(tx, answer)

    def _accepting(self, leg: Leg, request: Request) -> list[Field]:
        """The rows of our 2xx; with it a session timer may have begun."""
        rows = leg.accepting(request)
        if leg.session is not None and self._refresher is None:
            self._refresher = Refresher(self, set())
        return rows

    async def offer_again(self, leg: Leg) -> bool:
        """Offer to this side what the other one has said. False when that can't be just now."""
        giver = self.peer(leg)
        if not self.quiet or self.frozen or self.transfer is not None or not giver.sdp:
            return False
        offer = self._offer = Offer(giver, None, None)
        try:
            body = await offer_by_relay(self.live, giver, leg, giver.sdp)
        except MediaError as error:
            self._offer = None
            self.live.exchange.media_refused(self.live.call.offered.call_id, error)
            return True  # nothing will come of it later
        self._send_offer(offer, leg, "UPDATE" if leg.updates else "INVITE", [SDP_TYPE], body)
        return True

    def _cancel(self, signal: Signal) -> None:
        """The sender of a re-INVITE gave it up: so do we, and its final response tells him."""
        offer = self._offer
        if offer is not None and offer.server is signal.server and offer.client is not None:
            self.live.exchange.layer.cancel(offer.client)

    # ---- responses

    async def _response(self, signal: Signal) -> None:
        client = signal.client
        if client is None:
            return
        offer = self._offer
        if offer is not None and offer.client is client:
            await self._offer_answered(offer, signal.response, signal.status)
            return
        if self._refresher is not None and self._refresher.owns(client):
            await self._refresher.response(signal)
            return
        if self._through is not None and self._through.answered(client, signal) == 481:
            self._release("exchange", 408, "The other side is gone")

    async def _offer_answered(self, offer: Offer, response: Response | None, status: int) -> None:
        peer = self.peer(offer.leg)
        if response is None or response.status >= 300:
            self._offer = None
            gone = response is None or response.status in GONE
            self._answer_offer(offer, status, response)
            if gone:
                self._release("exchange", 408, "The other side is gone")
            elif response is not None and offer.request is None and self._refresher is not None:
                self._refresher.not_taken(peer, response)
            return
        peer.accepted(response)
        offer.response = response
        try:
            body = await self._body_back(offer, peer, sdp_or_nothing(response))
        except MediaError:
            self._acknowledge(peer, offer)
            self._offer = None
            self._answer_offer(offer, 488, None)
            return
        if not offer.late:
            self._acknowledge(peer, offer)
            if offer.request is not None:
                offer.leg.sdp = sdp_or_nothing(offer.request)
                self._note_hold(offer.leg, offer.leg.sdp)
        if offer.server is None:  # whoever made it has left, or it is ours
            self._acknowledge(peer, offer)
            self._offer = None
        elif offer.request is not None and offer.request.method == "UPDATE":  # for which no ACK comes
            self._offer = None
        self._answer_offer(offer, 200, response, body)

    async def _body_back(self, offer: Offer, peer: Leg, sdp: bytes) -> bytes:
        if not sdp:
            raise MediaError("no SDP in the answer to a re-INVITE")
        peer.sdp = sdp
        if offer.late:
            return await offer_by_relay(self.live, peer, offer.leg, sdp)
        return await answer_by_relay(self.live, peer, offer.leg, sdp)

    def _answer_offer(self, offer: Offer, status: int, response: Response | None, body: bytes = b"") -> None:
        tx, offer.server = offer.server, None
        request = offer.request
        if tx is None or request is None:
            return
        if response is None:
            answer = build.response(request, status)
        else:
            status, reason, fields = as_ours(response)
            answer = build.response(request, status, reason, body=body)
            answer.fields += fields
        if status < 300:
            answer.fields += self._accepting(offer.leg, request)
            tx.owner = offer.leg
        if body:
            answer.fields.append(SDP_TYPE)
        self.live.exchange.layer.respond(tx, answer)

    def _note_hold(self, leg: Leg, sdp: bytes) -> None:
        """An offer was accepted: did it hold the call, or take it back? Most that repeat what is change nothing."""
        live, on_hold = self.live, holds(sdp)
        if on_hold != live.call.legs[leg.label].held:
            now = live.exchange.wall()
            live.apply(inputs.LegHeld(now, leg.label) if on_hold else inputs.LegRetrieved(now, leg.label))

    # ---- ACK

    def acknowledged(self, leg: Leg, ack: Request) -> bool:
        """Whether this is the ACK of the caller's 200 and brings nothing: then it is noted, and nobody has to wake."""
        caller = self.live.a
        if not self._idle or self._acked or self._answer is not None or leg is not caller:
            return False
        self._acked = ack.cseq.number == caller.invite.cseq.number
        return self._acked

    async def _ack(self, signal: Signal) -> None:
        ack = signal.request
        sdp = sdp_or_nothing(ack) if ack is not None else b""
        offer = self._offer
        number = ack.cseq.number if ack is not None else 0
        if not self._acked and signal.leg is self.live.a and number == self.live.a.invite.cseq.number:
            self._acked = True
            if self._answer is not None:
                await self._late_answer(sdp)
        elif offer is not None and signal.leg is offer.leg and offer.response is not None:
            self._offer = None
            if offer.late:
                peer = self.peer(offer.leg)
                offer.leg.sdp = sdp
                try:
                    body = await answer_by_relay(self.live, offer.leg, peer, sdp)
                except MediaError:
                    self._acknowledge(peer, offer)
                    self._release("exchange", 488, "No usable answer in the ACK")
                else:
                    self._acknowledge(peer, offer, body)

    async def _late_answer(self, sdp: bytes) -> None:
        """The caller's answer to the offer that came with the 200 goes on in our ACK (13.2.2.4)."""
        answer, self._answer = self._answer, None
        if answer is None:
            return
        self.a.sdp = sdp
        try:
            body = await answer_by_relay(self.live, self.a, self.b, sdp)
        except MediaError:
            self._acknowledge_answer(answer)
            self._release("exchange", 488, "No usable answer in the ACK")
            return
        self._acknowledge_answer(answer, body)

    def _acknowledge_answer(self, answer: Response, body: bytes = b"") -> None:
        """As long as the caller has not acknowledged, the callee is the branch that answered."""
        if isinstance(self.b, Branch):
            self.b.acknowledge(answer, body)

    def _acknowledge(self, leg: Leg, offer: Offer, body: bytes = b"") -> None:
        if leg.dialog is None or offer.invite is None or offer.client is None or offer.response is None:
            return
        if offer.acknowledged or offer.invite.method != "INVITE":
            return
        offer.acknowledged = True
        ack = leg.dialog.ack(offer.invite, body=body)
        if body:
            ack.fields.append(SDP_TYPE)
        self.live.exchange.layer.acknowledge(offer.client, ack, leg.flow, offer.response)

    # ---- for whoever moves a party from one call or place to another (`transfer`)

    @property
    def quiet(self) -> bool:
        """No offer is under way, and none waits for its answer or its ACK."""
        return self._acked and self._answer is None and self._offer is None

    def leaves(self, leg: Leg) -> None:
        """This side is gone while the call goes on: what waits for it, or because of it, waits no longer."""
        offer = self._offer
        if offer is not None and offer.leg is leg and offer.response is not None:
            self._acknowledge(self.peer(leg), offer)
            self._offer = None
        elif offer is not None and offer.leg is leg:
            self._answer_offer(offer, 487, None)  # and the other side's answer is dealt with when it comes
        elif offer is not None and offer.response is None:
            self._answer_offer(offer, 491, None)
            if offer.client is not None:  # who has left may never answer it
                self.live.exchange.layer.cancel(offer.client)
            self._offer = None
        if self._through is not None:
            self._through.leaves(leg)

    def replace(self, place: Leg, leg: Leg) -> None:
        """From now on this leg talks where that one did."""
        if place is self.a:
            self.a = leg
        else:
            self.b = leg
        if leg.session is not None and self._refresher is None:
            self._refresher = Refresher(self, set())

    def end(self, status: int, reason: str) -> None:
        self._release("exchange", status, reason)

    # ---- the end

    def resent(self, old: ClientTransaction, new: ClientTransaction) -> None:
        """A request was challenged by a trunk and sent anew."""
        if self.transfer is not None:
            self.transfer.resent(old, new)
        if self._refresher is not None:
            self._refresher.resent(old, new)
        if self._through is not None:
            self._through.resent(old, new)
        if self._offer is not None and self._offer.client is old:
            self._offer.client = new
            self._offer.invite = new.request

    def _release(
        self, by: HungUpBy, status: int, reason: str, fields: Sequence[Field] = (), cause: int | None = None
    ) -> None:
        """End it: whatever is unanswered is answered, and the callee gets his BYE; the caller's comes after his ACK."""
        live = self.live
        self.over = True
        leg = self.a if by == "caller" else self.b
        live.apply(inputs.Released(live.exchange.wall(), by, status, reason, leg.label, cause))
        if by == "exchange" and status >= 300:
            self._parting = fields = [row(status, reason)]
        if self._answer is not None:
            self._acknowledge_answer(self._answer)
            self._answer = None
        offer, self._offer = self._offer, None
        if offer is not None:
            if offer.response is not None:
                self._acknowledge(self.peer(offer.leg), offer)  # its ACK was to bring an answer that does not come now
            elif offer.client is not None:
                live.exchange.layer.cancel(offer.client)
            self._answer_offer(offer, 487, None)
        self.b.bye(fields)
        if self._through is not None:
            self._through.close()

    async def _wait_for_ack(self) -> None:
        """No BYE to the caller before his ACK, or 64*T1 without it (section 15)."""
        deadline = self.live.exchange.clock() + ACK_SECONDS
        while True:
            signal = await self.live.next(deadline)
            if signal.kind in (ACK, NO_ACK, TIMEOUT):
                return
            if signal.kind is Kind.JOIN:
                cast(Errand, signal.errand).void()
            if signal.kind is REQUEST and signal.server is not None and signal.request is not None:
                bye = signal.request.method == "BYE"
                answer = build.response(signal.request, 200 if bye else 481)
                self.live.exchange.layer.respond(signal.server, answer)
                if bye and signal.leg is self.a:
                    self.a.ending = True
                    self.a.leave()
                    return
