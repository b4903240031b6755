"""`hookline phone` as a user runs it: what it prints, and the exit status it leaves."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from pbxcore.media import tone, wav
from pbxcore.phone.audio import tone_sound
from pbxcore.phone.errand import frequency
from pbxcore.phone.host import Phone, PhoneHost
from tests.ports import free_port

COMMAND = [sys.executable, "-c", "from pbxcore.phone.command import phone; phone()"]


async def run(*options: str) -> tuple[int, list[dict[str, Any]]]:
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *options, "--json",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, error = await asyncio.wait_for(process.communicate(), 30)
    assert error == b""
    return process.returncode or 0, [json.loads(line) for line in out.splitlines()]


async def bob(host: PhoneHost, hz: int) -> tuple[Phone, str]:
    listener = await host.listen()
    phone = host.phone("sip:bob@127.0.0.1", sound=tone_sound(hz))
    phone.agent.answer_after = 0
    return phone, f"sip:bob@127.0.0.1:{listener.port}"


@pytest.mark.alone     # the length of the call is timed
async def test_a_call_that_goes_as_wished(tmp_path: Path) -> None:
    recorded = tmp_path / "heard.wav"
    async with PhoneHost() as host:
        phone, uri = await bob(host, 440)
        status, events = await run(
            "--call", uri, "--tone", "1000", "--expect-tone", "440", "--dtmf", "12#", "--seconds", "1.5",
            "--record", str(recorded),
        )  # fmt: skip
        assert status == 0
        assert [event["event"] for event in events] == ["answered", "ended"]
        end = events[-1]
        assert (end["heard_hz"], end["lost"], end["by"]) == (440, 0, "us")
        assert 1.4 < end["seconds"] < 2.0
        digits = [(await phone.wait("dtmf")).detail[0] for _ in range(3)]
        assert "".join(digits) == "12#"
    assert tone.share(wav.read(recorded)[8000:16000], 440) > 0.95


async def test_the_wrong_tone_is_a_failure() -> None:
    async with PhoneHost() as host:
        _, uri = await bob(host, 700)
        status, events = await run("--call", uri, "--expect-tone", "440", "--seconds", "0.8")
    assert status == 1
    assert events[-1]["reason"] == "expected 440 Hz, heard 700"


async def test_a_refusal_is_a_failure_and_says_which() -> None:
    async with PhoneHost() as host:
        phone, uri = await bob(host, 440)
        phone.agent.reject_with = 486
        status, events = await run("--call", uri)
    assert status == 1
    assert events[-1]["reason"] == "not answered: 486 Busy Here"


async def test_a_registrar_that_is_not_there_is_a_failure_and_says_so() -> None:
    async with PhoneHost() as host:
        _, uri = await bob(host, 440)   # a phone is no registrar
        status, events = await run("--register", uri, "--password", "x")
    assert status == 1
    assert events[-1]["reason"] == "not registered: 404 Not Found"


async def test_the_command_answers_plays_a_file_once_and_hangs_up(tmp_path: Path) -> None:
    spoken = tmp_path / "spoken.wav"
    wav.write(spoken, tone.sine(800, 0.5))
    port = free_port()
    command = asyncio.create_task(
        run("--listen", f"udp:127.0.0.1:{port}", "--answer", "--play", str(spoken), "--once", "--wait", "20")
    )
    async with PhoneHost() as host:
        await host.listen()
        caller = host.phone("sip:alice@127.0.0.1", display="Alice")
        call = None
        while call is None and not command.done():   # until the other process listens
            try:
                call = await caller.dial(f"sip:anybody@127.0.0.1:{port}", within=10)
            except TimeoutError:
                continue
        assert call is not None
        await caller.wait("ended", within=10)
        status, events = await command
        assert frequency(caller.audio(call).heard()) == 800
    assert status == 0
    assert [event["event"] for event in events] == ["incoming", "answered", "ended"]
    assert (events[0]["number"], events[0]["name"]) == ("alice", "Alice")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], b"say what to do"),
        (["--call", "sip:a@127.0.0.1", "--answer"], b"either calls"),
        (["--call", "sip:a@127.0.0.1", "--dtmf", "12x"], b"--dtmf takes the digits"),
        (["--call", "sip:a@127.0.0.1", "--tone", "20"], b"--tone"),
    ],
)
async def test_nonsense_on_the_command_line_is_status_2(options: list[str], words: bytes) -> None:
    process = await asyncio.create_subprocess_exec(*COMMAND, *options, stderr=asyncio.subprocess.PIPE)
    _, error = await process.communicate()
    assert process.returncode == 2
    assert words in error


@pytest.mark.parametrize("hz", [60, 350, 441, 1003, 3400])
def test_the_tone_heard_is_named(hz: int) -> None:
    pcm = tone.silence(0.7) + tone.sine(hz, 1.2) + tone.silence(0.3)
    found = frequency(pcm)
    assert found is not None
    assert abs(found - hz) <= 2


def test_silence_and_noise_are_no_tone() -> None:
    assert frequency(b"") is None
    assert frequency(tone.silence(1.0)) is None
    noise = random.Random(1).randbytes(16000)
    assert frequency(noise) is None
