"""What only Dataverse does: completed calls that nothing can be changed about, pages by links, parties."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from crmhooks.connector import CrmConnector, NewContact, Refused, Unreachable
from tests.contract.fakes.dataverse import Fake
from tests.contract.test_connectors import NUMBER, OVER, SAID, TALK


async def test_a_summary_that_comes_after_the_completion_is_refused_in_plain_words(crm: CrmConnector) -> None:
    record_id = await crm.open_activity(TALK)
    await crm.complete_activity(record_id, SAID)
    with pytest.raises(Refused, match="read-only because it is completed"):
        await crm.complete_activity(record_id, replace(SAID, summary="Something else."))


async def test_an_update_makes_no_record_of_one_that_was_deleted(crm: CrmConnector, fake: Fake) -> None:
    record_id = await crm.open_activity(TALK)
    await crm.remove_activity(record_id)
    with pytest.raises(Refused):
        await crm.update_activity(record_id, OVER)
    assert fake.calls() == []


async def test_who_called_whom(crm: CrmConnector, fake: Fake) -> None:
    contact_id = fake.add_contact("Anna", NUMBER)
    inbound, outbound = {"contact": 1, "systemuser": 2}, {"contact": 2, "systemuser": 1}
    for direction, masks in (("inbound", inbound), ("outbound", outbound)):
        activity: Any = replace(TALK, external_id=direction, direction=direction, contact_id=contact_id)
        record_id = await crm.open_activity(activity)
        parties = fake.sets["phonecalls"][record_id]["phonecall_activity_parties"]
        assert {key.removeprefix("partyid_").partition("@")[0]: party["participationtypemask"]
                for party in parties for key in party if key.startswith("partyid_")} == masks  # fmt: skip


async def test_whom_its_own_check_knows_is_not_made_again(crm: CrmConnector, fake: Fake) -> None:
    contact_id = fake.add_contact("Anna", "", NUMBER)
    assert await crm.create_contact(NewContact(NUMBER, "Somebody")) == contact_id
    fake.add_contact("Boris", "", NUMBER)
    with pytest.raises(Refused, match="duplicate"):
        await crm.create_contact(NewContact(NUMBER, "Somebody"))


async def test_our_token_goes_nowhere_else(crm: CrmConnector, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(fake.page + 1):
        await crm.open_activity(replace(TALK, external_id=f"c{number}"))
    elsewhere = Fake()
    async with elsewhere.serving():
        monkeypatch.setattr("starlette.requests.Request.url", property(lambda request: _Elsewhere(elsewhere.url)))
        with pytest.raises(Unreachable, match="another address"):
            await crm.activities(0.0, 4e9)
    assert elsewhere.asked == []


class _Elsewhere:
    def __init__(self, url: str) -> None:
        self._url = url

    def include_query_params(self, **_more: str) -> str:
        return f"{self._url}/stolen"


async def test_quotes_in_a_filter_are_only_quotes(crm: CrmConnector) -> None:
    await crm.open_activity(replace(TALK, external_id="o'brien"))
    [found] = await crm.find_activity("o'brien")
    assert found.external_id == "o'brien"
    assert list(await crm.find_activity("x' eq 'x")) == []


async def test_what_is_too_long_is_cut(crm: CrmConnector, fake: Fake) -> None:
    record_id = await crm.open_activity(replace(TALK, subject="x" * 300, number="9" * 300))
    await crm.complete_activity(record_id, replace(SAID, subject="x" * 300, summary="y" * 3000))
    assert len(fake.call_of("call-1").summary) == 2000
