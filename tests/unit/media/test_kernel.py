"""What the kernel is told, and what it has against it."""

from __future__ import annotations

import errno
import os
import struct

import pytest

from pbxcore.media import bpf, kernel, kernel_program
from pbxcore.media.kernel_program import FLOW, octets, rewriting
from pbxcore.media.rtp import Reception, build

OLD = octets(("192.0.2.7", 4000), ("198.51.100.1", 20000))
NEW = octets(("203.0.113.255", 65534), ("10.255.254.1", 1024))


def folded(total: int) -> int:
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def words(data: bytes) -> int:
    return sum(struct.unpack(f"={len(data) // 2}H", data))


def udp_checksum(addresses: bytes, payload: bytes) -> int:
    """As it stands in the packet, in this machine's order."""
    pseudo = addresses[:8] + struct.pack("!BBH", 0, 17, 8 + len(payload))
    udp = addresses[8:] + struct.pack("!HH", 8 + len(payload), 0)
    return folded(words(pseudo + udp + payload)) ^ 0xFFFF


def test_the_udp_checksum_changes_by_what_is_told() -> None:
    payload = build(0, 1, 2, 3, bytes(range(160)))
    told = FLOW.unpack(rewriting(9, 4, OLD, NEW))
    before, after = udp_checksum(OLD, payload), udp_checksum(NEW, payload)
    assert folded((before ^ 0xFFFF) + told[4] + told[5]) ^ 0xFFFF == after


def test_the_headers_lack_only_length_and_checksum() -> None:
    slot, device, headers, total, *_ = FLOW.unpack(rewriting(9, 4, OLD, NEW))
    assert (slot, device) == (9, 4)
    assert headers[:12] == bytes.fromhex("45b8 0000 0000 4000 4011 0000".replace(" ", ""))
    assert headers[12:] == NEW
    length = struct.unpack("=H", struct.pack("!H", 200))[0]
    checksum = folded(total + length) ^ 0xFFFF
    whole = headers[:2] + struct.pack("!H", 200) + headers[4:10] + struct.pack("=H", checksum) + headers[12:20]
    assert folded(words(whole)) == 0xFFFF


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.EPERM, "CAP_BPF and CAP_NET_ADMIN"), (errno.ENOSYS, "Linux 6.6"), (errno.EINVAL, "Linux 6.6"),
     (errno.ENOMEM, "memory")],
)  # fmt: skip
def test_a_refusal_is_put_into_words(monkeypatch: pytest.MonkeyPatch, number: int, words: str) -> None:
    def refused(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(bpf, "create_map", refused)
    assert words in kernel.trial()


def test_what_was_made_is_closed_when_a_later_step_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An older kernel makes the tables and does not know the place to attach the program to."""
    made: list[int] = []

    def create(kind: int, key: int, value: int, entries: int, flags: int = 0) -> int:
        made.append(os.memfd_create("table"))
        os.ftruncate(made[-1], value * entries)
        return made[-1]

    def load(code: bytes) -> int:
        made.append(os.memfd_create("program"))
        return made[-1]

    def attach(program: int, device: int) -> int:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(bpf, "create_map", create)
    monkeypatch.setattr(bpf, "load", load)
    monkeypatch.setattr(bpf, "attach", attach)
    assert kernel.trial() == "this kernel cannot: it takes Linux 6.6"
    assert len(made) == 3
    for descriptor in made:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


def test_an_unknown_processor_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "pdp11")
    assert kernel.trial() == "this kernel cannot: it takes Linux 6.6"


def test_counting_may_go_on_elsewhere_and_come_back() -> None:
    """The kernel counts packets that are in line; the figures are those of one who saw them all."""
    whole, shared = Reception(), Reception()
    packets = [(build(0, 65530 + n, 160 * n, 5, bytes(160)), 0.02 * n + (0.004 if n % 3 else 0.0)) for n in range(12)]
    for data, arrival in packets[:3]:
        whole.update(data, arrival)
        shared.update(data, arrival)
    assert shared.expectation()[:3] == (65533, 5, 320)
    assert shared.expectation()[3] == pytest.approx(packets[2][1])
    for data, arrival in packets[3:6]:
        whole.update(data, arrival)
    shared.counted_elsewhere(3, 3 * 172, 800, packets[5][1], whole.jitter)
    assert shared.expectation()[0] == 65536 == kernel_program.NOBODY    # where the numbers begin anew it stops
    for data, arrival in packets[6:]:
        whole.update(data, arrival)
        shared.update(data, arrival)
    for name in ("packets", "octets", "other", "lost", "expected"):
        assert getattr(shared, name) == getattr(whole, name)
    assert shared.jitter == pytest.approx(whole.jitter)
    assert whole.report() == shared.report()
