"""A NAT router before us: the address that we are known by outside of our own networks, and who is outside.

Peers outside are told the external address in Via, Contact and SDP, those inside the real one; which it is, is decided
for each peer by the address that its packets come from or go to. Ports are the same on both sides of the router: it
forwards those of `sip.listen` and `media.ports` as they are. Nothing is asked of it (no STUN, no UPnP).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_address, ip_network

from pbxcore.sip.addresses import ON_LINK, PRIVATE, Network

REMEMBERED = 4096


class Outside:
    """`address` is ours, as it is seen from outside of `networks`; without any, outside of all private ones.

    This machine itself and its links are never outside.
    """

    def __init__(self, address: str, networks: Iterable[str] = ()) -> None:
        self.address = str(ip_address(address))
        self._version = ip_address(address).version
        named = [ip_network(network) for network in networks]
        self._inside: tuple[Network, ...] = (*(named or PRIVATE), *ON_LINK)
        self._is_inside = lru_cache(maxsize=REMEMBERED)(self._look_up)

    def shown(self, own: str, peer: str) -> str:
        """What a peer at the address `peer` is told, where `own` is ours towards it."""
        return own if self._is_inside(peer) else self.address

    def _look_up(self, peer: str) -> bool:
        address = ip_address(peer.partition("%")[0])
        return address.version != self._version or any(address in network for network in self._inside)
