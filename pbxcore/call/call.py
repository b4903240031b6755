"""A call: one state, its legs, and the history of what happened to it.

The call record is a fold of that history: `apply` appends an input and folds it in, and applying the same history to
a fresh `Call` gives the same record. Who wants to see a call gets a frozen snapshot. Sans I/O: times come in with the
inputs. It does not know SIP; `b2bua` turns messages into inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, make_dataclass, replace
from typing import Any, Literal, ParamSpec, TypeVar

from pbxcore.hooks import CallSnapshot, CallState, Disposition, IncomingCall, LegSnapshot, StreamStats

ANSWERED = CallState.ANSWERED
HungUpBy = Literal["caller", "callee", "exchange"]
LegState = Literal["calling", "ringing", "answered", "held", "ended"]


# What must follow an input, as bits: the journal's row is out of date; somebody may want to hear of it. Plain numbers:
# an IntFlag costs a microsecond for each `&`, and there are fifteen in a call.
NOTHING, WRITE, TELL = 0, 1, 2


@dataclass(slots=True)
class Input:
    """Something that happened to the call; `at` is Unix time in seconds."""

    at: float


@dataclass(slots=True)
class Asked(Input):
    """The CRM is being asked where the call rings."""


@dataclass(slots=True)
class Decided(Input):
    """It is known where the call rings. `lookup_ms` is what asking took; None when nobody was asked."""

    decided_by: str
    lookup_ms: float | None = None
    display_name: str | None = None
    contact_id: str | None = None
    instructions: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(slots=True)
class Named(Input):
    """The CRM has found out late who calls."""

    display_name: str


UNDECIDED = Decided(0.0, "")


@dataclass(slots=True)
class LegDialed(Input):
    """An INVITE went out to `party` (an extension, or `trunk:NAME`)."""

    leg: str
    party: str
    number: str


@dataclass(slots=True)
class OfLeg(Input):
    """Something that happened on one leg; without effect where the call has no leg of this label."""

    leg: str


@dataclass(slots=True)
class LegRang(OfLeg):
    """It rings there."""


@dataclass(slots=True)
class LegFailed(OfLeg):
    """A branch ended without an answer: refused, timed out, or cancelled because another one won (487)."""

    status: int
    cause: int | None = None  # of ITU-T Q.850, where a carrier gave one


@dataclass(slots=True)
class LegAnswered(OfLeg):
    """A branch was answered, and with it the call."""


@dataclass(slots=True)
class LegHeld(OfLeg):
    """This side has put the other one on hold."""


@dataclass(slots=True)
class LegRetrieved(OfLeg):
    """This side has taken the other one back."""


@dataclass(slots=True)
class LegLeft(OfLeg):
    """This side hung up, and the call goes on without it: it transfers the other one."""


@dataclass(slots=True)
class LegJoined(Input):
    """A leg that another call had, or that came in by itself to take somebody's place (RFC 3891), is one of this call;
    the times are its own."""

    leg: str
    party: str
    number: str
    started_at: float
    ringing_at: float | None = None
    answered_at: float | None = None


@dataclass(slots=True)
class Transferred(OfLeg):
    """`leg` has taken the place of the leg `place`; `by` is the party that made it so."""

    place: str
    by: str


@dataclass(slots=True)
class Absorbed(Input):
    """Everybody in it has become a party of the call `into`; this one leaves no record."""

    into: str


@dataclass(slots=True)
class Released(Input):
    """Somebody ended it, or it was refused with `status`."""

    by: HungUpBy
    status: int
    reason: str
    leg: str = ""  # of whoever hung up
    cause: int | None = None


@dataclass(slots=True)
class Cleared(Input):
    """Nothing is left of the call in the exchange."""


@dataclass(slots=True)
class Counted(Input):
    """The relay's last word on it."""

    from_a: StreamStats
    from_b: StreamStats


_BEFORE_ANSWER = (CallState.ARRIVED, CallState.ROUTING, CallState.DIALING, CallState.RINGING)
_UP = (CallState.ANSWERED, CallState.HELD)
_WRITE_TELL = WRITE | TELL

Row = tuple[CallState, int]


def _rows(states: Iterable[CallState], kind: type[Input], after: CallState | None, effect: int) -> (
    dict[tuple[CallState, type[Input]], Row]
):
    return {(state, kind): (after or state, effect) for state in states}


