"""The writer and the applier on SQLite: order, durability, outages, values that cannot be written."""

from __future__ import annotations

import asyncio
import base64
import errno
import os
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, col, select

from pbxcore import store as stores
from pbxcore.hooks import CallSnapshot
from pbxcore.store import Store, StoreUnavailable, applier
from pbxcore.store.backlog import Backlog
from pbxcore.store.models import CallRow
from pbxcore.store.rows import call_snapshot, pack_call
from tests.unit.store.calls import call, ended, full

# A backlog file as it was written before: a call that a workstation carries, one that has ended, and whose it was.
# Whatever becomes of the form, an exchange that is brought up to date in the middle of its work reads this.
OF_BEFORE = base64.b85decode(
    b"3<CfFsIDlQDFW#S0002{+67}_Y;1E|0ssI2DIMAbYh`eB+6859WMyR92yb<CVsCYBWZDBUFfsZJD={)LGBq_dFflnf=Kufz0002^KlK{`002R5"
    b"ZXhB-A|OvEPGxCqAY35BoNmLfAn>1#r`iQ`Xm59J+5&Vj+5<5#GWrQ)Z*Fv9V{|Ps`VnktZe<{EZe<E=X>Mg8ba!v51KI<2X>fW4VIU%6B6R`)"
    b"007Xo=Kufz00004K<5Ae000003_#}q0000001`m@2y}9FZfiPpG1>-ZVQFk-Wa;+-008<EQ)O~?X=7y|Rc>K+VQFk(Vr*sF24i7tY-MFB0x1b{"
    b"3;+NC+5utO1ZZV!WcmYcA~ENhnVFfHnYlmbnwgoInVHEy=QA@iGcz;OKj)g6nVFfH*+1#X0000f333zw007znVsZok007zoZZhZW#(Fu{z}i9Q"
    b"00000003z~awGr%08Vls0002`3TSU{YdU6Wa&vU&00000008JedNF$<aA9L>Wpr~QIx#FFZ)0?2baNs)GAtr&Z*z1aIx{RHYH4(IWpZC_b0Ru4"
    b"E;W66F?%9#VPk7$baNs)H7p`;V{~P7b0Ru6EFx@gb95p)H!LD*X>@dDa$jw8B04xOHGTRFD={)LGBq_dFflnfatr_f08}X)+5>cVZ*l|x007zt"
    b"X>MX~b#7$(3@b4*F)}qZH83$SFmeU}008Fz00000M2|pDPTB-*VQFqoPEM%+=Kufz002ghK<5Ae0000`k3i=D00000k&r-g1^@s6+6ZB8b9ZHO"
    b"Wn@lH+6H4`Y;0w6DFP`8`U-S%b#7}qZDDC{av1;s0CEHX0043-0001TD*ylhPI4~*0043@0001TAOHXWDG7200001TApigXas&VX0CENZ008IB"
    b"%*@QpM2|pnE&u=kaxVY?0CF$@0043z0000^PEJnx3@b4*F)}qZH83$SFmeU}007zuV{dMBVPkZ2TLAz70I33UC;$Ke`UzuiZggQ|bS*M4"
)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applier, "BUSY_MS", 20)
    monkeypatch.setattr(applier, "FIRST_RETRY", 0.02)
    monkeypatch.setattr(applier, "LAST_RETRY", 0.05)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "office.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    opened = stores.open(f"sqlite:///{path}", serving=True)
    opened.start()
    yield opened
    await opened.close()


def pack(one: CallSnapshot) -> tuple[Any, ...]:
    return pack_call(one, one.caller, one.contact_id, "101")


def put(store: Store, one: CallSnapshot) -> int:
    return store.writer.put(store.plans["calls"], one.call_id, one, pack)


async def stored(store: Store) -> dict[str, str]:
    await store.settle()
    query = "SELECT call_id, disposition FROM calls ORDER BY id"
    return {row[0]: row[1] for row in await store.ask(lambda s: s.connection().exec_driver_sql(query).all())}


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another program holds SQLite's write lock: to us the database is gone."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


