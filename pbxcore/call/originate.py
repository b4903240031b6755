"""A call that the office orders: the phone of an extension first, then whom it is to speak to (RFC 3725).

The phone is called without an offer and answers with one, which the exchange takes at once by itself; so nobody waits
for a description while the other side rings, and the phone hears that it does. From then on it is the caller of an
ordinary call, with his own rights in the dial plan and his own number towards carriers. The CRM is asked first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from pbxcore.call import inputs
from pbxcore.call.b2bua import LiveCall
from pbxcore.call.body import sdp_or_nothing
from pbxcore.call.branch import Branch
from pbxcore.call.call import Call
from pbxcore.call.drive import Deadline
from pbxcore.call.incoming import call_id
from pbxcore.call.invite import InviteMaker
from pbxcore.call.outcome import Outcome, worse
from pbxcore.call.router import Refusal, Round, Step, Target, plan
from pbxcore.call.services.attendance import Attendance, Attendant
from pbxcore.call.services.entries import Attend
from pbxcore.call.services.serve import serve
from pbxcore.call.signal import Kind, Signal
from pbxcore.call.telling import originated
from pbxcore.call.transfer import as_from
from pbxcore.control import Invalid
from pbxcore.hooks import Decision, Direction, IncomingCall
from pbxcore.media.backend import MediaError
from pbxcore.sip import build
from pbxcore.sip.errors import SipError
from pbxcore.sip.layer import Flow
from pbxcore.sip.message import Field, Response

if TYPE_CHECKING:
    from pbxcore.call.exchange import Exchange
    from pbxcore.profiles import PhoneProfile

PHONE_SECONDS = 30.0      # how long the phone of the one who ordered the call rings
MAX_NUMBER = 64
EXCHANGE = "exchange"
NOWHERE = Outcome(480, build.REASONS[480])
AUTO_ANSWER: dict[str, Field] = {
    "call-info": ("call-info", "Call-Info: <sip:hookline.invalid>;answer-after=0"),
    "alert-info": ("alert-info", "Alert-Info: <http://hookline.invalid>;info=alert-autoanswer;delay=0"),
}


class OrderedLeg(Branch):
    """A phone of the one who ordered the call: a leg that we opened, in the caller's place."""

    __slots__ = ("reliable",)

    def __init__(self, host: Exchange, call: LiveCall, target: Target, flow: Flow) -> None:
        super().__init__(host, call, "a", target, flow, None)
        self.reliable = None

    def respond(self, status: int, reason: str | None = None, fields: Sequence[Field] = (), body: bytes = b"") -> None:
        """He asked for nothing that could be answered."""


