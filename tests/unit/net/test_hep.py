"""HEP3 packets, read by a decoder that was written from the protocol and not from the encoder."""

from __future__ import annotations

import ipaddress
import struct
from typing import Any

import pytest

from pbxcore.net.hep import pack
from pbxcore.net.ring import Row
from pbxcore.settings_file import SettingsError, loads

ROW: Row = (1700000000.25, False, "UDP", ("127.0.0.1", 5060), ("127.0.0.9", 40000), b"BYE sip:x SIP/2.0\r\n\r\n")


def decode(packet: bytes) -> dict[str, Any]:
    """The chunks of a HEP3 packet by name (HEP/EEP protocol, section "Generic chunk types")."""
    assert packet[:4] == b"HEP3"
    assert struct.unpack("!H", packet[4:6])[0] == len(packet)
    names = {
        1: "family", 2: "protocol", 3: "source", 4: "target", 5: "source", 6: "target", 7: "source port",
        8: "target port", 9: "seconds", 10: "micros", 11: "kind", 12: "agent", 14: "key", 15: "payload",
        17: "correlation",
    }  # fmt: skip
    found: dict[str, Any] = {}
    place = 6
    while place < len(packet):
        vendor, kind, length = struct.unpack("!HHH", packet[place : place + 6])
        assert vendor == 0
        assert length >= 6
        value = packet[place + 6 : place + length]
        name = names[kind]
        assert name not in found
        if name in ("source", "target"):
            assert len(value) == (16 if kind in (5, 6) else 4)
            found[name] = str(ipaddress.ip_address(value))
        elif name in ("key", "payload", "correlation"):
            found[name] = value
        else:
            width = {"family": 1, "protocol": 1, "kind": 1, "source port": 2, "target port": 2}.get(name, 4)
            assert len(value) == width
            found[name] = int.from_bytes(value, "big")
        place += length
    assert place == len(packet)
    return found


def test_a_message_that_came_in() -> None:
    assert decode(pack(ROW, 2001, "secret", "call 7")) == {
        "family": 2, "protocol": 17, "source": "127.0.0.9", "target": "127.0.0.1", "source port": 40000,
        "target port": 5060, "seconds": 1700000000, "micros": 250000, "kind": 1, "agent": 2001, "key": b"secret",
        "correlation": b"call 7", "payload": ROW[5],
    }  # fmt: skip


def test_a_message_that_went_out_over_ipv6_and_tls() -> None:
    told = decode(pack((1.0, True, "TLS", ("::1", 5061), ("2001:db8::7", 1), b"x"), 7))
    assert (told["family"], told["protocol"]) == (10, 6)
    assert (told["source"], told["target"]) == ("::1", "2001:db8::7")
    assert "key" not in told
    assert "correlation" not in told


def test_secrets_stay_here_and_a_giant_still_fits_a_datagram() -> None:
    secret = b'X sip:x SIP/2.0\r\nAuthorization: Digest response="5ec2e7"\r\n\r\n'
    assert b"5ec2e7" not in pack((*ROW[:5], secret), 1)
    assert len(pack((*ROW[:5], b"X" * 70_000), 1, "key", "call")) <= 65507


@pytest.mark.parametrize("spec", ["homer:9060", "tcp:homer:9060", "udp:", "udp:homer:99999", "udp:no host:9060"])
def test_a_collector_that_is_none_is_told_with_its_mend(spec: str) -> None:
    with pytest.raises(SettingsError, match=r'is no HEP collector; write it like "udp:homer'):
        loads(f'[sip]\nhep = "{spec}"\n')


@pytest.mark.parametrize("spec", ["udp:homer.example.net:9060", "udp:192.0.2.7", "udp:[2001:db8::7]:9060"])
def test_a_collector_that_is_one(spec: str) -> None:
    assert loads(f'[sip]\nhep = "{spec}"\nhep_password = "x"\n').sip.hep == spec
