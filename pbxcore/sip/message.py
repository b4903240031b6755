"""SIP messages: RFC 3261 section 7.

`parse` keeps every header row byte for byte and in order. A message as nearly all are is read and checked there at
once: its mandatory headers are plain attributes then (`Checked`). Any other is read by hand, and nothing in it is
understood before somebody asks; `check` reads all views that the stack relies on, so that a message that passed it
raises nothing later. No transaction, dialog or transport is known here.
"""

from __future__ import annotations

from pbxcore.sip import views
from pbxcore.sip.base import MAX_SIZE, Message
from pbxcore.sip.checks import MANDATORY, check_common, check_request, check_response, doubled
from pbxcore.sip.errors import ParseError
from pbxcore.sip.headers import (
    BLANKS,
    MAX_HEADERS,
    METHODS,
    WS,
    Via,
    digits,
    is_token,
    split,
)
from pbxcore.sip.repair import careful_fields, repair
from pbxcore.sip.rows import (
    ADDRESSES,
    CONTACTS,
    CSEQS,
    FIELDS,
    NUMBERS,
    SENT_BY,
    STARTS,
    TAGS,
    TAILS,
    Field,
    branch_of,
    is_status,
    usual,
    value_of,
)
from pbxcore.sip.views import STALE, View

__all__ = ["MAX_HEADERS", "MAX_SIZE", "Field", "Message", "ParseError", "Request", "Response", "check", "parse"]

UNREADABLE = "unreadable.invalid"
"""The host of a Via that could not be read, in the `partial` of a ParseError."""


class Request(Message):
    """`uri` is the Request-URI as text, `request_uri` the same read; that is not to be changed."""

    __slots__ = ("method", "uri")

    method: str
    uri: str
    request_uri = View(views.request_uri_of)

    def __init__(self, method: str, uri: str, fields: list[Field], body: bytes = b"") -> None:
        self.method = method
        self.uri = uri
        self.fields = fields
        self.body = body
        self.seen = {}

    def _start_line(self) -> str:
        return f"{self.method} {self.uri} SIP/2.0"

    def mark_source(self, host: str, port: int) -> None:
        """Writes where the request came from into its topmost Via: `received` (18.2.1) and `rport` (RFC 3581 4).

        Nothing changes when the sender asks for no port and its sent-by says the same host. Else its text is kept and
        added to, unless it claims a `received` of its own.
        """
        row = self.first_lines["via"]
        before, rport, after = row.partition(";rport")
        if (
            rport
            and after[:1] in ("", ";")
            and ";rport" not in after
            and "received" not in row
            and "," not in row
            and "\n" not in row
        ):
            if "via" in self.seen:
                self.via.came_from(host, port)
            self._put_via(row, f"{before};rport={port}{after.rstrip(BLANKS)};received={host}")
            return
        via = self.via
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
        self.seen = {}

    def _start_line(self) -> str:
        return f"SIP/2.0 {self.status} {self.reason}"

    def __repr__(self) -> str:
        return f"<Response {self.status} {self.reason}>"


class Checked(Message):
    """A message that `parse` found to be as nearly all are: what its slots name is read, and `check` has nothing to do.

    An edit that takes a mandatory header away, or makes it unreadable, raises ParseError.
    """

    __slots__ = ()

    head: str
    unrepeated: bool

    @View
    def fields(self) -> list[Field]:
        """The rows are listed when somebody asks."""
        fields = [FIELDS.read(line) for line in self.head.split("\r\n")[1:]]
        fields[0] = ("via", self.first_lines["via"])  # `mark_source` may have changed it
        return fields

    def _edit(self, key: str) -> None:
        super()._edit(key)
        for name in ("first_lines", *STALE.get(key, ())):
            if name in self.__slots__:
                setattr(self, name, Message.__dict__[name].read(self))
        self.unrepeated = len(self.first_lines) == len(self.fields)  # type: ignore[misc]  # a slot of the classes below


_READ = (
    "branch", "call_id", "cseq", "first_lines", "from_tag", "head", "sent_by", "to_tag", "unrepeated",
)  # fmt: skip


