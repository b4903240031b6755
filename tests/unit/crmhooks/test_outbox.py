"""The outbox against a CRM made of dictionaries: what is told, in which order, when again, when no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from crmhooks import outbox as module
from crmhooks.connector import (
    EVERYTHING,
    Ability,
    CrmActivity,
    CrmConnector,
    CrmError,
    CrmRecord,
    NewContact,
    Refused,
    TryAgain,
    Unreachable,
    contact_ref,
)
from crmhooks.embedded.desk import EmbeddedCrm
from crmhooks.outbox import Clocks, Outbox
from crmhooks.reconcile import compare, mend
from pbxcore import store as stores
from pbxcore.bus import Bus
from pbxcore.control import ContactEntry, CrmBacklog, CrmOutbox, NotFound, OutboxEntry
from pbxcore.hooks import CallSnapshot
from pbxcore.store import Store
from tests.unit.store.calls import answered, call, ended

NUMBER = "+12125550100"
NOW = 1_795_400_000.0


@dataclass
class Crm:
    """Keeps what it is told; `faults` are raised one a question, after the work where `late` says so."""

    name: str = "crm"
    lag: float = 0.0
    parallel: int = 4
    can: frozenset[Ability] = EVERYTHING
    announcer: None = None
    contacts: dict[str, str] = field(default_factory=dict)                 # id -> number
    records: dict[str, tuple[CrmActivity, bool]] = field(default_factory=dict)   # id -> what it says, completed
    faults: list[CrmError | None] = field(default_factory=list)
    late: bool = False
    asked: list[str] = field(default_factory=list)

    async def _ask(self, what: str, work: Callable[[], Any]) -> Any:
        self.asked.append(what)
        fault = self.faults.pop(0) if self.faults else None
        await asyncio.sleep(0)
        if fault is not None and not self.late:
            raise fault
        done = work()
        if fault is not None:
            raise fault
        return done

    async def lookup(self, number: str) -> Sequence[ContactEntry]:
        ids = [own for own, of_contact in self.contacts.items() if of_contact == number]
        found = [ContactEntry(contact_ref(self.name, own), own) for own in ids]
        return list(await self._ask("lookup", lambda: found))

    async def create_contact(self, contact: NewContact) -> str:
        own = f"contact{len(self.contacts) + 1}"
        await self._ask(f"create {contact.name}", lambda: self.contacts.update({own: contact.number}))
        return own

    async def find_activity(self, external_id: str) -> Sequence[CrmRecord]:
        found = [self._record(own) for own in self.records]
        return list(await self._ask("find", lambda: [one for one in found if one.external_id == external_id]))

    async def open_activity(self, activity: CrmActivity) -> str:
        own = f"record{len(self.asked)}"
        await self._ask("open", lambda: self.records.update({own: (activity, False)}))
        return own

    async def update_activity(self, record_id: str, activity: CrmActivity) -> None:
        await self._ask("update", lambda: self.records.update({record_id: (activity, self.records[record_id][1])}))

    async def complete_activity(self, record_id: str, activity: CrmActivity) -> None:
        await self._ask("complete", lambda: self.records.update({record_id: (activity, True)}))

    async def remove_activity(self, record_id: str) -> None:
        await self._ask("remove", lambda: self.records.pop(record_id, None))

    async def activities(self, since: float, until: float) -> Sequence[CrmRecord]:
        found = [self._record(own) for own in self.records]
        return list(await self._ask("list", lambda: [one for one in found if since <= one.started_at < until]))

    async def close(self) -> None: ...

    def _record(self, own: str) -> CrmRecord:
        activity, completed = self.records[own]
        return CrmRecord(own, activity.external_id, activity.started_at, completed)

    def only(self) -> tuple[CrmActivity, bool]:
        [found] = self.records.values()
        return found


class Time:
    """Both clocks; tests move it."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@dataclass
class Office:
    store: Store
    desk: EmbeddedCrm
    crms: list[Crm]
    time: Time
    on_unknown: Any = "create"
    box: Outbox = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """What was in memory only is gone."""
        connectors: list[CrmConnector] = list(self.crms)
        clocks = Clocks(self.time, self.time, lambda: 1.0)
        self.box = Outbox(self.store, connectors, country="US", on_unknown=self.on_unknown, clocks=clocks)

    def connectors(self) -> list[CrmConnector]:
        return list(self.crms)

    async def write(self, *calls: CallSnapshot) -> None:
        for one in calls:
            self.desk.journal.write(one)
            await self.store.settle()

    async def carry(self, seconds: float = 0.0) -> list[OutboxEntry]:
        """Carry what is due `seconds` from now; what is left after it."""
        self.time.now += seconds
        for courier in self.box.couriers:
            await courier.empty()
        return await self.box.entries()


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    crms = [Crm()]
    store = stores.open(f"sqlite:///{tmp_path}/office.db", serving=True, crms=("crm",))
    store.start()
    yield Office(store, EmbeddedCrm(store, Bus(), "US", clock=lambda: NOW), crms, Time())
    await store.close()


