"""The best rate of each server: the highest of a fixed ladder of rates with which it keeps up.

All of it is fixed before anything is measured. The ladder: 25 rates a decade from 10 to 4,000 calls/s, each about a
tenth above the one before. The search: from START in strides that double the rate, up while it keeps up, else down;
then the middle of what is left in between, until of two neighbours it kept up with the lower one alone. A probe: a
fresh server, a second of warm-up, SECONDS that count; what still lives PATIENCE later has failed. `kept_up` says when a
probe was good. A rate is kept when one of TRIES probes is good: a neighbour on this machine may spoil a probe, and
nobody can make a server faster than it is. Everybody has one probe in turn, so that the hour disturbs all alike.

Servers that are warmed up before each probe (they have a JIT) come when the others are through. They are searched from
the best rate of Hookline on the bench's own interpreter on, with a single try at each rate: a probe takes minutes.

A server's best rate is 'at least' that when the load was busy above its own limit in the good probe of it or in one of
the next rate, or there is no next rate. What the load itself can do is measured, too: `nothing between`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from bench import table
from bench.figures import Run
from bench.interpreter import NAME
from bench.peers.registry import Peer
from bench.setup import Plan, contestants
from bench.subject import CannotStart
from bench.trial import LOAD_BUSY

DECADE = (10, 11, 12, 13, 14.5, 16, 17.5, 19, 21, 23, 25, 27.5, 30, 33, 36, 40, 44, 48, 53, 58, 64, 70, 77, 85, 93)
TOP = 4000.0                # calls/s: the load alone can do more
LADDER = tuple(rate * size for size in (1.0, 10.0, 100.0) for rate in DECADE if rate * size <= TOP)
START = 210.0               # calls a second, a rung
STRIDE = 8                  # rungs: twice the rate, and three probes between
TRIES = 2
SECONDS = 4.0
PATIENCE = 2.0
KEPT = 0.99                 # of the rate: above that calls/s are the load's
P99_MS = 100.0              # to the 180

Search = Generator[float, bool, float | None]
"""Gives the rate to try next, is sent whether the probe was good; returns the best rate, None when none was kept."""


def kept_up(run: Run) -> bool:
    """Whether the server kept up in this run: no call failed, no INVITE and no BYE had to be sent again, at least 99 %
    of the rate was achieved, the p99 of INVITE to 180 is at most 100 ms, and a server that writes records has one for
    each call.

    The p99 and the rate are there for buffers: one that fills makes no call fail in a few seconds. With a tenth more
    than it can take a server is 400 ms behind at the end of a probe; one that keeps up has a p99 of some milliseconds.
    """
    return not why_lost(run)


def search(ladder: Sequence[float] = LADDER, start: float = START, tries: int = TRIES) -> Search:
    """Look for the edge, from the last rung that is not above `start` on."""
    kept, lost = -1, len(ladder)        # the highest rung that was kept, the lowest that was not
    rung = max((number for number, rate in enumerate(ladder) if rate <= start), default=0)
    while lost - kept > 1:
        for _ in range(tries):
            good = yield ladder[rung]
            if good:
                kept = rung
                break
        else:
            lost = rung
        if lost == len(ladder):
            rung = min(kept + STRIDE, lost - 1)
        elif kept == -1:
            rung = max(lost - STRIDE, 0)
        else:
            rung = (kept + lost) // 2
    return ladder[kept] if kept >= 0 else None


@dataclass
class Try:
    """One probe. `run` is None of a server that did not live to its end."""

    rate: float
    good: bool
    run: Run | None


@dataclass
class Found:
    """What came of one search. `rate` is the best one, None when even the lowest was not kept."""

    rate: float | None = None
    tries: list[Try] = field(default_factory=list)

    @property
    def run(self) -> Run | None:
        """The good probe at the best rate."""
        return next((one.run for one in self.tries if one.good and one.rate == self.rate), None)

    @property
    def lost(self) -> list[Try]:
        """The probes at the next rate above the best, none of them good."""
        rates = [one.rate for one in self.tries if one.rate > (self.rate or 0.0)]
        return [one for one in self.tries if rates and one.rate == min(rates)]

    @property
    def at_least(self) -> bool:
        """Whether the load, and not the server, may have been the limit."""
        runs = [self.run, *(one.run for one in self.lost)]
        busy = any(run is not None and run.load_busy > LOAD_BUSY for run in runs)
        return self.rate is not None and (busy or not self.lost)

    @property
    def disturbed(self) -> bool:
        """Whether the neighbours may have decided: something disturbed every probe that was lost at the next rate."""
        return bool(self.lost) and all(one.run is not None and one.run.noise for one in self.lost)

    def noise(self) -> str:
        """How many probes were disturbed, and the first by what; empty without any."""
        told = [f"{one.rate:g}/s: {'; '.join(one.run.noise)}" for one in self.tries if one.run and one.run.noise]
        return f"{len(told)} of {len(self.tries)} probes for its best rate; the first at {told[0]}" if told else ""

    def words(self) -> str:
        """The best rate, for people."""
        if self.rate is None:
            return f"below {LADDER[0]:g}"
        return f"at least {self.rate:,g}" if self.at_least else f"{self.rate:,g}"

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Found:
        tries = [
            Try(one["rate"], one["good"], None if one["run"] is None else Run(**one["run"])) for one in given["tries"]
        ]
        return cls(given["rate"], tries)


def why_lost(run: Run | None) -> str:
    """What was wrong with a probe that was not good."""
    if run is None:
        return "it did not live to the end"
    told = {
        "failed " + ", ".join(f"{count} with {why}" for why, count in sorted(run.reasons.items())): run.failed,
        f"{run.resent} requests sent again": run.resent,
        f"{run.achieved:.0f} calls/s": run.achieved < KEPT * run.rate,
        f"180 p99 {run.ringing.get('p99', 0.0):.0f} ms": run.ringing.get("p99", 0.0) > P99_MS,
        "no 180": not run.ringing,
        "no good call": not run.ok,
        f"{run.records} records of {run.offered} calls": not run.failed and run.records not in (None, run.offered),
    }
    return ", ".join(what for what, holds in told.items() if holds)


# ---- probing

Probe = Callable[[str, float], Run]
"""The contestant's name and the rate; one run of it on a fresh server. Raises CannotStart."""


