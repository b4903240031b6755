"""The built-in relay with real sockets and a real worker process."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from pbxcore.hooks import StreamStats
from pbxcore.media import book, dtmf, rtp, wav
from pbxcore.media.backend import MediaError
from pbxcore.media.relay import NOTHING, Relay
from pbxcore.media.sockets import Ports
from tests.wire.parties import WAIT, Heard, Line, Party, description, free_range, line, receive, silent, udp

LOCAL = "127.0.0.1"
CALL = "c1"


def some_ports(pairs: int) -> str:
    first, last = free_range(pairs)
    return f"{first}-{last}"


@pytest.fixture
async def relay(heard: Heard) -> AsyncIterator[Relay]:
    relay = Relay(ports="12000-19999", addresses=[LOCAL])
    await relay.start(heard)
    yield relay
    await relay.close()


@pytest.fixture
def alice() -> Iterator[Party]:
    party = Party("127.0.0.2", 0xA)
    yield party
    party.close()


@pytest.fixture
def bob() -> Iterator[Party]:
    party = Party("127.0.0.3", 0xB)
    yield party
    party.close()


@pytest.fixture
def carol() -> Iterator[Party]:
    party = Party("127.0.0.4", 0xC)
    yield party
    party.close()


@pytest.fixture
def stranger() -> Iterator[Party]:
    party = Party("127.0.0.66", 0x66)
    yield party
    party.close()


async def bridged(relay: Relay, a: Party, b: Party, *, leg: str = "b1", source: str = "") -> tuple[Line, Line]:
    """A call that is answered: where `a` and where `b` send to."""
    to_b = await relay.offer(CALL, "a", leg, a.sdp(), local=LOCAL, source=source)
    to_a = await relay.answer(CALL, leg, "a", b.sdp(), local=LOCAL, source=source)
    await settled(relay)
    return line(to_a), line(to_b)


async def settled(relay: Relay, call_id: str = CALL) -> None:
    """Commands are carried out in order: once a query is answered, so are all before it."""
    await relay.query(call_id)


class TestRingingTone:
    """Who is being transferred hears that it rings, and then the one who answered."""

    async def test_it_sounds_until_somebody_answers(
        self, relay: Relay, alice: Party, bob: Party, carol: Party
    ) -> None:
        await bridged(relay, alice, bob)
        relay.ring(CALL, "a", alice.sdp())
        packets = [rtp.parse(await receive(alice.rtp)) for _ in range(10)]
        assert all(packet is not None and packet.payload_type == 0 for packet in packets)
        numbers = [packet.sequence for packet in packets if packet is not None]
        assert numbers == list(range(numbers[0], numbers[0] + 10))
        to_carol = await relay.offer(CALL, "a", "b2", alice.sdp(), local=LOCAL)
        await relay.answer(CALL, "b2", "a", carol.sdp(), local=LOCAL)
        relay.drop_leg(CALL, "b1")
        await settled(relay)
        while not silent(alice.rtp):
            pass    # what was on its way
        assert await alice.hears(carol.speak(line(to_carol)))

    async def test_it_stops_when_told_to_and_with_the_call(
        self, relay: Relay, heard: Heard, alice: Party, bob: Party
    ) -> None:
        await bridged(relay, alice, bob)
        relay.ring(CALL, "a", alice.sdp())
        assert await receive(alice.rtp)
        relay.quiet(CALL)
        await settled(relay)
        while not silent(alice.rtp):
            pass    # what was on its way
        relay.ring(CALL, "a", alice.sdp())
        relay.delete(CALL)
        await heard.statistics(CALL)
        relay.ring(CALL, "a", alice.sdp())
        relay.quiet("nobody")
        assert relay.commands_failed == 0


class TestAttended:
    """The exchange itself talks to a party: menus, music, mailboxes."""

    OURS = description("127.0.0.1", 9999, "rtpmap:101 telephone-event/8000")

    async def attended(self, relay: Relay, party: Party) -> Line:
        ours = await relay.attend(CALL, "a", party.sdp(), self.OURS, local=LOCAL)
        relay.listen(CALL, "a", 101)
        await settled(relay)
        return line(ours)

    async def test_it_hears_sounds_to_their_end(
        self, relay: Relay, heard: Heard, alice: Party, tmp_path: Path
    ) -> None:
        await self.attended(relay, alice)
        for name, value in (("one", b"\x01"), ("two", b"\x02")):
            (tmp_path / name).write_bytes(value * 480)
        relay.play(CALL, "a", [str(tmp_path / "one"), str(tmp_path / "two")], payload=0, number=4)
        packets = [rtp.parse(await receive(alice.rtp)) for _ in range(6)]
        assert [packet.payload[0] for packet in packets if packet] == [1, 1, 1, 2, 2, 2]
        await heard.until(lambda: heard.played == [4])
        assert relay.ports_in_use() == 1

    async def test_music_goes_on_until_it_is_told_to_stop(
        self, relay: Relay, heard: Heard, alice: Party, tmp_path: Path
    ) -> None:
        await self.attended(relay, alice)
        (tmp_path / "music").write_bytes(b"\x07" * 320)
        relay.play(CALL, "a", [str(tmp_path / "music")], payload=8, number=1, repeat=True)
        packets = [rtp.parse(await receive(alice.rtp)) for _ in range(8)]
        assert {packet.payload_type for packet in packets if packet} == {8}
        relay.quiet(CALL)
        await settled(relay)
        while not silent(alice.rtp):
            pass    # what was on its way
        assert heard.played == []

    async def test_a_file_that_is_not_there(
        self, relay: Relay, heard: Heard, alice: Party, tmp_path: Path
    ) -> None:
        """It is nothing: whoever waits for its end is told at once, and what goes with it is heard."""
        await self.attended(relay, alice)
        none = str(tmp_path / "none")
        relay.play(CALL, "a", [none], payload=0, number=1)
        await heard.until(lambda: heard.played == [1])
        assert relay.commands_failed == 1
        (tmp_path / "one").write_bytes(b"\x01" * 160)
        relay.play(CALL, "a", [none, str(tmp_path / "one")], payload=0, number=2)
        packet = rtp.parse(await receive(alice.rtp))
        assert packet is not None
        assert packet.payload[0] == 1
        await heard.until(lambda: heard.played == [1, 2])

    async def test_keys_and_a_recording(self, relay: Relay, heard: Heard, alice: Party, tmp_path: Path) -> None:
        to = await self.attended(relay, alice)
        file = tmp_path / "said.wav"
        relay.record(CALL, str(file), 10.0)
        await settled(relay)
        for _ in range(25):
            alice.speak(to)
        for frame in dtmf.press("7", 320):
            data = rtp.build(101, 500, 90_000 + frame.offset, alice.ssrc, frame.payload, marker=frame.marker)
            alice.rtp.sendto(data, (to.host, to.port))
        await heard.until(lambda: heard.digits == "7")
        relay.stop_recording(CALL)
        await heard.until(lambda: heard.recorded)
        assert heard.recorded == [0.5]
        assert len(wav.read(file)) == 8000
        assert silent(alice.rtp)

    async def test_hanging_up_ends_the_recording(
        self, relay: Relay, heard: Heard, alice: Party, tmp_path: Path
    ) -> None:
        to = await self.attended(relay, alice)
        relay.record(CALL, str(tmp_path / "said.wav"), 10.0)
        await settled(relay)
        alice.speak(to)
        relay.delete(CALL)
        from_a, _ = await heard.statistics(CALL)
        assert heard.recorded == [0.02]
        assert from_a.packets <= 1
        assert relay.ports_in_use() == 0

    async def test_a_colleague_takes_over(
        self, relay: Relay, heard: Heard, alice: Party, bob: Party, tmp_path: Path
    ) -> None:
        to = await self.attended(relay, alice)
        (tmp_path / "music").write_bytes(b"\x07" * 320)
        relay.play(CALL, "a", [str(tmp_path / "music")], payload=0, number=1, repeat=True)
        assert await receive(alice.rtp)
        to_bob = line(await relay.offer(CALL, "a", "b1", alice.sdp(), local=LOCAL))
        await relay.answer(CALL, "b1", "a", bob.sdp(), local=LOCAL)
        await settled(relay)
        while not silent(alice.rtp):
            pass    # what was on its way
        assert await bob.hears(alice.speak(to))
        assert await alice.hears(bob.speak(to_bob))

    async def test_held_and_attended_again(self, relay: Relay, alice: Party, tmp_path: Path) -> None:
        to = await self.attended(relay, alice)
        again = await self.attended(relay, alice)
        assert (again.host, again.port) == (to.host, to.port)


class TestTwoParties:
    async def test_both_ways_and_statistics_to_the_packet(
        self, relay: Relay, heard: Heard, alice: Party, bob: Party
    ) -> None:
        at_a, at_b = await bridged(relay, alice, bob)
        for n in range(50):
            if n % 10 == 9:
                alice.sequence += 2         # two packets that the network lost
            assert await bob.hears(alice.speak(at_a))
            if n < 20:
                assert await alice.hears(bob.speak(at_b))
        relay.delete(CALL)
        from_a, from_b = await heard.statistics(CALL)
        assert (from_a.packets, from_a.octets, from_a.lost) == (50, 50 * 172, 10)
        assert (from_b.packets, from_b.octets, from_b.lost) == (20, 20 * 172, 0)

    async def test_query_of_a_call_that_lives(self, relay: Relay, alice: Party, bob: Party) -> None:
        at_a, _ = await bridged(relay, alice, bob)
        assert await relay.query(CALL) == (NOTHING, NOTHING)
        assert await bob.hears(alice.speak(at_a))
        from_a, from_b = await relay.query(CALL)
        assert (from_a.packets, from_b) == (1, StreamStats())
        with pytest.raises(MediaError, match="no call"):
            await relay.query("c2")

    async def test_whoever_speaks_first_is_heard_at_the_address_of_the_sdp(
        self, relay: Relay, alice: Party, bob: Party
    ) -> None:
        """Media goes to the SDP's address before that party has sent anything itself."""
        _, at_b = await bridged(relay, alice, bob)
        assert await alice.hears(bob.speak(at_b))

    async def test_new_source_identifier_and_garbage_do_not_stop_the_stream(
        self, relay: Relay, heard: Heard, alice: Party, bob: Party
    ) -> None:
        at_a, _ = await bridged(relay, alice, bob)
        for garbage in (b"\x80", b"\x80\xc8\x00\xff", b"\xff" * 1200, b"\x16\xfe\xfd" + bytes(30), bytes(4096)):
            alice.rtp.sendto(garbage, (at_a.host, at_a.port))
            assert await receive(bob.rtp) == garbage
        alice.rtp.sendto(b"", (at_a.host, at_a.port))
        assert await receive(bob.rtp) == b""
        alice.ssrc = 0xAAAA
        alice.sequence = 60_000
        assert await bob.hears(alice.speak(at_a))
        relay.delete(CALL)
        assert (await heard.statistics(CALL))[0].lost == 0

    async def test_phone_that_is_gone_does_not_stop_the_other_direction(
        self, relay: Relay, alice: Party, bob: Party
    ) -> None:
        """The kernel reports ICMP errors on connected sockets, in place of a packet."""
        at_a, at_b = await bridged(relay, alice, bob)
        assert await bob.hears(alice.speak(at_a))
        assert await alice.hears(bob.speak(at_b))
        bob.rtp.close()
        for _ in range(10):
            alice.speak(at_a)
        bob.rtp = udp(bob.host, bob.port)
        last = alice.speak(at_a)
        while await receive(bob.rtp) != last:
            pass
        assert await alice.hears(bob.speak(at_b))


