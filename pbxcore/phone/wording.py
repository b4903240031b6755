"""What a phone says of itself in every message, and bodies that it reads and writes besides SDP. Sans I/O."""

from __future__ import annotations

import re

from pbxcore.sip.errors import SipError
from pbxcore.sip.message import Message

METHODS = ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "INFO", "MESSAGE", "NOTIFY", "UPDATE")
ALLOW = ", ".join(METHODS)
USER_AGENT = "Hookline phone"

_SIGNAL = re.compile(rb"^\s*Signal\s*=\s*([0-9A-Da-d*#]|1[01])\s*$", re.MULTILINE | re.IGNORECASE)
_STATUS = re.compile(rb"^SIP/2\.0 ([1-6]\d\d) ([^\r\n]*)")


def content_type(message: Message) -> str:
    return (message.content_type or "").partition(";")[0].strip().lower()


def sdp_of(message: Message) -> bytes:
    """The SDP in a body, empty when there is none. Raises SipError 415 for another kind of body."""
    if not message.body:
        return b""
    if content_type(message) in ("", "application/sdp"):
        return message.body
    raise SipError(415, "Unsupported Media Type")


def digit_of(message: Message) -> str | None:
    """The digit in an INFO: `application/dtmf-relay` (Signal=5) or `application/dtmf` (5)."""
    kind = content_type(message)
    if kind == "application/dtmf-relay":
        match = _SIGNAL.search(message.body)
        found = match[1].decode().upper() if match else ""
    elif kind == "application/dtmf":
        found = message.body.strip().decode("latin-1").upper()
    else:
        return None
    found = {"10": "*", "11": "#"}.get(found, found)
    return found if len(found) == 1 and found in "0123456789*#ABCD" else None


def digit_body(digit: str, milliseconds: int = 160) -> tuple[str, bytes]:
    """Content type and body of an INFO for one digit."""
    return "application/dtmf-relay", f"Signal={digit}\r\nDuration={milliseconds}\r\n".encode()


def fragment_status(body: bytes) -> tuple[int, str] | None:
    """Status and reason in a `message/sipfrag` body (RFC 3420), as NOTIFYs of a transfer have it (RFC 3515)."""
    match = _STATUS.match(body)
    return (int(match[1]), match[2].decode("utf-8", "replace").strip()) if match else None
