"""SIP messages: RFC 3261 section 7, read lazily.

`parse` cuts a message into its header rows and keeps every row byte for byte and in order; nothing is understood before
somebody asks for it. The typed views (`via`, `from_`, `contacts` ...) are slots that are empty until they are read once
and then cost a plain attribute access. `check` reads all views that the stack relies on, so that a message that passed
it raises nothing later. No transaction, dialog or transport is known here.

Octets that are no UTF-8 are kept as surrogates (PEP 383) and written back as they came.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pbxcore.sip.errors import ParseError
from pbxcore.sip.headers import (
    BLANKS,
    LISTS,
    LONGEST_REMEMBERED,
    MAX_HEADERS,
    METHODS,
    CSeq,
    NameAddr,
    Via,
    digits,
    is_token,
    key_of,
    known_key,
    one_line,
    split,
)
from pbxcore.sip.repair import careful_fields, rare_key, repair
from pbxcore.sip.uri import Uri
from pbxcore.sip.views import MAX_NUMBER, STALE, VIEWS, contacts_of, cseq_of, from_of, to_of, value_of, via_of

__all__ = ["MAX_HEADERS", "MAX_SIZE", "Message", "ParseError", "Request", "Response", "check", "parse"]

MAX_SIZE = 65536
"""Octets of the largest message that is read."""

Field = tuple[str, str]

UNREADABLE = "unreadable.invalid"
"""The host of a Via that could not be read, in the `partial` of a ParseError."""

_MANDATORY = {"via": "Via", "from": "From", "to": "To", "call-id": "Call-ID", "cseq": "CSeq"}
_SINGLE = frozenset(("from", "to", "call-id", "cseq", "max-forwards", "content-type"))
_SCHEMES = ("sip", "sips", "tel")
_tag_of = NameAddr.tag_of_row

class Message:
    """What requests and responses share.

    `fields` holds (long lower-case name, the whole row as received) in order. Rows may be appended to it while a
    message is being built; once anything was looked up, edit through the methods, which know what has been computed
    from it. Views are for reading: editing one does not change the message.
    Views of mandatory headers raise ParseError where the header is missing or unreadable, the others are None or empty
    where it is missing; Contact, Route and Record-Route raise where they are unreadable; `vias` leaves out what it
    cannot read below the topmost. After `check` none raises.
    """

    __slots__ = ("body", "fields", "first_lines", *(view for views in STALE.values() for view in views))

    body: bytes
    fields: list[Field]
    first_lines: dict[str, str]
    """The first row of each header by long lower-case name; not to be changed."""
    via: Via
    vias: list[Via]
    branch: str | None
    from_: NameAddr
    from_tag: str | None
    to: NameAddr
    to_tag: str | None
    contact: NameAddr | None
    contacts: list[NameAddr]
    contact_star: bool
    cseq: CSeq
    call_id: str
    max_forwards: int | None
    routes: list[NameAddr]
    record_routes: list[NameAddr]
    expires: int | None
    content_type: str | None
    content_length: int | None
    require: tuple[str, ...]
    proxy_require: tuple[str, ...]
    supported: tuple[str, ...]

    def __init__(self, fields: list[Field], body: bytes = b"") -> None:
        self.fields = fields
        self.body = body

    if not TYPE_CHECKING:  # hidden, or the type checker would allow any name

        def __getattr__(self, name: str) -> Any:
            """Fills a view's empty slot; a filled one never comes here."""
            try:
                compute = VIEWS[name]
            except KeyError:
                raise AttributeError(name) from None
            value = compute(self)
            setattr(self, name, value)
            return value

    def __contains__(self, key: str) -> bool:
        return key in self.first_lines

    def first(self, key: str) -> str | None:
        """The first value, unfolded and stripped."""
        line = self.first_lines.get(key)
        if line is None:
            return None
        value = value_of(line)
        return split(value, ",")[0] if key in LISTS and "," in value else value

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
        self._edit((field := _field(name, value))[0])
        self.fields.append(field)

    def prepend(self, name: str, value: str) -> None:
        """Puts a row on top of all others."""
        self._edit((field := _field(name, value))[0])
        self.fields.insert(0, field)

    def add_lines(self, key: str, lines: Iterable[str]) -> None:
        """Appends whole rows of another message as they are."""
        self._edit(key)
        self.fields += [(key, line) for line in lines]

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
            try:
                delattr(self, view)
            except AttributeError:  # was never read
                continue

    def to_bytes(self, top: str = "") -> bytes:
        """The message for the wire, with the row `top` above its own. Content-Length is set right; rows that were not
        edited are as they came."""
        body = self.body
        start = f"{self._start_line()}\r\n{top}" if top else self._start_line()
        length = f"Content-Length: {len(body)}"
        keys, lines = zip(*self.fields, strict=True) if self.fields else ((), ())
        if "content-length" in keys:
            text = "\r\n".join((start, *self._with_length(length), "\r\n"))
        else:
            text = "\r\n".join((start, *lines, length, "\r\n"))
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
        raise NotImplementedError


