"""The exchange as a panel or a program controls it: `control.PbxControl`."""

from __future__ import annotations

from pbxcore.call.exchange import Exchange
from pbxcore.control import ExtensionState, NotFound, TrunkState
from pbxcore.hooks import CallSnapshot, ExplainStep
from pbxcore.sip.uri import join_host


class Control:
    """A view of one exchange; it keeps nothing itself."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def calls(self) -> list[CallSnapshot]:
        return [live.snapshot() for live in self._exchange.live.values()]

    def call(self, call_id: str) -> CallSnapshot:
        live = self._exchange.live.get(call_id)
        if live is None:
            raise NotFound(f"no live call {call_id}")
        return live.snapshot()

    def hang_up(self, call_id: str) -> None:
        if not self._exchange.hang_up(call_id):
            raise NotFound(f"no live call {call_id}")

    def extensions(self) -> list[ExtensionState]:
        exchange = self._exchange
        busy = {
            leg.party
            for live in exchange.live.values()
            for leg in live.call.legs.values()
            if leg.state in ("answered", "held") or leg.label == "a"
        }
        return [
            ExtensionState(
                entry.number,
                entry.name,
                entry.crm_control,
                tuple(b.user_agent or b.contact for b in exchange.registrar.bindings(entry.number)),
                entry.number in busy,
            )
            for entry in exchange.dial_plan.extensions.values()
        ]

    def trunks(self) -> list[TrunkState]:
        return [
            TrunkState(trunk.name, f"{trunk.transport.lower()}:{join_host(trunk.host, trunk.port)}", trunk.calls)
            for trunk in self._exchange.trunks
        ]

    def explain(self, call_id: str) -> tuple[ExplainStep, ...]:
        return self._exchange.hooks.explain(call_id)