# (state, input): (state after, what follows). No row, no effect.
TRANSITIONS: dict[tuple[CallState, type[Input]], Row] = {
    (CallState.ARRIVED, Asked): (CallState.ROUTING, NOTHING),
    **_rows((CallState.ARRIVED, CallState.ROUTING), Decided, CallState.DIALING, _WRITE_TELL),
    **_rows((CallState.DIALING, CallState.RINGING, *_UP), Named, None, WRITE),
    (CallState.DIALING, LegDialed): (CallState.DIALING, NOTHING),
    (CallState.RINGING, LegDialed): (CallState.RINGING, NOTHING),
    **_rows((CallState.DIALING, CallState.RINGING), LegRang, CallState.RINGING, TELL),
    (CallState.DIALING, LegFailed): (CallState.DIALING, TELL),
    (CallState.RINGING, LegFailed): (CallState.RINGING, TELL),
    **_rows(_UP, LegDialed, None, _WRITE_TELL),
    **_rows(_UP, LegRang, None, TELL),
    **_rows(_UP, LegFailed, None, TELL),
    **_rows((CallState.DIALING, CallState.RINGING, *_UP), LegJoined, None, TELL),
    **_rows((CallState.DIALING, CallState.RINGING, *_UP), Transferred, CallState.ANSWERED, _WRITE_TELL),
    **_rows(_UP, LegLeft, CallState.ANSWERED, TELL),
    **_rows((*_BEFORE_ANSWER, *_UP, CallState.RELEASING), Absorbed, CallState.ENDED, TELL),
    (CallState.RELEASING, LegFailed): (CallState.RELEASING, NOTHING),
    **_rows((CallState.DIALING, CallState.RINGING), LegAnswered, CallState.ANSWERED, _WRITE_TELL),
    **_rows(_UP, LegHeld, CallState.HELD, TELL),
    (CallState.HELD, LegRetrieved): (CallState.ANSWERED, TELL),
    **_rows((*_BEFORE_ANSWER, *_UP), Released, CallState.RELEASING, NOTHING),
    (CallState.RELEASING, Cleared): (CallState.ENDED, _WRITE_TELL),
    (CallState.ENDED, Counted): (CallState.ENDED, WRITE),
}

P = ParamSpec("P")
T = TypeVar("T")


def _quick(kind: Callable[P, T]) -> Callable[P, T]:
    """Makes frozen dataclasses of a kind: each is filled as an open twin with the same slots and then becomes what it
    is. A frozen one pays three times as much to fill itself, and a call has a dozen."""
    twin: Any = make_dataclass("Twin", [field.name for field in fields(kind)], slots=True)  # type: ignore[arg-type]

    def make(*values: P.args, **named: P.kwargs) -> T:
        made: Any = twin(*values, **named)
        made.__class__ = kind
        return made  # type: ignore[no-any-return]

    return make


_leg_snapshot = _quick(LegSnapshot)
_call_snapshot = _quick(CallSnapshot)

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
        return _leg_snapshot(
            self.party,
            self.side,
            self.state,
            self.number,
            self.started_at,
            self.ringing_at,
            self.answered_at,
            self.ended_at,
            self.status,
            self.transferred_by,
            self.transferred_at,
            self.cause,
        )


