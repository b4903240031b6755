"""Calls, numbers and times as people read them: pure functions from the exchange's values to what pages show."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import phonenumbers

from pbxcore.control import ContactEntry, ExtensionState
from pbxcore.hooks import CallSnapshot, CallState, LegSnapshot
from web.words import Words

ICONS = {"inbound": "in", "outbound": "out", "internal": "between"}


def parties(call: CallSnapshot) -> frozenset[str]:
    """Whose call it is: the extensions (and `trunk:NAME`s) that have or had a leg of it."""
    found = {leg.party for leg in call.legs}
    if call.extension:
        found.add(call.extension)
    if call.answered_by:
        found.add(call.answered_by)
    return frozenset(found)


def own_leg(call: CallSnapshot, extension: str | None) -> LegSnapshot | None:
    """The live leg of this extension; None when its phone is not (or no longer) part of the call."""
    if extension is None:
        return None
    return next((leg for leg in call.legs if leg.party == extension and leg.state != "ended"), None)


def is_caller(call: CallSnapshot, extension: str) -> bool:
    return call.extension == extension or any(leg.party == extension and leg.side == "a" for leg in call.legs)


def other_number(call: CallSnapshot, extension: str | None) -> str:
    """The number of the party that this extension speaks to; the outer one for everybody else."""
    if extension is not None and extension in parties(call):
        return call.called if is_caller(call, extension) else call.caller
    return call.called if call.direction == "outbound" else call.caller


def phase(call: CallSnapshot) -> Literal["setup", "ringing", "talking", "held", "ended"]:
    """The call's state in the five words that the panel has for it."""
    match call.state:
        case CallState.RINGING:
            return "ringing"
        case CallState.ANSWERED:
            return "talking"
        case CallState.HELD:
            return "held"
        case CallState.RELEASING | CallState.ENDED:
            return "ended"
        case _:
            return "setup"


@dataclass(frozen=True, slots=True)
class Who:
    """One side of a call: a name if there is one, and the number."""

    name: str
    number: str

    @property
    def first(self) -> str:
        return self.name or pretty_number(self.number)


@dataclass(frozen=True, slots=True)
class Row:
    """A call as a line of a table."""

    call: CallSnapshot
    caller: Who
    called: Who
    with_: str
    phase: str
    since: float
    seconds: float | None


class Names:
    """Names for numbers: extensions, read once a rendering, and contacts by the CRM's look-up in memory."""

    def __init__(
        self, extensions: Iterable[ExtensionState], lookup: Callable[[str], Iterable[ContactEntry]] = lambda n: ()
    ) -> None:
        self._names = {e.number: e.name for e in extensions}
        self._lookup = lookup

    def outside(self, number: str, shown: str) -> str:
        """The name of somebody outside: what the call says, else who the CRM knows under this number."""
        if shown:
            return shown
        names = [contact.name for contact in self._lookup(number)]
        return f"{names[0]} +{len(names) - 1}" if len(names) > 1 else "".join(names)

    def of(self, number: str | None) -> str:
        return self._names.get(number or "", "")

    def party(self, party: str | None) -> str:
        """`101` as `Anna (101)`, `trunk:city` as `city`."""
        if not party:
            return ""
        if party.startswith("trunk:"):
            return party.removeprefix("trunk:")
        name = self.of(party)
        return f"{name} ({party})" if name else party

    def row(self, call: CallSnapshot) -> Row:
        if call.direction == "inbound":
            caller_name = self.outside(call.caller, call.display_name or call.caller_name or "")
        else:
            caller_name = self.of(call.extension or call.caller) or call.caller_name or ""
        outward = call.direction == "outbound"
        called_name = self.outside(call.called, "") if outward else self.of(call.called)
        ringing = [leg.party for leg in call.legs if leg.side == "b" and leg.state != "ended"]
        partner = call.answered_by or ", ".join(self.party(p) for p in ringing)
        seconds = None
        if call.answered_at is not None and call.ended_at is not None:
            seconds = max(0.0, call.ended_at - call.answered_at)
        return Row(
            call=call,
            caller=Who(caller_name, call.caller),
            called=Who(called_name, call.called),
            with_=self.party(call.answered_by) if call.answered_by else partner,
            phase=phase(call),
            since=call.answered_at or call.arrived_at,
            seconds=seconds,
        )


@lru_cache(maxsize=4096)
def pretty_number(number: str) -> str:
    """`+15550100` as `+1 555-0100`; whatever is no E.164 number stays as it is."""
    if not (number.startswith("+") and number.isascii() and number[1:].isdecimal()):
        return number
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return number
    pretty = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.INTERNATIONAL)
    return pretty if sum(c.isdigit() for c in pretty) == sum(c.isdigit() for c in number) else number


def dialable(number: str) -> bool:
    """Whether this can be a telephone number at all: it is no use offering `anonymous` to be stored."""
    return number.isascii() and number.removeprefix("+").isdecimal()


def milliseconds(elapsed: float) -> str:
    """Two digits after the point below one, one above."""
    return f"{elapsed:.2f}" if elapsed < 1 else f"{elapsed:.1f}"


def duration(seconds: float | None) -> str:
    """`0:07`, `12:30`, `1:02:03`; a dash when there is none."""
    if seconds is None:
        return "–"
    whole = max(0, int(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


@lru_cache(maxsize=8)
def zone(name: str) -> tzinfo:
    """The office's time zone; UTC when this machine does not know it."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def moment(words: Words, at: float | None, now: float, timezone: str) -> str:
    """`14:05` today, `yesterday 14:05`, `3 Nov, 14:05` this year, `3 Nov 2025, 14:05` before."""
    if at is None:
        return "–"
    here = zone(timezone)
    then, today = datetime.fromtimestamp(at, here), datetime.fromtimestamp(now, here)
    clock = f"{then:%H:%M}"
    if then.date() == today.date():
        return clock
    if then.date() == today.date() - timedelta(days=1):
        return words("time.yesterday", clock=clock)
    day = f"{then.day} {words(f'month.{then.month}')}"
    return f"{day}, {clock}" if then.year == today.year else f"{day} {then.year}, {clock}"


def exact_moment(at: float | None, timezone: str) -> str:
    """`14:05:09.250` in the office's time zone, for the page of one call."""
    if at is None:
        return "–"
    then = datetime.fromtimestamp(at, zone(timezone))
    return f"{then:%H:%M:%S}.{then.microsecond // 1000:03}"


def iso_moment(at: float, timezone: str) -> str:
    return datetime.fromtimestamp(at, zone(timezone)).isoformat(timespec="seconds")


def initials(name: str) -> str:
    """Two letters for the round badge beside a name."""
    parts = [p for p in name.replace(".", " ").split() if p[0].isalnum()]
    letters = (parts[0][0] + parts[-1][0]) if len(parts) > 1 else (parts[0][:1] if parts else "")
    return letters.upper() or "#"