def probing(plan: Plan, peers: Sequence[Peer]) -> Probe:
    """Probes under this plan."""

    def probe(name: str, rate: float) -> Run:
        shorter = replace(plan, rate=rate, seconds=SECONDS, patience=PATIENCE)
        run = next(one for one in contestants(shorter, peers) if one.name == name).run()
        return replace(run, name=name, ringing_curve=[], memory=[], spent=[], blocks_p99=[], tenths=[])

    return probe


def in_turn(
    searches: Mapping[str, Search], probe: Probe, missing: dict[str, str], say: Callable[[str], None],
    needed: Collection[str] = (),
) -> dict[str, Found]:
    """One probe of everybody, then again, until all are found. A server that does not live to the end of a probe was
    not good in it; if it was its first, it goes to `missing`, with its last words. Raises CannotStart when that is one
    of `needed`."""
    found = {name: Found() for name in searches}
    due = {name: next(one) for name, one in searches.items()}
    while due:
        for name, rate in list(due.items()):
            say(f"{name} at {rate:g}/s ...")
            run: Run | None = None
            try:
                run = probe(name, rate)
            except CannotStart as error:
                if not found[name].tries:
                    if name in needed:
                        raise
                    missing[name] = f"did not start, or did not stay: {error}"
                    del due[name], found[name]
                    continue
            good = run is not None and kept_up(run)
            found[name].tries.append(Try(rate, good, run))
            say(f"    {'kept up' if good else why_lost(run)}")
            try:
                due[name] = searches[name].send(good)
            except StopIteration as over:
                found[name].rate = over.value
                del due[name]
    return found


