"""What only Tryton does: notes that cannot be changed, calls of nobody known, sessions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crmhooks.connector import CrmConnector, NewContact, Refused, TryAgain, Unreachable
from crmhooks.connectors.common import iso
from tests.contract.fakes.tryton import Fake
from tests.contract.test_connectors import AT, NUMBER, OVER, SAID, TALK, made


async def test_a_note_says_all_of_the_call(crm: CrmConnector, fake: Fake) -> None:
    record_id = await crm.open_activity(TALK)
    await crm.complete_activity(record_id, SAID)
    [row] = fake.server.call("model.ir.note.search_read", [], 0, None, None, ["message", "resource"])
    assert row["resource"] == f"res.user,{fake.server.user}"
    assert row["message"].split("\n") == [
        "Call from Anna", f"{iso(AT)}, inbound, +12025550123, anna, answered, 60 s", "",
        "Wants the printer mended.", "Calls again on Monday.", "", f"hookline:call-1 {iso(AT)} completed",
    ]  # fmt: skip


async def test_a_call_moves_to_whoever_is_known_later(crm: CrmConnector, fake: Fake) -> None:
    record_id = await crm.open_activity(TALK)
    contact_id = await crm.create_contact(NewContact(NUMBER, "Anna"))
    await crm.update_activity(record_id, replace(OVER, contact_id=contact_id))
    assert [call.contact_id for call in fake.calls()] == [contact_id]


async def test_a_change_that_was_broken_off_leaves_one_record(crm: CrmConnector, fake: Fake) -> None:
    record_id = await crm.open_activity(TALK)
    fake.faults.extend([None, "lose"])      # the new note is there, nobody was told, the old one is there too
    with pytest.raises(Unreachable):
        await crm.complete_activity(record_id, SAID)
    assert len(fake.calls()) == 2
    assert [record.completed for record in await crm.find_activity("call-1")] == [True]
    assert [record.completed for record in await crm.activities(AT, AT + 1)] == [True]
    await crm.complete_activity(record_id, SAID)
    assert len(fake.calls()) == 1


async def test_ids_with_wildcards_are_only_ids(crm: CrmConnector) -> None:
    for external_id in ("a_b", "axb", "50%", "back\\slash"):
        await crm.open_activity(replace(TALK, external_id=external_id))
    for external_id in ("a_b", "axb", "50%", "back\\slash"):
        assert [record.external_id for record in await crm.find_activity(external_id)] == [external_id]
    assert list(await crm.find_activity("%")) == []


async def test_what_it_refuses_is_said_in_its_words_and_what_breaks_is_tried_again(crm: CrmConnector) -> None:
    with pytest.raises(Refused, match=r"does not do it: .*Party"):
        await crm.create_contact(NewContact(NUMBER, "Anna\nIvanova"))
    with pytest.raises((Refused, TryAgain)):
        await crm.open_activity(replace(TALK, contact_id="999999"))


async def test_a_database_that_is_not_there(fake: Fake) -> None:
    crm = made(fake.settings() | {"database": "nowhere"})
    with pytest.raises((Unreachable, TryAgain)):
        await crm.lookup(NUMBER)
    await crm.close()
