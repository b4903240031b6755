"""Trunks: the carriers, known by address.

A call that comes from an address in `accept_from`, or from one of the trunk's servers, is that trunk's, and is not
challenged. A challenge from a trunk is answered with its credentials, and only to its own address: a phone that asks
for them gets nothing. Where its servers are and how they do is in `servers`, the registration in `registration`, who
calls and who is called in `identity`; `keeper` keeps all of it going.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pbxcore import profiles
from pbxcore.call.servers import Key, Servers
from pbxcore.sip import build
from pbxcore.sip.digest import respond
from pbxcore.sip.errors import SipError
from pbxcore.sip.layer import Flow
from pbxcore.sip.location import Server
from pbxcore.sip.message import Field, Request, Response
from pbxcore.sip.rows import URIS
from pbxcore.sip.uri import escape_user, join_host

if TYPE_CHECKING:
    from pbxcore.call.registration import Registration
    from pbxcore.profiles import TrunkProfile

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
SECURE = ("TLS", "WSS")


FlowTo = Callable[..., Flow]
"""Transport, host and port; for TLS also `domain`, whom the certificate must name, and `authorities`, by whose word."""


def _generic() -> TrunkProfile:
    return profiles.trunk("generic")


def never_lucky() -> float:
    """Chance, where nobody has given one: the order of the DNS."""
    return 0.0


@dataclass(slots=True, eq=False)
class Trunk:
    """One carrier. `host` is what its URIs name; `transport` and `port` are those of the settings. `address` is where
    that is when it is known from the start; what names stand for is told to `servers`. `max_calls` 0: no limit."""

    name: str
    transport: str
    host: str
    address: str
    port: int
    flow_to: FlowTo
    token: Callable[[], str]
    username: str = ""
    password: str = field(default="", repr=False)
    caller_id: str = ""
    max_calls: int = 0
    accept_from: Sequence[Network] = ()
    calls: int = 0
    auth_username: str = ""
    profile: TrunkProfile = field(default_factory=_generic)
    trusted: bool = False                 # what it says of callers is believed (RFC 3325)
    numbers: Collection[str] = ()         # ours, digits only: tells trunks of one carrier apart
    country: str = ""
    authorities: str = ""                 # file of the CAs that its certificate is checked by; empty: the office's
    proxy: str = ""                       # Route of an outbound proxy that wants to see itself named
    clock: Callable[[], float] = never_lucky
    chance: Callable[[], float] = never_lucky
    servers: Servers = field(default_factory=Servers)
    registration: Registration | None = None
    problem: str = ""                     # why its servers are not known, in words
    twins: bool = False                   # another trunk has the same servers
    _nonce_counts: dict[str, int] = field(default_factory=dict)
    numbers_read: dict[str, str] = field(default_factory=dict)   # as they were sent: as the dial plan has them

    def __post_init__(self) -> None:
        if self.address:
            self.servers = Servers.of(
                Server(self.transport or "UDP", self.address, self.port, self.host),
                down_after=self.profile.options_down_after,
            )

    # ---- the way there

    def flow(self, tried: Collection[Key] = ()) -> Flow:
        """The way for a call, to a server that is none of `tried`. Raises SipError 503 when there is none."""
        registration = self.registration
        if registration is not None and self.profile.calls_follow_registration:
            key = registration.at
            if key is None or key in tried:
                raise SipError(503, build.REASONS[503])
            candidates = [server for server in self.servers.all() if (server.transport, server.at) == key]
        else:
            candidates = self.servers.order(self.chance, self.clock(), tried)
        for server in candidates:
            try:
                return self.flow_of(server)
            except SipError as error:
                self.servers.failed((server.transport, server.at), self.clock(), str(error))
        raise SipError(503, build.REASONS[503])

    def flow_of(self, server: Server) -> Flow:
        """Raises SipError when there is no way to it."""
        return self._open(server.transport, server.address, server.port, server.name)

    def _open(self, transport: str, address: str, port: int, name: str) -> Flow:
        if transport in SECURE:   # RFC 5922 section 7.2: the name that was looked up, not what the DNS made of it
            return self.flow_to(transport, address, port, domain=name or self.host, authorities=self.authorities)
        return self.flow_to(transport, address, port)

    def again(self, transport: str, address: str, port: int) -> Flow:
        """The way of a dialog whose connection is gone, checked as the first time. Raises SipError."""
        return self._open(transport, address, port, self.host)

    def has_other(self, tried: Collection[Key]) -> bool:
        """Whether a server is left that a call has not been tried at."""
        try:
            self.flow(tried)
        except SipError:
            return False
        return True

    def unserved(self, flow: Flow, reason: str, response: Response | None = None) -> None:
        """A server did not take a call: no answer, no connection, or 503 (RFC 3263 section 4.3)."""
        self.servers.failed((flow.transport, flow.remote), self.clock(), reason, retry_after(response))

    def uri(self, number: str) -> str:
        """The Request-URI of a call to this number."""
        transport = "" if self.transport in ("", "UDP") else f";transport={self.transport.lower()}"
        return f"sip:{escape_user(number)}@{self.authority}{transport}"

    @property
    def route(self) -> tuple[str, ...]:
        """The Route of requests that begin something: the outbound proxy, then what the carrier said when it took our
        registration (RFC 3608 section 5)."""
        registered = self.registration.service_route if self.registration is not None else ()
        return (self.proxy, *registered) if self.proxy else registered

    @property
    def authority(self) -> str:
        """Host, and port where it is not the usual one, as URIs of this trunk have them."""
        usual = self.port in (0, 5060) or (self.transport in SECURE and self.port == 5061)
        return join_host(self.host, None if usual else self.port)

    def flow_for(self, uri: str, flow: Flow) -> Flow:
        """Where requests inside of a dialog go: to the next hop when it names an address that we can reach, else to
        where `flow` leads."""
        hop = URIS[uri]
        host = hop.host
        port = hop.port or (5061 if flow.transport in SECURE else 5060)
        if (host, port) == flow.remote or _inside(host, flow.remote[0]):
            return flow
        try:
            return self._open(flow.transport, host, port, self.host)
        except SipError:
            return flow

    # ---- who it is

    def full(self) -> bool:
        return bool(self.max_calls) and self.calls >= self.max_calls

    def owns(self, address: str) -> bool:
        """Whether a packet from this address is the carrier's."""
        if address in self.servers.addresses():
            return True
        source = ipaddress.ip_address(address)
        return any(source in network for network in self.accept_from)

    def authorize(self, request: Request, response: Response) -> Field | None:
        """The row that answers a 401 or 407 of this trunk; None without credentials or without a scheme we know."""
        if not self.username:
            return None
        proxy = response.status == 407
        challenges = response.values("proxy-authenticate" if proxy else "www-authenticate")
        value = respond(
            challenges,
            request.method,
            request.uri,
            self.auth_username or self.username,
            self.password,
            token=self.token,
            body=request.body,
            nc_counter=self._nonce_counts,
        )
        if value is None:
            return None
        name = "Proxy-Authorization" if proxy else "Authorization"
        return name.lower(), f"{name}: {value}"


