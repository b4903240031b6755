"""What the store promises, the same on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from crmhooks.embedded.desk import EmbeddedCrm
from pbxcore import store as stores
from pbxcore.bus import Bus
from pbxcore.control import ContactEntry, Invalid, NotFound
from pbxcore.events import SummaryWritten
from pbxcore.hooks import CallState, Disposition
from pbxcore.store import Store
from pbxcore.store.models import Table
from pbxcore.store.repo import Binding, Bindings, Extensions, Secrets, StoredExtension, StoredText, StoredTexts, Users
from tests.unit.store.calls import answered, call, ended, full

ANN = ContactEntry("", "Ann Lee", ("+12125550100",), instructions="ask for the order number")


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    opened = stores.open(url, serving=True)
    opened.start()
    yield opened
    await opened.close()


@pytest.fixture
def bus() -> Bus:
    return Bus()


@pytest.fixture
def crm(store: Store, bus: Bus) -> EmbeddedCrm:
    desk = EmbeddedCrm(store, bus, "US", clock=lambda: 5000.0)
    desk.load()
    return desk


async def again(store: Store, url: str) -> tuple[Store, EmbeddedCrm]:
    """The office after a restart."""
    await store.close()
    opened = stores.open(url, serving=True)
    opened.start()
    desk = EmbeddedCrm(opened, Bus(), "US", clock=lambda: 5000.0)
    desk.load()
    return opened, desk


async def counts(store: Store) -> tuple[int, int]:
    def query(session: Any) -> tuple[int, int]:
        run = session.connection().exec_driver_sql
        return run("SELECT count(*) FROM calls").scalar(), run("SELECT count(*) FROM activities").scalar()

    await store.settle()
    return await store.ask(query)


class TestSchema:
    async def test_migrations_make_the_tables_of_the_models(self, store: Store) -> None:
        from alembic.autogenerate import compare_metadata
        from alembic.migration import MigrationContext

        with store.engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, Table.metadata) == []

    async def test_a_newer_schema_is_refused_by_name(self, store: Store, url: str) -> None:
        await store.change(
            lambda session: session.connection().exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        )
        await store.close()
        with pytest.raises(stores.StoreUnavailable, match="newer Hookline"):
            stores.open(url)

    async def test_two_programs_may_start_at_once_on_an_empty_database(self, url: str) -> None:
        opened = await asyncio.gather(*[asyncio.to_thread(stores.open, url) for _ in range(4)])
        for one in opened:
            one.start()
            assert await counts(one) == (0, 0)
            await one.close()


class TestCalls:
    async def test_every_field_of_a_call_comes_back(self, crm: EmbeddedCrm) -> None:
        crm.journal.write(full())
        assert await crm.history() == [full()]

    async def test_many_writes_leave_one_record_and_one_activity(self, crm: EmbeddedCrm, store: Store) -> None:
        for number in range(50):
            for _ in range(3):
                crm.journal.write(call(f"c{number}"))
            if number % 2:
                await store.settle()
            crm.journal.write(answered(f"c{number}"))
            if number % 3:
                await crm.journal.flush()
            crm.journal.write(ended(f"c{number}"))
            crm.journal.write(ended(f"c{number}", reason="counted"))
        assert await counts(store) == (50, 50)
        assert {one.reason for one in await crm.history(limit=100)} == {"counted"}

    async def test_more_calls_at_once_than_fit_one_statement(self, crm: EmbeddedCrm, store: Store) -> None:
        for number in range(1000):
            crm.journal.write(ended(f"c{number}"))
        assert await counts(store) == (1000, 1000)
        assert [one.call_id for one in await crm.history(limit=3, offset=997)] == ["c2", "c1", "c0"]

    async def test_history_keeps_the_calls_of_one_party(self, crm: EmbeddedCrm) -> None:
        crm.journal.write(ended("mine"))
        other = ended("other")
        crm.journal.write(replace(other, legs=(other.legs[0], replace(other.legs[1], party="1011"))))
        assert [one.call_id for one in await crm.history(party="101")] == ["mine"]
        assert [one.call_id for one in await crm.history(party="trunk:main")] == ["other", "mine"]
        assert await crm.history(party="%") == []

    async def test_hostile_text_is_stored_and_stops_nothing(self, crm: EmbeddedCrm, store: Store) -> None:
        hostile = "nul\0 lone\udcff ' \" \\ %s ? :x"
        bad = ended(hostile, caller=hostile, called=hostile, caller_name=hostile, reason=hostile, tags=(hostile,))
        crm.journal.write(replace(bad, legs=tuple(replace(leg, party=hostile, number=hostile) for leg in bad.legs)))
        crm.journal.write(ended("good"))
        assert await counts(store) == (2, 2)
        found = {one.call_id for one in await crm.history()}
        assert "good" in found
        assert await crm.journal.find(hostile) is not None

    async def test_a_row_that_the_database_refuses_does_not_take_others_with_it(
        self, crm: EmbeddedCrm, store: Store, capsys: pytest.CaptureFixture[str]
    ) -> None:
        crm.journal.write(ended("before"))
        crm.journal.write(ended("bad", status=1 << 70))
        crm.journal.write(ended("after"))
        assert (await counts(store))[0] == 2
        refused = [json.loads(line) for path in store.aside.parent.glob("*-refused.jsonl") for line in path.open()]
        assert [(name, row[0]) for name, row in refused] == [("calls.put", "bad")]

    async def test_a_summary_survives_later_writes_of_its_call(self, crm: EmbeddedCrm, bus: Bus) -> None:
        with bus.subscribe() as events:
            crm.journal.write(answered())
            written = await crm.write_summary("c1", "wants a refund", "ann")
            assert (written.state, written.summary, written.disposition) == ("completed", "wants a refund", "open")
            assert await anext(events) == SummaryWritten(5000.0, "c1", "ann")
        crm.journal.write(ended())
        [kept] = await crm.activities()
        assert (kept.state, kept.summary, kept.disposition) == ("completed", "wants a refund", "answered")
        assert kept.ended_at == 1060.25

    async def test_a_summary_is_durable_when_it_returns(self, crm: EmbeddedCrm, store: Store) -> None:
        crm.journal.write(ended())
        await crm.write_summary("c1", "done", "ann")
        with store.engine.connect() as other:
            found = other.execute(sa.text("SELECT summary, author, completed_at FROM activities")).one()
        assert tuple(found) == ("done", "ann", 5000.0)

    async def test_a_summary_needs_a_call_a_text_and_a_real_contact(self, crm: EmbeddedCrm) -> None:
        crm.journal.write(ended())
        with pytest.raises(NotFound):
            await crm.write_summary("nothing", "x", "ann")
        with pytest.raises(Invalid) as empty:
            await crm.write_summary("c1", " \n", "ann")
        assert empty.value.field == "summary"
        with pytest.raises(Invalid) as stranger:
            await crm.write_summary("c1", "x", "ann", contact_id="nobody")
        assert stranger.value.field == "contact_id"
        assert [one.state for one in await crm.activities()] == ["open"]

    async def test_what_the_agent_settled_is_not_undone_by_a_late_look_up(self, crm: EmbeddedCrm) -> None:
        ann, bob = [await crm.save_contact(replace(ANN, name=name)) for name in ("Ann", "Bob")]
        crm.journal.write(answered())
        assert [one.contact_id for one in await crm.activities()] == [None]
        await crm.write_summary("c1", "it was Bob", "x", contact_id=bob.id)
        crm.journal.annotate("c1", ann.id)
        crm.journal.write(ended(contact_id=ann.id))
        [kept] = await crm.activities()
        assert (kept.contact_id, kept.contact_name) == (bob.id, "Bob")

    @pytest.mark.parametrize("settle", [True, False])
    async def test_a_late_contact_reaches_record_and_activity(
        self, crm: EmbeddedCrm, store: Store, settle: bool
    ) -> None:
        crm.journal.write(call())
        if settle:
            await store.settle()
        crm.journal.annotate("c1", "late-1")
        if settle:
            await store.settle()
        crm.journal.write(answered())
        crm.journal.write(ended())
        crm.journal.write(ended(reason="counted"))
        assert [one.contact_id for one in await crm.history()] == ["late-1"]
        assert [one.contact_id for one in await crm.activities()] == ["late-1"]

    async def test_a_late_contact_before_the_first_write_is_kept(self, crm: EmbeddedCrm, store: Store) -> None:
        crm.journal.annotate("c1", "late-1")
        await store.settle()
        crm.journal.write(call())
        assert [one.contact_id for one in await crm.activities()] == ["late-1"]


class TestRestart:
    async def test_calls_left_open_by_a_crash_are_closed_once(self, crm: EmbeddedCrm, store: Store, url: str) -> None:
        crm.journal.write(ended("over", ended_at=1500.0))
        crm.journal.write(call("ringing"))
        crm.journal.write(answered("talking"))
        store, crm = await again(store, url)
        assert await crm.journal.close_interrupted() == 2
        assert await crm.journal.close_interrupted() == 0
        found = {one.call_id: one for one in await crm.history()}
        assert found["over"].disposition is Disposition.ANSWERED
        talking = found["talking"]
        assert (talking.state, talking.disposition) == (CallState.ENDED, Disposition.INTERRUPTED)
        assert (talking.answered_at, talking.answered_by, talking.ended_at) == (1002.0, "101", 1500.0)
        assert {(leg.state, leg.ended_at) for leg in talking.legs} == {("ended", 1500.0)}
        assert found["ringing"].answered_at is None
        activities = {one.call_id: one for one in await crm.activities()}
        assert {one.disposition for one in activities.values()} == {"answered", "interrupted"}
        assert activities["talking"].answered_at == 1002.0
        assert activities["talking"].ended_at == 1500.0
        assert activities["talking"].state == "open"
        await store.close()

    async def test_a_summary_can_be_written_after_a_crash(self, crm: EmbeddedCrm, store: Store, url: str) -> None:
        crm.journal.write(answered())
        store, crm = await again(store, url)
        await crm.journal.close_interrupted()
        assert (await crm.write_summary("c1", "cut off", "ann")).disposition == "interrupted"
        await store.close()

    async def test_contacts_and_recent_activities_are_in_memory_again(
        self, crm: EmbeddedCrm, store: Store, url: str
    ) -> None:
        saved = await crm.save_contact(ANN)
        crm.journal.write(ended())
        await crm.write_summary("c1", "first call", "ann")
        store, crm = await again(store, url)
        assert crm.lookup("(212) 555-0100") == (saved,)
        assert await crm.contact(saved.id) == saved
        from pbxcore.hooks import IncomingCall

        card = crm.card_for(IncomingCall("c2", "12125550100", "101", "inbound", 2000.0))
        assert [one.summary for one in card.recent] == ["first call"]
        await store.close()


class TestContacts:
    async def test_saved_changed_and_deleted_in_step_with_memory(self, crm: EmbeddedCrm) -> None:
        ann = await crm.save_contact(ANN)
        assert ann.id
        assert crm.lookup("+12125550100") == (ann,)
        moved = await crm.save_contact(replace(ann, numbers=("+12125550111", "2125550112"), name="Ann B"))
        assert moved.numbers == ("+12125550111", "+12125550112")
        assert crm.lookup("+12125550100") == ()
        assert crm.lookup("+12125550112") == (moved,)
        assert await crm.contacts() == [moved]
        await crm.delete_contact(ann.id)
        assert crm.lookup("+12125550112") == ()
        assert await crm.contacts() == []
        for gone in (crm.contact(ann.id), crm.delete_contact(ann.id), crm.save_contact(moved)):
            with pytest.raises(NotFound):
                await gone

    async def test_a_shared_number_finds_everybody(self, crm: EmbeddedCrm) -> None:
        first = await crm.save_contact(ANN)
        second = await crm.save_contact(replace(ANN, name="Bob Lee", instructions=""))
        assert crm.lookup("+12125550100") == (first, second)
        crm.journal.write(ended())
        assert [one.contact_id for one in await crm.activities()] == [None]

    async def test_one_match_is_the_contact_of_the_activity(self, crm: EmbeddedCrm) -> None:
        ann = await crm.save_contact(ANN)
        crm.journal.write(call())
        crm.journal.write(ended())
        [found] = await crm.activities(contact_id=ann.id)
        assert (found.contact_name, found.agent, found.number) == ("Ann Lee", "101", "+12125550100")
        await crm.delete_contact(ann.id)
        [left] = await crm.activities()
        assert (left.contact_id, left.contact_name) == (None, "")

    async def test_search_by_name_company_tag_number_in_any_case(self, crm: EmbeddedCrm) -> None:
        mail = ContactEntry("", "Żaneta Ива́нова", ("+12125550133",), "ACME 100%", "Z@Example.net", tags=("Gold_1",))
        saved = await crm.save_contact(mail)
        await crm.save_contact(ANN)
        for text in ("żaneta", "ИВА", "acme", "100%", "z@example", "gold_", "555-0133", "(212) 555-0133", "acme żan"):
            assert await crm.contacts(text) == [saved], text
        for text in ("goldx", "1000", "nobody", "%", "_"):
            found = await crm.contacts(text)
            assert found in ([], [saved]) if text in "%_" else found == [], text
        assert len(await crm.contacts(limit=1)) == 1
        assert len(await crm.contacts(offset=1)) == 1

    async def test_two_hundred_saves_at_once_all_arrive(self, crm: EmbeddedCrm, store: Store, url: str) -> None:
        entries = [ContactEntry("", f"Name {n}", (f"+1212555{n:04d}",)) for n in range(200)]
        await asyncio.gather(*[crm.save_contact(entry) for entry in entries])
        store, crm = await again(store, url)
        assert len(crm.index) == 200
        await store.close()


    async def test_an_import_by_another_program_is_taken_over(self, crm: EmbeddedCrm, store: Store, url: str) -> None:
        mine = await crm.save_contact(ANN)
        gone = await crm.save_contact(replace(ANN, name="Gone"))
        assert not await crm.refresh()
        beside = stores.open(url)
        beside.start()
        importer = EmbeddedCrm(beside, Bus(), "US")
        importer.load()
        bob = await importer.save_contact(replace(ANN, name="Bob"))
        await importer.delete_contact(gone.id)
        cid = await crm.save_contact(replace(ANN, name="Cid"))
        assert crm.lookup("+12125550100") == (mine, gone, cid)
        assert await crm.refresh()
        assert set(crm.lookup("+12125550100")) == {mine, bob, cid}
        assert not await crm.refresh()
        await beside.close()


class TestActivities:
    async def test_narrowed_by_agent_contact_call_and_state(self, crm: EmbeddedCrm) -> None:
        ann = await crm.save_contact(ANN)
        crm.journal.write(ended("one"))
        other = ended("two", caller="+12125550155", answered_by="102")
        crm.journal.write(other)
        await crm.write_summary("one", "done", "ann")
        assert [one.call_id for one in await crm.activities()] == ["two", "one"]
        assert [one.call_id for one in await crm.activities(agent="102")] == ["two"]
        assert [one.call_id for one in await crm.activities(contact_id=ann.id)] == ["one"]
        assert [one.call_id for one in await crm.activities(open_only=True)] == ["two"]
        assert [one.call_id for one in await crm.activities(call_id="one")] == ["one"]
        assert [one.call_id for one in await crm.activities(limit=1, offset=1)] == ["one"]


class TestRepositories:
    async def test_users(self, store: Store) -> None:
        users = Users(store)
        made = await users.create("Ann", "$argon2id$x", "agent", "101", 1.5)
        assert made.username == "ann"
        assert await users.find("ANN") == made
        assert await users.find("bob") is None
        with pytest.raises(Invalid) as taken:
            await users.create("ANN", "y", "admin", None, 2.5)
        assert taken.value.field == "username"
        with pytest.raises(Invalid) as role:
            await users.create("bob", "y", "god", None, 2.5)  # type: ignore[arg-type]  # what a form may send
        assert role.value.field == "role"
        changed = await users.change("ann", role="supervisor", password="new", extension="")
        assert (changed.role, changed.password, changed.extension) == ("supervisor", "new", None)
        assert await users.all() == [changed]
        await users.delete("Ann")
        with pytest.raises(NotFound):
            await users.delete("ann")
        with pytest.raises(NotFound):
            await users.change("ann", role="admin")

    async def test_bindings_survive_a_restart_and_expired_ones_do_not(self, store: Store, url: str) -> None:
        contact = "sip:101@192.0.2.9:5060;ob"
        kept = Binding("101", contact, 2000.0, "192.0.2.9:40000", "TCP", "x@y", 7, "UA", "<u>", ("p",))
        bindings = Bindings(store)
        bindings.put(replace(kept, cseq=6))
        bindings.put(kept)
        bindings.put(Binding("101", "sip:old", 999.0))
        bindings.put(Binding("102", "sip:gone", 2000.0))
        await store.settle()
        bindings.drop("102", "sip:gone")
        bindings.put(Binding("103", "sip:short", 2000.0))
        bindings.drop("103", "sip:short")
        bindings.put(Binding("104", "sip:back", 2000.0))
        bindings.drop("104", "sip:back")
        bindings.put(Binding("104", "sip:back", 3000.0, cseq=1 << 31))
        store, _ = await again(store, url)
        assert sorted(Bindings(store).load(1000.0), key=lambda one: one.aor) == [
            kept,
            Binding("104", "sip:back", 3000.0, cseq=1 << 31),
        ]
        assert Bindings(store).load(0.0) == Bindings(store).load(1000.0)
        await store.close()

    async def test_texts_survive_a_restart_and_expired_ones_do_not(self, store: Store, url: str) -> None:
        kept = StoredText("a", "101", "102", "text/plain", b"\x00\r\n\xff '; --", 1000.0, 2000.0)
        texts = StoredTexts(store)
        durable: list[StoredText] = []
        for text in (kept, replace(kept, text_id="old", expires_at=999.0), replace(kept, text_id="gone")):
            assert not texts.put(text, partial(durable.append, text))
        await store.settle()
        await store.writer.flush()
        assert len(durable) == 3
        texts.drop("gone")
        texts.put(replace(kept, text_id="short"), lambda: None)
        texts.drop("short")
        store, _ = await again(store, url)
        assert StoredTexts(store).load(1000.0) == [kept]
        assert StoredTexts(store).load(0.0) == [kept]
        await store.close()

    async def test_extensions(self, store: Store) -> None:
        extensions = Extensions(store)
        first = StoredExtension("101", "secret", "Front")
        await extensions.save(first)
        await extensions.save(StoredExtension("102", "s2", "Back", "yealink", "first-party"))
        await extensions.save(replace(first, name="Desk"))
        assert [(one.number, one.name) for one in extensions.load()] == [("101", "Desk"), ("102", "Back")]
        await extensions.delete("101")
        with pytest.raises(NotFound):
            await extensions.delete("101")

    async def test_a_server_secret_is_made_once(self, store: Store, url: str) -> None:
        values = await asyncio.gather(*[Secrets(store).get_or_make("digest", f"fresh{n}") for n in range(5)])
        assert set(values) == {"fresh0"}
        store, _ = await again(store, url)
        assert Secrets(store).get("digest") == "fresh0"
        assert Secrets(store).get("other") is None
        await Secrets(store).put("digest", "new")
        assert Secrets(store).get("digest") == "new"
        await store.close()
