"""One scenario, both backends: our own workers and a real rtpengine must be alike for the call logic."""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from pbxcore.media import bencode, ringback, tone, wav
from pbxcore.media.backend import MediaBackend, MediaError
from pbxcore.media.factory import make_backend
from pbxcore.media.ng import Daemon
from pbxcore.media.rtpengine import Rtpengine
from pbxcore.settings import Media
from tests.conftest import require_tool
from tests.ports import free_port
from tests.wire.parties import WAIT, Heard, Party, description, free_range, line, receive, silent

LOCAL = "127.0.0.1"
CALL = "c1"


def started(control: int, ports: tuple[int, int]) -> subprocess.Popen[bytes]:
    """A real rtpengine in user space."""
    first, last = ports
    return subprocess.Popen([
        require_tool("rtpengine"), "--config-file=none", "--table=-1", f"--interface={LOCAL}",
        f"--listen-ng={LOCAL}:{control}", "--foreground", "--log-stderr", "--log-level=3", f"--port-min={first}",
        f"--port-max={last}",
    ])  # fmt: skip


@pytest.fixture(scope="module")
def daemon() -> Iterator[str]:
    """The address of one."""
    control = free_port()
    process = started(control, free_range(200))
    yield f"udp:{LOCAL}:{control}"
    process.terminate()
    process.wait()


@pytest.fixture
def call_id() -> str:
    """Never the same twice: the daemon outlives a test that failed."""
    return secrets.token_hex(4)


@pytest.fixture(params=["builtin", "rtpengine"])
async def backend(request: pytest.FixtureRequest, heard: Heard) -> AsyncIterator[MediaBackend]:
    if request.param == "rtpengine":
        settings = Media(backend="rtpengine", rtpengine=(request.getfixturevalue("daemon"),))
    else:
        settings = Media(ports="12000-19999")
    backend = make_backend(settings, [LOCAL])
    for attempt in range(5):
        try:
            await backend.start(heard)
            break
        except MediaError:          # the daemon is still starting
            if attempt == 4:
                raise
    yield backend
    await backend.close()


async def talk(backend: MediaBackend, a: Party, to_a: bytes, b: Party, to_b: bytes) -> None:
    """Both hear each other. The first packets may be early for the relay: it is told one way, without an answer."""
    for speaker, sdp, listener in ((a, to_a, b), (b, to_b, a)):
        for _ in range(50):
            data = speaker.speak(line(sdp))
            try:
                async with asyncio.timeout(0.1):
                    assert await listener.hears(data)
                break
            except TimeoutError:
                continue
        else:
            raise AssertionError(f"{speaker.host} is not heard")


async def test_call_from_offer_to_delete(
    backend: MediaBackend, call_id: str, heard: Heard, parties: tuple[Party, Party, Party]
) -> None:
    alice, bob, _ = parties
    to_b = await backend.offer(call_id, "a", "b1", alice.sdp(), local=LOCAL, source=alice.host)
    to_a = await backend.answer(call_id, "b1", "a", bob.sdp(), local=LOCAL, source=bob.host)
    assert {line(to_a).host, line(to_b).host} == {LOCAL}
    assert backend.ports_in_use() == 2
    await talk(backend, alice, to_a, bob, to_b)
    for _ in range(10):
        assert await bob.hears(alice.speak(line(to_a)))
    backend.delete(call_id)
    from_a, from_b = await heard.statistics(call_id)
    assert (from_a.packets, from_a.octets) == (11, 11 * 172)
    assert (from_b.packets, from_b.octets) == (1, 172)
    assert backend.ports_in_use() == 0