def retry_after(response: Response | None) -> float:
    """Seconds of Retry-After (RFC 3261 section 20.33), 0 when there is none."""
    text = (response.first("retry-after") or "") if response is not None else ""
    digits = text.partition(";")[0].partition("(")[0].strip()
    return float(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 10 else 0.0


def _inside(host: str, seen: str) -> bool:
    """Whether this host is none to send to: a name, or a private address behind the NAT of one that is public."""
    try:
        return ipaddress.ip_address(host).is_private and not ipaddress.ip_address(seen).is_private
    except ValueError:
        return True


def _overlap(one: Trunk, other: Trunk) -> bool:
    """Whether an address may be either's."""
    if any(network.overlaps(theirs) for network in one.accept_from for theirs in other.accept_from
           if network.version == theirs.version):
        return True
    return any(one.owns(a) for a in other.servers.addresses()) or any(other.owns(a) for a in one.servers.addresses())


class Trunks:
    """All of them; `by_source` is asked for every call that arrives, so its answers are remembered."""

    def __init__(self, trunks: Sequence[Trunk] = ()) -> None:
        self._trunks = {trunk.name: trunk for trunk in trunks}
        self._sources: dict[str, Trunk | None] = {}
        self.moved()

    def __iter__(self) -> Iterator[Trunk]:
        return iter(self._trunks.values())

    def get(self, name: str) -> Trunk | None:
        return self._trunks.get(name)

    def moved(self) -> None:
        """The servers of a trunk have changed: who an address belongs to is found anew."""
        self._sources.clear()
        trunks = self._trunks.values()
        for trunk in trunks:
            trunk.twins = any(other is not trunk and _overlap(trunk, other) for other in trunks)

    def by_source(self, address: str) -> Trunk | None:
        """The trunk that this address belongs to."""
        try:
            return self._sources[address]
        except KeyError:
            found = next((trunk for trunk in self._trunks.values() if trunk.owns(address)), None)
            if len(self._sources) >= 4096:
                self._sources.clear()
            self._sources[address] = found
            return found

    def meant(self, request: Request, address: str, called: Callable[[Trunk], str]) -> Trunk | None:
        """Which of several trunks of one carrier: the one whose registered user or whose number is called, else the
        first. `called` reads the number as a trunk's profile says."""
        owners = [trunk for trunk in self._trunks.values() if trunk.owns(address)]
        user = request.request_uri.username
        for trunk in owners:
            if trunk.username and user == trunk.username:
                return trunk
        for trunk in owners:
            if called(trunk) in trunk.numbers:
                return trunk
        return owners[0] if owners else None
