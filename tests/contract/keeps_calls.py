"""An exchange's CRM side that takes calls, tells the CRMs of its settings, and waits to be killed:
`python -m tests.contract.keeps_calls SETTINGS COUNT RATE`.

It goes on where an earlier run was killed. A line of its output is the id of a call that is durable; `all told` says
that there have been COUNT calls and no CRM has anything to be told any more; then a line on its input ends it.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from dataclasses import replace

import sqlalchemy as sa

from crmhooks import outbox as module
from crmhooks.build import build_connectors, connector_names
from crmhooks.embedded.desk import EmbeddedCrm
from crmhooks.outbox import Outbox
from pbxcore import store as stores
from pbxcore.bus import Bus
from pbxcore.hooks import CallSnapshot
from pbxcore.settings_file import load
from pbxcore.store import Store
from tests.unit.store.calls import answered, call, ended

NUMBERS = 20     # from which all calls come: nobody knows them
HURRY = {"PERIOD": 0.05, "FIRST_REST": 0.05, "LONGEST_REST": 0.3, "FIRST_WAIT": 0.05, "LONGEST_WAIT": 0.5}


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def take_call(crm: EmbeddedCrm, number: int) -> None:
    call_id = f"call{number}"
    begun = time.time()
    changes = {
        "caller": f"+1212555{number % NUMBERS:04}", "arrived_at": begun, "ringing_at": begun,
        "direction": "outbound" if number % 7 == 0 else "inbound", "called": f"+1212556{number % NUMBERS:04}",
    }  # fmt: skip

    def at(snapshot: CallSnapshot) -> CallSnapshot:
        over = snapshot.ended_at is not None
        picked_up = None if snapshot.answered_at is None or number % 5 == 0 else begun + 0.1
        return replace(snapshot, **changes, answered_at=picked_up, ended_at=begun + 1 if over else None)

    journal = crm.journal
    journal.write(at(call(call_id)))
    if number % 5:
        journal.write(at(answered(call_id)))
    durable = asyncio.Event()
    if not journal.when_durable(call_id, durable.set):
        await durable.wait()
    say(call_id)
    await asyncio.sleep(random.uniform(0, 0.5))
    if number % 3 == 0:
        await crm.write_summary(call_id, f"What call {number} was about.", "101")
    journal.write(at(ended(call_id)))
    await asyncio.sleep(random.uniform(0, 0.5))
    if number % 3 == 1:
        await crm.write_summary(call_id, f"What call {number} was about.", "101")


def calls_so_far(store: Store) -> int:
    count = sa.text("SELECT count(*) FROM calls")
    return int(store.ask_now(lambda session: session.connection().execute(count).scalar_one()))


async def main(path: str, count: int, rate: float) -> None:
    for name, value in HURRY.items():
        setattr(module, name, value)
    settings = load(path)
    store = stores.open(settings.database.url, serving=True, crms=connector_names(settings))
    store.start()
    await store.settle()
    crm = EmbeddedCrm(store, Bus(), "US")
    crm.load()
    await crm.journal.close_interrupted()
    outbox = Outbox(store, build_connectors(settings), country="US", on_unknown=settings.crm.on_unknown)
    await outbox.start()
    tasks = []
    for number in range(calls_so_far(store), count):
        tasks.append(asyncio.create_task(take_call(crm, number)))
        await asyncio.sleep(1 / rate)
    await asyncio.gather(*tasks)
    while await outbox.entries(state="waiting", limit=1):  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.1)
    say("all told")
    await asyncio.to_thread(sys.stdin.readline)
    await outbox.stop()
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