class Call:
    """The state of one call. `history` holds every input that had an effect, in order."""

    __slots__ = (
        "answered_at", "answered_by", "decided", "ended_at", "from_a", "from_b", "history", "legs", "merged_into",
        "offered", "released", "ringing_at", "state",
    )  # fmt: skip

    def __init__(self, offered: IncomingCall) -> None:
        self.offered = offered
        self.state = CallState.ARRIVED
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

    def apply(self, happened: Input) -> int:
        """Fold one input in and say what follows; an input that has no row in this state changes nothing."""
        kind = type(happened)
        row = TRANSITIONS.get((self.state, kind))
        if row is None or (isinstance(happened, OfLeg) and happened.leg not in self.legs):
            return NOTHING
        if isinstance(happened, LegDialed | LegJoined) and happened.leg in self.legs:
            return NOTHING
        if kind is Transferred and not self._may_take(happened):
            return NOTHING
        if kind is Counted and (self.from_a is not None or self.merged_into is not None):
            return NOTHING
        self.history.append(happened)
        fold = _FOLDS.get(type(happened))
        if fold is not None:
            fold(self, happened)
        state, effect = row
        if state is ANSWERED and any(leg.held for leg in self.legs.values()):
            state = CallState.HELD
        self.state = state
        return effect

    def _decided(self, happened: Decided) -> None:
        self.decided = happened

    def _named(self, happened: Named) -> None:
        self.decided = replace(self.decided or UNDECIDED, display_name=happened.display_name)

    def _dialed(self, happened: LegDialed) -> None:
        self.legs[happened.leg] = Leg(happened.leg, happened.party, happened.number, happened.at)

    def _rang(self, happened: LegRang) -> None:
        leg = self.legs[happened.leg]
        if leg.ringing_at is None:
            leg.ringing_at = happened.at
        if self.ringing_at is None:
            self.ringing_at = happened.at

    def _failed(self, happened: LegFailed) -> None:
        leg = self.legs[happened.leg]
        if leg.ended_at is None:
            leg.ended_at = happened.at
            leg.status = happened.status
            leg.cause = happened.cause

    def _answered(self, happened: LegAnswered) -> None:
        leg = self.legs[happened.leg]
        leg.answered_at = self.answered_at = self.legs["a"].answered_at = happened.at
        leg.status = 200
        self.answered_by = leg

    def _held(self, happened: LegHeld) -> None:
        self.legs[happened.leg].held = True

    def _retrieved(self, happened: LegRetrieved) -> None:
        self.legs[happened.leg].held = False

    def _left(self, happened: LegLeft) -> None:
        leg = self.legs[happened.leg]
        leg.held = False
        if leg.ended_at is None:
            leg.ended_at = happened.at

    def _joined(self, happened: LegJoined) -> None:
        leg = self.legs[happened.leg] = Leg(happened.leg, happened.party, happened.number, happened.started_at)
        leg.ringing_at, leg.answered_at = happened.ringing_at, happened.answered_at

    def _may_take(self, happened: Input) -> bool:
        """A leg takes one place, and of somebody else."""
        if not isinstance(happened, Transferred) or happened.place not in self.legs or happened.place == happened.leg:
            return False
        leg = self.legs[happened.leg]
        return leg.transferred_at is None and leg.ended_at is None and happened.leg != "a"

    def _transferred(self, happened: Transferred) -> None:
        leg, place = self.legs[happened.leg], self.legs[happened.place]
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

    def _absorbed(self, happened: Absorbed) -> None:
        self.merged_into = happened.into
        self.ended_at = happened.at
        if self.released is None:
            self.released = Released(happened.at, "exchange", 200, "Transferred")
        for leg in self.legs.values():
            if leg.ended_at is None:
                leg.ended_at = happened.at

    def _released(self, happened: Released) -> None:
        self.released = happened
        if happened.cause is not None and happened.leg in self.legs:
            self.legs[happened.leg].cause = happened.cause

    def _cleared(self, happened: Cleared) -> None:
        self.ended_at = happened.at
        for leg in self.legs.values():
            if leg.ended_at is None:
                leg.ended_at = happened.at

    def _counted(self, happened: Counted) -> None:
        self.from_a = happened.from_a
        self.from_b = happened.from_b

    @property
    def disposition(self) -> Disposition:
        if self.answered_at is not None:
            return Disposition.ANSWERED if self.ended_at is not None else Disposition.OPEN
        released = self.released
        if released is None:
            return Disposition.OPEN
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
        return _call_snapshot(
            offered.call_id,
            self.state,
            offered.direction,
            offered.caller,
            offered.called,
            offered.received_at,
            offered.caller_name,
            decided.display_name,
            offered.trunk,
            offered.extension,
            decided.contact_id,
            decided.instructions,
            decided.tags,
            self.ringing_at,
            self.answered_at,
            self.ended_at,
            self.answered_by.party if self.answered_by is not None else None,
            self.disposition,
            released.status if released is not None else None,
            released.reason if released is not None else None,
            released.by if released is not None else None,
            tuple([leg.snapshot() for leg in self.legs.values()]),
            decided.decided_by or None,
            decided.lookup_ms,
            self.from_a,
            self.from_b,
            self.merged_into,
        )


_FOLDS: dict[type[Input], Callable[[Call, Any], None]] = {
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


def replay(offered: IncomingCall, history: Iterable[Input]) -> Call:
    """The call that this history makes."""
    call = Call(offered)
    for happened in history:
        call.apply(happened)
    return call
