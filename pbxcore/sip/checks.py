"""What the stack relies on in a message that was read by hand: RFC 3261 sections 8.2.2 and 16.3.

All of it raises ParseError 400 or 416. `message.parse` has found the rest of the messages right already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pbxcore.sip.errors import ParseError
from pbxcore.sip.headers import Via, digits, split
from pbxcore.sip.rows import MAX_NUMBER, SCHEMES, Field, value_of

if TYPE_CHECKING:
    from pbxcore.sip.message import Message, Request, Response

MANDATORY = {"via": "Via", "from": "From", "to": "To", "call-id": "Call-ID", "cseq": "CSeq"}
_SINGLE = frozenset(("from", "to", "call-id", "cseq", "max-forwards", "content-type"))
_ALONE = _SINGLE | {"contact", "content-length"}


def doubled(fields: list[Field], alone: frozenset[str] = _ALONE) -> str | None:
    """The first header that is there again and of those that must be alone, or can be read at a glance only then."""
    seen: set[str] = set()
    for key, _ in fields:
        if key in alone:
            if key in seen:
                return key
            seen.add(key)
    return None


def check_common(message: Message) -> None:
    first = message.first_lines
    if not message.unrepeated and (key := doubled(message.fields, _SINGLE)) is not None:
        raise ParseError(400, f"More than one {key}")
    for key, title in MANDATORY.items():
        if key not in first:
            raise ParseError(400, f"Missing {title}")
    via = message.via
    message.from_tag, message.to_tag, message.cseq  # noqa: B018
    if via.protocol != "SIP/2.0":
        raise ParseError(400, "Malformed Via")
    if "," in first["via"]:
        for value in split(value_of(first["via"]), ","):  # where one ends is known only when all can be read
            Via.parse(value)
    if not message.call_id:
        raise ParseError(400, "Malformed Call-ID")


def check_request(request: Request) -> None:
    first = request.first_lines
    if request.cseq.method != request.method:
        raise ParseError(400, "CSeq method does not match")
    hops = first.get("max-forwards")
    if hops is not None and digits(value_of(hops), MAX_NUMBER) is None:
        raise ParseError(400, "Malformed Max-Forwards")
    request.contacts, request.routes, request.record_routes  # noqa: B018
    uri = request.request_uri
    if uri.scheme not in SCHEMES:
        raise ParseError(416, "Unsupported URI Scheme")
    if uri.headers:  # 19.1.1 forbids them here; nothing may ever turn them into headers
        raise ParseError(400, "Headers in the Request-URI")


def check_response(response: Response) -> None:
    try:
        response.contacts, response.record_routes  # noqa: B018
    except ParseError:
        if response.status < 300:
            raise
        response.contacts, response.record_routes = [], []  # a refusal is one all the same
