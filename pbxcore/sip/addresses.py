"""Which addresses mean something only where they are used: behind a NAT (RFC 1918, 4193, 6598) or on one link (RFC 1122
section 3.2.1.3, RFC 3927, RFC 4291). Sans I/O."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network

PRIVATE: tuple[Network, ...] = tuple(
    ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
)
ON_LINK: tuple[Network, ...] = tuple(
    ip_network(text) for text in ("127.0.0.0/8", "169.254.0.0/16", "::1/128", "fe80::/10")
)
SHARED: tuple[Network, ...] = (ip_network("100.64.0.0/10"),)   # behind the NAT of a provider


@lru_cache(maxsize=4096)
def is_private(host: str) -> bool:
    """Whether an IP address is one that nobody outside can reach; False for a name."""
    try:
        address = ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return False
    return any(address in network for network in (*PRIVATE, *ON_LINK, *SHARED))


def is_stranded(host: str, source: str) -> bool:
    """Whether a peer that speaks from `source` names an address that leads nowhere: it is behind a NAT."""
    return host != source and is_private(host) and not is_private(source)
