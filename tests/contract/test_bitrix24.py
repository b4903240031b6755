"""What only Bitrix24 does: rights of a webhook, a leaky bucket, activities that must belong to somebody."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crmhooks.build import build_connectors
from crmhooks.connector import CrmConnector, Refused, TryAgain, Unreachable
from crmhooks.connectors.site import Unauthorised
from pbxcore.settings import Crm, Settings
from pbxcore.settings import CrmConnector as Section
from tests.contract.fakes.bitrix24 import SECRET, Fake
from tests.contract.test_connectors import NUMBER, SAID, TALK, made


async def test_a_full_bucket_is_let_run_out(crm: CrmConnector, fake: Fake) -> None:
    fake.room = 0
    with pytest.raises(TryAgain, match="QUERY_LIMIT_EXCEEDED") as caught:
        await crm.lookup(NUMBER)
    assert caught.value.after is not None


async def test_a_webhook_without_the_right_parks_no_call(crm: CrmConnector, fake: Fake) -> None:
    """It can be given the right, and then all of them go."""
    fake.scopes.clear()
    with pytest.raises(Unauthorised, match="higher privileges"):
        await crm.open_activity(TALK)


async def test_calls_of_nobody_known_have_one_owner_until_somebody_is(crm: CrmConnector, fake: Fake) -> None:
    for number in range(3):
        await crm.open_activity(replace(TALK, external_id=f"c{number}"))
    assert [row["NAME"] for row in fake.people["contact"].values()] == ["Unknown callers"]
    anna = fake.add_contact("Anna", NUMBER)
    [record] = await crm.find_activity("c1")
    await crm.complete_activity(record.record_id, replace(SAID, external_id="c1", contact_id=anna))
    assert [fake.call_of(f"c{number}").contact_id for number in range(3)] == [None, anna, None]


async def test_after_a_restart_the_same_one_is_taken(fake: Fake) -> None:
    for number in range(2):
        crm = made(fake.settings())
        await crm.open_activity(replace(TALK, external_id=f"c{number}"))
        await crm.close()
    assert len(fake.people["contact"]) == 1


async def test_companies_and_leads_are_found_too(crm: CrmConnector, fake: Fake) -> None:
    company = fake.add("company", {"TITLE": "Example Ltd", "PHONE": [{"VALUE": NUMBER}]})
    comments = "[b]VIP[/b]<br>speak slowly"
    lead = fake.add("lead", {"TITLE": "Form", "NAME": "Vera", "PHONE": [{"VALUE": NUMBER}], "COMMENTS": comments})
    found = {entry.id: entry for entry in await crm.lookup(NUMBER)}
    assert {key: entry.name for key, entry in found.items()} == {f"crm:{company}": "Example Ltd", f"crm:{lead}": "Vera"}
    assert (found[f"crm:{lead}"].instructions, found[f"crm:{lead}"].owner) == ("VIPspeak slowly", "101")


async def test_the_secret_is_in_no_message(fake: Fake) -> None:
    crm = made(fake.settings() | {"url": "http://127.0.0.1:1"})
    with pytest.raises(Unreachable) as caught:
        await crm.lookup(NUMBER)
    assert SECRET not in str(caught.value)
    await crm.close()


@pytest.mark.parametrize(("keys", "mend"), [
    ({"url": "https://example.bitrix24.com/rest/1/abc/"}, "the part before /rest/"),
    ({"api_key": "abc"}, '"1/abc..."'),
    ({"api_key": "1/abc/crm.contact.list"}, '"1/abc..."'),
])  # fmt: skip
def test_an_address_in_the_wrong_place_is_told(keys: dict[str, str], mend: str) -> None:
    section = {"kind": "bitrix24", "url": "https://example.bitrix24.com", "api_key": "1/abc"} | keys
    with pytest.raises(ValueError, match=mend):
        build_connectors(Settings(crm=Crm(connector=(Section.model_validate(section),))))


async def test_an_owner_of_another_kind_is_refused(crm: CrmConnector) -> None:
    with pytest.raises(Refused, match="no deal"):
        await crm.open_activity(replace(TALK, contact_id="deal/7"))
