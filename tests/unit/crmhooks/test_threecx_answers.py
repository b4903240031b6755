"""What templates read from answers of every shape: which are the records, and what a path with its filter means."""

from __future__ import annotations

from typing import Any

import pytest

from crmhooks.connectors.threecx_answers import FORMS, MOST_RECORDS, records
from pbxcore.settings_file.threecx_template import Reading, Rule

ANNA = {"id": 1, "name": "Anna", "phones": [{"type": "Work", "number": "1"}, {"type": "Mobile", "number": "2"}]}
BORIS = {"id": 2, "name": "Boris", "phones": [{"type": "Mobile", "number": "3"}], "vip": True}


def plain(rule: Rule) -> str:
    return "".join(map(str, rule.ethalon))


def rule(path: str, kind: str = "Any", ethalon: str = "") -> Rule:
    return Rule(kind, (ethalon,), path)


def read(answer: Any, anchor: str, path: str, *filters: Rule) -> list[str]:
    reading = Reading("x", path, filters)
    return [record.value(reading, plain) for record in records(answer, [rule(anchor)], [reading], plain)]


@pytest.mark.parametrize(("answer", "prefix"), [
    ({"contacts": [ANNA, BORIS]}, "contacts."),
    ([ANNA, BORIS], ""),
    ({"data": {"people": {"rows": [ANNA, BORIS]}}}, "data.people.rows."),
])  # fmt: skip
def test_the_outermost_list_has_the_records(answer: Any, prefix: str) -> None:
    assert read(answer, f"{prefix}id", f"{prefix}name") == ["Anna", "Boris"]
    assert read(answer, f"{prefix}id", f"{prefix}phones.number") == ["1", "3"]
    mobile = rule(f"{prefix}phones.type", "Equals", "Mobile")
    assert read(answer, f"{prefix}id", f"{prefix}phones.number", mobile) == ["2", "3"]
    assert read(answer, f"{prefix}vip", f"{prefix}name") == ["Boris"]


def test_without_a_list_the_answer_is_the_record() -> None:
    assert read({"contact": ANNA}, "contact.id", "contact.name") == ["Anna"]
    assert read({"contact": None}, "contact.id", "contact.name") == []
    assert read({"result": []}, "result.id", "result.name") == []


def test_what_stands_beside_the_records_is_the_same_for_each() -> None:
    assert read({"base": "x", "rows": [ANNA, BORIS]}, "rows.id", "base") == ["x", "x"]


def test_a_rule_on_the_list_itself_means_its_entries() -> None:
    assert read({"Data": [ANNA, BORIS]}, "Data", "Data.name") == ["Anna", "Boris"]
    assert read({"Data": []}, "Data", "Data.name") == []


@pytest.mark.parametrize(("kind", "ethalon", "holds"), [
    ("Equals", "Anna", True), ("Equals", "Ann", False), ("NotEquals", "Ann", True), ("Contains", "nn", True),
    ("StartsWith", "An", True), ("EndsWith", "na", True), ("EndsWith", "nn", False), ("Regex", "^A.+a$", True),
    ("Regex", "^B", False), ("None", "", False), ("Any", "", True),
])  # fmt: skip
def test_rules(kind: str, ethalon: str, holds: bool) -> None:
    found = records({"name": "Anna"}, [rule("name", kind, ethalon)], [], plain)
    assert bool(found) is holds


def test_values_as_3cx_writes_them() -> None:
    row = {"yes": True, "no": False, "number": 12025550123, "half": 0.5, "nothing": None, "object": {"a": 1}}
    said = [read(row, "yes", name) for name in row]
    assert said == [["True"], ["False"], ["12025550123"], ["0.5"], [""], [""]]


def test_lists_in_lists_and_a_great_many_records_do_no_harm() -> None:
    assert read({"rows": [[ANNA], BORIS]}, "rows.id", "rows.name") == ["Boris"]
    assert len(read([{"id": number} for number in range(1000)], "id", "id")) == MOST_RECORDS


def test_xml_is_read_with_its_outermost_element_and_without() -> None:
    raw = b"<r xmlns:a='urn:x'><a:p id='1'><name> Anna </name></a:p><a:p id='2'><name>Boris</name><n/></a:p></r>"
    answer = FORMS["Xml"].read(raw)
    assert read(answer, "r.p.id", "r.p.name") == ["Anna", "Boris"]
    assert read(answer, "p.id", "p.id") == ["1", "2"]
    assert read(FORMS["Xml"].read(b"<ok>fine</ok>"), "ok", "ok") == ["fine"]


def test_text_is_read_by_patterns() -> None:
    assert read("id=7 name=Anna", r"id=\d+", r"name=(\w+)") == ["Anna"]
    assert read("id=7 name=Anna", r"id=\d+", r"\w+na") == ["Anna"]
    assert read("nothing here", r"id=\d+", "x") == []
