"""What requests and responses are made of: rows in order, a body, and what has been read in them (RFC 3261 section 7).

Octets that are no UTF-8 are kept as surrogates (PEP 383) and written back as they came.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pbxcore.sip import views
from pbxcore.sip.headers import LISTS, digits, key_of, known_key, one_line, split
from pbxcore.sip.rows import Field, value_of
from pbxcore.sip.views import STALE, View

MAX_SIZE = 65536
"""Octets of the largest message that is read."""


class Message:
    """What requests and responses share.

    `fields` holds (long lower-case name, the whole row as received) in order. Rows may be appended to it while a
    message is being built; once anything was looked up, edit through the methods, which know what has been computed
    from it. Views are for reading: editing one does not change the message.
    Views of mandatory headers raise ParseError where the header is missing or unreadable, the others are None or empty
    where it is missing; Contact, Route and Record-Route raise where they are unreadable; `vias` leaves out what it
    cannot read below the topmost. After `check` none raises.
    """

    __slots__ = ("body", "fields", "seen")

    body: bytes
    fields: list[Field]
    seen: dict[str, Any]
    """What the views below have read."""

    first_lines = View(views.first_lines_of)
    """The first row of each header by long lower-case name; not to be changed."""
    via = View(views.via_of)
    vias = View(views.vias_of)
    branch = View(views.branch_of)
    sent_by = View(views.sent_by_of)
    from_ = View(views.from_of)
    from_tag = View(views.from_tag_of)
    to = View(views.to_of)
    to_tag = View(views.to_tag_of)
    contact = View(views.contact_of)
    contacts = View(views.contacts_of)
    contact_star = View(views.contact_star_of)
    cseq = View(views.cseq_of)
    call_id = View(views.call_id_of)
    max_forwards = View(views.max_forwards_of)
    routes = View(views.routes_of)
    record_routes = View(views.record_routes_of)
    expires = View(views.expires_of)
    content_type = View(views.content_type_of)
    content_length = View(views.content_length_of)
    require = View(views.require_of)
    proxy_require = View(views.proxy_require_of)
    supported = View(views.supported_of)

    def __init__(self, fields: list[Field], body: bytes = b"") -> None:
        self.fields = fields
        self.body = body
        self.seen = {}

    @property
    def unrepeated(self) -> bool:
        """Whether each header stands in one row only."""
        return len(self.first_lines) == len(self.fields)

    def __contains__(self, key: str) -> bool:
        return key in self.first_lines

    def first(self, key: str) -> str | None:
        """The first value, unfolded and stripped."""
        line = self.first_lines.get(key)
        if line is None:
            return None
        value = value_of(line)
        return split(value, ",")[0] if "," in value and key in LISTS else value

    def values(self, key: str) -> list[str]:
        """All values in order; rows of list headers are split at their commas, empty elements are left out."""
        if key not in self.first_lines:
            return []
        rows = [value_of(line) for name, line in self.fields if name == key]
        if key not in LISTS:
            return rows
        values: list[str] = []
        for row in rows:
            if "," in row:
                values += [value for value in split(row, ",") if value or key == "via"]
            elif row:
                values.append(row)
        return values

    def lines(self, key: str) -> list[str]:
        """Whole rows, to be passed on unchanged (`add_lines`)."""
        return [line for name, line in self.fields if name == key]

    def add(self, name: str, value: str) -> None:
        """Appends a row. A line break in `value` becomes a blank, here and in the other edits."""
        self.fields.append(field := _field(name, value))
        self._edit(field[0])

    def prepend(self, name: str, value: str) -> None:
        """Puts a row on top of all others."""
        self.fields.insert(0, field := _field(name, value))
        self._edit(field[0])

    def add_lines(self, key: str, lines: Iterable[str]) -> None:
        """Appends whole rows of another message as they are."""
        self.fields += [(key, line) for line in lines]
        self._edit(key)

    def replace(self, name: str, value: str) -> None:
        """Puts the row in the place of the first of its name and drops those others; adds it if there is none."""
        field = _field(name, value)
        key = field[0]
        for at, (other, _) in enumerate(self.fields):
            if other == key:
                tail = [row for row in self.fields[at + 1 :] if row[0] != key]
                self.fields[at:] = [field, *tail]
                break
        else:
            self.fields.append(field)
        self._edit(key)

    def remove(self, key: str) -> None:
        self.fields = [field for field in self.fields if field[0] != key]
        self._edit(key)

    def _edit(self, key: str) -> None:
        for view in ("first_lines", *STALE.get(key, ())):
            self.seen.pop(view, None)

    def to_bytes(self, top: str = "") -> bytes:
        """The message for the wire, with the row `top` above its own. Content-Length is set right; rows that were not
        edited are as they came."""
        body, fields = self.body, self.fields
        start = f"{self._start_line()}\r\n{top}" if top else self._start_line()
        length = f"Content-Length: {len(body)}"
        lines = [line for key, line in fields if key != "content-length"]
        if len(lines) == len(fields):
            text = "\r\n".join((start, *lines, length, "\r\n"))
        else:
            text = "\r\n".join((start, *self._with_length(length), "\r\n"))
        return text.encode("utf-8", "surrogateescape") + body

    def _with_length(self, length: str) -> Iterator[str]:
        """The rows with one Content-Length among them, which is right."""
        right = False
        for key, line in self.fields:
            if key == "content-length":
                if right or digits(value_of(line), MAX_SIZE) != len(self.body):
                    continue
                right = True
            yield line
        if not right:
            yield length

    def _start_line(self) -> str:
        # Not abstract: the metaclass of an ABC has a say in every isinstance, and each message meets several.
        raise NotImplementedError


def _field(name: str, value: str) -> Field:
    return known_key(name) or key_of(name), f"{name}: {one_line(value)}"
