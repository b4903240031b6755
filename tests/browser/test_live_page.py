"""The live page in a real Chromium: the card pops, is updated in place, and nothing that was typed is lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.office import Office

Visit = Callable[..., Any]


@pytest.mark.alone      # it is timed
def test_the_card_is_there_within_a_second(office: Office, visit: Visit) -> None:
    office.do(
        lambda: office.world.desk.add("Elena Petrova", "+14155550100", company="Petrova & Sons", instructions="Hello.")
    )
    page = visit("anna")
    began = time.monotonic()
    call = office.do(lambda: office.world.ring("+14155550100", "101"))
    page.wait_for_selector(f"#card-{call} >> text=Elena Petrova", timeout=1000)
    assert time.monotonic() - began < 1
    assert "Hello." in page.text_content(f"#card-{call}")
    assert "Incoming call: Elena Petrova" in page.text_content("#announce")
    assert "Elena Petrova" in page.title()
    clock = f"document.querySelector('#card-{call} time').textContent"
    page.wait_for_function(f"/^0:0[0-9]$/.test({clock})")


def test_a_late_card_is_filled_in_where_it_stands(office: Office, visit: Visit) -> None:
    office.do(lambda: office.world.desk.add("Elena", "+14155550100"))
    page = visit("anna")
    call = office.do(lambda: office.world.ring("+14155550100", "101", late=True))
    page.wait_for_selector(f"#card-{call}[data-kind=looking]")
    page.evaluate(f"document.getElementById('card-{call}').marked = true")
    office.do(lambda: office.world.found(call))
    page.wait_for_selector(f"#card-{call}[data-kind=known] >> text=Elena")
    assert page.evaluate(f"document.getElementById('card-{call}').marked"), "the same card, not a new one"


def test_the_summary_is_written_while_the_card_changes_around_it(office: Office, visit: Visit) -> None:
    office.do(lambda: office.world.desk.add("Elena", "+14155550100"))
    page = visit("anna")
    call = office.do(lambda: office.world.ring("+14155550100", "101"))
    office.do(lambda: office.world.answer(call))
    box = page.locator(f"#lines-{call}")
    box.click()
    box.type("Renewed ")
    office.do(lambda: office.world.hold(call))
    page.wait_for_selector(f"#card-{call}.held")
    box.type("for ")
    office.do(lambda: office.world.end(call))
    page.wait_for_selector(f"#card-{call}.ended")
    page.keyboard.type("a year.")
    assert box.input_value() == "Renewed for a year."
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#status >> text=Summary saved.")
    page.wait_for_selector(f"#card-{call}", state="detached")
    assert office.world.desk.acts[call].summary == "Renewed for a year."


def test_a_draft_survives_another_page_and_is_gone_once_saved(office: Office, visit: Visit) -> None:
    page = visit("anna")
    call = office.do(lambda: office.world.ring("+14155550100", "101"))
    office.do(lambda: office.world.answer(call))
    page.fill(f"#lines-{call}", "Half a")
    page.click("nav >> text=Contacts")
    page.click("nav >> text=Live")
    assert page.input_value(f"#lines-{call}") == "Half a"
    office.do(lambda: office.world.end(call))
    page.reload()
    page.click(f"#open-{call} summary")
    assert page.input_value(f"#open-{call} textarea") == "Half a"
    page.fill(f"#open-{call} textarea", "Half a sentence.")
    page.click(f"#open-{call} button")
    page.wait_for_selector(f"#open-{call}", state="detached")
    page.wait_for_function("sessionStorage.length === 0")


def test_an_empty_summary_is_refused_where_it_stands(office: Office, visit: Visit) -> None:
    page = visit("anna")
    call = office.do(lambda: office.world.ring("+14155550100", "101"))
    office.do(lambda: office.world.answer(call))
    page.fill(f"#lines-{call}", "   ")
    page.click(f"#summary-{call} button")
    page.wait_for_selector(f"#summary-{call} >> text=a summary says in a line")
    page.fill(f"#lines-{call}", "Now it says something.")
    page.click(f"#summary-{call} button")
    page.wait_for_selector(f"#written-{call} >> text=Now it says something.")


def test_who_it_was_is_chosen_among_those_who_share_the_number(office: Office, visit: Visit) -> None:
    world = office.world
    office.do(lambda: world.desk.add("Reception", "+14155550177"))
    omar = office.do(lambda: world.desk.add("Dr. Haddad", "+14155550177"))
    page = visit("anna")
    call = office.do(lambda: world.ring("+14155550177", "101"))
    page.check(".choice >> text=Dr. Haddad")
    office.do(lambda: world.answer(call))
    page.fill(f"#lines-{call}", "Lab order.")
    assert page.is_checked(".choice >> text=Dr. Haddad"), "the choice outlives the card's changes"
    page.click(f"#summary-{call} button")
    page.wait_for_selector(f"#written-{call}")
    assert world.desk.acts[call].contact_id == omar.id


def test_an_unknown_caller_is_stored_from_his_card(office: Office, visit: Visit) -> None:
    page = visit("anna")
    call = office.do(lambda: office.world.ring("+14155550123", "101"))
    page.click(f"#caller-{call} summary")
    assert page.input_value(f"#caller-number-{call}") == "+14155550123"
    page.fill(f"#caller-number-{call}", "letters")
    page.fill(f"#caller-name-{call}", "Nova")
    page.click(f"#caller-{call} button")
    page.wait_for_selector(f"#caller-{call} >> text=is no telephone number")
    assert page.input_value(f"#caller-name-{call}") == "Nova"
    page.fill(f"#caller-number-{call}", "+14155550123")
    page.click(f"#caller-{call} button")
    page.wait_for_selector(f"#card-{call}[data-kind=known] h2 >> text=Nova")
    page.wait_for_selector("#status >> text=Nova is in your contacts.")


def test_a_call_is_given_to_a_colleague_with_what_was_typed_of_it(office: Office, visit: Visit) -> None:
    office.do(lambda: office.world.desk.add("Elena", "+14155550100"))
    anna, boris = visit("anna"), visit("boris")
    call = office.do(lambda: office.world.ring("+14155550100", "101"))
    office.do(lambda: office.world.answer(call))
    anna.click(f"#transfer-{call} button")      # nothing noted, no number
    anna.wait_for_selector(f"#transfer-{call} >> text=Nobody is reached at this number:")
    anna.fill(f"#lines-{call}", "Wants a refund.")
    anna.fill(f"#to-{call}", "102")
    anna.press(f"#to-{call}", "Enter")
    anna.wait_for_selector("#status >> text=The call is being transferred.")
    boris.wait_for_selector(f"#card-{call}.ringing >> text=Wants a refund.")
    assert office.world.control.noted == ["Wants a refund."]
    assert anna.evaluate("sessionStorage.length") == 0


def test_a_call_is_hung_up_after_a_question(office: Office, visit: Visit) -> None:
    page = visit("anna")
    call = office.do(lambda: office.world.ring("+14155550100", "101"))
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.click(f"#hang-{call}")
    assert office.world.control.hung_up == []
    page.once("dialog", lambda dialog: dialog.accept())
    with page.expect_response("**/hangup"):
        page.click(f"#hang-{call}")
    assert office.world.control.hung_up == [call]
    office.do(lambda: office.world.control.live.clear())
    page.once("dialog", lambda dialog: dialog.accept())
    page.click(f"#hang-{call}")
    page.wait_for_selector("#status >> text=That did not work.")


def test_on_other_pages_the_call_is_announced_and_leads_to_its_card(office: Office, visit: Visit) -> None:
    office.do(lambda: office.world.desk.add("Elena", "+14155550100"))
    page = visit("anna")
    page.click("nav >> text=Contacts")
    page.wait_for_selector("#link.is-live")
    call = office.do(lambda: office.world.ring("+14155550100", "101"))
    page.wait_for_selector("#toast >> text=Elena")
    page.click("#toast a")
    page.wait_for_selector(f"#card-{call} >> text=Elena")


def test_two_tabs_and_a_supervisor_see_the_same(office: Office, visit: Visit) -> None:
    page, other, boss, boris = visit("anna"), visit("anna"), visit("super"), visit("boris")
    call = office.do(lambda: office.world.ring("+14155550100", "101"))
    for tab in (page, other):
        tab.wait_for_selector(f"#card-{call}")
    boss.wait_for_selector(f"#call-{call}")
    assert boss.locator("article").count() == 0
    assert boris.locator(f"#call-{call}").count() == 0
    office.do(lambda: office.world.answer(call))
    page.fill(f"#lines-{call}", "Done.")
    page.click(f"#summary-{call} button")
    other.wait_for_selector(f"#written-{call} >> text=Done.")


def test_the_fifth_tab_takes_over_from_the_first(office: Office, visit: Visit) -> None:
    page = visit("anna")
    tabs = [page.context.new_page() for _ in range(4)]
    for tab in tabs:
        tab.goto(office.url)
        tab.wait_for_selector("#link.is-live")
    page.wait_for_selector("#elsewhere >> text=Continue here")
    page.click("#elsewhere a")
    page.wait_for_selector("#link.is-live")


def test_the_exchange_comes_back_and_the_page_goes_on(office: Office, visit: Visit) -> None:
    page = visit("anna")
    office.pause()
    page.wait_for_selector("#link.is-lost")
    call = office.do(lambda: office.world.ring("+14155550100", "101"))
    office.resume()
    page.wait_for_selector("#link.is-live")
    page.wait_for_selector(f"#card-{call}")


def test_the_stream_starts_even_when_its_extension_loads_slowly(office: Office, visit: Visit) -> None:
    page = visit()
    page.route("**/hx-sse*", lambda route: (page.wait_for_timeout(300), route.continue_()))
    page.fill("#username", "anna")
    page.fill("#password", "correct-horse")
    page.press("#password", "Enter")
    page.wait_for_selector("#link.is-live")


def test_signed_out_elsewhere_the_page_goes_to_the_door(office: Office, visit: Visit) -> None:
    page = visit("anna")
    other = page.context.new_page()
    other.goto(f"{office.url}/contacts")
    other.click("details.menu summary")
    other.click("text=Sign out")
    page.wait_for_url("**/sign-in*")


def test_hostile_names_are_text(office: Office, visit: Visit) -> None:
    evil = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script><b>"
    office.do(lambda: office.world.desk.add(evil, "+14155550100", company=evil, instructions=evil, tags=(evil,)))
    page = visit("anna")
    call = office.do(lambda: office.world.ring("+14155550100", "101", caller_name=evil))
    page.wait_for_selector(f"#card-{call}")
    assert evil in page.text_content(f"#card-{call} h2")
    assert page.locator(f"#card-{call} img, #card-{call} b, #card-{call} script").count() == 0
    assert "owned" not in page.evaluate("document.title.replace(/'owned'/g, '')")
