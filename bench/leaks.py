"""What is left over when the last call is long gone: nothing, or it is named.

Finished transactions linger for 32 s (RFC 3261: Timers H, J and L, 64*T1), so the books are read after 35. They are
compared with those of the same exchange after a few calls and the same wait: what the first call makes once and for all
(threads, connections to the database) is no leak.
"""

from __future__ import annotations

import time
import urllib.request
from dataclasses import dataclass
from typing import Any

from bench import machine
from bench.options import Options
from bench.subject import Subject
from bench.trial import aimed, offer

LINGER_SECONDS = 35.0
EMPTY = ("live_calls", "dialogs", "server_transactions", "client_transactions", "media_ports")
STEADY = ("timers", "descriptors", "threads", "media_threads")
PRIME_RATE = 20.0
LOOKS = 5


@dataclass(frozen=True)
class Books:
    """What the exchange holds. `figures` by name; CPU seconds of the signalling process, memory in MiB."""

    figures: dict[str, float]
    cpu: float
    rss_mib: float


def parse_metrics(text: str) -> dict[str, float]:
    """Gauges and counters without labels, by their names without `hookline_`."""
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name.startswith("hookline_") and "{" not in name:
            found[name.removeprefix("hookline_")] = float(value)
    return found


def read(subject: Subject) -> Books:
    """The books now."""
    with urllib.request.urlopen(f"{subject.panel}/metrics", timeout=10) as answer:  # noqa: S310  # our own, on loopback
        metrics = parse_metrics(answer.read().decode())
    pid = subject.signalling[0]
    figures = {name: metrics[name] for name in (*EMPTY, "timers")}
    figures["descriptors"] = machine.descriptors(pid)
    figures["threads"] = machine.threads(pid)
    figures["media_threads"] = sum(machine.threads(worker) for worker in subject.media)
    return Books(figures, machine.cpu_seconds(pid), machine.rss_mib(pid))


def leaks(before: Books, after: Books) -> list[str]:
    """What is left over, in words."""
    told = [f"{after.figures[name]:g} {name} left over" for name in EMPTY if after.figures[name]]
    return told + [
        f"{after.figures[name]:g} {name}, {before.figures[name]:g} before"
        for name in STEADY
        if after.figures[name] > before.figures[name]
    ]


def settled(subject: Subject, before: Books | None) -> Books:
    """The books once finished transactions are gone; looked at again for what is let go of just now."""
    time.sleep(LINGER_SECONDS)
    books = read(subject)
    for _ in range(LOOKS):
        if before is None or not leaks(before, books):
            break
        time.sleep(1.0)
        books = read(subject)
    return books


class Watch:
    """Around a trial: `Watch(...)` primes the exchange and reads its books, `finish` reads them again."""

    def __init__(self, subject: Subject, load_cpu: int) -> None:
        self._subject = subject
        priming = aimed(Options(subject.server, rate=PRIME_RATE, seconds=1.0), subject)
        offer(priming, load_cpu)
        subject.password = ""       # the phone is registered now, and stays so
        self.primed = round(PRIME_RATE * 2)
        began = machine.cpu_seconds(subject.signalling[0])
        self._before = settled(subject, None)
        self._idle = self._before.cpu - began

    def finish(self, calls: int) -> dict[str, Any]:
        """Leaks, and what `calls` calls cost and weigh after their end."""
        subject = self._subject
        began = machine.cpu_seconds(subject.signalling[0])
        after = settled(subject, self._before)
        return {
            "left": leaks(self._before, after),
            "books": after.figures,
            "cpu_ms_afterwards": (after.cpu - began - self._idle) * 1000 / calls,
            "kib_a_call": (after.rss_mib - self._before.rss_mib) * 1024 / calls,
        }
