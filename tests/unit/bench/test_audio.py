"""Audio is counted to its stream: what is lost, doubled, strange or silent shows."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from bench.audio import PACKET, Audio


@pytest.fixture
def audio() -> Iterator[Audio]:
    made = Audio("127.0.0.1", "127.0.0.1")
    yield made
    for sock in made.sockets:
        sock.close()


def talk(audio: Audio, packets: int) -> list[bytes]:
    """The caller sends so many packets to the callee's socket; they are taken out of it."""
    now = time.perf_counter()
    audio.caller_talks(0, ("127.0.0.1", audio.callee_port), now, now + packets * 0.02 - 0.01)
    audio.send(now + 10.0)
    return [audio.sockets[1].recv(2048) for _ in range(packets)]


def deliver(audio: Audio, packets: list[bytes]) -> None:
    """What a relay would pass on to the callee."""
    for packet in packets:
        audio.sockets[0].sendto(packet, ("127.0.0.1", audio.callee_port))
    audio.read(audio.sockets[1])


def test_fifty_packets_a_second_of_172_octets_until_the_end(audio: Audio) -> None:
    packets = talk(audio, 5)
    assert {len(packet) for packet in packets} == {PACKET}
    assert [packet[2:4] for packet in packets] == [bytes((0, number)) for number in range(5)]
    assert [int.from_bytes(packet[4:8], "big") for packet in packets] == [0, 160, 320, 480, 640]
    assert audio.next_at() == float("inf")


def test_packets_are_sent_when_they_are_due_and_not_before(audio: Audio) -> None:
    now = time.perf_counter()
    audio.callee_talks(3, ("127.0.0.1", audio.caller_port), now, now + 1.0)
    audio.send(now)
    assert audio.figures()["sent"] == 1
    assert audio.next_at() == pytest.approx(now + 0.02)


def test_all_heard(audio: Audio) -> None:
    deliver(audio, talk(audio, 4))
    figures = audio.figures()
    assert (figures["sent"], figures["received"], figures["lost"], figures["doubled"]) == (4, 4, 0, 0)
    assert figures["delay_ms"]["p50"] >= 0


def test_what_is_lost_at_the_start_is_told_apart(audio: Audio) -> None:
    packets = talk(audio, 6)
    deliver(audio, [packets[2], packets[3], packets[5]])
    figures = audio.figures()
    assert (figures["lost"], figures["lost_at_start"]) == (3, 2)


def test_a_doubled_packet_makes_up_for_no_lost_one_of_another_stream(audio: Audio) -> None:
    now = time.perf_counter()
    audio.callee_talks(9, ("127.0.0.1", audio.caller_port), now, now + 0.01)
    audio.send(now)
    packets = talk(audio, 2)
    deliver(audio, [*packets, packets[0]])
    figures = audio.figures()
    assert (figures["lost"], figures["doubled"], figures["deaf"]) == (1, 1, 1)


def test_packets_of_nobody_and_those_that_come_back_are_told(audio: Audio) -> None:
    packets = talk(audio, 2)
    deliver(audio, [b"\x80\x00", packets[0][:8] + b"\xff\xff\xff\xff" + packets[0][12:]])
    audio.sockets[1].sendto(packets[0], ("127.0.0.1", audio.caller_port))
    audio.read(audio.sockets[0])
    assert audio.figures()["unknown"] == 3
    assert audio.figures()["received"] == 0


def test_a_side_without_an_address_is_silent(audio: Audio) -> None:
    audio.caller_talks(1, None, 0.0, 1.0)
    assert audio.figures()["silent"] == 1