class TestStrangers:
    """Attacks rows 14 and 15: RTP bleed and RTP injection."""

    async def test_gets_nothing_and_is_not_heard_at_any_time(
        self, relay: Relay, heard: Heard, alice: Party, bob: Party, stranger: Party
    ) -> None:
        to_b = line(await relay.offer(CALL, "a", "b1", alice.sdp(), local=LOCAL))
        to_a = line(await relay.answer(CALL, "b1", "a", bob.sdp(), local=LOCAL))
        ports = [port for found in (to_a, to_b) for port in (found.port, found.port + 1)]
        await settled(relay)

        def probe() -> None:
            for port in ports:
                for source in (stranger.rtp, stranger.rtcp):
                    source.sendto(stranger.packet(), (LOCAL, port))

        probe()                                             # as the very first
        assert await bob.hears(alice.speak(to_a))           # alice is latched
        probe()
        assert await alice.hears(bob.speak(to_b))           # so is bob
        for _ in range(20):
            probe()
            assert await bob.hears(alice.speak(to_a))
            assert await alice.hears(bob.speak(to_b))
        await settled(relay)
        assert all(map(silent, (stranger.rtp, stranger.rtcp, alice.rtp, bob.rtp, alice.rtcp, bob.rtcp)))
        relay.delete(CALL)
        from_a, from_b = await heard.statistics(CALL)
        assert (from_a.packets, from_b.packets) == (21, 21)

    async def test_copied_packets_from_another_port_of_the_same_host(
        self, relay: Relay, alice: Party, bob: Party
    ) -> None:
        at_a, _ = await bridged(relay, alice, bob)
        data = alice.speak(at_a)
        assert await bob.hears(data)
        with udp(alice.host) as other:
            for _ in range(10):
                other.sendto(data, (at_a.host, at_a.port))
            assert await bob.hears(alice.speak(at_a))

    async def test_packets_that_waited_while_the_source_was_latched(
        self, relay: Relay, alice: Party, bob: Party, stranger: Party
    ) -> None:
        """Behind the packet that latches there may be a stranger's in the socket's queue already."""
        at_a, _ = await bridged(relay, alice, bob)
        [worker] = relay._channels
        os.kill(worker.pid, signal.SIGSTOP)
        first = alice.speak(at_a)
        stranger.rtp.sendto(stranger.packet(), (at_a.host, at_a.port))
        second = alice.speak(at_a)
        os.kill(worker.pid, signal.SIGCONT)
        assert await bob.hears(first)
        assert await bob.hears(second)

    async def test_ports_that_no_call_has(self, relay: Relay, alice: Party, stranger: Party) -> None:
        at_b = line(await relay.offer(CALL, "a", "b1", alice.sdp(), local=LOCAL))
        for port in range(at_b.port, at_b.port + 40):
            stranger.rtp.sendto(stranger.packet(), (LOCAL, port))
        relay.delete(CALL)
        [worker] = relay._channels
        await worker.wait(asyncio.get_running_loop().time() + 0.05)
        assert silent(stranger.rtp)

    async def test_phone_behind_nat_is_heard_where_its_signalling_came_from(
        self, relay: Relay, alice: Party, bob: Party, stranger: Party
    ) -> None:
        private = alice.sdp(host="127.1.2.3")
        to_b = line(await relay.offer(CALL, "a", "b1", private, local=LOCAL, source=alice.host))
        to_a = line(await relay.answer(CALL, "b1", "a", bob.sdp(), local=LOCAL, source=bob.host))
        await settled(relay)
        stranger.speak(to_a)
        assert await bob.hears(alice.speak(to_a))
        assert await alice.hears(bob.speak(to_b))
        with udp(alice.host) as other:
            other.sendto(b"\x80" + bytes(20), (to_a.host, to_a.port))
            assert await bob.hears(alice.speak(to_a))

    async def test_loopback_in_the_sdp_of_a_phone_outside_is_refused(self, relay: Relay, alice: Party) -> None:
        """It would make us send to our own services."""
        outside = next((address for address in _own_addresses() if not address.startswith("127.")), None)
        if outside is None:
            pytest.skip("this machine has no address but loopback")
        await relay.offer(CALL, "a", "b1", alice.sdp(), local=LOCAL)
        with pytest.raises(MediaError, match="this machine"):
            await relay.answer(CALL, "b1", "a", alice.sdp(), local=outside)


