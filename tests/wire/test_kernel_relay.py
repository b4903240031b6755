"""Audio that the kernel relays: on this machine's loopback, and between networks of their own. Where the kernel
refuses, only the fall-back is tested."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import random
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import wave
from collections.abc import AsyncIterator, Callable
from fcntl import ioctl
from pathlib import Path

import pytest

from pbxcore.media import rtp
from pbxcore.media import wav as wav_files
from pbxcore.media.kernel import trial
from pbxcore.media.relay import Relay
from pbxcore.media.rtp import Reception
from tests.conftest import require_tool
from tests.interop.tool_namespaces import Namespace, networks
from tests.wire.parties import Heard, Line, Party, line, receive, silent

LOCAL = "127.0.0.1"
CALL = "c1"
SETTLE = 30.0
IP_RECVTTL = 12           # no names for these in the socket module
SO_NO_CHECK = 11
ETHTOOL, CHECKSUMS_OF_SENDER = 0x8946, 0x17


@pytest.fixture
def permitted() -> None:
    """Skips the test where the kernel refuses, whoever runs it."""
    refusal = trial()
    if refusal:
        pytest.skip(f"the kernel relays nothing here: {refusal}")


@pytest.fixture(autouse=True)
def _ask_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pbxcore.media.relay.PING_SECONDS", 0.05)


@pytest.fixture
async def relay(permitted: None, heard: Heard) -> AsyncIterator[Relay]:
    relay = Relay(ports="12000-19999", addresses=[LOCAL], kernel=True, timeout_seconds=2.0)
    await relay.start(heard)
    yield relay
    await relay.close()


async def bridged(relay: Relay, a: Party, b: Party, local: str = LOCAL, local_b: str = LOCAL) -> tuple[Line, Line]:
    """A call that is answered: where `a` and where `b` send to."""
    to_b = await relay.offer(CALL, "a", "b1", a.sdp(), local=local_b)
    to_a = await relay.answer(CALL, "b1", "a", b.sdp(), local=local)
    await relay.query(CALL)
    return line(to_a), line(to_b)


async def lent(relay: Relay, a: Party, to_a: Line, b: Party, to_b: Line, *, streams: int = 2) -> None:
    """Let them talk until the kernel has their streams."""
    async with asyncio.timeout(SETTLE):
        while relay.kernel().streams != streams:
            assert await b.hears(a.speak(to_a))
            assert await a.hears(b.speak(to_b))
            await asyncio.sleep(0.02)


async def on_the_kernel(relay: Relay, a: Party, b: Party) -> tuple[Line, Line]:
    """A call that the kernel relays both ways: where `a` and where `b` send to."""
    to_a, to_b = await bridged(relay, a, b)
    await lent(relay, a, to_a, b, to_b)
    return to_a, to_b


async def counted(relay: Relay) -> int:
    """Packets that the kernel has relayed by now."""
    last = relay.kernel().packets
    for _ in range(3):
        await asyncio.sleep(0.1)
    assert relay.kernel().packets >= last
    return relay.kernel().packets


async def flowing(speaker: Party, to: Line, listener: Party, during: Callable[[], object]) -> list[int]:
    """The sequence numbers that the listener hears while the other one speaks and something is done meanwhile. None is
    missing at the end, else it raises TimeoutError."""
    first = speaker.sequence + 1
    for number in range(120):
        speaker.speak(to)
        if number == 40:
            during()
        await asyncio.sleep(0.002)
    found: list[int] = []
    while len(found) < 120:
        packet = rtp.parse(await receive(listener.rtp))
        assert packet is not None
        found.append(packet.sequence)
    assert found[0] == first
    return found


async def test_the_kernel_relays_what_the_worker_would_and_counts_it_alike(
    relay: Relay, heard: Heard, parties: tuple[Party, Party, Party]
) -> None:
    alice, bob, _ = parties
    to_a, to_b = await on_the_kernel(relay, alice, bob)
    before = await counted(relay)
    for _ in range(100):
        assert await bob.hears(alice.speak(to_a))
        assert await alice.hears(bob.speak(to_b))
    assert await counted(relay) - before >= 196      # all but those that go the long way
    sent = alice.sequence - 100
    from_a, from_b = await relay.query(CALL)
    assert (from_a.packets, from_b.packets) == (sent, sent)
    relay.delete(CALL)
    from_a, from_b = await heard.statistics(CALL)
    assert (from_a.packets, from_a.octets, from_a.lost) == (sent, sent * 172, 0)
    assert (from_b.packets, from_b.octets, from_b.lost) == (sent, sent * 172, 0)
    await heard.until(lambda: relay.kernel().streams == 0)
    alice.speak(to_a)
    assert silent(bob.rtp)
    assert relay.commands_failed == 0


async def test_what_is_lost_late_or_doubled_or_begins_anew_is_counted_as_by_the_worker_alone(
    relay: Relay, heard: Heard, parties: tuple[Party, Party, Party]
) -> None:
    alice, bob, _ = parties
    alice.sequence = 65300                          # it turns over soon
    to_a, to_b = await bridged(relay, alice, bob)
    oracle = Reception()

    async def sent(data: bytes) -> None:
        oracle.update(data, 0.0)
        alice.rtp.sendto(data, (to_a.host, to_a.port))
        assert await bob.hears(data)

    chance = random.Random(7)
    async with asyncio.timeout(SETTLE):
        while relay.kernel().streams != 2:
            await sent(alice.packet())
            assert await alice.hears(bob.speak(to_b))
            await asyncio.sleep(0.02)
    before = await counted(relay)
    kept = alice.packet()
    for number in range(600):
        data = alice.packet()
        deed = chance.random()
        if deed < 0.03:
            continue                                # lost
        if deed < 0.06:
            kept = data                             # late
            continue
        await sent(data)
        if deed > 0.98:
            await sent(kept)
        elif deed > 0.97:
            await sent(data)                        # twice
        if number == 300:
            alice.ssrc, alice.sequence = 0xAA, 17
    assert await counted(relay) - before > 300
    relay.delete(CALL)
    from_a, _ = await heard.statistics(CALL)
    assert (from_a.packets, from_a.octets) == (oracle.packets, oracle.octets)
    assert from_a.lost == oracle.lost > 0


async def test_jitter_is_measured_on_the_way_through_the_kernel(
    relay: Relay, parties: tuple[Party, Party, Party]
) -> None:
    """Packets that say 20 ms and come in bursts: the jitter grows towards what it is."""
    alice, bob, _ = parties
    to_a, _ = await on_the_kernel(relay, alice, bob)
    for _ in range(200):
        assert await bob.hears(alice.speak(to_a))   # at once, so each is 20 ms early
    from_a, _ = await relay.query(CALL)
    assert 15.0 < from_a.jitter_ms < 21.0


async def test_a_stranger_rtcp_and_short_packets_are_not_the_kernels(
    relay: Relay, parties: tuple[Party, Party, Party]
) -> None:
    alice, bob, stranger = parties
    to_a, _ = await on_the_kernel(relay, alice, bob)
    before = await counted(relay)
    stranger.speak(to_a)
    stranger.rtp.sendto(alice.packet(), (to_a.host, to_a.port))
    alice.sequence -= 1
    next_in_line = b"\x81\xc9" + struct.pack("!HII", alice.sequence + 1, 1, alice.ssrc)
    for data in (
        rtp.receiver_report(0xA, []), next_in_line + bytes(12), b"\x00\x01" + bytes(18), b"\x80", b"x" * 1400
    ):  # fmt: skip
        alice.rtp.sendto(data, (to_a.host, to_a.port))
        assert await bob.hears(data)                # the worker hands on what it is
    assert silent(stranger.rtp)
    assert await counted(relay) == before
    assert await bob.hears(alice.speak(to_a))
    assert silent(bob.rtp)


async def test_another_source_speaks_in_the_same_stream_and_the_kernel_goes_on_with_it(
    relay: Relay, parties: tuple[Party, Party, Party]
) -> None:
    alice, bob, _ = parties
    to_a, _ = await on_the_kernel(relay, alice, bob)
    before = await counted(relay)
    alice.ssrc = 0xABC
    assert await bob.hears(alice.speak(to_a))       # next in line, but of somebody else: the worker has a look
    assert await counted(relay) == before
    alice.ssrc, alice.sequence = 0xABCD, 4711
    for _ in range(50):
        assert await bob.hears(alice.speak(to_a))
    assert await counted(relay) - before >= 47


async def test_two_workers_lend_beside_each_other(
    permitted: None, heard: Heard, parties: tuple[Party, Party, Party]
) -> None:
    alice, bob, carol = parties
    relay = Relay(ports="12000-19999", workers=2, addresses=[LOCAL], kernel=True)
    await relay.start(heard)
    try:
        to_a, to_b = await bridged(relay, alice, bob)
        to_dave = line(await relay.offer("c2", "a", "b1", carol.sdp(), local=LOCAL))
        with contextlib.closing(Party("127.0.0.5", 0xD)) as dave:
            to_carol = line(await relay.answer("c2", "b1", "a", dave.sdp(), local=LOCAL))
            await relay.query("c2")
            async with asyncio.timeout(SETTLE):
                while relay.kernel().streams != 4:
                    for one, to, other in (
                        (alice, to_a, bob), (bob, to_b, alice), (carol, to_carol, dave), (dave, to_dave, carol),
                    ):  # fmt: skip
                        assert await other.hears(one.speak(to))
                    await asyncio.sleep(0.02)
            before = await counted(relay)
            for _ in range(20):
                assert await bob.hears(alice.speak(to_a))
                assert await carol.hears(dave.speak(to_dave))
            assert await counted(relay) - before >= 38
    finally:
        await relay.close()


async def test_a_new_offer_takes_streams_back_and_nothing_is_lost(
    relay: Relay, parties: tuple[Party, Party, Party]
) -> None:
    alice, bob, _ = parties
    to_a, to_b = await on_the_kernel(relay, alice, bob)
    jobs: list[asyncio.Task[tuple[Line, Line]]] = []
    found = await flowing(
        alice, to_a, bob, lambda: jobs.append(asyncio.ensure_future(bridged(relay, alice, bob)))
    )
    assert found == sorted(found)
    assert [place.port for place in await jobs[0]] == [to_a.port, to_b.port]


async def test_who_is_transferred_talks_to_the_newcomer(relay: Relay, parties: tuple[Party, Party, Party]) -> None:
    alice, bob, carol = parties
    to_a, to_b = await on_the_kernel(relay, alice, bob)
    to_carol = line(await relay.offer(CALL, "a", "b2", alice.sdp(), local=LOCAL))
    await relay.answer(CALL, "b2", "a", carol.sdp(), local=LOCAL)
    relay.drop_leg(CALL, "b1")
    await relay.query(CALL)
    bob.speak(to_b)
    assert await carol.hears(alice.speak(to_a))
    assert silent(bob.rtp)
    assert await alice.hears(carol.speak(to_carol))
    await lent(relay, alice, to_a, carol, to_carol)


async def test_a_party_on_hold_gets_nothing(relay: Relay, parties: tuple[Party, Party, Party]) -> None:
    alice, bob, _ = parties
    to_a, to_b = await on_the_kernel(relay, alice, bob)
    await relay.offer(CALL, "b1", "a", bob.sdp(host="0.0.0.0"), local=LOCAL)
    await relay.answer(CALL, "a", "b1", alice.sdp(), local=LOCAL)
    await relay.query(CALL)
    alice.speak(to_a)
    assert await alice.hears(bob.speak(to_b))
    assert silent(bob.rtp)


async def test_a_recording_that_starts_has_all_that_comes_from_then_on(
    relay: Relay, heard: Heard, parties: tuple[Party, Party, Party], tmp_path: Path
) -> None:
    alice, bob, _ = parties
    to_a, _ = await on_the_kernel(relay, alice, bob)
    relay.listen(CALL, "a", 101)
    relay.record(CALL, str(tmp_path / "message.wav"), 60.0)
    await relay.query(CALL)
    for _ in range(50):
        alice.speak(to_a)
    await relay.query(CALL)
    await asyncio.sleep(0.1)
    relay.stop_recording(CALL)
    await heard.until(lambda: heard.recorded)
    with wave.open(str(tmp_path / "message.wav")) as made:
        assert made.getnframes() == 50 * 160
    assert heard.recorded == [50 * 160 / wav_files.RATE]
    assert silent(bob.rtp)


async def test_silence_is_noticed_and_speech_through_the_kernel_is_none(
    relay: Relay, heard: Heard, parties: tuple[Party, Party, Party]
) -> None:
    alice, bob, _ = parties
    to_a, _ = await on_the_kernel(relay, alice, bob)
    for _ in range(140):                            # longer than the time-out of two seconds
        assert await bob.hears(alice.speak(to_a))
        await asyncio.sleep(0.02)
    assert heard.timed_out == []
    await heard.until(lambda: heard.timed_out)
    assert heard.timed_out == [CALL]


async def test_a_flood_through_the_kernel_is_cut_off(
    relay: Relay, heard: Heard, parties: tuple[Party, Party, Party]
) -> None:
    alice, bob, _ = parties
    to_a, _ = await on_the_kernel(relay, alice, bob)
    async with asyncio.timeout(SETTLE):
        while not heard.timed_out:
            for _ in range(500):
                alice.speak(to_a)
            await asyncio.sleep(0.02)
    await heard.until(lambda: relay.kernel().streams == 0)
    while not silent(bob.rtp):
        pass
    alice.speak(to_a)
    await relay.query(CALL)
    assert silent(bob.rtp)


async def test_a_worker_that_is_killed_takes_its_streams_with_it(
    relay: Relay, heard: Heard, parties: tuple[Party, Party, Party]
) -> None:
    alice, bob, _ = parties
    to_a, _ = await on_the_kernel(relay, alice, bob)
    for _ in range(20):
        assert await bob.hears(alice.speak(to_a))
    packets = await counted(relay)
    os.kill(relay.worker_pids()[0], signal.SIGKILL)
    await heard.until(lambda: heard.lost)
    await heard.until(lambda: relay.worker_pids())
    alice.speak(to_a)
    await asyncio.sleep(0.1)
    assert silent(bob.rtp)
    assert relay.kernel().packets >= packets > 0    # a counter does not go back
    assert relay.kernel().streams == 0


# ---- networks of their own


class Office:
    """Two phones, each on a cable of its own to the exchange."""

    def __init__(self, exchange: Namespace, one: Namespace, relay: Relay, alice: Party, bob: Party) -> None:
        self.exchange = exchange
        self.one = one
        self.relay = relay
        self.alice = alice
        self.bob = bob

    async def talk(self) -> tuple[Line, Line]:
        to_a, to_b = await bridged(self.relay, self.alice, self.bob, "10.9.1.1", "10.9.2.1")
        await lent(self.relay, self.alice, to_a, self.bob, to_b)
        return to_a, to_b


def checksums_by_device(namespace: Namespace, device: str, on: bool) -> None:
    """If so, a cable inside of one machine carries none, and nobody looks at them."""
    value = struct.pack("=II", CHECKSUMS_OF_SENDER, int(on))
    with namespace.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        kept = ctypes.create_string_buffer(value)
        ioctl(asking, ETHTOOL, struct.pack("16sP", device.encode(), ctypes.addressof(kept)))


@pytest.fixture
async def office(permitted: None, heard: Heard) -> AsyncIterator[Office]:
    with networks() as made:
        exchange, one, two = made.add("exchange"), made.add("alice"), made.add("bob")
        made.cable(exchange, "one", "10.9.1.1/24", one, "phone", "10.9.1.2/24")
        made.cable(exchange, "two", "10.9.2.1/24", two, "phone", "10.9.2.2/24")
        for namespace, device in ((exchange, "one"), (exchange, "two"), (one, "phone"), (two, "phone")):
            checksums_by_device(namespace, device, False)
        with one.inside():
            alice = Party("10.9.1.2", 0xA)
        with two.inside():
            bob = Party("10.9.2.2", 0xB)
        relay = Relay(ports="12000-12999", addresses=["10.9.1.1", "10.9.2.1"], kernel=True)
        with exchange.inside():
            starting = asyncio.ensure_future(relay.start(heard))
            await asyncio.sleep(0)                  # its workers are started inside, and nobody else is
        await starting
        try:
            yield Office(exchange, one, relay, alice, bob)
        finally:
            await relay.close()
            alice.close()
            bob.close()


async def test_from_one_network_to_another_with_fresh_headers(office: Office, heard: Heard) -> None:
    to_a, to_b = await office.talk()
    for option in (socket.IP_RECVTOS, IP_RECVTTL):
        office.bob.rtp.setsockopt(socket.IPPROTO_IP, option, 1)
    before = await counted(office.relay)
    for without_checksum, by_device in ((0, False), (1, False), (0, True)):
        office.alice.rtp.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, without_checksum)
        checksums_by_device(office.one, "phone", by_device)
        for _ in range(20):
            data = office.alice.speak(to_a)
            async with asyncio.timeout(SETTLE):
                while True:
                    try:
                        got, told, _, source = office.bob.rtp.recvmsg(2048, 256)
                        break
                    except BlockingIOError:
                        await asyncio.sleep(0.001)
            assert got == data
            assert source == (to_b.host, to_b.port)
            values = {kind: value[0] for _, kind, value in told}
            assert (values[socket.IP_TOS], values[socket.IP_TTL]) == (0xB8, 64)
    assert await counted(office.relay) - before >= 57
    office.relay.delete(CALL)
    from_a, _ = await heard.statistics(CALL)
    assert from_a.packets == office.alice.sequence - 100


async def test_a_change_of_the_network_is_taken_note_of(office: Office, heard: Heard) -> None:
    to_a, to_b = await office.talk()
    office.exchange.ip("link add other type veth peer name another")
    await heard.until(lambda: not office.relay.kernel().streams, SETTLE)
    assert await office.bob.hears(office.alice.speak(to_a))
    await lent(office.relay, office.alice, to_a, office.bob, to_b)


async def test_a_firewall_that_forbids_a_stream_is_obeyed(office: Office) -> None:
    to_a, to_b = await office.talk()
    office.exchange.nft("table ip t { chain input { type filter hook input priority 0; ip saddr 10.9.1.2 drop; }; }")
    async with asyncio.timeout(SETTLE + 4.0):
        while True:
            office.alice.speak(to_a)
            await asyncio.sleep(0.05)
            if silent(office.bob.rtp):
                break
    assert await office.alice.hears(office.bob.speak(to_b))     # the other way is not forbidden
    office.exchange.nft("flush ruleset")
    while not silent(office.bob.rtp):
        pass
    assert await office.bob.hears(office.alice.speak(to_a))


async def test_nothing_is_lent_while_there_is_a_policy_to_encrypt(office: Office, heard: Heard) -> None:
    to_a, to_b = await office.talk()
    office.exchange.ip("xfrm policy add src 192.0.2.1 dst 192.0.2.2 dir out tmpl proto esp mode tunnel")
    await heard.until(lambda: not office.relay.kernel().streams, SETTLE)
    for _ in range(150):                            # longer than it waits after news
        assert await office.bob.hears(office.alice.speak(to_a))
        await asyncio.sleep(0.02)
    assert office.relay.kernel().streams == 0
    office.exchange.ip("xfrm policy flush")
    await lent(office.relay, office.alice, to_a, office.bob, to_b)


# ---- who may, and who may not


def interpreter(path: Path, capabilities: str) -> str:
    """A Python with these capabilities and no others."""
    setpriv = require_tool("setpriv")
    command = f"{setpriv} --bounding-set={capabilities} --inh-caps=-all {shlex.quote(sys.executable)}"
    path.write_text(f"#!/bin/sh\nexec {command} \"$@\"\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def powerless(tmp_path: Path) -> str:
    """A Python whom the kernel refuses."""
    return sys.executable if trial() else interpreter(tmp_path / "python", "-all")


async def test_without_permission_the_worker_relays_and_says_why(
    powerless: str, heard: Heard, parties: tuple[Party, Party, Party], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pbxcore.media.channel.sys.executable", powerless)
    alice, bob, _ = parties
    relay = Relay(ports="12000-19999", addresses=[LOCAL], kernel=True)
    await relay.start(heard)
    try:
        assert relay.kernel().refusal
        to_a, to_b = await bridged(relay, alice, bob)
        for _ in range(80):
            assert await bob.hears(alice.speak(to_a))
            assert await alice.hears(bob.speak(to_b))
            await asyncio.sleep(0.02)
        assert (relay.kernel().streams, relay.kernel().packets) == (0, 0)
    finally:
        await relay.close()


def checked(program: str, cwd: Path) -> str:
    found = subprocess.run(
        [program, "-m", "pbxcore", "check"], cwd=cwd, capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    return found.stdout.splitlines()[-1]


def test_check_says_why_not(powerless: str, tmp_path: Path) -> None:
    told = checked(powerless, tmp_path)
    assert told.startswith("# the kernel relays no audio: ")
    if powerless != sys.executable:
        assert told.endswith("not permitted: it takes CAP_BPF and CAP_NET_ADMIN")


def test_two_capabilities_are_enough(permitted: None, tmp_path: Path) -> None:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can give capabilities away")
    told = checked(interpreter(tmp_path / "python", "-all,+bpf,+net_admin"), tmp_path)
    assert told == "# the kernel relays audio where it can"


async def test_switched_off_it_is_not_even_tried(heard: Heard) -> None:
    relay = Relay(ports="12000-19999", addresses=[LOCAL])
    await relay.start(heard)
    assert relay.kernel().refusal == "it is switched off"
    await relay.close()


