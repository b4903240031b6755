"""The INVITE of a branch: RFC 3261 section 8.1.1, with the CRM's name on it.

What is the same for every branch of a call is made once. The caller's own rows go through as they came, except those
that the exchange owns (`passing`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pbxcore.call.branch import Branch
from pbxcore.call.identity import ANONYMOUS, dialed, index_of, leaving, way_so_far
from pbxcore.call.leg import ALLOWED, SDP_TYPE, contact_of
from pbxcore.call.passing import passed
from pbxcore.call.ringtone import BY_DIRECTION, default, said
from pbxcore.call.router import DialPlan
from pbxcore.call.trunks import Trunk
from pbxcore.hooks import Decision, IncomingCall
from pbxcore.sip.headers import CSeq, quote
from pbxcore.sip.message import Field, Request
from pbxcore.sip.rows import NUMBERS, Memo
from pbxcore.sip.uri import escape_user, join_host

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_FORWARDS = 70
FIRST = CSeq(1, "INVITE")
FIRST_ROW: Field = ("cseq", f"CSeq: {FIRST}")
AGENT: Field = ("user-agent", "User-Agent: Hookline")


class Office(Protocol):
    """What the exchange says about itself."""

    domain: str
    token: Callable[[], str]
    dial_plan: DialPlan


def display(name: str) -> str:
    """A display name as a quoted string; nothing of it can break out of the header."""
    if not name.isprintable():
        name = "".join(c for c in name if c.isprintable())
    return quote(name.strip())


def _one_hop_less(row: str) -> Field:
    """Our Max-Forwards for the caller's row; empty where he has none."""
    hops = NUMBERS[row] if row else None
    return "max-forwards", f"Max-Forwards: {MAX_FORWARDS if hops is None else min(hops, 255) - 1}"


_HOPS = Memo(_one_hop_less)
# The same people call and are called every day.
_NAMES = Memo(display)
_USERS = Memo(escape_user)


class InviteMaker:
    """Makes the INVITEs of one call."""

    __slots__ = ("_common", "_hops", "_invite", "_trusted", "decision", "offered")

    def __init__(self, offered: IncomingCall, invite: Request, *, trusted: bool = False) -> None:
        """`trusted`: what the caller's side says of the call's way so far is believed."""
        self.offered = offered
        self._invite = invite
        self._trusted = trusted
        self.decision: Decision | None = None
        self._hops = _HOPS[invite.first_lines.get("max-forwards", "")]
        self._common = passed(invite)

    @property
    def last_index(self) -> str:
        """The last index of the call's way so far (RFC 7044), where that is believed; empty without one."""
        return index_of(way_so_far(self._invite)) if self._trusted else ""

    def make(self, branch: Branch, uri: str, tag: str, office: Office, body: bytes) -> Request:
        """The INVITE of this branch; `tag` is our From tag on it."""
        host = office.domain or join_host(branch.flow.local[0], None)
        if branch.trunk is not None:
            return self._to_carrier(branch, branch.trunk, uri, tag, office, host, body)
        offered, decision = self.offered, self.decision
        user = _USERS[offered.caller or ANONYMOUS]
        name, alert = offered.caller_name, None
        if decision is not None:  # the CRM's name for the caller is for the office's own phones only
            name, alert = decision.display_name or name, decision.alert_info
        call_id = office.token()
        if alert:
            ringtone = said(alert)
        elif "priority" in self._invite.first_lines:
            believed = self._trusted or offered.extension is not None
            ringtone = default(offered.direction, self._invite, believed=believed)
        else:
            ringtone = BY_DIRECTION[offered.direction]
        fields: list[Field] = [
            self._hops,
            ("from", f"From: {f'{_NAMES[name]} ' if name else ''}<sip:{user}@{host}>;tag={tag}"),
            ("to", f"To: <sip:{_USERS[branch.target.number]}@{host}>"),
            ("call-id", f"Call-ID: {call_id}"),
            FIRST_ROW,
            ("contact", f"Contact: {contact_of(user, branch.flow, secure=uri[:5] == 'sips:')}"),
            ALLOWED,
            AGENT,
            ("x-hookline-call", f"X-Hookline-Call: {offered.call_id}"),
            ringtone,
        ]
        if branch.path:
            fields += [("route", f"Route: {proxy}") for proxy in branch.path]
        fields += self._common
        if self._trusted:
            fields += way_so_far(self._invite)
        if body:
            fields.append(SDP_TYPE)
        invite = Request("INVITE", uri, fields, body)
        invite.seen = {"call_id": call_id, "cseq": FIRST, "from_tag": tag}  # read when it is answered: 1 % of a call
        return invite

    def _to_carrier(
        self, branch: Branch, trunk: Trunk, uri: str, tag: str, office: Office, host: str, body: bytes
    ) -> Request:
        """Who calls is said as the trunk's profile wants it (`identity`)."""
        offered = self.offered
        entry = office.dial_plan.extensions.get(offered.extension or "")
        before = way_so_far(self._invite) if self._trusted else ()
        caller = leaving(trunk, offered, self._invite, entry.caller_id if entry else "", host, before)
        number = escape_user(dialed(trunk, branch.target.number))
        name = f"{display(caller.name)} " if caller.name else ""
        registered = trunk.registration is not None
        user = escape_user(trunk.username) if registered else caller.user
        call_id = office.token()
        fields: list[Field] = [
            *[("route", f"Route: {proxy}") for proxy in branch.path],
            self._hops,
            ("from", f"From: {name}<sip:{caller.user}@{caller.host}>;tag={tag}"),
            ("to", f"To: <sip:{number}@{join_host(trunk.host, None)}>"),
            ("call-id", f"Call-ID: {call_id}"),
            FIRST_ROW,
            ("contact", f"Contact: {contact_of(user, branch.flow)}"),
            ALLOWED,
            AGENT,
            *caller.rows,
            *self._common,
        ]
        if body:
            fields.append(SDP_TYPE)
        return Request("INVITE", uri, fields, body)
