"""A party of an answered call is transferred to a number: blind transfer (RFC 3515, RFC 5589 section 6).

The target rings on a new branch while the two go on; when it answers, it takes the place of the one who transferred.
Who does that and hangs up at once is rung back when nobody takes the call. Phones that ring already, for a call that
the transferor has made, are taken over as they are (`join`).
"""

from __future__ import annotations

from collections.abc import Collection, Coroutine, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pbxcore.call import inputs
from pbxcore.call.abilities import asking_of
from pbxcore.call.body import sdp_or_nothing
from pbxcore.call.branch import Branch
from pbxcore.call.connected import shown
from pbxcore.call.handover import Gone, Handover, Over
from pbxcore.call.identity import ANONYMOUS, NOWHERE
from pbxcore.call.invite import InviteMaker
from pbxcore.call.leg import Leg
from pbxcore.call.outcome import Outcome, worse
from pbxcore.call.retell import awake
from pbxcore.call.router import NOT_FOUND, RING_SECONDS, Refusal, Round, Step, Target, plan
from pbxcore.call.servers import Key
from pbxcore.call.signal import Kind, Signal
from pbxcore.call.tailor import tailored
from pbxcore.call.through import offer_by_relay
from pbxcore.hooks import Decision
from pbxcore.media.backend import MediaError
from pbxcore.sip import build
from pbxcore.sip.errors import SipError
from pbxcore.sip.message import Request
from pbxcore.sip.uri import escape_user, join_host

if TYPE_CHECKING:
    from pbxcore.call.b2bua import LiveCall
    from pbxcore.call.conversation import Conversation
    from pbxcore.call.report import Report

MAX_BRANCHES = 64         # of one call: who transfers without end is refused
RECALL_SECONDS = 30.0     # the transferor is rung back so long
ELSEWHERE = 'SIP;cause=200;text="Call completed elsewhere"'


def route(live: LiveCall, leaver: Leg, number: str) -> tuple[Step, ...]:
    """Where this number rings, by the rights of the one who transfers."""
    dial_plan = live.exchange.dial_plan
    if leaver.trunk is not None:  # a carrier reaches whom it could call, and no further
        called = number if number in dial_plan.extensions else dial_plan.inbound.get(number.removeprefix("+"), "")
        return (Round((Target(called),)),) if called in dial_plan.extensions else (NOT_FOUND,)
    asked = replace(
        live.call.offered, caller=leaver.party, called=number, extension=leaver.party, trunk=None,
        direction="internal" if number in dial_plan.extensions else "outbound",
    )  # fmt: skip
    return plan(asked, None, dial_plan)


