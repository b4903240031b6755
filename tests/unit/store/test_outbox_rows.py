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


def outbox_rows(snapshot: CallSnapshot, crms: tuple[str, ...], *, first_party: bool = False) -> list[Any]:
    """Those that are put; and what is touched, if anything, as a text."""
    plan = known_plans(STATEMENTS, crms)["calls"]
    encoded = plan.encode(pack_call(snapshot, "+12125550100", None, "101", first_party=first_party))
    pairs = list(zip(plan.statements, encoded, strict=True))
    assert [statement.name for statement, _ in pairs[:2]] == ["calls.put", "activities.put"]
    assert all(row is not None for _, row in pairs[:2])
    assert [statement.name for statement, _ in pairs[2:]] == ["outbox.put"] * len(crms) + ["outbox.touch"] * bool(crms)
    return [row for _, row in pairs[2:] if row is not None]


@pytest.mark.parametrize("snapshot", [call(), answered(), ended()])
def test_without_a_crm_nothing_is_added_to_what_a_call_writes(snapshot: CallSnapshot) -> None:
    assert outbox_rows(snapshot, ()) == []


def test_a_row_a_crm_from_the_answer_on() -> None:
    rows = [("c1", "one", 1000.5), ("c1", "two", 1000.5)]
    assert outbox_rows(call(), ("one", "two")) == []
    assert outbox_rows(answered(), ("one", "two")) == rows
    assert outbox_rows(ended(), ("one", "two")) == rows


def test_colleagues_leave_none() -> None:
    assert outbox_rows(ended(direction="internal"), ("one",)) == []
    assert outbox_rows(ended(direction="internal"), ("one",), first_party=True) == []


def test_what_a_workstation_carries_only_touches_what_a_crm_was_told_before() -> None:
    assert outbox_rows(call(), ("one", "two"), first_party=True) == []
    assert outbox_rows(ended(), ("one", "two"), first_party=True) == [("c1",)]
    assert outbox_rows(ended(), (), first_party=True) == []
