"""What only Salesforce does: searches that come late, upserts, refusals that are for now only."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crmhooks.connector import CrmConnector, NewContact, Refused, TryAgain, Unreachable
from tests.contract.fakes.salesforce import Fake
from tests.contract.test_connectors import AT, NUMBER, OVER, SAID, TALK, made


async def test_somebody_new_is_known_before_the_search_shows_him(crm: CrmConnector, fake: Fake) -> None:
    fake.lag = True
    contact_id = await crm.create_contact(NewContact(NUMBER, "Anna"))
    assert [entry.id for entry in await crm.lookup(NUMBER)] == [f"crm:{contact_id}"]


async def test_whoever_is_known_costs_one_request(crm: CrmConnector, fake: Fake) -> None:
    fake.add_contact("Anna", NUMBER)
    await crm.lookup(NUMBER)
    assert [path for method, path in fake.asked if method == "GET"] == ["/services/data/v62.0/search"]


async def test_leads_and_accounts_are_found_and_related(crm: CrmConnector, fake: Fake) -> None:
    lead = fake._store("Lead", {"Name": "Boris", "Phone": "(202) 555-0123", "Company": "Example"})
    account = fake._store("Account", {"Name": "Example Ltd", "Phone": "+1 202-555-0123"})
    assert {entry.name: entry.company for entry in await crm.lookup(NUMBER)} == {"Boris": "Example", "Example Ltd": ""}
    first = await crm.open_activity(replace(TALK, contact_id=f"Lead/{lead}"))
    second = await crm.open_activity(replace(TALK, external_id="call-2", contact_id=f"Account/{account}"))
    assert fake.records["Task"][first]["WhoId"] == lead
    assert fake.records["Task"][second]["WhatId"] == account


async def test_an_external_id_makes_it_an_upsert(fake: Fake) -> None:
    fake.external_id = "Hookline_Id__c"
    crm = made(fake.settings() | {"external_id_field": "Hookline_Id__c"})
    record_id = await crm.open_activity(TALK)
    assert await crm.open_activity(TALK) == record_id
    assert [record.record_id for record in await crm.find_activity("call-1")] == [record_id]
    assert [record.external_id for record in await crm.activities(AT, AT + 1)] == ["call-1"]
    await crm.close()


async def test_an_external_id_that_is_none_is_refused(fake: Fake) -> None:
    crm = made(fake.settings() | {"external_id_field": "Nothing__c"})
    with pytest.raises(Refused, match="external ID field does not exist"):
        await crm.open_activity(TALK)
    await crm.close()


@pytest.mark.parametrize("refusal", [(403, "REQUEST_LIMIT_EXCEEDED"), (400, "UNABLE_TO_LOCK_ROW")])
async def test_what_it_refuses_for_now_is_not_given_up(crm: CrmConnector, fake: Fake, refusal: tuple[int, str]) -> None:
    fake.refuses = refusal
    with pytest.raises(TryAgain, match=refusal[1]):
        await crm.open_activity(TALK)
    fake.refuses = None
    assert await crm.open_activity(TALK)


async def test_ids_with_wildcards_and_quotes_are_only_ids(crm: CrmConnector) -> None:
    for number, external_id in enumerate(("a_b", "axb", "o'brien", "50%", "back\\slash", "x@y")):
        await crm.open_activity(replace(TALK, external_id=external_id, started_at=AT + number))
    for external_id in ("a_b", "axb", "o'brien", "50%", "back\\slash", "x@y"):
        [found] = await crm.find_activity(external_id)
        assert found.external_id == external_id
    for external_id in ("%", "A_B", "x"):
        assert list(await crm.find_activity(external_id)) == []


async def test_our_token_goes_nowhere_else(crm: CrmConnector, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(fake.page + 1):
        await crm.open_activity(replace(TALK, external_id=f"c{number}"))
    monkeypatch.setattr("tests.contract.fakes.salesforce.API", "@elsewhere.example/services/data/v62.0")
    with pytest.raises(Unreachable, match="another address"):
        await crm.activities(AT, AT + 1)


async def test_a_missed_call_is_something_to_be_done(crm: CrmConnector, fake: Fake) -> None:
    record_id = await crm.open_activity(replace(OVER, answered_at=None, disposition="no_answer"))
    row = fake.records["Task"][record_id]
    assert (row["Status"], row["CallDisposition"], row["CallDurationInSeconds"]) == ("Not Started", "no_answer", 0)


async def test_what_is_too_long_is_cut(crm: CrmConnector, fake: Fake) -> None:
    record_id = await crm.open_activity(replace(TALK, subject="x" * 300))
    await crm.complete_activity(record_id, replace(SAID, subject="x" * 300, summary="y" * 40_000))
    assert len(fake.call_of("call-1").summary) == 32_000
