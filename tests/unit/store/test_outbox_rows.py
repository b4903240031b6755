"""What a call leaves in the outbox, in the same group of rows as itself; and that it leaves nothing without a CRM."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.dialects import sqlite

from pbxcore.hooks import CallSnapshot
from pbxcore.store.rows import known_plans, pack_call
from pbxcore.store.statements import known
from tests.unit.store.calls import answered, call, ended

STATEMENTS = known(sqlite.dialect(paramstyle="qmark"))


def outbox_rows(snapshot: CallSnapshot, crms: tuple[str, ...]) -> list[Any]:
    plan = known_plans(STATEMENTS, crms)["calls"]
    encoded = plan.encode(pack_call(snapshot, "+12125550100", None, "101"))
    pairs = list(zip(plan.statements, encoded, strict=True))
    assert [statement.name for statement, _ in pairs[:2]] == ["calls.put", "activities.put"]
    assert {statement.name for statement, _ in pairs[2:]} <= {"outbox.put"}
    return [row for _, row in pairs[2:]]


@pytest.mark.parametrize("snapshot", [call(), answered(), ended()])
def test_without_a_crm_nothing_is_added_to_what_a_call_writes(snapshot: CallSnapshot) -> None:
    assert outbox_rows(snapshot, ()) == []


def test_a_row_a_crm_from_the_answer_on() -> None:
    rows = [("c1", "one", 1000.5), ("c1", "two", 1000.5)]
    assert outbox_rows(call(), ("one", "two")) == [None, None]
    assert outbox_rows(answered(), ("one", "two")) == rows
    assert outbox_rows(ended(), ("one", "two")) == rows


def test_colleagues_leave_none() -> None:
    assert outbox_rows(ended(direction="internal"), ("one",)) == [None]
