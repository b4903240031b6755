"""How a handler says no."""

from __future__ import annotations


class Refused(Exception):
    """Answered as an error page, or as JSON under /api: `status`, the words `error.CODE` with their values, and the
    field at fault."""

    def __init__(self, status: int, code: str, field: str | None = None, **values: object) -> None:
        super().__init__(code)
        self.status, self.code, self.field, self.values = status, code, field, values
