"""What was asked for a call is kept with it: in memory while it lives, and in the database behind it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from crmhooks.connector import HookError
from crmhooks.explained import ExplainLog
from crmhooks.runner import Runner
from pbxcore.bus import Bus
from pbxcore.call.explained import route
from pbxcore.call.router import DialPlan, ExtensionEntry
from pbxcore.hooks import Decision, ExplainStep, IncomingCall, Queue, Ring
from pbxcore.store import open as open_store
from tests.unit.crmhooks.virtual import ANNA, Desk, FakeHook, after, ended, incoming

PLAN = DialPlan({"101": ExtensionEntry("101"), "102": ExtensionEntry("102")}, {"*": "101"})


def where(call: IncomingCall, decision: Decision | None) -> tuple[ExplainStep, ...]:
    return route(call, decision, PLAN)


def outcomes(steps: tuple[ExplainStep, ...]) -> list[str]:
    return [f"{step.source}: {step.outcome}" for step in steps]


async def test_a_call_is_explained_after_a_restart(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/x.db")
    store.start()
    log = ExplainLog(store, where)
    broken = FakeHook("broken", incoming=after(0, HookError("answered 500")))
    decides = FakeHook("decides", incoming=after(0, Ring(("999",), otherwise=Ring(("102",), timeout=5))))
    runner = Runner(
        Desk(ANNA), Bus(), hooks=[(broken, 1.0), (decides, 1.0)], country="US", route=where, keep=log.keep
    )
    await runner.on_incoming(incoming())
    told = runner.explain("c1")
    assert outcomes(told) == [
        "broken: failed: answered 500",
        "decides: ring 999",
        "route: ring 999; passed over, there is no such target",
        "route: ring 102 for 5 s",
    ]
    assert await log.find("c1") == ()
    runner.on_ended(ended("c1"))
    found = await log.find("c1")
    assert outcomes(found) == outcomes(told)
    assert found[1].decision == told[1].decision
    await runner.close()
    await store.close()
    again = open_store(f"sqlite:///{tmp_path}/x.db")
    again.start()
    assert outcomes(await ExplainLog(again).find("c1")) == outcomes(told)
    await again.close()


async def test_what_comes_after_the_call_is_kept_as_well(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/x.db")
    store.start()
    log = ExplainLog(store)
    gate = asyncio.Event()

    async def slow(_: object) -> Decision:
        await gate.wait()
        return Queue("sales")

    runner = Runner(Desk(ANNA), Bus(), hooks=[(FakeHook("slow", incoming=slow), 0.01)], budget=0.01, keep=log.keep)
    await runner.on_incoming(incoming())
    runner.on_ended(ended("c1"))
    assert [step.said[0][0] for step in await log.find("c1")] == ["late", "knows"]
    gate.set()
    await asyncio.gather(*runner._tasks)
    assert outcomes(await log.find("c1"))[-1] == "slow: afterwards: queue sales"
    await runner.close()
    await store.close()


async def test_what_memory_alone_knew_is_told_by_the_record_and_costs_no_row(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/x.db")
    store.start()
    log = ExplainLog(store)
    runner = Runner(Desk(ANNA), Bus(), keep=log.keep)
    await runner.on_incoming(incoming())
    runner.on_ended(ended("c1"))
    assert await log.find("c1") == ()
    await runner.close()
    await store.close()
