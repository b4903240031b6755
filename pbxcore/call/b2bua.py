"""One call under way: the coroutine that reads from the INVITE to the end (RFC 3261 sections 13 and 16.7, RFC 7092).

`LiveCall` asks the CRM, rings round after round, passes the answer on, and hands over to `conversation` for as long as
the two talk. Everything that happens meanwhile (responses, CANCEL, BYE, deadlines) is a signal in its queue, so a 200
that crosses a CANCEL meets a call that is still there to deal with it. What it does to the call's state goes through
`Call.apply`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import TYPE_CHECKING, cast

from pbxcore.call import inputs
from pbxcore.call.answering import answer, their_answer
from pbxcore.call.body import sdp_or_nothing
from pbxcore.call.branch import Branch
from pbxcore.call.call import TELL, WRITE, Call
from pbxcore.call.conversation import Conversation
from pbxcore.call.dialing import dial
from pbxcore.call.drive import Deadline, drive, resume_after
from pbxcore.call.driven import Driven
from pbxcore.call.early import METHODS, EarlyOffers
from pbxcore.call.forwarding import follow, instead
from pbxcore.call.handover import Errand
from pbxcore.call.inputs import HungUpBy, Input
from pbxcore.call.invite import InviteMaker
from pbxcore.call.leg import CallerLeg, Leg
from pbxcore.call.outcome import Outcome, worse
from pbxcore.call.passing import passed_back
from pbxcore.call.pickup import PickUp
from pbxcore.call.reason import q850, reasons
from pbxcore.call.redirect import FOLLOWED
from pbxcore.call.router import Redirection, Refusal, Round, Step, asks_crm, plan
from pbxcore.call.servers import Key
from pbxcore.call.services.attendance import Attendance
from pbxcore.call.services.entries import Attend
from pbxcore.call.services.serve import attend
from pbxcore.call.signal import CANCEL, DECIDED, REQUEST, TIMEOUT, UNREACHED, WRITTEN_DOWN, Kind, Notice, Signal
from pbxcore.call.telling import event_of, originated
from pbxcore.hooks import CallSnapshot, Decision, IncomingCall
from pbxcore.media.backend import MediaError
from pbxcore.sip import build
from pbxcore.sip.message import Request, Response
from pbxcore.sip.transaction import ClientTransaction, ServerTransaction

if TYPE_CHECKING:
    from pbxcore.call.exchange import Exchange
    from pbxcore.call.trunks import Trunk

Answered = tuple[Leg, Response | None]
LATE = 0.02  # what the event loop may add to the CRM's budget before the call goes on without it


class LiveCall(Driven):
    """A call from its INVITE until nothing is left of it."""

    __slots__ = (
        "a", "answers", "branches", "call", "conversation", "early", "failure", "joined", "last", "maker", "offer",
        "reason", "told_ringing", "unrelayed", "unwritten",
    )  # fmt: skip

    def __init__(
        self, exchange: Exchange, offered: IncomingCall, tx: ServerTransaction, invite: Request, offer: bytes,
        trunk: Trunk | None,
    ) -> None:  # fmt: skip
        """`offer` is the description in the `invite`."""
        self.exchange = exchange
        self.call = Call(offered)
        self.a = CallerLeg(exchange, self, tx, invite, self.call.legs["a"].party, trunk)
        self.branches: list[Branch] = []
        self.answers: dict[str, bytes] = {}  # what each branch has answered so far, early media included
        self.conversation: Conversation | None = None
        self.offer = offer
        self.maker = InviteMaker(offered, invite, trusted=trunk is not None and trunk.trusted)
        self.failure: Outcome | None = None
        self.last: Outcome | None = None
        self.told_ringing = False
        self.unrelayed = False  # what they say of their media passes us by (`through`)
        self.unwritten = False  # it has been routed, and is written down as soon as the phones have their INVITEs
        self.early: EarlyOffers | None = None  # once an extension makes offers possible before the call is answered
        self.reason: str | None = None  # why the caller gave up (RFC 3326)
        self.joined: list[Leg] = []  # legs that came from another call, or came in to take a place in this one
        self.inbox = deque()
        self._deadline = Deadline(self, exchange.timers)
        self._waiting = False
        self._coroutine = self._run()
        if exchange.bus.wanted:
            exchange.bus.publish(originated(self.call))

    # ---- the call, from top to bottom

    async def _run(self) -> None:
        steps = await self._decide()
        answered = await self._ring(steps) if steps else None
        if answered is not None:
            self.conversation = talk = answered if isinstance(answered, Attendance) else Conversation(self, *answered)
            await talk.run()

    async def _decide(self) -> tuple[Step, ...]:
        """Ask the CRM within its budget, then plan. Empty when the caller gave up meanwhile."""
        exchange, offered = self.exchange, self.call.offered
        decision: Decision | None = None
        decided_by, lookup_ms = "dial plan", None
        if asks_crm(offered, exchange.dial_plan):
            began = exchange.clock()
            question = exchange.hooks.on_incoming(offered)
            try:
                waited = question.send(None)
            except StopIteration as done:  # from memory, as nearly always
                decision = done.value
            else:
                resume_after(waited, lambda: drive(question, self._decided))
                self.apply(inputs.Asked(exchange.wall()))
                while True:
                    signal = await self.next(began + exchange.crm_seconds + LATE)
                    if signal.kind is DECIDED:
                        decision = signal.decision
                        break
                    if signal.kind is TIMEOUT:
                        break
                    if self.gave_up(signal):
                        return ()
            lookup_ms = (exchange.clock() - began) * 1000
            if decision is not None:
                decided_by = exchange.hooks.decided_by(offered.call_id) or decided_by
        if decision is None:
            made = inputs.Decided(exchange.wall(), decided_by, lookup_ms)
        else:
            self.maker.decision = decision
            made = inputs.Decided(
                exchange.wall(), decided_by, lookup_ms,
                decision.display_name, decision.contact_id, decision.instructions, decision.tags,
            )  # fmt: skip
        self.call.apply(made)
        self.unwritten = True
        if exchange.bus.wanted:
            self._tell(made)
        return plan(offered, decision, exchange.dial_plan, exchange.agents.by_idleness)

    def _decided(self, decision: Decision | None) -> None:
        self.post(Notice(DECIDED, decision=decision))

    async def _ring(self, steps: tuple[Step, ...]) -> Answered | Attendance | None:
        """Take the steps in order until a branch answers; the best of the refusals is the caller's answer."""
        for place, step in enumerate(steps):
            if self.inbox and await self._gone_meanwhile():
                return None
            match step:
                case Round() if step.only_on_trouble and (self.last is None or not self.last.trouble):
                    continue
                case Round():
                    answered = await self._ring_round(step)
                    if answered is None and step.targets[0].trunk is not None:
                        answered = await self._other_servers(step)
                    if answered is not None:
                        return answered
                case Refusal():
                    self.refuse(step.status, step.reason)
                case Attend():
                    self.write_down()
                    return await attend(self, steps[place:])
                case Redirection():
                    contact = ("contact", f"Contact: <{step.uri}>")
                    self.refuse(302, "Moved Temporarily", Outcome(302, "Moved Temporarily", [contact]))
            if self.a.tx is None:
                return None
        if self.inbox and await self._gone_meanwhile():
            return None
        failure = self.failure or Outcome(480, "Temporarily Unavailable")
        self.refuse(failure.status, failure.reason, failure)
        return None

    async def _gone_meanwhile(self) -> bool:
        """Whether the caller gave up while the call waited for the relay."""
        while self.inbox:
            signal = await self.next(0.0)
            if not await self.within(signal) and self.gave_up(signal):
                return True
        return False

    async def _other_servers(self, step: Round) -> Answered | None:
        """The trunk's next server, for as long as the one before did not take the call (RFC 3263 section 4.3)."""
        tried: set[Key] = set()
        while self.a.tx is not None and self.branches:
            last = self.branches[-1]
            if not last.unserved or last.trunk is None:
                break
            last.unserved = False
            tried.add((last.flow.transport, last.flow.remote))
            if not last.trunk.has_other(tried):
                break
            answered = await self._ring_round(step, tried)
            if answered is not None:
                return answered
        return None

    async def _ring_round(self, step: Round, tried: Collection[Key] = ()) -> Answered | None:
        deadline = self.exchange.clock() + step.timeout
        self.last = None
        live = await dial(self, step, tried)
        self.a.open()
        while live:
            signal = await self.next(deadline)
            branch, response = signal.leg, signal.response
            if branch is None and signal.kind is TIMEOUT:
                self.note(Outcome(480, "Temporarily Unavailable"))
                break
            if (signal.request is not None or self.early is not None) and await self.within(signal):
                continue
            if not isinstance(branch, Branch) or branch not in live:
                if signal.kind is Kind.JOIN:
                    taken = await cast(PickUp, signal.errand).take_ringing(self, live)
                    if taken is not None:
                        return taken, None
                if self.gave_up(signal):
                    break
            elif response is None:
                if signal.kind is UNREACHED:
                    live.remove(branch)
                    self.failed(branch, Outcome.unreached(signal.status, phone=branch.trunk is None))
                    if branch.instead:
                        live += await instead(self, branch.instead, branch.hops, trouble=True)
                elif signal.request is not None and signal.request.method == "BYE":
                    live.remove(branch)
                    self._hung_up(branch, signal)
                else:
                    self._early(branch, signal)
            elif response.status < 200:
                await self._progress(branch, response)
                self.apply(inputs.LegRang(self.exchange.wall(), branch.label))
            elif response.status < 300:
                live.remove(branch)
                if await answer(self, branch, response, live):
                    return branch, response
                if self.a.tx is None:
                    return None
            else:
                live.remove(branch)
                if response.status in FOLLOWED and self.exchange.follow_redirects:
                    live += await follow(self, branch, response, live)
                    deadline = max(deadline, self.exchange.clock() + step.timeout)
                    continue
                outcome = Outcome.of(response)
                self.failed(branch, outcome, q850(response))
                if branch.instead and response.status < 600:
                    live += await instead(self, branch.instead, branch.hops, trouble=outcome.trouble)
                if response.status >= 600:  # said for an extension: its other phones stop, those of others ring on
                    for other in [other for other in live if other.target == branch.target]:
                        live.remove(other)
                        self.drop(other, 487)
        for branch in live:
            self.drop(branch, 487, self.reason)
        return None

    # ---- ringing

    def next_label(self) -> str:
        return f"b{len(self.branches) + len(self.joined) + 1}"

    def write_down(self) -> None:
        """The record of a call that has been routed, if it has not been made yet."""
        if self.unwritten:
            self.unwritten = False
            self.exchange.journal.write(self.call.snapshot())

    async def _progress(self, branch: Branch, response: Response) -> None:
        """A provisional: the caller hears the first 180, and every one that brings early media (RFC 3960)."""
        status, body = response.status, b""
        sdp = sdp_or_nothing(response)
        if sdp and self.offer:
            try:
                body = await their_answer(self, branch, sdp)
            except MediaError as error:
                self.exchange.media_refused(self.call.offered.call_id, error)
        elif sdp and branch.early is not None and "rseq" in response.first_lines:
            try:
                body = await self.early_offers().offered(branch, response, sdp)
            except MediaError as error:
                self.exchange.media_refused(self.call.offered.call_id, error)
        elif status == 180 and self.told_ringing:
            return
        reliable = self.a.reliable
        if reliable is not None and body:
            if reliable.told:  # he takes the first description that arrives for certain, and no other
                if status != 180 or self.told_ringing:
                    return
                body = b""
            else:
                self.early_offers().partner = branch
        self.told_ringing = self.told_ringing or status == 180
        self.a.respond(status, response.reason, passed_back(response), body)

    def forwarded(self) -> None:
        """Somebody sent the call on; who waits in silence is told so."""
        if not self.told_ringing:
            self.a.respond(181)

    def early_offers(self) -> EarlyOffers:
        if self.early is None:
            self.early = EarlyOffers(self)
        return self.early

    async def within(self, signal: Signal) -> bool:
        """Whether it was about an offer before the call is answered, and has been dealt with."""
        request = signal.request
        if request is not None and signal.kind is REQUEST and request.method in METHODS:
            await self.early_offers().request(signal)
            return True
        if self.early is None or signal.client not in self.early.offers:
            return signal.kind is Kind.PRACKED
        await self.early.response(signal)
        return True

    def _early(self, branch: Leg, signal: Signal) -> None:
        """A request inside of a dialog that is not confirmed: nothing can be passed on yet (RFC 3261 12.2.2)."""
        if signal.server is not None and signal.request is not None:
            headers = [("Retry-After", "5")]
            self.exchange.layer.respond(signal.server, build.response(signal.request, 500, headers=headers))

    def _hung_up(self, branch: Branch, signal: Signal) -> None:
        """A callee's BYE says that it has answered (RFC 3261 15) and has hung up since; its 200 is lost or overtaken,
        and when it comes it finds nobody."""
        if signal.server is not None and signal.request is not None:
            self.exchange.layer.respond(signal.server, build.response(signal.request, 200))
        self.note(Outcome(480, "Temporarily Unavailable"))
        self.drop(branch, 480)

    def now_durable(self) -> None:
        """The journal has written the call down."""
        self.post(WRITTEN_DOWN)

    # ---- endings before an answer

    def gave_up(self, signal: Signal) -> bool:
        """Deal with what is not a branch's response; True when it ends the call."""
        if signal.kind in (Kind.HANG_UP, Kind.MEDIA_LOST):
            self.refuse(480, "Temporarily Unavailable", by="exchange")
            return True
        if signal.kind is Kind.NO_PRACK:  # RFC 3262 section 3: a 5xx; he can't be reached any more
            self.refuse(504, build.REASONS[504], by="exchange")
            return True
        if signal.leg is not self.a:
            if signal.kind is REQUEST and signal.leg is not None:
                self._early(signal.leg, signal)
            return False
        if signal.kind is REQUEST and signal.request is not None and signal.server is not None:
            if signal.request.method != "BYE":
                self._early(self.a, signal)
                return False
            self.exchange.layer.respond(signal.server, build.response(signal.request, 200))
        elif signal.kind is not CANCEL:
            return False
        if signal.request is not None:
            self.reason = reasons(signal.request)
        self.refuse(487, "Request Terminated", by="caller")
        return True

    def refuse(self, status: int, reason: str, outcome: Outcome | None = None, by: HungUpBy = "callee") -> None:
        """The final answer of a call that nobody took."""
        self.apply(inputs.Released(self.exchange.wall(), by, status, reason))
        self.a.respond(status, reason, outcome.fields if outcome else ())

    def failed(self, branch: Branch, outcome: Outcome, cause: int | None = None) -> None:
        self.note(outcome)
        self.let_go(branch, outcome.status, cause)

    def let_go(self, branch: Branch, status: int, cause: int | None = None) -> None:
        """This branch is over."""
        branch.leave()
        self._lost(branch, status, cause)

    def _lost(self, branch: Branch, status: int, cause: int | None = None) -> None:
        self.apply(inputs.LegFailed(self.exchange.wall(), branch.label, status, cause))
        if self.early is not None:
            self.early.left(branch)
        self.media_drop(branch.label)

    def note(self, outcome: Outcome) -> None:
        """Keep the best refusal of the call, which is the caller's answer, and of the round, which decides what is next
        (RFC 3261 16.7)."""
        if self.failure is None or worse(self.failure, outcome):
            self.failure = outcome
        if self.last is None or worse(self.last, outcome):
            self.last = outcome

    def drop(self, branch: Branch, status: int, reason: str | None = None) -> None:
        """Cancel a branch that still rings."""
        branch.abandon(reason)
        self._lost(branch, status)

    # ---- state, and the end

    def apply(self, happened: Input) -> CallSnapshot | None:
        """Fold an input into the call, write it down and tell whoever listens; the snapshot that was written."""
        effect = self.call.apply(happened)
        if not effect:
            return None
        exchange, snapshot = self.exchange, None
        if effect & WRITE:
            snapshot = self.call.snapshot()
            exchange.journal.write(snapshot)
        if effect & TELL and exchange.bus.wanted:
            self._tell(happened)
        return snapshot

    def _tell(self, happened: Input) -> None:
        event = event_of(self.call, happened)
        if event is not None:
            self.exchange.bus.publish(event)

    def resent(self, old: ClientTransaction, new: ClientTransaction) -> None:
        """A request was sent anew with credentials."""
        if self.conversation is not None:
            self.conversation.resent(old, new)

    def snapshot(self) -> CallSnapshot:
        return self.call.snapshot()

    def _left_over(self, signal: Signal) -> None:
        """What came of a leg that the call has let go: a 2xx that crossed gets its BYE, a request its answer."""
        if signal.client is not None and signal.leg is not None:
            signal.leg.settle(signal.client, signal.response)
        elif signal.kind is REQUEST and signal.server is not None and signal.request is not None:
            status = 200 if signal.request.method == "BYE" else 481
            self.exchange.layer.respond(signal.server, build.response(signal.request, status))
        elif signal.kind is Kind.JOIN:
            cast(Errand, signal.errand).void()

    def _abort(self, error: Exception) -> None:
        """After a fault of ours: everybody gets his answer, and nobody is left in the call."""
        self.exchange.fault(self.call.offered.call_id, error)
        self.refuse(500, "Server Internal Error", by="exchange")
        if self.conversation is not None:
            self.conversation.end(500, "Server Internal Error")
        for leg in (self.a, *self.branches, *self.joined):
            if leg.dialog is not None and leg.dialog.state == "confirmed":
                leg.bye()
            elif isinstance(leg, Branch) and leg.call is not None:
                leg.abandon()

    def _clear(self) -> None:
        """Break every tie, so that the call is gone when its last transaction is (no collector runs for it)."""
        exchange, happened = self.exchange, inputs.Cleared(self.exchange.wall())
        self.call.apply(happened)
        if exchange.bus.wanted:
            self._tell(happened)
        self._untie()
        exchange.endings.cleared(self.call)
        if self.unrelayed:
            exchange.endings.uncounted(self.call.offered.call_id)

    def _untie(self) -> None:
        self._coroutine = None
        self._waiting = False
        if not self.a.ending and (self.a.call is self or self.a.call is None):
            self.a.leave()
        for leg in (*self.branches, *self.joined):
            if leg.call is self:
                leg.call = None
                if isinstance(leg, CallerLeg) and leg.tx is not None:  # he was about to pick this call up
                    leg.respond(487)
                    leg.leave()
        self._deadline.drop()
        for signal in self.inbox:
            self._left_over(signal)
        self.inbox.clear()
        if self.early is not None:
            self.early.close()
            self.early = None
        self.branches.clear()
        self.joined.clear()
        self.conversation = None

    def media_drop(self, label: str) -> None:
        self.exchange.media.drop_leg(self.call.offered.call_id, label)

    def absorbed(self, into: str) -> None:
        """Everybody who stays has gone over into another call: this one ends without a record."""
        coroutine = self._coroutine
        if coroutine is not None:
            coroutine.close()
        self.apply(inputs.Absorbed(self.exchange.wall(), into))
        self._untie()
        self.exchange.merged(self.call.snapshot())
