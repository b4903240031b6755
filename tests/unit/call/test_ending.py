"""The record of a call that is over, and the relay's last word on it: written once, whatever the relay does."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pbxcore.call import inputs
from pbxcore.call.call import Call
from pbxcore.call.ending import LAST_WORD, MAX_LATE, Endings
from pbxcore.hooks import CallSnapshot, CallState, IncomingCall, StreamStats
from pbxcore.sip.timers import Timers

HEARD, SAID = StreamStats(10, 1720), StreamStats(12, 2064)


class Place:
    """As much of an exchange as endings need. What happens is noted in its order."""

    def __init__(self) -> None:
        self.said: list[tuple[str, Any]] = []
        self.now = 100.0
        self.timers = Timers()
        self.live: dict[str, object] = {}
        self.counters = SimpleNamespace(answered=0)
        self.dial_plan = SimpleNamespace(watched=frozenset())
        self.states = SimpleNamespace(seconds=0.0)
        self.journal = SimpleNamespace(write=lambda call: self.said.append(("written", call)))
        self.hooks = SimpleNamespace(on_ended=lambda call: self.said.append(("ended", call)))
        self.media = SimpleNamespace(delete=lambda call_id: self.said.append(("deleted", call_id)))
        self.endings = Endings(self)  # type: ignore[arg-type]  # enough of one

    def clock(self) -> float:
        return self.now

    wall = clock

    def over(self, call_id: str = "c1", *, answered: bool = True) -> Call:
        call = Call(IncomingCall(call_id, "+15550100", "101", "inbound", 90.0, trunk="main"))
        call.apply(inputs.Decided(90.0, "dial plan"))
        call.apply(inputs.LegDialed(90.0, "b1", "101", "101"))
        if answered:
            call.apply(inputs.LegAnswered(95.0, "b1"))
        call.apply(inputs.Released(100.0, "caller", 200, "Normal Clearing"))
        call.apply(inputs.Cleared(100.0))
        self.live[call_id] = call
        self.endings.cleared(call)
        return call

    def later(self, seconds: float) -> None:
        self.now += seconds
        self.timers.fire(self.now)

    def done(self, what: str) -> list[CallSnapshot]:
        return [about for said, about in self.said if said == what]


@pytest.fixture
def place() -> Place:
    return Place()


def test_the_record_is_written_once_with_what_the_relay_counted(place: Place) -> None:
    place.over()
    assert place.live == {}
    assert place.said == [("deleted", "c1")]
    place.endings.counted("c1", HEARD, SAID)
    (record,) = place.done("written")
    assert (record.state, record.from_a, record.from_b) == (CallState.ENDED, HEARD, SAID)
    assert place.done("ended") == [record]
    place.later(LAST_WORD)
    assert len(place.said) == 3
    assert place.counters.answered == 1


def test_a_call_that_nobody_answered_waits_for_nothing(place: Place) -> None:
    place.over(answered=False)
    assert [what for what, _ in place.said] == ["deleted", "written", "ended"]
    place.endings.counted("c1", HEARD, SAID)
    assert len(place.said) == 3
    assert place.counters.answered == 0


def test_a_relay_that_is_slow_delays_the_record_for_a_quarter_of_a_second_and_no_longer(place: Place) -> None:
    assert LAST_WORD == 0.25
    place.over()
    place.later(LAST_WORD - 0.01)
    assert place.done("written") == []
    place.later(0.01)
    (record,) = place.done("written")
    assert (record.state, record.from_a) == (CallState.ENDED, None)
    place.endings.counted("c1", HEARD, SAID)
    assert [one.from_a for one in place.done("written")] == [None, HEARD]
    assert len(place.done("ended")) == 1
    place.endings.counted("c1", SAID, HEARD)
    assert len(place.done("written")) == 2


def test_each_record_has_its_own_time(place: Place) -> None:
    place.over("c1")
    place.later(LAST_WORD / 2)
    place.over("c2")
    place.later(LAST_WORD / 2)
    assert [record.call_id for record in place.done("written")] == ["c1"]
    place.later(LAST_WORD / 2)
    assert [record.call_id for record in place.done("written")] == ["c1", "c2"]
    assert len(place.timers) == 0


def test_a_relay_that_is_lost_delays_nothing(place: Place) -> None:
    place.over()
    place.endings.uncounted("c1")
    assert len(place.done("written")) == len(place.done("ended")) == 1
    place.later(LAST_WORD)
    assert len(place.done("written")) == 1
    place.endings.uncounted("unknown")


def test_at_the_end_of_the_exchange_everything_is_written(place: Place) -> None:
    place.over("c1")
    place.over("c2")
    place.endings.close()
    assert {record.call_id for record in place.done("written")} == {"c1", "c2"}
    assert place.endings.counting == {}


def test_what_a_silent_relay_leaves_is_bounded(place: Place) -> None:
    for number in range(MAX_LATE + 2):
        place.over(f"c{number}")
    place.later(LAST_WORD)
    place.said.clear()
    place.endings.counted("c0", HEARD, SAID)
    assert place.said == []
    place.endings.counted(f"c{MAX_LATE}", HEARD, SAID)
    assert len(place.done("written")) == 1
