"""Header names and the values with a structure of their own: RFC 3261 sections 7.3, 20 and 25.

Name-addr (From, To, Contact, Route ...), Via and CSeq, each with a fast path for what phones send and a careful one for
what the torture tests send. Text comes in unfolded. Nothing here knows of messages, and nothing checks a dialog.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from pbxcore.sip.errors import ParseError
from pbxcore.sip.uri import PLAIN, Params, Uri, add_params, join_host, split_host

WS = " \t"
BLANKS = " \t\r\n"  # with folds

MAX_HEADERS = 256
"""Header rows of the largest message that is read; also the values of Via, Contact, Route or Record-Route in it."""

_COMPACT = {
    "a": "accept-contact", "b": "referred-by", "c": "content-type", "d": "request-disposition",
    "e": "content-encoding", "f": "from", "i": "call-id", "j": "reject-contact", "k": "supported",
    "l": "content-length", "m": "contact", "n": "identity-info", "o": "event", "r": "refer-to", "s": "subject",
    "t": "to", "u": "allow-events", "v": "via", "x": "session-expires", "y": "identity",
}  # fmt: skip

# The spellings that phones use, so that a name costs one dict look-up.
_SPELLINGS = """
Accept Accept-Encoding Accept-Language Alert-Info Allow Allow-Events Authorization Call-ID Call-Id Call-Info Contact
Content-Disposition Content-Encoding Content-Length Content-Type CSeq Cseq Date Diversion Event Expires From
Max-Forwards Min-Expires Min-SE MIME-Version P-Asserted-Identity P-Preferred-Identity Path Privacy Proxy-Authenticate
Proxy-Authorization Proxy-Require RAck Reason Record-Route Refer-To Referred-By Remote-Party-ID Replaces Reply-To
Require Retry-After Route RSeq Server Session-Expires Subject Subscription-State Supported Timestamp To Unsupported
User-Agent Via Warning WWW-Authenticate X-Hookline-Call
"""
_KEYS = {name: name.lower() for name in _SPELLINGS.split()}
_KEYS.update({key: key for key in list(_KEYS.values())})
for _letter, _long in _COMPACT.items():
    _KEYS[_letter] = _KEYS[_letter.upper()] = _KEYS.setdefault(_long, _long)
known_key = _KEYS.get

LISTS = frozenset(
    (
        "accept", "accept-contact", "accept-encoding", "accept-language", "alert-info", "allow", "allow-events",
        "call-info", "contact", "content-encoding", "content-language", "diversion", "error-info", "geolocation",
        "history-info", "in-reply-to", "p-asserted-identity", "p-associated-uri", "p-preferred-identity", "path",
        "proxy-require", "reason", "record-route", "reject-contact", "remote-party-id", "require", "route",
        "security-client", "security-server", "security-verify", "service-route", "supported", "unsupported", "via",
        "warning",
    )
)  # fmt: skip
"""Headers whose rows are comma-separated lists. Authorization and its kin have commas and are none (7.3.1)."""

METHODS = frozenset(
    ("INVITE", "ACK", "BYE", "CANCEL", "REGISTER", "OPTIONS", "INFO", "REFER", "NOTIFY", "SUBSCRIBE", "MESSAGE",
     "UPDATE", "PRACK", "PUBLISH")
)  # fmt: skip

# What nearly every value looks like, alone or behind the colon of its row (`fullmatch(row, start)`); anything else is
# read by hand. Possessive throughout: no attempt is made twice.
_PARAMS = r"(;[A-Za-z0-9.!%*_+`'~:\[\]/=;-]*+)?"
_plain_name_addr = re.compile(
    r'[ \t]*+(?:"([^"\\\x00-\x1f\x7f]*+)" ?+)?<' + PLAIN + r">(?:;tag=([A-Za-z0-9.!%*_+`'~-]++))?" + _PARAMS
).fullmatch
_plain_via = re.compile(r"[ \t]*+SIP/2\.0/(UDP|TCP|TLS|WSS?) ([A-Za-z0-9._-]++)(?::([0-9]{1,5}+))?" + _PARAMS).fullmatch
_plain_cseq = re.compile(r"[ \t]*+([0-9]{1,9}+) ([A-Z]++)").fullmatch

_token = re.compile(r"[A-Za-z0-9.!%*_+`'~-]+").fullmatch
_marks = re.compile(r'[",<>\\;]').finditer
_careful = re.compile(r'[\x00-\x20\x7f",<>]').search
_escaped = re.compile(r"\\(.)", re.DOTALL)
_breaks = str.maketrans("\r\n", "  ")


def key_of(name: str) -> str:
    """The long lower-case name of a header; ParseError 400 when it is no token. White space around it is none of it."""
    key = _KEYS.get(name)
    if key is None:
        name = name.strip(WS)
        if not _token(name):
            raise ParseError(400, "Malformed header name")
        name = name.lower()
        key = _KEYS.get(name, name)
    return key


def is_token(text: str) -> bool:
    return _token(text) is not None


def digits(text: str, limit: int) -> int | None:
    """A plain decimal number up to `limit`, else None: no sign, no blank, no digit of another script."""
    if len(text) > 40 or not text.isdigit() or not text.isascii():
        return None
    number = int(text)
    return number if number <= limit else None


def unfold(text: str) -> str:
    """A value with its folds made single blanks (7.3.1)."""
    return " ".join([part.strip(WS) for part in text.split("\r\n")]).strip(WS)


def one_line(text: str) -> str:
    """`text` without line breaks: what others say can never become a header of its own."""
    return text.translate(_breaks) if "\n" in text or "\r" in text else text


def quote(text: str) -> str:
    """`text` as a quoted-string."""
    return '"' + one_line(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def unquote(text: str) -> str:
    """A quoted-string without quotes and escapes; any other text as it is."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    text = text[1:-1]
    return _escaped.sub(r"\1", text) if "\\" in text else text


