"""Offers and answers before a call is answered (RFC 3262 section 5, RFC 3311 section 5), across the two dialogs.

They travel in reliable provisionals, in PRACK and in UPDATE, and only where a side can take them: what one side can not
be told yet is answered with what is known of it, and it is told by an offer of ours once the call is up (`refresher`).
One offer at a time, as ever: 500 for a second one of the same side, 491 where they cross.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pbxcore.call.body import sdp_in, sdp_or_nothing
from pbxcore.call.branch import Branch
from pbxcore.call.leg import SDP_TYPE, Leg
from pbxcore.call.outcome import Outcome
from pbxcore.call.session_timer import too_small
from pbxcore.call.signal import Kind, Signal
from pbxcore.call.through import answer_by_relay, offer_by_relay
from pbxcore.media.backend import MediaError
from pbxcore.sip import build
from pbxcore.sip.errors import SipError
from pbxcore.sip.message import Request, Response
from pbxcore.sip.sdp import Sdp, SdpError
from pbxcore.sip.transaction import ClientTransaction, ServerTransaction

if TYPE_CHECKING:
    from pbxcore.call.b2bua import LiveCall

METHODS = ("PRACK", "UPDATE")
SOON = [("Retry-After", "1")]  # RFC 3311 section 5.2: from 0 to 10 seconds
SETTLING = 40.0  # seconds; transactions end before that


class Passed:
    """An offer of `leg` that went on to `peer`."""

    __slots__ = ("leg", "peer", "request", "server")

    def __init__(self, leg: Leg, peer: Leg, server: ServerTransaction, request: Request) -> None:
        self.leg = leg
        self.peer = peer
        self.server = server
        self.request = request


class EarlyOffers:
    """Those of one call."""

    __slots__ = ("_late", "_live", "offers", "partner", "renew")

    def __init__(self, live: LiveCall) -> None:
        self._live = live
        self._late: Response | None = None  # the branch's offer that the caller's PRACK is to answer
        self.partner: Branch | None = None  # whose description the caller has for certain
        self.offers: dict[ClientTransaction, Passed] = {}
        self.renew: set[str] = set()  # labels of legs that are to be told anew what the other side says

    # ---- in reliable provisionals

    async def offered(self, branch: Branch, response: Response, sdp: bytes) -> bytes:
        """The caller has offered nothing, and a branch has: what the caller gets, empty when he has an offer already.
        Then what he has answered is this branch's answer, too."""
        live = self._live
        branch.sdp = sdp
        body = await offer_by_relay(self._live, branch, live.a, sdp)
        live.answers[branch.label] = body
        reliable = live.a.reliable
        if reliable is None or reliable.told:
            if live.offer and branch.early is not None:
                branch.early.prack(response, await answer_by_relay(self._live, live.a, branch, live.offer))
            return b""
        self.partner, self._late = branch, response
        return body

    # ---- in PRACK and UPDATE

    async def request(self, signal: Signal) -> None:
        leg, tx, request = signal.leg, signal.server, signal.request
        if leg is None or tx is None or request is None:
            return
        layer, host = self._live.exchange.layer, self._live.exchange
        try:
            sdp = sdp_in(request)
        except SipError as error:
            accept = [("Accept", "application/sdp")]
            layer.respond(tx, build.response(request, error.status, error.reason, headers=accept))
            return
        if too_small(request, host.session.minimum):
            layer.respond(tx, build.response(request, 422, headers=[("Min-SE", str(host.session.minimum))]))
        elif not sdp:
            self._accept(leg, tx, request)
        elif request.method == "PRACK" and self._late is not None:
            await self._late_answer(tx, request, sdp)
        elif request.method == "PRACK" and leg is not self._live.a:
            layer.respond(tx, build.response(request, 481))
        else:
            await self._offer(leg, tx, request, sdp)

    async def _late_answer(self, tx: ServerTransaction, prack: Request, sdp: bytes) -> None:
        """The caller's answer to the offer of a branch: from now on it is as if he had offered it."""
        live, partner, late = self._live, self.partner, self._late
        self._late = None
        if partner is None or late is None or partner.early is None:
            live.exchange.layer.respond(tx, build.response(prack, 200))
            return
        try:
            body = await answer_by_relay(self._live, live.a, partner, sdp)
        except MediaError as error:
            live.exchange.media_refused(live.call.offered.call_id, error)
            live.exchange.layer.respond(tx, build.response(prack, 488))
            return
        live.offer = live.a.sdp = sdp
        live.exchange.layer.respond(tx, build.response(prack, 200))
        partner.early.prack(late, body)

    async def _offer(self, leg: Leg, tx: ServerTransaction, request: Request, sdp: bytes) -> None:
        live = self._live
        layer = live.exchange.layer
        peer = self.partner if leg is live.a else live.a
        if self.offers:
            same = any(passed.leg is leg for passed in self.offers.values())
            layer.respond(tx, build.response(request, 500 if same else 491, headers=SOON if same else ()))
        elif peer is None or not self._agreed(leg):
            layer.respond(tx, build.response(request, 500, headers=SOON))
        else:
            try:
                await self._pass_on(leg, peer, tx, request, sdp)
            except MediaError:
                layer.respond(tx, build.response(request, 488))

    async def _pass_on(self, leg: Leg, peer: Leg, tx: ServerTransaction, request: Request, sdp: bytes) -> None:
        live = self._live
        if peer.updates and self._agreed(peer):
            body = await offer_by_relay(self._live, leg, peer, sdp)
            self._keep(leg, sdp)
            self.offers[_send_update(peer, body)] = Passed(leg, peer, tx, request)
            return
        known = live.offer if peer is live.a else peer.sdp
        if not fits(sdp, known):
            raise MediaError("what is known of the other side is no answer to this")
        body = await offer_by_relay(self._live, leg, peer, sdp)
        answer = await answer_by_relay(self._live, peer, leg, known)
        self._keep(leg, sdp)
        if peer is live.a and (live.a.reliable is None or not live.a.reliable.told):
            live.answers[leg.label] = body  # he gets it with the 200
        else:
            self.renew.add(peer.label)
        self._accept(leg, tx, request, answer)

    def _keep(self, leg: Leg, sdp: bytes) -> None:
        leg.sdp = sdp
        if leg is self._live.a:
            self._live.offer = sdp

    def _agreed(self, leg: Leg) -> bool:
        """Whether an offer has been answered on this leg for certain."""
        if isinstance(leg, Branch):
            return leg.early is not None and any(early.agreed for early in leg.early.dialogs.values())
        reliable = self._live.a.reliable
        return reliable is not None and reliable.agreed

    def _accept(self, leg: Leg, tx: ServerTransaction, request: Request, body: bytes = b"") -> None:
        answer = build.response(request, 200, body=body)
        if request.method == "UPDATE":
            answer.fields += leg.accepting(request)
        if body:
            answer.fields.append(SDP_TYPE)
        self._live.exchange.layer.respond(tx, answer)

    # ---- what comes of it

    async def response(self, signal: Signal) -> None:
        client = signal.client
        passed = self.offers.pop(client, None) if client is not None else None
        if passed is None:
            return
        response, tx, request = signal.response, passed.server, passed.request
        layer = self._live.exchange.layer
        if response is None:
            layer.respond(tx, build.response(request, signal.status))
        elif response.status >= 300:
            outcome = Outcome.of(response)
            answer = build.response(request, outcome.status, outcome.reason)
            answer.fields += outcome.fields
            layer.respond(tx, answer)
        else:
            dialog = passed.peer.dialog_with(response.to_tag)
            if dialog is not None:
                dialog.refresh(response)
            sdp = sdp_or_nothing(response)
            passed.peer.sdp = sdp
            try:
                self._accept(passed.leg, tx, request, await answer_by_relay(self._live, passed.peer, passed.leg, sdp))
            except MediaError:
                layer.respond(tx, build.response(request, 488))

    def left(self, branch: Branch) -> None:
        """This branch is gone, and what waited for it, or came from it, waits no longer."""
        if self.partner is branch:
            self._late = None
        for client, passed in list(self.offers.items()):
            if branch in (passed.leg, passed.peer):
                del self.offers[client]
                self._live.exchange.layer.respond(passed.server, build.response(passed.request, 500, headers=SOON))

    def close(self) -> None:
        """The call is over."""
        for passed in self.offers.values():
            self._live.exchange.layer.respond(passed.server, build.response(passed.request, 481))
        self.offers.clear()


