"""The desk in memory: cards before the phone rings, what is remembered of a number and what is not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crmhooks.embedded import cards as module
from crmhooks.embedded.cards import Cards, Recent
from crmhooks.embedded.desk import EmbeddedCrm
from pbxcore import store as stores
from pbxcore.bus import Bus
from pbxcore.control import Card, ContactEntry
from pbxcore.hooks import IncomingCall
from tests.unit.store.calls import answered, call, ended


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def crm(tmp_path: Path, clock: Clock) -> AsyncIterator[EmbeddedCrm]:
    store = stores.open(f"sqlite:///{tmp_path}/office.db", serving=True)
    store.start()
    yield EmbeddedCrm(store, Bus(), "US", clock=clock)
    await store.close()


def incoming(caller: str = "+12125550100", call_id: str = "next", **more: Any) -> IncomingCall:
    return IncomingCall(call_id, caller, more.pop("called", "101"), more.pop("direction", "inbound"), 1000.0, **more)


async def test_the_card_of_a_known_caller(crm: EmbeddedCrm) -> None:
    ann = await crm.save_contact(ContactEntry("", "Ann", ("2125550100",), instructions="be brief"))
    card = crm.card_for(incoming("12125550100"))
    assert card == Card("next", "+12125550100", (ann,), "be brief")
    assert crm.card("next") is card
    late = replace(card, late=True)
    crm.put_card(late)
    assert crm.card("next") is late
    assert crm.card("other") is None


async def test_the_card_of_a_number_dialled_out_is_of_the_one_called(crm: EmbeddedCrm) -> None:
    ann = await crm.save_contact(ContactEntry("", "Ann", ("2125550100",)))
    assert crm.card_for(incoming("101", called="2125550100", direction="outbound")).contacts == (ann,)


async def test_a_shared_number_shows_everybody_and_whose_instructions_are_whose(crm: EmbeddedCrm) -> None:
    for name, words in (("Ann", "be brief"), ("Bob", ""), ("Cid", "speak up")):
        await crm.save_contact(ContactEntry("", name, ("2125550100",), instructions=words))
    card = crm.card_for(incoming())
    assert [entry.name for entry in card.contacts] == ["Ann", "Bob", "Cid"]
    assert card.instructions == "Ann: be brief\nCid: speak up"


@pytest.mark.parametrize("caller", ["anonymous", "unknown", "+anonymous", "alice", "5550", "+1"])
async def test_who_withholds_his_number_is_nobody_every_time(crm: EmbeddedCrm, caller: str) -> None:
    crm.journal.write(ended(caller=caller))
    await crm.write_summary("c1", "a secret of somebody else", "ann")
    assert crm.card_for(incoming(caller)) == Card("next", caller, (), "")
    crm.load()
    assert crm.card_for(incoming(caller)).recent == ()


async def test_calls_between_extensions_are_remembered(crm: EmbeddedCrm) -> None:
    crm.journal.write(ended(direction="internal", caller="102", extension="102"))
    card = crm.card_for(incoming("102", direction="internal"))
    assert card.number == "102"
    assert [one.call_id for one in card.recent] == ["c1"]


async def test_the_last_calls_with_a_number_are_on_its_card(crm: EmbeddedCrm) -> None:
    ann = await crm.save_contact(ContactEntry("", "Ann", ("2125550100",)))
    for number in range(7):
        crm.journal.write(ended(f"c{number}"))
    crm.journal.write(ended("c6", reason="counted"))
    recent = crm.card_for(incoming()).recent
    assert [one.call_id for one in recent] == ["c6", "c5", "c4", "c3", "c2"]
    assert {(one.contact_id, one.contact_name, one.agent) for one in recent} == {(ann.id, "Ann", "101")}
    await crm.write_summary("c5", "about c5", "ann")
    assert [one.summary for one in crm.card_for(incoming()).recent] == ["", "about c5", "", "", ""]
    await crm.delete_contact(ann.id)
    assert {one.contact_name for one in crm.card_for(incoming()).recent} == {""}


async def test_a_summary_written_while_the_call_is_up_stays_on_the_card(crm: EmbeddedCrm) -> None:
    crm.journal.write(answered())
    await crm.write_summary("c1", "early", "ann")
    crm.journal.write(ended())
    crm.journal.write(ended(reason="counted"))
    [recent] = crm.card_for(incoming()).recent
    assert (recent.summary, recent.state) == ("early", "completed")
    assert (recent.ended_at, recent.disposition) == (1060.25, "answered")


async def test_what_memory_says_of_a_call_is_what_the_database_says(crm: EmbeddedCrm) -> None:
    await crm.save_contact(ContactEntry("", "Ann", ("2125550100",)))
    crm.journal.write(ended())
    assert list(crm.card_for(incoming()).recent) == await crm.activities()


async def test_a_card_outlives_its_call_for_a_while(crm: EmbeddedCrm, clock: Clock) -> None:
    crm.card_for(incoming(call_id="c1"))
    crm.journal.write(call("c1"))
    crm.journal.write(ended("c1"))
    clock.now += module.KEEP - 1
    crm.journal.write(ended("c2"))
    assert crm.card("c1") is not None
    clock.now += 2
    crm.journal.write(ended("c3"))
    assert crm.card("c1") is None


def card(call_id: str) -> Card:
    return Card(call_id, "+12125550100", (), "")


def test_cards_are_bounded(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setattr(module, "MAX_CARDS", 10)
    cards = Cards(clock)
    for number in range(100):
        cards.put(card(str(number)))
        cards.ended(str(number))
        cards.ended(str(number))
    assert len(cards) <= 10
    assert cards.get("99") is not None
    assert cards.get("0") is None
    assert len(cards._ended) <= 12


def test_remembered_numbers_are_bounded_and_the_busiest_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_NUMBERS", 10)
    recent = Recent(lambda _: pytest.fail("nobody asked"))
    for number in range(100):
        recent.ended(f"n{number}", call(f"c{number}"))
        recent.ended("busy", call(f"b{number}"))
    assert len(recent) == 10
    assert recent.of("n0") == ()
