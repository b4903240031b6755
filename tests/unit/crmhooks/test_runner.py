"""The runner: in virtual time, driven outside any task, as the call drives it."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from typing import Any

import pytest

from crmhooks.connector import HookError
from crmhooks.flight import MAX_IN_FLIGHT
from crmhooks.runner import CALLS_EXPLAINED, Runner
from pbxcore.bus import Bus
from pbxcore.control import Card, ContactEntry
from pbxcore.events import CardFound
from pbxcore.hooks import Decision, IncomingCall, Proceed, Queue, Reject, Ring
from tests.unit.crmhooks.virtual import (
    ANNA,
    BORIS,
    Desk,
    FakeHook,
    VirtualLoop,
    after,
    driven,
    ended,
    incoming,
    run,
    sent_once,
)

STRANGER = "+12025550199"


def make(*hooks: FakeHook, desk: Desk | None = None, deadlines: dict[str, float] | None = None, **more: Any) -> Runner:
    """A runner with a budget of 300 ms, on the running loop's time (the real clock without one)."""
    try:
        clock = asyncio.get_running_loop().time
    except RuntimeError:
        clock = time.monotonic
    pairs = [(hook, (deadlines or {}).get(hook.name, 0.3)) for hook in hooks]
    settings: dict[str, Any] = {"country": "US", "clock": clock, "wall": lambda: 1_700_000_000.0} | more
    return Runner(desk or Desk(ANNA), settings.pop("bus", Bus()), hooks=pairs, **settings)


def outcomes(runner: Runner, call_id: str = "c1") -> list[str]:
    return [f"{step.source}: {step.outcome}" for step in runner.explain(call_id)]


# -- nothing to wait for


def test_without_hooks_it_answers_before_anything_can_be_awaited() -> None:
    """No loop is running here at all: a task, a future or a timer would raise."""
    runner = make()
    decision = sent_once(runner.on_incoming(incoming()))
    assert isinstance(decision, Ring)
    assert decision.targets == ("101",)
    assert outcomes(runner) == ["embedded CRM: knows Anna Ivanova: ring 101"]
    assert sent_once(runner.on_incoming(incoming("c2", STRANGER))) is None
    assert outcomes(runner, "c2") == ["embedded CRM: knows nobody"]
    assert runner.explain("c3") == ()


def test_without_hooks_a_call_costs_few_function_calls() -> None:
    runner, call = make(), incoming()
    count = 0

    def profile(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(profile)
    try:
        sent_once(runner.on_incoming(call))
    finally:
        sys.setprofile(None)
    began = time.perf_counter()
    for _ in range(2000):
        sent_once(runner.on_incoming(call))
    each = (time.perf_counter() - began) / 2000 * 1e6
    print(f"\non_incoming from memory: {count} function calls, {each:.1f} us")
    assert count <= 30


def test_without_hooks_no_call_leaves_a_reference_cycle() -> None:
    runner = make()
    calls = [incoming(str(number)) for number in range(100)]
    sent_once(runner.on_incoming(incoming()))
    gc.collect()
    gc.disable()
    try:
        for call in calls:
            sent_once(runner.on_incoming(call))
            runner.on_answered(ended(call.call_id))
            runner.on_ended(ended(call.call_id))
        assert gc.collect() == 0
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "incoming_method",
    [after(0, Ring(("102",))), after(0.01), after(0, HookError("refused")), after(1, Ring(("102",)))],
    ids=["decides", "no opinion", "fails", "late"],
)
def test_nor_does_a_call_that_asks_a_hook(incoming_method: Any) -> None:
    async def main(loop: VirtualLoop) -> None:
        hook = FakeHook(incoming=incoming_method, lookup=after(0.02))
        runner = make(hook)
        await driven(runner.on_incoming(incoming("first", STRANGER)))
        await asyncio.sleep(20)
        gc.collect()
        gc.disable()
        try:
            for number in range(3):
                await driven(runner.on_incoming(incoming(str(number), STRANGER)))
            await asyncio.sleep(20)
            assert gc.collect() == 0
        finally:
            gc.enable()

    run(main)


