"""Two phones on loopback call each other, peer to peer, over real sockets: what is said is heard, and only that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pbxcore.media import tone, wav
from pbxcore.phone.audio import Sound, tone_sound
from pbxcore.phone.call import PhoneCall
from pbxcore.phone.host import CallFailed, Phone, PhoneHost

HIGH, LOW = 1000, 440


class Pair:
    def __init__(self, alice: Phone, bob: Phone, bob_uri: str) -> None:
        self.alice, self.bob, self.bob_uri = alice, bob, bob_uri

    async def connect(self, **options: bool) -> tuple[PhoneCall, PhoneCall]:
        call = await self.alice.dial(self.bob_uri, **options)
        incoming = (await self.bob.wait("incoming")).call
        assert incoming is not None
        return call, incoming


@pytest.fixture(params=["udp:127.0.0.1:0", "tcp:127.0.0.1:0", "udp:[::1]:0"])
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    async with PhoneHost() as one, PhoneHost() as other:
        await one.listen(request.param)
        listener = await other.listen(request.param)
        transport = ";transport=tcp" if listener.transport == "TCP" else ""
        host = "[::1]" if listener.host == "::1" else listener.host
        alice = one.phone(f"sip:alice@{host}", sound=tone_sound(HIGH))
        bob = other.phone(f"sip:bob@{host}", sound=tone_sound(LOW))
        bob.agent.answer_after = 0
        yield Pair(alice, bob, f"sip:bob@{host}:{listener.port}{transport}")
        for phone in (alice, bob):
            assert phone.agent.layer.counters.stray_responses == 0


@pytest.mark.alone     # packets are counted by the time that has passed
async def test_each_hears_the_other_s_tone_and_only_that(pair: Pair) -> None:
    call, incoming = await pair.connect()
    await asyncio.sleep(0.6)
    hears, heard = pair.alice.audio(call), pair.bob.audio(incoming)
    assert hears.share(LOW, 0.4) > 0.99
    assert hears.share(HIGH, 0.4) < 0.01
    assert heard.share(HIGH, 0.4) > 0.99
    assert heard.share(LOW, 0.4) < 0.01
    report = hears.report
    assert 20 <= report.received <= 45
    assert report.lost == 0
    assert 20 <= report.sent <= 45
    await pair.alice.hang_up(call)
    await pair.bob.wait("ended")
    assert incoming.ended_by == "them"


async def test_digits_arrive_once_each_and_in_order(pair: Pair) -> None:
    call, incoming = await pair.connect()
    pair.alice.audio(call).press("1337#")
    digits = [(await pair.bob.wait("dtmf")).detail[0] for _ in range(5)]
    assert "".join(digits) == "1337#"
    call.press("*", info=True)
    assert (await pair.bob.wait("dtmf")).detail == ("*",)
    await asyncio.sleep(0.1)
    assert pair.bob.audio(incoming).digits == "1337#"


async def test_who_is_held_is_not_heard_until_resumed(pair: Pair) -> None:
    call, incoming = await pair.connect()
    call.hold()
    assert (await pair.bob.wait("held")).detail == (True,)
    await asyncio.sleep(0.1)
    before = pair.alice.audio(call).report.received
    await asyncio.sleep(0.15)
    assert pair.alice.audio(call).report.received == before
    assert pair.bob.audio(incoming).report.lost == 0
    call.resume()
    assert (await pair.bob.wait("held")).detail == (False,)
    await asyncio.sleep(0.3)
    pair.alice.audio(call).forget()
    await asyncio.sleep(0.2)
    assert pair.alice.audio(call).share(LOW, 0.2) > 0.99


async def test_a_late_offer_gives_audio_both_ways(pair: Pair) -> None:
    call, incoming = await pair.connect(late_offer=True)
    await asyncio.sleep(0.3)
    assert pair.alice.audio(call).share(LOW, 0.2) > 0.99
    assert pair.bob.audio(incoming).share(HIGH, 0.2) > 0.99


async def test_a_call_that_is_refused_and_one_that_is_cancelled(pair: Pair) -> None:
    pair.bob.agent.answer_after = None
    pair.bob.agent.reject_with = 486
    with pytest.raises(CallFailed, match="486 Busy Here"):
        await pair.alice.dial(pair.bob_uri)
    pair.bob.agent.reject_with = None
    call = pair.alice.agent.call(pair.bob_uri)
    await pair.alice.wait("progress")
    await pair.alice.hang_up(call)
    assert (call.status, call.ended_by) == (487, "us")


async def test_wav_in_and_wav_out(tmp_path: Path) -> None:
    spoken, recorded = tmp_path / "spoken.wav", tmp_path / "recorded.wav"
    wav.write(spoken, tone.sine(800, 0.3))
    async with PhoneHost() as host:
        listener = await host.listen()
        alice = host.phone("sip:alice@127.0.0.1", sound=Sound.wav(spoken, repeat=False))
        bob = host.phone("sip:bob@127.0.0.1", record=str(recorded))
        bob.agent.answer_after = 0
        call = await alice.dial(f"sip:bob@127.0.0.1:{listener.port}")
        await asyncio.sleep(0.6)
        assert alice.audio(call).played_out.is_set()
        await alice.hang_up(call)
        await bob.wait("ended")
    heard = wav.read(recorded)
    assert len(heard) > 0.4 * 16000
    assert tone.share(heard[: int(0.3 * 16000)], 800) > 0.95
    assert tone.level(heard[int(0.35 * 16000) :]) < 0.001


async def test_many_calls_share_one_timer() -> None:
    async with PhoneHost() as host:
        listener = await host.listen()
        bob = host.phone("sip:bob@127.0.0.1", sound=tone_sound(LOW))
        bob.agent.answer_after = 0
        callers = [host.phone(f"sip:a{n}@127.0.0.1", sound=tone_sound(HIGH + 10 * n)) for n in range(20)]
        target = f"sip:bob@127.0.0.1:{listener.port}"
        calls = await asyncio.gather(*(phone.dial(target) for phone in callers))
        await asyncio.sleep(0.5)
        for phone, call in zip(callers, calls, strict=True):
            assert phone.audio(call).share(LOW, 0.2) > 0.99
        heard = sorted(round(tone.strongest(bob.audio(call).heard(0.2), tuple(range(HIGH, HIGH + 200, 10))) or 0)
                       for call in bob.agent.calls)
        assert heard == [HIGH + 10 * n for n in range(20)]
