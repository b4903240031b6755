"""The stages of a call set-up, as its INVITE goes through the exchange and its 180 and 200 come back.

A trace is a list of moments, each of which says what the call is in from then on; so a call is in one stage at any
time, and all stages together are the time between the INVITE's arrival in our socket and the response's leaving it.
What no stage is known for is `rest`. Pure: the clock is whoever marks the moments' (`bench.instrument`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.figures import percentiles

WAITS, PARSE, LAYER, AUTH, HOOK = "waits", "parse", "transaction", "auth", "hook"
PLAN, MEDIA, B_LEG, SENT, PHONE = "plan", "media", "B leg", "B leg sent", "phone"
RINGING, ANSWERED = "180", "200"
ANSWER_MEDIA, COMMIT, REST = "200 media", "commit", "rest"
READ, BACK, LEFT = "read", "back", "sent"
ORDER = (
    WAITS, PARSE, LAYER, AUTH, HOOK, PLAN, MEDIA, B_LEG, SENT, PHONE,
    *(f"{RINGING} {what}" for what in (WAITS, READ, BACK, LEFT)),
    *(f"{ANSWERED} {what}" for what in (WAITS, READ)), ANSWER_MEDIA, COMMIT,
    *(f"{ANSWERED} {what}" for what in (BACK, LEFT)), REST,
)  # fmt: skip
COLUMNS = 40                # of the bar of text
Times = dict[str, float]    # milliseconds by stage


class Trace:
    """One call. Times are seconds of one clock."""

    __slots__ = ("_handed", "_left", "_marks")

    def __init__(self, at: float, stage: str) -> None:
        self._marks = [(at, stage)]
        self._handed: dict[str, float] = {}
        self._left: dict[str, float] = {}

    @property
    def stage(self) -> str:
        return self._marks[-1][1]

    def enter(self, stage: str, at: float) -> str:
        """The call is in `stage` from `at` on; the stage that it was in. What happened before the last mark was told
        (a response came while we were busy with another message) counts from that mark."""
        last, before = self._marks[-1]
        self._marks.append((max(at, last), stage))
        return before

    def handed(self, response: str, at: float) -> bool:
        """180 or 200 was handed to the socket; False when one was before."""
        if response in self._handed:
            return False
        self._handed[response] = at
        return True

    def left(self, response: str, at: float) -> None:
        """It has left the socket."""
        self._left[response] = at

    def times(self, response: str) -> Times:
        """Milliseconds in each stage from the first mark to the leaving of 180 or 200; empty if it never left."""
        if response not in self._left:
            return {}
        handed, left = self._handed[response], self._left[response]
        found: Times = {}
        ends = [at for at, _ in self._marks[1:]] + [handed]
        for (at, stage), end in zip(self._marks, ends, strict=True):
            until = min(end, handed)
            if until > at:
                found[stage] = found.get(stage, 0.0) + (until - at) * 1000
        found[f"{response} {LEFT}"] = (left - handed) * 1000
        return found

    def line(self) -> str:
        """The trace as a line of JSON: when it began, and its times to the 180 and the 200."""
        return json.dumps({"at": self._marks[0][0], **{name: self.times(name) for name in (RINGING, ANSWERED)}})


def read(file: Path, skip: int) -> list[dict[str, Times]]:
    """The traces in a file of such lines in order of their beginning, without the first `skip`, the warm-up."""
    found = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    return sorted(found, key=lambda one: float(one["at"]))[skip:]


def summary(traces: Sequence[Mapping[str, Times]]) -> dict[str, Any]:
    """The waterfalls to the 180 and to the 200, as JSON has them."""
    return {name: waterfall([trace[name] for trace in traces if trace[name]]) for name in (RINGING, ANSWERED)}


def waterfall(calls: Sequence[Times]) -> dict[str, Any]:
    """Milliseconds and shares of each stage in the calls' order of events. Means add up to the mean of the whole; p50
    and p99 do not: they are of different calls."""
    whole = [sum(times.values()) for times in calls]
    spent = sum(whole) or 1.0
    rows = []
    for stage in (stage for stage in ORDER if any(stage in times for times in calls)):
        values = [times.get(stage, 0.0) for times in calls]
        rows.append({"stage": stage, **_figures(values), "share": sum(values) / spent})
    return {"calls": len(calls), **_figures(whole), "stages": rows}


def _figures(values: Sequence[float]) -> dict[str, float]:
    found = percentiles(values)
    return {"mean": sum(values) / len(values), "p50": found["p50"], "p99": found["p99"]} if values else {}


def text(name: str, found: Mapping[str, Any]) -> Iterator[str]:
    """Lines of a table with a bar for each stage, which begins where the one above ends."""
    if not found["calls"]:
        yield f"INVITE -> {name}: no call got there"
        return
    yield (
        f"INVITE -> {name}, {found['calls']} calls, milliseconds inside of the exchange and at the phone: "
        f"p50 {found['p50']:.3f}, p99 {found['p99']:.3f}, mean {found['mean']:.3f}"
    )
    yield f"{'':<14}{'p50':>8}{'p99':>9}{'mean':>8}{'share':>8}"
    begun = 0.0
    for row in found["stages"]:
        first = round(begun * COLUMNS)
        begun += row["share"]
        bar = " " * first + "#" * max(1, round(begun * COLUMNS) - first)
        yield (
            f"{row['stage']:<14}{row['p50']:>8.3f}{row['p99']:>9.3f}{row['mean']:>8.3f}{row['share']:>8.1%}  |{bar}"
        )
