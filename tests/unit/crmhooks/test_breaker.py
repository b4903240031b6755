"""The circuit breaker, row by row; time is a number handed in."""

from __future__ import annotations

import pytest

from crmhooks import breaker
from crmhooks.breaker import Breaker, Input, Permit, State

LATE, FAILED, OK = Input.LATE, Input.FAILED, Input.OK


def make(state: State) -> Breaker:
    """A breaker with threshold 3 in this state at time 0; open ones may be probed from 10 on."""
    made = Breaker(threshold=3, cool_down=10, longest=35)
    for happened in {
        State.CLOSED: (), State.SLOW: (LATE,) * 3, State.OPEN: (FAILED,) * 3, State.HALF_OPEN: (FAILED,) * 3
    }[state]:  # fmt: skip
        made.note(happened, 0)
    if state is State.HALF_OPEN:
        made.note(Input.COOLED, 10)
    assert made.state is state
    return made


@pytest.mark.parametrize(
    ("state", "happened", "then"),
    [
        (State.CLOSED, (OK,), State.CLOSED),
        (State.CLOSED, (FAILED, FAILED), State.CLOSED),
        (State.CLOSED, (FAILED, FAILED, FAILED), State.OPEN),
        (State.CLOSED, (FAILED, FAILED, OK, FAILED, FAILED), State.CLOSED),
        (State.CLOSED, (FAILED, FAILED, LATE), State.SLOW),
        (State.CLOSED, (LATE, LATE, FAILED), State.OPEN),
        (State.SLOW, (OK,), State.CLOSED),
        (State.SLOW, (LATE,) * 9, State.SLOW),
        (State.SLOW, (FAILED, FAILED), State.SLOW),
        (State.SLOW, (FAILED, FAILED, LATE, FAILED), State.SLOW),
        (State.SLOW, (FAILED, FAILED, FAILED), State.OPEN),
        (State.OPEN, (OK, LATE, FAILED), State.OPEN),
        (State.HALF_OPEN, (OK,), State.CLOSED),
        (State.HALF_OPEN, (LATE,), State.SLOW),
        (State.HALF_OPEN, (FAILED,), State.OPEN),
        (State.CLOSED, (Input.COOLED,), State.CLOSED),
    ],
)
def test_the_table(state: State, happened: tuple[Input, ...], then: State) -> None:
    made = make(state)
    for one in happened:
        made.note(one, 20)
    assert made.state is then


@pytest.mark.parametrize(
    ("state", "permit"),
    [
        (State.CLOSED, Permit.WAIT),
        (State.SLOW, Permit.BACKGROUND),
        (State.OPEN, Permit.SKIP),
        (State.HALF_OPEN, Permit.SKIP),
    ],
)
def test_what_a_call_may_do(state: State, permit: Permit) -> None:
    assert make(state).permit(9.9 if state is State.OPEN else 10) is permit


def test_one_probe_after_the_cool_down_and_nobody_else() -> None:
    made = make(State.OPEN)
    assert [made.permit(10), made.permit(10), made.permit(19)] == [Permit.WAIT, Permit.SKIP, Permit.SKIP]


def test_a_probe_that_never_comes_back_does_not_close_the_door_for_ever() -> None:
    made = make(State.OPEN)
    assert made.permit(10) is Permit.WAIT
    assert made.permit(20) is Permit.WAIT
    assert made.permit(20) is Permit.SKIP


def test_rests_twice_as_long_after_each_failed_probe_up_to_the_longest() -> None:
    made = make(State.OPEN)
    rests, now = [], 10
    made.permit(now)
    for _ in range(4):
        made.note(FAILED, now)
        rest = next(seconds for seconds in range(1, 100) if made.permit(now + seconds) is Permit.WAIT)
        rests.append(rest)
        now += rest
    assert rests == [20, 35, 35, 35]
    made.note(OK, now)
    for _ in range(3):
        made.note(FAILED, now)
    assert made.permit(now + 9) is Permit.SKIP
    assert made.permit(now + 10) is Permit.WAIT, "the first rest is short again"


def test_counts_how_often_it_opened() -> None:
    made = make(State.OPEN)
    made.permit(10)
    made.note(FAILED, 10)
    assert made.opened == 2


def test_every_state_knows_every_answer_but_open() -> None:
    """While it rests nothing is asked: what still comes in was asked before and says nothing about now."""
    for state in State:
        for happened in (OK, LATE, FAILED):
            assert ((state, happened) in breaker._TABLE) is (state is not State.OPEN)
    for state, happened in breaker._TABLE:
        if breaker._TABLE[state, happened][1] is breaker._Action.COUNT:
            assert (state, happened) in breaker._FULL
