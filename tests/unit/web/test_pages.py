"""Contacts, call history, a call's page, what is done on the live page, users and passwords."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from pbxcore.explained import step
from pbxcore.hooks import Disposition
from pbxcore.store import StoreUnavailable
from tests.unit.web.conftest import Browser
from tests.unit.web.fakes import PASSWORD, World
from web.pages import calls as calls_page

Browse = Callable[..., Browser]
HTMX = {"HX-Request": "true"}


def ended(world: World, caller: str, to: str = "101", *, answered: bool = True, ago: float = 0.0) -> str:
    call = world.ring(caller, to)
    if answered:
        world.answer(call, to)
    world.end(call)
    record = world.desk.records[-1]
    world.desk.records[-1] = replace(record, arrived_at=record.arrived_at - ago)
    return call


# -- contacts


def test_contacts_are_searched_listed_and_shown(browse: Browse, world: World) -> None:
    world.desk.add("Elena Petrova", "+14155550100", "+14155550101", company="Petrova & Sons", tags=("gold",))
    world.desk.add("Omar", "+14155550177")
    browser = browse("anna")
    page = browser.get("/contacts").text
    assert "Elena Petrova" in page
    assert "+1 415-555-0100" in page
    assert "and 1 more" in page
    assert "Omar" in page
    found = browser.get("/contacts?q=petrova").text
    assert "Omar" not in found
    assert "Nobody found." in browser.get("/contacts?q=zzz").text
    view = browser.get("/contacts/c1").text
    assert "Petrova &amp; Sons" in view
    assert "+1 415-555-0101" in view
    assert browser.get("/contacts/none").status_code == 404


def test_search_as_you_type_gets_the_list_alone(browse: Browse, world: World) -> None:
    world.desk.add("Elena", "+14155550100")
    part = browse("anna").get("/contacts?q=el", headers={**HTMX, "HX-Target": "div#results"}).text
    assert "Elena" in part
    assert "<html" not in part


def test_long_lists_have_pages(browse: Browse, world: World) -> None:
    for i in range(60):
        world.desk.add(f"Person {i:02}", f"+1415555{i:04}")
    browser = browse("anna")
    first = browser.get("/contacts?q=person").text
    assert 'rel="next" href="/contacts?q=person&amp;offset=50"' in first
    second = browser.get("/contacts?q=person&offset=50").text
    assert "Person 59" in second
    assert 'rel="prev"' in second
    assert browser.get("/contacts?offset=x").status_code == 422


def test_a_contact_is_created_changed_and_deleted(browse: Browse, world: World) -> None:
    browser = browse("anna")
    form = browser.get("/contacts/new?number=%2B14155550100&name=Elena").text
    assert 'value="+14155550100"' in form
    assert '<option value="101" selected>' in form
    answer = browser.post(
        "/contacts",
        {
            "name": " Elena ",
            "numbers": ["+14155550100", "", "+14155550101", "+14155550100"],
            "company": "P&S",
            "email": "e@example.org",
            "owner": "101",
            "tags": "gold, , gold, due",
            "instructions": "One\r\nTwo",
            "vip": "on",
        },
    )
    assert answer.status_code == 303
    assert answer.headers["location"] == "/contacts/c1?note=stored"
    entry = world.desk.entries["c1"]
    assert (entry.name, entry.numbers, entry.tags) == ("Elena", ("+14155550100", "+14155550101"), ("gold", "due"))
    assert (entry.owner, entry.vip, entry.instructions) == ("101", True, "One\nTwo")
    assert "Saved." in browser.get("/contacts/c1?note=stored").text
    assert 'value="gold, due"' in browser.get("/contacts/c1/edit").text
    assert browser.post("/contacts/c1", {"name": "Elena P.", "numbers": ["+14155550100"]}).status_code == 303
    assert world.desk.entries["c1"].name == "Elena P."
    assert world.desk.entries["c1"].vip is False
    assert "Delete Elena P.?" in browser.get("/contacts/c1/delete").text


def test_what_cannot_be_stored_is_said_at_its_field_and_nothing_typed_is_lost(browse: Browse, world: World) -> None:
    browser = browse("anna")
    answer = browser.post("/contacts", {"name": "Elena", "numbers": ["letters", "+14155550100"], "tags": "gold"})
    assert answer.status_code == 422
    assert 'id="f-numbers-says">&#39;letters&#39; is no telephone number' in answer.text
    assert 'value="letters"' in answer.text
    assert 'value="gold"' in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert world.desk.entries == {}
    russian = browser.client.post(
        "/contacts", data={"csrf": browser.csrf, "name": ""}, headers={"Accept-Language": "ru"}
    )
    assert "контакту нужно имя или компания" in russian.text


def test_contacts_are_deleted_by_owner_or_supervisor_only(browse: Browse, world: World) -> None:
    world.desk.add("Elena", "+14155550100", owner="101")
    boris, anna, boss = browse("boris"), browse("anna"), browse("super")
    assert "/contacts/c1/delete" not in boris.get("/contacts/c1").text
    assert "/contacts/c1/delete" in anna.get("/contacts/c1").text
    assert boris.post("/contacts/c1/delete").status_code == 403
    assert anna.post("/contacts/c1/delete").headers["location"] == "/contacts?note=deleted"
    world.desk.add("Omar", "+14155550177")
    assert anna.post("/contacts/c2/delete").status_code == 403
    assert boss.post("/contacts/c2/delete").status_code == 303
    assert world.desk.entries == {}


# -- calls


def test_history_is_an_agents_own_and_a_supervisors_all(browse: Browse, world: World) -> None:
    mine, other = ended(world, "+14155550100"), ended(world, "+14155550123", "102")
    anna = browse("anna").get("/calls").text
    assert mine in anna
    assert other not in anna
    assert other not in browse("anna").get("/calls?party=102").text
    boss = browse("super").get("/calls").text
    assert mine in boss
    assert other in boss
    assert other not in browse("super").get("/calls?party=101").text


def test_history_is_filtered_and_paged(browse: Browse, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls_page, "PAGE_SIZE", 3)
    monkeypatch.setattr(calls_page, "BATCH", 4)
    world.desk.add("Elena", "+14155550100")
    for i in range(5):
        ended(world, "+14155550100", ago=i * 10)
        ended(world, "+14155550123", answered=False, ago=i * 10 + 5)
    boss = browse("super")
    first = boss.get("/calls?outcome=cancelled").text
    assert first.count("+1 415-555-0123") == 3
    assert "Elena" not in first
    following = re.search(r'rel="next" href="([^"]+)"', first)
    assert following is not None
    second = boss.get(following.group(1).replace("&amp;", "&")).text
    assert second.count("+1 415-555-0123") == 2
    assert 'rel="next"' not in second
    assert boss.get("/calls?q=elena").text.count("Elena</strong>") == 3
    assert boss.get("/calls?q=555-0123").text.count("+1 415-555-0123") == 3
    assert "No calls match." in boss.get("/calls?direction=internal").text
    assert "No calls match." not in boss.get("/calls?direction=nonsense").text


def test_a_filter_looks_at_a_bounded_number_of_records(
    browse: Browse, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls_page, "BATCH", 2)
    monkeypatch.setattr(calls_page, "SCAN_LIMIT", 4)
    for i in range(9):
        ended(world, "+14155550100", ago=i)
    page = browse("super").get("/calls?q=nobody").text
    assert "offset=4" in page


def test_a_calls_page_shows_legs_times_steps_and_sound(browse: Browse, world: World) -> None:
    world.desk.add("Elena", "+14155550100")
    call = ended(world, "+14155550100")
    page = browse("anna").get(f"/calls/{call}").text
    for words in (
        "Elena",
        "Answered by Anna Weber (101)",
        "The caller hung up",
        "one contact",
        "0.40 ms",
        "Proceed display_name=Elena",
        "1204",
        "0.2 %",
        "1.9 ms",
        "through city",
        call,
        "<textarea",
    ):
        assert words in page, words
    assert browse("anna").get("/calls/none").status_code == 404


def test_a_live_calls_page_can_hang_up(browse: Browse, world: World) -> None:
    call = world.ring("+14155550100", "101")
    browser = browse("anna")
    assert f"/live/calls/{call}/hangup" in browser.get(f"/calls/{call}").text
    assert browser.post(f"/live/calls/{call}/hangup", headers=HTMX).status_code == 204
    assert world.control.hung_up == [call]
    assert browser.post("/live/calls/none/hangup").status_code == 404


def test_a_call_of_another_agent_is_not_shown_ended_or_summarised(browse: Browse, world: World) -> None:
    live, past = world.ring("+14155550123", "102"), ended(world, "+14155550100", "102")
    anna = browse("anna")
    for call in (live, past):
        assert anna.get(f"/calls/{call}").status_code == 403
        assert anna.post(f"/live/calls/{call}/summary", {"summary": "x"}).status_code == 403
    assert anna.post(f"/live/calls/{live}/hangup").status_code == 403
    assert world.control.hung_up == []
    assert world.desk.acts[past].state == "open"
    assert browse("super").post(f"/live/calls/{live}/hangup").status_code == 303


# -- the live page


def test_home_shows_what_is_now(browse: Browse, world: World) -> None:
    world.desk.add("Elena", "+14155550100")
    call = world.ring("+14155550100", "101")
    page = browse("anna").get("/").text
    assert f'id="card-{call}"' in page
    assert 'aria-live="assertive"' in page
    assert 'hx-sse:connect="/live/feed"' in page
    assert f'id="card-{call}"' not in browse("boris").get("/").text


def test_other_pages_listen_for_calls_too_when_the_user_has_a_phone(browse: Browse) -> None:
    assert "/live/feed?view=beside" in browse("anna").get("/contacts").text
    assert "/live/feed" not in browse("super").get("/contacts").text


def test_a_summary_is_written_from_the_card(browse: Browse, world: World) -> None:
    elena = world.desk.add("Elena", "+14155550100")
    world.desk.add("Olga", "+14155550100")
    call = world.ring("+14155550100", "101")
    world.answer(call)
    browser = browse("anna")
    answer = browser.post(
        f"/live/calls/{call}/summary", {"summary": " Renewed. ", "contact_id": elena.id}, headers=HTMX
    )
    assert answer.status_code == 200
    assert "Summary saved." in answer.text
    assert f'hx-target="#card-{call}" hx-swap="outerMorph"' in answer.text
    assert (world.desk.acts[call].summary, world.desk.acts[call].contact_id) == ("Renewed.", elena.id)
    world.end(call)
    again = browser.post(f"/live/calls/{call}/summary", {"summary": "Renewed twice."}, headers=HTMX)
    assert f'hx-target="#card-{call}" hx-swap="delete"' in again.text


def test_an_empty_summary_is_refused_in_place(browse: Browse, world: World) -> None:
    call = world.ring("+14155550100", "101")
    world.answer(call)
    browser = browse("anna")
    answer = browser.post(f"/live/calls/{call}/summary", {"summary": "  "}, headers=HTMX)
    assert answer.status_code == 422
    assert answer.text.startswith("<form")
    assert "a summary says in a line what the call was about" in answer.text
    plain = browser.post(f"/live/calls/{call}/summary", {"summary": "  "})
    assert plain.status_code == 422
    assert "<html" in plain.text
    assert browser.post("/live/calls/none/summary", {"summary": "x"}).status_code == 404


def test_without_scripts_a_summary_is_written_too(browse: Browse, world: World) -> None:
    call = ended(world, "+14155550100")
    answer = browse("anna").post(f"/live/calls/{call}/summary", {"summary": "Done."})
    assert answer.headers["location"] == f"/calls/{call}?note=summary"
    assert world.desk.acts[call].state == "completed"


def test_an_unknown_caller_becomes_a_contact(browse: Browse, world: World) -> None:
    call = world.ring("+14155550123", "101")
    browser = browse("anna")
    answer = browser.post(
        f"/live/calls/{call}/contact", {"name": "Nova", "number": "+14155550123", "vip": "on"}, headers=HTMX
    )
    assert answer.status_code == 200
    assert "Nova is in your contacts." in answer.text
    assert f'<hx-partial hx-target="#card-{call}"' in answer.text
    entry = world.desk.entries["c1"]
    assert (entry.numbers, entry.owner, entry.vip) == (("+14155550123",), "101", True)
    wrong = browser.post(f"/live/calls/{call}/contact", {"name": "", "number": "+14155550123"}, headers=HTMX)
    assert wrong.status_code == 422
    assert "a contact needs a name or a company" in wrong.text
    assert wrong.text.startswith("<details")
    plain = browser.post(f"/live/calls/{call}/contact", {"name": "Nova 2", "number": "+14155550124"})
    assert plain.headers["location"] == "/contacts/c2?note=stored"


def test_the_database_away_pages_say_so(browse: Browse, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = browse("anna")

    async def away(username: str) -> None:
        raise StoreUnavailable("postgresql://user@host gone")

    monkeypatch.setattr(world.users, "find", away)
    for path in ("/", "/api/v1/calls"):
        answer = browser.get(path)
        assert answer.status_code == 503
        assert "postgresql" not in answer.text


# -- users and passwords


def test_an_administrator_adds_a_user_and_the_password_is_shown_once(browse: Browse, world: World) -> None:
    admin = browse("admin")
    answer = admin.post("/users", {"username": " Chen.Li ", "role": "agent", "extension": "103"})
    assert answer.status_code == 201
    shown = re.search(r'class="password">([^<]+)<', answer.text)
    assert shown is not None
    assert world.users.rows["chen.li"].extension == "103"
    assert shown.group(1) not in admin.get("/users").text
    assert shown.group(1) not in world.users.rows["chen.li"].password
    assert browse().sign_in("chen.li", shown.group(1)).status_code == 303


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"username": "anna", "role": "agent"}, "taken"),
        ({"username": "", "role": "agent"}, "letters"),
        ({"username": "<b>", "role": "agent"}, "letters"),
        ({"username": "a/b", "role": "agent"}, "letters"),
        ({"username": "new", "role": "king"}, "cannot be stored"),
        ({"username": "new", "role": "agent", "extension": "999"}, "no extension 999"),
    ],
)
def test_a_user_that_cannot_be_is_refused(browse: Browse, world: World, fields: dict[str, str], says: str) -> None:
    answer = browse("admin").post("/users", fields)
    assert answer.status_code == 422
    assert says in answer.text
    assert len(world.users.rows) == 4


def test_a_new_password_ends_the_old_one_and_a_removed_user_is_gone(browse: Browse, world: World) -> None:
    admin, anna = browse("admin"), browse("anna")
    answer = admin.post("/users/anna/password")
    assert 'class="password"' in answer.text
    assert anna.get("/").status_code == 303
    assert browse().sign_in("anna").status_code == 401
    assert admin.post("/users/anna/delete").status_code == 303
    assert "anna" not in world.users.rows
    assert admin.post("/users/anna/delete").status_code == 404
    assert admin.post("/users/admin/delete").status_code == 422
    assert "admin" in world.users.rows


def test_an_administrator_who_renews_his_own_password_stays_signed_in(browse: Browse) -> None:
    admin = browse("admin")
    assert admin.post("/users/admin/password").status_code == 200
    assert admin.get("/users").status_code == 200


def test_everybody_changes_his_own_password_with_the_old_one(browse: Browse) -> None:
    anna, elsewhere = browse("anna"), browse("anna")
    new = "four words of mine"
    wrong = anna.post("/account", {"old": "wrong", "new": new, "again": new})
    assert "This is not your current password." in wrong.text
    assert "at least 10" in anna.post("/account", {"old": PASSWORD, "new": "short", "again": "short"}).text
    assert "differ" in anna.post("/account", {"old": PASSWORD, "new": new, "again": new + "x"}).text
    assert anna.post("/account", {"old": PASSWORD, "new": new, "again": new}).status_code == 303
    assert anna.get("/").status_code == 200
    assert elsewhere.get("/").status_code == 303
    assert browse().sign_in("anna", new).status_code == 303


def test_hostile_values_are_stored_and_shown_as_text(browse: Browse, world: World) -> None:
    evil = "\"><script>alert(1)</script>{{731*907}}' OR 1=1 --"
    world.desk.add(evil, "+14155550100", company=evil, email=evil, tags=(evil,), instructions=evil)
    call = world.ring("+14155550100", "101", caller_name=evil)
    world.control.live[call] = replace(
        world.control.live[call], trunk=evil, reason=evil, instructions=evil, decided_by=evil, display_name=evil
    )
    world.answer(call)
    world.end(call, Disposition.FAILED)
    world.desk.acts[call] = replace(world.desk.acts[call], summary=evil, state="completed", contact_name=evil)
    browser = browse("admin")
    for path in (
        "/contacts",
        "/contacts/c1",
        "/contacts/c1/edit",
        "/contacts/c1/delete",
        "/calls",
        f"/calls/{call}",
        "/",
        "/contacts?q=%22%3E%3Cscript%3E",
        "/calls?q=%22%3E%3Cscript%3E&party=%22%3E%3Cscript%3E",
        "/contacts/new?name=%22%3E%3Cscript%3E&number=%22%3E%3Cscript%3E",
    ):
        text = browser.get(path).text
        assert "<script>" not in text, path
        assert str(731 * 907) not in text, path


def test_what_was_asked_is_told_in_the_visitors_language(world: World, browse: Browse) -> None:
    call_id = world.ring()
    world.answer(call_id)
    world.end(call_id)
    world.control.steps[call_id] = (
        step("desk", (("late", {"ms": "300"}),), 300.0),
        step("embedded CRM", (("knows", {"names": "<script>alert(1)</script>"}),), 0.2),
        step("route", (("ring", {"to": "101", "seconds": "20"}),)),
    )
    page = browse("super").get(f"/calls/{call_id}").text
    assert "late: no answer in 300 ms; the call went on" in page
    assert "the call did not wait" in page
    assert "ring 101 for 20 s" in page
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page
    russian = browse("super").get(f"/calls/{call_id}", headers={"Accept-Language": "ru"}).text
    assert "опоздание: нет ответа за 300 мс" in russian
    assert "встроенная CRM" in russian
    told = browse("super").get(f"/api/v1/calls/{call_id}").json()["explain"]
    assert told[0]["outcome"].startswith("late:")
    assert told[0]["said"] == [["late", {"ms": "300"}]]