async def settled(live: LiveCall, answerer: Leg) -> bool:
    """Waits until the caller has every description that he was sent, and every offer its answer: no 2xx before that
    (RFC 3262 section 3). False when the caller gave up meanwhile, or whoever answered has hung up again."""
    kept: list[Signal] = []  # what whoever answers says meanwhile is for the conversation
    reliable = live.a.reliable
    while (reliable is not None and reliable.owing) or (live.early is not None and live.early.offers):
        signal = await live.next(live.exchange.clock() + SETTLING)
        if signal.kind is Kind.TIMEOUT:
            break
        if await live.within(signal):
            continue
        if signal.leg is answerer:
            if _hung_up(live, answerer, signal):
                live.put_back(kept)
                return False
            kept.append(signal)
        elif signal.kind is Kind.JOIN:
            kept.append(signal)
        elif live.gave_up(signal):
            live.put_back(kept)
            return False
    live.put_back(kept)
    return True


def _hung_up(live: LiveCall, answerer: Leg, signal: Signal) -> bool:
    """Whether who has answered is gone before the caller could hear of it: then nobody has."""
    request, tx = signal.request, signal.server
    if signal.kind is not Kind.REQUEST or request is None or tx is None or request.method != "BYE":
        return answerer.gives_up(signal)
    live.exchange.layer.respond(tx, build.response(request, 200))
    if isinstance(answerer, Branch):
        live.failed(answerer, Outcome(480, build.REASONS[480]))
    return True


def fits(offer: bytes, answer: bytes) -> bool:
    """Whether a description that answered another offer is an answer to this one: as many streams, and a format of each
    in common (RFC 3264 section 6)."""
    try:
        one, other = Sdp.parse(offer).media, Sdp.parse(answer).media
    except SdpError:
        return False
    return len(one) == len(other) and all(
        not (mine.port and theirs.port) or set(mine.formats) & set(theirs.formats)
        for mine, theirs in zip(one, other, strict=True)
    )


def _send_update(peer: Leg, body: bytes) -> ClientTransaction:
    """An UPDATE in a dialog that may be early."""
    if peer.dialog is not None or not isinstance(peer, Branch) or peer.early is None:
        return peer.send("UPDATE", [SDP_TYPE], body)
    early = next(early for early in peer.early.dialogs.values() if early.agreed)
    request = early.dialog.request("UPDATE", body=body)
    request.fields += [*peer.refreshing_rows(), SDP_TYPE]
    return peer.host.layer.request(request, peer.way_for(early.dialog), peer)