class Request(Message):
    """`uri` is the Request-URI as text, `request_uri` the same read."""

    __slots__ = ("method", "request_uri", "uri")

    method: str
    uri: str
    request_uri: Uri

    def __init__(self, method: str, uri: str, fields: list[Field], body: bytes = b"") -> None:
        self.method = method
        self.uri = uri
        self.fields = fields
        self.body = body

    def _start_line(self) -> str:
        return f"{self.method} {self.uri} SIP/2.0"

    def mark_source(self, host: str, port: int) -> None:
        """Writes where the request came from into its topmost Via: `received` (18.2.1) and `rport` (RFC 3581 4).

        Nothing changes when the sender asks for no port and its sent-by says the same host. Else its text is kept and
        added to, unless it claims a `received` of its own.
        """
        via = self.via
        row = self.first_lines["via"]
        found = row.find(";rport")
        if (
            found > 0
            and row[found + 6 : found + 7] in ("", ";")
            and row.find(";rport", found + 6) < 0
            and "received" not in row
            and "," not in row
            and "\n" not in row
        ):
            via.came_from(host, port)
            self._put_via(row, row.replace(";rport", f";rport={port}").rstrip(BLANKS) + f";received={host}")
            return
        params = via.params
        wants_port = "rport" in params
        if not wants_port and "received" not in params and via.host == host:
            return
        plain = not wants_port and "received" not in params and "," not in row and "\n" not in row
        params["received"] = host
        if wants_port:
            params["rport"] = str(port)
        if plain or via.host == UNREADABLE:
            self._put_via(row, row.rstrip(BLANKS) + f";received={host}")
        else:
            self._put_via(row, f"Via: {', '.join([str(via), *split(value_of(row), ',')[1:]])}")

    def _put_via(self, old: str, new: str) -> None:
        """Puts a row in the place of the topmost Via. Not `_edit`: all views but this one are still right."""
        self.fields[self.fields.index(("via", old))] = ("via", new)
        self.first_lines["via"] = new

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.uri}>"


class Response(Message):
    __slots__ = ("reason", "status")

    status: int
    reason: str

    def __init__(self, status: int, reason: str, fields: list[Field], body: bytes = b"") -> None:
        self.status = status
        self.reason = reason
        self.fields = fields
        self.body = body

    def _start_line(self) -> str:
        return f"SIP/2.0 {self.status} {self.reason}"

    def __repr__(self) -> str:
        return f"<Response {self.status} {self.reason}>"


def _field(name: str, value: str) -> Field:
    return known_key(name) or key_of(name), f"{name}: {one_line(value)}"


# ---- reading


