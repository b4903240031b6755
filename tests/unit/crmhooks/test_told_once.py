"""The outbox and `reconcile` with CRMs that show no records: each stage of a call is told once at least, and what can't
be compared is not said to be missing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from crmhooks.connector import Ability, CrmActivity, Refused, TryAgain, Unreachable
from crmhooks.embedded.desk import EmbeddedCrm
from crmhooks.outbox import Clocks, Outbox
from crmhooks.reconcile import Compared, compare, mend
from pbxcore import store as stores
from pbxcore.bus import Bus
from pbxcore.reconcile import _words
from tests.unit.crmhooks.test_outbox import NOW, NUMBER, Crm, Office, Time
from tests.unit.store.calls import answered, ended

PUSHED: frozenset[Ability] = frozenset(("follow", "remove"))
REPORTED: frozenset[Ability] = frozenset(("lookup",))
UNABLE = ("lookup", "create", "find", "list", "remove", "update", "complete")


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    store = stores.open(f"sqlite:///{tmp_path}/office.db", serving=True, crms=("crm",))
    store.start()
    yield Office(store, EmbeddedCrm(store, Bus(), "US", clock=lambda: NOW), [Crm(can=PUSHED)], Time())
    await store.close()


def able(office: Office, *abilities: Ability) -> Crm:
    [crm] = office.crms
    crm.can = frozenset(abilities)
    return crm


async def only(office: Office) -> Compared:
    [_, found] = await compare(office.store, office.connectors(), 0.0, NOW)
    return found


async def test_one_that_follows_a_call_is_told_of_each_stage_once(office: Office) -> None:
    [crm] = office.crms
    await office.write(answered())
    await office.carry()
    office.desk.journal.annotate("c1", "crm:contact7")
    await office.write(answered())
    await office.carry()
    assert crm.asked == ["open"]
    await office.write(ended())
    await office.carry()
    await office.desk.write_summary("c1", "There is no place for it.", "101")
    assert await office.carry() == []
    assert crm.asked == ["open", "update"]


async def test_one_that_hears_of_the_end_alone_is_told_once_with_everything(office: Office) -> None:
    crm = able(office, "lookup", "create")
    await office.write(answered())
    assert await office.carry() == []
    assert crm.asked == []
    await office.write(ended())
    await office.carry()
    activity, _ = crm.only()
    assert (activity.contact_id, activity.ended_at, activity.name) == ("contact1", 1060.25, "")
    await office.desk.write_summary("c1", "Too late.", "101")
    assert await office.carry() == []
    assert crm.asked == ["lookup", "create +12125550100", "open"]


async def test_one_that_is_told_but_once_waits_for_the_summary_as_long_as_the_agent_may_write(office: Office) -> None:
    crm = able(office)
    connectors, clocks = office.connectors(), Clocks(office.time, office.time, lambda: 1.0)
    office.box = Outbox(office.store, connectors, country="US", clocks=clocks, wrap_up=30.0)
    office.time.now = 1065.0      # the calls ended at 1060.25
    await office.write(ended("c1"), ended("c2"), ended("missed", answered_at=None))
    waiting = await office.carry()
    seen = {entry.call_id: (entry.due_at, entry.attempts, entry.reason) for entry in waiting}
    assert seen == dict.fromkeys(("c1", "c2"), (1090.25, 0, ""))
    assert [activity.external_id for activity, _ in crm.records.values()] == ["missed"]
    await office.desk.write_summary("c1", "Wants a printer.", "101")
    assert await office.carry(30) == []
    told = {activity.external_id: activity.summary for activity, _ in crm.records.values()}
    assert told == {"missed": "", "c1": "Wants a printer.", "c2": ""}


async def test_nothing_is_asked_that_it_is_not_able_to(office: Office) -> None:
    """Not by a call, its retry, its merging, nor a comparison."""
    crm = able(office)
    crm.faults = [Unreachable("broke off")]
    await office.write(ended("c1"), ended("c2"))
    await office.carry()
    await office.carry(10)
    office.desk.journal.merge(replace(ended("c2"), merged_into="c1"))
    await office.store.settle()
    assert await office.carry() == []
    assert (await only(office)).good
    assert not set(crm.asked) & set(UNABLE)
    assert len(crm.records) == 2


async def test_strangers_are_not_entered_where_that_cannot_be_asked_for(office: Office) -> None:
    crm = able(office, "lookup")
    await office.write(ended())
    assert await office.carry() == []
    assert crm.asked == ["lookup", "open"]
    assert crm.only()[0].contact_id is None


async def test_what_may_not_have_got_through_is_told_again(office: Office) -> None:
    [crm] = office.crms
    crm.late = True
    crm.faults = [Unreachable("broke off"), None, TryAgain("503")]
    await office.write(answered())
    await office.carry()
    await office.carry(10)
    assert {activity.external_id for activity, _ in crm.records.values()} == {"c1"}
    await office.write(ended())
    await office.carry()
    assert await office.carry(10) == []
    assert crm.asked == ["open", "open", "update", "update"]


async def test_one_that_takes_calls_back_is_told_of_those_that_were_merged(office: Office) -> None:
    [crm] = office.crms
    await office.write(answered("kept"), answered("merged"))
    await office.carry()
    office.desk.journal.merge(replace(ended("merged"), merged_into="kept"))
    await office.write(ended("kept"))
    assert await office.carry() == []
    assert crm.only()[0].external_id == "kept"
    assert "find" not in crm.asked


async def test_our_own_number_and_the_name_go_along(office: Office) -> None:
    [crm] = office.crms
    await office.write(ended("in", caller_name="Anna\r\nIvanova", called="+12125550199"))
    await office.write(ended("out", direction="outbound", caller="101", called=NUMBER))
    await office.carry()
    told = {activity.external_id: activity for activity, _ in crm.records.values()}
    assert (told["in"].own_number, told["in"].name) == ("+12125550199", "Anna Ivanova")
    assert (told["out"].own_number, told["out"].number) == ("101", NUMBER)


# -- reconcile


async def test_what_was_told_is_neither_missing_nor_found(office: Office) -> None:
    await office.write(ended("c1"), ended("c2"), answered("still up"))
    await office.carry()
    found = await only(office)
    assert (found.calls, found.told, found.missing, found.records, found.comparable) == (2, 2, (), 0, False)
    assert found.good
    assert _words(found) == "crm: 2 calls, 2 told, 0 not told (it shows no records: what it kept can't be compared)"


async def test_what_waits_or_is_parked_or_was_never_noted_is_not_told_and_is_mended(office: Office) -> None:
    [crm] = office.crms
    crm.parallel = 1
    await office.write(ended("c1"), ended("c2"), ended("c3"))
    await office.store.change(lambda session: session.delete(session.get(stores.models.OutboxRow, 1)))
    crm.faults = [Refused("400"), TryAgain("503")]
    await office.carry()
    found = await only(office)
    assert (found.told, sorted(found.missing), found.good) == (0, ["c1", "c2", "c3"], False)
    assert _words(found).splitlines()[0] == (
        "crm: 3 calls, 0 told, 3 not told (1 waiting, 1 parked, it shows no records: what it kept can't be compared)"
    )
    assert "  not told  c1" in _words(found)
    await mend(office.store, office.connectors(), [found])
    assert await office.carry(10) == []
    assert (await only(office)).good
    assert len(crm.records) == 3


async def test_mending_tells_no_call_anew_that_it_was_told_of(office: Office) -> None:
    [crm] = office.crms
    await office.write(answered())
    await office.carry()
    await office.write(ended())
    crm.faults = [Refused("400")]
    await office.carry()
    await mend(office.store, office.connectors(), [await only(office)])
    assert await office.carry() == []
    assert crm.asked == ["open", "update", "update"]


async def test_calls_of_which_it_wants_to_be_told_nothing_are_counted_apart(office: Office) -> None:
    crm = able(office)

    async def unwanted(activity: CrmActivity) -> str:
        return ""

    crm.open_activity = unwanted  # type: ignore[method-assign]  # of this one
    await office.write(ended())
    assert await office.carry() == []
    found = await only(office)
    assert (found.told, found.unwanted, found.good) == (0, 1, True)
    assert "0 told, 0 not told (1 not wanted by it, it shows no records" in _words(found)
