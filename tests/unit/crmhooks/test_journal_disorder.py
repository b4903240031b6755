"""Calls written at random while the database comes and goes: what is stored in the end is what was said last."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from crmhooks.embedded.desk import EmbeddedCrm
from pbxcore import store as stores
from pbxcore.bus import Bus
from pbxcore.hooks import CallSnapshot
from pbxcore.store import StoreUnavailable, applier, backlog
from tests.unit.store.calls import answered, call, ended

STEPS = 300


@pytest.mark.parametrize("seed", range(4))
async def test_the_last_word_about_every_call_is_stored(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("BUSY_MS", 5), ("FIRST_RETRY", 0.01), ("LAST_RETRY", 0.02), ("HELD", 5)):
        monkeypatch.setattr(applier, name, value)
    monkeypatch.setattr(backlog, "FULL", 4_096)
    rng = random.Random(seed)
    path = tmp_path / "office.db"
    store = stores.open(f"sqlite:///{path}", serving=True)
    store.start()
    crm = EmbeddedCrm(store, Bus(), "US")
    last: dict[str, CallSnapshot] = {}
    summaries: dict[str, str] = {}
    late: dict[str, str] = {}
    other: sqlite3.Connection | None = None
    for step in range(STEPS):
        call_id = f"c{rng.randrange(40)}"
        action = rng.random()
        if action < 0.75:
            stage = rng.choice((call, answered, ended, ended))(call_id, reason=f"step {step}")
            crm.journal.write(stage)
            last[call_id] = stage
        elif action < 0.80 and call_id in last:
            late[call_id] = f"contact-{step}"
            crm.journal.annotate(call_id, late[call_id])
        elif action < 0.85 and call_id in last:
            try:
                summaries[call_id] = (await crm.write_summary(call_id, f"said at {step}", "ann")).summary
            except StoreUnavailable:
                assert other is not None or store.down
        elif action < 0.92:
            if other is None:
                other = sqlite3.connect(path, isolation_level=None, timeout=30)
                other.execute("BEGIN IMMEDIATE")
            else:
                other.execute("ROLLBACK")
                other.close()
                other = None
        else:
            assert await crm.journal.flush(within=30.0)
            await asyncio.sleep(rng.random() * 0.01)
    if other is not None:
        other.execute("ROLLBACK")
        other.close()
    assert await store.close()

    store = stores.open(f"sqlite:///{path}", serving=True)
    store.start()
    crm = EmbeddedCrm(store, Bus(), "US")
    found = {one.call_id: one for one in await crm.history(limit=100)}
    assert found == {call_id: replace(one, contact_id=late.get(call_id)) for call_id, one in last.items()}
    activities = await crm.activities(limit=100)
    assert sorted(one.call_id for one in activities) == sorted(last)
    assert {one.call_id: one.summary for one in activities if one.state == "completed"} == summaries
    await store.close()
