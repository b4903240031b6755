"""What agents say of themselves, and the time that they write their summary in: ready, not ready, after-call work.

After-call work begins when an agent's answered call is over, and ends with its summary or when the time is up. It is of
an extension and a call, so that a call that went through several hands is each one's own. Nothing happens on the path
of a call that is being set up: a queue asks when it looks for somebody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from pbxcore.call.call import Call, Leg
from pbxcore.control import AgentState
from pbxcore.sip.timers import Timers

LAMP_STATES: Mapping[str, tuple[AgentState, ...]] = {     # by `crm.agent_lamp`
    "never": (),
    "wrap-up": ("after-call work",),
    "not-ready": ("after-call work", "not ready"),
}
AT_ONCE = 1.0    # seconds: legs end one after the other


class AgentStates:
    """`seconds` is how long after-call work lasts at most; 0: there is none. `changed` is told of every extension whose
    state is another one now; `known` says which party of a call is an extension."""

    def __init__(
        self,
        timers: Timers,
        clock: Callable[[], float],
        seconds: float,
        changed: Callable[[str, AgentState], None],
        known: Callable[[str], bool],
    ) -> None:
        self._timers = timers
        self._clock = clock
        self.seconds = seconds
        self.changed = changed
        self._known = known
        self._away: set[str] = set()
        self._writing: dict[str, dict[str, float]] = {}    # extension -> call -> until when

    def state(self, extension: str) -> AgentState:
        if extension in self._away:
            return "not ready"
        return "after-call work" if self._writing.get(extension) else "ready"

    def ready(self, extension: str) -> bool:
        return extension not in self._away and extension not in self._writing

    def say(self, extension: str, state: AgentState) -> None:
        """What the agent, or his supervisor, says. Who is ready has finished writing, too."""
        before = self.state(extension)
        if state == "not ready":
            self._away.add(extension)
        else:
            self._away.discard(extension)
            self._writing.pop(extension, None)
            if state == "after-call work":
                self._begin(extension, "")
        self._tell(extension, before)

    def left(self, call: Call, legs: Iterable[Leg]) -> None:
        """These legs of a call with somebody outside are over, or have given their place away. Who left it before
        is not asked to write again."""
        if not self.seconds or call.offered.direction == "internal":
            return
        over = call.ended_at or 0.0
        for leg in legs:
            if (leg.answered_at is None and leg.label != "a") or not call.answered_at or not self._known(leg.party):
                continue
            if over and leg.ended_at is not None and leg.ended_at < over - AT_ONCE:
                continue
            before = self.state(leg.party)
            self._begin(leg.party, call.offered.call_id)
            self._tell(leg.party, before)

    def written(self, call_id: str) -> None:
        """The summary of a call is stored: nobody has to write about it any more."""
        for extension in [one for one, calls in self._writing.items() if call_id in calls]:
            self._end(extension, call_id)

    def on_timer(self, name: str, now: float) -> None:
        extension, _, call_id = name.partition(" ")
        until = self._writing.get(extension, {}).get(call_id)
        if until is not None and until <= now:
            self._end(extension, call_id)

    def _begin(self, extension: str, call_id: str) -> None:
        until = self._clock() + (self.seconds or 60.0)
        self._writing.setdefault(extension, {})[call_id] = until
        self._timers.start(until, self, f"{extension} {call_id}")

    def _end(self, extension: str, call_id: str) -> None:
        before = self.state(extension)
        calls = self._writing.get(extension, {})
        calls.pop(call_id, None)
        if not calls:
            self._writing.pop(extension, None)
        self._tell(extension, before)

    def _tell(self, extension: str, before: AgentState) -> None:
        now = self.state(extension)
        if now != before:
            self.changed(extension, now)
