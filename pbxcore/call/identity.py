"""Who calls and who is called, on the way in from a carrier and out to one.

In: the number called is where the trunk's profile says, in any spelling of the office's country; P-Asserted-Identity
(RFC 3325) is believed only of a trusted trunk, and who hides his number (RFC 3323) stays hidden. Out: From, the
asserted identity, Privacy and the marks of a forwarded call (RFC 5806, RFC 7044), as the profile wants them. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from pbxcore.call.router import DialPlan, digits
from pbxcore.call.trunks import Trunk
from pbxcore.hooks import IncomingCall
from pbxcore.settings_file.values import DIALED, PUNCTUATION, SHORTEST_NATIONAL, normal_number
from pbxcore.sip.errors import ParseError
from pbxcore.sip.headers import WS, NameAddr
from pbxcore.sip.message import Field, Request
from pbxcore.sip.rows import ADDRESSES
from pbxcore.sip.uri import escape_user

ANONYMOUS = "anonymous"                # RFC 3261 section 8.1.1.3, RFC 3323 section 4.1.1.3
NOWHERE = "anonymous.invalid"
NAMELESS = "Anonymous"
# What carriers write in place of a number that they may not show.
HIDDEN = frozenset({"", ANONYMOUS, "restricted", "private", "unknown", "unavailable", "withheld"})
MAX_NUMBERS = 4096
_index = re.compile(r";\s*index\s*=\s*([0-9]{1,4}(?:\.[0-9]{1,4}){0,20})").findall


# ---- numbers


def e164(number: str, country: str) -> str:
    """A number with `+` where it can be read so: `+49...`, `0049...`, and the national form of `country`; else as it
    is. Numbers of fewer than seven digits are short ones of the carrier's own."""
    plain = PUNCTUATION.sub("", number)
    if DIALED.fullmatch(plain) is None or "*" in plain or "#" in plain:   # codes, and prefixes of carriers
        return number
    if plain.startswith("+") or len(plain) < SHORTEST_NATIONAL:
        return plain
    found = normal_number(plain, country) if country else plain
    if not found.startswith("+") and plain.startswith("00") and 7 <= len(plain) - 2 <= 15:
        return f"+{plain[2:]}"   # ITU-T E.123: what most of the world dials for abroad
    return found


def dialed(trunk: Trunk, number: str) -> str:
    """A number as this carrier wants it."""
    style = trunk.profile.dial
    if style == "as-dialed":
        return number
    found = e164(number, trunk.country)
    if not found.startswith("+"):
        return found
    return found if style == "+" else f"00{found[1:]}" if style == "00" else found[1:]


# ---- in


def arriving(trunk: Trunk, request: Request, plan: DialPlan) -> tuple[str, str | None, str]:
    """Of a call from this trunk: the caller's number, his name, and the number that he called."""
    text = called_in(trunk, request, plan)
    called = trunk.numbers_read.get(text)
    if called is None:
        called = _read(trunk, text, plan)
    caller = caller_in(request)
    number, name = caller.uri.username, caller.display
    rows = request.first_lines
    if trunk.trusted and "p-asserted-identity" in rows:
        asserted = _asserted(request)
        if asserted is not None:
            number, name = asserted.uri.username, asserted.display or name
    hidden = caller.uri.host.lower() == NOWHERE or ("privacy" in rows and caller_hides(request))
    if hidden or number.lower() in HIDDEN:
        return ANONYMOUS, NAMELESS, called
    return number, name, called


def caller_in(request: Request) -> NameAddr:
    """From, but for its tag and what else is behind the brackets. It is for all messages: not to be changed."""
    address, bracket, _ = request.first_lines["from"].partition(":")[2].lstrip(WS).partition(">;tag=")
    return (ADDRESSES[address + ">"] if bracket else None) or request.from_


def called_in(trunk: Trunk, request: Request, plan: DialPlan) -> str:
    """The called number as it was sent."""
    place = trunk.profile.called_in
    found = request.request_uri.username
    if place == "p-called-party-id":
        values = request.values("p-called-party-id")
        with_number = _parsed(values[0]) if values else None
        if with_number is not None:
            found = with_number.uri.username
    elif place == "to" or (found == trunk.username != "" and found not in plan.inbound):
        found = request.to.uri.username or found   # a Request-URI that is our Contact says which trunk, and no number
    return found.partition(";")[0]   # what RFC 4694 and others hang onto the user


def called_digits(trunk: Trunk, request: Request, plan: DialPlan) -> str:
    """The called number as `Trunk.numbers` has it: E.164 without the plus, where it can be read so."""
    return digits(e164(called_in(trunk, request, plan), trunk.country))