def test_a_broken_desk_does_not_stop_a_call() -> None:
    class Broken(Desk):
        def card_for(self, call: IncomingCall) -> Card:
            raise RuntimeError("out of cards")

    runner = make(desk=Broken())
    assert sent_once(runner.on_incoming(incoming())) is None
    assert runner.errors == 1
    assert outcomes(runner) == ["runner: fault: RuntimeError: out of cards; the dial plan decides"]


def test_only_the_last_calls_that_ended_are_explained_and_all_that_have_not() -> None:
    runner = make()
    for number in range(CALLS_EXPLAINED + 6):
        sent_once(runner.on_incoming(incoming(str(number))))
    assert runner.explain("0")
    for number in range(1, CALLS_EXPLAINED + 6):
        runner.on_ended(ended(str(number)))
    assert runner.explain("0")
    assert runner.explain("5") == ()
    assert runner.explain("6")


# -- asking hooks


def test_the_first_decision_wins_and_the_next_hook_is_not_asked() -> None:
    async def main(loop: VirtualLoop) -> None:
        silent = FakeHook("silent", incoming=after(0.01))
        first = FakeHook("first", incoming=after(0.01, Queue("sales")))
        second = FakeHook("second", incoming=after(0, Reject()))
        runner = make(silent, first, second)
        decision = await driven(runner.on_incoming(incoming()))
        assert isinstance(decision, Queue)
        assert second.asked == []
        assert outcomes(runner) == ["silent: no opinion", "first: queue sales"]
        assert [step.decision for step in runner.explain("c1")] == [None, decision]
        assert [round(step.elapsed_ms) for step in runner.explain("c1")] == [10, 10]

    run(main)


def test_a_decision_takes_the_name_from_the_card_where_it_has_none() -> None:
    async def main(loop: VirtualLoop) -> None:
        hook = FakeHook(incoming=after(0, Ring(("102",), instructions="Ask for the order.", otherwise=Queue("sales"))))
        decision = await driven(make(hook).on_incoming(incoming()))
        assert decision is not None
        assert (decision.display_name, decision.contact_id) == ("Anna Ivanova", "1")
        assert decision.instructions == "Ask for the order."
        assert decision.otherwise is not None
        assert decision.otherwise.display_name == "Anna Ivanova"
        assert decision.otherwise.instructions == "Ask for the order."

    run(main)


def test_the_embedded_decision_counts_when_no_hook_has_an_opinion() -> None:
    async def main(loop: VirtualLoop) -> None:
        runner = make(FakeHook(incoming=after(0.01)))
        decision = await driven(runner.on_incoming(incoming()))
        assert isinstance(decision, Ring)
        assert outcomes(runner) == ["fake: no opinion", "embedded CRM: knows Anna Ivanova: ring 101"]

    run(main)


def test_a_hook_that_sleeps_for_30_s_costs_its_deadline_and_is_given_up() -> None:
    async def main(loop: VirtualLoop) -> None:
        runner = make(FakeHook(incoming=after(30, Reject())))
        began = loop.time()
        decision = await driven(runner.on_incoming(incoming()))
        assert loop.time() - began == pytest.approx(0.3)
        assert isinstance(decision, Ring), "the embedded CRM's"
        await asyncio.sleep(10)
        assert outcomes(runner) == [
            "fake: late: no answer in 300 ms; the call went on",
            "embedded CRM: knows Anna Ivanova: ring 101",
            "fake: afterwards: failed: no answer in 10 s; given up",
        ]
        assert (runner.states()[0].late, runner.states()[0].failed, runner.states()[0].in_flight) == (1, 1, 0)

    run(main)


