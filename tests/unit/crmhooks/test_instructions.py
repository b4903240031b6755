"""Instructions: the most specific one is shown, at its time, and only what can be meant is stored."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from crmhooks.embedded.desk import EmbeddedCrm
from pbxcore import store as stores
from pbxcore.bus import Bus
from pbxcore.control import ContactEntry, Instruction, Invalid, NotFound
from pbxcore.hooks import Direction, IncomingCall

BERLIN = ZoneInfo("Europe/Berlin")
ANN = "+12125550100"


def on(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp()


MONDAY_NOON = on("2026-11-23T12:00")


@pytest.fixture
async def crm(tmp_path: Path) -> AsyncIterator[EmbeddedCrm]:
    store = stores.open(f"sqlite:///{tmp_path}/office.db", serving=True)
    store.start()
    inbound = {"+12025550100": "queue:sales", "+12025550101": "101"}
    crm = EmbeddedCrm(store, Bus(), "US", zone=BERLIN, inbound=inbound)
    crm.load()
    yield crm
    await store.close()


def said(
    crm: EmbeddedCrm,
    caller: str = ANN,
    called: str = "+12025550100",
    at: float = MONDAY_NOON,
    direction: Direction = "inbound",
) -> str:
    return crm.card_for(IncomingCall("c1", caller, called, direction, at)).instructions


async def add(crm: EmbeddedCrm, text: str, **conditions: Any) -> Instruction:
    return await crm.book.save(Instruction("", text, **conditions))


async def test_the_most_specific_wins_whatever_came_first(crm: EmbeddedCrm) -> None:
    await crm.save_contact(ContactEntry("", "Ann", (ANN,), tags=("Gold",)))
    ladder = [
        ("always", {}),
        ("in working hours", {"begins": 9 * 60, "ends": 17 * 60}),
        ("for sales", {"called": "queue:sales"}),
        ("for gold", {"tag": "gold"}),
        ("for America", {"prefix": "+1"}),
        ("for New York", {"prefix": "+1 (212)"}),
        ("for New York's gold", {"prefix": "+1212", "tag": "gold"}),
        ("for Ann", {"number": "(212) 555-0100"}),
    ]
    made = [await add(crm, text, **conditions) for text, conditions in ladder]
    assert [one.text for one in crm.book.all()] == [text for text, _ in reversed(ladder)]
    for (text, _), one in zip(reversed(ladder), reversed(made), strict=True):
        assert said(crm) == text
        await crm.book.delete(one.id)
    assert said(crm) == ""


async def test_the_contacts_own_stand_behind_the_number_alone(crm: EmbeddedCrm) -> None:
    await crm.save_contact(ContactEntry("", "Ann", (ANN,), instructions="be brief"))
    await add(crm, "for New York", prefix="+1212")
    assert said(crm) == "be brief"
    assert said(crm, "+12125550155") == "for New York"
    await add(crm, "she complained today", number=ANN)
    assert said(crm) == "she complained today"


async def test_all_conditions_must_be_met(crm: EmbeddedCrm) -> None:
    await add(crm, "gold at night", tag="gold", begins=22 * 60, ends=6 * 60)
    assert said(crm, at=on("2026-11-23T23:00")) == ""
    await crm.save_contact(ContactEntry("", "Ann", (ANN,), tags=("gold",)))
    assert said(crm, at=on("2026-11-23T23:00")) == "gold at night"
    assert said(crm, at=on("2026-11-23T05:59")) == "gold at night"
    assert said(crm, at=on("2026-11-23T06:00")) == ""
    assert said(crm, at=on("2026-11-23T21:59")) == ""


@pytest.mark.parametrize(
    ("at", "met"),
    [
        ("2026-11-27T21:59", False),
        ("2026-11-27T22:00", True),   # Friday
        ("2026-11-28T01:59", True),   # still Friday's night
        ("2026-11-28T02:00", False),
        ("2026-11-28T22:30", False),
        ("2026-11-27T01:00", False),  # Thursday's
    ],
)
async def test_a_night_belongs_to_the_day_it_begins_on(crm: EmbeddedCrm, at: str, met: bool) -> None:
    await add(crm, "Friday night", days="5", begins=22 * 60, ends=2 * 60)
    assert (said(crm, at=on(at)) == "Friday night") is met


async def test_it_is_the_offices_time_also_when_the_clocks_change(crm: EmbeddedCrm) -> None:
    await add(crm, "morning", begins=9 * 60, ends=10 * 60)
    for day in ("2026-10-24", "2026-10-26"):   # CEST before, CET after
        assert said(crm, at=on(f"{day}T09:30")) == "morning"
        assert said(crm, at=on(f"{day}T10:30")) == ""


@pytest.mark.parametrize(
    ("condition", "called", "met"),
    [
        ("queue:sales", "12025550100", True),
        ("202-555-0100", "+12025550100", True),
        ("101", "+12025550101", True),
        ("101", "+12025550100", False),
        ("101", "101", True),
    ],
)
async def test_what_was_called_by_its_number_or_by_what_it_leads_to(
    crm: EmbeddedCrm, condition: str, called: str, met: bool
) -> None:
    await add(crm, "here", called=condition)
    assert (said(crm, called=called) == "here") is met
    assert said(crm, "101", ANN, direction="outbound") == ""


async def test_what_is_no_number_has_none_of_its_own(crm: EmbeddedCrm) -> None:
    await add(crm, "for America", prefix="+1")
    assert said(crm, "anonymous") == ""
    assert said(crm, "102") == ""
    await add(crm, "always")
    assert said(crm, "anonymous") == "always"


async def test_vip_is_a_segment(crm: EmbeddedCrm) -> None:
    await crm.save_contact(ContactEntry("", "Ann", (ANN,), vip=True))
    await add(crm, "stand up", tag="VIP")
    assert said(crm) == "stand up"


async def test_changed_kept_and_deleted(crm: EmbeddedCrm) -> None:
    one = await add(crm, "first")
    await crm.book.save(replace(one, text="second", days="7654321"))
    assert (said(crm), crm.book.all()[0].days) == ("second", "")
    crm.book._rules.clear()
    crm.load()
    assert [kept.text for kept in crm.book.all()] == ["second"]
    await crm.book.delete(one.id)
    assert (said(crm), len(crm.book)) == ("", 0)
    for gone in (crm.book.delete(one.id), crm.book.save(one)):
        with pytest.raises(NotFound):
            await gone


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("text", {"text": "\x07  "}),
        ("number", {"number": "101"}),
        ("prefix", {"prefix": "0049"}),
        ("days", {"days": "8"}),
        ("begins", {"begins": 60}),
        ("begins", {"begins": -1, "ends": 5}),
        ("ends", {"begins": 60, "ends": 60}),
        ("called", {"called": "x" * 65}),
    ],
)
async def test_what_cannot_be_meant_is_not_stored(crm: EmbeddedCrm, field: str, values: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as refused:
        await crm.book.save(Instruction(**{"id": "", "text": "x", **values}))
    assert refused.value.field == field
    assert not crm.book.all()
