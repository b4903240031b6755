"""Errors are values inside; these are the exceptions at the edge of the stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pbxcore.sip.message import Request


class SipError(Exception):
    """A request that is answered with `status` and `reason` (RFC 3261 section 21)."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason


class ParseError(SipError):
    """Bytes that are no SIP message, or a header that cannot be read.

    `partial` is the request when enough of it was read (Via, From, To, Call-ID, CSeq) to be answered with `status`;
    None means: count it and drop it (responses, ACK, noise).
    """

    def __init__(self, status: int, reason: str, partial: Request | None = None) -> None:
        super().__init__(status, reason)
        self.partial = partial