def test_a_late_answer_fills_in_the_card_and_says_so() -> None:
    async def main(loop: VirtualLoop) -> None:
        bus, desk, annotated = Bus(), Desk(), []
        events = bus.subscribe()
        late = Ring(("102",), display_name="Acme", contact_id="crm-7", instructions="They owe us.")
        learned: list[tuple[str, Decision]] = []
        runner = make(
            FakeHook(incoming=after(5, late)), desk=desk, bus=bus, annotate=lambda *found: annotated.append(found),
            learned=lambda *found: learned.append(found),
        )  # fmt: skip
        assert await driven(runner.on_incoming(incoming())) is None
        assert await anext(events) == CardFound(1_700_000_000.0, "c1", late=False)
        assert desk.cards["c1"].contacts == ()
        assert await anext(events) == CardFound(1_700_000_000.0, "c1", late=True)
        card = desk.cards["c1"]
        assert (card.late, card.instructions, card.contacts[0].name) == (True, "They owe us.", "Acme")
        assert annotated == [("c1", "crm-7")]
        assert learned == [("c1", Proceed(display_name="Acme", contact_id="crm-7", instructions="They owe us."))]
        assert outcomes(runner)[-1] == "fake: afterwards: ring 102; the card was filled in"

    run(main)


def test_a_late_no_opinion_changes_nothing() -> None:
    async def main(loop: VirtualLoop) -> None:
        bus, desk = Bus(), Desk()
        bus.subscribe()
        runner = make(FakeHook(incoming=after(5)), desk=desk, bus=bus)
        await driven(runner.on_incoming(incoming()))
        await asyncio.sleep(6)
        assert bus.published == 1
        assert not desk.cards["c1"].late

    run(main)


def test_a_late_answer_can_pick_one_of_those_who_share_a_number() -> None:
    async def main(loop: VirtualLoop) -> None:
        desk = Desk(ANNA, BORIS)
        runner = make(FakeHook(incoming=after(5, Proceed(display_name="B.", contact_id="2"))), desk=desk)
        decision = await driven(runner.on_incoming(incoming()))
        assert decision is not None
        assert (decision.display_name, decision.contact_id) == ("Anna Ivanova / Boris Petrov", None)
        await asyncio.sleep(6)
        assert desk.cards["c1"].contacts == (BORIS,)

    run(main)


def test_what_the_card_knows_is_not_replaced_by_a_name_from_elsewhere() -> None:
    async def main(loop: VirtualLoop) -> None:
        desk = Desk(ANNA)
        runner = make(FakeHook(incoming=after(5, Proceed(display_name="A. I.", contact_id="crm-7"))), desk=desk)
        await driven(runner.on_incoming(incoming()))
        await asyncio.sleep(6)
        assert desk.cards["c1"].contacts == (ANNA,)
        assert not desk.cards["c1"].late

    run(main)


def test_a_broken_desk_does_not_stop_a_late_answer_either() -> None:
    class Broken(Desk):
        def card(self, call_id: str) -> Card | None:
            raise RuntimeError("no cards")

    async def main(loop: VirtualLoop) -> None:
        runner = make(FakeHook(incoming=after(0.4, Queue("sales")), lookup=after(5, [ANNA])), desk=Broken())
        assert await driven(runner.on_incoming(incoming())) is None
        await asyncio.sleep(6)
        assert runner.errors == 3
        assert runner.states()[0].in_flight == 0

    run(main)


def test_a_decision_in_time_names_a_stranger_on_the_card() -> None:
    async def main(loop: VirtualLoop) -> None:
        bus, desk = Bus(), Desk()
        events = bus.subscribe()
        runner = make(FakeHook(incoming=after(0, Proceed(display_name="Acme", tags=("new",)))), desk=desk, bus=bus)
        await driven(runner.on_incoming(incoming(caller=STRANGER)))
        assert desk.cards["c1"].contacts == (ContactEntry("", "Acme", (STRANGER,), tags=("new",)),)
        assert not (await anext(events)).late  # type: ignore[attr-defined]  # a CardFound, or this fails
        assert bus.published == 1

    run(main)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (HookError("refused the connection"), "failed: refused the connection"),
        (ValueError("a\r\nb\x1b[2J"), "failed: raised ValueError: a b[2J"),
        (KeyError(), "failed: raised KeyError"),
        (SystemExit(3), "failed: raised SystemExit: 3"),
        (asyncio.CancelledError(), "failed: raised CancelledError"),
        (TimeoutError(), "failed: raised TimeoutError"),
        (GeneratorExit(), "failed: raised GeneratorExit"),
    ],
)
def test_a_hook_that_raises_is_skipped_and_the_next_is_asked(fault: BaseException, words: str) -> None:
    async def main(loop: VirtualLoop) -> None:
        runner = make(FakeHook("bad", incoming=after(0.01, fault)), FakeHook("good", incoming=after(0, Queue("sales"))))
        assert isinstance(await driven(runner.on_incoming(incoming())), Queue)
        assert outcomes(runner) == [f"bad: {words}", "good: queue sales"]

    run(main)


