"""What a template can say: typed values, fields left out, steps, pages, and what it leaves to the CRM."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from crmhooks.build import build_connectors
from crmhooks.connector import CrmConnector, Refused, Unreachable
from pbxcore.settings import Crm, Settings
from pbxcore.settings import CrmConnector as Section
from pbxcore.settings_file import SettingsError, loads
from tests.contract.fakes.rest import KEY, TEMPLATE, Fake
from tests.contract.test_connectors import NUMBER, OVER, SAID, TALK, made

Made = Callable[..., CrmConnector]


@pytest.fixture
async def fake() -> AsyncIterator[Fake]:
    fake = Fake()
    async with fake.serving():
        yield fake


@pytest.fixture
def templated(fake: Fake, tmp_path: Path) -> Made:
    """A connector whose template has these changes: what stands there, and what instead."""

    def build(*changes: tuple[str, str], **keys: str) -> CrmConnector:
        text = TEMPLATE.read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        file = tmp_path / "crm.toml"
        file.write_text(text)
        return made(fake.settings() | {"template": str(file)} | keys)

    return build


def without(table: str) -> tuple[str, str]:
    """A change that takes a table out."""
    [found] = re.findall(rf"^\[{table}\]\n(?:[^\[\n][^\n]*\n)*", TEMPLATE.read_text(), re.MULTILINE)
    return found, ""


def test_the_template_of_the_readme_is_this_one() -> None:
    readme = Path(__file__).parents[2].joinpath("README.md").read_text()
    assert f"```toml\n{TEMPLATE.read_text()}```" in readme


async def test_what_is_not_known_is_left_out_and_numbers_stay_numbers(templated: Made, fake: Fake) -> None:
    crm = templated()
    record_id = await crm.open_activity(replace(TALK, agent=None))
    row = fake.records[record_id]
    assert (row["started"], row["contact"]) == (int(TALK.started_at), {})
    assert "user_id" not in row
    await crm.update_activity(record_id, OVER)
    assert (row["seconds"], row["user_id"]) == (60, fake.user)
    assert "note" not in row
    await crm.close()


async def test_a_record_that_the_crm_knows_already_is_taken(templated: Made, fake: Fake) -> None:
    crm = templated()
    record_id = await crm.open_activity(TALK)
    assert await crm.open_activity(TALK) == record_id
    assert len(fake.records) == 1
    await crm.close()


async def test_an_id_is_no_part_of_an_address(templated: Made, fake: Fake) -> None:
    crm = templated()
    await crm.open_activity(TALK)
    fake.asked.clear()
    with pytest.raises(Refused):
        await crm.update_activity("../contacts?x=1#y", OVER)
    assert fake.asked == [("PATCH", "/calls/../contacts?x=1#y")]    # as one segment
    await crm.close()


async def test_every_spelling_is_asked_for_where_the_crm_finds_but_what_was_typed(templated: Made, fake: Fake) -> None:
    crm = templated(
        ('phone = "{national}"', 'phone = "{number}"'), ("[lookup]\n", "[lookup]\neach_spelling = true\n")
    )
    contact_id = fake.add_contact("Anna", "12025550123")
    [entry] = await crm.lookup(NUMBER)
    assert entry.id == f"crm:{contact_id}"
    await crm.close()


async def test_all_pages_of_people_are_read(templated: Made, fake: Fake) -> None:
    crm = templated()
    for number in range(fake.page + 1):
        fake.add_contact(f"Nr {number}", NUMBER)
    assert len(await crm.lookup(NUMBER)) == fake.page + 1
    await crm.close()


async def test_a_page_that_is_shorter_than_asked_for_is_not_taken_for_the_last(templated: Made, fake: Fake) -> None:
    """Many CRMs give no more than so many records, whatever is asked for."""
    crm = templated(('items = "data"\nsize = 20\n\n[record]', 'items = "data"\nsize = 500\n\n[record]'))
    for number in range(3 * fake.most + 1):
        await crm.open_activity(replace(TALK, external_id=f"c{number}"))
    assert len(await crm.activities(TALK.started_at, TALK.started_at + 1)) == 3 * fake.most + 1
    await crm.close()


async def test_without_update_it_hears_of_the_call_when_it_is_completed(templated: Made, fake: Fake) -> None:
    crm = templated(without("update"))
    record_id = await crm.open_activity(TALK)
    fake.asked.clear()
    await crm.update_activity(record_id, OVER)
    assert fake.asked == []
    await crm.complete_activity(record_id, SAID)
    assert fake.call_of("call-1").summary == SAID.summary
    await crm.close()


async def test_without_remove_it_says_so(templated: Made) -> None:
    crm = templated(without("remove"))
    with pytest.raises(Refused, match="has no \\[remove\\]"):
        await crm.remove_activity(await crm.open_activity(TALK))
    await crm.close()


async def test_a_list_that_is_the_whole_answer_is_asked_for_by_no_name(templated: Made) -> None:
    params = 'params = { external_id = "{external_id}" }'
    crm = templated((f'{params}\nitems = "data"', params))
    with pytest.raises(Unreachable, match="its answer is no list"):
        await crm.find_activity("call-1")
    await crm.close()


async def test_a_password_for_basic_authentication(templated: Made) -> None:
    crm = templated(("Bearer {api_key}", "Basic {basic}"), username="office", password="secret word")
    with pytest.raises(Unreachable, match="Who are you") as caught:
        await crm.lookup(NUMBER)
    assert "secret word" not in str(caught.value)
    await crm.close()


async def test_times_as_the_crm_writes_them(templated: Made) -> None:
    crm = templated(('times = "unix"', 'times = "iso"'))
    with pytest.raises(Refused, match="started must be a number"):
        await crm.open_activity(TALK)
    await crm.close()


# -- what is wrong with a template


def faults(text: str, tmp_path: Path) -> list[str]:
    """What `hookline check` says of a settings file with this template."""
    file = tmp_path / "crm.toml"
    file.write_text(text)
    section = f'[[crm.connector]]\nkind = "rest"\nurl = "https://crm.example.net"\ntemplate = "{file}"\n'
    with pytest.raises(SettingsError) as caught:
        loads(section)
    assert {problem.line for problem in caught.value.problems} == {4}
    return [problem.message.replace(str(file), "crm.toml") for problem in caught.value.problems]


@pytest.mark.parametrize(("old", "new", "fault"), [
    ("{national}", "{natoinal}", 'line 8: lookup.params.phone: {natoinal} is not known here; did you mean "national"?'),
    ("[lookup]", "[look_up]", "there is no such table; did you mean \"lookup\"?"),
    ("times = \"unix\"", "times = \"swatch\"", "line 4: site.times: must be one of iso, utc, unix, milliseconds"),
    ('method = "DELETE"', 'method = "ERASE"', "remove.method: must be one of GET, POST"),
    ('path = "/calls/{record_id}/close"', "", "complete[2]: path is missing; path = \"/contacts\""),
    ('completed = "state"', "", "record: completed is missing: where it is in an answer"),
    ('offset = "{offset}" }\nitems = "data"                 #', 'o = "1" }\nitems = "data" #',
     "lookup.size: needs {page} or {offset}"),
    ("rate = 20 ", "rate = -1 ", "site.rate: must be a number"),
    ('confirms = "deleted"', "confirm = true", 'remove.confirm: there is no such key; did you mean "confirms"?'),
    ("Bearer {api_key}", "Bearer {number}", "site.headers.authorization: {number} is not known here"),
    ("[words.direction]", "[words.directions]", 'words.directions: has no words; did you mean "direction"?'),
    ("[site]", "[site", "crm.toml: "),
    ('id = "id"\nname', 'id = 7\nname', "contact.id: must be a text, or a list of texts"),
    ('params = { external_id = "{external_id}" }', 'params = "x"', "find.params: must be a table of texts"),
])  # fmt: skip
def test_a_fault_is_told_with_its_line_and_its_mend(old: str, new: str, fault: str, tmp_path: Path) -> None:
    text = TEMPLATE.read_text()
    assert old in text
    assert any(fault in said for said in faults(text.replace(old, new, 1), tmp_path))


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    said = faults("[site]\ntimes = 7\n[wrong]\n", tmp_path)
    assert len(said) == 10
    assert sum("is missing" in one for one in said) == 8


def test_a_template_that_is_not_there(fake: Fake, tmp_path: Path) -> None:
    section = Section.model_validate(fake.settings() | {"template": str(tmp_path / "gone.toml"), "api_key": KEY})
    with pytest.raises(ValueError, match="cannot be read: no such file"):
        build_connectors(Settings(crm=Crm(connector=(section,))))
