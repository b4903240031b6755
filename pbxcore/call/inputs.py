"""What can happen to a call, as `Call.apply` takes it: one class for each kind of input. Times come in with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pbxcore.hooks import StreamStats

HungUpBy = Literal["caller", "callee", "exchange"]


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
