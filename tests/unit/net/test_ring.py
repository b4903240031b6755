"""The ring of messages: bounded by count and by bytes, whatever strangers send."""

from __future__ import annotations

from pbxcore.net.ring import BYTES_A_MESSAGE, Ring
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
    assert ring.rows()[-1][5] == b"999"
    assert len(ring) >= 60
    assert ring.count == 1000
    assert ring.held == sum(len(row[5]) for row in ring.rows())


def test_a_flood_of_large_messages_is_bounded_by_bytes() -> None:
    ring = Ring(64)
    for _ in range(100):
        ring.note(False, PEER, bytes(60_000))
        assert ring.held <= 64 * BYTES_A_MESSAGE
    assert len(ring) == 1


def test_a_ring_of_none_keeps_none() -> None:
    ring = Ring(0)
    ring.note(False, PEER, b"x")
    assert not ring.rows()
    assert ring.held == 0
    assert ring.count == 1


def test_who_follows_hears_every_message_once() -> None:
    ring = Ring(32)
    heard, count = [], ring.count
    for number in range(100):
        ring.note(False, PEER, b"%d" % number)
        if number % 7 == 0:
            count, rows = ring.since(count)
            heard += [int(row[5]) for row in rows]
    count, rows = ring.since(count)
    heard += [int(row[5]) for row in rows]
    assert heard == list(range(100))
    assert ring.since(count) == (count, [])


def test_who_follows_too_slowly_goes_on_with_what_is_left() -> None:
    ring = Ring(32)
    for number in range(100):
        ring.note(False, PEER, b"%d" % number)
    count, rows = ring.since(0, most=10)
    assert [int(row[5]) for row in rows] == list(range(ring.dropped, ring.dropped + 10))
    assert count == ring.dropped + 10
