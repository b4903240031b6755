"""The pages of the CRM that ships, in both languages and on a phone, and the main way through each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import DESKTOP, PHONE
from tests.browser.contents import fill_crm
from tests.browser.office import CrmOffice
from tests.browser.test_everywhere import overflow

Visit = Callable[..., Any]
PATHS = ("/contacts/files", "/instructions", "/activities?show=all", "/schedule", "/rules?edit=1", "/calls/c-old")


@pytest.fixture
def office(tmp_path: Path) -> Any:
    office = CrmOffice(tmp_path)
    fill_crm(office)
    yield office
    office.close()


@pytest.mark.parametrize("language", ["en-US", "ru-RU"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_every_page_fits_and_strangers_text_stays_text(
    office: CrmOffice, visit: Visit, language: str, size: dict[str, int]
) -> None:
    page = visit("chief", size=size, language=language)
    for path in (*PATHS, f"/contacts/{office.person}", f"/contacts/{office.person}/edit"):
        assert page.goto(office.url + path).status == 200, path
        assert overflow(page) <= 0, path
        assert page.locator("main img").count() == 0, path
        assert page.locator(".nav [aria-current]").is_visible(), path


def test_a_rule_says_what_is_wrong_beside_its_field(office: CrmOffice, visit: Visit) -> None:
    page = visit("chief")
    page.click("nav >> text=Rules")
    page.fill("#f-hours", "noon")
    page.fill("#f-target", "101")
    page.press("#f-target", "Enter")
    page.wait_for_selector("#f-hours[aria-invalid=true]")
    assert "are no hours" in page.text_content("#f-hours-says")


def test_an_agent_says_that_he_is_not_ready(office: CrmOffice, visit: Visit) -> None:
    page = visit("anna")
    page.click("text=Not ready")
    page.wait_for_function("document.readyState === 'complete'")
    page.reload()
    assert "not ready" in page.text_content("#phone-101")


def test_a_call_is_planned_from_a_contact_and_done(office: CrmOffice, visit: Visit) -> None:
    page = visit("chief")
    page.goto(f"{office.url}/contacts/{office.person}")
    page.click("text=Plan a call")
    assert page.input_value("#f-number") == "+12125550100"
    page.fill("#f-due_at", "2031-03-01T09:30")
    page.press("#f-due_at", "Enter")
    page.wait_for_selector("text=Saved.")
    assert page.locator(".planned > li").count() == 4
    page.locator(".planned >> text=Done").last.click()
    page.wait_for_function("document.querySelectorAll('.planned > li').length === 3")


def test_contacts_come_from_a_file(office: CrmOffice, visit: Visit) -> None:
    page = visit("chief")
    page.click("nav >> text=Contacts")
    page.click("text=Import, export, duplicates")
    sheet = b"name,phone1\nDora,2125550104\n"
    page.set_input_files("#f-file", {"name": "x.csv", "mimeType": "text/csv", "buffer": sheet})
    page.click("button >> text=Import")
    page.wait_for_selector("text=1 new, 0 merged")
