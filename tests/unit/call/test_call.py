"""A call's state: what each input does to it, what follows, and what the record says."""

from __future__ import annotations

import pytest

from pbxcore.call import inputs
from pbxcore.call.call import NOTHING, TELL, TRANSITIONS, WRITE, Call, replay
from pbxcore.call.inputs import Input
from pbxcore.hooks import CallState, Disposition, IncomingCall, LegSnapshot, StreamStats

OFFERED = IncomingCall("c1", "+15557777", "+15550100", "inbound", 100.0, caller_name="Eve", trunk="carrier")


def played(*happened: Input, offered: IncomingCall = OFFERED) -> Call:
    call = Call(offered)
    for one in happened:
        call.apply(one)
    return call


ROUTED = (inputs.Asked(100.1), inputs.Decided(100.2, "embedded CRM", 1.5, "Anna", "42", "Be nice", ("vip",)))
RINGING = (*ROUTED, inputs.LegDialed(100.3, "b1", "101", "101"), inputs.LegRang(100.4, "b1"))
UP = (*RINGING, inputs.LegAnswered(105.0, "b1"))


def test_an_answered_call_from_arrival_to_record() -> None:
    call = played(*UP, inputs.Released(165.0, "caller", 200, "Normal Clearing"), inputs.Cleared(165.1))
    record = call.snapshot()
    assert record.state is CallState.ENDED
    assert record.disposition is Disposition.ANSWERED
    assert (record.arrived_at, record.ringing_at, record.answered_at, record.ended_at) == (100.0, 100.4, 105.0, 165.1)
    assert (record.answered_by, record.hung_up_by, record.status) == ("101", "caller", 200)
    assert (record.display_name, record.contact_id, record.instructions) == ("Anna", "42", "Be nice")
    assert (record.tags, record.decided_by, record.lookup_ms) == (("vip",), "embedded CRM", 1.5)
    assert record.legs == (
        LegSnapshot("trunk:carrier", "a", "ended", "+15557777", 100.0, None, 105.0, 165.1, None),
        LegSnapshot("101", "b", "ended", "101", 100.3, 100.4, 105.0, 165.1, 200),
    )


@pytest.mark.parametrize(
    ("happened", "state", "effect"),
    [
        ((), CallState.ROUTING, NOTHING),
        (ROUTED[:1], CallState.DIALING, WRITE | TELL),
        (ROUTED, CallState.DIALING, NOTHING),
        (RINGING[:3], CallState.RINGING, TELL),
        (RINGING, CallState.ANSWERED, WRITE | TELL),
        (UP, CallState.HELD, TELL),
        ((*UP, inputs.LegHeld(1.0, "a")), CallState.ANSWERED, TELL),
        (UP, CallState.RELEASING, NOTHING),
        ((*UP, inputs.Released(1.0, "caller", 200, "")), CallState.ENDED, WRITE | TELL),
    ],
)
def test_what_follows(happened: tuple[Input, ...], state: CallState, effect: int) -> None:
    following: dict[tuple[CallState, CallState], Input] = {
        (CallState.ARRIVED, CallState.ROUTING): inputs.Asked(1.0),
        (CallState.ROUTING, CallState.DIALING): inputs.Decided(1.0, "dial plan"),
        (CallState.DIALING, CallState.DIALING): inputs.LegDialed(1.0, "b9", "102", "102"),
        (CallState.DIALING, CallState.RINGING): inputs.LegRang(1.0, "b1"),
        (CallState.RINGING, CallState.ANSWERED): inputs.LegAnswered(1.0, "b1"),
        (CallState.ANSWERED, CallState.HELD): inputs.LegHeld(1.0, "a"),
        (CallState.HELD, CallState.ANSWERED): inputs.LegRetrieved(1.0, "a"),
        (CallState.ANSWERED, CallState.RELEASING): inputs.Released(1.0, "callee", 200, ""),
        (CallState.RELEASING, CallState.ENDED): inputs.Cleared(1.0),
    }
    call = played(*happened)
    assert call.apply(following[call.state, state]) == effect
    assert call.state is state


def test_an_input_without_a_row_changes_nothing() -> None:
    call = played(*UP)
    before = (call.snapshot(), list(call.history))
    for late in (
        inputs.Asked(9.0), inputs.Decided(9.0, "x"), inputs.LegAnswered(9.0, "b1"), inputs.LegRetrieved(9.0, "a"),
        inputs.Cleared(9.0),
        inputs.Counted(9.0, StreamStats(), StreamStats()),
    ):  # fmt: skip
        assert call.apply(late) == NOTHING
    assert (call.snapshot(), call.history) == before