def _own_addresses() -> list[str]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))
        except OSError:
            return []
        return [probe.getsockname()[0]]


class TestForks:
    async def test_early_media_is_cut_off_when_another_branch_answers(
        self, relay: Relay, heard: Heard, alice: Party, bob: Party, carol: Party
    ) -> None:
        at_b = line(await relay.offer(CALL, "a", "b1", alice.sdp(), local=LOCAL))
        at_c = line(await relay.offer(CALL, "a", "b2", alice.sdp(), local=LOCAL))
        assert at_b.port != at_c.port
        early = line(await relay.answer(CALL, "b1", "a", bob.sdp(), local=LOCAL))
        await settled(relay)
        assert await alice.hears(bob.speak(at_b))
        assert await bob.hears(alice.speak(early))
        final = line(await relay.answer(CALL, "b2", "a", carol.sdp(), local=LOCAL))
        assert final.port == early.port
        await settled(relay)
        bob.speak(at_b)
        assert await alice.hears(carol.speak(at_c))
        assert await carol.hears(alice.speak(final))
        assert silent(bob.rtp)
        relay.drop_leg(CALL, "b1")
        assert relay.ports_in_use() == 2
        relay.delete(CALL)
        from_a, from_b = await heard.statistics(CALL)
        assert (from_a.packets, from_b.packets) == (2, 1)

    async def test_early_media_comes_back_to_the_first_branch(
        self, relay: Relay, alice: Party, bob: Party, carol: Party
    ) -> None:
        for leg in ("b1", "b2"):
            await relay.offer(CALL, "a", leg, alice.sdp(), local=LOCAL)
        for leg, party in (("b1", bob), ("b2", carol), ("b1", bob)):
            at_a = line(await relay.answer(CALL, leg, "a", party.sdp(), local=LOCAL))
            await settled(relay)
            assert await party.hears(alice.speak(at_a))
        assert silent(carol.rtp)

    async def test_losing_branches_give_their_ports_back(
        self, relay: Relay, heard: Heard, alice: Party, bob: Party
    ) -> None:
        for n in range(1, 6):
            await relay.offer(CALL, "a", f"b{n}", alice.sdp(), local=LOCAL)
        assert relay.ports_in_use() == 5
        await relay.answer(CALL, "b3", "a", bob.sdp(), local=LOCAL)
        for n in (1, 2, 4, 5):
            relay.drop_leg(CALL, f"b{n}")
        relay.drop_leg(CALL, "b9")
        relay.drop_leg("c9", "b1")
        assert relay.ports_in_use() == 2
        relay.delete(CALL)
        assert relay.ports_in_use() == 0
        assert await heard.statistics(CALL) == (NOTHING, NOTHING)

    async def test_answer_to_nothing(self, relay: Relay, alice: Party, bob: Party) -> None:
        with pytest.raises(MediaError, match="offered nothing"):
            await relay.answer(CALL, "b1", "a", bob.sdp(), local=LOCAL)
        await relay.offer(CALL, "a", "b1", alice.sdp(), local=LOCAL)
        with pytest.raises(MediaError, match="offered nothing"):
            await relay.answer(CALL, "b2", "a", bob.sdp(), local=LOCAL)
        with pytest.raises(MediaError, match="media lines"):
            await relay.answer(CALL, "b1", "a", bob.sdp(more=("m=video 4000 RTP/AVP 34",)), local=LOCAL)


