"""Every call is in every CRM, once: while the process is killed with -9 again and again, and two CRMs are down a third
of the time, throttle, lose answers, and answer twice. HOOKLINE_LONG=1 makes it 2,000 calls and twenty kills."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.contract.fakes.base import FakeCrm, Fault

ROOT = Path(__file__).parents[2]
LONG = bool(os.environ.get("HOOKLINE_LONG"))
CALLS, KILLS, RATE = (2000, 20, 40.0) if LONG else (60, 3, 25.0)
PATIENCE = 2400.0 if LONG else 240.0
WEATHER_SECONDS = 3.0 if LONG else 0.4
KINDS = ("espocrm", "dataverse")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def bad_weather(chance: random.Random) -> Callable[[], Fault | None]:
    """Down for a third of the time, in stretches; else every twentieth request meets something."""

    def fault() -> Fault | None:
        if random.Random(int(time.monotonic() / WEATHER_SECONDS) ^ salt).random() < 1 / 3:
            return "drop"
        if chance.random() < 0.05:
            return chance.choice(["throttle", "busy", "lose", "lose", "twice", "html", "broken"])
        return None

    salt = chance.getrandbits(32)
    return fault


def settings_of(directory: Path, fakes: list[FakeCrm]) -> Path:
    path = directory / "hookline.toml"
    lines = ['[office]\ncountry = "US"', f'[database]\nurl = "sqlite:///{directory}/office.db"']
    for place, fake in enumerate(fakes):
        keys = fake.settings() | {"name": f"crm{place}"}
        lines += ["[[crm.connector]]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
    path.write_text("\n".join(lines))
    return path


async def started(path: Path) -> Process:
    command = [sys.executable, "-m", "tests.contract.keeps_calls", str(path), str(CALLS), str(RATE)]
    return await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, env=ENVIRONMENT)


async def said_until(process: Process, enough: Callable[[list[str]], bool]) -> list[str]:
    lines: list[str] = []
    assert process.stdout is not None
    while not enough(lines):
        line = await process.stdout.readline()
        assert line, "it ended by itself"
        lines.append(line.decode().strip())
    return lines


async def reconciled(path: Path, *options: str) -> tuple[int, list[dict[str, Any]]]:
    command = [sys.executable, "-m", "pbxcore", "reconcile", "--json", "-c", str(path), *options]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, env=ENVIRONMENT)
    output, _ = await process.communicate()
    return process.returncode or 0, json.loads(output)["crms"]


async def test_every_call_is_in_both_crms_once(tmp_path: Path) -> None:
    chance = random.Random(20261123)
    fakes: list[FakeCrm] = [import_module(f"tests.contract.fakes.{kind}").Fake() for kind in KINDS]
    said: set[str] = set()
    async with asyncio.timeout(PATIENCE), fakes[0].serving(), fakes[1].serving():
        for fake in fakes:
            fake.retry_after = 0.2
            fake.weather = bad_weather(chance)
        path = settings_of(tmp_path, fakes)
        for _ in range(KILLS):
            process = await started(path)
            try:
                lines = CALLS // (KILLS + 1)
                said.update(await said_until(process, lambda lines, count=lines: len(lines) >= count))
                await asyncio.sleep(chance.uniform(0, 0.5))
            finally:
                process.send_signal(signal.SIGKILL)
                await process.wait()
        process = await started(path)
        try:
            said.update(await said_until(process, lambda lines: lines[-1:] == ["all told"]))
        finally:
            process.kill() if process.returncode is not None else await process.communicate(b"\n")
        for fake in fakes:
            fake.weather = lambda: None
        status, found = await reconciled(path)
    expected = {"calls": CALLS, "records": CALLS, "missing": 0, "doubled": 0}
    assert [{key: one[key] for key in expected} for one in found] == [expected] * 3
    assert status == 0
    for fake in fakes:
        told = fake.calls()
        assert Counter(call.external_id for call in told) == Counter(f"call{number}" for number in range(CALLS))
        assert Counter(fake.contact_numbers()).most_common(1)[0][1] == 1   # nobody was made twice
        assert sum(call.completed for call in told) > CALLS / 3 - KILLS * 30
        assert all(call.contact_id for call in told)