async def test_a_call_from_its_answer_to_its_summary(office: Office) -> None:
    [crm] = office.crms
    await office.write(call())
    assert await office.carry() == []
    assert crm.asked == []          # it only rings
    await office.write(answered())
    assert await office.carry() == []
    assert crm.asked == ["lookup", "create +12125550100", "open"]
    activity, completed = crm.only()
    assert (activity.external_id, activity.number, activity.agent, activity.ended_at) == ("c1", NUMBER, "101", None)
    assert (activity.contact_id, completed) == ("contact1", False)
    await office.write(ended())
    await office.carry()
    assert (crm.only()[0].ended_at, crm.only()[0].seconds, crm.only()[1]) == (1060.25, 58, False)
    await office.desk.write_summary("c1", "Wants a new printer.", "101")
    await office.carry()
    assert (crm.only()[0].summary, crm.only()[1]) == ("Wants a new printer.", True)
    assert crm.asked[3:] == ["update", "complete"]
    assert await office.box.entries(state="sent") != []


async def test_a_summary_written_while_the_call_is_up_completes_nothing_before_its_end(office: Office) -> None:
    [crm] = office.crms
    await office.write(answered())
    await office.desk.write_summary("c1", "Early.", "101")
    await office.carry()
    assert crm.only()[1] is False
    await office.write(ended())
    await office.carry()
    assert (crm.only()[0].summary, crm.only()[1]) == ("Early.", True)


async def test_a_change_that_changes_nothing_asks_nothing(office: Office) -> None:
    await office.write(ended())
    await office.carry()
    asked = list(office.crms[0].asked)
    await office.write(ended())
    assert await office.carry() == []
    assert office.crms[0].asked == asked


async def test_colleagues_among_themselves_are_no_affair_of_a_crm(office: Office) -> None:
    await office.write(ended(direction="internal", caller="102"))
    assert await office.carry() == []
    assert office.crms[0].asked == []


async def test_a_withheld_number_has_a_record_and_no_contact(office: Office) -> None:
    await office.write(ended(caller="anonymous"))
    await office.carry()
    assert office.crms[0].asked == ["open"]
    assert office.crms[0].only()[0].contact_id is None


@pytest.mark.parametrize("count", [2, 3])
async def test_of_several_with_one_number_none_is_picked(office: Office, count: int) -> None:
    office.crms[0].contacts = {f"contact{place}": NUMBER for place in range(count)}
    await office.write(ended())
    await office.carry()
    assert office.crms[0].only()[0].contact_id is None
    assert len(office.crms[0].contacts) == count
    office.desk.journal.annotate("c1", "crm:contact1")      # somebody found out
    await office.store.settle()
    await office.carry()
    assert office.crms[0].only()[0].contact_id == "contact1"


@pytest.mark.parametrize("policy", ["ask", "ignore"])
async def test_strangers_are_entered_by_themselves_only_where_that_is_wanted(office: Office, policy: str) -> None:
    office.on_unknown = policy
    office.restart()
    await office.write(ended())
    await office.carry()
    assert office.crms[0].contacts == {}
    assert office.crms[0].only()[0].contact_id is None


async def test_fifty_calls_at_once_from_a_new_number_make_one_contact(office: Office) -> None:
    office.crms[0].parallel = 50
    for number in range(50):
        office.desk.journal.write(ended(f"c{number}"))
    await office.store.settle()
    assert await office.carry() == []
    assert office.crms[0].contacts == {"contact1": NUMBER}
    assert len(office.crms[0].records) == 50


async def test_a_lost_answer_makes_no_second_contact_nor_record(office: Office) -> None:
    [crm] = office.crms
    crm.late = True
    for place, asked in enumerate(("lookup", "create", "open", "complete")):
        crm.faults = [*[None] * place, Unreachable("broke off")]
        await office.write(ended(f"c{place}", caller=f"+1212555020{place}"))
        await office.desk.write_summary(f"c{place}", "Said.", "101")
        [left] = await office.carry()
        assert left.reason == "broke off", asked
        assert await office.carry(10) == []
        office.restart()
    assert len(crm.records) == len(crm.contacts) == 4
    assert all(completed for _, completed in crm.records.values())


