"""What each side of a leg can: Supported, Require and Allow of our own messages, and what the peer's say.

An extension is a matter of one leg (RFC 7092): the exchange speaks for itself on each, whatever the other side knows. A
profile may have us demand an extension or keep it to ourselves, and then no message on that leg claims otherwise.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from pbxcore.call.outbound import speaks
from pbxcore.call.reliable import Reliably
from pbxcore.call.session_timer import SHORTEST, SessionTimer, Wanted, too_small
from pbxcore.profiles import Reliable, SessionTimers
from pbxcore.sip import build
from pbxcore.sip.errors import SipError
from pbxcore.sip.message import Field, Request

if TYPE_CHECKING:
    from pbxcore.call.leg import CallerLeg, Leg
    from pbxcore.profiles import PhoneProfile, TrunkProfile

OPTIONS = ("100rel", "timer", "replaces", "norefersub")
"""Option tags of extensions that the exchange can on every leg."""
KNOWN = frozenset(OPTIONS)
ALL = ", ".join(OPTIONS)
SUPPORTED: Field = ("supported", f"Supported: {ALL}")


class Declined(SipError):
    """An INVITE that a leg's terms do not allow; `headers` say what would be right."""

    def __init__(self, status: int, headers: list[tuple[str, str]]) -> None:
        super().__init__(status, build.REASONS[status])
        self.headers = headers


def _profile(leg: Leg) -> PhoneProfile | TrunkProfile | None:
    return leg.trunk.profile if leg.trunk is not None else leg.make


def options(profile: PhoneProfile | TrunkProfile | None) -> tuple[str, ...]:
    """The option tags that we own up to on a leg of this profile."""
    return OPTIONS if profile is None else _options(profile.reliable, profile.session_timer)


def _options(reliable: Reliable, session_timer: SessionTimers) -> tuple[str, ...]:
    kept = {"100rel": reliable, "timer": session_timer}
    return tuple(tag for tag in OPTIONS if kept.get(tag) != "avoid")


def supported(leg: Leg) -> list[Field]:
    """The Supported row of our messages on this leg."""
    tags = options(_profile(leg))
    return [("supported", f"Supported: {', '.join(tags)}")] if tags else []


def asking(wanted: Wanted) -> list[Field]:
    """The rows of an INVITE to whoever has no profile of his own."""
    return [SUPPORTED, *_timer(wanted)]


def asking_of(leg: Leg, wanted: Wanted, *, reliable: bool) -> tuple[Field, ...]:
    """The rows of an INVITE on this leg. `reliable` False: an offer in a provisional could not be answered, so nobody
    is invited to make one (RFC 3262 section 5)."""
    profile = leg.trunk.profile if leg.trunk is not None else leg.make
    if profile is None:
        return _asking("offer" if reliable else "avoid", "ask", wanted.interval, wanted.minimum)
    return _asking(profile.reliable if reliable else "avoid", profile.session_timer, wanted.interval, wanted.minimum)


@lru_cache(maxsize=64)
def _asking(reliable: Reliable, session_timer: SessionTimers, interval: int, minimum: int) -> tuple[Field, ...]:
    tags = _options(reliable, session_timer)
    rows: list[Field] = [("supported", f"Supported: {', '.join(tags)}")] if tags else []
    if session_timer == "ask":
        rows += _timer(Wanted(interval, minimum))
    if reliable == "demand":
        rows.append(("require", "Require: 100rel"))
    return tuple(rows)


def _timer(wanted: Wanted) -> list[Field]:
    if not wanted.interval:
        return []
    rows: list[Field] = [("session-expires", f"Session-Expires: {wanted.interval}")]
    if wanted.minimum > SHORTEST:
        rows.append(("min-se", f"Min-SE: {wanted.minimum}"))
    return rows


def check(request: Request, profile: PhoneProfile | TrunkProfile | None, wanted: Wanted) -> None:
    """An INVITE that asks for an extension, or lacks one that its leg is to have. Raises Declined: 420, 421 or 422."""
    unknown = [tag for tag in request.require if tag.lower() in KNOWN and tag.lower() not in options(profile)]
    if unknown:
        raise Declined(420, [("Unsupported", ", ".join(unknown))])
    if profile is not None and profile.reliable == "demand" and not speaks(request, "100rel"):
        raise Declined(421, [("Require", "100rel")])
    if (profile is None or profile.session_timer != "avoid") and too_small(request, wanted.minimum):
        raise Declined(422, [("Min-SE", str(wanted.minimum))])


def enlist(leg: CallerLeg, request: Request, wanted: Wanted) -> None:
    """What the caller's INVITE has us do: acknowledged provisionals (RFC 3262 section 3), a session timer."""
    profile = _profile(leg)
    required = any(tag.lower() == "100rel" for tag in request.require)
    policy = "offer" if profile is None else profile.reliable
    if required or (policy != "avoid" and speaks(request, "100rel")):
        leg.reliable = Reliably(leg, always=required or policy == "demand")
    leg.updates = "UPDATE" in request.first_lines.get("allow", "")
    leg.renames = "from-change" in request.first_lines.get("supported", "")
    terms = "ask" if profile is None else profile.session_timer
    if terms != "avoid" and ("session-expires" in request or speaks(request, "timer")):
        leg.session = SessionTimer(wanted)


def asks(leg: Leg, wanted: Wanted) -> Wanted:
    """As the office wants it, or for nothing where this peer is not to be asked."""
    profile = _profile(leg)
    return wanted if profile is None or profile.session_timer == "ask" else Wanted(0, wanted.minimum)