class OrderedCall(LiveCall):
    """Rings the extension first; `a` is the phone that answered."""

    __slots__ = ("_phones",)

    def __init__(self, exchange: Exchange, offered: IncomingCall) -> None:
        self.exchange = exchange
        self.call = Call(offered)
        self._phones: list[OrderedLeg] = []
        self.a = cast(Any, None)      # there is none before a phone has been called
        self.branches = []
        self.answers = {}
        self.conversation = None
        self.offer = b""
        self.maker = InviteMaker(offered, as_from(offered.caller))
        self.failure = None
        self.last = None
        self.told_ringing = False
        self.unrelayed = False
        self.early = None
        self.reason = None
        self.joined = []
        self.inbox = deque()
        self._deadline = Deadline(self, exchange.timers)
        self._waiting = False
        self._coroutine = self._run()
        if exchange.bus.wanted:
            exchange.bus.publish(originated(self.call))

    async def _run(self) -> None:
        steps = await self._decide()
        self.write_down()
        if not any(isinstance(step, Round | Attend) for step in steps):   # the CRM forbids it: his phone stays silent
            self._note(next((Outcome(one.status, one.reason) for one in steps if isinstance(one, Refusal)), NOWHERE))
        made = await self._answered() if self.failure is None and self._called() else None
        if made is None:
            failure = self.failure or NOWHERE
            self.apply(inputs.Released(self.exchange.wall(), "exchange", failure.status, failure.reason))
            return
        await serve(made, steps)
        if not made.over and not made.alone:
            self.exchange.hooks.on_answered(self.snapshot())
        await made.run()

    # ---- the phone

    def _called(self) -> bool:
        """Make a leg of every phone there is; the call's first is its caller until one has answered."""
        exchange, agent = self.exchange, self.call.offered.caller
        target = Target(agent)
        try:
            # Nobody calls, so there is nobody's own phone to leave out.
            ways = exchange.ways(target, cast(Flow, None), None)
        except SipError as error:
            self._note(Outcome(error.status, error.reason))
            return False
        for flow, uri, _, path in ways:
            leg = OrderedLeg(exchange, self, target, flow)
            leg.path = path
            self._invite(leg, uri)
            self._phones.append(leg)
        self.a = cast(Any, self._phones[0])
        return True

    def _invite(self, leg: OrderedLeg, uri: str) -> None:
        """He sees whom he is about to call."""
        exchange, offered, decided = self.exchange, self.call.offered, self.call.decided
        shown = decided.display_name if decided is not None else None
        entry = exchange.dial_plan.extensions.get(offered.called)
        name = shown or (entry.name if entry is not None else None)
        theirs = replace(offered, caller=offered.called, caller_name=name, called=offered.caller)
        maker = InviteMaker(theirs, as_from(offered.called))
        maker.decision = Decision(display_name=name)
        tag = exchange.token()
        invite = maker.make(leg, uri, tag, exchange, b"")
        leg.make = make = exchange.registrar.makes.get((leg.target.number, uri))
        if make is not None:
            _answer_by_itself(invite.fields, make)
        leg.start(invite, tag)

    async def _answered(self) -> Attendance | None:
        """The first phone that answers, with us at the other end; None when there is none, or it was called off."""
        deadline = self.exchange.clock() + PHONE_SECONDS
        ringing = [*self._phones]
        while ringing:
            signal = await self.next(deadline)
            leg, response = signal.leg, signal.response
            if signal.kind is Kind.TIMEOUT:
                self._note(Outcome(480, build.REASONS[480]))
                break
            if signal.kind in (Kind.HANG_UP, Kind.MEDIA_LOST):
                self.failure = Outcome(487, build.REASONS[487])
                break
            if not isinstance(leg, OrderedLeg) or leg not in ringing:
                continue
            if signal.request is not None:
                self._early_request(leg, signal, ringing)
            elif response is None or response.status >= 300:
                ringing.remove(leg)
                leg.leave()
                told = Outcome.unreached(signal.status, phone=True) if response is None else Outcome.of(response)
                self._note(told)
            elif response.status >= 200:
                ringing.remove(leg)
                for other in ringing:
                    other.abandon()
                return await self._attended(leg, response)
        for leg in ringing:
            leg.abandon()
        return None

    async def _attended(self, leg: OrderedLeg, response: Response) -> Attendance | None:
        """He has answered with an offer: we take it."""
        leg.accept(response)
        self.a = cast(Any, leg)
        self.offer = leg.sdp = sdp_or_nothing(response)
        attendant = Attendant(self.exchange, self, self.next_label(), EXCHANGE, leg.flow, None)
        self.joined.append(attendant)
        made = Attendance(self, attendant)
        made.opened_by_us()
        try:
            if not self.offer:
                raise MediaError("the phone answered an INVITE without SDP with no offer")
            body = await made.agree(self.offer)
        except MediaError as error:
            self.exchange.media_refused(self.call.offered.call_id, error)
            self._note(Outcome(error.status, build.REASONS[error.status]))
            leg.bye()
            return None
        leg.acknowledge(response, body)
        self.apply(inputs.LegDialed(self.exchange.wall(), attendant.label, EXCHANGE, self.call.offered.called))
        return made

    def _early_request(self, leg: OrderedLeg, signal: Signal, ringing: list[OrderedLeg]) -> None:
        """A BYE before an answer says that there was one, and that he has hung up since (RFC 3261 section 15)."""
        if signal.server is None or signal.request is None:
            return
        gone = signal.request.method == "BYE"
        headers = [] if gone else [("Retry-After", "5")]
        answer = build.response(signal.request, 200 if gone else 500, headers=headers)
        self.exchange.layer.respond(signal.server, answer)
        if gone:
            ringing.remove(leg)
            leg.abandon()
            self._note(Outcome(480, build.REASONS[480]))

    def _note(self, outcome: Outcome) -> None:
        if self.failure is None or worse(self.failure, outcome):
            self.failure = outcome

    # ---- the end

    def _abort(self, error: Exception) -> None:
        for leg in self._phones:
            if leg.dialog is None and leg.call is not None:
                leg.abandon()
        if self.a is None:
            self.exchange.fault(self.call.offered.call_id, error)
            self.apply(inputs.Released(self.exchange.wall(), "exchange", 500, build.REASONS[500]))
            return
        super()._abort(error)

    def _untie(self) -> None:
        if self.a is None or self.a.dialog is None:      # nobody has answered: what still rings settles itself
            self.a = cast(Any, _NOBODY)
        self._phones.clear()
        super()._untie()


class _Nobody:
    """In the caller's place when there is none any more."""

    ending = True
    call = None


_NOBODY = _Nobody()


def _answer_by_itself(fields: list[Field], make: PhoneProfile) -> None:
    row = AUTO_ANSWER.get(make.auto_answer)
    if row is not None:
        fields[:] = [field for field in fields if field[0] != row[0]]
        fields.append(row)


def order(exchange: Exchange, agent: str, to: str) -> str:
    """Call this extension, and when it has answered, the other number; the call's identifier. Raises Invalid."""
    extensions = exchange.dial_plan.extensions
    if agent not in extensions:
        raise Invalid("from", "order.extension", extension=agent)
    if not (to.isprintable() and 0 < len(to) <= MAX_NUMBER) or to == agent:
        raise Invalid("to", "order.number")
    if not exchange.takes_calls():
        raise Invalid("from", "order.closed")
    if not exchange.registrar.bindings(agent):
        raise Invalid("from", "order.phone", extension=agent)
    direction: Direction = "internal" if to in extensions else "outbound"
    now = exchange.wall()
    offered = IncomingCall(
        call_id(int(now), exchange.token()), agent, to, direction, now,
        caller_name=extensions[agent].name or None, extension=agent,
    )  # fmt: skip
    if not _reaches(exchange, offered):
        raise Invalid("to", "order.unreached")
    exchange.counters.calls += 1
    call = OrderedCall(exchange, offered)
    exchange.live[offered.call_id] = call
    call.start()
    return offered.call_id


def _reaches(exchange: Exchange, offered: IncomingCall) -> bool:
    steps: tuple[Step, ...] = plan(offered, None, exchange.dial_plan)
    return any(isinstance(step, Round | Attend) for step in steps)