class CheckedRequest(Checked, Request):
    __slots__ = (*_READ, "request_uri")

    def _put_via(self, old: str, new: str) -> None:
        if "fields" in self.seen:
            super()._put_via(old, new)
        else:
            self.first_lines["via"] = new


class CheckedResponse(Checked, Response):
    __slots__ = _READ


# ---- reading


def parse(data: bytes) -> Request | Response:
    """Reads one datagram, or one message that `framing` cut out of a stream.

    Raises ParseError: 400, 505 for another version of SIP, 513 for more than MAX_SIZE octets. Octets behind the
    Content-Length are ignored (18.3).
    """
    return _read(data) or _read_by_hand(data)


def _read(data: bytes) -> CheckedRequest | CheckedResponse | None:
    """The message read and checked in one go, its rows understood by their text alone; None says nothing."""
    head, _, body = data.partition(b"\r\n\r\n")
    if len(data) > MAX_SIZE:
        return None
    try:
        text = head.decode()
        read = _as_usual(text, body) or _row_by_row(text, body)
    except (KeyError, ValueError):
        return None
    if read is None:
        return None
    line, first, fields, before, branch, from_tag, to_tag, call_id = read
    start = STARTS[line]
    sent_by = SENT_BY[before]
    cseq = CSEQS[first["cseq"]]
    if start is None or sent_by is None or cseq is None:
        return None
    status, method, what, uri = start
    # The same is said of both, each in lines of its own: a line remembers where one class has its slots (PEP 659).
    message: CheckedRequest | CheckedResponse
    if status:
        response = message = _new(CheckedResponse)
        response.status = status
        response.reason = what
        response.head = text
        response.body = body
        response.seen = {}
        response.first_lines = first
        response.unrepeated = True
        response.branch = branch
        response.sent_by = sent_by
        response.cseq = cseq
        response.from_tag = from_tag
        response.to_tag = to_tag
        response.call_id = call_id
    elif method == cseq.method:
        request = message = _new(CheckedRequest)
        request.method = method
        request.uri = what
        request.request_uri = uri
        request.head = text
        request.body = body
        request.seen = {}
        request.first_lines = first
        request.unrepeated = True
        request.branch = branch
        request.sent_by = sent_by
        request.cseq = cseq
        request.from_tag = from_tag
        request.to_tag = to_tag
        request.call_id = call_id
    else:
        return None
    if fields is not None:
        message.fields = fields
        message.unrepeated = len(fields) == len(first)
        try:
            message.routes, message.record_routes  # noqa: B018
        except ParseError:
            return None
    return message


# Start line, the first row of each header, all rows where they have been listed, Via before its branch, branch, tags,
# Call-ID.
_Read = tuple[str, dict[str, str], list[Field] | None, str, str, str | None, str | None, str]


def _as_usual(text: str, body: bytes = b"") -> _Read | None:
    """The rows as nearly everybody orders them, those of the tail not one by one."""
    found = usual(text)
    if found is None:
        return None
    (
        line, via, before, branch, from_, caller, from_tag, to, called, to_tag, call_id, cseq, hops, contact, rest,
    ) = found.groups()  # fmt: skip
    tail = TAILS[rest]
    if tail is None or caller is None or called is None or call_id is None or cseq is None:
        return None
    length = tail.get("content-length")
    if (length is not None and NUMBERS[length] != len(body)) or ADDRESSES[caller] is None or ADDRESSES[called] is None:
        return None
    first = {
        "via": via,
        "from": f"From: {from_}",
        "to": f"To: {to}",
        "call-id": f"Call-ID: {call_id}",
        "cseq": f"CSeq: {cseq}",
        **tail,
    }
    if hops is not None:
        if "max-forwards" in tail:
            return None
        first["max-forwards"] = f"Max-Forwards: {hops}"
    if contact is not None:
        row = first["contact"] = f"Contact: {contact}"
        if "contact" in tail or CONTACTS[row] is None:
            return None
    return line, first, None, before, branch, from_tag, to_tag, call_id


