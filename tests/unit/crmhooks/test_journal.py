"""The journal on the event loop: when a call is durable, whose call it is, and what stays in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crmhooks import journal as module
from crmhooks.embedded.index import ContactIndex
from crmhooks.journal import Journal
from crmhooks.records import agent_of, number_of
from pbxcore import store as stores
from pbxcore.control import ContactEntry
from pbxcore.hooks import CallJournal, CallSnapshot, LegSnapshot
from pbxcore.store import Store
from tests.unit.store.calls import answered, call, ended


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = stores.open(f"sqlite:///{tmp_path}/office.db", serving=True)
    opened.start()
    yield opened
    await opened.close()


@pytest.fixture
def journal(store: Store) -> Journal:
    return Journal(store, ContactIndex(), "US")


async def test_it_is_the_journal_that_the_exchange_asks_for(journal: Journal) -> None:
    door: CallJournal = journal
    assert door.when_durable("never heard of", lambda: pytest.fail("told of a call that was never written"))


async def test_then_is_called_once_everything_written_of_the_call_is_durable(journal: Journal) -> None:
    told = asyncio.Event()
    journal.write(call())
    journal.write(answered())
    assert not journal.when_durable("c1", told.set)
    await asyncio.wait_for(told.wait(), 30)
    assert journal.when_durable("c1", told.set)
    journal.write(ended())
    assert not journal.when_durable("c1", told.set)


async def test_a_call_does_not_wait_for_what_was_written_of_others_later(journal: Journal) -> None:
    journal.write(call("mine"))
    await journal.flush()
    journal.write(call("other"))
    assert journal.when_durable("mine", lambda: pytest.fail("told although it was durable"))


async def test_nothing_is_kept_of_calls_that_are_over(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PURGE", 16)
    monkeypatch.setattr(module, "MAX_NOTES", 16)
    journal._purge_at = 16
    for number in range(300):
        journal.annotate(f"c{number}", "someone")
        journal.write(call(f"c{number}"))
        journal.write(ended(f"c{number}"))
        if number % 10 == 0:
            await journal.flush()
    assert len(journal._latest) <= 64
    assert len(journal._notes) <= 16


async def test_a_call_that_another_has_taken_in_leaves_no_record_of_its_own(journal: Journal, store: Store) -> None:
    for call_id in ("kept", "merged"):
        journal.write(call(call_id))
        journal.write(answered(call_id))
    await journal.flush()
    journal.merge(replace(ended("merged"), merged_into="kept"))
    journal.write(ended("kept"))
    await journal.flush()
    assert [record.call_id for record in await journal.history()] == ["kept"]
    assert await journal.find("merged") is None


async def test_whose_call_it_is_after_a_transfer() -> None:
    """Who got it last; of a call between colleagues who answered."""
    first = LegSnapshot("101", "b", "ended", "101", 1.0, answered_at=2.0, ended_at=9.0)
    second = LegSnapshot("102", "b", "answered", "102", 5.0, answered_at=9.0, transferred_by="101", transferred_at=9.0)
    outside = replace(second, party="trunk:carrier", number="+1555")
    one = replace(answered(), direction="inbound", answered_by="102", legs=(first, second))
    assert agent_of(one) == "102"
    assert agent_of(replace(one, answered_by="trunk:carrier", legs=(first, outside))) == "101"
    dialled = replace(one, direction="outbound", extension="101", answered_by="trunk:carrier")
    assert agent_of(replace(dialled, legs=(replace(first, side="a"), replace(second, side="a")))) == "102"


async def test_whoever_wants_to_know_is_told_that_a_call_ended(journal: Journal) -> None:
    over: list[CallSnapshot] = []
    journal.on_ended = over.append
    journal.write(call())
    journal.write(answered())
    assert over == []
    journal.write(ended())
    assert over == [ended()]


async def test_two_who_share_a_number_are_nobody_until_somebody_settles_it(store: Store) -> None:
    one, two = [ContactEntry(name, name, ("+12125550100",)) for name in ("a", "b")]
    journal = Journal(store, ContactIndex([one, two]), "US")
    journal.write(ended("shared"))
    alone = Journal(store, ContactIndex([one]), "US")
    alone.write(ended("alone"))
    alone.write(ended("hook", contact_id="from-a-hook"))
    found = {one.call_id: one.contact_id for one in await journal.history()}
    assert found == {"shared": None, "alone": "a", "hook": "from-a-hook"}


async def test_the_record_of_one_call(journal: Journal) -> None:
    journal.write(ended())
    assert await journal.find("c1") == ended()
    assert await journal.find("c2") is None


def legs(*parties: str) -> tuple[LegSnapshot, ...]:
    return tuple(LegSnapshot(party, "b" if place else "a", "ringing", "x", 1.0) for place, party in enumerate(parties))


@pytest.mark.parametrize(
    ("changes", "agent"),
    [
        ({"answered_by": "102", "legs": legs("trunk:main", "101", "102")}, "102"),
        ({"legs": legs("trunk:main", "101", "102")}, "102"),
        ({"legs": legs("trunk:main")}, None),
        ({"legs": ()}, None),
        ({"answered_by": "trunk:out", "legs": legs("trunk:main", "101", "trunk:out")}, "101"),
        ({"direction": "outbound", "extension": "103", "answered_by": "trunk:main"}, "103"),
        ({"direction": "outbound", "legs": legs("104", "trunk:main")}, "104"),
        ({"direction": "internal", "caller": "101", "called": "102", "legs": legs("101")}, "102"),
        ({"direction": "internal", "caller": "101", "called": "102", "legs": legs("101", "105")}, "105"),
    ],
)
def test_the_agent_is_who_answered_or_rang_or_dialled(changes: dict[str, Any], agent: str | None) -> None:
    assert agent_of(replace(call(), **changes)) == agent


@pytest.mark.parametrize(
    ("changes", "number"),
    [
        ({}, "+12125550100"),
        ({"caller": "212 555 0100"}, "+12125550100"),
        ({"caller": "anonymous"}, "anonymous"),
        ({"direction": "outbound", "called": "2125550111"}, "+12125550111"),
        ({"direction": "internal", "caller": "102"}, "102"),
    ],
)
def test_the_number_is_the_other_partys(changes: dict[str, Any], number: str) -> None:
    assert number_of(replace(call(), **changes), "US") == number
