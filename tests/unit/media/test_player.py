"""Sounds as RTP: even, in order, in the party's law, one stream from the first to the last."""

from __future__ import annotations

import pytest

from pbxcore.media import g711, tone
from pbxcore.media.player import PACKET, Player
from pbxcore.media.rtp import Packet, parse


def read(packets: list[bytes]) -> list[Packet]:
    return [packet for data in packets if (packet := parse(data))]


def played(player: Player, since: float, seconds: float) -> list[Packet]:
    """What is due, asked for every 20 ms."""
    return [p for n in range(round(seconds / PACKET)) for p in read(player.due(since + n * PACKET + 0.001))]


@pytest.mark.parametrize(("payload", "decode"), [(0, g711.ulaw_decode), (8, g711.alaw_decode)])
def test_in_the_law_of_the_party(payload: int, decode: object) -> None:
    player = Player("a", payload, 7, 100.0)
    player.play(g711.ulaw_encode(tone.sine(440.0, 0.5)), 100.0)
    packets = played(player, 100.0, 0.5)
    assert [packet.sequence for packet in packets] == list(range(25))
    assert [packet.timestamp for packet in packets] == [160 * n for n in range(25)]
    assert {packet.ssrc for packet in packets} == {7}
    assert [packet.marker for packet in packets] == [True] + [False] * 24
    sound = b"".join(decode(packet.payload) for packet in packets)  # type: ignore[operator]
    assert tone.share(sound, 440.0) > 0.99


def test_the_last_packet_is_filled_up_and_then_it_is_over() -> None:
    player = Player("a", 0, 7, 0.0)
    player.play(b"\x01" * 200, 0.0, number=3)
    assert player.playing
    packets = played(player, 0.0, 0.2)
    assert [len(packet.payload) for packet in packets] == [160, 160]
    assert packets[1].payload == b"\x01" * 40 + g711.SILENCE_ULAW * 120
    assert not player.playing
    assert player.number == 3


def test_a_pause_between_two_sounds_is_no_loss() -> None:
    player = Player("a", 0, 7, 0.0)
    player.play(b"\x01" * 160, 0.0)
    first = played(player, 0.0, 1.0)
    player.play(b"\x02" * 160, 1.0)
    second = played(player, 1.0, 1.0)
    assert [packet.sequence for packet in first + second] == [0, 1]
    assert second[0].timestamp == 50 * 160
    assert second[0].marker


def test_what_is_repeated_has_no_gap() -> None:
    player = Player("a", 0, 7, 0.0)
    player.play(b"\x01" * 160 + b"\x02" * 100, 0.0, repeat=True)
    packets = played(player, 0.0, 0.2)
    assert [packet.payload[0] for packet in packets] == [1, 2] * 5
    assert player.playing


def test_after_a_stall_it_does_not_send_all_of_it_at_once() -> None:
    player = Player("a", 8, 7, 0.0)
    player.play(b"\x01" * 8000 * 60, 0.0)
    player.due(0.001)
    assert len(player.due(10.0)) == 5
    assert player.due(10.0) == []


def test_a_new_sound_takes_the_place_of_the_old() -> None:
    player = Player("a", 0, 7, 0.0)
    player.play(b"\x01" * 8000, 0.0)
    played(player, 0.0, 0.1)
    player.play(b"\x02" * 160, 0.1)
    assert [packet.payload[0] for packet in played(player, 0.1, 0.5)] == [2]


def test_nothing_is_over_at_once() -> None:
    player = Player("a", 0, 7, 0.0)
    player.play(b"", 0.0)
    assert not player.playing
    assert player.due(1.0) == []