async def until(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - threads change it
            await asyncio.sleep(0.005)


async def test_what_was_put_is_durable_later_and_says_so_once(store: Store) -> None:
    told: list[str] = []
    number = put(store, call())
    assert not store.writer.settled(number)
    assert not store.writer.when_settled(number, lambda: told.append("told"))
    await until(lambda: told)
    assert store.writer.settled(number)
    assert store.writer.when_settled(number, lambda: told.append("again"))
    await store.settle()
    assert told == ["told"]


async def test_whoever_waits_is_served_within_milliseconds_even_when_the_tick_is_long(path: Path) -> None:
    opened = stores.open(f"sqlite:///{path}", serving=True)
    opened.writer._tick = 30.0
    opened.start()
    for _ in range(5):
        put(opened, call())
        async with asyncio.timeout(20):
            assert await opened.writer.flush()
    assert await opened.close()


async def test_waiters_of_one_group_are_told_together(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    loop = asyncio.get_running_loop()
    real = loop.call_soon_threadsafe
    monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *a: (calls.append(a[0]), real(*a))[1])
    done: list[int] = []
    for number in range(100):
        then = partial(done.append, number)
        if store.writer.when_settled(put(store, call(f"c{number}")), then):   # the thread was quicker
            then()
    await until(lambda: len(done) == 100)
    assert sorted(done) == list(range(100))
    assert len([one for one in calls if one == store.writer._notify]) <= 3


async def test_a_tick_leaves_its_rows_to_the_hurried_group_that_is_on_its_way(path: Path) -> None:
    """One waking of the thread for both: each costs the event loop a fight for the interpreter."""
    opened = stores.open(f"sqlite:///{path}", serving=True)
    writer = opened.writer
    put(opened, call())
    writer._rushed = True
    writer._end_of_tick()
    assert writer._bell.locked()
    writer._rush_now()
    assert not writer._bell.locked()
    opened.start()
    assert await opened.close()


async def test_few_values_gather_for_a_period_many_do_not(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applier, "ENOUGH", 8)
    opened = stores.open(f"sqlite:///{path}", serving=True)
    opened._applier._period = 3600.0
    opened.start()
    for number in range(applier.ENOUGH):
        assert opened._applier.applied == 0
        put(opened, call(call_id=f"{number}"))
        assert await opened.writer.flush()
    await until(lambda: opened._applier.applied)
    assert await opened.close()


async def test_flush_gives_up_in_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backlog, "append", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with locked(store.aside.with_name("office.db")):
        put(store, call())
        assert not await store.writer.flush(within=0.05)
    assert await store.writer.flush(within=30.0)


async def test_jobs_run_after_what_was_put_before_them(store: Store) -> None:
    seen: list[int] = []
    for number in range(20):
        put(store, call(f"c{number}"))
        count = await store.change(
            lambda session: session.connection().exec_driver_sql("SELECT count(*) FROM calls").scalar()
        )
        seen.append(count)
    assert seen == list(range(1, 21))


async def test_a_job_that_raises_changes_nothing_and_tells_who_asked(store: Store) -> None:
    put(store, ended())

    def job(session: Any) -> None:
        session.connection().exec_driver_sql("DELETE FROM calls")
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        await store.change(job)
    assert list(await stored(store)) == ["c1"]


async def test_memory_follows_the_database_even_when_the_caller_was_cancelled(store: Store) -> None:
    followed: list[str] = []

    def job(session: Any) -> str:
        session.connection().exec_driver_sql("DELETE FROM calls")
        return "done"

    with locked(store.aside.with_name("office.db")):
        task = asyncio.create_task(store.change(job, followed.append))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await until(lambda: followed)
    assert followed == ["done"]


async def test_a_database_that_is_gone_delays_nobody_and_loses_nothing(
    store: Store, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(store, call("before"))
    await store.settle()
    with locked(path):
        for number in range(50):
            put(store, ended(f"during{number}"))
            assert await store.writer.flush(within=30.0)
        await until(lambda: store.down)
        with pytest.raises(StoreUnavailable):
            await store.settle()
        put(store, ended("before"))
    await until(lambda: not store.down)
    found = await stored(store)
    assert len(found) == 51
    assert set(found.values()) == {"answered"}
    assert capsys.readouterr().out.count("database is gone") == 1


async def test_a_long_outage_keeps_rows_on_disk_not_in_memory(
    store: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(applier, "HELD", 10)
    with locked(path):
        for number in range(200):
            put(store, call(f"c{number}"))
            put(store, ended(f"c{number}"))
            if number % 4 == 0:
                await store.writer.flush()
        await until(lambda: store.down)
        await until(lambda: len(store._applier._held) <= 10 and not store._applier._mailbox)
    await until(lambda: not store.down)
    found = await stored(store)
    assert len(found) == 200
    assert set(found.values()) == {"answered"}


async def test_full_disk_for_the_backlog_rows_are_durable_once_the_database_has_them(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Backlog, "append", full)
    for number in range(3):
        put(store, ended(f"c{number}"))
        assert await store.writer.flush(within=30.0)
        with sqlite3.connect(store.aside.with_name("office.db")) as other:
            assert other.execute("SELECT count(*) FROM calls").fetchone() == (number + 1,)
    assert capsys.readouterr().out.count("backlog not written") == 1


async def test_a_value_that_cannot_be_packed_is_left_out(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.writer.put(store.plans["calls"], "bad", object(), pack)
    store.writer.put(store.plans["contacts"], "odd", ("odd", object()))
    put(store, ended("good"))
    assert list(await stored(store)) == ["good"]
    assert capsys.readouterr().out.count("value not packed") == 2


async def test_a_value_that_cannot_be_encoded_is_put_aside(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.writer.put(store.plans["calls"], "bad", ("bad", 1))
    put(store, ended("good"))
    assert list(await stored(store)) == ["good"]
    assert "value not encoded" in capsys.readouterr().out
    assert '["calls", ["bad", 1]]' in store.aside.read_text()


async def test_a_plan_of_an_older_program_in_the_backlog_stops_nothing(path: Path) -> None:
    backlog = Backlog(path)
    backlog.append(1, {"forgotten": [("x", 1)], "calls": [pack(ended("kept"))]}, 0)
    backlog.close()
    opened = stores.open(f"sqlite:///{path}", serving=True)
    opened.start()
    assert list(await stored(opened)) == ["kept"]
    assert '"forgotten"' in opened.aside.read_text()
    await opened.close()


async def test_a_backlog_of_the_version_before_is_read(path: Path) -> None:
    path.with_name("office.db-backlog-a").write_bytes(OF_BEFORE)
    opened = stores.open(f"sqlite:///{path}", serving=True)
    opened.start()
    await opened.settle()

    def found(session: Session) -> list[CallSnapshot]:
        return [call_snapshot(row) for row in session.exec(select(CallRow).order_by(col(CallRow.id)))]

    assert await opened.ask(found) == [full("kept"), ended("two", contact_id="contact-2")]
    assert not opened.aside.exists()
    await opened.close()


async def test_backlog_of_a_start_that_failed_stays(path: Path) -> None:
    stores.open(f"sqlite:///{path}").engine.dispose()
    backlog = Backlog(path)
    backlog.append(7, {"calls": [pack(ended("kept"))]}, 0)
    backlog.close()
    with locked(path):
        opened = stores.open(f"sqlite:///{path}", serving=True)
        with pytest.raises(StoreUnavailable):
            opened.start()
        await opened.close()
    opened = stores.open(f"sqlite:///{path}", serving=True)
    opened.start()
    assert list(await stored(opened)) == ["kept"]
    put(opened, ended("new"))
    assert list(await stored(opened)) == ["kept", "new"]
    await opened.close()


async def test_close_writes_what_is_queued_and_refuses_what_comes_later(path: Path) -> None:
    opened = stores.open(f"sqlite:///{path}", serving=True)
    opened.start()
    for number in range(500):
        put(opened, ended(f"c{number}"))
    assert await opened.close()
    with pytest.raises(StoreUnavailable):
        await opened.settle()
    again = stores.open(f"sqlite:///{path}", serving=True)
    again.start()
    assert len(await stored(again)) == 500
    await again.close()


async def test_close_while_the_database_is_gone_leaves_the_backlog(path: Path) -> None:
    opened = stores.open(f"sqlite:///{path}", serving=True)
    opened.start()
    with locked(path):
        put(opened, ended())
        assert not await opened.close(within=5.0)
    again = stores.open(f"sqlite:///{path}", serving=True)
    again.start()
    assert list(await stored(again)) == ["c1"]
    await again.close()


async def test_a_store_beside_the_exchange_has_no_backlog_and_still_writes(store: Store, path: Path) -> None:
    beside = stores.open(f"sqlite:///{path}")
    beside.start()
    put(beside, ended("beside"))
    assert await beside.writer.flush(within=30.0)
    assert list(await stored(store)) == ["beside"]
    assert await beside.close()


async def test_no_garbage_is_made_that_only_the_collector_would_find(store: Store) -> None:
    """The signalling process runs with automatic collection off."""
    import gc

    for number in range(3):
        put(store, ended(f"warm{number}"))
        await store.writer.flush()
    await store.settle()
    gc.collect()
    gc.disable()
    try:
        for number in range(300):
            put(store, ended(f"c{number}"))
            if number % 10 == 0:
                await store.writer.flush()
        await until(lambda: store._applier.applied == store.writer._number - 1)
        found = gc.collect()
    finally:
        gc.enable()
    assert found < 60


@pytest.mark.skipif(sys.platform != "linux", reason="niceness by thread is Linux's")
async def test_calls_go_before_what_brings_their_records_into_the_database(store: Store) -> None:
    put(store, call())
    await store.settle()
    niceness = {
        thread.name: os.getpriority(os.PRIO_PROCESS, thread.native_id)
        for thread in threading.enumerate() if thread.native_id
    }
    assert niceness.pop("hookline-applier") == 19
    assert "MainThread" in niceness
    assert 19 not in niceness.values()
