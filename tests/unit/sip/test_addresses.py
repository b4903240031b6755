"""Addresses that lead nowhere from outside."""

from __future__ import annotations

import pytest

from pbxcore.sip.addresses import is_private, is_stranded


@pytest.mark.parametrize(
    ("host", "private"),
    [
        ("10.0.0.1", True), ("172.16.0.1", True), ("172.32.0.1", False), ("192.168.255.255", True),
        ("100.64.0.1", True), ("100.128.0.1", False), ("127.0.0.1", True), ("169.254.1.1", True),
        ("203.0.113.1", False), ("8.8.8.8", False), ("fd00::1", True), ("[fe80::1%eth0]", True),
        ("2001:db8::1", False), ("::1", True), ("phone.example.net", False), ("", False), ("10.0.0", False),
    ],
)  # fmt: skip
def test_private_addresses(host: str, private: bool) -> None:
    assert is_private(host) == private


def test_stranded_is_who_names_a_private_address_from_outside() -> None:
    assert is_stranded("192.168.1.50", "203.0.113.9")
    assert not is_stranded("192.168.1.50", "192.168.1.1")    # a NAT inside of the office: both may lead to it
    assert not is_stranded("203.0.113.9", "203.0.113.9")
    assert not is_stranded("198.51.100.1", "203.0.113.9")    # its media is elsewhere
