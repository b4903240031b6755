"""A call: one state, its legs, and the history of what happened to it.

The call record is a fold of that history: `apply` appends an input and folds it in, and applying the same history to
a fresh `Call` gives the same record. Who wants to see a call gets a frozen snapshot. Sans I/O: times come in with the
inputs. It does not know SIP; `b2bua` turns messages into inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Literal

from pbxcore.call.frozen import open_twin
from pbxcore.call.inputs import (
    UNDECIDED,
    Absorbed,
    Asked,
    Cleared,
    Counted,
    Decided,
    Input,
    LegAnswered,
    LegDialed,
    LegFailed,
    LegHeld,
    LegJoined,
    LegLeft,
    LegRang,
    LegRetrieved,
    Named,
    Released,
    Transferred,
)
from pbxcore.hooks import CallSnapshot, CallState, Disposition, IncomingCall, LegSnapshot, StreamStats

# Bound to plain names: reading a member off its enum costs more than most of what is done here.
ARRIVED, ROUTING, DIALING, RINGING = CallState.ARRIVED, CallState.ROUTING, CallState.DIALING, CallState.RINGING
ANSWERED, HELD, RELEASING, ENDED = CallState.ANSWERED, CallState.HELD, CallState.RELEASING, CallState.ENDED
OPEN, TALKED = Disposition.OPEN, Disposition.ANSWERED
LegState = Literal["calling", "ringing", "answered", "held", "ended"]


# What must follow an input, as bits: the journal's row is out of date; somebody may want to hear of it. Plain numbers:
# an IntFlag costs a microsecond for each `&`, and there are fifteen in a call.
NOTHING, WRITE, TELL = 0, 1, 2

_BEFORE_ANSWER = (ARRIVED, ROUTING, DIALING, RINGING)
_UP = (ANSWERED, HELD)
_WRITE_TELL = WRITE | TELL

Row = tuple[CallState, int]


def _rows(states: Iterable[CallState], kind: type[Input], after: CallState | None, effect: int) -> (
    dict[tuple[CallState, type[Input]], Row]
):
    return {(state, kind): (after or state, effect) for state in states}


# (state, input): (state after, what follows). No row, no effect.
TRANSITIONS: dict[tuple[CallState, type[Input]], Row] = {
    (ARRIVED, Asked): (ROUTING, NOTHING),
    **_rows((ARRIVED, ROUTING), Decided, DIALING, _WRITE_TELL),
    **_rows((DIALING, RINGING, *_UP), Named, None, WRITE),
    (DIALING, LegDialed): (DIALING, NOTHING),
    (RINGING, LegDialed): (RINGING, NOTHING),
    **_rows((DIALING, RINGING), LegRang, RINGING, TELL),
    (DIALING, LegFailed): (DIALING, TELL),
    (RINGING, LegFailed): (RINGING, TELL),
    **_rows(_UP, LegDialed, None, _WRITE_TELL),
    **_rows(_UP, LegRang, None, TELL),
    **_rows(_UP, LegFailed, None, TELL),
    **_rows((DIALING, RINGING, *_UP), LegJoined, None, TELL),
    **_rows((DIALING, RINGING, *_UP), Transferred, ANSWERED, _WRITE_TELL),
    **_rows(_UP, LegLeft, ANSWERED, TELL),
    **_rows((*_BEFORE_ANSWER, *_UP, RELEASING), Absorbed, ENDED, TELL),
    (RELEASING, LegFailed): (RELEASING, NOTHING),
    **_rows((DIALING, RINGING), LegAnswered, ANSWERED, _WRITE_TELL),
    **_rows(_UP, LegHeld, HELD, TELL),
    (HELD, LegRetrieved): (ANSWERED, TELL),
    **_rows((*_BEFORE_ANSWER, *_UP), Released, RELEASING, NOTHING),
    (RELEASING, Cleared): (ENDED, _WRITE_TELL),
    (ENDED, Counted): (ENDED, WRITE),
}

_OpenLeg = open_twin(LegSnapshot)
_OpenCall = open_twin(CallSnapshot)

_BUSY = frozenset({486, 600})
_NO_ANSWER = frozenset({408, 480})
_REJECTED = frozenset({403, 603, 607, 608})


class Leg:
    """One party's side of the call."""

    __slots__ = (
        "answered_at", "cause", "ended_at", "held", "label", "number", "party", "ringing_at", "side", "started_at",
        "status", "transferred_at", "transferred_by",
    )  # fmt: skip

    def __init__(self, label: str, party: str, number: str, started_at: float) -> None:
        self.label = label
        self.party = party
        self.number = number
        self.started_at = started_at
        self.ringing_at: float | None = None
        self.answered_at: float | None = None
        self.ended_at: float | None = None
        self.held = False
        self.status: int | None = None
        self.side: Literal["a", "b"] = "a" if label == "a" else "b"  # whose place it has: who called, or who was called
        self.transferred_by: str | None = None
        self.transferred_at: float | None = None
        self.cause: int | None = None

    @property
    def state(self) -> LegState:
        if self.ended_at is not None:
            return "ended"
        if self.answered_at is not None:
            return "held" if self.held else "answered"
        return "ringing" if self.ringing_at is not None else "calling"

    def snapshot(self) -> LegSnapshot:
        made: Any = _OpenLeg()
        made.party = self.party
        made.side = self.side
        made.state = self.state
        made.number = self.number
        made.started_at = self.started_at
        made.ringing_at = self.ringing_at
        made.answered_at = self.answered_at
        made.ended_at = self.ended_at
        made.status = self.status
        made.transferred_by = self.transferred_by
        made.transferred_at = self.transferred_at
        made.cause = self.cause
        made.__class__ = LegSnapshot
        return made  # type: ignore[no-any-return]  # which it is by now