@pytest.mark.parametrize(("leaves", "stays"), [("b1", "a"), ("a", "b1")])
async def test_a_third_party_takes_the_place_of_one(
    backend: MediaBackend, call_id: str, heard: Heard, parties: tuple[Party, Party, Party], leaves: str, stays: str
) -> None:
    """A transfer: the newcomer is offered the media of the one who stays, and that one then the newcomer's."""
    alice, bob, carol = parties
    await backend.offer(call_id, "a", "b1", alice.sdp(), local=LOCAL, source=alice.host)
    await backend.answer(call_id, "b1", "a", bob.sdp(), local=LOCAL, source=bob.host)
    one = alice if stays == "a" else bob
    await backend.offer(call_id, stays, "b2", one.sdp(), local=LOCAL, source=one.host)
    to_one = await backend.offer(call_id, "b2", stays, carol.sdp(), local=LOCAL, source=carol.host)
    to_carol = await backend.answer(call_id, stays, "b2", one.sdp(), local=LOCAL, source=one.host)
    backend.ring(call_id, stays, one.sdp())
    assert await receive(one.rtp)
    backend.quiet(call_id)
    with suppress(TimeoutError):
        while True:
            async with asyncio.timeout(0.2):    # ten packets' time
                await receive(one.rtp)
    backend.drop_leg(call_id, leaves)
    await talk(backend, one, to_one, carol, to_carol)
    backend.delete(call_id)
    await heard.statistics(call_id)
    assert backend.ports_in_use() == 0


async def test_stranger_is_never_answered(
    backend: MediaBackend, call_id: str, parties: tuple[Party, Party, Party]
) -> None:
    alice, bob, stranger = parties
    to_b = await backend.offer(call_id, "a", "b1", alice.sdp(), local=LOCAL, source=alice.host)
    to_a = await backend.answer(call_id, "b1", "a", bob.sdp(), local=LOCAL, source=bob.host)
    for sdp in (to_a, to_b):
        stranger.speak(line(sdp))
    await talk(backend, alice, to_a, bob, to_b)
    for sdp in (to_a, to_b):
        stranger.speak(line(sdp))
    assert await bob.hears(alice.speak(line(to_a)))
    assert await alice.hears(bob.speak(line(to_b)))
    assert silent(stranger.rtp)
    backend.delete(call_id)


async def test_phone_behind_nat(backend: MediaBackend, call_id: str, parties: tuple[Party, Party, Party]) -> None:
    alice, bob, _ = parties
    private = alice.sdp(host="127.1.2.3")
    await backend.offer(call_id, "a", "b1", private, local=LOCAL, source=alice.host)
    to_a = await backend.answer(call_id, "b1", "a", bob.sdp(), local=LOCAL, source=bob.host)
    to_b_line = line(to_a)
    for _ in range(50):
        data = alice.speak(to_b_line)
        try:
            async with asyncio.timeout(0.1):
                assert await bob.hears(data)
            break
        except TimeoutError:
            continue
    assert await bob.hears(alice.speak(to_b_line))
    backend.delete(call_id)


async def test_rtpengine_behind_a_router_names_the_router(
    daemon: str, heard: Heard, call_id: str, parties: tuple[Party, Party, Party]
) -> None:
    external, (alice, bob, _) = "203.0.113.7", parties
    backend = make_backend(Media(backend="rtpengine", rtpengine=(daemon,)), (), lambda shown: LOCAL)
    await backend.start(heard)
    try:
        to_b = await backend.offer(call_id, "a", "b1", alice.sdp(), local=external, source=alice.host)
        assert f"c=IN IP4 {external}".encode() in to_b
        to_a = await backend.answer(call_id, "b1", "a", bob.sdp(), local=LOCAL, source=bob.host)
        assert external.encode() not in to_a
        backend.delete(call_id)
        await heard.statistics(call_id)
    finally:
        await backend.close()