class TestReoffers:
    async def test_hold_and_resume_keep_the_ports(self, relay: Relay, alice: Party, bob: Party) -> None:
        at_a, at_b = await bridged(relay, alice, bob)
        assert await bob.hears(alice.speak(at_a))
        held = await relay.offer(CALL, "a", "b1", alice.sdp("sendonly"), local=LOCAL)
        assert b"a=sendonly" in held
        assert line(held).port == at_b.port
        back = await relay.answer(CALL, "b1", "a", bob.sdp("recvonly"), local=LOCAL)
        assert line(back).port == at_a.port
        await settled(relay)
        assert await bob.hears(alice.speak(at_a))           # music on hold
        await relay.offer(CALL, "a", "b1", alice.sdp(), local=LOCAL)
        await relay.answer(CALL, "b1", "a", bob.sdp(), local=LOCAL)
        await settled(relay)
        assert await bob.hears(alice.speak(at_a))
        assert await alice.hears(bob.speak(at_b))

    async def test_old_hold_sends_nothing_and_resumes(self, relay: Relay, alice: Party, bob: Party) -> None:
        at_a, at_b = await bridged(relay, alice, bob)
        assert await bob.hears(alice.speak(at_a))
        held = await relay.offer(CALL, "a", "b1", alice.sdp(host="0.0.0.0"), local=LOCAL)
        assert b"c=IN IP4 0.0.0.0" in held
        await relay.answer(CALL, "b1", "a", bob.sdp(), local=LOCAL)
        await settled(relay)
        bob.speak(at_b)
        assert await bob.hears(alice.speak(at_a))
        assert silent(alice.rtp)
        await relay.offer(CALL, "a", "b1", alice.sdp(), local=LOCAL)
        await relay.answer(CALL, "b1", "a", bob.sdp(), local=LOCAL)
        await settled(relay)
        assert await alice.hears(bob.speak(at_b))

    async def test_moved_address_is_latched_anew(
        self, relay: Relay, heard: Heard, alice: Party, bob: Party, carol: Party
    ) -> None:
        at_a, at_b = await bridged(relay, alice, bob)
        assert await bob.hears(alice.speak(at_a))
        assert line(await relay.offer(CALL, "a", "b1", carol.sdp(), local=LOCAL)).port == at_b.port
        await relay.answer(CALL, "b1", "a", bob.sdp(), local=LOCAL)
        await settled(relay)
        assert await carol.hears(bob.speak(at_b))
        alice.speak(at_a)
        assert await bob.hears(carol.speak(at_a))
        assert silent(alice.rtp)
        relay.delete(CALL)
        assert (await heard.statistics(CALL))[0].packets == 2

    async def test_reoffer_that_is_refused_changes_nothing(
        self, relay: Relay, alice: Party, bob: Party, carol: Party
    ) -> None:
        at_a, at_b = await bridged(relay, alice, bob)
        await relay.offer(CALL, "a", "b1", carol.sdp(), local=LOCAL)
        await settled(relay)
        assert await bob.hears(alice.speak(at_a))
        assert await alice.hears(bob.speak(at_b))

    async def test_offer_from_the_party_called(self, relay: Relay, alice: Party, bob: Party, carol: Party) -> None:
        at_a, at_b = await bridged(relay, alice, bob)
        assert line(await relay.offer(CALL, "b1", "a", carol.sdp(), local=LOCAL)).port == at_a.port
        assert line(await relay.answer(CALL, "a", "b1", alice.sdp(), local=LOCAL)).port == at_b.port
        await settled(relay)
        assert await carol.hears(alice.speak(at_a))
        assert await alice.hears(carol.speak(at_b))

    async def test_late_offer(self, relay: Relay, heard: Heard, alice: Party, bob: Party) -> None:
        """INVITE without SDP: the offer comes in b's 200, the answer in a's ACK."""
        at_a = line(await relay.offer(CALL, "b1", "a", bob.sdp(), local=LOCAL))
        at_b = line(await relay.answer(CALL, "a", "b1", alice.sdp(), local=LOCAL))
        await settled(relay)
        assert await bob.hears(alice.speak(at_a))
        assert await alice.hears(bob.speak(at_b))
        assert await alice.hears(bob.speak(at_b))
        relay.delete(CALL)
        from_a, from_b = await heard.statistics(CALL)
        assert (from_a.packets, from_b.packets) == (1, 2)

    async def test_other_local_address_towards_the_same_leg(
        self, relay: Relay, alice: Party, bob: Party
    ) -> None:
        at_a, at_b = await bridged(relay, alice, bob)
        moved = line(await relay.offer(CALL, "a", "b1", alice.sdp(), local="127.0.0.9"))
        assert moved.host == "127.0.0.9"
        assert await alice.hears(bob.speak(at_b))           # until the answer the old ports serve
        assert relay.ports_in_use() == 3
        await relay.answer(CALL, "b1", "a", bob.sdp(), local=LOCAL)
        await settled(relay)
        assert relay.ports_in_use() == 2
        assert await alice.hears(bob.speak(moved))
        assert await bob.hears(alice.speak(at_a))

    async def test_version_of_the_origin_line_goes_up_only_with_a_change(
        self, relay: Relay, alice: Party, bob: Party, carol: Party
    ) -> None:
        def origin(sdp: bytes) -> list[bytes]:
            return sdp.split(b"\r\n")[1].split()

        first = await relay.offer(CALL, "a", "b1", alice.sdp(), local=LOCAL)
        again = await relay.offer(CALL, "a", "b1", alice.sdp(), local=LOCAL)
        held = await relay.offer(CALL, "a", "b1", alice.sdp("inactive"), local=LOCAL)
        assert first == again
        assert origin(held)[1] == origin(first)[1]
        assert int(origin(held)[2]) == int(origin(first)[2]) + 1


