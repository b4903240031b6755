"""Two calls of one party become one without it: attended transfer (RFC 5589 section 7, RFC 3891).

The transferor has a dialog with the exchange in each of his calls, and names one of them in a REFER inside of the
other. One call goes on (`live`) and gets the other party of the second, whose phones may still be ringing; the second
call ends without a record of its own. Nothing is given up before the one who stays has taken the newcomer's media.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pbxcore.call import inputs
from pbxcore.call.crossing import admit, release
from pbxcore.call.handover import QUIET_SECONDS, Gone, Handover, Over
from pbxcore.call.leg import Leg
from pbxcore.call.report import Report
from pbxcore.call.signal import Kind, Signal
from pbxcore.call.transfer import Transfer
from pbxcore.sip import build
from pbxcore.sip.errors import SipError
from pbxcore.sip.message import Request
from pbxcore.sip.transaction import ClientTransaction, ServerTransaction

if TYPE_CHECKING:
    from pbxcore.call.b2bua import LiveCall
    from pbxcore.call.conversation import Conversation

LOOK_SECONDS = 0.05  # between two looks at the other call, which wakes nobody here


class Emptied:
    """What the call that is taken over does meanwhile: `other` is the transferor's leg, alone in it (`Moving`)."""

    __slots__ = ("conversation", "gone", "other")

    def __init__(self, conversation: Conversation, other: Leg) -> None:
        self.conversation = conversation
        self.other = other
        self.gone = False

    def takes(self, leg: Leg, tx: ServerTransaction, request: Request) -> bool:
        layer = self.conversation.live.exchange.layer
        if leg is not self.other:
            if request.method != "REFER":
                return False
            # What it began would end with this call, and nobody would be told.
            layer.respond(tx, build.response(request, 491))
            return True
        if request.method == "BYE":
            layer.respond(tx, build.response(request, 200))
            self.gone = True
            leg.ending = True
            leg.session = None
            leg.leave()
            self.conversation.leaves(leg)
        else:
            layer.respond(tx, build.response(request, 491))
        return True

    def resent(self, old: ClientTransaction, new: ClientTransaction) -> None:
        """Nothing of ours is under way there."""


class Join:
    """An errand for the call that goes on. `leaver` and `other` are the transferor's legs, in `live` and in the call
    that is taken over."""

    def __init__(self, live: LiveCall, leaver: Leg, other: Leg) -> None:
        self.live = live
        self.leaver = leaver
        self.other = other
        self.report: Report | None = None

    async def run(self, conversation: Conversation) -> None:
        theirs = self.other.call
        their_talk = None if theirs is None else theirs.conversation
        mine = self.leaver in (conversation.a, conversation.b) and not conversation.over
        moving = any(talk is not None and talk.transfer is not None for talk in (conversation, their_talk))
        if theirs is None or not mine or moving:
            if self.report is not None:
                self.report.close(491 if mine and theirs is not None else 481)
        elif their_talk is None:
            await self._take_ringing(conversation, theirs)
        else:
            await self._take_party(conversation, theirs, their_talk)

    def void(self) -> None:
        if self.report is not None:
            self.report.close(481)

    # ---- phones that ring

    async def _take_ringing(self, conversation: Conversation, theirs: LiveCall) -> None:
        live = self.live
        # One without a record has not been rung yet: the relay is being asked for its port.
        ringing = [branch for branch in theirs.branches if branch.call is theirs and branch.label in theirs.call.legs]
        for branch in ringing:
            record = theirs.call.legs[branch.label]
            admit(live, branch, theirs)
            now = live.exchange.wall()
            times = record.started_at, record.ringing_at
            live.apply(inputs.LegJoined(now, branch.label, branch.party, record.number, *times))
        called = theirs.call.offered.called
        theirs.refuse(487, "Request Terminated", by="exchange")
        theirs.absorbed(live.call.offered.call_id)
        transfer = Transfer(conversation, self.leaver, self.leaver.party, self.report)
        await (transfer.to_those(ringing) if ringing else transfer.to(called))

    # ---- somebody who talks

    async def _take_party(self, conversation: Conversation, theirs: LiveCall, their_talk: Conversation) -> None:
        handover = Handover(conversation, self.leaver, self.leaver.party, self.report)
        emptied = Emptied(their_talk, self.other)
        comer = their_talk.peer(self.other)
        label = comer.label
        their_talk.transfer = emptied
        handover.begin()
        try:
            await handover.quiet()
            await self._quiet(handover, theirs, their_talk)
            admit(self.live, comer, theirs)
            handover.comers.append(comer)
            await handover.connect(comer, b"")
        except (SipError, Gone, Over) as error:
            self._failed(handover, error)
            handover.cease()
            self._give_back(theirs, their_talk, comer, label, emptied)
        else:
            self._done(handover, theirs, comer, label, emptied)
            handover.cease()

    async def _quiet(self, handover: Handover, theirs: LiveCall, their_talk: Conversation) -> None:
        """As `Handover.quiet`, of the other call. Raises SipError, Gone, Over."""
        clock = self.live.exchange.clock
        deadline = clock() + QUIET_SECONDS
        while not their_talk.quiet:
            if their_talk.over or theirs.conversation is None:
                raise Gone
            if clock() >= deadline:
                raise SipError(491, build.REASONS[491])
            await handover.hear(clock() + LOOK_SECONDS)
        if their_talk.over or theirs.conversation is None:
            raise Gone
        their_talk.frozen = True

    def _done(self, handover: Handover, theirs: LiveCall, comer: Leg, label: str, emptied: Emptied) -> None:
        live, record = self.live, theirs.call.legs[label]
        live.apply(
            inputs.LegJoined(
                live.exchange.wall(), comer.label, comer.party, record.number, record.started_at, record.ringing_at,
                record.answered_at,
            )
        )  # fmt: skip
        handover.finish(comer)
        if record.held:
            live.apply(inputs.LegHeld(live.exchange.wall(), comer.label))
        emptied.conversation.leaves(self.other)
        if not emptied.gone:
            self.other.bye()
        theirs.absorbed(live.call.offered.call_id)

    def _failed(self, handover: Handover, error: Exception) -> None:
        live = self.live
        status = error.status if isinstance(error, SipError) else 487 if isinstance(error, Over) else 480
        handover.report.close(status)
        if isinstance(error, SipError) and handover.gone and not handover.conversation.over:
            live.post(Signal(Kind.HANG_UP))  # nobody is left to talk to

    def _give_back(
        self, theirs: LiveCall, their_talk: Conversation, comer: Leg, label: str, emptied: Emptied
    ) -> None:
        """The second call is as it was, as far as its parties still are."""
        if comer.call is self.live:
            self.live.media_drop(comer.label)
            release(self.live, comer)
            comer.label, comer.call = label, theirs
        if theirs.conversation is their_talk and not their_talk.over:
            their_talk.transfer = None
            their_talk.frozen = False
            if emptied.gone or comer.ending:
                theirs.post(Signal(Kind.HANG_UP))
