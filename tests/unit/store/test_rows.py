"""Values packed, encoded and merged."""

from __future__ import annotations

import json
import marshal
import math
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import sqlite

from pbxcore.hooks import CallSnapshot, LegSnapshot
from pbxcore.store.models import CallRow
from pbxcore.store.rows import call_snapshot, known_plans, merge, pack_call
from pbxcore.store.statements import Row, clean, columns, known
from tests.unit.store.calls import call, full

JSON = ("tags", "legs", "from_a", "from_b")


def rows_of(one: CallSnapshot) -> tuple[Row, Row]:
    packed = pack_call(one, "+12125550100", one.contact_id, "101")
    packed = marshal.loads(marshal.dumps(packed))  # noqa: S302 - as it goes through the backlog
    call_rows, activity = known_plans(known(sqlite.dialect()))["calls"].encode(packed)
    assert call_rows is not None
    assert activity is not None
    return call_rows, activity


def as_row(values: Row) -> CallRow:
    named = dict(zip(columns("calls"), values, strict=True))
    return CallRow(**{k: json.loads(str(v)) if k in JSON and v is not None else v for k, v in named.items()})


def test_every_field_survives() -> None:
    assert call_snapshot(as_row(rows_of(full())[0])) == full()
    assert call_snapshot(as_row(rows_of(call())[0])) == call()


def test_the_journal_knows_every_field_of_a_call() -> None:
    """A field added to the snapshot must be added to the journal, or it is lost without a word."""
    stored = set(columns("calls")) - {"parties"}
    never_stored = {"merged_into"}  # of calls whose record another one has
    assert {field.name for field in fields(CallSnapshot)} - never_stored == stored
    taken = LegSnapshot("103", "b", "ended", "103", 1.0, transferred_by="101", transferred_at=2.0, cause=16)
    legs = json.loads(str(rows_of(replace(call(), legs=(*call().legs, taken)))[0][columns("calls").index("legs")]))
    names = {field.name for field in fields(LegSnapshot)}
    assert set(legs[-1]) == names
    assert set(legs[0]) == names - {"transferred_by", "transferred_at", "cause"}  # most have none, and rows are dear


@pytest.mark.parametrize("more", [{"transferred_by": "101", "transferred_at": 2.0}, {"cause": 34}])
def test_what_few_legs_have_comes_back(more: dict[str, Any]) -> None:
    leg = LegSnapshot("103", "b", "ended", "103", 1.0, **more)
    assert call_snapshot(as_row(rows_of(replace(call(), legs=(leg,)))[0])).legs == (leg,)


def test_equal_times_and_statuses_keep_their_types() -> None:
    leg = LegSnapshot("101", "b", "ended", "101", 200.0, 200.0, 200.0, 200.0, 200)
    back = call_snapshot(as_row(rows_of(replace(call(), legs=(leg,)))[0])).legs[0]
    assert isinstance(back.status, int)
    assert isinstance(back.started_at, float)


@given(st.floats(2.0**29, 2.0**41))
def test_times_keep_their_last_bit(at: float) -> None:
    leg = LegSnapshot("101", "b", "ended", "101", at, math.nextafter(at, math.inf))
    back = call_snapshot(as_row(rows_of(replace(call(), legs=(leg,)))[0])).legs[0]
    assert (back.started_at, back.ringing_at) == (leg.started_at, leg.ringing_at)


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "ж\0"])
def test_text_that_no_database_takes_is_cleaned_wherever_it_is(text: str) -> None:
    leg = LegSnapshot(text, "b", "ended", text, 1.0, transferred_by=text, transferred_at=2.0)
    one = replace(full(), caller=text, tags=(text,), reason=text, instructions=text, legs=(leg,))
    calls, activity = rows_of(replace(one, contact_id=text))
    told = json.dumps([calls, activity], ensure_ascii=False)
    assert "\0" not in told
    assert "\\u0000" not in told
    assert "\\ud800" not in told
    told.encode()


def test_rows_have_a_value_a_column() -> None:
    for row, statement in zip(rows_of(full()), known_plans(known(sqlite.dialect()))["calls"].statements, strict=True):
        assert len(row) == len(statement.columns)


def test_the_latest_value_of_a_key_wins_in_the_place_of_the_first() -> None:
    plans = known_plans(known(sqlite.dialect()))
    groups = [
        {"contacts": [("b", "x")], "calls": [("a", 1), ("b", 1)]},
        {"bindings": [("101", "sip:x", 1)]},
        {"calls": [("a", 2)], "bindings": [("101", "sip:x")]},
    ]
    merged = [(plan.name, values) for plan, values in merge(groups, plans)]
    assert merged == [
        ("calls", [("a", 2), ("b", 1)]),
        ("contacts", [("b", "x")]),
        ("bindings", [("101", "sip:x")]),
    ]


@pytest.mark.parametrize(
    ("dirty", "stored"),
    [
        ("plain", "plain"),
        ("Ünï 🎧", "Ünï 🎧"),
        ("a\0b", "a\ufffdb"),
        ("ü\0", "ü\ufffd"),
        ("\udcff", "?"),
        ("", ""),
    ],
)
def test_text_that_no_database_stores_is_replaced(dirty: str, stored: str) -> None:
    assert clean(dirty) == stored