class TestLines:
    async def test_rtcp_on_the_next_port(self, relay: Relay, heard: Heard, alice: Party, bob: Party) -> None:
        at_a, at_b = await bridged(relay, alice, bob)
        report = rtp.receiver_report(alice.ssrc, [])
        alice.rtcp.sendto(report, (at_a.host, at_a.port + 1))
        assert await receive(bob.rtcp) == report
        bob.rtcp.sendto(report, (at_b.host, at_b.port + 1))
        assert await receive(alice.rtcp) == report
        relay.delete(CALL)
        assert await heard.statistics(CALL) == (NOTHING, NOTHING)

    async def test_rtcp_where_the_sdp_says(self, relay: Relay, alice: Party, bob: Party, carol: Party) -> None:
        elsewhere = f"rtcp:{carol.port} IN IP4 {carol.host}"
        await relay.offer(CALL, "a", "b1", alice.sdp(elsewhere), local=LOCAL)
        await relay.answer(CALL, "b1", "a", bob.sdp(), local=LOCAL)
        await settled(relay)
        at_b = line(relay._calls[CALL].legs["b1"].rendered)
        report = rtp.receiver_report(bob.ssrc, [])
        bob.rtcp.sendto(report, (LOCAL, at_b.port + 1))
        assert await receive(carol.rtp) == report

    async def test_rtcp_mux(self, relay: Relay, heard: Heard, alice: Party, bob: Party) -> None:
        to_b = await relay.offer(CALL, "a", "b1", alice.sdp("rtcp-mux"), local=LOCAL)
        assert b"a=rtcp-mux" in to_b
        at_a = line(await relay.answer(CALL, "b1", "a", bob.sdp("rtcp-mux"), local=LOCAL))
        await settled(relay)
        report = rtp.receiver_report(alice.ssrc, [])
        assert await bob.hears(alice.speak(at_a))
        alice.rtp.sendto(report, (at_a.host, at_a.port))
        assert await receive(bob.rtp) == report
        relay.delete(CALL)
        assert (await heard.statistics(CALL))[0].packets == 1

    async def test_rtcp_mux_that_is_not_answered_falls_back(self, relay: Relay, alice: Party, bob: Party) -> None:
        await relay.offer(CALL, "a", "b1", alice.sdp("rtcp-mux"), local=LOCAL)
        at_a = line(await relay.answer(CALL, "b1", "a", bob.sdp(), local=LOCAL))
        await settled(relay)
        report = rtp.receiver_report(alice.ssrc, [])
        alice.rtcp.sendto(report, (at_a.host, at_a.port + 1))
        assert await receive(bob.rtcp) == report

    async def test_audio_and_video(
        self, relay: Relay, heard: Heard, alice: Party, bob: Party, carol: Party, stranger: Party
    ) -> None:
        """Carol and the stranger lend their sockets as the cameras of alice and bob."""
        def video(party: Party) -> tuple[str, ...]:
            return (f"m=video {party.port} RTP/AVP 96", f"c=IN IP4 {party.host}", "a=rtpmap:96 VP8/90000")

        to_b = await relay.offer(CALL, "a", "b1", alice.sdp(more=video(carol)), local=LOCAL)
        to_a = await relay.answer(CALL, "b1", "a", bob.sdp(more=video(stranger)), local=LOCAL)
        await settled(relay)
        assert relay.ports_in_use() == 4
        assert await bob.hears(alice.speak(line(to_a)))
        assert await stranger.hears(carol.speak(line(to_a, 1)))
        assert await carol.hears(stranger.speak(line(to_b, 1)))
        relay.delete(CALL)
        from_a, from_b = await heard.statistics(CALL)
        assert (from_a.packets, from_b.packets) == (2, 1)

    async def test_line_that_the_answer_rejects(self, relay: Relay, alice: Party, bob: Party) -> None:
        more = ("m=video 4000 RTP/AVP 96", "a=rtpmap:96 VP8/90000")
        to_b = await relay.offer(CALL, "a", "b1", alice.sdp(more=more), local=LOCAL)
        assert line(to_b, 1).port
        to_a = await relay.answer(
            CALL, "b1", "a", bob.sdp(more=("m=video 0 RTP/AVP 96",)), local=LOCAL
        )
        assert b"m=video 0 " in to_a
        await settled(relay)
        assert await bob.hears(alice.speak(line(to_a)))

    async def test_fax_over_udp_is_relayed_though_it_is_no_rtp(
        self, relay: Relay, alice: Party, bob: Party
    ) -> None:
        def fax(party: Party) -> bytes:
            return party.sdp().replace(b"audio", b"image").replace(b"RTP/AVP 0", b"udptl t38")

        await relay.offer(CALL, "a", "b1", fax(alice), local=LOCAL, source=alice.host)
        at_a = line(await relay.answer(CALL, "b1", "a", fax(bob), local=LOCAL))
        await settled(relay)
        with udp(alice.host) as behind_nat:
            behind_nat.sendto(b"\x00\x01\x06", (at_a.host, at_a.port))
            assert await receive(bob.rtp) == b"\x00\x01\x06"

    @pytest.mark.parametrize(("a_host", "b_host"), [("::1", "::1"), ("127.0.0.2", "::1"), ("::1", "127.0.0.2")])
    async def test_ipv6(self, relay: Relay, a_host: str, b_host: str) -> None:
        a, b = Party(a_host, 1), Party(b_host, 2)
        local = {"::1": "::1", "127.0.0.2": LOCAL}
        at_b = line(await relay.offer(CALL, "a", "b1", a.sdp(), local=local[b_host]))
        at_a = line(await relay.answer(CALL, "b1", "a", b.sdp(), local=local[a_host]))
        await settled(relay)
        for _ in range(3):
            assert await b.hears(a.speak(at_a))
            assert await a.hears(b.speak(at_b))
        a.close()
        b.close()

    async def test_address_family_that_the_leg_does_not_speak(self, relay: Relay, alice: Party, bob: Party) -> None:
        await relay.offer(CALL, "a", "b1", alice.sdp(), local="::1")
        with pytest.raises(MediaError, match=r"cannot be reached from ::1"):
            await relay.answer(CALL, "b1", "a", bob.sdp(), local=LOCAL)