def split(text: str, separator: str) -> list[str]:
    """`text` cut at `separator` (comma or semicolon) outside of quoted strings and angle brackets; stripped parts."""
    if '"' not in text and "<" not in text:
        return [part.strip(WS) for part in text.split(separator)]
    parts: list[str] = []
    start = 0
    skip = -1
    quoted = bracketed = False
    for match in _marks(text):
        at = match.start()
        mark = text[at]
        if quoted:
            if at == skip:
                continue
            if mark == "\\":
                skip = at + 1
            elif mark == '"':
                quoted = False
        elif mark == '"' and not bracketed:
            quoted = True
        elif mark == "<":
            bracketed = True
        elif mark == ">":
            bracketed = False
        elif mark == separator and not bracketed:
            parts.append(text[start:at].strip(WS))
            start = at + 1
    parts.append(text[start:].strip(WS))
    return parts


def parse_params(text: str) -> Params:
    """`;name=value;name` as a dict with lower-case names; the first of a name counts, empty parameters are skipped.

    Values stay as they came, quotes included (`unquote`). ParseError 400 when the text does not start with a semicolon
    or a value holds what belongs outside of it.
    """
    params: Params = {}
    if not text:
        return params
    if text[0] != ";":
        raise ParseError(400, "Malformed parameters")
    if _careful(text):
        return _careful_params(text)
    add_params(params, text)
    return params


def _careful_params(text: str) -> Params:
    params: Params = {}
    for param in split(text[1:], ";"):
        name, equals, value = param.partition("=")
        name, value = name.rstrip(WS), value.strip(WS)
        if not name:
            if equals:
                raise ParseError(400, "Malformed parameter")
            continue
        if value[:1] == '"':
            if _quote_end(value) != len(value) - 1:
                raise ParseError(400, "Unbalanced quotes")
        elif _careful(value):
            raise ParseError(400, "Malformed parameter")
        if _careful(name):
            raise ParseError(400, "Malformed parameter")
        params.setdefault(name.lower(), value if equals else None)
    return params


def params_text(params: Params) -> str:
    return "".join([f";{name}" if value is None else f";{name}={value}" for name, value in params.items()])


def _quote_end(text: str) -> int:
    """Where the quoted string ends that `text` begins with; -1 when it does not end."""
    at = text.find('"', 1)
    while at >= 0:
        back = at - 1
        while text[back] == "\\":
            back -= 1
        if (at - back) % 2:  # an even number of backslashes before it
            return at
        at = text.find('"', at + 1)
    return -1


