"""Receivers that show no records hear of every call all the same, while they are down, throttle, lose answers and the
exchange is restarted in the middle: by the id of the call each is there once."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from crmhooks import outbox as module
from crmhooks.embedded.desk import EmbeddedCrm
from crmhooks.outbox import Outbox
from crmhooks.reconcile import compare
from pbxcore import store as stores
from pbxcore.bus import Bus
from pbxcore.settings_file.connectors import module_of
from tests.contract.connecting import made
from tests.contract.fakes.base import FakeCrm
from tests.contract.keeps_calls import HURRY
from tests.unit.store.calls import answered, ended

CALLS = 24
FAULTS: list[Any] = ["drop", "lose", "busy", "throttle"]


@pytest.mark.parametrize("kind", ["3cx", "sipgate", "zammad"])
async def test_every_call_is_told(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in HURRY.items():
        monkeypatch.setattr(module, name, value)
    fake: FakeCrm = import_module(f"tests.contract.fakes.{module_of(kind)}").Fake()
    chance = random.Random(kind)
    store = stores.open(f"sqlite:///{tmp_path}/office.db", serving=True, crms=("crm",))
    store.start()
    desk = EmbeddedCrm(store, Bus(), "US")
    async with asyncio.timeout(120), fake.serving():
        fake.retry_after = 0.05
        fake.weather = lambda: chance.choice(FAULTS) if chance.random() < 0.3 else None
        for half in (range(CALLS // 2), range(CALLS // 2, CALLS)):
            box = Outbox(store, [made(fake.settings())], country="US")
            await box.start()
            for number in half:
                caller = f"+1212555{number:04}"
                desk.journal.write(answered(f"c{number}", caller=caller))
                await store.settle()
                desk.journal.write(ended(f"c{number}", caller=caller))
            await asyncio.sleep(0.2)
            await box.stop()      # whatever is on its way is given up
        crm = made(fake.settings())
        box = Outbox(store, [crm], country="US")
        await box.start()
        while await box.entries(state="waiting", limit=1):  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.05)
        [_, found] = await compare(store, [crm], 0.0, 2e9)
        await box.stop()
    await store.close()
    assert (found.told, found.missing, found.parked) == (CALLS, (), 0)
    assert Counter(call.external_id for call in fake.calls()) == {f"c{number}": 1 for number in range(CALLS)}
    assert all(call.completed for call in fake.calls())
