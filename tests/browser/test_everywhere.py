"""Small screens, the keyboard alone, Russian, light and dark, and no browser that stores or asks elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pbxcore.control import Trace, TraceParty, TraceStep
from tests.browser.conftest import PHONE
from tests.browser.office import Office
from tests.unit.web.test_outbox import Box

Visit = Callable[..., Any]
LONG = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"
PATHS = ("/", "/calls", "/calls/c-old", "/calls/c-old/trace", "/contacts", "/contacts/c1", "/contacts/c1/edit",
         "/contacts/new", "/users", "/account", "/outbox", "/no-such-page")  # fmt: skip


def fill_office(office: Office) -> None:
    """Long names, long numbers, many tags, long reasons: what breaks narrow pages."""
    world = office.world
    office.app.state.panel.outbox = box = Box()
    box.entry = replace(box.entry, reason=f"answered 400 {LONG * 3}")
    world.users.put("chief", "admin", "101")
    world.desk.add(
        f"Elena {LONG}",
        "+14155550100",
        company=LONG,
        email=f"{'long' * 15}@example.org",
        owner="101",
        tags=(LONG, "gold", "renewal due"),
        instructions=f"Say hello.\n{LONG} {LONG}",
        vip=True,
    )
    world.desk.add("Reception", "+14155550177", company="Clinic")
    world.desk.add("Dr. Haddad", "+14155550177", company="Clinic", tags=("supplier",), vip=True)
    call = world.ring("+14155550100", "101", call_id="c-old")
    world.answer(call)
    world.end(call)
    parties = (TraceParty("+14155550100", "[2001:db8:85a3:8d3:1319:8a2e:370:7348]:65535", "TLS", "a"),
               TraceParty(LONG[:32], "127.0.0.1:5080", "UDP", "b"), TraceParty("102", "127.0.0.1:5082", "WSS", "b"))
    said = [(0, False, "INVITE (SDP)"), (1, True, "INVITE (SDP)"), (2, True, "INVITE (SDP)"), (2, True, "INVITE (SDP)"),
            (1, False, f"200 {LONG} (SDP)"), (2, True, "CANCEL"), (0, True, "200 OK (SDP)")]
    world.control.traces["c-old"] = Trace("c-old", parties, tuple(
        TraceStep(1000.0 + number / 7, party, out, text, number == 3, "127.0.0.1:5060", "127.0.0.1:5080", "UDP",
                  f"{text} sip:x SIP/2.0\r\nVia: {LONG * 4}\r\n") for number, (party, out, text) in enumerate(said)
    ))
    live = world.ring("+14155550100", "101", call_id="c-live")
    world.answer(live)
    world.ring("+14155550177", "101", call_id="c-ring")
    world.ring("+" + "9" * 40, "103", caller_name=LONG)
    world.ring("102", "101", direction="internal")


def overflow(page: Any) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


@pytest.mark.parametrize("language", ["en-US", "ru-RU"])
def test_no_page_is_wider_than_a_small_phone(office: Office, visit: Visit, language: str) -> None:
    office.do(lambda: fill_office(office))
    page = visit("chief", size=PHONE, language=language)
    for path in PATHS:
        page.goto(office.url + path)
        assert overflow(page) <= 0, path


def test_everything_is_large_enough_for_a_thumb(office: Office, visit: Visit) -> None:
    office.do(lambda: fill_office(office))
    page = visit("chief", size=PHONE)
    small = page.evaluate(
        """[...document.querySelectorAll('nav a, .button, summary, .choice')]
           .filter(e => e.checkVisibility())
           .map(e => [e.textContent.trim(), e.getBoundingClientRect().height]).filter(([, height]) => height < 32)"""
    )
    assert small == []


def focused(page: Any) -> dict[str, Any]:
    """What has the keyboard's focus, its name, and whether that can be seen."""
    found: dict[str, Any] = page.evaluate(
        """(() => { const e = document.activeElement, s = getComputedStyle(e);
          return {id: e.id, tag: e.tagName, text: e.textContent.trim().slice(0, 40),
                  outlined: s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2}; })()"""
    )
    return found