class Call:
    """The state of one call. `history` holds every input that had an effect, in order."""

    __slots__ = (
        "_final_legs", "_rows", "answered_at", "answered_by", "decided", "ended_at", "from_a", "from_b", "history",
        "legs", "merged_into", "offered", "released", "ringing_at", "state",
    )  # fmt: skip

    def __init__(self, offered: IncomingCall) -> None:
        self.offered = offered
        self.state = ARRIVED
        self._rows = _TABLE[ARRIVED]
        party = offered.extension or (f"trunk:{offered.trunk}" if offered.trunk else offered.caller)
        self.legs = {"a": Leg("a", party, offered.caller, offered.received_at)}
        self.history: list[Input] = []
        self.decided: Decided | None = None
        self.released: Released | None = None
        self.ringing_at: float | None = None
        self.answered_at: float | None = None
        self.answered_by: Leg | None = None
        self.ended_at: float | None = None
        self.from_a: StreamStats | None = None
        self.from_b: StreamStats | None = None
        self.merged_into: str | None = None
        self._final_legs: tuple[LegSnapshot, ...] | None = None  # of a call that is over: they change no more

    def apply(self, happened: Input) -> int:
        """Fold one input in and say what follows; an input that has no row in this state changes nothing, and neither
        does one whose fold says that it does not fit."""
        row = self._rows.get(type(happened))
        if row is None:
            return NOTHING
        fold, state, effect = row
        if not fold(self, happened):
            return NOTHING
        self.history.append(happened)
        if state is not self.state:
            if state is ANSWERED and self.state is HELD and self._somebody_holds():
                return effect
            self.state = state
            self._rows = _TABLE[state]
        return effect

    def _somebody_holds(self) -> bool:
        return any(leg.held for leg in self.legs.values())

    # ---- folds: each takes one kind of input, or says False to one that does not fit

    def _asked(self, happened: Asked) -> bool:
        return True

    def _decided(self, happened: Decided) -> bool:
        self.decided = happened
        return True

    def _named(self, happened: Named) -> bool:
        self.decided = replace(self.decided or UNDECIDED, display_name=happened.display_name)
        return True

    def _dialed(self, happened: LegDialed) -> bool:
        label = happened.leg
        if label in self.legs:
            return False
        self.legs[label] = Leg(label, happened.party, happened.number, happened.at)
        return True

    def _rang(self, happened: LegRang) -> bool:
        leg = self.legs.get(happened.leg)
        if leg is None:
            return False
        if leg.ringing_at is None:
            leg.ringing_at = happened.at
        if self.ringing_at is None:
            self.ringing_at = happened.at
        return True

    def _failed(self, happened: LegFailed) -> bool:
        leg = self.legs.get(happened.leg)
        if leg is None:
            return False
        if leg.ended_at is None:
            leg.ended_at = happened.at
            leg.status = happened.status
            leg.cause = happened.cause
        return True

    def _answered(self, happened: LegAnswered) -> bool:
        leg = self.legs.get(happened.leg)
        if leg is None:
            return False
        leg.answered_at = self.answered_at = self.legs["a"].answered_at = happened.at
        leg.status = 200
        self.answered_by = leg
        return True

    def _held(self, happened: LegHeld) -> bool:
        leg = self.legs.get(happened.leg)
        if leg is None:
            return False
        leg.held = True
        return True

    def _retrieved(self, happened: LegRetrieved) -> bool:
        leg = self.legs.get(happened.leg)
        if leg is None:
            return False
        leg.held = False
        return True

    def _left(self, happened: LegLeft) -> bool:
        leg = self.legs.get(happened.leg)
        if leg is None:
            return False
        leg.held = False
        if leg.ended_at is None:
            leg.ended_at = happened.at
        return True

    def _joined(self, happened: LegJoined) -> bool:
        label = happened.leg
        if label in self.legs:
            return False
        leg = self.legs[label] = Leg(label, happened.party, happened.number, happened.started_at)
        leg.ringing_at, leg.answered_at = happened.ringing_at, happened.answered_at
        return True

    def _transferred(self, happened: Transferred) -> bool:
        """A leg takes one place, and of somebody else."""
        leg, place = self.legs.get(happened.leg), self.legs.get(happened.place)
        if leg is None or place is None or place is leg or happened.leg == "a":
            return False
        if leg.transferred_at is not None or leg.ended_at is not None:
            return False
        if self.answered_at is None:
            self.answered_at = self.legs["a"].answered_at = happened.at
        if leg.answered_at is None:
            leg.answered_at = happened.at
        leg.status = 200
        leg.side = place.side
        leg.transferred_by, leg.transferred_at = happened.by, happened.at
        place.held = False
        if place.ended_at is None:
            place.ended_at = happened.at
            place.status = place.status or 487
        if leg.side == "b" or self.answered_by is None:
            self.answered_by = leg
        return True

    def _absorbed(self, happened: Absorbed) -> bool:
        self.merged_into = happened.into
        if self.released is None:
            self.released = Released(happened.at, "exchange", 200, "Transferred")
        return self._cleared(happened)

    def _released(self, happened: Released) -> bool:
        self.released = happened
        if happened.cause is not None and happened.leg in self.legs:
            self.legs[happened.leg].cause = happened.cause
        return True

    def _cleared(self, happened: Cleared | Absorbed) -> bool:
        self.ended_at = at = happened.at
        for leg in self.legs.values():
            if leg.ended_at is None:
                leg.ended_at = at
        return True

    def _counted(self, happened: Counted) -> bool:
        if self.from_a is not None or self.merged_into is not None:
            return False
        self.from_a = happened.from_a
        self.from_b = happened.from_b
        return True

    @property
    def disposition(self) -> Disposition:
        if self.answered_at is not None:
            return TALKED if self.ended_at is not None else OPEN
        released = self.released
        if released is None:
            return OPEN
        if released.by == "caller":
            return Disposition.CANCELLED
        if released.status in _BUSY:
            return Disposition.BUSY
        if released.status in _NO_ANSWER:
            return Disposition.NO_ANSWER
        return Disposition.REJECTED if released.status in _REJECTED else Disposition.FAILED

    def snapshot(self) -> CallSnapshot:
        """The record as it stands now."""
        offered, released = self.offered, self.released
        decided = self.decided or UNDECIDED
        made: Any = _OpenCall()
        made.call_id = offered.call_id
        made.state = self.state
        made.direction = offered.direction
        made.caller = offered.caller
        made.called = offered.called
        made.arrived_at = offered.received_at
        made.caller_name = offered.caller_name
        made.display_name = decided.display_name
        made.trunk = offered.trunk
        made.extension = offered.extension
        made.contact_id = decided.contact_id
        made.instructions = decided.instructions
        made.tags = decided.tags
        made.ringing_at = self.ringing_at
        made.answered_at = self.answered_at
        made.ended_at = self.ended_at
        made.answered_by = self.answered_by.party if self.answered_by is not None else None
        made.legs = self._final_legs or tuple(map(Leg.snapshot, self.legs.values()))
        if released is None:
            made.disposition = OPEN
            made.status = made.reason = made.hung_up_by = None
        else:
            made.disposition = self.disposition
            made.status = released.status
            made.reason = released.reason
            made.hung_up_by = released.by
        made.decided_by = decided.decided_by or None
        made.lookup_ms = decided.lookup_ms
        made.from_a = self.from_a
        made.from_b = self.from_b
        made.merged_into = self.merged_into
        made.__class__ = CallSnapshot
        if self.state is ENDED:
            self._final_legs = made.legs
        return made  # type: ignore[no-any-return]  # which it is by now


Fold = Callable[[Call, Any], bool]

_FOLDS: dict[type[Input], Fold] = {
    Asked: Call._asked,
    Decided: Call._decided,
    Named: Call._named,
    LegDialed: Call._dialed,
    LegRang: Call._rang,
    LegFailed: Call._failed,
    LegAnswered: Call._answered,
    LegHeld: Call._held,
    LegRetrieved: Call._retrieved,
    LegLeft: Call._left,
    LegJoined: Call._joined,
    Transferred: Call._transferred,
    Absorbed: Call._absorbed,
    Released: Call._released,
    Cleared: Call._cleared,
    Counted: Call._counted,
}

# TRANSITIONS as `apply` looks at it: by state, then by input.
_TABLE: dict[CallState, dict[type[Input], tuple[Fold, CallState, int]]] = {
    state: {kind: (_FOLDS[kind], *row) for (before, kind), row in TRANSITIONS.items() if before is state}
    for state in CallState
}


def replay(offered: IncomingCall, history: Iterable[Input]) -> Call:
    """The call that this history makes."""
    call = Call(offered)
    for happened in history:
        call.apply(happened)
    return call
