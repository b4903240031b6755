"""An exchange that writes calls as fast as they become durable, says so, and waits to be killed:
`python -m tests.contract.dies URL COUNT`. Each line of its output is the id of a call that is durable."""

from __future__ import annotations

import asyncio
import sys

from crmhooks.embedded.desk import EmbeddedCrm
from pbxcore import store as stores
from pbxcore.bus import Bus
from pbxcore.store import backlog
from tests.unit.store.calls import answered, call


async def main(url: str, count: int) -> None:
    backlog.FULL = 8_192  # so that the files are changed many times before the end
    store = stores.open(url, serving=True)
    store.start()
    journal = EmbeddedCrm(store, Bus(), "US").journal
    for number in range(count):
        call_id = f"call{number}"
        journal.write(call(call_id))
        journal.write(answered(call_id))
        durable = asyncio.Event()
        if not journal.when_durable(call_id, durable.set):
            await durable.wait()
        sys.stdout.write(call_id + "\n")
        sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
