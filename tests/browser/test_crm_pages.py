"""The pages of the CRM that ships, in both languages and on a phone, and the main way through each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pbxcore.control import ContactEntry
from tests.browser.conftest import DESKTOP, PHONE
from tests.browser.contents import fill_crm
from tests.browser.office import CrmOffice
from tests.browser.test_everywhere import overflow

Visit = Callable[..., Any]
PATHS = ("/contacts/files", "/instructions", "/activities?show=all", "/schedule", "/rules?edit=1", "/calls/c-old")


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Any:
    office = CrmOffice(tmp_path_factory.mktemp("office"))
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


def tab_through(page: Any, least: int) -> list[str]:
    """Ids of what the Tab key reaches from where the focus is, each seen to have it."""
    reached = []
    for _ in range(least):
        page.keyboard.press("Tab")
        name, outline = page.evaluate(
            "((one) => [one.id, getComputedStyle(one).outlineStyle])(document.activeElement)"
        )
        assert outline != "none", name
        reached.append(name)
    return reached


def test_an_instruction_is_written_changed_and_deleted_by_the_keyboard(office: CrmOffice, visit: Visit) -> None:
    page = visit("chief")
    page.goto(f"{office.url}/instructions")
    page.focus("#f-text")
    page.keyboard.type("Ask for the order number.")
    assert tab_through(page, 4) == ["f-number", "f-prefix", "f-tag", "f-called"]
    page.fill("#f-prefix", "letters")
    page.press("#f-prefix", "Enter")
    page.wait_for_selector("#f-prefix[aria-invalid=true]")
    assert "begins no number" in page.text_content("#f-prefix-says")
    assert page.input_value("#f-text") == "Ask for the order number."
    page.wait_for_function("document.activeElement.id === 'f-prefix'")
    page.fill("#f-prefix", "+4989")
    page.press("#f-prefix", "Enter")
    line = page.locator("li", has_text="Ask for the order number.")
    line.locator("text=Edit").press("Enter")
    page.wait_for_selector("text=Change the instruction")
    page.fill("#f-text", "Ask for the bill.")
    page.press("#f-prefix", "Enter")
    line = page.locator("li", has_text="Ask for the bill.")
    page.once("dialog", lambda dialog: dialog.dismiss())
    line.locator("button").press("Enter")
    assert line.count() == 1
    page.once("dialog", lambda dialog: dialog.accept())
    line.locator("button").press("Enter")
    page.wait_for_url("**/instructions?note=deleted")
    assert line.count() == 0


def test_two_who_share_a_number_become_one(office: CrmOffice, visit: Visit) -> None:
    async def twins() -> None:
        for name in ("Ann Twin", "Anna Twin"):
            await office.crm.save_contact(ContactEntry("", name, ("+12125550155",), email=f"{name[:4].strip()}@x.org"))

    office.wait(twins())
    page = visit("chief")
    page.goto(f"{office.url}/contacts/files")
    line = page.locator("li", has_text="Anna Twin")
    page.once("dialog", lambda dialog: dialog.accept())
    line.locator("text=Merge").press("Enter")
    page.wait_for_selector("h1 >> text=Ann Twin")
    page.wait_for_selector("text=Merged.")
    assert "Anna@x.org" in page.text_content("main")
    page.goto(f"{office.url}/contacts/files")
    assert page.locator("li", has_text="Anna Twin").count() == 0


def test_the_calendar_has_a_secret_address_that_can_be_made_worthless(office: CrmOffice, visit: Visit) -> None:
    page = visit("chief")
    page.goto(f"{office.url}/schedule")
    old = page.text_content(".secret code")
    feed = page.request.get(old)
    assert (feed.status, feed.text().startswith("BEGIN:VCALENDAR")) == (200, True)
    page.once("dialog", lambda dialog: dialog.accept())
    page.press("button >> text=New address", "Enter")
    page.wait_for_url("**/schedule?note=stored")
    new = page.text_content(".secret code")
    assert page.request.get(old).status == 404
    assert page.request.get(new).status == 200


def test_a_call_is_to_be_followed_up_and_nothing_typed_is_lost(office: CrmOffice, visit: Visit) -> None:
    page = visit("chief", language="ru-RU")
    page.goto(f"{office.url}/calls/c-old")
    page.fill("#lines", "Wants an offer.")
    page.press("details.more summary", "Enter")
    assert tab_through(page, 1) == ["f-outcome"]
    page.fill("#f-outcome", "offer")
    page.fill("#f-follow_up_at", "2031-03-30T02:30")
    page.fill("#f-follow_up_note", "Send it.")
    page.press("#f-follow_up_note", "Enter")
    page.wait_for_selector("#f-follow_up_at-says >> text=часы переводят вперёд")
    assert [page.input_value(f"#f-{name}") for name in ("outcome", "follow_up_note")] == ["offer", "Send it."]
    assert page.input_value("#lines") == "Wants an offer."
    page.fill("#f-follow_up_at", "2031-03-30T10:30")
    page.press("#f-follow_up_note", "Enter")
    page.wait_for_selector("text=Итог сохранён.")
    page.goto(f"{office.url}/activities?show=follow_up")
    line = page.locator("tr", has_text="Wants an offer.")
    assert "offer" in line.text_content()
    assert "Send it." in line.text_content()
