"""What is durable stays, through kill -9 and through a database that goes away."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from crmhooks.embedded.desk import EmbeddedCrm
from pbxcore import store as stores
from pbxcore.bus import Bus
from pbxcore.control import ContactEntry
from pbxcore.hooks import Disposition
from pbxcore.store import Store
from tests.contract.postgres import Cluster
from tests.unit.store.calls import answered, call, ended

ROOT = Path(__file__).parents[2]


async def opened(url: str) -> tuple[Store, EmbeddedCrm]:
    store = stores.open(url, serving=True)
    store.start()
    crm = EmbeddedCrm(store, Bus(), "US")
    crm.load()
    return store, crm


def backlogs(directory: Path) -> list[Path]:
    return list(directory.rglob("*backlog*"))


async def until(condition: Any, seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - a real server comes and goes, and tells nobody
            await asyncio.sleep(0.02)


def killed_after(url: str, lines: int) -> list[str]:
    """The calls that the exchange said were durable before it was killed in the middle of its work."""
    command = [sys.executable, "-m", "tests.contract.dies", url, "100000"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    said: list[str] = []
    try:
        assert process.stdout is not None
        while len(said) < lines:
            line = process.stdout.readline()
            assert line, "the exchange ended by itself"
            said.append(line.strip())
        process.send_signal(signal.SIGKILL)
        said += [line.strip() for line in process.stdout if line.endswith("\n")]
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    return said


@pytest.mark.parametrize("lines", [1, 400])
async def test_kill_9_loses_nothing_that_was_durable(url: str, lines: int) -> None:
    said = killed_after(url, lines)
    store, crm = await opened(url)
    interrupted = await crm.journal.close_interrupted()
    found = {one.call_id: one for one in await crm.history(limit=100_000)}
    assert set(said) <= set(found)
    assert len(found) - len(said) <= 1  # what was under way
    assert interrupted == len(found)
    assert {found[call_id].disposition for call_id in said} == {Disposition.INTERRUPTED}
    assert {found[call_id].answered_at for call_id in said} == {1002.0}
    activities = await crm.activities(limit=100_000)
    assert sorted(one.call_id for one in activities) == sorted(found)
    assert await store.close()


async def test_killed_twice_in_the_same_place(url: str) -> None:
    first = killed_after(url, 20)
    second = killed_after(url, 20)
    store, crm = await opened(url)
    found = [one.call_id for one in await crm.history(limit=100_000)]
    assert set(first) | set(second) <= set(found)
    assert len(found) == len(set(found))
    await store.close()


async def test_a_second_exchange_on_the_same_data_is_refused(url: str) -> None:
    store, _ = await opened(url)
    with pytest.raises(stores.StoreUnavailable, match="another running exchange"):
        stores.open(url, serving=True)
    beside = stores.open(url)  # a command is welcome
    beside.start()
    await beside.settle()
    await beside.close()
    await store.close()
    again, _ = await opened(url)
    await again.close()


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_database_lost_while_running_loses_nothing(
    cluster: Cluster, postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    store, crm = await opened(postgresql_url)
    crm.journal.write(call("before"))
    await crm.journal.flush()
    cluster.stop(mode)
    try:
        for number in range(300):
            crm.journal.write(call(f"during{number}"))
            crm.journal.write(answered(f"during{number}"))
            assert await crm.journal.flush(within=30.0)  # a call waits for no database
        await until(lambda: store.down)
        crm.journal.write(ended("before"))
        ann = ContactEntry("", "Ann")
        for attempt in (crm.save_contact(ann), crm.write_summary("before", "x", "ann"), crm.history()):
            with pytest.raises(stores.StoreUnavailable) as refused:
                await attempt
            assert "127.0.0.1" in str(refused.value)
        assert store.backlog_bytes > 0
    finally:
        cluster.start()
    await until(lambda: not store.down)
    found = {one.call_id: one for one in await crm.history(limit=1000)}
    assert len(found) == 301
    assert found["before"].disposition is Disposition.ANSWERED
    assert len(await crm.activities(limit=1000)) == 301
    assert await store.close()
    assert capsys.readouterr().out.count("database is gone") == 1


async def test_killed_while_the_database_was_gone(
    cluster: Cluster, postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store, crm = await opened(postgresql_url)
    cluster.stop()
    try:
        crm.journal.write(ended("during"))
        assert await crm.journal.flush(within=30.0)
        await until(lambda: store.down)
        assert not await store.close(within=3.0)  # what is left behind is what a kill would leave
        with pytest.raises(stores.StoreUnavailable, match="check that the server runs"):
            stores.open(postgresql_url, serving=True)
    finally:
        cluster.start()
    store, crm = await opened(postgresql_url)
    assert [one.call_id for one in await crm.history()] == ["during"]
    assert await store.close()
    assert backlogs(tmp_path) == []
