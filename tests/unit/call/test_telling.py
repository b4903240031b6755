"""Inputs as the bus is told of them."""

from __future__ import annotations

import pytest

from pbxcore import events
from pbxcore.call import inputs
from pbxcore.call.call import TELL, TRANSITIONS, Call
from pbxcore.call.inputs import Input
from pbxcore.call.telling import event_of, originated
from pbxcore.hooks import IncomingCall, StreamStats

OFFERED = IncomingCall("c1", "101", "102", "internal", 50.0, extension="101")


@pytest.fixture
def call() -> Call:
    call = Call(OFFERED)
    call.apply(inputs.Decided(1.0, "dial plan"))
    call.apply(inputs.LegDialed(2.0, "b1", "102", "102"))
    return call


@pytest.mark.parametrize(
    ("happened", "event"),
    [
        (inputs.Decided(3.0, "my hook"), events.Routed(3.0, "c1", "my hook")),
        (inputs.LegRang(3.0, "b1"), events.Delivered(3.0, "c1", "102")),
        (inputs.LegFailed(3.0, "b1", 486), events.Failed(3.0, "c1", "102", 486)),
        (inputs.LegAnswered(3.0, "b1"), events.Established(3.0, "c1", "102")),
        (inputs.LegHeld(3.0, "a"), events.Held(3.0, "c1", "101")),
        (inputs.LegRetrieved(3.0, "a"), events.Retrieved(3.0, "c1", "101")),
        (inputs.Asked(3.0), None),
        (inputs.LegDialed(3.0, "b2", "103", "103"), None),
        (inputs.Counted(3.0, StreamStats(), StreamStats()), None),
    ],
)
def test_each_input(call: Call, happened: Input, event: events.Event | None) -> None:
    assert event_of(call, happened) == event


def test_the_end_brings_the_snapshot(call: Call) -> None:
    call.apply(inputs.Released(8.0, "caller", 200, "Normal Clearing"))
    call.apply(inputs.Cleared(9.0))
    told = event_of(call, call.history[-1])
    assert told == events.ConnectionCleared(9.0, "c1", call.snapshot())


def test_arrival(call: Call) -> None:
    assert originated(call) == events.Originated(50.0, "c1", "101", "102")


@pytest.mark.parametrize(
    ("happened", "event"),
    [
        (inputs.LegDialed(4.0, "b2", "103", "103"), events.TransferBegan(4.0, "c1", "103")),
        (inputs.LegJoined(4.0, "b2", "103", "103", 3.0), events.TransferBegan(4.0, "c1", "103")),
        (inputs.LegLeft(4.0, "b1"), events.LeftCall(4.0, "c1", "102")),
    ],
)
def test_a_transfer_begins(call: Call, happened: Input, event: events.Event) -> None:
    call.apply(inputs.LegAnswered(3.0, "b1"))
    call.apply(happened)
    assert event_of(call, happened) == event


def test_somebody_takes_anothers_place(call: Call) -> None:
    """Diverted while it rang there, transferred once that one had answered."""
    took = inputs.Transferred(5.0, "b2", "b1", "104")
    call.apply(inputs.LegJoined(4.0, "b2", "103", "103", 3.0))
    assert event_of(call, took) == events.Diverted(5.0, "c1", "103", "102")
    call.apply(inputs.LegAnswered(4.5, "b1"))
    assert event_of(call, took) == events.Transferred(5.0, "c1", "103", "102", "104")


def test_a_call_that_another_has_taken_in_is_over(call: Call) -> None:
    call.apply(absorbed := inputs.Absorbed(5.0, "c0"))
    told = event_of(call, absorbed)
    assert isinstance(told, events.ConnectionCleared)
    assert told.call.merged_into == "c0"


def test_whatever_is_to_be_told_has_an_event(call: Call) -> None:
    call.apply(inputs.LegAnswered(3.0, "b1"))
    told = {kind for (_, kind), (_, effect) in TRANSITIONS.items() if effect & TELL}
    made = {
        inputs.Decided: inputs.Decided(3.0, "x"), inputs.LegRang: inputs.LegRang(3.0, "a"),
        inputs.LegFailed: inputs.LegFailed(3.0, "a", 1), inputs.LegAnswered: inputs.LegAnswered(3.0, "a"),
        inputs.LegHeld: inputs.LegHeld(3.0, "a"), inputs.LegRetrieved: inputs.LegRetrieved(3.0, "a"),
        inputs.Cleared: inputs.Cleared(3.0), inputs.LegDialed: inputs.LegDialed(3.0, "a", "", ""),
        inputs.LegJoined: inputs.LegJoined(3.0, "a", "", "", 1.0), inputs.LegLeft: inputs.LegLeft(3.0, "a"),
        inputs.Transferred: inputs.Transferred(3.0, "b1", "a", ""), inputs.Absorbed: inputs.Absorbed(3.0, "c0"),
    }  # fmt: skip
    assert told == set(made)
    assert all(event_of(call, happened) is not None for happened in made.values())