def test_all_hooks_together_keep_within_the_budget() -> None:
    async def main(loop: VirtualLoop) -> None:
        one, two = FakeHook("one", incoming=after(9)), FakeHook("two", incoming=after(9))
        three = FakeHook("three", incoming=after(0.01, Proceed(display_name="Acme")))
        desk = Desk()
        runner = make(one, two, three, desk=desk, deadlines={"one": 0.2, "two": 0.2})
        began = loop.time()
        await driven(runner.on_incoming(incoming(caller=STRANGER)))
        assert loop.time() - began == pytest.approx(0.3)
        assert outcomes(runner)[:3] == [
            "one: late: no answer in 200 ms; the call went on",
            "two: late: no answer in 100 ms; the call went on",
            "three: asked without waiting: the budget is used up",
        ]
        assert [state.late for state in runner.states()] == [1, 0, 0], "two had half of its time: not its fault"
        await asyncio.sleep(1)
        assert desk.cards["c1"].contacts[0].name == "Acme", "what three knows still reaches the agent"
        await runner.close()

    run(main)


def test_five_failures_and_the_hook_is_left_alone_until_it_has_rested() -> None:
    async def main(loop: VirtualLoop) -> None:
        answers: list[Any] = [HookError("refused")] * 5
        hook = FakeHook(incoming=lambda _: after(0, answers.pop() if answers else Queue("sales"))(_))
        runner = make(hook)
        for number in range(8):
            await driven(runner.on_incoming(incoming(str(number))))
        assert len(hook.asked) == 5
        assert outcomes(runner, "7")[0] == "fake: not asked: resting after failures (refused)"
        assert runner.states()[0].state == "open"
        await asyncio.sleep(2)
        assert isinstance(await driven(runner.on_incoming(incoming("9"))), Queue)
        assert (runner.states()[0].state, runner.states()[0].skipped) == ("closed", 3)

    run(main)


def test_a_hook_that_is_always_late_is_asked_but_no_longer_waited_for() -> None:
    async def main(loop: VirtualLoop) -> None:
        desk = Desk()
        runner = make(FakeHook(incoming=after(0.5, Proceed(display_name="Acme"))), desk=desk)
        took = []
        for number in range(7):
            began = loop.time()
            await driven(runner.on_incoming(incoming(str(number), STRANGER)))
            took.append(round(loop.time() - began, 3))
        assert took == [0.3] * 5 + [0.0] * 2
        assert outcomes(runner, "6")[0] == "fake: asked without waiting: its answers were late"
        await asyncio.sleep(1)
        assert desk.cards["6"].late
        assert desk.cards["6"].contacts[0].name == "Acme"

    run(main)


def test_it_is_waited_for_again_once_it_is_fast_again() -> None:
    async def main(loop: VirtualLoop) -> None:
        takes = 0.5
        hook = FakeHook(incoming=lambda call: after(takes, Queue("sales"))(call))
        runner = make(hook)
        for number in range(6):
            await driven(runner.on_incoming(incoming(str(number))))
        await asyncio.sleep(1)
        takes = 0.1
        assert not isinstance(await driven(runner.on_incoming(incoming("x"))), Queue)
        await asyncio.sleep(1)
        assert isinstance(await driven(runner.on_incoming(incoming("y"))), Queue)

    run(main)


