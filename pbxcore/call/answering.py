"""A branch has answered: what the caller gets, and when (RFC 3261 section 13.3.1.4, RFC 3262 section 3).

The 200 waits for the journal, and for what the caller has yet to acknowledge; whoever gives up meanwhile is let go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pbxcore.call import inputs
from pbxcore.call.body import sdp_or_nothing
from pbxcore.call.branch import Branch
from pbxcore.call.connected import send
from pbxcore.call.early import settled
from pbxcore.call.leg import Leg
from pbxcore.call.outcome import Outcome
from pbxcore.call.passing import passed_back
from pbxcore.call.reason import ELSEWHERE
from pbxcore.call.signal import DURABLE, TIMEOUT, Kind, Signal
from pbxcore.call.through import answer_by_relay, offer_by_relay
from pbxcore.media.backend import MediaError
from pbxcore.sip.message import Response

if TYPE_CHECKING:
    from pbxcore.call.b2bua import LiveCall

DURABLE_SECONDS = 0.25  # how long an answer waits for a journal that is stuck; the journal catches up later


async def their_answer(live: LiveCall, branch: Branch, sdp: bytes) -> bytes:
    body = await answer_by_relay(live, branch, live.a, sdp)
    live.answers[branch.label] = body
    branch.sdp = sdp
    return body


async def answer(live: LiveCall, branch: Branch, response: Response, others: list[Branch]) -> bool:
    """A branch answered: it has won. The caller gets the 200 once the call is written down; the callee's ACK and the
    news come behind it, where nothing has to be waited for."""
    exchange, call_id = live.exchange, live.call.offered.call_id
    branch.accept(response)
    if others:
        for other in others:
            live.drop(other, 487, ELSEWHERE)
        others.clear()
    try:
        body = await answer_body(live, branch, response)
    except MediaError as error:
        exchange.media_refused(call_id, error)
        branch.bye()
        live.failed(branch, Outcome(488, "Not Acceptable Here"))
        return False
    durable = exchange.journal.when_durable(call_id, live.now_durable)
    early = live.a.reliable is not None or live.early is not None
    if early or not durable or live.inbox:
        if live.offer:
            branch.acknowledge(response)
        if not await _told_durable(live, branch, durable):
            branch.bye()
            return False
        if early or live.early is not None:
            if not await settled(live, branch):
                branch.bye()
                return False
            body = not_told_yet(live, branch, body)
    live.a.respond(200, response.reason, passed_back(response), body)
    if live.offer and branch.unacknowledged is not None:
        branch.acknowledge(response)
    snapshot = live.apply(inputs.LegAnswered(exchange.wall(), branch.label))
    if branch.untold:
        send(branch)
    if snapshot is not None:
        exchange.hooks.on_answered(snapshot)
    return True


def not_told_yet(live: LiveCall, leg: Leg, body: bytes) -> bytes:
    """The description for the 200: none for who has one already, and what has changed since he is told later."""
    reliable = live.a.reliable
    if reliable is None or not reliable.agreed:
        return live.answers.get(leg.label, body) if live.early is not None else body
    early = live.early_offers()
    if early.partner is not leg:
        early.renew.add("a")
    return b""


async def answer_body(live: LiveCall, branch: Branch, response: Response) -> bytes:
    sdp = sdp_or_nothing(response)
    if not live.offer:
        if not sdp:
            raise MediaError("the phone answered an INVITE without SDP with no offer")
        branch.sdp = sdp
        return await offer_by_relay(live, branch, live.a, sdp)
    if sdp:
        return await their_answer(live, branch, sdp)
    early = live.answers.get(branch.label)
    if early is None:
        raise MediaError("the phone answered without an SDP answer")
    return early


async def written_down(live: LiveCall, branch: Leg) -> bool:
    """Wait for the journal's commit; False when the caller gave up meanwhile, or while the relay worked."""
    durable = live.exchange.journal.when_durable(live.call.offered.call_id, live.now_durable)
    return await _told_durable(live, branch, durable)


async def _told_durable(live: LiveCall, branch: Leg, durable: bool) -> bool:
    """As `written_down`, for whom the journal has answered already; if that was no, it tells the call later."""
    if durable:
        if not live.inbox:
            return True
        live.now_durable()
    deadline = live.exchange.clock() + DURABLE_SECONDS
    kept: list[Signal] = []  # what the callee says meanwhile, and who wants in, is for the conversation
    while True:
        signal = await live.next(deadline)
        if signal.kind is DURABLE:
            break
        if signal.kind is TIMEOUT:
            live.exchange.counters.journal_late += 1
            break
        if await live.within(signal):
            continue
        if signal.leg is branch or signal.kind is Kind.JOIN:
            kept.append(signal)
        elif live.gave_up(signal):
            live.inbox.extend(kept)
            return False
    live.put_back(kept)
    return True
