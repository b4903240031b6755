"""What only SuiteCRM does: filters without LIKE, keys that stay taken, relations beside the parent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crmhooks.connector import CrmConnector, NewContact, Refused
from tests.contract.fakes.suitecrm import Fake
from tests.contract.test_connectors import AT, NUMBER, OVER, SAID, TALK, made


async def test_all_spellings_cost_two_requests_a_module(crm: CrmConnector, fake: Fake) -> None:
    await crm.lookup(NUMBER)
    asked = [path.rpartition("/")[2] for method, path in fake.asked if method == "GET"]
    assert sorted(asked) == ["Accounts", "Accounts", "Contacts", "Contacts", "Leads", "Leads"]


async def test_a_call_that_was_deleted_there_is_made_again(crm: CrmConnector, fake: Fake) -> None:
    first = await crm.open_activity(TALK)
    await crm.remove_activity(first)
    second = await crm.open_activity(TALK)
    assert second != first
    assert await crm.open_activity(TALK) == second
    assert [record.record_id for record in await crm.find_activity("call-1")] == [second]
    assert fake.call_of("call-1").record_id == second


async def test_a_call_that_was_deleted_again_and_again_is_let_go(crm: CrmConnector) -> None:
    for _ in range(3):
        await crm.remove_activity(await crm.open_activity(TALK))
    with pytest.raises(Refused, match="deleted there too often"):
        await crm.open_activity(TALK)


async def test_a_field_of_its_own_keeps_the_id_out_of_the_description(fake: Fake) -> None:
    crm = made(fake.settings() | {"external_id_field": "hookline_id_c"})
    record_id = await crm.open_activity(TALK)
    await crm.complete_activity(record_id, SAID)
    assert fake.records["Calls"][record_id]["description"] == SAID.summary
    assert [record.record_id for record in await crm.find_activity("call-1")] == [record_id]
    assert [record.external_id for record in await crm.activities(AT, AT + 1)] == ["call-1"]
    await crm.close()


async def test_a_field_that_is_not_there_is_refused_in_its_words(fake: Fake) -> None:
    crm = made(fake.settings() | {"external_id_field": "nowhere_c"})
    with pytest.raises(Refused, match="Property nowhere_c in Calls module is invalid"):
        await crm.open_activity(TALK)
    await crm.close()


async def test_a_call_is_in_the_list_of_whoever_is_known_later(crm: CrmConnector, fake: Fake) -> None:
    record_id = await crm.open_activity(TALK)
    contact_id = await crm.create_contact(NewContact(NUMBER, "Anna"))
    await crm.update_activity(record_id, replace(OVER, contact_id=contact_id))
    assert fake.related == {record_id: {contact_id}}


async def test_nobody_answered(crm: CrmConnector, fake: Fake) -> None:
    record_id = await crm.open_activity(TALK)
    await crm.update_activity(record_id, replace(OVER, answered_at=None))
    assert fake.records["Calls"][record_id]["status"] == "Not Held"


async def test_the_talk_is_rounded_up_to_minutes_and_the_subject_cut(crm: CrmConnector, fake: Fake) -> None:
    record_id = await crm.open_activity(replace(TALK, subject="x" * 80))
    await crm.complete_activity(record_id, replace(SAID, subject="x" * 80, ended_at=AT + 5 + 3601))
    row = fake.records["Calls"][record_id]
    assert (row["duration_hours"], row["duration_minutes"], len(row["name"])) == (1, 1, 50)
