"""What the hooks are told of a call that comes in: who calls whom, and a few of its headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pbxcore.call.frozen import open_twin
from pbxcore.call.identity import arriving, caller_in
from pbxcore.call.passing import OWNED
from pbxcore.call.trunks import Trunk
from pbxcore.hooks import Direction, IncomingCall
from pbxcore.sip.message import Request

if TYPE_CHECKING:
    from pbxcore.call.exchange import Exchange

OpenIncomingCall = open_twin(IncomingCall)

KEPT_HEADERS = ("user-agent", "diversion", "history-info", "subject")
COMMON = frozenset(key for key in (*OWNED, *KEPT_HEADERS) if key[:2] != "x-")
NOT_KEPT = COMMON.difference(KEPT_HEADERS)

call_id = "{:08x}{:.16}".format
"""The identifier of a call that begins at this second, of a fresh token: 32 bits of time before 64 random ones. Rows
that come one after another then lie side by side in every index of the database (RFC 9562 section 6.13), where random
ones would change a page each."""


def incoming(exchange: Exchange, request: Request, trunk: Trunk | None, extension: str | None) -> IncomingCall:
    """The call that an INVITE of this trunk or extension asks for."""
    direction: Direction = "inbound"
    plan = exchange.dial_plan
    if trunk is not None:
        number, name, called = arriving(trunk, request, plan)
    else:
        caller = caller_in(request)
        number, name, called = caller.uri.username, caller.display, request.request_uri.username
    if extension is not None:
        number = extension
        entry = plan.extensions.get(extension)
        name = entry.name if entry and entry.name else name
        inside = called in plan.extensions or called in plan.numbers or called == plan.mailbox_number
        direction = "internal" if inside else "outbound"
    rows = request.first_lines
    offered: Any = OpenIncomingCall()
    offered.received_at = now = exchange.wall()
    offered.call_id = call_id(int(now), exchange.token())
    offered.caller = number if number.isprintable() else printable(number)
    offered.called = called if called.isprintable() else printable(called)
    offered.direction = direction
    offered.caller_name = printable(name) if name else None
    offered.trunk = trunk.name if trunk is not None else None
    offered.extension = extension
    offered.headers = {} if NOT_KEPT.issuperset(rows) else kept(request)
    offered.__class__ = IncomingCall
    return offered  # type: ignore[no-any-return]  # which it is by now


def kept(request: Request) -> dict[str, str]:
    """The headers that hooks may want to see, and those that somebody has made up for them."""
    rows = request.first_lines
    names = [key for key in KEPT_HEADERS if key in rows]
    if not COMMON.issuperset(rows):
        names += [key for key in rows if key[:2] == "x-"]
    return {key: printable(request.first(key) or "") for key in names}


def printable(text: str) -> str:
    """Text of a stranger without control characters, line breaks and marks that turn the writing direction."""
    return text if text.isprintable() else "".join(c for c in text if c.isprintable())