def parse(data: bytes) -> Request | Response:
    """Reads one datagram, or one message that `framing` cut out of a stream.

    Raises ParseError: 400, 505 for another version of SIP, 513 for more than MAX_SIZE octets. Octets behind the
    Content-Length are ignored (18.3).
    """
    if len(data) > MAX_SIZE:
        raise ParseError(513, "Message Too Large")
    if data[:1] in (b"\r", b"\n"):
        data = data.lstrip(b"\r\n")
    head, _, body = data.partition(b"\r\n\r\n")
    text = head.decode("utf-8", "surrogateescape")
    lines = text.split("\r\n")
    breaks = len(lines) - 1
    problem = None
    if text.count("\n") != breaks or text.count("\r") != breaks:
        lines, body, problem = repair(data)
    start = lines.pop(0)
    try:
        names = [line[: line.index(":")] for line in lines]
        known = list(map(known_key, names))
        keys = [key or rare_key(name) for key, name in zip(known, names, strict=True)] if None in known else known
        fields: list[Field] = list(zip(keys, lines, strict=True))  # type: ignore[arg-type]  # no None is left
        if len(fields) > MAX_HEADERS:
            problem = "Too many headers"
    except ValueError:
        fields, trouble = careful_fields(lines)
        problem = problem or trouble
    message: Request | Response
    if start[:8] == "SIP/2.0 ":
        read = _status_line if len(start) <= LONGEST_REMEMBERED else _status_line.__wrapped__
        message = Response(*read(start), fields)
    else:
        parts = start.split(" ")
        if len(parts) == 3 and parts[2] == "SIP/2.0" and parts[0] in METHODS:
            message = Request(parts[0], parts[1], fields)
        else:
            message = _careful_start(start, fields)
    message.body, trouble = _cut(message, body)
    problem = problem or trouble
    if problem:
        raise ParseError(400, problem, _answerable(message))
    return message


@lru_cache(maxsize=512)
def _status_line(start: str) -> tuple[int, str]:
    """Status and reason. Nearly all are `SIP/2.0 200 OK`, so those seen lately are remembered."""
    status, _, reason = start[8:].lstrip(" ").partition(" ")
    if len(status) != 3 or not "100" <= status <= "699" or not (status.isascii() and status.isdigit()):
        raise ParseError(400, "Malformed status line")
    return int(status), reason


def _careful_start(start: str, fields: list[Field]) -> Request | Response:
    """Start lines with other methods, other versions, more blanks than one (read, never passed on), or noise."""
    parts = [part for part in start.replace("\t", " ").split(" ") if part]
    if not parts:
        raise ParseError(400, "No start line")
    if parts[0][:4].upper() == "SIP/":
        if parts[0].upper() != "SIP/2.0":
            raise ParseError(505, "Version Not Supported")
        return Response(*_status_line.__wrapped__("SIP/2.0 " + " ".join(parts[1:])), fields)
    version = parts[-1].upper()
    if len(parts) < 3 or version[:4] != "SIP/" or not is_token(parts[0]):
        raise ParseError(400, "Malformed request line")
    message = Request(parts[0], " ".join(parts[1:-1]), fields)
    if version != "SIP/2.0":
        raise ParseError(505, "Version Not Supported", _answerable(message))
    if len(parts) > 3:
        raise ParseError(400, "Malformed request line", _answerable(message))
    return message


def _cut(message: Message, body: bytes) -> tuple[bytes, str | None]:
    """The body as Content-Length has it, or what is wrong with that (18.3, 20.14)."""
    first = message.first_lines = dict(reversed(message.fields))
    line = first.get("content-length")
    if line is None:
        return body, None
    twice = len(first) != len(message.fields)
    if line == f"Content-Length: {len(body)}" and not twice:  # as nearly everybody writes it
        return body, None
    length = digits(value_of(line), MAX_SIZE)
    if length is None:
        return body, "Malformed Content-Length"
    if twice and {digits(value, MAX_SIZE) for value in message.values("content-length")} != {length}:
        return body, "Contradictory Content-Length"
    if length > len(body):
        return body, "Content-Length larger than the body"
    return body[:length] if length < len(body) else body, None


def _answerable(message: Message) -> Request | None:
    """The message when it can be answered. Its `via` is always readable: a broken one leads back to the source."""
    if not isinstance(message, Request) or message.method == "ACK":
        return None
    first = message.first_lines
    for key in _MANDATORY:
        if key not in first:
            return None
    try:
        message.via  # noqa: B018  # fills the slot
    except ParseError:
        message.via = Via("UDP", UNREADABLE, None, {"rport": None})
    return message


