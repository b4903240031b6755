"""Calls for the store's and the journal's tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pbxcore.hooks import CallSnapshot, CallState, Disposition, LegSnapshot, StreamStats


def call(call_id: str = "c1", **changes: Any) -> CallSnapshot:
    """An inbound call that rings at 101."""
    ringing = CallSnapshot(
        call_id=call_id,
        state=CallState.RINGING,
        direction="inbound",
        caller="+12125550100",
        called="101",
        arrived_at=1000.5,
        trunk="main",
        ringing_at=1000.75,
        legs=(
            LegSnapshot("trunk:main", "a", "calling", "+12125550100", 1000.5),
            LegSnapshot("101", "b", "ringing", "101", 1000.6, 1000.75),
        ),
    )
    return replace(ringing, **changes)


def answered(call_id: str = "c1", **changes: Any) -> CallSnapshot:
    legs = (
        LegSnapshot("trunk:main", "a", "answered", "+12125550100", 1000.5, None, 1002.0, None, 200),
        LegSnapshot("101", "b", "answered", "101", 1000.6, 1000.75, 1002.0, None, 200),
    )
    now = call(call_id, state=CallState.ANSWERED, answered_at=1002.0, answered_by="101", legs=legs)
    return replace(now, **changes)


def ended(call_id: str = "c1", **changes: Any) -> CallSnapshot:
    before = answered(call_id)
    over = replace(
        before,
        state=CallState.ENDED,
        ended_at=1060.25,
        disposition=Disposition.ANSWERED,
        hung_up_by="caller",
        legs=tuple(replace(leg, state="ended", ended_at=1060.25) for leg in before.legs),
    )
    return replace(over, **changes)


def full(call_id: str = "c1") -> CallSnapshot:
    """Every field differs from its default and from every other."""
    return CallSnapshot(
        call_id=call_id,
        state=CallState.ENDED,
        direction="outbound",
        caller="101",
        called="+12125550199",
        arrived_at=1.5,
        caller_name="Ann \"A\" O'Neil \\ Ünï 🎧",
        display_name="shown",
        trunk="t1",
        extension="102",
        contact_id="contact-1",
        instructions="line one\nline two",
        tags=("vip", "a \"b\"", "ж"),
        ringing_at=2.5,
        answered_at=3.5,
        ended_at=4.5,
        answered_by="trunk:t1",
        disposition=Disposition.FAILED,
        status=503,
        reason="Service Unavailable",
        hung_up_by="callee",
        legs=(
            LegSnapshot("102", "a", "held", 'n"1', 0.1, 0.2, 0.3, 0.4, 200),
            LegSnapshot("trunk:t1", "b", "ended", "n2", 1795381477.9183912, 200.0, 200.0, None, 200),
        ),
        decided_by="hook:first",
        lookup_ms=0.75,
        from_a=StreamStats(1, 2, 3, 4.5),
        from_b=StreamStats(5, 6, 7, 8.5),
    )
