"""A circuit breaker for one hook: after a row of failures it is left alone for a while, so that a dead CRM costs
the first few calls their budget and no other call anything.

    state       input        next        the hook is
    CLOSED      OK           CLOSED      asked and waited for
                FAILED, LATE CLOSED      ... until `threshold` in a row: OPEN or, when the last was late, SLOW
    SLOW        OK           CLOSED      asked but not waited for: its answer still fills in the card
                LATE         SLOW
                FAILED       SLOW        ... until `threshold` in a row: OPEN
    OPEN        COOLED       HALF_OPEN   not asked
    HALF_OPEN   OK           CLOSED      asked once and waited for; everybody else goes on without it
                LATE         SLOW
                FAILED       OPEN        for twice as long as before, up to `longest` seconds

LATE is an answer that did not come within the hook's own deadline. No clock and no timer of its own: `now` comes
in with every call and OPEN ends when somebody asks after its time.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

THRESHOLD = 5
COOL_DOWN = 2.0
LONGEST = 60.0


class State(StrEnum):
    CLOSED = "closed"
    SLOW = "slow"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Input(StrEnum):
    OK = "ok"
    LATE = "late"
    FAILED = "failed"
    COOLED = "cooled"


class Permit(IntEnum):
    """What a call may do with the hook."""

    WAIT = 0
    BACKGROUND = 1
    SKIP = 2


class _Action(StrEnum):
    FORGET = "forget"      # the row of failures is broken
    COUNT = "count"        # one more in the row; at the threshold the state is left
    REST = "rest"          # open for the first time
    REST_LONGER = "rest longer"
    PROBE = "probe"
    NOTHING = "nothing"


_CLOSED, _SLOW, _OPEN, _HALF = State.CLOSED, State.SLOW, State.OPEN, State.HALF_OPEN

_TABLE: dict[tuple[State, Input], tuple[State, _Action]] = {
    (_CLOSED, Input.OK): (_CLOSED, _Action.FORGET),
    (_CLOSED, Input.LATE): (_CLOSED, _Action.COUNT),
    (_CLOSED, Input.FAILED): (_CLOSED, _Action.COUNT),
    (_SLOW, Input.OK): (_CLOSED, _Action.FORGET),
    (_SLOW, Input.LATE): (_SLOW, _Action.FORGET),
    (_SLOW, Input.FAILED): (_SLOW, _Action.COUNT),
    (_OPEN, Input.COOLED): (_HALF, _Action.PROBE),
    (_HALF, Input.OK): (_CLOSED, _Action.FORGET),
    (_HALF, Input.LATE): (_SLOW, _Action.FORGET),
    (_HALF, Input.FAILED): (_OPEN, _Action.REST_LONGER),
}
# No row, no effect: an answer to a question asked before the breaker opened says nothing about the hook now.

# At the threshold of a row of failures: where to, by what the last one was.
_FULL: dict[tuple[State, Input], tuple[State, _Action]] = {
    (_CLOSED, Input.LATE): (_SLOW, _Action.FORGET),
    (_CLOSED, Input.FAILED): (_OPEN, _Action.REST),
    (_SLOW, Input.FAILED): (_OPEN, _Action.REST),
}


class Breaker:
    """`permit(now)` before asking, `note(input, now)` afterwards; `now` in seconds of any one monotonic clock."""

    __slots__ = ("_cool_down", "_first", "_longest", "_open_until", "_row", "_threshold", "opened", "state")

    def __init__(self, threshold: int = THRESHOLD, cool_down: float = COOL_DOWN, longest: float = LONGEST) -> None:
        self.state = _CLOSED
        self.opened = 0           # how often it opened, for the panel
        self._threshold = threshold
        self._first = cool_down
        self._longest = longest
        self._cool_down = cool_down
        self._open_until = 0.0
        self._row = 0

    def permit(self, now: float) -> Permit:
        """May a call ask the hook now, and wait for it?"""
        state = self.state
        if state is _CLOSED:
            return Permit.WAIT
        if state is _SLOW:
            return Permit.BACKGROUND
        if now < self._open_until:
            return Permit.SKIP
        if state is _HALF:  # the probe never came back: the next call is one
            self._open_until = now + self._cool_down
            return Permit.WAIT
        self.note(Input.COOLED, now)
        return Permit.WAIT

    def note(self, happened: Input, now: float) -> None:
        row = _TABLE.get((self.state, happened))
        if row is None:
            return
        if row[1] is _Action.COUNT:
            self._row += 1
            if self._row >= self._threshold:
                row = _FULL[self.state, happened]
        self.state, action = row
        if action is _Action.FORGET:
            self._row = 0
            if self.state is _CLOSED:
                self._cool_down = self._first
        elif action is _Action.REST:
            self._rest(self._first, now)
        elif action is _Action.REST_LONGER:
            self._rest(min(self._cool_down * 2, self._longest), now)
        elif action is _Action.PROBE:
            self._open_until = now + self._cool_down

    def _rest(self, cool_down: float, now: float) -> None:
        self._row = 0
        self.opened += 1
        self._cool_down = cool_down
        self._open_until = now + cool_down
