"""What stands in brackets in 3CX templates, as templates in the field write it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from pbxcore.settings_file.threecx_expressions import (
    ExpressionError,
    Text,
    evaluate,
    read_condition,
    read_text,
    render,
    variables,
)
from pbxcore.settings_file.threecx_methods import Value, true

AT = datetime(2026, 11, 3, 16, 5, 9, 120_000, UTC)


class Known:
    def __init__(self, parameters: dict[str, str] | None = None, **values: Value) -> None:
        self._parameters = {name: read_text(text) for name, text in (parameters or {}).items()}
        self._own = parameters or {}
        self._values: dict[str, Value] = values

    def value(self, name: str) -> Value:
        return self._own.get(name, self._values.get(name, ""))

    def parameter(self, name: str) -> Text | None:
        return self._parameters.get(name)


CALL = Known(
    {"ReportCallEnabled": "True", "Subject": "Call with [Name]", "Key": "a", "Loop": "[[Loop]]"},
    Number="+12025550123", CallType="Missed", EntityId="", Name="[Key]", FoundRecordCount=2.0,
    CallStartTimeUTC=AT, DurationTimespan=timedelta(seconds=3725), First="Anna", Last="Ivanova",
)  # fmt: skip


@pytest.mark.parametrize(("source", "text"), [
    ("plain", "plain"),
    ("[First] [Last]", "Anna Ivanova"),
    ("https://x/?n=[Number]&a=1", "https://x/?n=+12025550123&a=1"),
    ('[[Number].Replace("+","%2B")]', "%2B12025550123"),
    ("[[Number].Replace(+,00).Substring(0,4)]", "0012"),
    ('{ ^^n^^: ^^[Number]^^, ^^l^^: {{1}} }', '{ "n": "+12025550123", "l": [1] }'),
    ('[[CallStartTimeUTC].ToString("yyyy-MM-ddTHH:mm:ssZ")]', "2026-11-03T16:05:09Z"),
    ("[[CallStartTimeUTC].ToString(^^dd.MM.yy hh:mm tt^^)]", "03.11.26 04:05 PM"),
    ('[[[DurationTimespan].get_TotalMinutes()].ToString("F0")]', "62"),
    ('[[DurationTimespan].ToString("mm\\:ss")]', "02:05"),
    ("[DurationTimespan]", "01:02:05"),
    ("[CallStartTimeUTC]", "2026-11-03 16:05:09"),
    ("[IIf([CallType]==Inbound||[CallType]==Missed,in,out)]", "in"),
    ("[IIf([FoundRecordCount] > 0, True, False)]", "True"),
    ('[IIf([EntityId]==""||[EntityId]=="False",nobody (yet), [EntityId])]', "nobody (yet)"),
    ("[IIf([CallType]==Inbound,[First],[IIf([CallType]==Missed,[Last],other)])]", "Ivanova"),
    ("[Nobody]", ""),
    ('[[First].ToUpper().PadLeft(6,"*")]', "**ANNA"),
    ("[[Last].Trim()]", "Ivanova"),
    ("[[First].AddHours(1)]", "Anna"),
    ("[[First].Substring(9)]", ""),
    ("[[First].Substring(x)]", "Anna"),
])  # fmt: skip
def test_what_it_says(source: str, text: str) -> None:
    assert render(read_text(source), CALL) == text


@pytest.mark.parametrize(("source", "holds"), [
    ("[ReportCallEnabled]!=True", False),
    ('[ReportCallEnabled]!=True||[EntityId]==""', True),
    ('[ReportCallEnabled]==True&&[EntityId]!=""', False),
    ("[CallType]==Inbound", False),
    ("([CallType]==Inbound||[CallType]==Missed)&&[ReportCallEnabled]==True", True),
    ("[IIf([FoundRecordCount]>0,True,False)]", True),
    ("[CreateContactEnabled]!=True||[IIf([CallType]==Inbound,[CallType]!=Inbound,False)]==True", True),
    ("[FoundRecordCount]>=2", True),
    ("[FoundRecordCount]<2", False),
    ("[First]<2", False),
])  # fmt: skip
def test_conditions(source: str, holds: bool) -> None:
    node = read_condition(source)
    assert node is not None
    assert true(evaluate(node, CALL)) is holds


def test_an_empty_condition_is_none() -> None:
    assert read_condition(" ") is None


def test_a_parameters_text_is_read_where_it_is_asked_for_twice() -> None:
    assert render(read_text("[Subject]"), CALL) == "Call with [Name]"
    assert render(read_text("[[Subject]]"), CALL) == "Call with [Key]"
    assert render(read_text("[Subject]"), CALL, passes=2) == "Call with [Key]"


def test_what_a_caller_says_is_never_an_expression() -> None:
    assert render(read_text("[[Name]] [Name]"), CALL, passes=4) == "[Key] [Key]"


def test_a_parameter_that_leads_to_itself() -> None:
    with pytest.raises(ExpressionError, match="without end"):
        render(read_text("[[Loop]]"), CALL)


def test_values_are_spelled_and_the_offices_own_text_is_known_as_such() -> None:
    said = render(read_text("a [Number] [Key] [[Subject]]"), CALL, lambda value, own: f"<{value}|{own}>")
    assert said == "a <+12025550123|False> <a|True> <Call with |True><[Key]|False>"


@pytest.mark.parametrize(("source", "fault"), [
    ("[Number", "has no ] at its end"),
    ("[a b]", "neither a variable nor a function"),
    ('["id", 7', "has no ] at its end"),
    ("[Iff([A]==1,2,3)]", 'no function Iff; there is "IIf"'),
    ("[IIf([A]==1,2)]", "takes 3 values, not 2"),
    ("[IIf([A]==1,2,3]", "has no ) at the end"),
    ('[[A].Replase("a","b")]', 'no method Replase(); did you mean "Replace"?'),
    ('[[A].Replace("a)]', "has no closing quote"),
    ("[" * 40 + "A" + "]" * 40, "too many brackets"),
])  # fmt: skip
def test_what_cannot_be_followed(source: str, fault: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        read_text(source)
    assert fault in str(caught.value)


def test_a_condition_with_a_bracket_too_much() -> None:
    with pytest.raises(ExpressionError):
        read_condition("[A]==1)||[B]==[")


def test_which_variables_it_asks_for() -> None:
    assert variables(read_text("x [A] [[B].Replace([C],d)] [IIf([D]==[E],[F],[[G]])]")) == set("ABCDEFG")


@pytest.mark.parametrize(("form", "said"), [
    ("zzz", "+02:00"), ("K", "+02:00"), ("o", "2026-11-03T16:05:09.1200000+02:00"), ("d MMM", "3 Nov"),
    ("H'h'm\\m", "16h5m"), ("fff", "120"), ("dddd", "Tuesday"), ("s", "2026-11-03T16:05:09"),
])  # fmt: skip
def test_times_as_dotnet_writes_them(form: str, said: str) -> None:
    known = Known(T=AT.replace(tzinfo=timezone(timedelta(hours=2))))
    assert render(read_text(f'[[T].ToString("{form}")]'), known) == said
