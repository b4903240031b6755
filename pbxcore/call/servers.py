"""The servers of one trunk, and how they are doing: RFC 3263 section 4.3, RFC 3261 section 21.5.4.

Which of them comes first is the DNS's word, and the order of the settings file; which is passed over is ours: one that
answers no probes is down, one that failed a call or said 503 is tried last for a while. Pure: times come in, and so
does chance. Who probes is `qualify`, who looks names up is `net.resolver`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from pbxcore.sip.location import Choice, Located, Server

AVOID_SECONDS = 30.0         # after a failure that says nothing of how long it lasts
LONGEST_AVOID = 600.0        # a Retry-After beyond this is not believed

Key = tuple[str, tuple[str, int]]
"""Transport and remote address, as a flow has them."""


@dataclass(slots=True)
class Health:
    """What is known of one server; times are monotonic seconds."""

    missed: int = 0              # probes in a row that nobody answered
    down: bool = False
    avoid_until: float = 0.0
    reason: str = ""             # why it is down or avoided, in words


class Servers:
    """All of them; `down_after` is how many probes must be missed, in a row."""

    def __init__(self, down_after: int = 3) -> None:
        self.down_after = down_after
        self.told: Callable[[], None] | None = None   # called when one goes down or comes back
        self._located: tuple[Located, ...] = ()
        self._health: dict[Key, Health] = {}

    @classmethod
    def of(cls, *servers: Server, down_after: int = 3) -> Servers:
        """Servers that need no look-up, in this order."""
        made = cls(down_after)
        made.locate([Located((Choice((server,)),), float("inf")) for server in servers])
        return made

    @property
    def known(self) -> bool:
        return bool(self._health)

    def has(self, key: Key | None) -> bool:
        return key in self._health

    def locate(self, located: Sequence[Located]) -> bool:
        """What the DNS says now: one set for each name of the settings, the first to be preferred. What is known of
        servers that stay is kept. True if there are others now."""
        before = self._health
        self._located = tuple(located)
        keys = [(server.transport, server.at) for server in self.all()]
        self._health = {key: before.get(key) or Health() for key in keys}
        return before.keys() != self._health.keys()

    def addresses(self) -> frozenset[str]:
        return frozenset(server.address for found in self._located for server in found.servers)

    def all(self) -> list[Server]:
        return list(dict.fromkeys(server for found in self._located for server in found.order(lambda: 0.0)))

    def order(self, chance: Callable[[], float], now: float, tried: Collection[Key] = ()) -> list[Server]:
        """Those that can be tried, the best first: the healthy, then those that are avoided for now. Never one that is
        down, never one of `tried`."""
        good: list[Server] = []
        avoided: list[tuple[float, Server]] = []
        for found in self._located:
            for server in found.order(chance):
                key = server.transport, server.at
                health = self._health[key]
                if health.down or key in tried:
                    continue
                if health.avoid_until > now:
                    avoided.append((health.avoid_until, server))
                else:
                    good.append(server)
        avoided.sort(key=lambda each: each[0])
        return [*good, *(server for _, server in avoided)]

    # ---- what happened

    def heard(self, key: Key) -> None:
        """It answered."""
        health = self._health.get(key)
        if health is not None:
            was_down = health.down
            health.missed, health.down, health.avoid_until, health.reason = 0, False, 0.0, ""
            if was_down and self.told is not None:
                self.told()

    def missed(self, key: Key, reason: str) -> None:
        """A probe was not answered, or refused with 503: the last of so many in a row takes it down."""
        health = self._health.get(key)
        if health is None:
            return
        health.missed += 1
        health.reason = reason
        if not health.down and health.missed >= self.down_after:
            health.down = True
            if self.told is not None:
                self.told()

    def failed(self, key: Key, now: float, reason: str, seconds: float = 0.0) -> None:
        """It did not take a call or a registration; `seconds` is its Retry-After, 0 when it named none."""
        health = self._health.get(key)
        if health is not None:
            health.avoid_until = now + min(seconds or AVOID_SECONDS, LONGEST_AVOID)
            health.reason = reason

    # ---- how they are

    def is_down(self, key: Key) -> bool:
        health = self._health.get(key)
        return health is not None and health.down

    @property
    def reachable(self) -> bool:
        """Whether one of them may take a call."""
        return any(not health.down for health in self._health.values())

    @property
    def reason(self) -> str:
        """Why one of them does not answer, in words; empty when all are well."""
        return next((health.reason for health in self._health.values() if health.down), "")
