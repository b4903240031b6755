"""A number that nobody has calls fifty times at once: the embedded CRM has one contact of it, and every call is his."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from crmhooks.embedded.desk import EmbeddedCrm
from crmhooks.journal import Journal
from crmhooks.runner import Runner
from pbxcore import store as stores
from pbxcore.control import Instruction
from pbxcore.events import CardFound, Delivered
from pbxcore.hooks import CallSnapshot
from tests.scenario.office import EXCHANGE, Office, VirtualJournal
from tests.scenario.world import World

STRANGER = "+12125550100"


class Both(VirtualJournal):
    """The journal in virtual time, and behind it the real one."""

    def __init__(self, world: World, real: Journal) -> None:
        super().__init__(world)
        self.real = real

    def write(self, call: CallSnapshot) -> None:
        super().write(call)
        self.real.write(call)


@pytest.fixture
async def crm(tmp_path: Path) -> AsyncIterator[EmbeddedCrm]:
    store = stores.open(f"sqlite:///{tmp_path}/office.db", serving=True)
    store.start()
    office = Office()
    crm = EmbeddedCrm(store, office.bus, "US", clock=office.world.wall, enters=True)
    crm.load()
    yield crm
    await crm.close()
    await store.close()


def office_with(crm: EmbeddedCrm) -> Office:
    office = Office()
    office.exchange.hooks = Runner(crm, office.bus, country="US", clock=office.world.clock, wall=office.world.wall)
    office.exchange.journal = office.journal = Both(office.world, crm.journal)
    return office


async def settled(crm: EmbeddedCrm) -> None:
    while crm.newcomers is not None and crm.newcomers._task is not None:
        await asyncio.gather(crm.newcomers._task)


async def test_fifty_calls_at_once_from_one_new_number_make_one_contact(crm: EmbeddedCrm) -> None:
    office = office_with(crm)
    phone = office.phone("101")
    phone.manners.ring_after, phone.manners.answer_after = 0.01, 0.5
    carrier = office.carrier(STRANGER)
    talks = [carrier.call("+15550100", EXCHANGE) for _ in range(50)]
    office.world.run(2.0)
    assert len(office.exchange.live) == 50
    await settled(crm)
    for talk in talks:
        carrier.bye(talk)
    office.world.run(2.0)
    office.assert_nothing_left()
    await settled(crm)
    assert [one.numbers for one in await crm.contacts()] == [(STRANGER,)]
    activities = await crm.activities(limit=100)
    [contact] = await crm.contacts()
    assert [one.contact_id for one in activities] == [contact.id] * 50


async def test_callers_without_a_number_become_nobody(crm: EmbeddedCrm) -> None:
    office = office_with(crm)
    phone = office.phone("101")
    phone.manners.ring_after, phone.manners.answer_after = 0.01, 0.02
    for user in ("anonymous", "911", "4711", "restricted"):
        carrier = office.carrier(user)
        talk = carrier.call("+15550100", EXCHANGE)
        office.world.run(1.0)
        carrier.bye(talk)
        office.world.run(1.0)
    other = office.phone("102")
    other.call("101", EXCHANGE)
    office.world.run(1.0)
    await settled(crm)
    assert len(await crm.activities()) == 5
    assert await crm.contacts() == []


async def test_the_instruction_is_on_the_card_before_the_phone_rings(crm: EmbeddedCrm) -> None:
    await crm.book.save(Instruction("", "Ask for the order number.", prefix="+1212"))
    office = office_with(crm)
    told: list[str] = []

    def listen(event: object) -> None:
        if isinstance(event, CardFound):
            card = crm.card(event.call_id)
            told.append(card.instructions if card is not None else "no card")
        elif isinstance(event, Delivered):
            told.append("180")

    office.bus.listen(listen)
    office.phone("101").manners.ring_after = 0.01
    office.carrier(STRANGER).call("+15550100", EXCHANGE)
    office.world.run(1.0)
    assert told == ["Ask for the order number.", "180"]
