"""A hundred calls a second through the trunk, the CRM asked about each of them: none fails, none is forgotten."""

from __future__ import annotations

import pytest

from tests.interop.load import CALLS, Loaded

# The load takes the whole machine.
pytestmark = pytest.mark.alone


def test_a_hundred_calls_a_second(loaded: Loaded) -> None:
    records = loaded.server.wait_for_records(CALLS)
    assert len(records) == CALLS
    assert {record["disposition"] for record in records} == {"answered"}
    assert {record["decided_by"] for record in records} == {"load_crm:Crm"}
    calls = {record["call_id"] for record in records}
    assert len(calls) == CALLS
    activities = loaded.server.activities()
    assert len(activities) == CALLS
    assert {activity["call_id"] for activity in activities} == calls