async def test_a_crash_in_the_middle_makes_no_second_record(office: Office) -> None:
    """The process dies after the CRM did its work, and before that was written down."""
    [crm] = office.crms
    await office.write(ended())
    jobs = await office.store.change(lambda session: module.rows.take(session, [1], NOW, 0.0))
    assert jobs[0].attempts == 0
    await crm.open_activity(CrmActivity("c1", "inbound", NUMBER, 1000.5, "before the crash"))
    office.restart()
    assert await office.carry() == []
    assert len(crm.records) == 1
    assert crm.only()[0].ended_at == 1060.25


async def test_what_a_search_does_not_show_yet_is_waited_for(office: Office) -> None:
    [crm] = office.crms
    crm.lag = 10.0
    await office.write(ended())
    await office.store.change(lambda session: module.rows.take(session, [1], NOW, crm.lag))
    office.restart()
    await office.carry(9)
    assert crm.asked == []
    assert await office.carry(2) == []
    assert "find" in crm.asked


async def test_a_crm_that_is_down_rests_as_a_whole_and_is_then_asked_one_thing_at_a_time(office: Office) -> None:
    [crm] = office.crms
    for number in range(20):
        office.desk.journal.write(ended(f"c{number}"))
    await office.store.settle()
    crm.faults = [Unreachable("cannot connect")] * 100
    left = await office.carry()
    assert len(left) == 20
    assert len(crm.asked) == crm.parallel      # what was on its way
    assert office.box.couriers[0].reason == "cannot connect"
    for seconds in (1, 2, 4):
        before = len(crm.asked)
        await office.carry(seconds * 0.9)
        assert len(crm.asked) == before
        await office.carry(seconds * 0.2)
        assert len(crm.asked) == before + 1
    crm.faults = []
    assert await office.carry(300) == []
    assert len(crm.records) == 20
    assert office.box.couriers[0].reason == ""


async def test_retry_after_is_honoured_for_everything(office: Office) -> None:
    [crm] = office.crms
    crm.parallel = 1
    for number in range(3):
        office.desk.journal.write(ended(f"c{number}"))
    await office.store.settle()
    crm.faults = [TryAgain("429 Too Many Requests", 60.0)]
    left = await office.carry()
    assert [entry.reason for entry in left if entry.reason] == ["429 Too Many Requests"]
    await office.carry(59)
    assert len(crm.asked) == 1
    assert await office.carry(2) == []
    assert len(crm.records) == 3


async def test_a_record_it_cannot_take_just_now_does_not_hold_up_the_others(office: Office) -> None:
    [crm] = office.crms
    crm.parallel = 1
    for number in range(3):
        office.desk.journal.write(ended(f"c{number}"))
    await office.store.settle()
    crm.faults = [TryAgain("503 locked")]
    [left] = await office.carry()
    assert (left.reason, len(crm.records)) == ("503 locked", 2)
    assert left.due_at == NOW + module.FIRST_WAIT
    assert await office.carry(3) == []


async def test_it_is_tried_for_a_week_ever_more_seldom_and_then_parked(office: Office) -> None:
    [crm] = office.crms
    crm.faults = [TryAgain("503 locked")] * 10_000
    await office.write(ended())
    tries = 0
    for _ in range(8 * 24 * 2):
        [left] = await office.carry(1800)
        tries = left.attempts
        if left.state == "parked":
            break
    assert left.reason == "given up after 7 days: 503 locked"
    assert 100 < tries < 300


async def test_what_is_refused_is_parked_and_goes_by_hand(office: Office) -> None:
    [crm] = office.crms
    crm.faults = [None, None, Refused("400 Bad Request: name is too long")]
    await office.write(ended())
    [left] = await office.carry()
    assert (left.state, left.reason, left.call_id) == ("parked", "400 Bad Request: name is too long", "c1")
    await office.carry(86_400)
    assert crm.records == {}
    with pytest.raises(NotFound):
        await office.box.retry(4711)
    again = await office.box.retry(left.id)
    assert again.state == "waiting"
    assert await office.carry() == []
    assert len(crm.records) == 1


