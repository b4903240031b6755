"""Who is outside, and what he is told of our address."""

from __future__ import annotations

import pytest

from pbxcore.net.outside import Outside

EXTERNAL, OWN = "203.0.113.7", "192.168.1.10"


@pytest.mark.parametrize("peer", ["192.168.1.50", "10.9.8.7", "172.31.0.1", "127.0.0.1", "169.254.3.4"])
def test_private_peers_are_told_our_own_address(peer: str) -> None:
    assert Outside(EXTERNAL).shown(OWN, peer) == OWN


@pytest.mark.parametrize("peer", ["198.51.100.9", "172.32.0.1", "100.64.0.1", "203.0.113.8"])
def test_everybody_else_is_told_the_external_one(peer: str) -> None:
    assert Outside(EXTERNAL).shown(OWN, peer) == EXTERNAL


def test_networks_that_are_named_are_all_that_is_local_but_for_this_machine() -> None:
    outside = Outside(EXTERNAL, ["192.168.1.0/24", "198.51.100.0/24"])
    assert outside.shown(OWN, "192.168.2.1") == EXTERNAL   # another office, by way of the router
    assert outside.shown(OWN, "198.51.100.9") == OWN
    assert outside.shown("127.0.0.1", "127.0.0.1") == "127.0.0.1"


def test_ipv6_needs_no_external_address_of_ipv4() -> None:
    assert Outside(EXTERNAL).shown("2001:db8::1", "2001:db8::2") == "2001:db8::1"
    assert Outside("2001:db8::7").shown("fd00::1", "2001:db8::2") == "2001:db8::7"
    assert Outside("2001:db8::7").shown("fe80::1", "fe80::2%eth0") == "fe80::1"


def test_what_is_told_stays_what_it_is() -> None:
    """A flow of a flow is asked for by the address that the first one tells."""
    outside = Outside(EXTERNAL)
    assert outside.shown(outside.shown(OWN, "198.51.100.9"), "198.51.100.9") == EXTERNAL
