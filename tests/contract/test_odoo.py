"""What only Odoo does: activities that turn into messages, contacts without phone_validation, names of its errors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from crmhooks.build import InvalidHook
from crmhooks.connector import CrmConnector, Refused, TryAgain
from crmhooks.connectors.odoo_rpc import _fault
from tests.contract.fakes.odoo import DATABASE, FAKES, KEY, USERNAME, Fake, Older, WithPhonecalls
from tests.contract.test_connectors import AT, NUMBER, OVER, SAID, TALK, made


@pytest.fixture(params=FAKES)
async def fake(request: pytest.FixtureRequest) -> AsyncIterator[Fake]:
    fake: Fake = request.param()
    async with fake.serving():
        yield fake


@pytest.fixture
async def crm(fake: Fake) -> AsyncIterator[CrmConnector]:
    connector = made(fake.settings())
    yield connector
    await connector.close()


async def test_a_done_call_is_one_record_that_is_still_found(crm: CrmConnector) -> None:
    record_id = await crm.open_activity(TALK)
    await crm.complete_activity(record_id, SAID)
    [found] = await crm.find_activity("call-1")
    assert (found.external_id, found.completed, found.started_at) == ("call-1", True, AT)
    assert list(await crm.activities(AT, AT + 1)) == [found]
    await crm.complete_activity(found.record_id, SAID)
    await crm.update_activity(found.record_id, OVER)
    assert list(await crm.find_activity("call-1")) == [found]


async def test_a_done_call_is_taken_back_with_its_message(crm: CrmConnector, fake: Fake) -> None:
    record_id = await crm.open_activity(TALK)
    await crm.complete_activity(record_id, SAID)
    await crm.remove_activity(record_id)
    assert (list(await crm.find_activity("call-1")), fake.calls()) == ([], [])


async def test_of_two_done_calls_one_is_taken_back(crm: CrmConnector) -> None:
    for _ in range(2):
        await crm.complete_activity(await crm.open_activity(TALK), SAID)
    first, second = await crm.find_activity("call-1")
    await crm.remove_activity(second.record_id)
    assert [record.completed for record in await crm.find_activity("call-1")] == [True]
    assert first.record_id != second.record_id


async def test_a_summary_is_text_and_no_markup(crm: CrmConnector, fake: Fake) -> None:
    record_id = await crm.open_activity(TALK)
    await crm.complete_activity(record_id, replace(SAID, summary="a < b & <b>c</b>"))
    assert fake.call_of("call-1").summary == "a < b & <b>c</b>"


async def test_calls_of_nobody_known_are_with_one_contact(crm: CrmConnector, fake: Fake) -> None:
    for number in range(3):
        await crm.open_activity(replace(TALK, external_id=f"c{number}", number="anonymous"))
    assert len(fake.tables["res.partner"]) == (0 if fake.phonecalls else 1)


async def test_contacts_without_the_search_by_number(crm: CrmConnector, fake: Fake) -> None:
    fake.fields["res.partner"] -= {"phone_mobile_search", "mobile"}
    for spelling in ("(202) 555-0123", "+1 202-555-0123", NUMBER):
        fake.add_contact(spelling, spelling)
    assert len(await crm.lookup(NUMBER)) == 3


async def test_nobody_answered() -> None:
    fake = WithPhonecalls()
    async with fake.serving():
        crm = made(fake.settings())
        record_id = await crm.open_activity(TALK)
        await crm.update_activity(record_id, replace(OVER, answered_at=None))
        assert fake.tables["crm.phonecall"][int(record_id)]["state"] == "cancel"
        await crm.close()


async def test_a_field_of_its_own_keeps_the_id_out_of_the_description() -> None:
    fake = WithPhonecalls()
    async with fake.serving():
        crm = made(fake.settings() | {"external_id_field": "x_call"})
        record_id = await crm.open_activity(TALK)
        await crm.complete_activity(record_id, SAID)
        assert fake.tables["crm.phonecall"][int(record_id)]["description"] == SAID.summary
        [found] = await crm.find_activity("call-1")
        assert (found.record_id, found.external_id) == (record_id, "call-1")
        await crm.close()


def test_keys_that_do_not_fit_together() -> None:
    base = {"kind": "odoo", "url": "http://odoo.example.net"}
    for keys, words in (
        ({}, "api_key is missing"),
        ({"username": USERNAME}, "username needs database and password"),
        ({"username": USERNAME, "database": DATABASE}, "username needs database and password"),
        ({"api_key": KEY, "users": ["101=anna"]}, "Odoo's users have numbers"),
    ):
        with pytest.raises(InvalidHook, match=words):
            made(base | keys)


async def test_an_api_key_does_for_a_password() -> None:
    fake = Older()
    async with fake.serving():
        keys = fake.settings() | {"api_key": KEY}
        del keys["password"]
        crm = made(keys)
        assert list(await crm.lookup(NUMBER)) == []
        await crm.close()


def test_a_lock_is_tried_again_and_a_wrong_value_is_not() -> None:
    def fault(name: str) -> Exception:
        return _fault({"code": 200, "message": "Odoo Server Error", "data": {"name": name, "message": "said"}})

    assert isinstance(fault("psycopg2.errors.SerializationFailure"), TryAgain)
    assert isinstance(fault("odoo.exceptions.ValidationError"), Refused)
    assert isinstance(fault("builtins.KeyError"), Refused)
    assert isinstance(_fault("nonsense"), TryAgain)