async def test_all_that_is_parked_goes_again_at_once_and_what_waits_keeps_its_time(office: Office) -> None:
    [crm] = office.crms
    crm.faults = [None, None, Refused("too long"), TryAgain("busy")]
    assert await office.box.backlogs() == [CrmBacklog("crm")]
    await office.write(ended(call_id="c1"))
    await office.carry()
    await office.write(ended(call_id="c2"))
    await office.carry()
    assert {entry.call_id: entry.state for entry in await office.box.entries()} == {"c1": "parked", "c2": "waiting"}
    [due] = [entry.due_at for entry in await office.box.entries(state="waiting")]
    assert await office.box.backlogs() == [CrmBacklog("crm", 1, 1, 1000.5)]
    assert await office.box.retry_parked("another") == 0
    assert await office.box.retry_parked("crm") == 1
    assert await office.box.retry_parked() == 0
    assert {entry.call_id: entry.due_at for entry in await office.box.entries()} == {"c1": None, "c2": due}
    assert await office.carry(10) == []
    assert await office.box.backlogs() == [CrmBacklog("crm")]
    assert len(crm.records) == 2


async def test_the_calls_of_a_workstation_are_not_told_and_not_missing(office: Office) -> None:
    [crm] = office.crms
    own = office.desk.journal.first_party = frozenset({"101"})
    await office.write(answered(call_id="c1"), ended(call_id="c1"), answered(call_id="c2"))
    assert await office.desk.journal.close_interrupted() == 1
    assert await office.carry() == []
    assert crm.asked == []
    [embedded, compared] = await compare(office.store, office.connectors(), 0.0, NOW, own)
    assert (embedded.calls, embedded.records, compared.calls, compared.missing) == (2, 2, 0, ())
    [_, third_party] = await compare(office.store, office.connectors(), 0.0, NOW)
    assert sorted(third_party.missing) == ["c1", "c2"]


async def test_a_crm_that_was_told_before_a_call_came_to_a_workstation_hears_of_its_end(office: Office) -> None:
    [crm] = office.crms
    await office.write(answered())
    await office.carry()
    own = office.desk.journal.first_party = frozenset({"101"})    # as if it had been handed over to him
    await office.write(ended())
    await office.carry()
    assert crm.only()[0].ended_at == 1060.25
    [_, compared] = await compare(office.store, office.connectors(), 0.0, NOW, own)
    assert (compared.calls, compared.records, compared.missing) == (1, 1, ())


async def test_why_a_crm_is_told_nothing_just_now(office: Office) -> None:
    office.crms[0].faults = [Unreachable("no route to it")]
    await office.write(ended())
    await office.carry()
    assert await office.box.backlogs() == [CrmBacklog("crm", 1, 0, 1000.5, "no route to it")]


async def test_what_was_parked_is_tried_once_more_when_the_call_changes(office: Office) -> None:
    office.crms[0].faults = [None, None, Refused("400")]
    await office.write(answered())
    assert [entry.state for entry in await office.carry()] == ["parked"]
    await office.write(ended())
    assert await office.carry() == []


async def test_what_changes_while_it_is_told_is_told_next(office: Office) -> None:
    [crm] = office.crms
    await office.write(ended())
    opened = crm.open_activity

    async def slowly(activity: CrmActivity) -> str:
        await office.desk.write_summary("c1", "In between.", "101")
        return await opened(activity)

    crm.open_activity = slowly  # type: ignore[method-assign]  # of this one
    assert await office.carry() == []
    assert (crm.only()[0].summary, crm.only()[1]) == ("In between.", True)


async def test_a_call_that_became_a_part_of_another_is_taken_back(office: Office) -> None:
    [crm] = office.crms
    await office.write(answered("kept"), answered("merged"))
    await office.carry()
    assert len(crm.records) == 2
    office.desk.journal.merge(replace(ended("merged"), merged_into="kept"))
    await office.write(ended("kept"))
    assert await office.carry() == []
    assert crm.only()[0].external_id == "kept"
    assert [entry.call_id for entry in await office.box.entries(state="sent")] == ["kept"]


async def test_a_connector_with_a_defect_is_named_and_tried_again(office: Office) -> None:
    [crm] = office.crms
    crm.faults = [ValueError("no such key")]  # type: ignore[list-item]  # that is the defect
    await office.write(ended())
    [left] = await office.carry()
    assert left.reason == "the connector raised ValueError: no such key"
    assert office.box.couriers[0].counters.faults == 1
    assert await office.carry(10) == []


async def test_calls_that_a_crash_left_open_are_told_too(office: Office) -> None:
    await office.write(call("ringing"), answered("talking"))
    await office.desk.journal.close_interrupted()
    await office.carry()
    told = {activity.external_id: activity for activity, _ in office.crms[0].records.values()}
    assert set(told) == {"ringing", "talking"}
    assert {activity.disposition for activity in told.values()} == {"interrupted"}
    assert all(activity.ended_at is not None for activity in told.values())


async def test_it_runs_by_itself_until_it_is_stopped(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PERIOD", 0.005)
    door: CrmOutbox = office.box
    await office.box.start()
    await office.write(ended())
    async with asyncio.timeout(30):
        while await door.entries():  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0)
    await office.box.stop()
    assert len(office.crms[0].records) == 1
    assert len(asyncio.all_tasks()) == 1


# -- reconcile


async def compared(office: Office) -> list[tuple[str, int, int, int, int]]:
    found = await compare(office.store, list(office.crms), 0.0, NOW)
    return [(one.crm, one.calls, one.records, len(one.missing), len(one.doubled)) for one in found]


async def test_all_is_well(office: Office) -> None:
    await office.write(ended("c1"), ended("c2"), answered("still up"), ended("inside", direction="internal"))
    await office.carry()
    assert await compared(office) == [("embedded", 3, 3, 0, 0), ("crm", 2, 2, 0, 0)]
    [_, crm] = await compare(office.store, list(office.crms), 0.0, NOW)
    assert crm.strays == 0


async def test_missing_and_doubled_records_are_found_and_mended(office: Office) -> None:
    [crm] = office.crms
    await office.write(*(ended(f"c{number}") for number in range(5)))
    await office.desk.write_summary("c3", "The real one.", "101")
    await office.carry()
    by_call = {activity.external_id: own for own, (activity, _) in crm.records.items()}
    for call_id in ("c0", "c1"):
        del crm.records[by_call[call_id]]
    crm.records["copy"] = (replace(crm.records[by_call["c3"]][0], summary=""), False)
    crm.records["foreign"] = (replace(crm.records["copy"][0], external_id="of another exchange"), False)
    assert await compared(office) == [("embedded", 5, 5, 0, 0), ("crm", 5, 4, 2, 1)]
    found = await compare(office.store, list(office.crms), 0.0, NOW)
    assert (found[1].missing, found[1].doubled, found[1].strays) == (("c0", "c1"), ("c3",), 1)
    await mend(office.store, list(office.crms), found)
    assert await office.carry() == []
    assert await compared(office) == [("embedded", 5, 5, 0, 0), ("crm", 5, 5, 0, 0)]
    assert by_call["c3"] in crm.records
    assert "foreign" in crm.records


async def test_a_record_that_somebody_moved_to_another_year_is_not_missing(office: Office) -> None:
    [crm] = office.crms
    await office.write(ended())
    await office.carry()
    [own] = crm.records
    crm.records[own] = (replace(crm.only()[0], started_at=NOW * 2), False)
    assert (await compared(office))[1] == ("crm", 1, 1, 0, 0)


async def test_a_crm_that_cannot_be_asked_is_not_said_to_miss_anything(office: Office) -> None:
    await office.write(ended())
    office.crms[0].faults = [Unreachable("cannot connect")]
    [embedded, crm] = await compare(office.store, list(office.crms), 0.0, NOW)
    assert embedded.good
    assert not crm.good
    assert (crm.fault, crm.missing, crm.calls, crm.waiting) == ("cannot connect", (), 1, 1)


async def test_calls_before_a_crm_was_connected_are_not_missing_there(office: Office) -> None:
    await office.write(ended("before"))
    office.time.now = 1050.0
    await office.box.start()
    await office.box.stop()
    office.time.now = 2000.0
    await office.box.start()      # the next start changes nothing about it
    await office.box.stop()
    await office.write(ended("after", arrived_at=1060.0))
    found = await compare(office.store, list(office.crms), None, NOW)
    assert [one.calls for one in found] == [2, 1]


async def test_an_activity_that_the_embedded_crm_lost_is_written_anew(office: Office) -> None:
    await office.write(ended())
    await office.store.change(lambda session: session.delete(session.get(module.rows.ActivityRow, 1)))
    found = await compare(office.store, [], 0.0, NOW)
    assert found[0].missing == ("c1",)
    await mend(office.store, [], found)
    assert (await compare(office.store, [], 0.0, NOW))[0].good
    [activity] = await office.desk.activities()
    assert (activity.agent, activity.number, activity.ended_at) == ("101", NUMBER, 1060.25)
