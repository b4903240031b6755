"""The ring of messages: bounded by count and by bytes, whatever strangers send."""

from __future__ import annotations

from pbxcore.net.ring import LONGEST, Ring
from tests.unit.call.fakes import FakeFlow

PEER = FakeFlow()


def test_a_message_is_kept_as_it_was_and_not_copied() -> None:
    ring = Ring()
    data = b"OPTIONS sip:x SIP/2.0\r\n\r\n"
    ring.note(True, PEER, data)
    (at, out, transport, local, remote, kept), *others = ring.rows()
    assert not others
    assert kept is data
    assert (out, transport, local, remote) == (True, "UDP", ("127.0.0.1", 5060), ("127.0.0.9", 5060))
    assert at > 1e9


def test_the_oldest_goes_when_there_are_too_many() -> None:
    ring = Ring(64)
    for number in range(1000):
        ring.note(False, PEER, b"%d" % number)
        assert len(ring) <= 64
    assert [int(row[5]) for row in ring.rows()] == list(range(936, 1000))


def test_a_flood_of_giants_is_bounded_by_bytes() -> None:
    ring = Ring(64)
    for _ in range(100):
        ring.note(False, PEER, bytes(60_000))
    assert sum(len(row[5]) for row in ring.rows()) <= 64 * LONGEST


def test_a_ring_of_none_keeps_none() -> None:
    ring = Ring(0)
    ring.note(False, PEER, b"x")
    assert not ring.rows()
    assert ring.last is None
    assert ring.since(None) == []


def test_who_follows_hears_every_message_once() -> None:
    ring = Ring(32)
    heard: list[int] = []
    last = ring.last
    for number in range(100):
        ring.note(False, PEER, b"%d" % number)
        if number % 7 == 0 or number == 99:
            rows = ring.since(last)
            heard += [int(row[5]) for row in rows]
            last = rows[-1]
    assert heard == list(range(100))
    assert ring.since(last) == []


def test_who_follows_too_slowly_goes_on_with_what_is_left() -> None:
    ring = Ring(32)
    ring.note(False, PEER, b"first")
    last = ring.last
    for number in range(100):
        ring.note(False, PEER, b"%d" % number)
    assert [int(row[5]) for row in ring.since(last, most=10)] == list(range(68, 78))


def test_the_same_bytes_twice_are_two_messages() -> None:
    ring = Ring(32)
    data = b"x"
    ring.note(False, PEER, data)
    last = ring.last
    ring.note(False, PEER, data)
    assert len(ring.since(last)) == 1
