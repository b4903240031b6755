"""Legs that go over from one call into another, with what they have said and nobody heard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pbxcore.call.branch import Branch
from pbxcore.call.leg import Leg

if TYPE_CHECKING:
    from pbxcore.call.b2bua import LiveCall


def admit(live: LiveCall, leg: Leg, origin: LiveCall | None = None) -> None:
    """A leg of another call, or of none yet, is one of this from now on, with what it has said and nobody heard."""
    leg.label = live.next_label()
    leg.call = live
    if isinstance(leg, Branch):
        live.branches.append(leg)
    else:
        live.joined.append(leg)
    live.exchange.trail.append((live.call.offered.call_id, leg.key[0]))
    if origin is not None:
        unheard = [signal for signal in origin.inbox if signal.leg is leg]
        for signal in unheard:
            origin.inbox.remove(signal)
            live.post(signal)


def release(live: LiveCall, leg: Leg) -> None:
    """A leg that was admitted goes back to where it came from."""
    if isinstance(leg, Branch):
        live.branches.remove(leg)
    else:
        live.joined.remove(leg)
