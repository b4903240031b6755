"""Digest authentication: RFC 3261 section 22, RFC 7616 and RFC 8760, for both sides.

The server offers SHA-256, then MD5, with qop=auth, and takes clients of RFC 2069, which know no qop (Cisco's SPA525G).
Its nonces are stateless: a time, a number, and an HMAC over both, the source address and the realm; what is remembered
is which nonce counts have been used, and only of those who proved that they know a password.

Known and unknown users take the same steps, word for word: who is unknown is checked against a dummy. Not here:
auth-int on the server's side, userhash, Authentication-Info, limits on attempts.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import algorithms_available
from hashlib import md5 as _md5
from hashlib import new as _new_hash
from hashlib import sha256 as _sha256

from pbxcore.sip.headers import one_line
from pbxcore.sip.message import Request

MAX_CREDENTIALS = 4096     # characters of one Authorization value
MAX_NONCES = 16384         # nonces whose counts are remembered
WINDOW = 64                # nonce counts that may arrive out of order (requests over UDP overtake each other)
MAX_COUNTERS = 64          # servers' nonces that the client side remembers

Hash = Callable[[str], str]


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def md5(text: str) -> str:
    return _md5(_octets(text), usedforsecurity=False).hexdigest()


def sha256(text: str) -> str:
    return _sha256(_octets(text)).hexdigest()


def sha512_256(text: str) -> str:
    return _new_hash("sha512_256", _octets(text)).hexdigest()


SERVER_HASHES: dict[str, Hash] = {"sha-256": sha256, "md5": md5}
CLIENT_HASHES: dict[str, Hash] = dict(SERVER_HASHES)   # the strongest first
if "sha512_256" in algorithms_available:   # OpenSSL's
    CLIENT_HASHES = {"sha-512-256": sha512_256, **SERVER_HASHES}


@dataclass(frozen=True, slots=True)
class Secret:
    """What is kept of a password for one user and realm: H(username:realm:password) by either hash, in hex."""

    md5: str = field(repr=False)
    sha256: str = field(repr=False)

    @classmethod
    def from_password(cls, username: str, realm: str, password: str) -> Secret:
        text = f"{username}:{realm}:{password}"
        return cls(md5(text), sha256(text))


@dataclass(frozen=True, slots=True)
class Granted:
    username: str


@dataclass(frozen=True, slots=True)
class Challenge:
    """To be answered 401 or 407 with `Authenticator.challenge`. `stale`: the same password will do with a new nonce."""

    stale: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """A wrong password, or a user who does not exist: nobody outside can tell which. `username` is what was claimed."""

    username: str


FRESH, STALE = Challenge(False), Challenge(True)


class Authenticator:
    """The server's side, for one secret of at least 16 octets. `clock` is in monotonic seconds."""

    def __init__(
        self,
        secret: bytes,
        clock: Callable[[], float],
        *,
        lifetime: float = 300.0,
        opaque: str = "",
        algorithms: Iterable[str] = ("SHA-256", "MD5"),
    ) -> None:
        """`lifetime` is how long a nonce may be used, in seconds; `algorithms` are offered in their order."""
        self._key = secret
        self._clock = clock
        self._lifetime = int(lifetime * 1000)
        self._opaque = f', opaque="{opaque}"' if opaque else ""
        self._algorithms = tuple(algorithms)
        self._accepted = frozenset(name.lower() for name in self._algorithms)
        self._number = 0
        self._floor = int(clock() * 1000)    # nonces from before are of an earlier life, whose counts are forgotten
        self._used: dict[str, list[int]] = {}   # nonce: [when made in ms, highest count, window of those below]
        dummy = hmac.digest(secret, b"nobody", "sha256").hex()
        self._nobody = Secret.from_password(dummy, dummy, dummy)

    def challenge(
        self, request: Request, source: str, realm: str, *, stale: bool = False, proxy: bool = False
    ) -> list[tuple[str, str]]:
        """The headers of a 401, or of a 407 with `proxy`. `source` is the IP address that the nonce is good for."""
        name = "Proxy-Authenticate" if proxy else "WWW-Authenticate"
        now = int(self._clock() * 1000)
        self._number += 1
        nonce = self._sealed(f"{now:012x}{self._number:08x}", source, realm)
        rest = f'realm="{realm}", nonce="{nonce}"{self._opaque}, qop="auth"{", stale=true" if stale else ""}'
        return [(name, f"Digest algorithm={algorithm}, {rest}") for algorithm in self._algorithms]

    def check(
        self,
        request: Request,
        source: str,
        realm: str,
        find: Callable[[str], Secret | None],
        *,
        proxy: bool = False,
    ) -> Granted | Challenge | Refused:
        """Who sent this? Never raises, whatever the header holds; `find` gives the secret of a username."""
        credentials = _credentials(request.values("proxy-authorization" if proxy else "authorization"), realm)
        if credentials is None:
            return FRESH
        given = _Given.of(credentials)
        if given is None or given.algorithm not in self._accepted:
            return FRESH
        made = self._age(given.nonce, source, realm)
        if made is None:
            return STALE
        secret = find(given.username)
        known = secret is not None
        expected = _expected(given, request.method, secret or self._nobody)
        matches = hmac.compare_digest(expected.encode(), _octets(given.response))
        if not (matches and known) or not _same_user(given.uri, request.uri):
            return Refused(given.username)
        if not self._first_use(given.nonce, made, given.count):
            return STALE
        return Granted(given.username)

    def _sealed(self, stamp: str, source: str, realm: str) -> str:
        seal = hmac.digest(self._key, _octets(f"{stamp} {source} {realm}"), "sha256")
        return stamp + seal[:16].hex()

    def _age(self, nonce: str, source: str, realm: str) -> int | None:
        """When this nonce was made, in ms; None if it is not ours, not for this source and realm, or too old."""
        stamp = nonce[:20]
        if not hmac.compare_digest(_octets(self._sealed(stamp, source, realm)), _octets(nonce)):
            return None
        made = int(stamp[:12], 16)
        now = int(self._clock() * 1000)
        return made if max(self._floor, now - self._lifetime) <= made <= now else None

    def _first_use(self, nonce: str, made: int, count: int) -> bool:
        """Notes a nonce count; False if it was used before. Without qop (count 0) a nonce is good for one request."""
        used = self._used.get(nonce)
        if used is None:
            self._make_room()
            self._used[nonce] = [made, count, 1]
            return True
        highest, window = used[1], used[2]
        if count > highest:
            used[1] = count
            used[2] = (window << min(count - highest, WINDOW) | 1) & ((1 << WINDOW) - 1)
            return highest > 0 and count > 0
        bit = 1 << (highest - count)
        if count <= 0 or highest - count >= WINDOW or window & bit:
            return False
        used[2] = window | bit
        return True

    def _make_room(self) -> None:
        """Forgets nonces that have expired; at the limit the oldest, and with it every nonce as old."""
        used = self._used
        oldest = int(self._clock() * 1000) - self._lifetime
        while used:
            nonce = next(iter(used))
            made = used[nonce][0]
            if made >= oldest and len(used) < MAX_NONCES:
                return
            if made >= oldest:
                self._floor = max(self._floor, made + 1)
            del used[nonce]