async def test_forks_hold_and_an_offer_from_the_party_called(
    backend: MediaBackend, call_id: str, heard: Heard, parties: tuple[Party, Party, Party]
) -> None:
    alice, bob, carol = parties
    to_bob = await backend.offer(call_id, "a", "b1", alice.sdp(), local=LOCAL)
    to_carol = await backend.offer(call_id, "a", "b2", alice.sdp(), local=LOCAL)
    early = await backend.answer(call_id, "b1", "a", bob.sdp(), local=LOCAL)
    await talk(backend, alice, early, bob, to_bob)
    to_a = await backend.answer(call_id, "b2", "a", carol.sdp(), local=LOCAL)
    await talk(backend, alice, to_a, carol, to_carol)
    backend.drop_leg(call_id, "b1")
    bob.speak(line(to_bob))
    assert await alice.hears(carol.speak(line(to_carol)))

    held = await backend.offer(call_id, "b2", "a", carol.sdp("sendonly"), local=LOCAL)
    assert line(held).port == line(to_a).port
    assert b"a=sendonly" in held
    back = await backend.answer(call_id, "a", "b2", alice.sdp("recvonly"), local=LOCAL)
    assert line(back).port == line(to_carol).port
    await backend.offer(call_id, "a", "b2", alice.sdp(), local=LOCAL)
    await backend.answer(call_id, "b2", "a", carol.sdp(), local=LOCAL)
    await talk(backend, alice, to_a, carol, to_carol)
    backend.delete(call_id)
    from_a, from_b = await heard.statistics(call_id)
    assert from_a.packets >= 3
    assert from_b.packets >= 3


async def test_late_offer(
    backend: MediaBackend, call_id: str, heard: Heard, parties: tuple[Party, Party, Party]
) -> None:
    alice, bob, _ = parties
    to_a = await backend.offer(call_id, "b1", "a", bob.sdp(), local=LOCAL)
    to_b = await backend.answer(call_id, "a", "b1", alice.sdp(), local=LOCAL)
    await talk(backend, alice, to_a, bob, to_b)
    backend.delete(call_id)
    from_a, from_b = await heard.statistics(call_id)
    assert (from_a.packets, from_b.packets) == (1, 1)


async def test_what_cannot_be_relayed(backend: MediaBackend, call_id: str, parties: tuple[Party, Party, Party]) -> None:
    alice, bob, _ = parties
    for unusable in (b"", b"garbage", alice.sdp(host="224.0.0.1")):
        with pytest.raises(MediaError):
            await backend.offer(call_id, "a", "b1", unusable, local=LOCAL)
    with pytest.raises(MediaError):
        await backend.answer(call_id, "b1", "a", bob.sdp(), local=LOCAL)
    backend.drop_leg(call_id, "b1")
    backend.delete(call_id)


class FakeDaemon(asyncio.DatagramProtocol):
    """Answers pings, and offers too while it is `willing`; `deaf` loses the first datagrams."""

    def __init__(self, *, willing: bool = True, deaf: int = 0) -> None:
        self.willing = willing
        self.deaf = deaf
        self.cookies: list[bytes] = []
        self.told: list[dict[str, Any]] = []

    async def open(self) -> str:
        self.transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: self, local_addr=(LOCAL, 0)
        )
        return f"udp:{LOCAL}:{self.transport.get_extra_info('sockname')[1]}"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        pass

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        cookie, _, body = data.partition(b" ")
        self.cookies.append(cookie)
        command = bencode.decode(body)
        assert isinstance(command, dict)
        self.told.append(command)
        if self.deaf:
            self.deaf -= 1
        elif b"4:ping" in body:
            self.transport.sendto(cookie + b" d6:result4:ponge", addr)
        elif self.willing:
            sdp = description(LOCAL, 30000)
            self.transport.sendto(cookie + b" d6:result2:ok3:sdp%d:%be" % (len(sdp), sdp), addr)


