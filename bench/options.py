"""What the load is told, and what it tells: plain data that crosses between two processes as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Options:
    """Where to, how much. `rate` is calls a second, times are seconds."""

    server: tuple[str, int]
    caller: str = "127.0.0.2"
    caller_port: int = 0
    callee: str = "127.0.0.1"
    callee_port: int = 0
    number: str = "+12025550100"
    callers: int = 1000         # how many numbers the calls come from, in turn
    rate: float = 100.0
    seconds: float = 10.0       # after the warm-up
    warm_up: float = 1.0        # offered and counted as calls, left out of latency and CPU
    hold: float = 0.0
    answer_after: float = 0.0
    settle: float = 0.5         # listened on after the last call: what is still said then was said too late
    patience: float | None = None   # after the last arrival; then what still lives has failed. None: RFC 3261's timers
    audio: bool = False
    apart: int | None = None    # latencies of callers whose number ends in this digit are kept apart
    name: str = ""              # of the server, for the raw data
    raw: str = ""               # file to add one line of JSON a call to, when the run is over
    password: str = ""          # of the callee's registration; empty: he does not register
    watch: list[int] = field(default_factory=list)      # processes whose CPU is read when the warm-up is over

    @classmethod
    def from_json(cls, given: dict[str, Any]) -> Options:
        return cls(**{**given, "server": (given["server"][0], int(given["server"][1]))})


@dataclass
class Figures:
    """What came of it. Calls are all calls, the warm-up's too; what is `counted` came after it. Milliseconds."""

    offered: int = 0
    ok: int = 0
    failed: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    counted: int = 0
    counted_ok: int = 0
    counted_seconds: float = 0.0        # from the first counted arrival to the last end of a call
    without_ringing: int = 0
    ringing_ms: list[float] = field(default_factory=list)
    answered_ms: list[float] = field(default_factory=list)
    apart_ms: list[float] = field(default_factory=list)    # to the 180, of the callers kept apart
    late_ms: list[float] = field(default_factory=list)     # how much later than meant an INVITE left: ours, not theirs
    resent: int = 0             # INVITE and BYE sent again by the caller
    repeated: int = 0           # final responses to INVITE that came again
    stray: int = 0              # responses that belong to no call
    unexpected: dict[str, int] = field(default_factory=dict)
    callee_calls: int = 0
    callee_repeated: int = 0    # INVITE or BYE that the server sent again
    callee_resent: int = 0      # the callee's 200 sent again, because no ACK came
    callee_unacknowledged: int = 0
    callee_open: int = 0        # calls that nobody has ended at the callee's: ghosts
    dropped: int = 0            # packets that the load's own sockets had no room for
    cpu_seconds: float = 0.0    # the load's own, from the end of the warm-up on
    watched_cpu: dict[str, float] = field(default_factory=dict)
    audio: dict[str, Any] = field(default_factory=dict)
