"""The exchange as a panel or a program controls it: `control.PbxControl`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pbxcore.call import originate
from pbxcore.call.b2bua import LiveCall
from pbxcore.call.exchange import Exchange
from pbxcore.call.keeper import state_of
from pbxcore.call.referral import asked, order
from pbxcore.call.router import Round
from pbxcore.control import AgentState, ExtensionState, NotFound, Trace, TraceStep, TrunkState
from pbxcore.explained import from_record
from pbxcore.hooks import CallSnapshot, ExplainStep
from pbxcore.net import ladder, pcap
from pbxcore.net.ring import Ring, Row

Kept = Callable[[str], Awaitable[tuple[ExplainStep, ...]]]


class Control:
    """A view of one exchange; it keeps nothing itself. `ring` has its last messages."""

    def __init__(self, exchange: Exchange, ring: Ring | None = None, *, kept: Kept | None = None) -> None:
        """`kept` finds what was asked for calls that the hooks do not remember any more."""
        self._exchange = exchange
        self._kept = kept
        self._ring = Ring(0) if ring is None else ring

    def calls(self) -> list[CallSnapshot]:
        return [live.snapshot() for live in self._exchange.live.values()]

    def call(self, call_id: str) -> CallSnapshot:
        return self._live(call_id).snapshot()

    def _live(self, call_id: str) -> LiveCall:
        live = self._exchange.live.get(call_id)
        if live is None:
            raise NotFound(f"no live call {call_id}")
        return live

    def hang_up(self, call_id: str) -> None:
        if not self._exchange.hang_up(call_id):
            raise NotFound(f"no live call {call_id}")

    def originate(self, agent: str, to: str) -> str:
        return originate.order(self._exchange, agent, to)

    def transfer(self, call_id: str, to: str, party: str | None = None, notes: str = "") -> None:
        order(self._live(call_id), to, party, notes)

    def rung_by(self, call_id: str, to: str, party: str | None = None) -> tuple[str, ...]:
        _, steps = asked(self._live(call_id), to, party)
        first = next(step for step in steps if isinstance(step, Round))
        return tuple(target.number for target in first.targets if target.trunk is None)

    def extensions(self) -> list[ExtensionState]:
        exchange = self._exchange
        busy = self._talking()
        return [
            ExtensionState(
                entry.number,
                entry.name,
                entry.crm_control,
                tuple(b.user_agent or b.contact for b in exchange.registrar.bindings(entry.number)),
                entry.number in busy,
                exchange.states.state(entry.number),
            )
            for entry in exchange.dial_plan.extensions.values()
        ]

    def agent_says(self, number: str, state: AgentState) -> None:
        if number not in self._exchange.dial_plan.extensions:
            raise NotFound(f"no extension {number}")
        self._exchange.states.say(number, state)

    def summary_written(self, call_id: str) -> None:
        self._exchange.states.written(call_id)

    def busy(self, extension: str) -> bool:
        """Whether it is not to be rung for a planned call: it is in one, or its agent is not ready, or writes."""
        return extension in self._talking() or not self._exchange.states.ready(extension)

    def _talking(self) -> set[str]:
        return {
            leg.party
            for live in self._exchange.live.values()
            for leg in live.call.legs.values()
            if leg.state in ("answered", "held") or (leg.label == "a" and leg.ended_at is None)
        }

    def trunks(self) -> list[TrunkState]:
        return [state_of(trunk) for trunk in self._exchange.trunks]

    async def explain(self, call: CallSnapshot) -> tuple[ExplainStep, ...]:
        steps = self._exchange.hooks.explain(call.call_id)
        if not steps and self._kept is not None:
            steps = await self._kept(call.call_id)
        return steps or from_record(call)

    def trace(self, call_id: str) -> Trace:
        found = ladder.build(call_id, self._dialogs(call_id), self._ring.rows())
        if not found.steps:
            raise NotFound(f"no message of the call {call_id} is remembered")
        return found

    def trace_capture(self, call_id: str) -> bytes:
        rows = [row for _, row in ladder.own(self._dialogs(call_id), self._ring.rows())]
        if not rows:
            raise NotFound(f"no message of the call {call_id} is remembered")
        return pcap.capture(rows)

    def caller_card(self, token: str) -> bytes:
        card = self._exchange.cards.get(token)
        if card is None:
            raise NotFound("no such card, or none any more")
        return card

    def _dialogs(self, call_id: str) -> list[str]:
        """The Call-IDs of a call's dialogs. Whoever has one of them has the call; what belongs to no call, such as a
        REGISTER, is asked for by its own."""
        trail = list(self._exchange.trail)
        ours = next((ours for ours, theirs in trail if theirs == call_id), call_id)
        found = [theirs for one, theirs in trail if one == ours]
        return list(dict.fromkeys(found)) or [call_id]

    def recent(self, count: int) -> list[str]:
        """The last calls of which something is remembered, the oldest of them first."""
        calls = list(dict.fromkeys(ours for ours, _ in reversed(self._exchange.trail)))[:count]
        return calls[::-1]

    def last(self) -> Row | None:
        """The newest message; `messages` goes on from it."""
        return self._ring.last

    def messages(self, row: Row | None) -> tuple[Row | None, list[TraceStep]]:
        """What has gone in and out since then, calls mixed (`party` has no meaning here), and what to go on with."""
        rows = self._ring.since(row)
        return (rows[-1] if rows else row), [ladder.step(one) for one in rows]