def gathered(
    plan: Plan, peers: Sequence[Peer], missing: Mapping[str, str], say: Callable[[str], None]
) -> dict[str, Any]:
    """The best rates of everybody, as JSON has them. Raises CannotStart when ours does not start."""
    everybody = contestants(plan, peers)
    ours = [on.name for on in plan.on()]
    warmed = [on.name for on in plan.on() if plan.calls_before(on)]
    absent, probe = dict(missing), probing(plan, peers)
    say(f"best rates, {words(plan)}")
    found = in_turn({one.name: search() for one in everybody if one.name not in warmed}, probe, absent, say, ours)
    before = found[NAME].rate if NAME in found else None
    found |= in_turn({name: search(start=before or START, tries=1) for name in warmed}, probe, absent, say, ours)
    ordered = {one.name: found[one.name] for one in everybody if one.name in found}
    return {
        "plan": asdict(plan),
        "words": words(plan),
        "does": {one.name: one.does for one in everybody},
        "found": {name: asdict(one) for name, one in ordered.items()},
        "missing": absent,
    }


def words(plan: Plan) -> str:
    """How a probe is, in words."""
    return replace(plan, seconds=SECONDS).words().partition(" calls/s ")[2]


def found_of(data: Mapping[str, Any]) -> dict[str, Found]:
    """The searches of what was gathered, by contestant."""
    return {name: Found.from_json(one) for name, one in data["found"].items()}


# ---- for people

HEAD = ("best calls/s", "CPU ms", "media", "180 p50", "p99", "200 p50", "p99", "load %", "probes")


def row(found: Found) -> list[str]:
    """One contestant, in the order of HEAD: figures of its good probe at its best rate."""
    run = found.run
    if run is None:
        return [found.words(), *["-"] * (len(HEAD) - 2), str(len(found.tries))]
    latencies = ((run.ringing, "p50"), (run.ringing, "p99"), (run.answered, "p50"), (run.answered, "p99"))
    return [
        found.words(), f"{run.cpu_ms:.3f}", f"{run.media_cpu_ms:.3f}",
        *(f"{figures[at]:.2f}" if at in figures else "-" for figures, at in latencies),
        f"{run.load_busy * 100:.0f}", str(len(found.tries)),
    ]  # fmt: skip


def times(ours: Found, theirs: Found) -> str:
    """Ours by theirs; `at most` where theirs may be more, `at least` where ours may be. Empty where unknown."""
    if not ours.rate or not theirs.rate or (ours.at_least and theirs.at_least):
        return ""
    value = f"{ours.rate / theirs.rate:.2f}"
    if ours.at_least == theirs.at_least:
        return value
    return f"at least {value}" if ours.at_least else f"at most {value}"


def remarks(found: Mapping[str, Found]) -> list[str]:
    """Why it was not more."""
    told = []
    for name, one in found.items():
        if one.lost:
            whys = "; ".join(dict.fromkeys(why_lost(lost.run) for lost in one.lost))
            told.append(f"{name} at {one.lost[0].rate:,g}/s: {whys}")
    return told


def rates_tried(found: Found) -> tuple[str, str]:
    """The rates of all probes in the order of the search: the good ones, the others."""

    def shown(tries: Iterable[Try]) -> str:
        return " ".join(f"{one.rate:g}" for one in tries) or "-"

    return shown(one for one in found.tries if one.good), shown(one for one in found.tries if not one.good)


def show(data: Mapping[str, Any], as_json: bool, facts: Mapping[str, str]) -> None:
    """Print what was gathered."""
    if as_json:
        print(json.dumps({"bench": "best", "machine": facts, **data}))
        return
    found = found_of(data)
    for fact, value in facts.items():
        print(f"{fact:<12} {value}")
    print(f"{'probes':<12} {data['words']}; a rate is kept when one of {TRIES} is good")
    to = table.to_whom(found)
    heads = [f"{name} by it" for name in to]
    print(f"{'':<26}" + "".join(f"{head:>15}" for head in [*HEAD, *heads]))
    for name, one in found.items():
        cells = [*row(one), *("1" if name == ours else times(found[ours], one) or "-" for ours in to)]
        print(f"{name:<26}" + "".join(f"{cell:>15}" for cell in cells))
    print("not more, because:")
    for remark in remarks(found):
        print(f"    {remark}")
    for name, one in found.items():
        if one.noise():
            print(f"noise: {name}, {one.noise()}")
    print("what each does:")
    for name in found:
        print(f"    {name:<22} {data['does'].get(name, '')}")
    for name, why in data["missing"].items():
        print(f"{name} is not measured: {why}")