def test_a_hanging_hook_holds_a_bounded_number_of_questions() -> None:
    async def main(loop: VirtualLoop) -> None:
        hook = FakeHook(incoming=after(99))
        runner = make(hook)
        await asyncio.gather(*(driven(runner.on_incoming(incoming(str(n)))) for n in range(200)))
        assert len(hook.asked) == MAX_IN_FLIGHT
        assert runner.states()[0].in_flight == MAX_IN_FLIGHT
        await asyncio.sleep(10)
        assert runner.states()[0].in_flight == 0

    run(main)


def test_a_hook_that_will_not_be_cancelled_keeps_its_place() -> None:
    async def main(loop: VirtualLoop) -> None:
        release = asyncio.Event()

        async def stubborn(_: Any) -> Decision | None:
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    continue
            return None

        runner = make(FakeHook(incoming=stubborn))
        await driven(runner.on_incoming(incoming()))
        await asyncio.sleep(11)
        assert outcomes(runner)[-1] == "fake: afterwards: failed: no answer in 10 s; given up"
        assert runner.states()[0].in_flight == 1
        release.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert runner.states()[0].in_flight == 0

    run(main)


def test_a_caller_who_gives_up_leaves_no_timer_and_still_gets_his_card() -> None:
    async def main(loop: VirtualLoop) -> None:
        desk = Desk()
        runner = make(FakeHook(incoming=after(0.1, Proceed(display_name="Acme"))), desk=desk)
        coroutine = runner.on_incoming(incoming(caller=STRANGER))
        loop.call_soon(coroutine.send, None)
        await asyncio.sleep(0.05)
        coroutine.close()
        await asyncio.sleep(1)
        assert desk.cards["c1"].contacts[0].name == "Acme"
        assert desk.cards["c1"].late

    run(main)


# -- looking numbers up


def test_many_calls_from_one_number_make_one_look_up_but_a_decision_each() -> None:
    async def main(loop: VirtualLoop) -> None:
        hook = FakeHook(incoming=after(0.01), lookup=after(0.05, [BORIS]))
        desk = Desk()
        runner = make(hook, desk=desk)
        decisions = await asyncio.gather(*(driven(runner.on_incoming(incoming(str(n)))) for n in range(50)))
        assert hook.asked.count("+12025550100") == 1
        assert len(hook.asked) == 51
        assert {decision.display_name for decision in decisions if decision} == {"Boris Petrov"}
        assert all(card.contacts == (BORIS,) and not card.late for card in desk.cards.values())

    run(main)


def test_a_look_up_that_many_wait_for_in_vain_is_late_once() -> None:
    async def main(loop: VirtualLoop) -> None:
        desk = Desk()
        runner = make(FakeHook(lookup=after(1, [ANNA])), desk=desk)
        await asyncio.gather(*(driven(runner.on_incoming(incoming(str(n)))) for n in range(20)))
        began = loop.time()
        await driven(runner.on_incoming(incoming("after them")))
        assert loop.time() == began, "the look-up has had its time: who comes later does not wait for it again"
        assert (runner.states()[0].late, runner.states()[0].asked) == (1, 1)
        await asyncio.sleep(1)
        assert len(desk.cards) == 21
        assert all(card.late for card in desk.cards.values())

    run(main)


def test_what_was_looked_up_is_remembered_for_a_minute_also_that_nobody_has_it() -> None:
    async def main(loop: VirtualLoop) -> None:
        hook = FakeHook(lookup=after(0.05, []))
        runner = make(hook, desk=Desk())
        for _ in range(3):
            assert await driven(runner.on_incoming(incoming())) is None
        assert hook.asked == ["+12025550100"]
        remembered = "fake (look-up): knows nobody; remembered from a moment ago"
        assert outcomes(runner) == [remembered, "embedded CRM: knows nobody"]
        await asyncio.sleep(60)
        await driven(runner.on_incoming(incoming()))
        assert len(hook.asked) == 2

    run(main)


def test_a_failed_look_up_is_not_remembered() -> None:
    async def main(loop: VirtualLoop) -> None:
        answers: list[Any] = [[BORIS], HookError("refused")]
        hook = FakeHook(lookup=lambda _: after(0, answers.pop())(_))
        runner = make(hook, desk=Desk())
        assert await driven(runner.on_incoming(incoming())) is None
        assert outcomes(runner)[0] == "fake (look-up): failed: refused"
        assert await driven(runner.on_incoming(incoming())) is not None

    run(main)


