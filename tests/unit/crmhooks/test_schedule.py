"""Planned calls: offered in time, not to somebody who talks, moved when nobody takes them; and their calendar."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import icalendar
import pytest

from crmhooks.embedded.desk import EmbeddedCrm
from crmhooks.embedded.schedule import AT_ONCE, GRACE_SECONDS, MOVED_SECONDS
from pbxcore import store as stores
from pbxcore.bus import Bus
from pbxcore.control import ContactEntry, Invalid, NotFound, ScheduledCall
from pbxcore.hooks import Disposition, LegSnapshot
from tests.unit.store.calls import ended

NUMBER = "+12125550100"
BERLIN = ZoneInfo("Europe/Berlin")


class Desk:
    """The embedded CRM, and an exchange that keeps what it is told."""

    def __init__(self, crm: EmbeddedCrm) -> None:
        self.crm = crm
        self.now = 1_000_000.0
        self.ordered: list[tuple[str, str]] = []
        self.talking: set[str] = set()
        self.refuses = ""
        self.ends_at_once = False
        crm.schedule._clock = lambda: self.now
        crm.schedule._order, crm.schedule._busy = self.order, self.talking.__contains__

    def order(self, agent: str, number: str) -> str:
        if self.refuses:
            raise Invalid("from", self.refuses, extension=agent)
        self.ordered.append((agent, number))
        if self.ends_at_once:
            self.over(len(self.ordered), answered=False, taken=False)
        return f"call{len(self.ordered)}"

    def over(self, number: int = 1, *, answered: bool = True, taken: bool = True) -> None:
        legs = (LegSnapshot("101", "a", "ended", "101", 1.0), *[LegSnapshot("exchange", "b", "ended", "", 1.0)] * taken)
        call = ended(f"call{number}", direction="outbound", legs=legs)
        if not answered:
            call = replace(call, answered_at=None, answered_by=None, disposition=Disposition.NO_ANSWER)
        self.crm.schedule.ended(call)

    async def plan(self, due: float | None = None, **more: object) -> ScheduledCall:
        entry = ScheduledCall("", "101", "(212) 555-0100", self.now if due is None else due, "Europe/Berlin", "renewal")
        return await self.crm.schedule.save(replace(entry, **more))

    async def look(self, later: float = 0.0) -> ScheduledCall:
        self.now += later
        await self.crm.schedule.look()
        return (await self.crm.schedule.list())[0]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    store = stores.open(f"sqlite:///{tmp_path}/office.db", serving=True)
    store.start()
    crm = EmbeddedCrm(store, Bus(), "US")
    crm.load()
    yield Desk(crm)
    await store.close()


async def test_a_due_call_is_offered_once_and_done_when_it_was_taken(desk: Desk) -> None:
    await desk.crm.save_contact(ContactEntry("", "Ann", (NUMBER,)))
    planned = await desk.plan(desk.now + 60)
    assert (planned.contact_name, planned.number) == ("Ann", NUMBER)
    assert (await desk.look()).state == "planned"
    assert (await desk.look(60)).state == "offered"
    assert (await desk.look(60)).call_id == "call1"
    assert desk.ordered == [("101", NUMBER)]
    desk.over()
    assert (await desk.look()).state == "done"
    assert await desk.crm.schedule.list(open_only=True) == []


async def test_a_client_who_does_not_answer_is_the_agents_affair(desk: Desk) -> None:
    await desk.plan()
    await desk.look()
    desk.over(answered=False)
    done = await desk.look()
    assert (done.state, done.reason) == ("done", "no_answer")


async def test_nobody_is_disturbed_while_he_talks(desk: Desk) -> None:
    await desk.plan()
    desk.talking.add("101")
    assert (await desk.look(30)).state == "planned"
    desk.talking.clear()
    assert (await desk.look(30)).state == "offered"


@pytest.mark.parametrize("at_once", [False, True])
async def test_what_he_does_not_take_is_moved_and_at_last_missed(desk: Desk, at_once: bool) -> None:
    first = desk.now
    desk.ends_at_once = at_once
    await desk.plan()
    for number in (1, 2):
        await desk.look()
        if not at_once:
            desk.over(number, answered=False, taken=False)
        moved = await desk.look()
        assert (moved.state, moved.missed, moved.reason) == ("planned", number, "he did not take it")
        assert (moved.due_at, moved.first_due_at) == (desk.now + MOVED_SECONDS, first)
        desk.now = moved.due_at
    await desk.look()
    if not at_once:
        desk.over(3, answered=False, taken=False)
    assert (await desk.look()).state == "missed"
    await desk.look(9999)
    assert len(desk.ordered) == 3
    again = await desk.crm.schedule.save(replace((await desk.crm.schedule.list())[0], due_at=desk.now + 5))
    assert (again.state, again.missed, again.reason) == ("planned", 0, "")


async def test_without_a_phone_it_waits_and_then_was_missed(desk: Desk) -> None:
    await desk.plan()
    desk.refuses = "order.phone"
    waiting = await desk.look(60)
    assert (waiting.state, waiting.reason) == ("planned", "No phone of 101 is registered.")
    assert waiting.reason_code == "order.phone"
    moved = await desk.look(GRACE_SECONDS)
    assert (moved.state, moved.missed, moved.reason) == ("planned", 1, waiting.reason)
    assert not desk.ordered


async def test_a_call_that_was_due_while_the_exchange_was_down_is_not_sprung_on_him(desk: Desk) -> None:
    await desk.plan(desk.now - GRACE_SECONDS - 1)
    moved = await desk.look()
    assert (moved.missed, desk.ordered) == (1, [])


async def test_two_due_calls_of_one_agent_come_one_after_the_other(desk: Desk) -> None:
    await desk.plan(desk.now - 2)
    await desk.plan(desk.now - 1, number="+12125550177")
    await desk.plan(desk.now - 1, agent="102", number="+12125550188")
    await desk.look()
    assert desk.ordered == [("101", NUMBER), ("102", "+12125550188")]


async def test_what_was_offered_when_the_process_ended_is_offered_again(desk: Desk) -> None:
    await desk.plan()
    await desk.look()
    desk.crm.schedule._offered.clear()
    await desk.crm.schedule._take_back()
    assert (await desk.look(30)).state == "offered"
    assert len(desk.ordered) == 2


@pytest.mark.parametrize("late", [0.0, GRACE_SECONDS + 1])
async def test_one_that_is_cancelled_at_the_last_moment_is_neither_offered_nor_missed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, late: float
) -> None:
    planned, schedule = await desk.plan(desk.now - late), desk.crm.schedule
    change = schedule._change

    async def cancelled(schedule_id: str, *arguments: Any, **options: Any) -> Any:
        await change(planned.id, lambda row: setattr(row, "state", "cancelled"))
        return await change(schedule_id, *arguments, **options)

    monkeypatch.setattr(schedule, "_change", cancelled)
    found = await desk.look()
    assert (found.state, found.missed, desk.ordered) == ("cancelled", 0, [])


async def test_who_has_many_and_is_not_there_keeps_nobody_waiting(desk: Desk) -> None:
    for _ in range(AT_ONCE + 1):
        await desk.plan(desk.now - 2)
    await desk.plan(agent="102")
    desk.talking.add("101")
    await desk.look()
    assert desk.ordered == [("102", NUMBER)]


async def test_a_database_that_fails_in_between_loses_no_planned_call(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.plan()
    change, asked = desk.crm.schedule._change, count()

    async def fails(*arguments: Any, **options: Any) -> Any:
        if next(asked) == 1:
            raise stores.StoreUnavailable("no room")
        return await change(*arguments, **options)

    monkeypatch.setattr(desk.crm.schedule, "_change", fails)
    desk.refuses = "order.closed"
    with pytest.raises(stores.StoreUnavailable):
        await desk.look()
    desk.refuses = ""
    assert (await desk.look(5)).state == "offered"
    assert len(desk.ordered) == 1


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("number", {"number": "101"}), ("agent", {"agent": ""}), ("due_at", {"due_at": 0.0}),
        ("timezone", {"timezone": "Mars/Olympus"}), ("note", {"note": "x" * 2001}), ("contact_id", {"contact_id": "x"}),
    ],
)  # fmt: skip
async def test_what_cannot_be_planned_is_named(desk: Desk, field: str, values: dict[str, object]) -> None:
    with pytest.raises(Invalid) as refused:
        await desk.plan(**values)
    assert refused.value.field == field
    with pytest.raises(NotFound):
        await desk.plan(id="nothing")
    with pytest.raises(NotFound):
        await desk.crm.schedule.close_as("nothing", "done")


async def test_the_calendar_is_written_beside_the_loop(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    by = []

    def feed(calls: list[ScheduledCall], now: float) -> bytes:
        by.append(threading.current_thread())
        return b"a calendar"

    monkeypatch.setattr("crmhooks.embedded.calendars.feed", feed)
    assert await desk.crm.schedule.calendar(await desk.crm.schedule.calendar_token("101")) == b"a calendar"
    assert by
    assert threading.main_thread() not in by


async def test_the_calendar_has_its_zones_and_its_secret(desk: Desk) -> None:
    schedule = desk.crm.schedule
    summer = datetime(2026, 7, 1, 9, 30, tzinfo=BERLIN)
    winter = datetime(2026, 12, 1, 9, 30, tzinfo=BERLIN)
    await desk.plan(summer.timestamp(), note="renew; \r\nBEGIN:VEVENT, x")
    await desk.plan(winter.timestamp())
    await desk.plan(winter.timestamp(), agent="102")
    gone = await desk.plan(winter.timestamp())
    await schedule.close_as(gone.id, "cancelled")
    token = await schedule.calendar_token("101")
    assert token == await schedule.calendar_token("101")
    calendar = icalendar.Calendar.from_ical(await schedule.calendar(token))
    events = calendar.walk("VEVENT")
    assert [event["dtstart"].dt for event in events] == [summer, winter]
    assert [event["dtstart"].dt.utcoffset() for event in events] == [timedelta(hours=2), timedelta(hours=1)]
    assert [zone["tzid"] for zone in calendar.walk("VTIMEZONE")] == ["Europe/Berlin"]
    assert "BEGIN:VEVENT, x" in str(events[0]["description"])
    fresh = await schedule.calendar_token("101", renew=True)
    assert fresh != token
    for wrong in (token, "", "x"):
        with pytest.raises(NotFound):
            await schedule.calendar(wrong)
