"""The CRM that ships, through the panel and its API: contacts whole, instructions, follow-ups."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from pbxcore.control import Address, ContactEntry, Invalid, ScheduledCall
from tests.unit.store.calls import answered, ended
from tests.unit.web.office import RealOffice, real_office

BERLIN = ZoneInfo("Europe/Berlin")
ANN: dict[str, Any] = {
    "name": "Ann <b>Lee</b>",
    "numbers": ["2125550100", "+1 212 555 0101"],
    "number_kinds": ["mobile", "fax"],
    "email": "ann@example.net",
    "other_emails": ["lee@example.net"],
    "addresses": [{"kind": "home", "street": "1 Main St", "city": "New York", "country": "US"}],
    "balance": "-12.50",
    "fields": {"Contract": "A-17"},
}


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[RealOffice]:
    async with real_office(tmp_path) as one:
        yield one


async def test_a_contact_with_everything_goes_in_and_comes_out(office: RealOffice) -> None:
    anna = await office.sign_in("anna")
    made = await anna.send("POST", "/api/v1/contacts", ANN)
    assert made.status_code == 201, made.text
    contact = made.json()
    assert contact["numbers"] == ["+12125550100", "+12125550101"]
    for key in ("number_kinds", "email", "other_emails", "balance", "fields", "kind"):
        assert contact[key] == ANN.get(key, "person")
    assert contact["addresses"][0]["city"] == "New York"
    assert (await anna.get(f"/api/v1/contacts/{contact['id']}")).json() == contact
    office.crm.load()
    assert office.crm.lookup("+12125550101")[0].addresses == (Address("home", "1 Main St", "New York", country="US"),)
    page = (await anna.get(f"/contacts/{contact['id']}")).text
    assert "Ann &lt;b&gt;Lee&lt;/b&gt;" in page
    for shown in ("Mobile", "Fax", "lee@example.net", "1 Main St, New York, US", "-12.50", "Contract", "A-17"):
        assert shown in page
    form = (await anna.get(f"/contacts/{contact['id']}/edit")).text
    for shown in ('value="A-17"', 'value="1 Main St"', 'value="-12.50"', '<option value="mobile" selected>'):
        assert shown in form


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("balance", "much"),
        ("balance", "1e9"),
        ("numbers", ["101"]),
        ("email", "nobody"),
        ("other_emails", ["nobody"]),
        ("fields", {"": "x"}),
        ("company_id", "nobody"),
        ("addresses", [{"street": "x" * 201}]),
    ],
)
async def test_what_cannot_be_stored_is_named(office: RealOffice, field: str, value: Any) -> None:
    anna = await office.sign_in("anna")
    refused = await anna.send("POST", "/api/v1/contacts", {"name": "Ann", field: value})
    assert refused.status_code == 422
    assert refused.json()["error"]["field"] == field.replace("other_emails", "email")
    assert await office.crm.contacts() == []


async def test_people_belong_to_a_company_and_follow_its_name(office: RealOffice) -> None:
    anna = await office.sign_in("super")
    acme = (await anna.send("POST", "/api/v1/contacts", {"name": "ACME", "kind": "company"})).json()
    ann = (await anna.send("POST", "/api/v1/contacts", {"name": "Ann", "company": "ACME"})).json()
    bob = (await anna.send("POST", "/api/v1/contacts", {"name": "Bob", "company_id": acme["id"]})).json()
    assert (ann["company_id"], bob["company"]) == (acme["id"], "ACME")
    page = (await anna.get(f"/contacts/{acme['id']}")).text
    assert page.index("Ann") < page.index("Bob")
    await anna.send("PUT", f"/api/v1/contacts/{acme['id']}", {"name": "ACME & Sons", "kind": "company"})
    assert (await office.crm.contact(ann["id"])).company == "ACME & Sons"
    assert [one.name for one in await office.crm.contacts("sons")] == ["ACME & Sons", "Ann", "Bob"]
    await anna.send("DELETE", f"/api/v1/contacts/{acme['id']}")
    left = await office.crm.contact(bob["id"])
    assert (left.company, left.company_id) == ("ACME & Sons", None)


async def test_the_form_keeps_what_was_typed(office: RealOffice) -> None:
    anna = await office.sign_in("anna")
    fields = {
        "kind": "person", "name": "Ann", "numbers": ["2125550100", "", "2125550101"],
        "number_kinds": ["home", "work", "mobile"], "email": ["ann@example.net", ""],
        "address_kind": ["work", "home"], "address_street": ["", "1 Main St"], "address_city": ["", ""],
        "address_region": ["", ""], "address_postcode": ["", "10001"], "address_country": ["", "US"],
        "field_name": ["Contract", ""], "field_value": ["A-17", "lost"], "balance": "12,50", "tags": "gold, new",
    }  # fmt: skip
    answer = await anna.post("/contacts", fields)
    assert answer.status_code == 303, answer.text
    [ann] = await office.crm.contacts()
    assert ann == ContactEntry(
        ann.id, "Ann", ("+12125550100", "+12125550101"), number_kinds=("home", "mobile"), email="ann@example.net",
        tags=("gold", "new"), balance="12.50", fields={"Contract": "A-17"},
        addresses=(Address("home", "1 Main St", postcode="10001", country="US"),),
    )  # fmt: skip
    refused = await anna.post("/contacts", {**fields, "balance": "much"})
    assert refused.status_code == 422
    assert 'value="A-17"' in refused.text
    assert "is no amount" in refused.text


async def test_instructions_are_written_by_supervisors_and_read_by_all(office: RealOffice) -> None:
    chief, anna = await office.sign_in("super"), await office.sign_in("anna")
    fields = {"text": "Speak <i>up</i>", "prefix": "+1 212", "days": ["1", "5"], "begins": "09:00", "ends": "17:30"}
    assert (await anna.post("/instructions", fields)).status_code == 403
    assert (await chief.post("/instructions", fields)).status_code == 303
    [one] = office.crm.book.all()
    assert (one.prefix, one.days, one.begins, one.ends) == ("+1212", "15", 540, 1050)
    page = (await anna.get("/instructions")).text
    assert "Speak &lt;i&gt;up&lt;/i&gt;" in page
    assert "Mon Fri 09:00–17:30" in page
    assert "/delete" not in page
    form = (await chief.get(f"/instructions/{one.id}")).text
    assert 'value="09:00"' in form
    refused = await chief.post("/instructions", {**fields, "begins": "late"})
    assert refused.status_code == 422
    assert "Speak &lt;i&gt;up" in refused.text
    assert (await chief.post(f"/instructions/{one.id}/delete")).status_code == 303
    assert (await chief.get(f"/instructions/{one.id}")).status_code == 404


async def test_instructions_by_the_api(office: RealOffice) -> None:
    chief, anna = await office.sign_in("admin"), await office.sign_in("anna")
    assert (await anna.send("POST", "/api/v1/instructions", {"text": "x"})).status_code == 403
    made = await chief.send("POST", "/api/v1/instructions", {"text": "x", "called": "queue:sales"})
    assert (made.status_code, made.headers["Location"]) == (201, f"/api/v1/instructions/{made.json()['id']}")
    changed = await chief.send("PUT", made.headers["Location"], {"text": "y", "tag": "gold"})
    assert (changed.json()["text"], changed.json()["called"]) == ("y", "")
    assert (await anna.get("/api/v1/instructions")).json() == {"instructions": [changed.json()]}
    assert (await chief.send("PUT", made.headers["Location"], {"text": ""})).json()["error"]["field"] == "text"
    assert (await chief.send("DELETE", made.headers["Location"])).status_code == 204
    assert (await chief.send("DELETE", made.headers["Location"])).status_code == 404


async def test_an_outcome_and_a_follow_up_with_the_summary(office: RealOffice) -> None:
    anna = await office.sign_in("anna")
    office.crm.journal.write(answered())
    office.crm.journal.write(ended())
    said = {"summary": "She orders.", "outcome": "sold", "follow_up_at": "2026-12-01T14:30", "follow_up_note": "Call"}
    done = await anna.send("POST", "/api/v1/calls/c1/summary", said)
    due = datetime(2026, 12, 1, 14, 30, tzinfo=BERLIN).timestamp()
    assert done.status_code == 200, done.text
    assert [done.json()[key] for key in ("state", "outcome", "follow_up_at")] == ["completed", "sold", due]
    listed = (await anna.get("/api/v1/activities?follow_up=true")).json()["activities"]
    assert [one["follow_up_note"] for one in listed] == ["Call"]
    changed = await anna.send("PATCH", "/api/v1/activities/c1", {"follow_up_at": None, "recording": "c1.wav"})
    assert [changed.json()[key] for key in ("follow_up_at", "outcome", "recording")] == [None, "sold", "c1.wav"]
    assert (await anna.get("/api/v1/activities?follow_up=true")).json() == {"activities": []}
    office.crm.journal.write(ended(ended_at=1061.0))
    [kept] = await office.crm.activities()
    assert (kept.outcome, kept.recording, kept.ended_at) == ("sold", "c1.wav", 1061.0)


@pytest.mark.parametrize("at", ["tomorrow", "2026-03-29T02:30", "9999-12-31T23:59", -5, 1e300])
async def test_a_time_that_is_none_is_refused(office: RealOffice, at: Any) -> None:
    anna = await office.sign_in("anna")
    office.crm.journal.write(ended())
    refused = await anna.send("PATCH", "/api/v1/activities/c1", {"follow_up_at": at})
    assert (refused.status_code, refused.json()["error"]["field"]) == (422, "follow_up_at")


async def test_overdue_are_old_calls_without_a_summary_and_follow_ups_that_were_due(office: RealOffice) -> None:
    now = office.world.wall()
    for call_id, at in (("old", now - 4000), ("late", now - 60), ("due", now - 5000), ("done", now - 5000)):
        office.crm.journal.write(ended(call_id, arrived_at=at, ended_at=at + 1))
    for call_id, due in (("due", now - 10), ("done", now + 9999)):
        await office.crm.write_summary(call_id, "x", "101", change={"follow_up_at": due})
    anna = await office.sign_in("anna")
    found = (await anna.get("/api/v1/activities?overdue=true")).json()["activities"]
    assert [one["call_id"] for one in found] == ["due", "old"]
    page = (await anna.get("/activities?show=overdue")).text
    assert "/calls/old" in page
    assert "/calls/late" not in page
    assert "/calls/late" in (await anna.get("/activities")).text
    boris = await office.sign_in("boris")
    assert "/calls/old" not in (await boris.get("/activities?show=all&agent=101")).text
    assert (await boris.send("PATCH", "/api/v1/activities/old", {"outcome": "x"})).status_code == 403


async def test_the_page_of_a_call_takes_outcome_and_follow_up(office: RealOffice) -> None:
    anna = await office.sign_in("anna")
    office.crm.journal.write(ended())
    fields = {"summary": "x", "outcome": "call again", "follow_up_at": "2026-12-01T14:30", "follow_up_note": "ask"}
    assert (await anna.post("/live/calls/c1/summary", fields)).status_code == 303
    page = (await anna.get("/calls/c1")).text
    assert 'value="2026-12-01T14:30"' in page
    assert 'value="call again"' in page
    refused = await anna.post("/calls/c1/follow-up", {"outcome": "x", "follow_up_at": "2026-03-29T02:30"})
    assert refused.status_code == 422
    assert "does not exist on that day" in refused.text
    assert 'name="outcome" value="x"' in refused.text, "nothing typed is lost"
    assert 'name="follow_up_at" type="datetime-local" value="2026-03-29T02:30"' in refused.text
    again = await anna.post("/live/calls/c1/summary", {"summary": "y", "outcome": "z", "follow_up_at": "soon"})
    assert 'name="outcome" value="z"' in again.text
    assert (await anna.post("/calls/c1/follow-up", {"outcome": "done", "follow_up_at": ""})).status_code == 303
    [kept] = await office.crm.activities()
    assert (kept.outcome, kept.follow_up_at, kept.follow_up_note) == ("done", None, "")


@pytest.mark.parametrize(("policy", "offered"), [("ask", True), ("create", True), ("ignore", False)])
async def test_a_card_offers_to_store_the_number_where_the_office_wants_it(
    tmp_path: Path, policy: str, offered: bool
) -> None:
    async with real_office(tmp_path, on_unknown=policy) as office:
        anna = await office.sign_in("anna")
        call_id = office.world.ring("+12125550100", "101", known=False, late=True)
        office.crm.put_card(office.crm.card_for(_incoming(call_id)))
        page = (await anna.get("/")).text
        assert f'id="card-{call_id}"' in page
        assert (f"/live/calls/{call_id}/contact" in page) is offered


def _incoming(call_id: str) -> Any:
    from pbxcore.hooks import IncomingCall

    return IncomingCall(call_id, "+12125550100", "101", "inbound", 1.0)


async def test_files_go_in_and_out_by_the_api_and_the_panel(office: RealOffice) -> None:
    chief, anna = await office.sign_in("super"), await office.sign_in("anna")
    sheet = "name,phone1\nAnn <i>Lee</i>,2125550100\nBob,101\nCid,2125550100\n"
    headers = {"X-CSRF-Token": chief.csrf, "Content-Type": "text/csv"}
    where = "/api/v1/contacts/import"
    refused = await anna.client.post(where, content=sheet, headers={**headers, "X-CSRF-Token": anna.csrf})
    assert refused.status_code == 403
    report = (await chief.client.post(where, content=sheet, headers=headers)).json()
    assert (report["created"], [fault["line"] for fault in report["faults"]]) == (2, [3])
    odd = {**headers, "Content-Type": "x/y"}
    assert (await chief.client.post(where, content=sheet, headers=odd)).status_code == 415
    twins = (await anna.get("/api/v1/contacts/duplicates")).json()["duplicates"]
    ann, cid = (one["id"] for one in twins[0]["contacts"])
    page = (await chief.get("/contacts/files")).text
    assert "Ann &lt;i&gt;Lee&lt;/i&gt;" in page
    both = await chief.send("POST", f"/api/v1/contacts/{ann}/merge", {"other": cid})
    assert both.json()["fields"] == {"name (2)": "Cid"}
    file = {"file": ("new.csv", b"name,phone1\nDora,2125550104\nEve,<b>x</b>\n", "text/csv")}
    done = await chief.post("/contacts/import", files=file)
    assert "1 new, 0 merged, 0 unchanged, 1 not imported" in done.text
    assert "&lt;b&gt;x&lt;/b&gt;" in done.text
    assert (await chief.post("/contacts/import")).status_code == 422
    assert (await chief.get("/contacts/export.vcf")).text.count("BEGIN:VCARD") == 2
    assert "Dora" in (await chief.get("/api/v1/contacts/export?format=csv")).text
    assert (await anna.get("/contacts/export.csv")).status_code == 403
    large = {"file": ("big.csv", b"name\n" + b"x" * 200_000, "text/csv")}
    assert (await chief.post("/contacts/import", files=large)).status_code == 200


async def test_calls_are_ordered_once_a_key(office: RealOffice) -> None:
    chief, anna = await office.sign_in("super"), await office.sign_in("anna")
    order = {"from": "101", "to": "+12125550100"}
    made = await anna.send("POST", "/api/v1/calls", order, **{"Idempotency-Key": "k1"})
    assert (made.status_code, made.json()) == (201, {"call_id": "ordered1"})
    assert made.headers["Location"] == "/api/v1/calls/ordered1"
    again = await anna.send("POST", "/api/v1/calls", order, **{"Idempotency-Key": "k1"})
    assert (again.status_code, again.json()) == (201, {"call_id": "ordered1"})
    other = await anna.send("POST", "/api/v1/calls", {**order, "to": "102"}, **{"Idempotency-Key": "k1"})
    assert (other.status_code, other.json()["error"]["field"]) == (422, "Idempotency-Key")
    assert (await chief.send("POST", "/api/v1/calls", order, **{"Idempotency-Key": "k1"})).status_code == 201
    assert (await anna.send("POST", "/api/v1/calls", order)).json() == {"call_id": "ordered3"}
    assert len(office.world.control.ordered) == 3


async def test_an_agent_calls_from_his_own_phone_and_a_refused_order_is_not_kept(office: RealOffice) -> None:
    anna = await office.sign_in("anna")
    foreign = await anna.send("POST", "/api/v1/calls", {"from": "102", "to": "103"})
    assert (foreign.status_code, foreign.json()["error"]["field"]) == (403, "from")
    key = {"Idempotency-Key": "k"}
    assert (await anna.send("POST", "/api/v1/calls", {"from": "101", "to": ""}, **key)).status_code == 422
    assert (await anna.send("POST", "/api/v1/calls", {"from": "101", "to": "103"}, **key)).status_code == 201
    assert (await anna.send("POST", "/api/v1/calls", {"to": "103"})).json()["error"]["field"] == "from"
    long = {"Idempotency-Key": "k" * 256}
    assert (await anna.send("POST", "/api/v1/calls", {"from": "101", "to": "103"}, **long)).status_code == 422
    assert office.world.control.ordered == [("101", "103")]


async def test_planned_calls_by_the_api_the_page_and_the_calendar(office: RealOffice) -> None:
    anna, boris, chief = [await office.sign_in(name) for name in ("anna", "boris", "super")]
    said = {"number": "2125550100", "due_at": "2027-03-01T09:30", "note": "<b>renew</b>"}
    said["timezone"] = "America/New_York"
    made = await anna.send("POST", "/api/v1/scheduled-calls", said)
    assert made.status_code == 201, made.text
    where = made.headers["Location"]
    due = datetime(2027, 3, 1, 9, 30, tzinfo=ZoneInfo("America/New_York")).timestamp()
    assert (made.json()["due_at"], made.json()["agent"], made.json()["author"]) == (due, "101", "101")
    assert (await boris.get(where)).status_code == 403
    assert (await boris.send("POST", "/api/v1/scheduled-calls", {**said, "agent": "101"})).status_code == 403
    assert (await boris.get("/api/v1/scheduled-calls")).json() == {"scheduled_calls": []}
    moved = await chief.send("PUT", where, {**said, "agent": "101", "due_at": "2027-03-02T10:00:00Z"})
    assert moved.json()["due_at"] == datetime(2027, 3, 2, 10, tzinfo=ZoneInfo("UTC")).timestamp()
    page = (await anna.get("/schedule")).text
    assert "&lt;b&gt;renew&lt;/b&gt;" in page
    url = (await anna.send("POST", "/api/v1/scheduled-calls/calendar")).json()["url"]
    assert url in page
    path = url.removeprefix("http://testserver")
    feed = await office.stranger().get(path)
    assert (feed.status_code, feed.headers["content-type"]) == (200, "text/calendar; charset=utf-8")
    assert "TZID=America/New_York:20270302T050000" in feed.text
    assert (await office.stranger().get("/calendar/nothing.ics")).status_code == 404
    for due_at in ("", "soon", "2027-03-14T02:30"):
        refused = await anna.send("POST", "/api/v1/scheduled-calls", {**said, "due_at": due_at})
        assert refused.json()["error"]["field"] == "due_at"
    assert (await anna.send("POST", f"{where}/done")).json()["state"] == "done"
    fields = {"number": "2125550101", "due_at": "2027-03-01T09:30"}
    assert (await anna.post("/schedule", fields)).status_code == 303
    [planned] = await office.crm.schedule.list(open_only=True)
    assert planned.due_at == datetime(2027, 3, 1, 9, 30, tzinfo=BERLIN).timestamp()
    assert (await anna.post("/schedule", {**fields, "number": "x"})).status_code == 422
    skipped = await anna.post(f"/schedule/{planned.id}", {**fields, "due_at": "2027-03-28T02:30"})
    assert skipped.status_code == 422
    assert f'action="/schedule/{planned.id}" aria-labelledby' in skipped.text, "the form still moves it"
    assert (await boris.post(f"/schedule/{planned.id}/cancel")).status_code == 403
    assert (await anna.post(f"/schedule/{planned.id}/cancel")).status_code == 303
    assert (await anna.send("DELETE", f"/api/v1/scheduled-calls/{planned.id}")).status_code == 204
    assert await office.crm.schedule.list(open_only=True) == []


async def test_what_is_wrong_with_a_file_and_why_a_call_was_missed_is_said_in_the_readers_language(
    office: RealOffice,
) -> None:
    chief, anna = await office.sign_in("super"), await office.sign_in("anna")
    chief.client.headers["Accept-Language"] = anna.client.headers["Accept-Language"] = "ru"
    file = {"file": ("x.csv", b"name,phone1\nEve,letters\nAnn,1,2\n", "text/csv")}
    done = (await chief.post("/contacts/import", files=file)).text
    assert "<td>2</td><td>«letters» — не телефонный номер" in done
    assert "<td>3</td><td>в строке 3 ячеек, а в заголовке 2</td>" in done
    assert "this is not" not in (await chief.post("/contacts/import", files={"file": ("x.csv", b"a", "text/csv")})).text

    def refuse(agent: str, number: str) -> str:
        raise Invalid("from", "order.phone", extension=agent)

    office.crm.schedule._order = refuse
    soon = office.world.wall() - 60
    await office.crm.schedule.save(ScheduledCall("", "101", "2125550100", soon, "Europe/Berlin"))
    await office.crm.schedule.look()
    assert "Телефон 101 не в сети." in (await anna.get("/schedule")).text
    listed = (await anna.get("/api/v1/scheduled-calls")).json()["scheduled_calls"]
    assert [(one["reason"], one["reason_code"]) for one in listed] == [
        ("No phone of 101 is registered.", "order.phone")
    ]


async def test_of_three_who_share_a_number_each_two_alike_can_be_merged(office: RealOffice) -> None:
    chief = await office.sign_in("super")
    firm = await office.crm.save_contact(ContactEntry("", "Acme", ("2125550100",), kind="company"))
    ann = await office.crm.save_contact(ContactEntry("", "Ann", ("2125550100",)))
    bob = await office.crm.save_contact(ContactEntry("", "Bob", ("2125550100",)))
    page = (await chief.get("/contacts/files")).text
    assert page.count('action="/contacts/merge"') == 1
    assert f'name="contact" value="{ann.id}"><input type="hidden" name="other" value="{bob.id}"' in page
    refused = await chief.post("/contacts/merge", {"contact": firm.id, "other": ann.id})
    assert "a person and a company are not the same" in refused.text
    assert (await chief.post("/contacts/merge", {"contact": ann.id, "other": bob.id})).status_code == 303
    assert 'action="/contacts/merge"' not in (await chief.get("/contacts/files")).text
