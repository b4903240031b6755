"""What only amoCRM does: refresh tokens for one use, notes that stay, being shut out for asking too much."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from crmhooks.build import build_connectors
from crmhooks.connector import CrmConnector, Refused, TryAgain, Unreachable
from crmhooks.connectors import amocrm
from crmhooks.connectors.common import Tools
from crmhooks.connectors.site import Unauthorised
from pbxcore.settings import Crm, Settings
from pbxcore.settings import CrmConnector as Section
from tests.contract.fakes.amocrm import LONG_LIVED, Fake, fault
from tests.contract.test_connectors import NUMBER, OVER, SAID, TALK, made


async def test_after_a_restart_the_newest_refresh_token_is_used(fake: Fake, tmp_path: Path) -> None:
    """That of the settings is spent with the first request."""
    tools = Tools("US", timeout=30.0, beside=tmp_path / "office.db")
    for _ in range(3):
        crm = made(fake.settings(), tools)
        await crm.lookup(NUMBER)
        await crm.close()
    file = tmp_path / "office.db-crm-crm.token"
    assert fake.refresh in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600


async def test_two_that_run_at_once_share_it(fake: Fake, tmp_path: Path) -> None:
    """A command beside the exchange, which goes on afterwards."""
    tools = Tools("US", timeout=30.0, beside=tmp_path / "office.db")
    exchange, command = made(fake.settings(), tools), made(fake.settings(), tools)
    for crm in (exchange, command, exchange):
        fake.expire_tokens()
        await crm.lookup(NUMBER)
    await exchange.close()
    await command.close()


async def test_another_token_in_the_settings_makes_the_kept_one_worthless(fake: Fake, tmp_path: Path) -> None:
    tools = Tools("US", timeout=30.0, beside=tmp_path / "office.db")
    crm = made(fake.settings(), tools)
    await crm.lookup(NUMBER)
    await crm.close()
    fake.refresh = "authorised-anew"
    crm = made(fake.settings() | {"api_key": "authorised-anew"}, tools)
    await crm.lookup(NUMBER)
    await crm.close()


async def test_a_spent_token_says_what_to_do(fake: Fake) -> None:
    fake.refresh = "another-one"
    crm = made(fake.settings())
    with pytest.raises(Unauthorised, match="give api_key a fresh refresh token"):
        await crm.lookup(NUMBER)
    await crm.close()


async def test_a_token_that_cannot_be_kept_is_not_spent(fake: Fake, tmp_path: Path) -> None:
    crm = made(fake.settings(), Tools("US", timeout=30.0, beside=tmp_path / "gone" / "office.db"))
    with pytest.raises(Unauthorised, match="cannot keep its token"):
        await crm.lookup(NUMBER)
    assert fake.asked == []
    await crm.close()


async def test_a_long_lived_token_needs_nothing_else(fake: Fake) -> None:
    crm = made({"kind": "amocrm", "url": fake.url, "api_key": LONG_LIVED})
    await crm.open_activity(TALK)
    fake.expire_tokens()
    with pytest.raises(Unreachable):
        await crm.lookup(NUMBER)
    await crm.close()


async def test_who_is_shut_out_parks_no_call(
    crm: CrmConnector, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    await crm.lookup(NUMBER)

    def shut(*_args: object) -> None:
        raise fault(403, "Forbidden", "Requests from your address are restricted")

    monkeypatch.setattr(fake, "_people", shut)
    with pytest.raises(Unauthorised, match="restricted"):
        await crm.open_activity(TALK)


async def test_a_throttled_one_rests_although_it_is_not_told_how_long(
    crm: CrmConnector, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    await crm.lookup(NUMBER)

    def throttled(*_args: object) -> None:
        raise fault(429, "Too Many Requests", "no more than 7 requests per second")

    monkeypatch.setattr(fake, "_people", throttled)
    with pytest.raises(TryAgain) as caught:
        await crm.open_activity(TALK)
    assert caught.value.after == amocrm.REST


async def test_what_became_of_the_call_is_in_its_note(crm: CrmConnector, fake: Fake) -> None:
    record_id = await crm.open_activity(TALK)
    [note] = fake.notes.values()
    assert "call_status" not in note["params"]
    for activity, status in (
        (OVER, 4), (replace(OVER, answered_at=None), 6), (replace(OVER, answered_at=None, disposition="busy"), 7),
    ):  # fmt: skip
        await crm.update_activity(record_id, activity)
        assert note["params"]["call_status"] == status


async def test_what_somebody_wrote_there_stays(crm: CrmConnector, fake: Fake) -> None:
    record_id = await crm.open_activity(TALK)
    [note] = fake.notes.values()
    note["params"]["call_result"] = "Written in the CRM."
    await crm.update_activity(record_id, OVER)
    assert note["params"]["call_result"] == "Written in the CRM."


async def test_a_note_that_cannot_be_deleted_says_that_it_was_taken_back(crm: CrmConnector, fake: Fake) -> None:
    record_id = await crm.open_activity(TALK)
    await crm.remove_activity(record_id)
    [note] = fake.notes.values()
    assert (note["params"]["uniq"], note["params"]["call_result"]) == ("", amocrm.TAKEN_BACK)
    with pytest.raises(Refused, match="not that of this call"):
        await crm.update_activity(record_id, OVER)


async def test_companies_are_found_and_calls_belong_to_them(crm: CrmConnector, fake: Fake) -> None:
    company = f"companies/{fake.add('companies', 'Example Ltd', NUMBER)}"
    [entry] = await crm.lookup(NUMBER)
    assert (entry.id, entry.owner, entry.tags) == (f"crm:{company}", "101", ("VIP",))
    record_id = await crm.open_activity(replace(TALK, contact_id=company))
    await crm.complete_activity(record_id, replace(SAID, contact_id=company))
    [found] = await crm.find_activity("call-1")
    assert (found.record_id, fake.call_of("call-1").contact_id) == (record_id, company)


async def test_calls_of_others_are_not_ours(crm: CrmConnector, fake: Fake) -> None:
    await crm.open_activity(TALK)
    [note] = fake.notes.values()
    note["params"]["source"] = "Another telephony"
    assert list(await crm.find_activity("call-1")) == []
    assert list(await crm.activities(0.0, 4e9)) == []


async def test_an_id_of_another_kind_is_refused(crm: CrmConnector) -> None:
    for contact_id in ("leads/7", "contacts/anna"):
        with pytest.raises(Refused):
            await crm.open_activity(replace(TALK, contact_id=contact_id))
    with pytest.raises(Refused, match="not the id of a note"):
        await crm.update_activity("7", OVER)


def test_half_an_application_is_told() -> None:
    section = {"kind": "amocrm", "url": "https://example.amocrm.com", "api_key": "x", "client_id": "y"}
    with pytest.raises(ValueError, match="go together"):
        build_connectors(Settings(crm=Crm(connector=(Section.model_validate(section),))))
