"""SIP, SIPS and tel URIs: RFC 3261 section 19.1, RFC 3966, IPv6 references as RFC 5118 and RFC 5954 want them.

Escapes are kept as they came: nothing here unescapes by itself, so nothing is ever unescaped twice. `unescape` does it
once, for a reader. Other schemes are kept whole (`host` is what follows the colon) so that a header that carries one
can be read and passed on. Does not resolve (RFC 3263 is `net.resolver`).
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from urllib.parse import quote, unquote

from pbxcore.sip.errors import ParseError

Params = dict[str, str | None]

# One character class each and no repetition that could overlap: linear on any input.
_forbidden = re.compile(r'[\x00-\x20\x7f<>"]').search
_hostname = re.compile(r"[A-Za-z0-9._-]+").fullmatch
_ipv6 = re.compile(r"[0-9A-Fa-f:.]+").fullmatch
_scheme = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*").fullmatch
_number = re.compile(r"[0-9A-Fa-f+*#().-]+").fullmatch
_escape = re.compile(r"%[0-9A-Fa-f]{2}")

# What nearly every URI looks like; anything else is read by hand. Possessive throughout: no attempt is made twice.
PLAIN = (
    r"(sips?):(?:([A-Za-z0-9_.!~*'()&=+$,;?/%-]++)@)?([A-Za-z0-9._-]++)(?::([0-9]{1,5}+))?"
    r"(;[A-Za-z0-9_.!~*'()\[\]/:&+$=;-]*+)?"
)
"""Groups: scheme, user, host, port, parameters with their first semicolon."""
_plain = re.compile(PLAIN).fullmatch

_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.!~*'()")
# A parameter of these in only one of two URIs makes them differ (19.1.4); transport follows from the RFC's examples.
_DECISIVE = ("user", "ttl", "method", "maddr", "transport")
_bare_user = re.compile(r"[A-Za-z0-9_.!~*'()&=+$,;?/-]*").fullmatch
_SEPARATORS = str.maketrans("", "", "-.()")


def unescape(text: str) -> str:
    """`text` with every %HH replaced, once; octets that are no UTF-8 become surrogates. A broken escape stays."""
    return unquote(text, "utf-8", "surrogateescape") if "%" in text else text


def escape_user(text: str) -> str:
    """`text` as the user part of a SIP URI."""
    if _bare_user(text):
        return text
    return quote(text, safe="-_.!~*'()&=+$,;?/", encoding="utf-8", errors="surrogateescape")


def escape_param(text: str) -> str:
    """`text` as the value of a URI parameter."""
    return quote(text, safe="-_.!~*'()[]/:&+$", encoding="utf-8", errors="surrogateescape")


def escape_header(text: str) -> str:
    """`text` as the value of a header inside a URI, such as Replaces in a Refer-To."""
    return quote(text, safe="-_.!~*'()[]/?:+$", encoding="utf-8", errors="surrogateescape")


def normalize(text: str) -> str:
    """The form in which two spellings of the same escaped text are equal (19.1.4): unreserved characters bare."""
    return _escape.sub(_bare, text) if "%" in text else text


def _bare(match: re.Match[str]) -> str:
    char = chr(int(match[0][1:], 16))
    return char if char in _UNRESERVED else match[0].upper()


def split_host(text: str) -> tuple[str, int | None]:
    """Host (IPv6 without its brackets) and port of `host[:port]`; ParseError 400 when it is neither."""
    if text[:1] == "[":
        host, bracket, port = text[1:].partition("]")
        colon = port[:1]
        port = port[1:]
        # RFC 5118 4.10: three colons in a row come from the ABNF of RFC 3261; read, compared as two.
        if not bracket or ":" not in host or not _ipv6(host) or (colon and colon != ":"):
            raise ParseError(400, "Malformed host")
    else:
        host, colon, port = text.partition(":")
        if not _hostname(host):
            raise ParseError(400, "Malformed host")
    if not port:  # a bare colon is nobody's port
        return host, None
    if len(port) < 6 and port.isdigit() and port.isascii():
        number = int(port)
        if number < 65536:
            return host, number
    raise ParseError(400, "Malformed port")


def join_host(host: str, port: int | None) -> str:
    """`host[:port]` with the brackets that IPv6 needs."""
    if ":" in host:
        host = f"[{host}]"
    return host if port is None else f"{host}:{port}"


def same_host(one: str, other: str) -> bool:
    """Host equality: names without case, IPv6 by value (RFC 5954 4)."""
    if one == other:
        return True
    if ":" in one and ":" in other:
        try:
            return IPv6Address(one.replace(":::", "::")) == IPv6Address(other.replace(":::", "::"))
        except ValueError:
            return one.lower() == other.lower()
    return one.lower() == other.lower()


class Uri:
    """One URI. User, password, parameter values and headers are in their escaped form, as on the wire.

    `params` and `headers` have lower-case names in the order of the text; a parameter without a value is None.
    A tel URI has its number in `user` and an empty host; any other scheme has everything in `host`.
    """

    __slots__ = ("headers", "host", "params", "password", "port", "scheme", "user")

    def __init__(
        self,
        scheme: str,
        user: str | None,
        host: str,
        port: int | None = None,
        params: Params | None = None,
        headers: dict[str, str] | None = None,
        password: str | None = None,
    ) -> None:
        self.scheme = scheme
        self.user = user
        self.password = password
        self.host = host
        self.port = port
        self.params: Params = {} if params is None else params
        self.headers: dict[str, str] = {} if headers is None else headers

    @classmethod
    def parse(cls, text: str) -> Uri:
        """Reads one URI without white space around it; ParseError 400 when it is none."""
        match = _plain(text)
        if match is not None:
            return cls.plain(*match.groups())
        if _forbidden(text):
            raise ParseError(400, "Malformed URI")
        scheme, _, rest = text.partition(":")
        if scheme != "sip" and scheme != "sips":
            scheme = scheme.lower()
            if scheme != "sip" and scheme != "sips":
                return _other(scheme, rest)
        user = password = None
        at = rest.find("@")
        if at >= 0:
            end = _host_end(rest, at)
            second = rest.rfind("@", at + 1, end)  # user@domain@host: seen in the field, the last one counts
            if second > 0:
                at = second
            user = rest[:at]
            rest = rest[at + 1 :]
            if ":" in user:
                user, _, password = user.partition(":")
        headers: dict[str, str] = {}
        if "?" in rest:
            rest, _, tail = rest.partition("?")
            headers = _headers(tail)
        rest, semicolon, tail = rest.partition(";")
        params = _params(tail) if semicolon else {}
        host, port = split_host(rest)
        return cls(scheme, user, host, port, params, headers, password)

    @classmethod
    def plain(cls, scheme: str, user: str | None, host: str, port: str | None, tail: str | None) -> Uri:
        """From the groups of PLAIN."""
        params: Params = {}
        if tail is not None:
            add_params(params, tail)
        if port is None:
            return cls(scheme, user, host, None, params)
        number = int(port)
        if number > 65535:
            raise ParseError(400, "Malformed port")
        return cls(scheme, user, host, number, params)

    def __str__(self) -> str:
        tail = "".join([f";{name}" if value is None else f";{name}={value}" for name, value in self.params.items()])
        if self.headers:
            tail += "?" + "&".join([f"{name}={value}" for name, value in self.headers.items()])
        if self.scheme != "sip" and self.scheme != "sips":
            return f"{self.scheme}:{self.user or ''}{self.host}{tail}"
        sent_to = join_host(self.host, self.port)
        if self.user is None:
            return f"{self.scheme}:{sent_to}{tail}"
        if self.password is None:
            return f"{self.scheme}:{self.user}@{sent_to}{tail}"
        return f"{self.scheme}:{self.user}:{self.password}@{sent_to}{tail}"

    def __repr__(self) -> str:
        return f"Uri({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        """The same parts, letter by letter; what RFC 3261 calls equal is `equivalent`."""
        if not isinstance(other, Uri):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in Uri.__slots__)

    __hash__ = None  # type: ignore[assignment]  # mutable: use str() or aor() as a key

    @property
    def username(self) -> str:
        """The user part, unescaped once, without the parameters that some put into it; empty when there is none."""
        user = self.user or ""
        if ";" in user:
            user = user.partition(";")[0]
        return unescape(user) if "%" in user else user

    def aor(self) -> str:
        """The address of record as a key: scheme, user and host alone, in one spelling (10.3 step 5)."""
        if self.scheme == "tel":
            return f"tel:{(self.user or '').translate(_SEPARATORS).lower()}"
        host = join_host(self.host.lower(), None)
        return f"{self.scheme}:{host}" if self.user is None else f"{self.scheme}:{normalize(self.user)}@{host}"

    def header(self, name: str) -> str | None:
        """A header of the URI, unescaped once (Replaces in a Refer-To)."""
        value = self.headers.get(name.lower())
        return None if value is None else unescape(value)

    def equivalent(self, other: Uri) -> bool:
        """Equality of RFC 3261 19.1.4 (sip, sips), of RFC 3966 5 (tel), of the text (others)."""
        if self.scheme != other.scheme:
            return False
        if self.scheme == "tel":
            if self.aor() != other.aor() or len(self.params) != len(other.params):
                return False
            return _folded(self.params) == _folded(other.params)
        if self.scheme not in ("sip", "sips"):
            return self.host == other.host
        return (
            normalize(self.user or "") == normalize(other.user or "")
            and (self.user is None) == (other.user is None)
            and normalize(self.password or "") == normalize(other.password or "")
            and self.port == other.port
            and same_host(self.host, other.host)
            and _same_params(self.params, other.params)
            and {name: normalize(value) for name, value in self.headers.items()}
            == {name: normalize(value) for name, value in other.headers.items()}
        )


def _host_end(text: str, start: int) -> int:
    """Where the host that begins after `start` ends."""
    end = len(text)
    for mark in ";?":
        found = text.find(mark, start)
        if 0 <= found < end:
            end = found
    return end


def add_params(params: Params, text: str) -> None:
    """Adds `;name=value;name` (no quotes, blanks, escaped names). Lower-case names; the first of a name counts."""
    for param in text[1:].split(";"):
        name, equals, value = param.partition("=")
        name = name.lower()
        if name and name not in params:
            params[name] = value if equals else None


def _params(text: str) -> Params:
    params: Params = {}
    for param in text.split(";"):
        name, equals, value = param.partition("=")
        if "%" in name:  # esc01 of RFC 4475: %6C%72 is lr
            name = normalize(name)
        if name:
            params.setdefault(name.lower(), value if equals else None)
    return params


def _headers(text: str) -> dict[str, str]:
    headers: dict[str, str] = {}
    for header in text.split("&"):
        name, _, value = header.partition("=")
        name = normalize(name).lower()
        if name in headers:
            headers[name] += "%2C" + value  # two rows of a header are one row with a comma
        elif name:
            headers[name] = value
    return headers


def _other(scheme: str, rest: str) -> Uri:
    if not _scheme(scheme) or not rest:
        raise ParseError(400, "Malformed URI")
    if scheme != "tel":
        return Uri(scheme, None, rest)
    number, semicolon, tail = rest.partition(";")
    if not _number(number):
        raise ParseError(400, "Malformed telephone number")
    return Uri("tel", number, "", None, _params(tail) if semicolon else {})


def _folded(params: Params) -> dict[str, str]:
    return {name: normalize(value or "").lower() for name, value in params.items()}


def _same_params(one: Params, other: Params) -> bool:
    if not one and not other:
        return True
    ours, theirs = _folded(one), _folded(other)
    if any((name in ours) != (name in theirs) for name in _DECISIVE):
        return False
    return all(theirs.get(name, value) == value for name, value in ours.items())
