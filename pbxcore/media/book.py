"""The book of ports on the signalling side: which pairs a worker has bound, lent to a call, or left to rest. Sans I/O.

A port given back rests before it is lent again, so that late packets of the old call meet a closed latch.
"""

from __future__ import annotations

from collections import deque

QUARANTINE_SECONDS = 0.5
LOW_WATER = 256           # fewer free pairs than that: ask for more, before anybody has to wait
STEP = 256                # pairs asked for at a time


def split_range(ports: str, workers: int) -> list[tuple[int, int]]:
    """Cut "20000-29999" into equal ranges of whole pairs, each beginning with an even port. Raises ValueError."""
    first_text, dash, last_text = ports.partition("-")
    if not (dash and first_text.strip().isdecimal() and last_text.strip().isdecimal()):
        raise ValueError(f"not a range of ports: {ports!r}")
    first, last = int(first_text), int(last_text)
    first += first & 1
    pairs = (last + 1 - first) // 2
    if first < 1024 or last > 65535 or workers < 1 or pairs < workers:
        raise ValueError(f"{ports} is no range that gives each of {workers} workers a pair of ports above 1023")
    share = pairs // workers
    return [(first + 2 * share * n, first + 2 * share * (n + 1) - 1) for n in range(workers)]


class Pool:
    """The pairs of one worker on one local address, named by their RTP ports. Times are monotonic seconds."""

    __slots__ = ("_bound", "_resting", "address", "asked", "error", "free")

    def __init__(self, address: str) -> None:
        self.address = address
        self.free: deque[int] = deque()
        self._resting: deque[tuple[float, int]] = deque()
        self._bound = 0
        self.asked = False        # the worker was asked for more and has not finished
        self.error = ""           # why it will not bind any more

    @property
    def lent(self) -> int:
        return self._bound - len(self.free) - len(self._resting)

    def take(self, now: float) -> int:
        """A pair's RTP port, the one that was free longest; 0 when none is at hand."""
        resting, free = self._resting, self.free
        while resting and resting[0][0] <= now:
            free.append(resting.popleft()[1])
        return free.popleft() if free else 0

    def give_back(self, port: int, now: float) -> None:
        self._resting.append((now + QUARANTINE_SECONDS, port))

    def bound(self, ports: list[int], error: str, done: bool) -> None:
        """What the worker reported."""
        self._bound += len(ports)
        self.free.extend(ports)
        self.error = error
        if done:
            self.asked = False

    def needs_more(self) -> bool:
        return len(self.free) < LOW_WATER and not self.asked and not self.error

    def next_rested(self) -> float | None:
        """When the next resting pair may be lent, None when none rests."""
        return self._resting[0][0] if self._resting else None