# ---- checking


def check(message: Request | Response) -> None:
    """Reads everything that the stack will rely on (8.2.2, 16.3); raises ParseError 400 or 416.

    Tolerated: no Max-Forwards, no branch, no From tag (RFC 2543); headers that nobody here needs, whatever they hold.
    """
    try:
        _check_common(message)
        if isinstance(message, Request):
            _check_request(message)
        else:
            _check_response(message)
    except ParseError as error:
        error.partial = _answerable(message)
        raise


def _check_common(message: Message) -> None:
    fields = message.fields
    first = message.first_lines
    if len(first) != len(fields):
        seen: set[str] = set()
        for key, _ in fields:
            if key in _SINGLE:
                if key in seen:
                    raise ParseError(400, f"More than one {key}")
                seen.add(key)
    try:
        via_row, from_row, to_row = first["via"], first["from"], first["to"]
        cseq_row, call_id_row = first["cseq"], first["call-id"]
    except KeyError as error:
        raise ParseError(400, f"Missing {_MANDATORY[error.args[0]]}") from None
    # The slots are filled here and not by __getattr__: a microsecond each, on every message.
    via = message.via = Via.plain(via_row, via_row.find(":") + 1) or via_of(message)
    # Of From and To nobody wants more than the tags, mostly: the address is made when it is asked for.
    tag = _tag_of(from_row) if len(from_row) <= LONGEST_REMEMBERED else None
    if tag is None:
        message.from_ = from_of(message)
    else:
        message.from_tag = tag or None
    tag = _tag_of(to_row) if len(to_row) <= LONGEST_REMEMBERED else None
    if tag is None:
        message.to = to_of(message)
    else:
        message.to_tag = tag or None
    message.cseq = (CSeq.of_row(cseq_row) if len(cseq_row) <= LONGEST_REMEMBERED else None) or cseq_of(message)
    if via.protocol != "SIP/2.0":
        raise ParseError(400, "Malformed Via")
    if "," in via_row:
        for value in split(value_of(via_row), ","):  # where one ends is known only when all can be read
            Via.parse(value)
    call_id = message.call_id = value_of(call_id_row)
    if not call_id:
        raise ParseError(400, "Malformed Call-ID")


def _check_request(request: Request) -> None:
    first = request.first_lines
    if request.cseq.method != request.method:
        raise ParseError(400, "CSeq method does not match")
    line = first.get("max-forwards")
    if line is not None:
        hops = request.max_forwards = digits(value_of(line), MAX_NUMBER)
        if hops is None:
            raise ParseError(400, "Malformed Max-Forwards")
    if "contact" in first:
        _check_contact(request)
    if "route" in first:
        request.routes  # noqa: B018
    if "record-route" in first:
        request.record_routes  # noqa: B018
    if len(request.uri) <= LONGEST_REMEMBERED and Uri.is_plain(request.uri):
        return
    uri = request.request_uri
    if uri.scheme not in _SCHEMES:
        raise ParseError(416, "Unsupported URI Scheme")
    if uri.headers:  # 19.1.1 forbids them here; nothing may ever turn them into headers
        raise ParseError(400, "Headers in the Request-URI")


def _check_contact(message: Message) -> None:
    """Reads every Contact; the one that nearly everybody sends is only looked at, for few messages' Contact is used."""
    row = message.first_lines["contact"]
    plain = len(message.first_lines) == len(message.fields) and len(row) <= LONGEST_REMEMBERED
    if not plain or NameAddr.uri_of_row(row) is None:
        contacts = message.contacts = contacts_of(message)
        message.contact = contacts[0] if contacts else None


def _check_response(response: Response) -> None:
    first = response.first_lines
    try:
        if "contact" in first:
            _check_contact(response)
        if "record-route" in first:
            response.record_routes  # noqa: B018
    except ParseError:
        if response.status < 300:
            raise
        response.contacts, response.contact, response.record_routes = [], None, []  # a refusal is one all the same