@pytest.mark.parametrize("answer", ["Boris", ["Boris"], [BORIS] * 51, 7, [ContactEntry("1", 5)]])  # type: ignore[arg-type]  # lies
def test_a_look_up_that_lies_is_skipped(answer: Any) -> None:
    async def main(loop: VirtualLoop) -> None:
        runner = make(FakeHook(lookup=after(0, answer)), desk=Desk())
        assert await driven(runner.on_incoming(incoming())) is None
        assert "failed: lookup returned" in outcomes(runner)[0]

    run(main)


@pytest.mark.parametrize(
    "call",
    [
        incoming(caller="102", called="101", direction="internal"),
        incoming(caller="102"),
        incoming(caller="112"),
        incoming(caller="anonymous"),
        incoming(caller="101", called="911", direction="outbound"),
        incoming(caller="101", called="102", direction="outbound"),
    ],
)
def test_extensions_short_codes_and_withheld_numbers_are_never_looked_up(call: IncomingCall) -> None:
    async def main(loop: VirtualLoop) -> None:
        hook = FakeHook(lookup=after(0, [BORIS]))
        assert await driven(make(hook, desk=Desk()).on_incoming(call)) is None
        assert hook.asked == []

    run(main)


def test_a_national_number_is_looked_up_as_e164() -> None:
    async def main(loop: VirtualLoop) -> None:
        hook = FakeHook(lookup=after(0))
        await driven(make(hook, desk=Desk()).on_incoming(incoming(caller="(202) 555-0100")))
        assert hook.asked == ["+12025550100"]

    run(main)


def test_an_outbound_call_is_looked_up_by_the_number_dialled_and_tells_the_customer_nothing() -> None:
    async def main(loop: VirtualLoop) -> None:
        desk = Desk()
        runner = make(FakeHook(lookup=after(0, [ANNA])), desk=desk)
        call = incoming(caller="101", called="+12025550100", direction="outbound", extension="101")
        decision = await driven(runner.on_incoming(call))
        assert isinstance(decision, Proceed)
        assert decision.display_name is None
        assert decision.contact_id == "1"
        assert desk.cards["c1"].contacts == (ANNA,)

    run(main)


def test_a_look_up_in_time_is_not_late_though_a_slower_hook_is_still_asked() -> None:
    async def main(loop: VirtualLoop) -> None:
        bus, desk = Bus(), Desk()
        bus.subscribe()
        runner = make(FakeHook(incoming=after(0.1, Ring(("102",))), lookup=after(0.01, [ANNA])), desk=desk, bus=bus)
        decision = await driven(runner.on_incoming(incoming()))
        assert isinstance(decision, Ring)
        assert (decision.targets, decision.display_name) == (("102",), "Anna Ivanova")
        assert bus.published == 1
        assert not desk.cards["c1"].late

    run(main)


def test_a_look_up_is_waited_for_after_the_hooks_but_not_past_the_budget() -> None:
    async def main(loop: VirtualLoop) -> None:
        desk = Desk()
        runner = make(FakeHook(incoming=after(0.1), lookup=after(2, [ANNA])), desk=desk)
        began = loop.time()
        assert await driven(runner.on_incoming(incoming())) is None
        assert loop.time() - began == pytest.approx(0.3)
        await asyncio.sleep(3)
        assert desk.cards["c1"].late
        assert desk.cards["c1"].contacts == (ANNA,)
        assert runner.states()[1].late == 1

    run(main)


def test_a_call_that_is_refused_does_not_wait_for_its_name() -> None:
    async def main(loop: VirtualLoop) -> None:
        runner = make(FakeHook(incoming=after(0.1, Reject()), lookup=after(2)), desk=Desk())
        began = loop.time()
        assert isinstance(await driven(runner.on_incoming(incoming())), Reject)
        assert loop.time() - began == pytest.approx(0.1)
        await runner.close()

    run(main)