class TestSounds:
    """They are read from the disk while the loop goes on."""

    @pytest.fixture
    async def fake(self) -> AsyncIterator[FakeDaemon]:
        fake = FakeDaemon()
        yield fake
        fake.transport.close()

    @pytest.fixture
    async def attending(self, fake: FakeDaemon, heard: Heard) -> AsyncIterator[Rtpengine]:
        backend = Rtpengine([await fake.open()])
        await backend.start(heard)
        with closing(Party("127.0.0.2", 1)) as party:
            await backend.attend(CALL, "a", party.sdp(), description(LOCAL, 9999), local=LOCAL)
        fake.told.clear()
        yield backend
        await backend.close()

    async def test_a_sound_is_played_and_its_end_told(
        self, attending: Rtpengine, fake: FakeDaemon, heard: Heard, tmp_path: Path
    ) -> None:
        for name, sound in (("one", b"\x01"), ("two", b"\x02")):
            (tmp_path / name).write_bytes(sound * 80)
        files = [str(tmp_path / name) for name in ("one", "none", "two")]
        attending.play(CALL, "a", files, payload=0, number=3)
        assert fake.told == []
        await heard.until(lambda: heard.played == [3])
        [command] = fake.told
        assert command["command"] == "play media"
        assert str(command["blob"]).endswith("\x01" * 80 + "\x02" * 80)

    async def test_nothing_that_can_be_heard_is_over_at_once(
        self, attending: Rtpengine, fake: FakeDaemon, heard: Heard, tmp_path: Path
    ) -> None:
        attending.play(CALL, "a", [str(tmp_path / "none")], payload=0, number=3)
        await heard.until(lambda: heard.played == [3])
        assert fake.told == []

    async def test_the_ringing_tone_fits_into_a_datagram(
        self, attending: Rtpengine, fake: FakeDaemon, heard: Heard
    ) -> None:
        attending.ring(CALL, "a", description(LOCAL, 9999))
        await heard.until(lambda: fake.told)
        pcm = wav.decode(str(fake.told[0]["blob"]).encode("utf-8", "surrogateescape"))
        assert len(pcm) == 2 * wav.RATE * (ringback.ON + ringback.OFF)
        assert tone.share(pcm[: 2 * wav.RATE], ringback.HERTZ) > 0.99

    @pytest.mark.parametrize("later", ["quiet", "ring", "play", "delete"])
    async def test_what_comes_later_wins(
        self, attending: Rtpengine, fake: FakeDaemon, heard: Heard, monkeypatch: pytest.MonkeyPatch, later: str
    ) -> None:
        read, loop = threading.Event(), asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))

        def slowly(files: Sequence[str]) -> bytes:
            read.wait()
            return files[0].encode() * 40

        monkeypatch.setattr("pbxcore.media.rtpengine._sound_of", slowly)
        attending.play(CALL, "a", ["slow"], payload=0, number=1)
        if later == "play":
            attending.play(CALL, "a", ["next"], payload=0, number=2)
        elif later == "ring":
            attending.ring(CALL, "a", description(LOCAL, 9999))
        elif later == "quiet":
            attending.quiet(CALL)
        else:
            attending.delete(CALL)
        read.set()
        await loop.run_in_executor(None, int)       # behind what was to be read
        await attending._daemons[0].ping()          # and behind what was said then
        assert not any("slow" in str(told.get("blob", "")) for told in fake.told)
        if later == "play":
            await heard.until(lambda: heard.played == [2])