def test_an_input_of_no_leg_of_ours_changes_nothing() -> None:
    call = played(*RINGING)
    before = call.snapshot()
    for kind in (inputs.LegRang, inputs.LegAnswered):
        assert call.apply(kind(9.0, "b7")) == NOTHING
    assert call.apply(inputs.LegFailed(9.0, "b7", 486)) == NOTHING
    assert call.snapshot() == before


def test_a_label_is_dialed_once() -> None:
    call = played(*RINGING, inputs.LegDialed(9.0, "b1", "102", "102"), inputs.LegDialed(9.0, "a", "102", "102"))
    assert [leg.party for leg in call.legs.values()] == ["trunk:carrier", "101"]


def test_the_first_ring_counts() -> None:
    call = played(*RINGING, inputs.LegDialed(101.0, "b2", "102", "102"), inputs.LegRang(102.0, "b2"),
                  inputs.LegRang(103.0, "b1"))  # fmt: skip
    assert call.ringing_at == 100.4
    assert [leg.ringing_at for leg in call.legs.values()] == [None, 100.4, 102.0]


def test_the_first_failure_of_a_leg_counts() -> None:
    call = played(*RINGING, inputs.LegFailed(103.0, "b1", 486), inputs.LegFailed(104.0, "b1", 487))
    assert (call.legs["b1"].status, call.legs["b1"].ended_at) == (486, 103.0)


def test_both_sides_hold() -> None:
    call = played(*UP, inputs.LegHeld(1.0, "a"), inputs.LegHeld(2.0, "b1"))
    assert [leg.state for leg in call.legs.values()] == ["held", "held"]
    call.apply(inputs.LegRetrieved(3.0, "a"))
    assert call.state is CallState.HELD
    call.apply(inputs.LegRetrieved(4.0, "b1"))
    assert call.state is CallState.ANSWERED


@pytest.mark.parametrize(
    ("by", "status", "expected"),
    [
        ("caller", 487, Disposition.CANCELLED),
        ("callee", 486, Disposition.BUSY),
        ("callee", 600, Disposition.BUSY),
        ("callee", 480, Disposition.NO_ANSWER),
        ("exchange", 480, Disposition.NO_ANSWER),
        ("callee", 408, Disposition.NO_ANSWER),
        ("callee", 603, Disposition.REJECTED),
        ("callee", 403, Disposition.REJECTED),
        ("callee", 607, Disposition.REJECTED),
        ("callee", 404, Disposition.FAILED),
        ("callee", 488, Disposition.FAILED),
        ("exchange", 500, Disposition.FAILED),
    ],
)
def test_the_disposition_of_a_call_that_nobody_took(by: inputs.HungUpBy, status: int, expected: Disposition) -> None:
    call = played(*RINGING, inputs.Released(110.0, by, status, "why"))
    assert call.disposition is expected
    call.apply(inputs.Cleared(110.1))
    assert call.snapshot().disposition is expected
    assert call.snapshot().reason == "why"


def test_a_call_is_open_until_it_is_over() -> None:
    call = Call(OFFERED)
    for happened in (*UP, inputs.Released(165.0, "caller", 200, "")):
        assert call.disposition is Disposition.OPEN
        call.apply(happened)
    assert call.disposition is Disposition.OPEN
    call.apply(inputs.Cleared(165.1))
    assert call.disposition is Disposition.ANSWERED


def test_the_relay_s_last_word_comes_after_the_end() -> None:
    call = played(*UP, inputs.Released(165.0, "caller", 200, ""), inputs.Cleared(165.1))
    heard, said = StreamStats(10, 1720, 0, 0.5), StreamStats(11, 1892, 1, 0.7)
    assert call.apply(inputs.Counted(166.0, heard, said)) == WRITE
    assert (call.snapshot().from_a, call.snapshot().from_b) == (heard, said)
    assert call.state is CallState.ENDED


@pytest.mark.parametrize(
    ("offered", "party"),
    [
        (OFFERED, "trunk:carrier"),
        (IncomingCall("c", "101", "102", "internal", 0.0, extension="101"), "101"),
        (IncomingCall("c", "eve", "102", "inbound", 0.0), "eve"),
    ],
)
def test_whose_leg_a_is(offered: IncomingCall, party: str) -> None:
    assert Call(offered).legs["a"].party == party


def test_the_history_makes_the_record_again() -> None:
    call = played(*UP, inputs.LegHeld(110.0, "b1"), inputs.Asked(111.0), inputs.Released(165.0, "callee", 200, ""))
    assert len(call.history) == len(UP) + 2
    again = replay(OFFERED, call.history)
    assert again.snapshot() == call.snapshot()
    assert again.history == call.history


def test_every_kind_of_input_has_a_row() -> None:
    kinds = {kind for kind in vars(inputs).values() if isinstance(kind, type) and issubclass(kind, Input)}
    assert {kind for _, kind in TRANSITIONS} == kinds - {Input, inputs.OfLeg}