class TestPorts:
    async def test_set_up_never_suspends_when_ports_are_at_hand(
        self, relay: Relay, alice: Party, bob: Party
    ) -> None:
        def at_once(coroutine: Coroutine[Any, Any, bytes]) -> bytes:
            try:
                coroutine.send(None)
            except StopIteration as stop:
                return bytes(stop.value)
            raise AssertionError("it waits")

        for n in range(100):
            at_once(relay.offer(f"c{n}", "a", "b1", alice.sdp(), local=LOCAL))
            at_once(relay.answer(f"c{n}", "b1", "a", bob.sdp(), local=LOCAL))

    async def test_thousand_calls_a_second_do_not_exhaust_the_pool(
        self, relay: Relay, heard: Heard, alice: Party, bob: Party
    ) -> None:
        offer, answer = alice.sdp(), bob.sdp()
        for n in range(1500):
            await relay.offer(f"c{n}", "a", "b1", offer, local=LOCAL)
            await relay.answer(f"c{n}", "b1", "a", answer, local=LOCAL)
            relay.delete(f"c{n}")
            await asyncio.sleep(0)
        assert relay.ports_in_use() == 0
        await heard.until(lambda: len(heard.deleted) == 1500)

    async def test_more_calls_at_once_than_ports_at_hand_wait_for_the_worker(
        self, relay: Relay, alice: Party
    ) -> None:
        count = 3 * book.STEP
        offers = (relay.offer(f"c{n}", "a", "b1", alice.sdp(), local=LOCAL) for n in range(count))
        ports = {line(sdp).port for sdp in await asyncio.gather(*offers)}
        assert len(ports) == count

    async def test_port_is_not_lent_again_at_once(self, relay: Relay, alice: Party) -> None:
        lent = set()
        for n in range(200):
            port = line(await relay.offer(f"c{n}", "a", "b1", alice.sdp(), local=LOCAL)).port
            relay.delete(f"c{n}")
            assert port not in lent
            lent.add(port)

    async def test_late_packets_of_an_old_call_do_not_reach_the_new_one(
        self, heard: Heard, alice: Party, bob: Party, carol: Party
    ) -> None:
        relay = Relay(ports=some_ports(2), addresses=[LOCAL])
        await relay.start(heard)
        old_a, _ = await bridged(relay, alice, bob)
        assert await bob.hears(alice.speak(old_a))
        relay.delete(CALL)
        ports = set()
        at_c = line(await relay.offer(CALL, "a", "b1", bob.sdp(), local=LOCAL))      # waits for the quarantine
        at_b = line(await relay.answer(CALL, "b1", "a", carol.sdp(), local=LOCAL))
        ports = {at_c.port, at_b.port}
        assert old_a.port in ports
        await settled(relay)
        alice.speak(old_a)
        assert await carol.hears(bob.speak(at_b))
        assert await bob.hears(carol.speak(at_c))
        await relay.close()

    async def test_no_ports_left_is_said_clearly_and_passes(self, heard: Heard, alice: Party) -> None:
        ports = some_ports(2)
        relay = Relay(ports=ports, addresses=[LOCAL])
        await relay.start(heard)
        for n in range(2):
            await relay.offer(f"c{n}", "a", "b1", alice.sdp(), local=LOCAL)
        with pytest.raises(MediaError, match=f"no ports left: all ports of {ports} are bound"):
            await relay.offer("c2", "a", "b1", alice.sdp(), local=LOCAL)
        relay.delete("c2")
        relay.delete("c0")
        started = time.monotonic()
        await relay.offer("c3", "a", "b1", alice.sdp(), local=LOCAL)
        assert time.monotonic() - started >= book.QUARANTINE_SECONDS * 0.9
        await relay.close()

    async def test_address_seen_for_the_first_time_costs_one_round_trip(self, relay: Relay, alice: Party) -> None:
        assert line(await relay.offer(CALL, "a", "b1", alice.sdp(), local="127.0.0.77")).host == "127.0.0.77"

    async def test_address_that_is_not_ours(self, relay: Relay, alice: Party) -> None:
        for n in range(2):
            with pytest.raises(MediaError, match=r"192\.0\.2\.1 port \d+: Cannot assign"):
                await relay.offer(f"c{n}", "a", "b1", alice.sdp(), local="192.0.2.1")

    def test_limit_of_open_files(self) -> None:
        ports = Ports(*free_range(10), 3)
        bound, error = ports.bind(LOCAL, 10)
        assert len(bound) == 3
        assert "limit of open files allows 3 pairs" in error
        for pair in ports.pairs.values():
            for stream in pair:
                stream.sock.close()

    def test_port_that_another_program_has_is_left_out(self) -> None:
        first, last = free_range(5)
        with udp(LOCAL, first + 3):
            ports = Ports(first, last, 100)
            bound, error = ports.bind(LOCAL, 10)
        assert bound == [first, first + 4, first + 6, first + 8]
        assert "all ports" in error
        for pair in ports.pairs.values():
            for stream in pair:
                stream.sock.close()

    async def test_call_deleted_while_its_offer_waits(self, relay: Relay, heard: Heard, alice: Party) -> None:
        waiting = asyncio.ensure_future(relay.offer(CALL, "a", "b1", alice.sdp(), local="127.0.0.78"))
        await asyncio.sleep(0)
        relay.delete(CALL)
        with pytest.raises(MediaError, match="over"):
            await waiting
        assert await heard.statistics(CALL) == (NOTHING, NOTHING)
        assert relay.ports_in_use() == 0

    async def test_nothing_of_a_call_is_left_to_the_garbage_collector(
        self, relay: Relay, heard: Heard, alice: Party, bob: Party
    ) -> None:
        async def one(call_id: str) -> None:
            await relay.offer(call_id, "a", "b1", alice.sdp(), local=LOCAL)
            await relay.offer(call_id, "a", "b2", alice.sdp(), local=LOCAL)
            await relay.answer(call_id, "b2", "a", bob.sdp(), local=LOCAL)
            relay.drop_leg(call_id, "b1")
            relay.delete(call_id)
            await heard.statistics(call_id)

        await one("warm")
        gc.collect()
        gc.disable()
        try:
            for n in range(20):
                await one(f"c{n}")
            assert gc.collect() == 0
        finally:
            gc.enable()