class CSeq(NamedTuple):
    number: int
    method: str

    @classmethod
    def parse(cls, text: str) -> CSeq:
        """`number method` (20.16). RFC 3261 asks for less than 2**31; some stacks count on to 2**32-1."""
        return cls.plain(text) or cls._by_hand(text)

    @classmethod
    def plain(cls, text: str, start: int = 0) -> CSeq | None:
        """The fast path; None says nothing. `start` is where the value begins, behind the colon of a whole row."""
        match = _plain_cseq(text, start)
        return cls(int(match[1]), match[2]) if match is not None else None

    @classmethod
    def _by_hand(cls, text: str) -> CSeq:
        number, _, method = text.replace("\t", " ").partition(" ")
        method = method.strip(" ")
        value = digits(number, 0xFFFFFFFF)
        if value is None or not _token(method):
            raise ParseError(400, "Malformed CSeq")
        return cls(value, method)

    def __str__(self) -> str:
        return f"{self.number} {self.method}"


class NameAddr:
    """A name-addr or an addr-spec with header parameters: From, To, Contact, Route, Refer-To and the like.

    `display` is unquoted, None when there is none. `params` are the header's own, with lower-case names.
    """

    __slots__ = ("display", "params", "uri")

    def __init__(self, uri: Uri, display: str | None = None, params: Params | None = None) -> None:
        self.uri = uri
        self.display = display
        self.params: Params = {} if params is None else params

    @classmethod
    def parse(cls, text: str) -> NameAddr:
        """Reads one value, unfolded; ParseError 400 when it is none.

        Read although no grammar allows it: no blank before `<`, blanks inside of `<>` (badaspec of RFC 4475), unquoted
        display names of any characters (baddn), empty parameters.
        """
        return cls.plain(text) or cls._by_hand(text)

    @classmethod
    def plain(cls, text: str, start: int = 0) -> NameAddr | None:
        """The fast path; None says nothing. `start` is where the value begins, behind the colon of a whole row."""
        match = _plain_name_addr(text, start)
        if match is None:
            return None
        display, scheme, user, host, port, inner, tag, outer = match.groups()
        params: Params = {}
        if tag is not None:
            params["tag"] = tag
        if outer is not None:
            add_params(params, outer)
        return cls(Uri.plain(scheme, user, host, port, inner), display, params)

    @staticmethod
    def plain_uri(text: str, start: int) -> str | None:
        """The URI alone, as text, of what `plain` would read. It is a SIP URI and has no headers."""
        match = _plain_name_addr(text, start)
        if match is None or ((port := match[5]) is not None and int(port) > 65535):
            return None
        at = match.start(2)
        return text[at : text.index(">", at)]

    @classmethod
    def _by_hand(cls, text: str) -> NameAddr:
        if text[:1] == '"':
            end = _quote_end(text)
            left = text.find("<", end)
            if end < 0 or left < 0 or text[end + 1 : left].strip(WS):
                raise ParseError(400, "Malformed display name")
            display: str | None = unquote(text[: end + 1])
        else:
            left = text.find("<")
            if left < 0:
                return cls._spec(text)
            display = text[:left].rstrip(WS) or None
            if display is not None and '"' in display:
                raise ParseError(400, "Unbalanced quotes")
        right = text.find(">", left)
        if right < 0:
            raise ParseError(400, "Unbalanced angle brackets")
        uri = text[left + 1 : right]
        if uri[:1] in WS or uri[-1:] in WS:
            uri = uri.strip(WS)
        tail = text[right + 1 :]
        return cls(Uri.parse(uri), display, parse_params(tail.strip(WS)) if tail else None)

    @classmethod
    def _spec(cls, text: str) -> NameAddr:
        """The form without brackets: what follows a semicolon is the header's; `,` and `?` need brackets (20.10)."""
        spec, semicolon, tail = text.partition(";")
        spec = spec.rstrip(WS)
        if "?" in spec or "," in spec:
            raise ParseError(400, "Address needs angle brackets")
        return cls(Uri.parse(spec), None, parse_params(semicolon + tail))

    @property
    def tag(self) -> str | None:
        return self.params.get("tag") or None

    def __str__(self) -> str:
        tail = params_text(self.params) if self.params else ""
        return f"<{self.uri}>{tail}" if self.display is None else f"{quote(self.display)} <{self.uri}>{tail}"

    def __repr__(self) -> str:
        return f"NameAddr({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NameAddr):
            return NotImplemented
        return self.uri == other.uri and self.display == other.display and self.params == other.params

    __hash__ = None  # type: ignore[assignment]  # mutable


