"""What 3CX templates say, as they are found in the field: sign-ins, chains, filters, texts of the office; that no
caller's name becomes a part of a request; and what `hookline check` says of a template that cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from starlette.responses import Response

from crmhooks.connector import CrmConnector, NewContact, Refused, Unreachable
from crmhooks.connectors.common import Tools
from crmhooks.connectors.site import Answer
from pbxcore.settings_file import SettingsError, loads
from pbxcore.settings_file.effective import effective
from tests.contract.connecting import made
from tests.contract.fakes.threecx import SECRET, TEMPLATE, Fake, Xml
from tests.contract.test_connectors import AT, NUMBER, OVER, SAID

Made = Callable[..., CrmConnector]
KNOWN = replace(SAID, contact_id="Person/x1", name='Anna "Ann" <Ivanova> [ClientSecret]')


@pytest.fixture
def templated(fake: Fake, tmp_path: Path) -> Made:
    """A connector whose template has these changes: what stands there, and what instead."""

    def build(*changes: tuple[str, str], users: list[str] | None = None, **parameters: str) -> CrmConnector:
        text = TEMPLATE.read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        file = tmp_path / "crm.xml"
        file.write_text(text)
        keys = fake.settings() | {"template": str(file)} | ({"users": users} if users is not None else {})
        return made(keys | {"parameters": keys["parameters"] | parameters}, Tools("US", timeout=30.0))

    return build


def report(fake: Fake) -> dict[str, Any]:
    [told] = fake.reports.values()
    return told


async def test_a_call_is_reported_with_the_texts_of_the_office(templated: Made, fake: Fake) -> None:
    crm = templated(users=["101=Anna Berg <anna@example.net>"], Subject="Call, [CallType]")
    await crm.open_activity(KNOWN)
    told = report(fake)
    assert told["note"] == (
        f'2026-11-23 02:13:20: {KNOWN.name} {NUMBER}, 101 (00:01:00)\n{SAID.summary}'
    )
    assert (told["subject"], told["contact"], told["user"]) == ("Call, Inbound", "x1", "anna@example.net")
    assert (told["started"], told["seconds"], told["type"]) == ("2026-11-23T02:13:20Z", 60, "Inbound")
    assert fake.keys == ["call-1"]
    await crm.close()


async def test_who_missed_whom(templated: Made, fake: Fake) -> None:
    crm = templated()
    await crm.open_activity(replace(OVER, answered_at=None, agent=None, disposition="no_answer"))
    assert (report(fake)["type"], report(fake)["note"]) == ("Missed", f"Missed:  {NUMBER}")
    assert not report(fake).keys() & {"contact", "user"}
    await crm.open_activity(replace(OVER, answered_at=None, direction="outbound", disposition="busy"))
    assert report(fake)["type"] == "Notanswered"
    await crm.close()


async def test_a_template_that_skips_a_call_is_told_nothing_and_nobody_says_it_was(templated: Made, fake: Fake) -> None:
    crm = templated(ReportCallEnabled="False")
    assert await crm.open_activity(OVER) == ""
    assert fake.reports == {}
    await crm.close()


async def test_a_template_without_a_report_only_looks_up(templated: Made, fake: Fake) -> None:
    crm = templated(('Id="ReportCall"', 'Id="SearchContacts_Calls"'))
    assert await crm.open_activity(OVER) == ""
    assert fake.asked == []
    await crm.close()


async def test_a_contact_that_the_template_makes_is_one_only_where_a_parameter_allows_it(templated: Made) -> None:
    switched = ('<Request Url="[URL]/contacts" ', '<Request SkipIf="[Enabled]!=True" Url="[URL]/contacts" ')
    added = ("</Parameters>", '<Parameter Name="Enabled" Default="False" /></Parameters>')
    crm, allowed = templated(switched, added), templated(switched, added, Enabled="True")
    assert ("create" in crm.can, "create" in allowed.can) == (False, True)
    with pytest.raises(Unreachable, match="has neither EntityId nor ContactUrl"):
        await crm.create_contact(NewContact(NUMBER, "Anna"))
    for one in (crm, allowed):
        await one.close()


async def test_all_kinds_of_a_contacts_numbers_are_known_and_its_name_has_two_parts(
    templated: Made, fake: Fake
) -> None:
    crm = templated()
    made_id = await crm.create_contact(NewContact(NUMBER, "Anna Maria Ivanova"))
    assert fake.people[made_id.removeprefix("Person/")]["first"] == "Anna Maria"
    fake.add_contact("Boris", "+12025550177", "(202) 555-0123")
    found = {entry.name: entry.numbers for entry in await crm.lookup(NUMBER)}
    assert found == {"Anna Maria Ivanova": (NUMBER,), "Boris": ("+12025550177", NUMBER)}
    await crm.close()


async def test_later_look_ups_are_skipped_where_the_first_has_found_somebody(templated: Made, fake: Fake) -> None:
    second = '''<Scenario Type="REST">
    <Request SkipIf="[IIf([FoundRecordCount]&gt;0,True,False)]" Url="[URL]/contacts?phone=%2B0" />
    <Rules><Rule Type="Any">contacts.id</Rule></Rules></Scenario><Scenario Id="SearchContacts_Email"'''
    crm = templated(('<Scenario Id="SearchContacts_Email"', second))
    await crm.lookup(NUMBER)
    assert [path for _, path in fake.asked].count("/contacts") == 2
    fake.add_contact("Anna", NUMBER)
    fake.asked.clear()
    assert len(await crm.lookup(NUMBER)) == 1
    assert [path for _, path in fake.asked] == ["/contacts"]
    await crm.close()


async def test_no_name_becomes_a_part_of_an_address_or_of_a_message(templated: Made, fake: Fake) -> None:
    message = (
        'Url="[URL]/calls" MessagePasses="0" Message=""',
        'Url="[URL]/calls?by=[Name]&amp;x=[EntityId]" MessagePasses="2" RequestContentType="application/json" '
        'Message="{ ^^id^^: ^^[CallId]^^, ^^type^^: ^^[CallType]^^, ^^seconds^^: 1, ^^note^^: ^^[Name]^^,'
        ' ^^started^^: ^^2026-01-01T00:00:00Z^^, ^^number^^: ^^[Subject]^^ }"',
    )
    fields = '\n        <PostValues>\n          <Value Key="id"'
    content = (
        f'RequestContentType="" RequestEncoding="Json" RequestType="Post" ResponseType="Json">{fields}',
        f'RequestType="Post">{fields}',
    )
    crm = templated(message, content, Subject="[Name]'s call")
    await crm.open_activity(replace(KNOWN, contact_id="Person/../a?b#c"))
    assert report(fake)["note"] == KNOWN.name
    assert report(fake)["number"] == f"{KNOWN.name}'s call"
    assert SECRET not in str(report(fake))
    await crm.close()


async def test_an_answer_in_plain_text_is_read_by_regular_expressions(fake: Fake, tmp_path: Path) -> None:
    file = tmp_path / "text.xml"
    file.write_text("""<Crm Name="Text"><Number Prefix="Zeros" /><Parameters><Parameter Name="URL" /></Parameters>
    <Scenarios><Scenario><Request Url="[URL]/nobody" SkipIf="[Number]!=0012025550123" ResponseType="Text" />
    <Rules><Rule Type="StartsWith" Ethalon="Anna">name=(\\w+)</Rule>
    <Rule Type="Regex" Ethalon="^\\d+$">id=(\\d+)</Rule></Rules>
    <Variables><Variable Name="Name" Path="name=(\\w+)" /><Variable Name="Id" Path="id=(\\d+)" /></Variables>
    <Outputs><Output Type="EntityId" Value="[Id]" /><Output Type="CompanyName" Value="[Name]" />
    <Output Type="PhoneOther" Value="[Number]" /></Outputs></Scenario></Scenarios></Crm>""")

    async def answer(*_: Any, **__: Any) -> Answer:
        return Answer(200, {}, "id=17;name=Anna;")

    crm: Any = made({"kind": "3cx", "template": str(file), "parameters": {"URL": fake.url}})
    crm._engine._site.ask = answer
    [entry] = await crm.lookup(NUMBER)
    assert (entry.id, entry.name, entry.numbers) == ("crm:/17", "Anna", (NUMBER,))
    await crm.close()


async def test_an_answer_in_xml_has_no_document_type(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = '<!DOCTYPE a [<!ENTITY b "bbbb">]><contacts><contact><id>&b;</id></contact></contacts>'
    monkeypatch.setattr("tests.contract.fakes.threecx._xml", lambda text: Response(bomb))
    fake = Xml()
    async with fake.serving():
        crm = made(fake.settings())
        with pytest.raises(Unreachable, match="instead of XML"):
            await crm.lookup(NUMBER)
        await crm.close()


async def test_a_sign_in_is_kept_as_long_as_the_template_says(fake: Fake) -> None:
    now = [0.0]
    crm = made(fake.settings(), Tools("US", timeout=30.0, clock=lambda: now[0]))
    for at, count in ((0.0, 1), (2999.0, 1), (3001.0, 2)):
        now[0] = at
        await crm.lookup(NUMBER)
        assert len(fake.tokens) == count
    await crm.close()


async def test_an_address_out_of_an_answer_must_be_one(templated: Made, fake: Fake) -> None:
    moved = ('Url="[URL]/contacts/[ContactId]"', 'Url="[ContactId]/contacts"')
    crm = templated(moved)
    with pytest.raises(Refused, match="which is no web address"):
        await crm.create_contact(NewContact(NUMBER, "Anna"))
    await crm.close()


# -- what is wrong with a template


def faults(text: str, tmp_path: Path, parameters: str = "") -> list[str]:
    """What `hookline check` says of a settings file with this template."""
    file = tmp_path / "crm.xml"
    file.write_text(text)
    given = parameters or 'URL = "https://crm.example.net", ClientSecret = "x"'
    section = f'[[crm.connector]]\nkind = "3cx"\ntemplate = "{file}"\nparameters = {{ {given} }}\n'
    with pytest.raises(SettingsError) as caught:
        loads(section)
    assert {problem.line for problem in caught.value.problems} == {3}
    return [problem.message.replace(str(file), "crm.xml") for problem in caught.value.problems]


@pytest.mark.parametrize(("old", "new", "fault"), [
    ("</Crm>", "", "crm.xml, line 131: is no XML: no element found"),
    ("<Crm ", "<!DOCTYPE Crm [<!ENTITY x 'y'>]><Crm ", "line 2: has a document type (<!DOCTYPE ...>): take it out"),
    ("Crm>", "Crn>", "is no XML: mismatched tag"),
    ('Prefix="Plus"', 'Prefix="Plsu"', 'line 3: <Number> Prefix="Plsu" is not known; there is "AsIs"'),
    ('MaxConcurrentRequests="4"', 'MaxConcurrentRequests="x"', '<Connection> MaxConcurrentRequests="x" is no number'),
    ("<Value>Auth</Value>", "<Value>Atuh</Value>", 'names the scenario "Atuh", and there is none; there is "Auth"'),
    ("<Value>Auth</Value>", "", '<Authentication> Type="Scenario" needs a <Value>: the Id of the one that signs in'),
    ('<Authentication Type="Scenario">', '<Authentication Type="OAuth2">', 'Type="OAuth2" is not known; there is'),
    ('Id="ReportCall" Type="REST"', 'Id="ReportCall" Type="SQLDatabase"', "only REST can be carried out"),
    ('Url="[URL]/oauth/token" ', "", "line 19: <Request> needs a Url"),
    ('Rule Type="Equals" Ethalon="Work"', 'Rule Type="Equal" Ethalon="Work"', '<Rule> Type="Equal" is not known'),
    ('Next="CreateContactRecordFromClient_Fetch"', 'Next="Fetch"', "Next=\"Fetch\" is no scenario's Id"),
    ("[[CallStartTimeUTC].ToString(", "[[CallStartTimeUTC].ToStrnig(", "there is no method ToStrnig(); did you mean"),
    ('SkipIf="[ReportCallEnabled]!=True"', 'SkipIf="[ReportCallEnabled!=True"', "<Request> SkipIf: "),
    ('<Variable Name="Company" ', "<Variable ", "<Variable> needs a Name"),
    ('<Output Type="CompanyName" ', "<Output ", "<Output> needs a Type"),
    ('<Array Key="phones">', '<List Key="phones">', "is no XML: mismatched tag"),
    ('RequestEncoding="UrlEncoded" RequestType="Post"', 'RequestEncoding="Form" RequestType="Post"',
     'RequestEncoding="Form" is not known'),
])  # fmt: skip
def test_a_fault_names_its_element_its_line_and_its_mend(old: str, new: str, fault: str, tmp_path: Path) -> None:
    text = TEMPLATE.read_text()
    assert old in text
    said = faults(text.replace(old, new, 1), tmp_path)
    assert any(fault in one for one in said), said


@pytest.mark.parametrize(("parameters", "fault"), [
    ('URL = "https://a.example"', '<Parameter> ClientSecret has no value; give it one: parameters = { ClientSecret'),
    ('ClientSecret = "x"', '<Parameter> URL: "" is no web address; write parameters = { URL = "https://'),
    ('URL = "https://a.example", ClientSecret = "x", Subjcet = "y"', 'no parameter Subjcet; did you mean "Subject"?'),
])  # fmt: skip
def test_what_the_office_must_give(parameters: str, fault: str, tmp_path: Path) -> None:
    [said] = faults(TEMPLATE.read_text(), tmp_path, parameters)
    assert fault in said


@pytest.mark.parametrize(("text", "fault"), [
    ("<Contacts/>", "its outermost element is <Contacts>, not <Crm>"),
    ("<Crm/>", "<Crm> asks for nobody and reports no call: it needs a <Scenario Id=\"\">"),
    ("", "is no XML: no element found"),
    (f"<Crm>{'<a>' * 70}{'</a>' * 70}</Crm>", "goes deeper than 64 elements"),
    ('<Crm><Scenarios><Scenario Id="A"><Request Url="https://x"/><Outputs Next="A"/></Scenario></Scenarios></Crm>',
     'Next="A" leads round in a circle'),
    ('<Crm><Scenarios><Scenario><Request Url="x"/></Scenario></Scenarios></Crm>', '"x" is no web address'),
])  # fmt: skip
def test_what_is_no_template(text: str, fault: str, tmp_path: Path) -> None:
    assert any(fault in one for one in faults(text, tmp_path, 'MaxLength = "9"')), faults(text, tmp_path, "a = 1")


def test_what_the_office_gives_is_a_secret_and_the_rest_can_be_used(fake: Fake) -> None:
    keys = fake.settings()
    given = ", ".join(f'{name} = "{value}"' for name, value in keys["parameters"].items())
    section = f'[[crm.connector]]\nkind = "3cx"\ntemplate = "{keys["template"]}"\nparameters = {{ {given} }}\n'
    printed = effective(loads(section.replace(fake.url, "https://crm.example.net")))
    assert SECRET not in printed
    assert 'URL = "********"' in printed


def test_parameters_are_a_table_of_texts() -> None:
    section = f'[[crm.connector]]\nkind = "3cx"\ntemplate = "{TEMPLATE}"\nparameters = '
    for value, fault in (('"x"', 'must be a table: parameters = { name = "..." }'), ("{ URL = 7 }", "must be text")):
        with pytest.raises(SettingsError) as caught:
            loads(section + value)
        assert any(problem.line == 4 and fault in problem.message for problem in caught.value.problems)


def test_times_of_the_office_are_the_offices() -> None:
    crm: Any = made(Fake().settings() | {"parameters": {"URL": "https://x", "ClientSecret": "x"}},
                    Tools("US", zone=ZoneInfo("Europe/Vienna")))  # fmt: skip
    told = crm._call(replace(OVER, started_at=AT))
    assert (told["DateTime"].hour, told["CallStartTimeLocal"].hour, told["CallStartTimeUTC"].hour) == (3, 3, 2)
