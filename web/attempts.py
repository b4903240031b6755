"""Limits on failed sign-ins, per address, per user and per pair of both.

A user is not locked out of the address that he last signed in from: a stranger who guesses at a name must not be able
to shut its owner out. Bounded: the least recently used keys are forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable

WINDOW_SECONDS = 300.0
PER_ADDRESS = 20
PER_PAIR = 5
PER_USER = 30
KEYS_LIMIT = 10_000


class Attempts:
    """Failures within the last five minutes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures: OrderedDict[tuple[str, ...], deque[float]] = OrderedDict()
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def wait(self, address: str, username: str) -> float:
        """Seconds until this address may try this name again; 0 when it may now."""
        limits: list[tuple[tuple[str, ...], int]] = [
            (("address", address), PER_ADDRESS),
            (("pair", address, username), PER_PAIR),
        ]
        if (address, username) not in self._known:
            limits.append((("user", username), PER_USER))
        return max(self._wait(key, limit) for key, limit in limits)

    def tried(self, address: str, username: str) -> None:
        """Count an attempt as failed before its password is checked: many at once must not slip through together."""
        now = self._clock()
        for key in _keys(address, username):
            times = self._failures.setdefault(key, deque(maxlen=PER_USER))
            times.append(now)
            self._failures.move_to_end(key)
        while len(self._failures) > KEYS_LIMIT:
            self._failures.popitem(last=False)

    def forgive(self, address: str, username: str) -> None:
        """The attempt counted last was no failure."""
        for key in _keys(address, username):
            if times := self._failures.get(key):
                times.pop()

    def succeeded(self, address: str, username: str) -> None:
        """He knew the password: his own failures here are forgotten, and this address is known as his."""
        self.forgive(address, username)
        self._failures.pop(("pair", address, username), None)
        self._known[(address, username)] = None
        self._known.move_to_end((address, username))
        while len(self._known) > KEYS_LIMIT:
            self._known.popitem(last=False)

    def _wait(self, key: tuple[str, ...], limit: int) -> float:
        times = self._failures.get(key)
        if times is None:
            return 0.0
        now = self._clock()
        while times and now - times[0] >= WINDOW_SECONDS:
            times.popleft()
        if not times:
            del self._failures[key]
            return 0.0
        return 0.0 if len(times) < limit else WINDOW_SECONDS - (now - times[-limit])


def _keys(address: str, username: str) -> tuple[tuple[str, ...], ...]:
    return ("address", address), ("pair", address, username), ("user", username)