class Transfer(Handover):
    """One blind transfer. `notes` are for the display of the phone that rings."""

    __slots__ = ("_last", "_notes", "_ringing", "_rings", "_sounds")

    _ringing: list[Branch]
    _last: Outcome | None
    _rings: bool   # a phone says so
    _sounds: bool  # and the one who stays hears it

    def __init__(
        self, conversation: Conversation, leaver: Leg, by: str, report: Report | None = None, *, notes: str = ""
    ) -> None:
        super().__init__(conversation, leaver, by, report)
        self._notes = notes

    # ---- from top to bottom

    async def to(self, number: str) -> None:
        """Transfer to whom this number rings."""
        await self._guarded(self._blind(route(self.live, self.leaver, number)))

    async def to_those(self, branches: Sequence[Branch]) -> None:
        """Transfer to phones that ring for the transferor already."""
        await self._guarded(self._blind((), branches))

    async def _guarded(self, work: Coroutine[Any, None, None]) -> None:
        self.begin()
        try:
            await work
        except Over:
            self.report.close(487)
        finally:
            self._silence()
            for branch in self._ringing:
                self.live.drop(branch, 487)
            self._ringing.clear()
            self.cease()

    async def _blind(self, steps: Sequence[Step], ringing: Sequence[Branch] = ()) -> None:
        self._rings = self._sounds = False
        self._ringing = [*ringing]
        self.comers += ringing
        outcome = await self._try(steps)
        if outcome is None:
            return
        self.report.close(outcome.status, outcome.reason)
        if self.gone:
            await self._recall(outcome)

    async def _recall(self, outcome: Outcome) -> None:
        """Nobody took the call, and the transferor has hung up: it comes back to him."""
        back = (Round((Target(self.leaver.party),), RECALL_SECONDS),)
        if self.leaver.trunk is None and await self._try(back) is None:
            return
        self.conversation.end(outcome.status, outcome.reason)

    async def _try(self, steps: Sequence[Step]) -> Outcome | None:
        """Ring round after round and connect who answers; what it came to when nobody did."""
        self._last = None
        if self._ringing:
            comer = await self._ring(RING_SECONDS)
            if comer is not None and await self._connected(comer, b""):
                return None
        for step in steps:
            if isinstance(step, Refusal):
                self._note(Outcome(step.status, step.reason))
            if not isinstance(step, Round) or (step.only_on_trouble and (self._last is None or not self._last.trouble)):
                continue
            tried: set[Key] = set()
            while True:
                told = self._telling()
                await self._dial(step, tried, told)
                comer = await self._ring(step.timeout)
                if comer is not None and await self._connected(comer, told):
                    return None
                last = self.live.branches[-1] if self.live.branches else None
                if last is None or not last.unserved or last.trunk is None or not step.targets[0].trunk:
                    break
                last.unserved = False
                tried.add((last.flow.transport, last.flow.remote))
                if not last.trunk.has_other(tried):
                    break
        return self._last or Outcome(480, build.REASONS[480])

    async def _connected(self, comer: Leg, told: bytes) -> bool:
        """Join the newcomer and the one who stays; False when that cannot be, and all is as before."""
        try:
            await self.connect(comer, told)
        except Gone:
            self._note(Outcome(480, build.REASONS[480]))
            self._lost(comer, 480)
            return False
        except SipError as error:
            self._note(Outcome(error.status, error.reason))
            comer.bye()
            self._lost(comer, error.status)
            return False
        except Over:
            comer.bye()
            raise
        self.finish(comer)
        return True

    def _lost(self, comer: Leg, status: int) -> None:
        """A newcomer who answered, and could not be connected."""
        live = self.live
        live.apply(inputs.LegFailed(live.exchange.wall(), comer.label, status))
        live.exchange.media.drop_leg(live.call.offered.call_id, comer.label)
        self.comers.remove(comer)
        self.conversation.frozen = False

    def _note(self, outcome: Outcome) -> None:
        if self._last is None or worse(self._last, outcome):
            self._last = outcome

    # ---- whom it rings

    def _telling(self) -> bytes:
        """The media of the one who stays, as a newcomer is offered it: on hold where he holds, and only there."""
        leg = self.live.call.legs.get(self.stays.label)
        return self.stays.sdp if leg is not None and leg.held else awake(self.stays.sdp)

    async def _dial(self, step: Round, tried: Collection[Key], told: bytes) -> None:
        live, exchange = self.live, self.live.exchange
        record = live.call.legs[self.stays.label]
        extension = record.party if self.stays.trunk is None else None
        for target in step.targets:
            try:
                for flow, uri, trunk, path in exchange.ways(target, self.stays.flow, extension, "", tried):
                    if len(live.branches) >= MAX_BRANCHES:
                        return
                    branch = Branch(exchange, live, live.next_label(), target, flow, trunk)
                    branch.path = path
                    live.branches.append(branch)
                    await self._invite(branch, uri, told)
            except SipError as error:
                self._note(Outcome(error.status, error.reason))
            except MediaError as error:
                exchange.media_refused(live.call.offered.call_id, error)
                self._note(Outcome(error.status, build.REASONS[error.status]))

    async def _invite(self, branch: Branch, uri: str, told: bytes) -> None:
        live, exchange, stays = self.live, self.live.exchange, self.stays
        body = await offer_by_relay(live, stays, branch, told)
        tag = exchange.token()
        maker = self._maker()
        invite = maker.make(branch, uri, tag, exchange, body)
        branch.make = exchange.registrar.makes.get((branch.target.number, uri))
        # No provisional of it goes any further: nobody gets one that would have to be acknowledged (RFC 3262).
        invite.fields += asking_of(branch, exchange.session, reliable=False)
        if branch.trunk is None:
            host = exchange.domain or join_host(branch.flow.local[0], None)
            by = self.leaver.party if self.leaver.trunk is None else self.live.call.legs[self.leaver.label].number
            invite.fields.append(("referred-by", f"Referred-By: <sip:{escape_user(by)}@{host}>"))
        if branch.make is not None:
            invite = tailored(invite, branch.make, shown(exchange, maker, branch.make, self._notes))
        live.apply(inputs.LegDialed(exchange.wall(), branch.label, branch.party, branch.target.number))
        self._ringing.append(branch)
        self.comers.append(branch)
        branch.start(invite, tag)

    def _maker(self) -> InviteMaker:
        """Who calls is the one who stays."""
        live, stays = self.live, self.stays
        if stays is live.a:
            return live.maker
        offered, record = live.call.offered, live.call.legs[stays.label]
        entry = live.exchange.dial_plan.extensions.get(record.party)
        outside = stays.trunk is not None
        decided = live.call.decided
        name = entry.name if entry is not None else decided.display_name if outside and decided is not None else None
        as_caller = replace(
            offered, caller=record.number, caller_name=name, trunk=stays.trunk.name if stays.trunk else None,
            extension=None if outside else record.party, direction="inbound" if outside else "internal",
        )  # fmt: skip
        maker = InviteMaker(as_caller, as_from(record.number))
        maker.decision = Decision(display_name=name)
        return maker

    # ---- ringing

    async def _ring(self, seconds: float) -> Branch | None:
        """Wait until one of those that ring answers; the others are cancelled."""
        ringing = self._ringing
        deadline = self.live.exchange.clock() + seconds
        won: Branch | None = None
        while ringing and won is None:
            signal = await self.hear(deadline)
            branch, response = signal.leg, signal.response
            if signal.kind is Kind.TIMEOUT:
                self._note(Outcome(480, build.REASONS[480]))
                break
            if not isinstance(branch, Branch) or branch not in ringing:
                continue
            if signal.kind is Kind.REQUEST:
                self._early(branch, signal)
            elif signal.client is None:  # he cancels what he was refused already
                continue
            elif response is None or response.status >= 300:
                outcome = (
                    Outcome.of(response) if response is not None
                    else Outcome.unreached(signal.status, phone=branch.trunk is None)
                )  # fmt: skip
                self._refused(branch, outcome)
            elif response.status >= 200:
                ringing.remove(branch)
                branch.accept(response)
                branch.sdp = sdp_or_nothing(response) or branch.sdp
                branch.acknowledge(response)
                won = branch
            else:
                branch.sdp = sdp_or_nothing(response) or branch.sdp
                self.live.apply(inputs.LegRang(self.live.exchange.wall(), branch.label))
                self.report.tell(response.status, response.reason)
                self._rings = True
                self._ringback()
        for branch in ringing:
            self.live.drop(branch, 487, None if won is None else ELSEWHERE)
        ringing.clear()
        self._silence()
        return won

    def left(self) -> None:
        super().left()
        self._ringback()

    def _ringback(self) -> None:
        """Whom the transferor has left alone, or put on hold, hears that it rings."""
        live = self.live
        alone = self.gone or live.call.legs[self.leaver.label].held
        if self._rings and alone and not self._sounds:
            self._sounds = True
            live.exchange.media.ring(live.call.offered.call_id, self.stays.label, self.stays.sdp)

    def _silence(self) -> None:
        if self._sounds:
            self.live.exchange.media.quiet(self.live.call.offered.call_id)
        self._rings = self._sounds = False

    def _refused(self, branch: Branch, outcome: Outcome) -> None:
        self._ringing.remove(branch)
        self.comers.remove(branch)
        self._note(outcome)
        self.live.failed(branch, outcome)

    def _early(self, branch: Branch, signal: Signal) -> None:
        """A request of a phone that has not answered; its BYE says that it has, and hung up since."""
        request, tx = signal.request, signal.server
        if request is None or tx is None:
            return
        layer = self.live.exchange.layer
        if request.method != "BYE":
            layer.respond(tx, build.response(request, 500, headers=[("Retry-After", "5")]))
            return
        layer.respond(tx, build.response(request, 200))
        self._ringing.remove(branch)
        self.comers.remove(branch)
        self._note(Outcome(480, build.REASONS[480]))
        self.live.drop(branch, 480)


def as_from(number: str) -> Request:
    """An INVITE that this party never sent: it says who he is, and nothing else."""
    host = NOWHERE if number == ANONYMOUS else "localhost"
    return Request("INVITE", f"sip:{host}", [("from", f"From: <sip:{escape_user(number)}@{host}>")])