def _read(trunk: Trunk, text: str, plan: DialPlan) -> str:
    """The called number in the spelling that the dial plan knows; as it was sent when it knows none."""
    called = text
    if digits(text) not in plan.inbound:
        normal = e164(text, trunk.country)
        if digits(normal) in plan.inbound:
            called = normal
    if len(trunk.numbers_read) >= MAX_NUMBERS:
        trunk.numbers_read.clear()
    trunk.numbers_read[text] = called
    return called


def _asserted(request: Request) -> NameAddr | None:
    """The first identity that is a number or a SIP user (there may be one of each, 9.1)."""
    for value in request.values("p-asserted-identity"):
        found = _parsed(value)
        if found is not None and found.uri.scheme in ("sip", "sips", "tel") and found.uri.username:
            return found
    return None


def _parsed(value: str) -> NameAddr | None:
    try:
        return NameAddr.parse(value)
    except ParseError:
        return None


def caller_hides(request: Request) -> bool:
    """Whether the caller asks that nobody sees who he is (RFC 3323 section 4.2, RFC 3325 section 9.3)."""
    if "privacy" in request:
        wanted = {part.strip().lower() for value in request.values("privacy") for part in value.split(";")}
        if wanted & {"id", "user", "header"}:
            return True
    return caller_in(request).uri.host.lower() == NOWHERE


# ---- out


@dataclass(slots=True)
class Leaving:
    """Who calls, as the carrier is told: From, and rows besides."""

    name: str | None
    user: str
    host: str
    rows: list[Field] = field(default_factory=list)


def leaving(
    trunk: Trunk, offered: IncomingCall, invite: Request, caller_id: str, host: str, before: Sequence[Field] = ()
) -> Leaving:
    """`caller_id` is the calling extension's own number, `host` ours. `invite` is what the caller sent, `before` what a
    trusted carrier said of the call's way so far."""
    profile = trunk.profile
    forwarded = offered.direction == "inbound"
    own = trunk.caller_id or trunk.username
    shown = (offered.caller if forwarded else caller_id or own or offered.caller) or ANONYMOUS
    hidden = shown.lower() in HIDDEN or caller_hides(invite)
    if hidden and forwarded:
        shown = own or ANONYMOUS
    asserted = dialed(trunk, shown if not forwarded else own or shown)
    found = Leaving(
        offered.caller_name if not hidden else None,
        escape_user(trunk.username if profile.from_user == "username" and trunk.username else dialed(trunk, shown)),
        trunk.authority if profile.from_host == "server" else host,
    )
    if profile.identity != "none" and not (hidden and profile.anonymous == "from"):
        found.rows.append(_identity_row(profile.identity, asserted, found.host, hidden=hidden))
    if hidden:
        _hide(found, profile.anonymous)
    if forwarded and profile.diversion != "none":
        found.rows += _forwarded(trunk, offered, before, host)
    return found


def _identity_row(kind: str, number: str, host: str, *, hidden: bool) -> Field:
    uri = f"<sip:{escape_user(number)}@{host}>"
    if kind == "asserted":
        return "p-asserted-identity", f"P-Asserted-Identity: {uri}"
    if kind == "preferred":
        return "p-preferred-identity", f"P-Preferred-Identity: {uri}"
    return "remote-party-id", f"Remote-Party-ID: {uri};party=calling;privacy={'full' if hidden else 'off'};screen=no"


def _hide(found: Leaving, how: str) -> None:
    if how != "privacy":
        found.name, found.user, found.host = NAMELESS, ANONYMOUS, NOWHERE
    if how == "from-and-privacy":
        found.rows.append(("privacy", "Privacy: id"))
    elif how == "privacy":
        found.rows.append(("privacy", "Privacy: user;id"))   # the carrier is to take the number out of From


def _forwarded(trunk: Trunk, offered: IncomingCall, before: Sequence[Field], host: str) -> list[Field]:
    """That the call was for a number of ours before: the latest Diversion comes first (RFC 5806 section 5), the latest
    History-Info last, one level below the one before it (RFC 7044 section 10.3)."""
    kind = trunk.profile.diversion
    rows = [row for row in before if row[0] == kind]
    uri = f"<sip:{escape_user(dialed(trunk, offered.called))}@{host}>"
    if kind == "diversion":
        return [("diversion", f"Diversion: {uri};reason=unconditional"), *rows]
    index = index_of(rows)
    place = f"{index}.1" if index else "1"
    return [*rows, ("history-info", f"History-Info: {uri};index={place}")]


def index_of(rows: Sequence[Field]) -> str:
    """The last index of these History-Info rows; empty without one."""
    found = [index for key, line in rows if key == "history-info" for index in _index(line)]
    return found[-1] if found else ""


def way_so_far(invite: Request) -> list[Field]:
    """What a trusted carrier says of the call's way before it came to us, row by row."""
    return [row for row in invite.fields if row[0] in ("diversion", "history-info")]

