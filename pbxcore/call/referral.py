"""A REFER inside of a call, and the office's orders to transfer one: who may, and what begins (RFC 3515 section 2.4).

The exchange is the one that a REFER asks; the other side never sees it. What is refused for good is refused at once;
what is accepted (202) is reported until it has come to something.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from pbxcore.call.dialogs import find
from pbxcore.call.handover import Errand
from pbxcore.call.join import Join
from pbxcore.call.leg import Leg
from pbxcore.call.refer import Reference, Replaces, reference
from pbxcore.call.report import Report
from pbxcore.call.router import Round, Step
from pbxcore.call.signal import Kind, Notice, Signal
from pbxcore.call.transfer import MAX_BRANCHES, Transfer, route
from pbxcore.control import Invalid
from pbxcore.hooks import Proceed
from pbxcore.sip import build
from pbxcore.sip.errors import SipError
from pbxcore.sip.message import Request
from pbxcore.sip.transaction import ServerTransaction

if TYPE_CHECKING:
    from pbxcore.call.b2bua import LiveCall
    from pbxcore.call.conversation import Conversation

OFFICE = "exchange"  # who transfers, when nobody's phone does
MAX_NUMBER = 64


async def begin(conversation: Conversation, signal: Signal) -> None:
    """A REFER, an order of the office, or an errand from another call."""
    leg = signal.leg
    if signal.kind is Kind.JOIN:
        await cast(Errand, signal.errand).run(conversation)
    elif signal.kind is Kind.TRANSFER:
        if conversation.transfer is None and leg is not None and leg in (conversation.a, conversation.b):
            notes = "" if signal.decision is None else signal.decision.instructions or ""
            await Transfer(conversation, leg, OFFICE, notes=notes).to(signal.text)
    elif leg is not None and signal.server is not None and signal.request is not None:
        await _referred(conversation, leg, signal.server, signal.request)


def order(live: LiveCall, to: str, party: str | None, notes: str = "") -> None:
    """The office transfers this call; see `PbxControl.transfer`. Raises Invalid."""
    leaver, _ = asked(live, to, party)
    live.post(Notice(Kind.TRANSFER, leaver, text=to, decision=Proceed(instructions=notes) if notes else None))


def asked(live: LiveCall, to: str, party: str | None) -> tuple[Leg, tuple[Step, ...]]:
    """Who would leave the call, and where that number rings. Raises Invalid."""
    talk = live.conversation
    if talk is None or talk.over:
        raise Invalid("call", "transfer.unanswered")
    if talk.transfer is not None:
        raise Invalid("call", "transfer.running")
    if party is None:
        leaver = talk.b if talk.b.trunk is None else talk.a
    else:
        leaver = next((leg for leg in (talk.b, talk.a) if leg.party == party), talk.b)
    if leaver.trunk is not None or (party is not None and leaver.party != party):
        raise Invalid("party", "transfer.party", party=party) if party else Invalid("party", "transfer.partyless")
    stays = talk.peer(leaver)
    steps = route(live, leaver, to) if to.isprintable() and 0 < len(to) <= MAX_NUMBER else ()
    if not any(isinstance(step, Round) for step in steps):
        raise Invalid("to", "order.unreached")
    if to == stays.party:
        raise Invalid("to", "transfer.same")
    if len(live.branches) >= MAX_BRANCHES:
        raise Invalid("call", "transfer.often")
    return leaver, steps


async def _referred(conversation: Conversation, leg: Leg, tx: ServerTransaction, request: Request) -> None:
    live = conversation.live
    exchange = live.exchange
    try:
        wanted = reference(request)
        _check(conversation, leg, wanted)
        join = None if wanted.replaces is None else _join(live, leg, wanted.replaces)
    except SipError as error:
        exchange.layer.respond(tx, build.response(request, error.status, error.reason))
        return
    rows = [("Contact", leg.dialog.contact if leg.dialog is not None else "")]
    if wanted.silent:
        rows.append(("Refer-Sub", "false"))
    exchange.layer.respond(tx, build.response(request, 202, headers=rows))
    report = Report(exchange, leg, request.cseq.number, silent=wanted.silent)
    report.tell(100)
    if join is None:
        await Transfer(conversation, leg, leg.party, report).to(wanted.number)
        return
    join.report = report
    if join.live is live:
        await join.run(conversation)
    else:
        join.live.post(Notice(Kind.JOIN, errand=join))


def _check(conversation: Conversation, leg: Leg, wanted: Reference) -> None:
    """Whether this party may transfer now, and so. Raises SipError."""
    live = conversation.live
    if leg.trunk is not None and not leg.trunk.profile.refer:
        raise SipError(403, build.REASONS[403])
    if len(live.branches) >= MAX_BRANCHES:
        raise SipError(403, "Too Many Transfers")
    stays = live.call.legs[conversation.peer(leg).label]
    if wanted.replaces is None and wanted.number == stays.party:
        raise SipError(482, build.REASONS[482])


def _join(live: LiveCall, leg: Leg, replaces: Replaces) -> Join:
    """The attended transfer that this is. The transferor names one of his own dialogs, and no other's. Of his two
    calls that one goes on that has somebody from outside in it, else the older. Raises SipError."""
    other = find(live.exchange.dialogs, replaces)
    if other.party != leg.party or other.trunk is not leg.trunk:
        raise SipError(403, build.REASONS[403])
    theirs = other.call
    if theirs is None:
        raise SipError(481, build.REASONS[481])
    if theirs is live:
        raise SipError(482, build.REASONS[482])
    if theirs.conversation is None:
        if other is not theirs.a:  # it rings at the transferor himself: nobody is there to transfer to
            raise SipError(481, build.REASONS[481])
        if any(branch.answered for branch in theirs.branches):  # at this very moment
            raise SipError(491, build.REASONS[491])
        return Join(live, leg, other)
    if theirs.conversation.transfer is not None or theirs.conversation.over:
        raise SipError(491, build.REASONS[491])
    return Join(live, leg, other) if _rank(live) <= _rank(theirs) else Join(theirs, other, leg)


def _rank(live: LiveCall) -> tuple[bool, float]:
    offered = live.call.offered
    return offered.direction == "internal", offered.received_at
