"""What only HubSpot does: a property with unique values, searches that are few and late, notes in HTML."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from crmhooks.connector import CrmActivity, CrmConnector, Refused, TryAgain
from tests.contract.fakes.hubspot import Fake
from tests.contract.test_connectors import AT, NUMBER, OVER, SAID, TALK, made


async def test_the_property_is_made_once(crm: CrmConnector, fake: Fake) -> None:
    await crm.open_activity(TALK)
    await crm.open_activity(replace(TALK, external_id="call-2"))
    assert fake.unique == {"hookline_call_id": True}
    asked = [f"{method} {path.removeprefix('/crm/v3/properties/')}" for method, path in fake.asked if "/prop" in path]
    assert asked == ["GET calls/hookline_call_id", "GET calls/hs_call_title", "POST calls"]


async def test_a_property_that_takes_one_value_twice_is_not_used(crm: CrmConnector, fake: Fake) -> None:
    fake.unique["hookline_call_id"] = False
    with pytest.raises(Refused, match="takes one value twice"):
        await crm.open_activity(TALK)
    assert fake.calls() == []


async def test_a_token_that_may_make_no_property_is_told_what_to_do(crm: CrmConnector, fake: Fake) -> None:
    fake.may_add_properties = False
    with pytest.raises(Refused, match='make a property "hookline_call_id" with unique values for calls'):
        await crm.open_activity(TALK)
    fake.unique["hookline_call_id"] = True
    assert await crm.open_activity(TALK)


async def test_a_record_is_found_before_searches_show_it_and_made_once(crm: CrmConnector, fake: Fake) -> None:
    fake.lag = True
    record_id = await crm.open_activity(TALK)
    assert await crm.open_activity(TALK) == record_id
    assert [record.record_id for record in await crm.find_activity("call-1")] == [record_id]
    assert list(await crm.activities(AT, AT + 1)) == []      # it comes later: `lag`
    assert crm.lag >= 10


async def test_ids_in_a_path_are_only_ids(crm: CrmConnector, fake: Fake) -> None:
    odd = replace(TALK, external_id="b?c#d%41@10.0.0.1")
    record_id = await crm.open_activity(odd)
    assert [record.record_id for record in await crm.find_activity(odd.external_id)] == [record_id]


async def test_searches_keep_below_the_limit_of_the_account(crm: CrmConnector, fake: Fake) -> None:
    for _ in range(8):
        await crm.lookup(NUMBER)       # nobody: contacts, then companies
    assert len([path for _, path in fake.asked if path.endswith("/search")]) == 16


async def test_whoever_is_known_costs_one_search(crm: CrmConnector, fake: Fake) -> None:
    fake.add_contact("Anna", NUMBER)
    await crm.lookup(NUMBER)
    assert [path for _, path in fake.asked] == ["/crm/v3/objects/contacts/search"]


async def test_a_company_has_the_number_that_no_contact_has(crm: CrmConnector, fake: Fake) -> None:
    fake.objects["companies"]["77"] = {"name": "Example Ltd", "phone": "(202) 555-0123", "hubspot_owner_id": fake.user}
    [entry] = await crm.lookup(NUMBER)
    assert (entry.id, entry.name, entry.owner) == ("crm:companies/77", "Example Ltd", "101")
    record_id = await crm.open_activity(replace(TALK, contact_id="companies/77"))
    assert fake.associations[record_id] == {"companies/77"}


async def test_notes_are_html_there_and_text_here(crm: CrmConnector, fake: Fake) -> None:
    record_id = await crm.open_activity(TALK)
    await crm.complete_activity(record_id, replace(SAID, summary="<b>5 > 4</b> & more\nNext line"))
    notes = fake.objects["calls"][record_id]["hs_call_body"]
    assert notes == "&lt;b&gt;5 &gt; 4&lt;/b&gt; &amp; more<br>Next line"


MISSED = replace(OVER, answered_at=None)


@pytest.mark.parametrize(
    ("activity", "status"),
    [
        (replace(TALK, answered_at=None), "RINGING"),
        (TALK, "IN_PROGRESS"),
        (OVER, "COMPLETED"),
        (replace(MISSED, disposition="no_answer"), "MISSED"),
        (replace(MISSED, direction="outbound", disposition="busy"), "BUSY"),
        (replace(MISSED, direction="outbound", disposition="failed"), "FAILED"),
        (replace(MISSED, direction="outbound", disposition="no_answer"), "NO_ANSWER"),
    ],
)  # fmt: skip
async def test_how_a_call_went(crm: CrmConnector, fake: Fake, activity: CrmActivity, status: str) -> None:
    record_id = await crm.open_activity(activity)
    assert fake.objects["calls"][record_id]["hs_call_status"] == status


async def test_figures_are_milliseconds(crm: CrmConnector, fake: Fake) -> None:
    record_id = await crm.open_activity(TALK)
    await crm.update_activity(record_id, OVER)
    row: dict[str, Any] = fake.objects["calls"][record_id]
    assert (row["hs_timestamp"], row["hs_call_duration"]) == ("1795400000000", "60000")
    assert row["hs_call_from_number"] == NUMBER


async def test_an_account_that_moves_house_is_asked_again(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.contract.fakes import base

    monkeypatch.setitem(base.WITHOUT_WORK, "busy", (477, {"content-type": "application/json"}, b"{}"))
    crm = made(fake.settings())
    fake.weather = lambda: "busy"
    with pytest.raises(TryAgain, match="477"):
        await crm.lookup(NUMBER)
    await crm.close()