class TestTimeouts:
    @pytest.fixture
    async def relay(self, heard: Heard) -> AsyncIterator[Relay]:
        relay = Relay(ports=some_ports(20), addresses=[LOCAL], timeout_seconds=0.4)
        await relay.start(heard)
        yield relay
        await relay.close()

    async def test_silence_is_reported_once(self, relay: Relay, heard: Heard, alice: Party, bob: Party) -> None:
        await bridged(relay, alice, bob)
        started = time.monotonic()
        await heard.until(lambda: heard.timed_out)
        assert time.monotonic() - started >= 0.35
        await asyncio.sleep(0.6)
        assert heard.timed_out == [CALL]

    async def test_one_party_that_speaks_is_enough(self, heard: Heard, alice: Party, bob: Party) -> None:
        relay = Relay(ports=some_ports(20), addresses=[LOCAL], timeout_seconds=1.5)    # nor is it silent for so long
        await relay.start(heard)
        at_a, _ = await bridged(relay, alice, bob)
        for _ in range(50):
            alice.speak(at_a)
            await asyncio.sleep(0.05)
        assert not heard.timed_out
        await relay.close()

    async def test_hold_does_not_count(self, relay: Relay, heard: Heard, alice: Party, bob: Party) -> None:
        await relay.offer(CALL, "a", "b1", alice.sdp("inactive"), local=LOCAL)
        await relay.answer(CALL, "b1", "a", bob.sdp("inactive"), local=LOCAL)
        await asyncio.sleep(0.8)
        assert not heard.timed_out

    async def test_strangers_do_not_keep_a_call_alive(
        self, relay: Relay, heard: Heard, alice: Party, bob: Party, stranger: Party
    ) -> None:
        at_a, _ = await bridged(relay, alice, bob)
        async with asyncio.timeout(WAIT):
            while not heard.timed_out:
                stranger.speak(at_a)
                await asyncio.sleep(0.02)
        assert heard.timed_out == [CALL]


