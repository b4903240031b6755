"""How a handler says no."""

from __future__ import annotations


class Refused(Exception):
    """Answered as an error page, or as JSON under /api: `status`, the field at fault and a message."""

    def __init__(self, status: int, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.field = field