def _row_by_row(text: str, body: bytes) -> _Read | None:
    """In any order, and doubled where they may be. KeyError or ValueError where something is missing or malformed."""
    lines = text.split("\r\n")
    joined = "".join(lines)
    if "\r" in joined or "\n" in joined or len(lines) > MAX_HEADERS:
        return None
    line = lines.pop(0)
    fields = list(map(FIELDS.__getitem__, lines))
    first = dict(fields)
    if len(first) != len(fields):
        if doubled(fields):
            return None
        first = dict(reversed(fields))
    before, _, behind = first["via"].partition(";branch=")
    branch = branch_of(behind)
    from_tag = TAGS[first["from"]]
    to_tag = TAGS[first["to"]]
    call_id = first["call-id"].partition(":")[2].strip(WS)
    length = first.get("content-length")
    if (
        branch is None
        or from_tag is None
        or to_tag is None
        or not call_id
        or (length is not None and NUMBERS[length] != len(body))
        or ("max-forwards" in first and NUMBERS[first["max-forwards"]] is None)
        or ("contact" in first and CONTACTS[first["contact"]] is None)
        or "cseq" not in first
    ):
        return None
    return line, first, fields, before, branch[1], from_tag or None, to_tag or None, call_id


def glance(data: bytes) -> tuple[str, str, str] | None:
    """Method, branch and the text of the sent-by of a request whose topmost Via is its second row: as `parse` reads
    them, without looking at the rest. None says nothing; nor is it said that the rest can be read."""
    rows = data.split(b"\r\n", 2)
    if len(rows) < 3:
        return None
    try:
        via = rows[1].decode()
        start = STARTS[rows[0].decode()]
    except ValueError:
        return None
    if start is None or start[0] or via[:4] != "Via:" or "\r" in via or "\n" in via:
        return None
    before, _, behind = via.partition(";branch=")
    branch = branch_of(behind)
    sent_by = SENT_BY[before]
    return None if branch is None or sent_by is None else (start[1], branch[1], sent_by.text)


_new = object.__new__


def _read_by_hand(data: bytes) -> Request | Response:
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
        fields = [FIELDS[line] for line in lines]
        if len(fields) > MAX_HEADERS:
            problem = "Too many headers"
    except ValueError:
        fields, trouble = careful_fields(lines)
        problem = problem or trouble
    message = _by_start(start, fields)
    message.body, trouble = _cut(message, body)
    problem = problem or trouble
    if problem:
        raise ParseError(400, problem, _answerable(message))
    return message


def _by_start(start: str, fields: list[Field]) -> Request | Response:
    """Start lines with other methods, other versions, more blanks than one (read, never passed on), or noise."""
    if start[:8] == "SIP/2.0 ":
        return Response(*_status_line(start), fields)
    words = start.split(" ")
    if len(words) == 3 and words[2] == "SIP/2.0" and words[0] in METHODS:
        return Request(words[0], words[1], fields)
    parts = [part for part in start.replace("\t", " ").split(" ") if part]
    if not parts:
        raise ParseError(400, "No start line")
    if parts[0][:4].upper() == "SIP/":
        if parts[0].upper() != "SIP/2.0":
            raise ParseError(505, "Version Not Supported")
        return Response(*_status_line("SIP/2.0 " + " ".join(parts[1:])), fields)
    version = parts[-1].upper()
    if len(parts) < 3 or version[:4] != "SIP/" or not is_token(parts[0]):
        raise ParseError(400, "Malformed request line")
    message = Request(parts[0], " ".join(parts[1:-1]), fields)
    if version != "SIP/2.0":
        raise ParseError(505, "Version Not Supported", _answerable(message))
    if len(parts) > 3:
        raise ParseError(400, "Malformed request line", _answerable(message))
    return message


def _status_line(start: str) -> tuple[int, str]:
    status, _, reason = start[8:].lstrip(" ").partition(" ")
    if not is_status(status):
        raise ParseError(400, "Malformed status line")
    return int(status), reason


def _cut(message: Message, body: bytes) -> tuple[bytes, str | None]:
    """The body as Content-Length has it, or what is wrong with that (18.3, 20.14)."""
    first = message.first_lines
    line = first.get("content-length")
    if line is None:
        return body, None
    twice = len(first) != len(message.fields)
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
    for key in MANDATORY:
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
    if isinstance(message, Checked):
        return
    try:
        check_common(message)
        if isinstance(message, Request):
            check_request(message)
        else:
            check_response(message)
    except ParseError as error:
        error.partial = _answerable(message)
        raise
