"""Contacts through files: what goes out comes in again, broken rows cost nobody else, twins are merged without loss."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session

from crmhooks.embedded import rows, sheets, vcards
from crmhooks.embedded.desk import EmbeddedCrm
from crmhooks.embedded.port import merged
from pbxcore import store as stores
from pbxcore.bus import Bus
from pbxcore.control import Address, CardFile, ContactEntry, Invalid, NotFound
from tests.unit.store.calls import ended

ANN, BOB = "+12125550100", "+12125550109"
FULL = ContactEntry(
    "", "Ann B. Lee; \\n, \"x\"", (ANN, "+12125550101", "+12125550102"), "ACME, Inc; x", "a@example.net", "101",
    ("gold", "nice; one"[:4]), "line 1\nline 2; x", True, "person", None, ("mobile", "fax", "other"),
    ("c@example.net", "d@example.net"),
    (Address("home", "1 Main; St", "New York", "", "10001", "US"), Address("work", "Plaza", country="DE")),
    "-1.50", {"A=b": "c\nd", "Contract": "x,y;z", "Формула": "=1+1"},
)  # fmt: skip


@pytest.fixture
async def crm(tmp_path: Path) -> AsyncIterator[EmbeddedCrm]:
    store = stores.open(f"sqlite:///{tmp_path}/office.db", serving=True)
    store.start()
    crm = EmbeddedCrm(store, Bus(), "US")
    crm.load()
    yield crm
    await store.close()


@pytest.mark.parametrize("kind", ["csv", "vcard"])
async def test_what_goes_out_comes_in_again(crm: EmbeddedCrm, tmp_path: Path, kind: CardFile) -> None:
    acme = await crm.save_contact(ContactEntry("", "ACME, Inc; x", ("+12125550199",), kind="company"))
    full = await crm.save_contact(FULL)
    await crm.save_contact(ContactEntry("", "Bob", vip=False))
    data = await crm.port.give_out(kind)
    again = await crm.port.take_in(data, kind)
    assert (again.created, again.merged, again.same, again.faults) == (0, 0, 3, ())
    other = stores.open(f"sqlite:///{tmp_path}/other.db", serving=True)
    other.start()
    fresh = EmbeddedCrm(other, Bus(), "US")
    fresh.load()
    report = await fresh.port.take_in(data, kind)
    assert (report.created, report.faults) == (3, ())
    found = {one.name: one for one in await fresh.contacts()}
    copy = found[full.name]
    assert found["ACME, Inc; x"].kind == "company"
    assert copy.company_id == found[acme.name].id
    assert replace(copy, id=full.id, company_id=acme.id) == full
    await other.close()


@pytest.mark.parametrize("kind", ["csv", "vcard"])
async def test_files_are_read_and_written_beside_the_loop(
    crm: EmbeddedCrm, kind: CardFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    await crm.save_contact(FULL)
    by: list[bool] = []

    def noted(work: Callable[..., Any]) -> Callable[..., Any]:
        def do(*arguments: Any) -> Any:
            by.append(threading.current_thread() is threading.main_thread())
            return work(*arguments)

        return do

    module = sheets if kind == "csv" else vcards
    for name in ("read", "write"):
        monkeypatch.setattr(module, name, noted(getattr(module, name)))
    assert (await crm.port.take_in(await crm.port.give_out(kind), kind)).same == 1
    assert by == [False, False]


async def test_what_another_program_took_in_is_compared_beside_the_loop(
    crm: EmbeddedCrm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await crm.save_contact(ContactEntry("", "Ann", (ANN,)))
    bob = await crm.save_contact(ContactEntry("", "Bob", (BOB,)))
    other = stores.open(f"sqlite:///{tmp_path}/office.db")
    other.start()
    beside = EmbeddedCrm(other, Bus(), "US")
    beside.load()
    await beside.save_contact(replace(ann, name="Ann Lee"))
    await beside.delete_contact(bob.id)
    await beside.save_contact(ContactEntry("", "Cid", (BOB,)))
    await other.close()
    by, compare = [], ContactEntry.__eq__

    def noted(one: ContactEntry, another: object) -> bool:
        by.append(threading.current_thread() is threading.main_thread())
        return compare(one, another)

    monkeypatch.setattr(ContactEntry, "__eq__", noted)
    assert await crm.refresh()
    assert by
    assert not any(by)
    assert [[one.name for one in crm.lookup(number)] for number in (ANN, BOB)] == [["Ann Lee"], ["Cid"]]


async def test_broken_rows_are_returned_with_line_and_reason(crm: EmbeddedCrm) -> None:
    rows = [
        "name,phone1,phone1 kind,email,balance",
        "Ann,212 555 0100,mobile,ann@example.net,12.50",
        "Bob,101,,,",
        "Cid,+12125550103,work,cid,",
        '"Dora\nE.",+12125550104,,,',
        "Eve,+12125550105,,,,,,too,many",
        ",,,,",
        ",+12125550106,,,",
        "Fay,+12125550107,,,much",
        '"Gus,+12125550108',
    ]
    report = await crm.port.take_in("\r\n".join(rows).encode(), "csv")
    assert report.created == 2
    assert [one.name for one in await crm.contacts()] == ["Ann", "Dora E."]
    assert [(one.line, one.reason.partition(":")[0]) for one in report.faults] == [
        (3, "'101' is no telephone number"),
        (4, "'cid' is no e-mail address"),
        (7, "the row has 9 cells, the header 5"),
        (9, "a contact needs a name or a company"),
        (10, "'much' is no amount"),
        (11, "the row cannot be read"),
    ]
    assert report.faults[0].text == "Bob,101,,,"


@pytest.mark.parametrize(
    ("data", "numbers", "fields"),
    [
        (
            b"First Name,Last Name,Company,Business Phone,Mobile Phone,E-mail Address,Job Title,Home City\r\n"
            b"Ann,Lee,ACME,(212) 555-0100,2125550101,ann@example.net,Buyer,Boston\r\n",
            {ANN: "work", "+12125550101": "mobile"}, {"Job Title": "Buyer"},
        ),
        (
            "\ufeffИмя;Фамилия;Компания;Телефон;Почта;Скидка\nAnn;Lee;ACME;2125550100;a@example.net;5 %".encode(),
            {ANN: "work"}, {"Скидка": "5 %"},
        ),
        (
            b"Name\tOrganization 1 - Name\tPhone 1 - Type\tPhone 1 - Value\tE-mail 1 - Value\n"
            b"Ann Lee\tACME\tMobile\t+1 212-555-0100 ::: +1 212-555-0101\tann@example.net\n",
            {ANN: "mobile", "+12125550101": "mobile"}, {},
        ),
    ],
)  # fmt: skip
async def test_tables_of_other_programs(
    crm: EmbeddedCrm, data: bytes, numbers: dict[str, str], fields: dict[str, str]
) -> None:
    report = await crm.port.take_in(data, "csv")
    assert report.faults == ()
    [ann] = await crm.contacts()
    assert (ann.name, ann.company) == ("Ann Lee", "ACME")
    assert dict(ann.numbered()) == numbers
    assert ann.fields == fields


async def test_formulas_are_disarmed_and_come_back_as_they_were(crm: EmbeddedCrm) -> None:
    evil = ContactEntry("", "=HYPERLINK(1)", (ANN,), tags=("@x",), balance="-5", fields={"+cmd|x": "-a"})
    await crm.save_contact(evil)
    sheet = (await crm.port.give_out("csv")).decode("utf-8-sig")
    assert "'=HYPERLINK(1)" in sheet
    assert f",{ANN}," in sheet
    for cell in sheet.replace("\r\n", ",").split(","):
        assert not cell.startswith(("=", "@"))
    assert (await crm.port.take_in(sheet.encode(), "csv")).same == 1


async def test_cards_of_other_programs(crm: EmbeddedCrm) -> None:
    cards = (
        "BEGIN:VCARD\r\nVERSION:4.0\r\nFN:Simon P\r\nTEL;VALUE=uri;TYPE=\"cell,voice\":tel:+1-212-555-0100\r\n"
        "TITLE:Chief\r\nPHOTO:data:image/png;base64,AAAA\r\nEND:VCARD\r\n"
        "BEGIN:VCARD\r\nVERSION:2.1\r\nN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:=D0=98;=D0=90\r\n"
        "TEL;HOME:2125550101\r\nEND:VCARD\r\n"
        "BEGIN:VCARD\r\ngarbage\r\nEND:VCARD\r\n"
        "BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Short\r\nTEL:12\r\nEND:VCARD\r\n"
        "BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Torn"
    )
    report = await crm.port.take_in(cards.encode(), "vcard")
    assert [one.line for one in report.faults] == [13, 16, 21]
    first, second = await crm.contacts()
    assert (first.name, first.number_kinds, first.fields) == ("Simon P", ("mobile",), {"Title": "Chief"})
    assert (second.name, second.numbers, second.number_kinds) == ("А И", ("+12125550101",), ("home",))


async def test_twins_are_merged_and_nothing_is_lost(crm: EmbeddedCrm) -> None:
    await crm.save_contact(ContactEntry("", "Ann Lee", (ANN,), "ACME", tags=("gold",), fields={"Note": "old"}))
    sheet = (
        "name,company,phone1,phone2,tags,vip,field: Note\n"
        '"Lee, Ann",Other Ltd,+12125550100,+12125550177,silver,yes,new\n'
    )
    report = await crm.port.take_in(sheet.encode(), "csv")
    assert (report.created, report.merged) == (0, 1)
    [ann] = await crm.contacts()
    assert (ann.name, ann.company, ann.numbers, ann.tags, ann.vip) == (
        "Ann Lee", "ACME", (ANN, "+12125550177"), ("gold", "silver"), True,
    )  # fmt: skip
    assert ann.fields == {"Note": "old", "Note (2)": "new", "company (2)": "Other Ltd"}
    assert crm.lookup("+12125550177") == (ann,)
    assert (await crm.port.take_in(sheet.encode(), "csv")).same == 1


async def test_a_shared_number_of_different_people_is_shown_and_merged_only_when_asked(crm: EmbeddedCrm) -> None:
    sheet = b"name,phone1\nAnn,2125550100\nBob,2125550100\nAnn,+1 212 555 0100\n"
    report = await crm.port.take_in(sheet, "csv")
    assert (report.created, report.same) == (2, 1)
    assert [(one.number, [who.name for who in one.contacts]) for one in report.duplicates] == [(ANN, ["Ann", "Bob"])]
    assert crm.port.duplicates() == list(report.duplicates)
    again = await crm.port.take_in(b"name,phone1\nCid,2125550100\n", "csv", merge_all=True)
    assert (again.created, again.merged) == (0, 1)
    assert "Cid" in [text for one in await crm.contacts() for text in one.fields.values()]


async def test_a_newcomer_gets_his_name(crm: EmbeddedCrm) -> None:
    await crm.save_contact(ContactEntry("", ANN, (ANN,), tags=("new",)))
    report = await crm.port.take_in(b"name,phone1\nAnn,2125550100\n", "csv")
    assert (report.created, report.merged) == (0, 1)
    assert [(one.name, one.tags, one.fields) for one in await crm.contacts()] == [("Ann", (), {})]


async def test_no_other_program_changes_what_is_being_merged(
    crm: EmbeddedCrm, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = [await crm.save_contact(ContactEntry("", name)) for name in ("Ann", "Bob")]
    done = []
    lock, read = rows.lock, rows.contacts_by_id

    def locked(session: Session) -> None:
        done.append("locked")
        lock(session)

    def was_read(session: Session, ids: Sequence[str]) -> list[ContactEntry]:
        done.append("read")
        return read(session, ids)

    monkeypatch.setattr(rows, "lock", locked)
    monkeypatch.setattr(rows, "contacts_by_id", was_read)
    await crm.port.merge(ann.id, bob.id)
    assert done == ["locked", "read"]


async def test_merged_by_hand_with_calls_and_people(crm: EmbeddedCrm) -> None:
    one = await crm.save_contact(ContactEntry("", "ACME", (ANN,), kind="company"))
    other = await crm.save_contact(ContactEntry("", "Acme Inc", ("+12125550155",), kind="company"))
    bob = await crm.save_contact(ContactEntry("", "Bob", company_id=other.id))
    crm.journal.write(ended(caller="+12125550155"))
    kept = await crm.port.merge(one.id, other.id)
    assert (kept.name, kept.numbers, kept.fields) == ("ACME", (ANN, "+12125550155"), {"name (2)": "Acme Inc"})
    assert await crm.contact(one.id) == kept
    assert crm.lookup("+12125550155") == (kept,)
    assert [entry.contact_id for entry in await crm.activities()] == [one.id]
    moved = await crm.contact(bob.id)
    assert (moved.company, moved.company_id) == ("ACME", one.id)
    assert not await crm.refresh()
    with pytest.raises(NotFound):
        await crm.port.merge(one.id, other.id)
    for wrong in (one.id, bob.id):
        with pytest.raises(Invalid):
            await crm.port.merge(one.id, wrong)


@pytest.mark.parametrize(
    ("data", "kind"), [(b"", "csv"), (b"a,b\n1,2\n", "csv"), (b"name,x\n", "vcard"), (b"\x00\x01\x02", "vcard")]
)
async def test_what_is_no_such_file_is_said(crm: EmbeddedCrm, data: bytes, kind: CardFile) -> None:
    with pytest.raises(Invalid) as refused:
        await crm.port.take_in(data, kind)
    assert refused.value.field == "file"


def test_merging_is_the_same_whatever_was_merged_before() -> None:
    both = merged(FULL, replace(FULL, name="Other", balance="7"))
    assert merged(both, replace(FULL, name="Other", balance="7")) == both


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1251"])
async def test_files_of_older_programs_are_read(crm: EmbeddedCrm, encoding: str) -> None:
    await crm.port.take_in("name;phone1\nЖанна Иванова;2125550100\n".encode(encoding), "csv")
    assert [one.name for one in await crm.contacts()] == ["Жанна Иванова"]