def test_the_cache_is_bounded() -> None:
    from crmhooks.lookups import Cache

    now = 0.0
    cache = Cache(lambda: now, lifetime=10, size=3)
    for number in "abcd":
        cache.put(number, (ANNA,))
    assert len(cache) == 3
    assert cache.get("a") is None
    assert cache.get("d") == (ANNA,)
    now = 10.0
    assert cache.get("d") is None
    assert len(cache) == 2


# -- telling hooks


def test_what_happened_is_told_in_order_and_never_waits() -> None:
    async def main(loop: VirtualLoop) -> None:
        hook = FakeHook(answered=after(1), ended=after(1))
        runner = make(hook)
        began = loop.time()
        for number in range(3):
            runner.on_answered(ended(f"a{number}"))
            runner.on_ended(ended(f"e{number}"))
        assert loop.time() == began
        await asyncio.sleep(10)
        assert [call.call_id for call in hook.asked] == ["a0", "e0", "a1", "e1", "a2", "e2"]
        assert runner.notices()[0].told == 6

    run(main)


def test_a_hook_that_cannot_keep_up_loses_the_newest_and_it_is_counted() -> None:
    async def main(loop: VirtualLoop) -> None:
        runner = make(FakeHook(ended=after(99)))
        for number in range(1000):
            runner.on_ended(ended(str(number)))
        assert runner.notices()[0].dropped == 1000 - 512
        assert len(runner.notices()[0]) == 512
        await asyncio.sleep(10.5)
        assert (runner.notices()[0].failed, runner.notices()[0].last_error) == (1, "took longer than 10 s")
        await runner.close()

    run(main)


@pytest.mark.parametrize("fault", [ValueError("x"), SystemExit(1), asyncio.CancelledError(), HookError("refused")])
def test_a_hook_that_fails_to_be_told_is_counted_and_told_of_the_next(fault: BaseException) -> None:
    async def main(loop: VirtualLoop) -> None:
        runner = make(FakeHook(ended=after(0, fault)))
        runner.on_ended(ended())
        runner.on_ended(ended())
        await asyncio.sleep(1)
        assert runner.notices()[0].failed == 2

    run(main)


def test_closing_tells_what_there_is_to_tell_and_gives_up_the_rest() -> None:
    async def main(loop: VirtualLoop) -> None:
        quick, slow = FakeHook("quick", ended=after(1), incoming=after(9)), FakeHook("slow", ended=after(99))
        runner = make(quick, slow)
        await driven(runner.on_incoming(incoming()))
        runner.on_ended(ended())
        began = loop.time()
        await runner.close(within=3)
        assert loop.time() - began == pytest.approx(3, abs=1.01)
        assert [notices.told for notices in runner.notices()] == [1, 0]
        assert (quick.closed, slow.closed) == (True, True)

    run(main)


# -- trying out


def test_explaining_a_number_asks_the_same_way_and_leaves_no_trace() -> None:
    async def main(loop: VirtualLoop) -> None:
        bus, desk = Bus(), Desk(ANNA)
        bus.subscribe()
        hook = FakeHook(incoming=after(0.02, Ring(("102",))))
        runner = make(hook, desk=desk, bus=bus)
        found = await runner.explain_number("+12025550100", "101")
        (step,) = found.steps
        assert (step.source, step.outcome, round(step.elapsed_ms)) == ("fake", "ring 102", 20)
        assert found.decision is not None
        assert found.decision.display_name == "Anna Ivanova"
        assert found.contacts == (ANNA,)
        assert hook.asked[0].call_id.startswith("explain-")
        assert (desk.cards, bus.published) == ({}, 0)

    run(main)


def test_a_hook_sees_no_control_characters() -> None:
    async def main(loop: VirtualLoop) -> None:
        hook = FakeHook(incoming=after(0))
        call = incoming(caller_name="Eve\r\nX-Admin: 1\x1b[2J\u202e\udcff", headers={"subject": "a\x00b"})
        await driven(make(hook).on_incoming(call))
        assert hook.asked[0].caller_name == "Eve X-Admin: 1[2J"
        assert hook.asked[0].headers == {"subject": "ab"}

    run(main)