class TestLoops:
    async def test_packets_that_would_circle_for_ever_are_stopped(
        self, heard: Heard, alice: Party, bob: Party
    ) -> None:
        """Two calls whose parties name each other's ports here as their own address."""
        relay = Relay(ports=some_ports(20), addresses=[LOCAL])
        await relay.start(heard)
        ports = {}
        for call_id in ("c1", "c2"):
            to_b = await relay.offer(call_id, "a", "b1", alice.sdp(), local=LOCAL)
            to_a = await relay.answer(call_id, "b1", "a", bob.sdp(), local=LOCAL)
            ports[call_id] = line(to_a).port, line(to_b).port
        for call_id, other in (("c1", "c2"), ("c2", "c1")):
            a, b = (alice.sdp(host=LOCAL, port=port) for port in reversed(ports[other]))
            await relay.offer(call_id, "a", "b1", a, local=LOCAL, source=alice.host)
            await relay.answer(call_id, "b1", "a", b, local=LOCAL)
        await settled(relay, "c2")
        for _ in range(100):
            alice.rtp.sendto(alice.packet(), (LOCAL, ports["c1"][0]))
        await heard.until(lambda: heard.timed_out)
        async with asyncio.timeout(WAIT):
            before: object = None
            while (now := (await relay.query("c1"), await relay.query("c2"))) != before:
                before = now
                await asyncio.sleep(0.05)
        assert now[0][0].packets > 1000
        await relay.close()


class TestWorkers:
    async def test_command_that_cannot_be_carried_out_ends_no_other_call(
        self, relay: Relay, alice: Party, bob: Party
    ) -> None:
        at_a, _ = await bridged(relay, alice, bob)
        [worker] = relay._channels
        for command in (("none",), ("answer", "x"), ()):
            worker.send(command)
        await settled(relay)
        assert await bob.hears(alice.speak(at_a))
        assert relay.commands_failed == 3

    async def test_killed_worker_is_noticed_and_replaced(
        self, relay: Relay, heard: Heard, alice: Party, bob: Party
    ) -> None:
        await bridged(relay, alice, bob)
        await relay.offer("c2", "a", "b1", alice.sdp(), local=LOCAL)
        [worker] = relay._channels
        worker.started_at -= 60.0       # it has been up for long: its successor starts at once
        os.kill(worker.pid, signal.SIGKILL)
        await heard.until(lambda: len(heard.lost) == 2)
        assert sorted(heard.lost) == [CALL, "c2"]
        assert relay.workers_lost == 1
        with pytest.raises(MediaError, match="gone"):
            await relay.offer(CALL, "a", "b1", alice.sdp(), local=LOCAL)
        for call_id in heard.lost:
            relay.delete(call_id)
            assert await heard.statistics(call_id) == (NOTHING, NOTHING)
        assert relay.ports_in_use() == 0
        await heard.until(lambda: relay._channels)
        at_a, _ = await bridged(relay, alice, bob)
        assert await bob.hears(alice.speak(at_a))

    async def test_worker_killed_between_delete_and_its_report(
        self, relay: Relay, heard: Heard, alice: Party, bob: Party
    ) -> None:
        await bridged(relay, alice, bob)
        [worker] = relay._channels
        os.kill(worker.pid, signal.SIGSTOP)
        relay.delete(CALL)
        await asyncio.sleep(0.01)
        os.kill(worker.pid, signal.SIGKILL)
        assert await heard.statistics(CALL) == (NOTHING, NOTHING)
        assert heard.lost == []

    async def test_calls_are_shared_among_workers(self, heard: Heard, alice: Party) -> None:
        first, last = free_range(40)
        relay = Relay(ports=f"{first}-{last}", workers=2, addresses=[LOCAL])
        await relay.start(heard)
        ports = [line(await relay.offer(f"c{n}", "a", "b1", alice.sdp(), local=LOCAL)).port for n in range(10)]
        assert sum(port < first + 40 for port in ports) == 5
        for n in range(0, 10, 2):
            relay.delete(f"c{n}")
        loads = [worker.load for worker in relay._channels]
        assert sum(loads) == 5
        await relay.close()

    async def test_signals_meant_for_the_exchange_do_not_cut_calls_off(
        self, relay: Relay, alice: Party, bob: Party
    ) -> None:
        at_a, _ = await bridged(relay, alice, bob)
        [worker] = relay._channels
        os.kill(worker.pid, signal.SIGTERM)
        os.kill(worker.pid, signal.SIGINT)
        assert await bob.hears(alice.speak(at_a))
        await settled(relay)

    async def test_close_ends_the_worker(self, heard: Heard) -> None:
        relay = Relay(ports=some_ports(20))
        await relay.start(heard)
        [worker] = relay._channels
        await relay.close()
        assert worker._process.returncode == 0
        assert heard.lost == []

    async def test_worker_dies_with_its_parent(self) -> None:
        program = (
            "import asyncio\n"
            "from pbxcore.media.relay import Relay\n"
            "async def main():\n"
            "    relay = Relay(ports='12000-19999', addresses=['127.0.0.1'])\n"
            "    await relay.start(None)\n"
            "    print(relay._channels[0].pid, flush=True)\n"
            "    await asyncio.sleep(60)\n"
            "asyncio.run(main())\n"
        )
        parent = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=subprocess.PIPE)
        assert parent.stdout is not None
        worker = int(await parent.stdout.readline())
        os.kill(worker, 0)
        parent.kill()
        await parent.wait()
        async with asyncio.timeout(WAIT):
            while _runs(worker):  # noqa: ASYNC110 - a process of another parent tells nobody
                await asyncio.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
