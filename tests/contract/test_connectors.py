"""One suite for every kind of connector: what the outbox and the look-up rely on, against the vendor's fake.

A new vendor needs nothing here: its kind is in the settings' table, its fake is found by that name. What a vendor has
no request for its fake declares (`cannot`): the tests that need it (`needs`) are not made for it, and others hold the
connector to saying so itself.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest

from crmhooks.connector import (
    EVERYTHING,
    Ability,
    CrmActivity,
    CrmConnector,
    NewContact,
    Refused,
    TryAgain,
    Unreachable,
    contact_ref,
)
from crmhooks.connectors.common import Tools
from pbxcore.settings_file.connectors import KINDS, module_of
from tests.contract.connecting import made
from tests.contract.fakes.base import RETRY_AFTER, FakeCrm

NUMBER = "+12025550123"
AT = 1_795_400_000.0
TALK = CrmActivity("call-1", "inbound", NUMBER, AT, "Call from Anna", agent="101", answered_at=AT + 5)
OVER = replace(TALK, ended_at=AT + 65, disposition="answered")
SAID = replace(OVER, summary="Wants the printer mended.\nCalls again on Monday.")
NEEDS_NO_ANSWER = Tools("US", timeout=0.2)


def fakes() -> Iterator[tuple[str, type[FakeCrm]]]:
    """Of each kind its `Fake`, or all of its `FAKES` where its versions differ."""
    for kind in sorted(KINDS):
        module = import_module(f"tests.contract.fakes.{module_of(kind)}")
        for version in getattr(module, "FAKES", (module.Fake,)):
            yield kind if version is module.Fake else f"{kind}-{version.__name__}", version


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "fake" in metafunc.fixturenames:
        needed = {ability for mark in metafunc.definition.iter_markers("needs") for ability in mark.args}
        able = [pytest.param(fake, id=name) for name, fake in fakes() if not needed & fake.cannot]
        metafunc.parametrize("fake", able, indirect=True)


@pytest.fixture
async def fake(request: pytest.FixtureRequest) -> AsyncIterator[FakeCrm]:
    fake: FakeCrm = request.param()
    async with fake.serving():
        yield fake


async def asked(crm: CrmConnector) -> None:
    """A question that changes nothing, or the one thing that a connector can do that has none."""
    if "lookup" in crm.can:
        await crm.lookup(NUMBER)
    else:
        await crm.open_activity(OVER)


# -- what it can do


async def test_what_it_can_do_is_what_its_vendor_has_requests_for(crm: CrmConnector, fake: FakeCrm) -> None:
    assert crm.can == EVERYTHING - fake.cannot


async def test_what_it_cannot_do_it_refuses_in_words(crm: CrmConnector, fake: FakeCrm) -> None:
    others: dict[Ability, Sequence[Callable[[], Awaitable[object]]]] = {
        "lookup": (),
        "create": [lambda: crm.create_contact(NewContact(NUMBER, "Anna"))],
        "follow": (),
        "revise": [] if "follow" in crm.can else [
            lambda: crm.update_activity("1", OVER), lambda: crm.complete_activity("1", SAID)
        ],
        "list": [lambda: crm.find_activity("call-1"), lambda: crm.activities(AT, AT + 1)],
        "remove": [lambda: crm.remove_activity("1")],
    }  # fmt: skip
    for ability in fake.cannot:
        for question in others[ability]:
            with pytest.raises(Refused, match=" "):
                await question()
    if "lookup" in fake.cannot:
        assert list(await crm.lookup(NUMBER)) == []
    assert fake.asked == []


# -- who calls


@pytest.mark.needs("lookup")
async def test_nobody_has_the_number(crm: CrmConnector, fake: FakeCrm) -> None:
    fake.add_contact("Boris", "+12025550199")
    assert list(await crm.lookup(NUMBER)) == []


@pytest.mark.needs("lookup")
async def test_a_number_is_found_however_it_was_typed(crm: CrmConnector, fake: FakeCrm) -> None:
    for spelling in fake.spellings:
        contact_id = fake.add_contact("Anna Ivanova", spelling, company="Example Ltd")
        found = {entry.id: entry for entry in await crm.lookup(NUMBER)}
        assert contact_ref("crm", contact_id) in found, spelling
        entry = found[contact_ref("crm", contact_id)]
        assert (entry.name, entry.numbers[0]) == ("Anna Ivanova", NUMBER)


@pytest.mark.needs("lookup")
async def test_a_number_that_several_share_shows_all_of_them(crm: CrmConnector, fake: FakeCrm) -> None:
    ids = {contact_ref("crm", fake.add_contact(name, NUMBER)) for name in ("Anna", "Boris", "Vera")}
    assert {entry.id for entry in await crm.lookup(NUMBER)} == ids


@pytest.mark.needs("lookup")
async def test_whoever_has_only_a_part_of_the_number_is_somebody_else(crm: CrmConnector, fake: FakeCrm) -> None:
    fake.add_contact("From abroad", "+442025550123")
    fake.add_contact("With one digit more", "+120255501234")
    fake.add_contact("Extension", "0123")
    assert list(await crm.lookup(NUMBER)) == []


async def test_what_is_no_number_is_not_asked_for(crm: CrmConnector, fake: FakeCrm) -> None:
    for text in ("anonymous", "101", "+", "x' or 1 eq 1"):
        assert list(await crm.lookup(text)) == []
    assert fake.asked == []


@pytest.mark.needs("lookup")
async def test_a_name_cannot_bring_lines_or_controls(crm: CrmConnector, fake: FakeCrm) -> None:
    fake.add_contact("Anna\r\nVia: x\x1b[2J\u202e<script>", NUMBER)
    [entry] = await crm.lookup(NUMBER)
    assert entry.name == "Anna Via: x[2J<script>"


@pytest.mark.needs("lookup", "create")
async def test_somebody_new_is_found_afterwards(crm: CrmConnector, fake: FakeCrm) -> None:
    contact_id = await crm.create_contact(NewContact(NUMBER, NUMBER, "101"))
    [entry] = await crm.lookup(NUMBER)
    assert entry.id == contact_ref("crm", contact_id)
    assert fake.contact_numbers() == [NUMBER]


# -- the record of a call


@pytest.mark.needs("revise")
async def test_a_record_from_ringing_to_its_summary(crm: CrmConnector, fake: FakeCrm) -> None:
    contact_id = fake.add_contact("Anna", NUMBER)
    talk, over, said = (replace(activity, contact_id=contact_id) for activity in (TALK, OVER, SAID))
    record_id = await crm.open_activity(talk)
    opened = fake.call_of("call-1")
    assert (opened.record_id, opened.completed, opened.direction) == (record_id, False, "inbound")
    assert (opened.contact_id, opened.user) == (contact_id, fake.user)
    assert opened.subject == ("Call from Anna" if fake.subjects else "")
    await crm.update_activity(record_id, over)
    assert not fake.call_of("call-1").completed
    await crm.complete_activity(record_id, said)
    done = fake.call_of("call-1")
    assert (done.completed, done.summary, done.contact_id) == (True, said.summary, contact_id)


@pytest.mark.needs("revise")
async def test_a_record_of_a_call_to_outside(crm: CrmConnector, fake: FakeCrm) -> None:
    record_id = await crm.open_activity(replace(TALK, direction="outbound"))
    await crm.complete_activity(record_id, replace(SAID, direction="outbound"))
    assert (fake.call_of("call-1").direction, fake.call_of("call-1").completed) == ("outbound", True)


@pytest.mark.needs("revise")
async def test_a_call_that_nobody_answered_and_nobody_knows(crm: CrmConnector, fake: FakeCrm) -> None:
    missed = replace(OVER, number="anonymous", agent=None, answered_at=None, disposition="no answer")
    record_id = await crm.open_activity(missed)
    await crm.update_activity(record_id, missed)
    assert fake.call_of("call-1").contact_id is None
    assert not fake.call_of("call-1").completed


@pytest.mark.needs("list")
async def test_the_record_is_found_by_the_id_of_the_call(crm: CrmConnector) -> None:
    assert list(await crm.find_activity("call-1")) == []
    first = await crm.open_activity(TALK)
    await crm.open_activity(replace(TALK, external_id="call-10"))
    await crm.open_activity(replace(TALK, external_id="xcall-1"))
    [found] = await crm.find_activity("call-1")
    assert (found.record_id, found.external_id, found.completed) == (first, "call-1", False)
    assert abs(found.started_at - AT) < 1


@pytest.mark.needs("revise")
async def test_updating_and_completing_twice_does_no_harm(crm: CrmConnector, fake: FakeCrm) -> None:
    record_id = await crm.open_activity(TALK)
    for _ in range(2):
        await crm.update_activity(record_id, OVER)
    for _ in range(2):
        await crm.complete_activity(record_id, SAID)
    assert (fake.call_of("call-1").summary, fake.call_of("call-1").completed) == (SAID.summary, True)


@pytest.mark.needs("revise")
async def test_completing_goes_on_where_it_was_broken_off(crm: CrmConnector, fake: FakeCrm) -> None:
    """Whichever request of it fails, the next try completes the record, with its summary."""
    for place in range(4):
        activity = replace(SAID, external_id=f"call-{place}")
        record_id = await crm.open_activity(replace(TALK, external_id=activity.external_id))
        fake.faults.extend([*[None] * place, "lose"])
        try:
            await crm.complete_activity(record_id, activity)
        except (TryAgain, Unreachable):
            fake.faults.clear()
            await crm.complete_activity(record_id, activity)
        fake.faults.clear()
        done = fake.call_of(activity.external_id)
        assert (done.completed, done.summary) == (True, SAID.summary)


async def test_a_lost_answer_makes_no_second_record(crm: CrmConnector, fake: FakeCrm) -> None:
    """Whichever request of it is lost: the outbox finds what was made, or makes it, or tells it again by its id."""
    await asked(crm)   # what it must ask first, a token, is there
    for place in range(3):
        activity = replace(OVER, external_id=f"lost-{place}")
        fake.faults.extend([*[None] * place, "lose"])
        try:
            record_id = await crm.open_activity(activity)
        except (TryAgain, Unreachable):
            fake.faults.clear()
            found = await crm.find_activity(activity.external_id) if "list" in crm.can else ()
            record_id = found[0].record_id if found else await crm.open_activity(activity)
        fake.faults.clear()
        assert fake.call_of(activity.external_id).record_id == record_id or "revise" not in crm.can


@pytest.mark.needs("remove")
async def test_a_record_is_taken_back(crm: CrmConnector, fake: FakeCrm) -> None:
    record_id = await crm.open_activity(TALK)
    for _ in range(2):
        await crm.remove_activity(record_id)
    assert fake.calls() == []
    if "list" in crm.can:
        assert list(await crm.find_activity("call-1")) == []


async def test_it_is_told_of_a_whole_call_at_once(crm: CrmConnector, fake: FakeCrm) -> None:
    await crm.open_activity(replace(OVER, direction="outbound"))
    missed = replace(OVER, external_id="call-2", number="anonymous", agent=None, answered_at=None)
    await crm.open_activity(replace(missed, disposition="no_answer"))
    assert (fake.call_of("call-1").direction, fake.call_of("call-1").user) == ("outbound", fake.user)
    assert (fake.call_of("call-2").direction, fake.call_of("call-2").contact_id) == ("inbound", None)


@pytest.mark.needs("follow")
async def test_it_is_told_of_the_end_after_the_answer(crm: CrmConnector, fake: FakeCrm) -> None:
    record_id = await crm.open_activity(TALK)
    assert not fake.call_of("call-1").completed
    await crm.update_activity(record_id, OVER)
    assert fake.call_of("call-1").completed is ("revise" not in crm.can)     # else it waits for the summary


@pytest.mark.needs("list")
async def test_records_of_a_span_over_several_pages(crm: CrmConnector, fake: FakeCrm) -> None:
    count = fake.page + 3
    for number in range(count):
        await crm.open_activity(replace(TALK, external_id=f"c{number}", started_at=AT + number * 10))
    done = await crm.open_activity(replace(TALK, external_id="done", started_at=AT + 1))
    await crm.complete_activity(done, replace(SAID, external_id="done", started_at=AT + 1))
    await crm.open_activity(replace(TALK, external_id="before", started_at=AT - 60))
    await crm.open_activity(replace(TALK, external_id="after", started_at=AT + count * 10))
    found = await crm.activities(AT, AT + count * 10)
    assert sorted(record.external_id for record in found) == sorted([*(f"c{n}" for n in range(count)), "done"])
    assert {record.external_id for record in found if record.completed} == {"done"}


# -- when it is not well


@pytest.mark.needs("lookup", "list")
@pytest.mark.parametrize("fault", ["drop", "lose", "html", "huge", "broken"])
async def test_no_answer_and_what_is_none(crm: CrmConnector, fake: FakeCrm, fault: Any) -> None:
    await crm.lookup(NUMBER)   # what it must ask first, a token, is there
    fake.weather = lambda: fault
    with pytest.raises(Unreachable):
        await crm.lookup(NUMBER)
    with pytest.raises(Unreachable):
        await crm.find_activity("call-1")


@pytest.mark.parametrize("fault", ["drop", "lose"])
async def test_no_answer_to_what_it_is_told(crm: CrmConnector, fake: FakeCrm, fault: Any) -> None:
    await asked(crm)
    fake.weather = lambda: fault
    with pytest.raises(Unreachable):
        await crm.open_activity(replace(OVER, external_id="call-2"))


async def test_it_says_when_it_wants_to_be_asked_again(crm: CrmConnector, fake: FakeCrm) -> None:
    await asked(crm)
    fake.weather = lambda: "throttle"
    with pytest.raises(TryAgain) as caught:
        await crm.open_activity(replace(OVER, external_id="call-2"))
    assert caught.value.after == RETRY_AFTER
    fake.weather = lambda: "busy"
    with pytest.raises(TryAgain) as caught:
        await crm.open_activity(replace(OVER, external_id="call-3"))
    assert caught.value.after is None


async def test_a_slow_answer_is_not_waited_for(fake: FakeCrm) -> None:
    crm = made(fake.settings(), NEEDS_NO_ANSWER)
    fake.weather = lambda: "slow"
    with pytest.raises(Unreachable, match=r"no answer in 0\.2 s"):
        await asked(crm)
    await crm.close()


@pytest.mark.needs("revise")
async def test_an_answer_that_comes_twice_is_taken_once(crm: CrmConnector, fake: FakeCrm) -> None:
    fake.weather = lambda: "twice"
    record_id = await crm.open_activity(TALK)
    for step, activity in ((crm.update_activity, OVER), (crm.complete_activity, SAID)):
        try:
            await step(record_id, activity)
        except (TryAgain, Unreachable):   # the connection is not to be trusted any more, the next one is
            await step(record_id, activity)
    assert fake.call_of("call-1").summary == SAID.summary


@pytest.mark.needs("list")
async def test_an_answer_that_says_nothing_is_not_taken_for_a_yes(crm: CrmConnector, fake: FakeCrm) -> None:
    """After an answer that came twice, the second one may be taken for that of the next request."""
    record_id = await crm.open_activity(TALK)
    steps: list[Callable[[], Awaitable[object]]] = [
        lambda: crm.open_activity(replace(TALK, external_id="call-2")),
        lambda: crm.update_activity(record_id, OVER),
        lambda: crm.complete_activity(record_id, SAID),
        lambda: crm.create_contact(NewContact(NUMBER, "Anna")),
        lambda: crm.remove_activity(record_id),
        lambda: crm.find_activity("call-1"),
        lambda: crm.lookup(NUMBER),
    ]
    fake.weather = lambda: "empty"
    for step in steps:
        with pytest.raises((Unreachable, TryAgain)):
            await step()


async def test_an_answer_that_says_nothing_is_a_yes_only_where_the_vendor_answers_so(
    crm: CrmConnector, fake: FakeCrm
) -> None:
    await asked(crm)      # what it must ask first, a token, is there
    fake.weather = lambda: "empty"
    if fake.yes_says_nothing:
        await crm.open_activity(OVER)
    else:
        with pytest.raises((Unreachable, TryAgain)):
            await crm.open_activity(OVER)


async def test_it_is_not_there(fake: FakeCrm) -> None:
    keys = json.loads(json.dumps(fake.settings()).replace(fake.url, "http://127.0.0.1:1"))
    crm = made(keys)
    with pytest.raises(Unreachable, match="cannot connect"):
        await asked(crm)
    await crm.close()


async def test_credentials_that_it_does_not_take(fake: FakeCrm) -> None:
    keys = fake.wrong_credentials()
    crm = made(keys)
    with pytest.raises(Unreachable) as caught:
        await asked(crm)
    secrets = [keys.get(key) for key in ("api_key", "password", "client_secret")] + ["wrong-secret"]
    assert not any(secret and secret in str(caught.value) for secret in secrets)
    await crm.close()


@pytest.mark.needs("lookup")
async def test_a_token_that_has_run_out_is_renewed(crm: CrmConnector, fake: FakeCrm) -> None:
    record_id = await crm.open_activity(OVER)
    fake.expire_tokens()
    if "revise" in crm.can:
        await crm.complete_activity(record_id, SAID)
    else:
        await crm.open_activity(replace(OVER, external_id="call-2"))
        assert fake.call_of("call-2").completed
    fake.expire_tokens()
    await asyncio.gather(*(crm.lookup(NUMBER) for _ in range(5)))
    assert fake.call_of("call-1").completed


@pytest.mark.needs("revise", "remove")
async def test_a_record_that_is_gone_is_refused_for_good(crm: CrmConnector) -> None:
    record_id = await crm.open_activity(TALK)
    await crm.remove_activity(record_id)
    with pytest.raises(Refused) as caught:
        await crm.update_activity(record_id, OVER)
    assert "404" in str(caught.value) or "not" in str(caught.value)
    with pytest.raises(Refused):
        await crm.complete_activity(record_id, SAID)