def respond(
    challenges: Iterable[str],
    method: str,
    uri: str,
    username: str,
    password: str,
    *,
    token: Callable[[], str],
    body: bytes = b"",
    nc_counter: dict[str, int],
) -> str | None:
    """The client's side: the value of Authorization for the strongest of the challenges; None if none is understood.

    `challenges` are the values of WWW-Authenticate or Proxy-Authenticate, `nc_counter` the counts of each nonce, which
    is kept from call to call and bounded here.
    """
    best: tuple[int, dict[str, str]] | None = None
    strength = {name: rank for rank, name in enumerate(CLIENT_HASHES)}
    for challenge in challenges:
        params = _params(challenge)
        if params is None or "nonce" not in params or "realm" not in params:
            continue
        rank = strength.get(params.get("algorithm", "MD5").lower().removesuffix("-sess"))
        if rank is not None and _qop(params) is not None and (best is None or rank < best[0]):
            best = rank, params
    if best is None:
        return None
    return _answer(best[1], method, uri, username, password, token(), body, nc_counter)


def _answer(
    params: dict[str, str],
    method: str,
    uri: str,
    username: str,
    password: str,
    cnonce: str,
    body: bytes,
    nc_counter: dict[str, int],
) -> str:
    algorithm = params.get("algorithm", "MD5")
    name = algorithm.lower()
    digest = CLIENT_HASHES[name.removesuffix("-sess")]
    realm, nonce = params["realm"], params["nonce"]
    qop = _qop(params) or ""
    a1 = digest(f"{username}:{realm}:{password}")
    if name.endswith("-sess"):
        a1 = digest(f"{a1}:{nonce}:{cnonce}")
    a2 = f"{method}:{uri}"
    if qop == "auth-int":
        a2 += ":" + digest(body.decode("utf-8", "surrogateescape"))
    parts = [f'Digest username="{username}", realm="{realm}", nonce="{nonce}", uri="{uri}"']
    if qop:
        count = _next_count(nonce, nc_counter)
        parts.append(f'qop={qop}, nc={count}, cnonce="{cnonce}"')
        response = digest(f"{a1}:{nonce}:{count}:{cnonce}:{qop}:{digest(a2)}")
    else:
        if name.endswith("-sess"):
            parts.append(f'cnonce="{cnonce}"')
        response = digest(f"{a1}:{nonce}:{digest(a2)}")
    parts.append(f'response="{response}"')
    if "algorithm" in params:
        parts.append(f"algorithm={algorithm}")
    if "opaque" in params:
        parts.append(f'opaque="{params["opaque"]}"')
    return one_line(", ".join(parts))


