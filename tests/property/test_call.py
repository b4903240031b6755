"""Calls and routes from anywhere: no sequence of inputs breaks a call, no decision and no dial plan breaks a route."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pbxcore.call import inputs
from pbxcore.call.call import NOTHING, TELL, TRANSITIONS, WRITE, Call, replay
from pbxcore.call.inputs import Input
from pbxcore.call.router import (
    MAX_OTHERWISE,
    DialPlan,
    ExtensionEntry,
    OutboundRule,
    Redirection,
    Refusal,
    Round,
    asks_crm,
    default_target,
    plan,
)
from pbxcore.hooks import (
    CallState,
    Decision,
    Dial,
    Disposition,
    IncomingCall,
    Ivr,
    Play,
    Proceed,
    Queue,
    Redirect,
    Reject,
    Ring,
    StreamStats,
    Voicemail,
)

# ---- the call

times = st.floats(min_value=0, max_value=1e10, allow_nan=False)
labels = st.sampled_from(["a", "b1", "b2", "b3", "nobody"])
statuses = st.sampled_from([200, 302, 403, 404, 408, 480, 486, 487, 488, 500, 503, 600, 603, 607])
texts = st.text(max_size=5)
happenings: st.SearchStrategy[Input] = st.one_of(
    st.builds(inputs.Asked, times),
    st.builds(inputs.Decided, times, texts, st.none() | times, st.none() | texts, st.none() | texts, st.none() | texts),
    st.builds(inputs.LegDialed, times, labels, texts, texts),
    st.builds(inputs.LegRang, times, labels),
    st.builds(inputs.LegFailed, times, labels, statuses),
    st.builds(inputs.LegAnswered, times, labels),
    st.builds(inputs.LegHeld, times, labels),
    st.builds(inputs.LegRetrieved, times, labels),
    st.builds(inputs.LegLeft, times, labels),
    st.builds(inputs.LegJoined, times, labels, texts, texts, times, st.none() | times, st.none() | times),
    st.builds(inputs.Transferred, times, labels, labels, texts),
    st.builds(inputs.Absorbed, times, texts),
    st.builds(inputs.Released, times, st.sampled_from(["caller", "callee", "exchange"]), statuses, texts),
    st.builds(inputs.Cleared, times),
    st.builds(inputs.Counted, times, st.just(StreamStats()), st.just(StreamStats(1, 2, 3, 4.0))),
)
# Mere chance never gets a call as far as this.
AS_IT_SHOULD_BE: list[Input] = [
    inputs.Asked(1.0), inputs.Decided(2.0, "hook"), inputs.LegDialed(3.0, "b1", "101", "101"),
    inputs.LegDialed(3.0, "b2", "102", "102"), inputs.LegRang(4.0, "b1"), inputs.LegAnswered(5.0, "b1"),
    inputs.LegFailed(5.0, "b2", 487), inputs.LegHeld(6.0, "a"), inputs.LegRetrieved(7.0, "a"),
    inputs.Released(8.0, "caller", 200, "Normal Clearing"), inputs.Cleared(9.0),
]  # fmt: skip
OFFERED = st.sampled_from(
    [
        IncomingCall("c", "+1555", "101", "inbound", 0.0, trunk="carrier"),
        IncomingCall("c", "101", "102", "internal", 0.0, extension="101"),
        IncomingCall("c", "101", "9555", "outbound", 0.0, extension="101"),
    ]
)


@st.composite
def histories(draw: st.DrawFn) -> list[Input]:
    """A call as it should be, up to some point, with things happening that should not."""
    history: list[Input] = []
    for happened in AS_IT_SHOULD_BE[: draw(st.integers(0, len(AS_IT_SHOULD_BE)))]:
        history += draw(st.lists(happenings, max_size=2))
        history.append(happened)
    return history + draw(st.lists(happenings, max_size=8))


def consistent(call: Call) -> None:
    record = call.snapshot()
    ended = record.state is CallState.ENDED
    assert (record.ended_at is not None) == ended
    assert len(record.legs) == len(call.legs)
    assert record.legs[0].side == "a"
    assert all(leg.side == "b" for leg in record.legs[1:] if leg.transferred_by is None)
    if ended:
        assert record.disposition is not Disposition.OPEN
        assert all(leg.state == "ended" for leg in record.legs)
        assert record.hung_up_by is not None
    if record.state in (CallState.ANSWERED, CallState.HELD):
        assert record.disposition is Disposition.OPEN
    assert (record.disposition is Disposition.ANSWERED) == (ended and record.answered_at is not None)
    assert (record.answered_at is None) == (record.answered_by is None)
    held = any(leg.held for leg in call.legs.values())
    if record.state is CallState.ANSWERED:
        assert not held
    if record.state is CallState.HELD:
        assert held
    if record.disposition is Disposition.CANCELLED:
        assert record.hung_up_by == "caller"


@given(OFFERED, histories())
def test_no_sequence_of_inputs_breaks_a_call(offered: IncomingCall, history: list[Input]) -> None:
    call = Call(offered)
    for happened in history:
        before, known = call.state, len(call.history)
        effect = call.apply(happened)
        assert effect & ~(WRITE | TELL) == 0
        if before is CallState.ENDED:
            assert call.state is CallState.ENDED
        if effect == NOTHING and len(call.history) == known:
            assert call.state is before
        else:
            assert (before, type(happened)) in TRANSITIONS
            assert call.history[-1] is happened
        consistent(call)


@given(OFFERED, histories())
def test_the_history_makes_the_same_record_again(offered: IncomingCall, history: list[Input]) -> None:
    call = Call(offered)
    for happened in history:
        call.apply(happened)
    again = replay(offered, call.history)
    assert again.snapshot() == call.snapshot()
    assert again.history == call.history
    assert [leg.held for leg in again.legs.values()] == [leg.held for leg in call.legs.values()]


@given(OFFERED, histories())
def test_what_has_no_effect_on_the_record_is_never_written(offered: IncomingCall, history: list[Input]) -> None:
    """And what is written differs from what was written before it."""
    call = Call(offered)
    written = call.snapshot()
    for happened in history:
        if call.apply(happened) & WRITE:
            now = call.snapshot()
            assert now != written
            written = now


def sample(kind: type[Input], label: str) -> Input:
    """One of this kind; those about a leg are about `label`."""
    made: dict[type[Input], tuple[Any, ...]] = {
        inputs.Decided: ("hook",), inputs.Named: ("Anna",), inputs.LegDialed: ("b2", "102", "102"),
        inputs.LegFailed: (label, 486),
        inputs.LegJoined: ("b2", "102", "102", 1.0), inputs.Transferred: ("b2", "a", "101"), inputs.Absorbed: ("c0",),
        inputs.Released: ("callee", 486, "Busy"), inputs.Counted: (StreamStats(), StreamStats()),
    }  # fmt: skip
    arguments = made.get(kind, (label,) if issubclass(kind, inputs.OfLeg) else ())
    return kind(1.0, *arguments)


def test_every_row_is_reached() -> None:
    """Breadth first from ARRIVED: each row of the table is taken by some sequence of inputs."""
    kinds = sorted({kind for _, kind in TRANSITIONS}, key=lambda kind: kind.__name__)
    offered = IncomingCall("c", "+1555", "101", "inbound", 0.0)
    taken: set[tuple[CallState, type[Input]]] = set()
    edge: list[list[Input]] = [[]]
    for _ in range(9):
        following: list[list[Input]] = []
        for history, kind, label in itertools.product(edge, kinds, ("a", "b2")):
            call = replay(offered, history)
            row = (call.state, kind)
            if row in taken or row not in TRANSITIONS:
                continue
            known = len(call.history)
            call.apply(sample(kind, label))
            if len(call.history) > known:
                taken.add(row)
                following.append(call.history)
        edge = following
    assert taken == set(TRANSITIONS)


def test_every_state_is_reached_and_left() -> None:
    after = {state for state, _ in TRANSITIONS.values()}
    assert after | {CallState.ARRIVED} == set(CallState)
    left = {state for (state, _), (then, _) in TRANSITIONS.items() if then is not state}
    assert left == set(CallState) - {CallState.ENDED}


# ---- the route

EXTENSIONS = ["101", "102", "103", "112"]
TRUNKS = ["carrier", "second"]
dialed = st.sampled_from([*EXTENSIONS, "+15550100", "9+15553333", "9", "", "0", "404", "*97", "+"])
numbers = dialed | st.text(max_size=6)
uris = st.sampled_from(["sip:a@b", "tel:+1", "", "x", "sip:a b"]) | st.text(max_size=8)
alerts = st.none() | st.text(max_size=10)
leaves: st.SearchStrategy[Decision] = st.one_of(
    st.builds(Proceed),
    st.builds(Queue, texts),
    st.builds(Ivr, texts),
    st.builds(Voicemail, texts),
    st.builds(Play, texts),
)


def wider(inner: st.SearchStrategy[Decision]) -> st.SearchStrategy[Decision]:
    then = st.none() | inner
    return st.one_of(
        st.builds(
            Ring,
            st.lists(st.sampled_from([*EXTENSIONS, "999", ""]), max_size=5).map(tuple),
            st.sampled_from(["all", "in_order"]),
            st.floats(),
            otherwise=then,
            display_name=alerts,
        ),
        st.builds(Dial, numbers, st.none() | st.sampled_from([*TRUNKS, "none"]), otherwise=then),
        st.builds(Reject, st.integers(-1000, 10_000), texts, otherwise=then),
        st.builds(Redirect, uris, otherwise=then),
        st.builds(Proceed, otherwise=then),
    )


decisions = st.none() | st.recursive(leaves, wider, max_leaves=12)
plans = st.builds(
    DialPlan,
    extensions=st.lists(st.sampled_from(EXTENSIONS)).map(lambda found: {n: ExtensionEntry(n) for n in found}),
    inbound=st.dictionaries(st.sampled_from(["15550100", "*", ""]), st.sampled_from([*EXTENSIONS, "999"])),
    outbound=st.lists(
        st.builds(
            OutboundRule,
            st.sampled_from(["", "9", "0", "112"]),
            st.integers(0, 4),
            st.sampled_from(["", "+1"]),
            st.lists(st.sampled_from(TRUNKS), max_size=3).map(tuple),
        ),
        max_size=4,
    ).map(tuple),
    trunks=st.frozensets(st.sampled_from(TRUNKS)),
)
calls = st.builds(
    IncomingCall, st.just("c"), numbers, numbers, st.sampled_from(["inbound", "internal", "outbound"]), st.just(0.0)
)


@settings(max_examples=300)
@given(calls, decisions, plans)
def test_a_route_is_total(call: IncomingCall, decision: Decision | None, dial_plan: DialPlan) -> None:
    steps = plan(call, decision, dial_plan)
    assert 0 < len(steps) <= MAX_OTHERWISE * 5 + 3
    for place, step in enumerate(steps):
        match step:
            case Round():
                assert step.targets
                assert 0 < step.timeout <= MAX_OTHERWISE * 3600 + 60
                for target in step.targets:
                    known = target.trunk is not None or target.number in dial_plan.extensions
                    assert known, target
                    assert target.number or target.trunk is None
            case Refusal():
                assert place == len(steps) - 1
                assert 400 <= step.status < 700
                assert step.status not in (401, 407)
            case Redirection():
                assert place == len(steps) - 1
                assert not set(step.uri) & set(' <>"\r\n')
    for one, other in itertools.pairwise(steps):
        if isinstance(one, Round) and isinstance(other, Round) and not other.only_on_trouble:
            assert one.targets != other.targets, "two rounds in a row that ring the same phones"
    assert plan(call, decision, dial_plan) == steps


@given(calls, plans)
def test_the_dial_plan_puts_nobody_from_outside_through_to_a_carrier(call: IncomingCall, dial_plan: DialPlan) -> None:
    if call.direction != "inbound":
        return
    for step in plan(call, None, dial_plan):
        if isinstance(step, Round):
            assert all(target.trunk is None for target in step.targets)


@given(calls, plans)
def test_asking_and_target_agree(call: IncomingCall, dial_plan: DialPlan) -> None:
    target = default_target(call, dial_plan)
    assert asks_crm(call, dial_plan)   # no extension here is under first-party control
    if call.direction != "inbound" and target is not None:
        assert target in dial_plan.extensions
