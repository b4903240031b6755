"""Trunks: the carriers, known by address.

A call that comes from an address in `accept_from` (or the server's own) is that trunk's, and is not challenged. A
challenge from a trunk is answered with its credentials, and only to its own address: a phone that asks for them gets
nothing. Registration with a carrier and finding it by DNS records are not done here.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from pbxcore.sip.digest import respond
from pbxcore.sip.errors import SipError
from pbxcore.sip.layer import Flow
from pbxcore.sip.message import Field, Request, Response
from pbxcore.sip.uri import Uri, escape_user, join_host

FlowTo = Callable[[str, str, int], Flow]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(slots=True)
class Trunk:
    """One carrier. `host` is what its URIs name, `address` the IP address that this stands for, `max_calls` 0 for no
    limit."""

    name: str
    transport: str
    host: str
    address: str
    port: int
    flow_to: FlowTo
    token: Callable[[], str]
    username: str = ""
    password: str = ""
    caller_id: str = ""
    max_calls: int = 0
    accept_from: Sequence[Network] = ()
    calls: int = 0
    _nonce_counts: dict[str, int] = field(default_factory=dict)

    def flow(self) -> Flow:
        return self.flow_to(self.transport, self.address, self.port)

    def uri(self, number: str) -> str:
        """The Request-URI of a call to this number."""
        port = "" if self.port == 5060 else f":{self.port}"
        transport = "" if self.transport == "UDP" else f";transport={self.transport.lower()}"
        return f"sip:{escape_user(number)}@{join_host(self.host, None)}{port}{transport}"

    def full(self) -> bool:
        return bool(self.max_calls) and self.calls >= self.max_calls

    def owns(self, address: str) -> bool:
        """Whether a packet from this address is the carrier's."""
        if address == self.address:
            return True
        source = ipaddress.ip_address(address)
        return any(source in network for network in self.accept_from)

    def flow_for(self, uri: str, flow: Flow) -> Flow:
        """Where requests inside of a dialog go: to the next hop when it names an address that we can reach, else to
        where `flow` leads."""
        hop = Uri.parse(uri)
        host = hop.host
        port = hop.port or 5060
        if (host, port) == flow.remote or _inside(host, flow.remote[0]):
            return flow
        try:
            return self.flow_to(flow.transport, host, port)
        except SipError:
            return flow

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
            self.username,
            self.password,
            token=self.token,
            body=request.body,
            nc_counter=self._nonce_counts,
        )
        if value is None:
            return None
        name = "Proxy-Authorization" if proxy else "Authorization"
        return name.lower(), f"{name}: {value}"


def _inside(host: str, seen: str) -> bool:
    """Whether this host is none to send to: a name, or a private address behind the NAT of one that is public."""
    try:
        return ipaddress.ip_address(host).is_private and not ipaddress.ip_address(seen).is_private
    except ValueError:
        return True


class Trunks:
    """All of them; `by_source` is asked for every call that arrives, so its answers are remembered."""

    def __init__(self, trunks: Sequence[Trunk] = ()) -> None:
        self._trunks = {trunk.name: trunk for trunk in trunks}
        self._sources: dict[str, Trunk | None] = {}

    def __iter__(self) -> Iterator[Trunk]:
        return iter(self._trunks.values())

    def get(self, name: str) -> Trunk | None:
        return self._trunks.get(name)

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
