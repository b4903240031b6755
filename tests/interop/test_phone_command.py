"""`hookline phone`, twice, through a running exchange: nothing but the command line on either side."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pbxcore.media import tone, wav
from tests.interop.hearing import purity
from tests.interop.server import PATIENCE, ROOT, Server, password_of, running, wait_until

CALLER_HZ, DESK_HZ = 700, 1100


class Command:
    """One `hookline phone --register ... --json`, as somebody would type it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []

    @classmethod
    async def run(
        cls, server: Server, number: str, *options: object, transport: str = "udp", host: str = "127.0.0.1"
    ) -> Command:
        address, port = server.address(transport, host)
        place = f"[{address}]" if ":" in address else address
        aor = f"sip:{number}@{place}:{port};transport={transport}"
        environment = {**os.environ, "HOOKLINE_PASSWORD": password_of(number)}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pbxcore", "phone", "--register", aor, *map(str, options), "--json",
            cwd=ROOT, env=environment, stdin=DEVNULL, stdout=PIPE, stderr=PIPE,
        )  # fmt: skip
        return cls(process)

    async def event(self, name: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """The next event of this name."""
        assert self.process.stdout is not None
        async with asyncio.timeout(seconds):
            while line := await self.process.stdout.readline():
                self.events.append(json.loads(line))
                if self.events[-1]["event"] == name:
                    return self.events[-1]
        raise AssertionError(f"no {name}: {self.events}")

    async def end(self, seconds: float = PATIENCE) -> int:
        """The exit status; the rest of the events are in `events`."""
        out, complaints = await asyncio.wait_for(self.process.communicate(), seconds)
        self.events += [json.loads(line) for line in out.splitlines()]
        assert complaints == b""
        assert self.process.returncode is not None
        return self.process.returncode

    def named(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == name]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("phone")) as server:
        yield server


@pytest.mark.parametrize(("transport", "host"), [("udp", "127.0.0.1"), ("tcp", "::1")])
async def test_two_talk_and_press_digits(server: Server, tmp_path: Path, transport: str, host: str) -> None:
    before = len(server.records())
    said, heard = tmp_path / "said.wav", tmp_path / "heard.wav"
    wav.write(said, tone.sine(CALLER_HZ, 1.0))
    desk = await Command.run(
        server, "102", "--answer", "--tone", DESK_HZ, "--expect-tone", CALLER_HZ, "--record", heard, "--wait", 15,
        transport=transport, host=host,
    )  # fmt: skip
    await desk.event("registered")
    caller = await Command.run(
        server, "101", "--call", "102", "--play", said, "--expect-tone", DESK_HZ, "--dtmf", "15#", "--seconds", 2.5,
        transport=transport, host=host,
    )  # fmt: skip
    assert (await caller.end(), await desk.end()) == (0, 0)
    assert caller.named("ended")[0]["by"] == "us"
    assert caller.named("ended")[0]["heard_hz"] == DESK_HZ
    assert desk.named("incoming")[0]["number"] == "101"
    assert desk.named("incoming")[0]["name"] == "Desk 101"
    assert "".join(event["digit"] for event in desk.named("dtmf")) == "15#"
    assert purity(wav.read(heard), CALLER_HZ) > 0.6     # the digits tear it
    assert purity(wav.read(heard), DESK_HZ) == 0
    wait_until(lambda: len(server.records()) > before, "a call record")
    [record] = server.records()[before:]
    assert (record["caller"], record["called"], record["hung_up_by"]) == ("101", "102", "caller")


async def test_a_phone_that_refuses(server: Server) -> None:
    desk = await Command.run(server, "102", "--reject", 486, "--seconds", 8)
    await desk.event("registered")
    caller = await Command.run(server, "101", "--call", "102")
    assert await caller.end() == 1
    assert caller.events[-1]["reason"] == "not answered: 486 Busy Here"
    desk.process.terminate()
    assert await desk.end() == 0


async def test_nobody_there(server: Server) -> None:
    caller = await Command.run(server, "101", "--call", "102")
    assert await caller.end() == 1
    assert caller.events[-1]["reason"] == "not answered: 480 Temporarily Unavailable"


async def test_a_wrong_password(server: Server) -> None:
    phone = await Command.run(server, "101", "--password", "wrong", "--seconds", 5)
    assert await phone.end() == 1
    assert phone.events[-1]["reason"] == "not registered: 403 Forbidden"