def _next_count(nonce: str, nc_counter: dict[str, int]) -> str:
    if nonce not in nc_counter and len(nc_counter) >= MAX_COUNTERS:
        del nc_counter[next(iter(nc_counter))]
    count = nc_counter[nonce] = nc_counter.get(nonce, 0) + 1
    return f"{count:08x}"


def _qop(params: dict[str, str]) -> str | None:
    """auth if it is offered, else auth-int; empty for a server of RFC 2069; None for what we cannot do."""
    if "qop" not in params:
        return ""
    offered = {name.strip().lower() for name in params["qop"].split(",")}
    return "auth" if "auth" in offered else "auth-int" if "auth-int" in offered else None


# name=value or name="quoted", with commas between. Possessive: no text is read twice.
_PAIR = r'([A-Za-z0-9_*-]++)\s*+=\s*+(?:"((?:[^"\\]++|\\.)*+)"|([^\s",]*+))\s*+(?:,[\s,]*+|$)'
_pairs = re.compile(_PAIR, re.DOTALL).findall
_is_pairs = re.compile(rf"[\s,]*+(?:{_PAIR})*+", re.DOTALL).fullmatch


def _params(value: str) -> dict[str, str] | None:
    """The parameters of a Digest challenge or of credentials; None for another scheme, nonsense, and doubles.

    Values come without their quotes, and with their escapes, as the hashes want them (RFC 7616 section 3.3, unq).
    """
    scheme, _, text = value.strip().partition(" ")
    if scheme.lower() != "digest" or len(text) > MAX_CREDENTIALS:
        return None
    if _is_pairs(text) is None:
        return None
    pairs = _pairs(text)
    params = {name.lower(): quoted or plain for name, quoted, plain in pairs}
    return params if len(params) == len(pairs) else None


def _credentials(values: list[str], realm: str) -> dict[str, str] | None:
    """The one set of credentials for our realm (a request may carry others for other realms); None for none or two."""
    found: dict[str, str] | None = None
    for value in values:
        params = _params(value)
        if params is None or params.get("realm") != realm:
            continue
        if found is not None:
            return None
        found = params
    return found


@dataclass(slots=True)
class _Given:
    """Credentials that have every part they need. `count` is 0 without qop."""

    username: str
    nonce: str
    uri: str
    response: str
    algorithm: str
    cnonce: str
    nc: str
    count: int

    @classmethod
    def of(cls, params: dict[str, str]) -> _Given | None:
        try:
            nc, count = "", 0
            if "qop" in params:
                nc = params["nc"]
                count = int(nc, 16) if 0 < len(nc) <= 8 and nc.isalnum() and nc.isascii() else 0
                if params["qop"].lower() != "auth" or count == 0:
                    return None
            return cls(
                params["username"], params["nonce"], params["uri"], params["response"].lower(),
                params.get("algorithm", "MD5").lower(), params["cnonce"] if nc else "", nc, count,
            )
        except (KeyError, ValueError):   # a part is missing; a count that is not hexadecimal
            return None


def _expected(given: _Given, method: str, secret: Secret) -> str:
    """RFC 7616 section 3.4.1, and RFC 2069 without qop."""
    digest = SERVER_HASHES[given.algorithm]
    a1 = secret.sha256 if given.algorithm == "sha-256" else secret.md5
    a2 = digest(f"{method}:{given.uri}")
    if given.count:
        return digest(f"{a1}:{given.nonce}:{given.nc}:{given.cnonce}:auth:{a2}")
    return digest(f"{a1}:{given.nonce}:{a2}")


def _same_user(signed: str, asked: str) -> bool:
    """Whether both URIs call the same user: else somebody on the way has changed where an INVITE goes.

    Hosts and parameters are left out: phones and proxies write them as they please.
    """
    return _user_of(signed) == _user_of(asked)


def _user_of(uri: str) -> str:
    scheme, _, text = uri.partition(":")
    user, at, rest = text.partition("?")[0].rpartition("@")
    if not at and scheme.lower() == "tel":
        return rest.partition(";")[0]
    return user
