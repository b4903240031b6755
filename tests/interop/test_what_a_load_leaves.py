"""What is left of the load once its last transaction has ended: nothing. Of all that runs alone this comes last, so
that nobody has to wait for it."""

from __future__ import annotations

import time

import pytest

from tests.interop.load import LINGER, Loaded, Unacknowledged, left_over

pytestmark = pytest.mark.alone


def test_in_the_end_nothing_is_left(loaded: Loaded) -> None:
    deadline = max(loaded.over_at + LINGER, time.monotonic() + 5)     # the carrier may just be probed
    while left := left_over(loaded.server):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


def test_an_answer_that_is_never_acknowledged_is_hung_up(unacknowledged: Unacknowledged) -> None:
    unacknowledged.caller.wait()
    unacknowledged.desk.wait()
    [record] = unacknowledged.server.wait_for_records(1)
    assert (record["disposition"], record["hung_up_by"], record["reason"]) == ("answered", "exchange", "No ACK")
    assert 31.5 < record["ended_at"] - record["answered_at"] < 36
    assert len(unacknowledged.server.activities()) == 1