class TestFailOver:
    async def test_lost_request_is_repeated_with_its_cookie(self, heard: Heard) -> None:
        fake = FakeDaemon(deaf=1)
        backend = Rtpengine([await fake.open()])
        await backend.start(heard)
        assert len(fake.cookies) == 2
        assert len(set(fake.cookies)) == 1
        await backend.close()
        fake.transport.close()

    async def test_new_call_goes_to_a_daemon_that_answers(self, heard: Heard) -> None:
        good, bad = FakeDaemon(), FakeDaemon(willing=False)
        backend = Rtpengine([await bad.open(), await good.open()])
        await backend.start(heard)
        with closing(Party("127.0.0.2", 1)) as party:
            for n in range(2):
                assert await backend.offer(f"c{n}", "a", "b1", party.sdp(), local=LOCAL)
        await backend.close()
        good.transport.close()
        bad.transport.close()

    async def test_daemon_that_died_loses_its_calls(self, heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pbxcore.media.ng.PING_SECONDS", 0.02)
        monkeypatch.setattr("pbxcore.media.ng.REPEATS", (0.02, 0.02))
        fake = FakeDaemon()
        backend = Rtpengine([await fake.open()])
        await backend.start(heard)
        with closing(Party("127.0.0.2", 1)) as party:
            await backend.offer(CALL, "a", "b1", party.sdp(), local=LOCAL)
        fake.transport.close()
        await heard.until(lambda: heard.lost)
        assert heard.lost == [CALL]
        await backend.close()

    async def test_of_two_real_daemons_one_is_killed_and_comes_back(
        self, heard: Heard, parties: tuple[Party, Party, Party], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pbxcore.media.ng.PING_SECONDS", 0.1)
        alice, bob, _ = parties
        places = [(free_port(), free_range(20)) for _ in range(2)]
        processes = [started(*place) for place in places]
        backend = Rtpengine([f"udp:{LOCAL}:{control}" for control, _ in places])

        async def call(call_id: str) -> tuple[bytes, bytes, int]:
            """Both hear each other; what they were told, and which daemon has it."""
            to_b = await backend.offer(call_id, "a", "b1", alice.sdp(), local=LOCAL)
            to_a = await backend.answer(call_id, "b1", "a", bob.sdp(), local=LOCAL)
            await talk(backend, alice, to_a, bob, to_b)
            port = line(to_a).port
            return to_a, to_b, next(n for n, (_, (first, last)) in enumerate(places) if first <= port <= last)

        numbers = count(1)
        running = False
        try:
            async with asyncio.timeout(WAIT):
                while not running:
                    with suppress(MediaError):              # the daemons are still starting
                        await backend.start(heard)
                        running = True
            await heard.until(lambda: all(daemon.alive for daemon in backend._daemons))
            _, _, lost = await call(f"c{next(numbers)}")
            to_a, to_b, kept = await call(f"c{next(numbers)}")
            assert {lost, kept} == {0, 1}           # they take turns
            processes[lost].kill()
            processes[lost].wait()
            await heard.until(lambda: heard.lost)
            assert len(heard.lost) == 1             # the other daemon keeps its own
            assert [(await call(f"c{next(numbers)}"))[2] for _ in range(3)] == [kept] * 3
            await talk(backend, alice, to_a, bob, to_b)     # the other one's call has noticed nothing
            processes[lost] = started(*places[lost])
            await heard.until(lambda: backend._daemons[lost].alive)
            assert lost in [(await call(f"c{next(numbers)}"))[2] for _ in range(6)]      # it is given calls again
        finally:
            for process in processes:
                process.kill()
                process.wait()
            await backend.close()

    async def test_nobody_answers(self, heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pbxcore.media.ng.REPEATS", (0.02, 0.02))
        backend = Rtpengine([f"udp:{LOCAL}:{free_port()}"])
        with pytest.raises(MediaError, match="no rtpengine answers"):
            await backend.start(heard)

    async def test_silence_is_noticed_by_asking(self, heard: Heard) -> None:
        fake = FakeDaemon()
        backend = Rtpengine([await fake.open()], timeout_seconds=0.2)
        await backend.start(heard)
        with closing(Party("127.0.0.2", 1)) as party:
            await backend.offer(CALL, "a", "b1", party.sdp(), local=LOCAL)
            await backend.answer(CALL, "b1", "a", party.sdp(), local=LOCAL)
        await heard.until(lambda: heard.timed_out)
        assert heard.timed_out == [CALL]
        await backend.close()
        fake.transport.close()

    async def test_answers_that_are_garbage_or_strange_do_no_harm(self, heard: Heard) -> None:
        fake = FakeDaemon()
        daemon = Daemon(await fake.open(), lambda daemon: None)
        await daemon.open()
        for garbage in (b"", b" ", b"unknown d6:result2:oke", b"\xff\xfe"):
            daemon.datagram_received(garbage, None)
        asked = daemon.request({"command": "ping"})
        cookie = next(iter(daemon._requests))
        daemon.datagram_received(cookie + b" not bencode", None)
        assert (await asked)["result"] == "error"
        daemon.close()
        fake.transport.close()

    @pytest.mark.parametrize("spec", ["", "udp:127.0.0.1", "udp:127.0.0.1:0", "udp:127.0.0.1:x", ":2223"])
    def test_unreadable_address(self, spec: str) -> None:
        with pytest.raises(ValueError, match="rtpengine's address"):
            Rtpengine([spec])

    def test_no_address(self) -> None:
        with pytest.raises(ValueError, match="no rtpengine is named"):
            Rtpengine([])