def test_a_call_is_taken_from_ring_to_summary_by_keyboard_alone(office: Office, visit: Visit) -> None:
    world = office.world
    office.do(lambda: world.desk.add("Reception", "+14155550177"))
    office.do(lambda: world.desk.add("Dr. Haddad", "+14155550177"))
    page = visit()
    page.wait_for_function("document.activeElement.id === 'username'")
    page.keyboard.type("anna")
    page.keyboard.press("Tab")
    page.keyboard.type("correct-horse")
    page.keyboard.press("Enter")
    page.wait_for_selector("#link.is-live")
    call = office.do(lambda: world.ring("+14155550177", "101"))
    office.do(lambda: world.answer(call))
    page.wait_for_selector(f"#summary-{call}")
    page.keyboard.press("Tab")
    assert focused(page)["text"] == "Skip to content"
    page.keyboard.press("Enter")
    seen = []
    for _ in range(12):
        page.keyboard.press("Tab")
        here = focused(page)
        assert here["outlined"], here
        seen.append(here["id"] or here["tag"])
        if here["tag"] == "INPUT":
            page.keyboard.press("ArrowDown")
        if here["id"] == f"lines-{call}":
            break
    assert seen[0] == f"hang-{call}"
    assert seen[-1] == f"lines-{call}"
    page.keyboard.type("Sent the lab order.")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(f"#written-{call}")
    act = world.desk.acts[call]
    assert (act.summary, act.contact_name) == ("Sent the lab order.", "Dr. Haddad")


def test_focus_can_be_seen_on_every_stop(office: Office, visit: Visit) -> None:
    office.do(lambda: fill_office(office))
    page = visit("chief")
    for path in ("/", "/contacts/c1/edit", "/users", "/outbox"):
        page.goto(office.url + path)
        for _ in range(25):
            page.keyboard.press("Tab")
            here = focused(page)
            assert here["outlined"] or here["tag"] == "BODY", (path, here)


def test_slash_finds_and_escape_closes(office: Office, visit: Visit) -> None:
    page = visit("anna")
    page.goto(f"{office.url}/contacts")
    page.keyboard.press("/")
    assert focused(page)["id"] == "q"
    page.click("details.menu summary")
    assert page.locator("details.menu[open]").count() == 1
    page.keyboard.press("Escape")
    assert page.locator("details.menu[open]").count() == 0
    assert focused(page)["tag"] == "SUMMARY"


def test_search_as_you_type(office: Office, visit: Visit) -> None:
    office.do(lambda: fill_office(office))
    page = visit("anna")
    page.goto(f"{office.url}/contacts")
    page.type("#q", "hadd")
    page.wait_for_selector("#results >> text=Reception", state="detached")
    assert page.locator("#results li >> text=Dr. Haddad").count() == 1


def test_a_contact_with_several_numbers_is_made(office: Office, visit: Visit) -> None:
    page = visit("anna")
    page.goto(f"{office.url}/contacts/new")
    page.fill("#f-name", "Elena")
    for number in range(5):
        if number >= page.locator("[name=numbers]").count():
            page.click("text=Another number")
        page.locator("[name=numbers]").nth(number).fill(f"+1415555010{number}")
    page.click("main >> text=Save")
    page.wait_for_selector("text=Saved.")
    assert len(office.world.desk.entries["c1"].numbers) == 5


def test_the_page_is_russian_for_a_russian_browser_and_can_be_changed(office: Office, visit: Visit) -> None:
    page = visit("anna", language="ru-RU")
    assert page.get_attribute("html", "lang") == "ru"
    call = office.do(lambda: office.world.ring("+14155550123", "101"))
    page.wait_for_selector(f"#card-{call} >> text=Неизвестный номер")
    assert "Входящий звонок" in page.text_content("#announce")
    page.click("details.menu summary")
    page.click("text=English")
    page.wait_for_selector(f"#card-{call} >> text=Unknown caller")
    assert page.get_attribute("html", "lang") == "en"


