"""Errors are values inside; this is the one exception at the edge of the stack."""

from __future__ import annotations


class SipError(Exception):
    """A request that is answered with `status` and `reason` (RFC 3261 section 21)."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason
