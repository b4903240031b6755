"""Numbers that nobody has become contacts by themselves: one each, and only what is a number."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crmhooks.embedded import newcomers as module
from crmhooks.embedded.desk import EmbeddedCrm
from pbxcore import store as stores
from pbxcore.bus import Bus
from pbxcore.control import ContactEntry
from pbxcore.hooks import CallSnapshot, Disposition, IncomingCall
from pbxcore.store import Store, StoreUnavailable
from tests.unit.store.calls import answered, ended

NEW = "+12125550100"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = stores.open(f"sqlite:///{tmp_path}/office.db", serving=True)
    store.start()
    yield store
    await store.close()


@pytest.fixture
def crm(store: Store) -> EmbeddedCrm:
    crm = EmbeddedCrm(store, Bus(), "US", enters=True)
    crm.load()
    return crm


async def entered(crm: EmbeddedCrm) -> list[ContactEntry]:
    newcomers = crm.newcomers
    assert newcomers is not None
    while newcomers._task is not None:
        await asyncio.gather(newcomers._task)
    return await crm.contacts()


def rejected(snapshot: CallSnapshot) -> CallSnapshot:
    return replace(snapshot, disposition=Disposition.REJECTED, answered_at=None, answered_by=None)


async def test_fifty_calls_at_once_make_one_contact_and_all_are_his(crm: EmbeddedCrm) -> None:
    spelled = ("12125550100", "+12125550100", "(212) 555-0100", "2125550100", "tel:+1-212-555-0100")
    for n in range(50):
        call_id = f"c{n}"
        crm.card_for(IncomingCall(call_id, spelled[n % 5], "101", "inbound", 1.0))
        crm.journal.write(answered(call_id, caller=spelled[n % 5], caller_name="ACME"))
    for n in range(50):
        crm.journal.write(ended(f"c{n}", caller=spelled[n % 5]))
    [contact] = await entered(crm)
    assert (contact.name, contact.numbers, contact.tags) == ("ACME", (NEW,), ("new",))
    assert crm.lookup(NEW) == (contact,)
    activities = await crm.activities(limit=100)
    assert [one.contact_id for one in activities] == [contact.id] * 50


async def test_a_number_that_calls_again_and_again_while_the_database_is_gone_is_bounded(
    crm: EmbeddedCrm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_CALLS", 2)
    for n in (1, 1, 2, 3):
        crm.journal.write(ended(f"c{n}", caller=NEW))
    assert crm.newcomers is not None
    assert list(crm.newcomers._waiting[NEW][1]) == ["c1", "c2"]


async def test_a_call_that_nobody_answered_enters_its_number_too(crm: EmbeddedCrm) -> None:
    crm.journal.write(ended(caller=NEW, answered_at=None, answered_by=None, disposition=Disposition.CANCELLED))
    [contact] = await entered(crm)
    assert contact.name == NEW
    [activity] = await crm.activities()
    assert activity.contact_id == contact.id


async def test_whom_we_called_is_entered_without_our_own_name(crm: EmbeddedCrm) -> None:
    crm.journal.write(ended(direction="outbound", caller="101", called=NEW, caller_name="Desk 101", extension="101"))
    [contact] = await entered(crm)
    assert (contact.name, contact.numbers) == (NEW, (NEW,))


@pytest.mark.parametrize(
    "caller", ["anonymous", "", "101", "911", "112", "555010", "+1", "alice", "+1212555010012345678", "*97", "\x00+12"]
)
async def test_what_is_no_number_never_becomes_a_contact(crm: EmbeddedCrm, caller: str) -> None:
    crm.journal.write(answered(caller=caller))
    crm.journal.write(ended(caller=caller))
    assert await entered(crm) == []


@pytest.mark.parametrize(
    "call",
    [
        ended(direction="internal", caller=NEW),
        ended(caller=NEW, contact_id="of-a-hook"),
        rejected(ended(caller=NEW, legs=())),
    ],
)
async def test_who_is_known_or_was_turned_away_is_no_newcomer(crm: EmbeddedCrm, call: CallSnapshot) -> None:
    crm.journal.write(call)
    assert await entered(crm) == []


async def test_whom_a_connector_found_is_no_newcomer(crm: EmbeddedCrm) -> None:
    card = crm.card_for(IncomingCall("c1", NEW, "101", "inbound", 1.0))
    crm.put_card(replace(card, contacts=(ContactEntry("", "Of the other CRM", (NEW,)),), late=True))
    crm.journal.write(ended(caller=NEW))
    assert await entered(crm) == []


async def test_whoever_another_program_has_stored_meanwhile_is_taken(crm: EmbeddedCrm, tmp_path: Path) -> None:
    beside = stores.open(f"sqlite:///{tmp_path}/office.db")
    beside.start()
    importer = EmbeddedCrm(beside, Bus(), "US")
    importer.load()
    ann = await importer.save_contact(ContactEntry("", "Ann", (NEW,)))
    await beside.close()
    crm.journal.write(ended(caller=NEW))
    assert await entered(crm) == [ann]
    assert crm.lookup(NEW) == (ann,)
    assert [one.contact_name for one in await crm.activities()] == ["Ann"]


async def test_a_name_of_a_stranger_is_one_clean_line(crm: EmbeddedCrm) -> None:
    crm.journal.write(ended(caller=NEW, caller_name="<b>Ann\r\nInvite: x\u202e\x00</b>" + "x" * 500))
    [contact] = await entered(crm)
    assert contact.name.startswith("<b>Ann Invite: x</b>")
    assert len(contact.name) == module.MAX_NAME


async def test_whoever_calls_when_the_exchange_stops_is_entered(crm: EmbeddedCrm) -> None:
    crm.journal.write(ended(caller=NEW))
    await crm.close()
    [contact] = await crm.contacts()
    assert contact.numbers == (NEW,)


@pytest.mark.parametrize("fault", [StoreUnavailable("gone"), ValueError("a fault of ours")])
async def test_what_cannot_be_entered_does_not_keep_the_exchange_from_stopping(
    crm: EmbeddedCrm, store: Store, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    async def change(*_: object) -> None:
        raise fault

    monkeypatch.setattr(store, "change", change)
    crm.journal.write(ended(caller=NEW))
    await crm.close()
    assert crm.newcomers is not None
    assert len(crm.newcomers) == 1


async def test_a_database_that_is_gone_is_asked_again(
    crm: EmbeddedCrm, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AGAIN", 0.0)
    real, refusals = store.change, []

    async def change(job: Callable[..., Any], then: Any = None) -> Any:
        if len(refusals) < 3:
            refusals.append(job)
            raise StoreUnavailable("gone")
        return await real(job, then)

    monkeypatch.setattr(store, "change", change)
    crm.journal.write(ended(caller=NEW))
    assert [one.numbers for one in await entered(crm)] == [(NEW,)]
    assert len(refusals) == 3


async def test_a_fault_is_not_tried_for_ever(
    crm: EmbeddedCrm, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def change(job: Callable[..., Any], then: Any = None) -> Any:
        raise ValueError("a fault of ours")

    monkeypatch.setattr(store, "change", change)
    crm.journal.write(ended(caller=NEW))
    assert await entered(crm) == []
    assert crm.newcomers is not None
    assert len(crm.newcomers) == 0


async def test_nothing_is_entered_unless_the_office_wants_it(store: Store) -> None:
    crm = EmbeddedCrm(store, Bus(), "US")
    crm.journal.write(ended(caller=NEW))
    assert crm.newcomers is None
    assert await crm.contacts() == []