class Via:
    """One Via value (20.42). `transport` is upper-case; IPv6 hosts are without brackets, `received` too."""

    __slots__ = ("_params", "_tail", "host", "port", "protocol", "transport")

    def __init__(
        self,
        transport: str,
        host: str,
        port: int | None = None,
        params: Params | None = None,
        protocol: str = "SIP/2.0",
    ) -> None:
        self.protocol = protocol
        self.transport = transport
        self.host = host
        self.port = port
        self._params = params
        self._tail: str | None = None  # the parameters, as text, until somebody asks for them

    @classmethod
    def parse(cls, text: str) -> Via:
        """Reads one value, unfolded; ParseError 400 when it is none."""
        return cls.plain(text) or cls._by_hand(text)

    @classmethod
    def plain(cls, text: str, start: int = 0) -> Via | None:
        """The fast path; None says nothing. `start` is where the value begins, behind the colon of a whole row."""
        match = _plain_via(text, start)
        if match is None:
            return None
        transport, host, port, tail = match.groups()
        number = None
        if port is not None and (number := int(port)) > 65535:
            return None
        via = cls(transport, host, number)
        via._tail = tail
        return via

    @classmethod
    def _by_hand(cls, text: str) -> Via:
        """White space around every mark (wsinv of RFC 4475), other protocols, other transports."""
        name, _, rest = text.partition("/")
        version, slash, rest = rest.partition("/")
        rest, semicolon, tail = rest.partition(";")
        transport, _, sent_by = rest.replace("\t", " ").strip(" ").partition(" ")
        name, version = name.strip(WS), version.strip(WS)
        if not (slash and _token(name) and _token(version) and _token(transport)):
            raise ParseError(400, "Malformed Via")
        sent_by = sent_by.strip(" ")
        if " " in sent_by:
            sent_by = ":".join([part.strip(" ") for part in sent_by.split(":")])
        host, port = split_host(sent_by)
        protocol = f"{name}/{version}".upper()
        return cls(transport.upper(), host, port, parse_params((semicolon + tail).strip(WS)), protocol)

    @property
    def params(self) -> Params:
        params = self._params
        if params is None:
            params = self._params = {}
            if self._tail is not None:
                add_params(params, self._tail)
        return params

    def came_from(self, host: str, port: int) -> None:
        """Adds `received` and the value of `rport`, where `params` has none of the two yet."""
        tail = self._tail
        if self._params is None and tail is not None:
            self._tail = tail.replace(";rport", f";rport={port}") + f";received={host}"
        else:
            self.params.update(rport=str(port), received=host)

    @property
    def branch(self) -> str | None:
        tail = self._tail
        if tail is not None and self._params is None and tail[:8] == ";branch=":  # where nearly everybody has it
            end = tail.find(";", 8)
            return (tail[8:] if end < 0 else tail[8:end]) or None
        return self.params.get("branch") or None

    @property
    def received(self) -> str | None:
        value = self.params.get("received")
        return value[1:-1] if value and value[0] == "[" and value[-1] == "]" else value or None  # RFC 5118 4.5

    @property
    def rport(self) -> int | None:
        """The port that the peer before us saw; `"rport" in params` says that the sender asks for it (RFC 3581)."""
        return digits(self.params.get("rport") or "", 65535)

    def __str__(self) -> str:
        tail = params_text(self.params) if self.params else ""
        return f"{self.protocol}/{self.transport} {join_host(self.host, self.port)}{tail}"

    def __repr__(self) -> str:
        return f"Via({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Via):
            return NotImplemented
        names = ("protocol", "transport", "host", "port", "params")
        return all(getattr(self, name) == getattr(other, name) for name in names)

    __hash__ = None  # type: ignore[assignment]  # mutable