READ = """body; .nav a; .link; #cards h2; .card .number .company; .card.ringing .state; .card.talking .state; .chip;
.instructions p; .chip.vip; .muted; .button.primary; .button.danger; .pill.ringing; .pill.talking; .hint;
.phones .away .name; .recent .when""".replace("\n", " ").split("; ")


def contrast(page: Any, selector: str) -> float:
    """WCAG 2 contrast of an element's text with what is behind it."""
    found: float = page.evaluate(
        """selector => {
          const paint = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
          const rgba = color => { paint.clearRect(0, 0, 1, 1); paint.fillStyle = color; paint.fillRect(0, 0, 1, 1);
                                  return [...paint.getImageData(0, 0, 1, 1).data]; };
          const light = rgb => { const [r, g, b] = rgb.slice(0, 3).map(v => v / 255)
            .map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
            return .2126 * r + .7152 * g + .0722 * b; };
          const element = document.querySelector(selector);
          let behind = element;
          while (rgba(getComputedStyle(behind).backgroundColor)[3] < 255) behind = behind.parentElement;
          const colours = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor];
          const pair = colours.map(rgba).map(light);
          return (Math.max(...pair) + .05) / (Math.min(...pair) + .05);
        }""",
        selector,
    )
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_can_be_read_in_light_and_dark(office: Office, visit: Visit, scheme: str) -> None:
    office.do(lambda: fill_office(office))
    page = visit("chief", color_scheme=scheme)
    for selector in READ:
        if page.locator(selector).count():
            assert contrast(page, selector) >= 4.5, selector


def test_every_field_has_a_label_and_every_page_its_landmarks(office: Office, visit: Visit) -> None:
    office.do(lambda: fill_office(office))
    page = visit("chief")
    for path in PATHS:
        page.goto(office.url + path)
        unnamed = page.evaluate(
            """[...document.querySelectorAll('input:not([type=hidden]), select, textarea, button, a')]
               .filter(e => !(e.labels?.length || e.getAttribute('aria-label') || e.title || e.textContent.trim()))
               .map(e => e.outerHTML)"""
        )
        assert unnamed == [], path
        counts = page.evaluate("['main', 'header.bar', 'nav', 'h1'].map(s => document.querySelectorAll(s).length)")
        assert counts[0] == 1, path
        assert counts[1] == 1, path
        assert counts[2] >= 1, path
        assert counts[3] == 1, path
        doubles = page.evaluate(
            """(ids => ids.filter((id, place) => ids.indexOf(id) !== place))
               ([...document.querySelectorAll('[id]')].map(e => e.id))"""
        )
        assert doubles == [], path


def test_nothing_is_asked_of_any_other_host(office: Office, visit: Visit) -> None:
    asked: list[str] = []
    page = visit()
    page.on("request", lambda request: asked.append(request.url))
    page.fill("#username", "anna")
    page.fill("#password", "correct-horse")
    page.press("#password", "Enter")
    page.wait_for_selector("#link.is-live")
    for path in PATHS[:5]:
        page.goto(office.url + path)
    assert asked
    assert all(url.startswith(office.url) for url in asked), asked


def test_the_ladder_by_keyboard(office: Office, visit: Visit) -> None:
    """Tab reaches the arrows, Enter opens the message that the arrow stands for."""
    office.do(lambda: fill_office(office))
    page = visit("chief")
    page.goto(office.url + "/calls/c-old/trace")
    arrows = page.locator("svg.ladder a")
    assert arrows.count() == 7
    arrows.nth(2).focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href') || ''") == "#m3"
    page.keyboard.press("Enter")
    page.locator("#m3").wait_for(state="visible")
    assert page.locator("details[open]").count() == 1
