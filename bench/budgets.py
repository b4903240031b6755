"""What the design allows a call and a packet to cost, and what the gathered runs say of it. Beside that, what it costs
the peers: Kamailio doing the same job; Kamailio, Asterisk and Sippy as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from bench.best import KEPT, Found, found_of, times
from bench.figures import Run, median_run
from bench.interpreter import NAME, suffixes
from bench.memory import LINGER_SECONDS, drift
from bench.peers import asterisk_pbx, kamailio, sippy
from bench.peers.kamailio_pbx import NAME as SAME_JOB

OURS = NAME
ASKED = "embedded CRM asked"     # ours again, under other orders: bench.crm
NOBODY, BY_HTTP, SLOWLY = "nobody asked", "asked by HTTP", "HTTP, 1 in 10 late"
CPU_MS = 0.75               # signalling process, a call, at 1,000 calls/s
RINGING_MS = {"p50": 0.9, "p99": 3.0}       # INVITE to 180 at 50 calls/s
LOOK_UP_ADDS = 0.05         # to the CPU a call, at 200/s
LATE_ADDS = 0.2             # to the p99 of those who were not late; it moves by as much between two runs
WORKER = "worker"            # that relay of ours which the budgets are for
PACKET_US = 12.0            # worker, a relayed packet, at 400 calls
DELAY_MS = 2.0              # p99 at 400 calls
FULL_DELAY_MS = 20.0        # p99 at 600 calls, and nothing lost
GROWTH = 0.05               # share by which memory may grow once the first transactions have been let go
SLOWER = 0.2                # share by which a long run's last p99 may be above its first; it moves by as much by itself
TIMES = {kamailio.NAME: 1.0, asterisk_pbx.NAME: 4.0, sippy.NAME: 6.0}       # their best rate; ours at least
SHARES = {kamailio.NAME: 1.0, asterisk_pbx.NAME: 1 / 3, sippy.NAME: 1 / 3}  # their 180 p50 at 50/s; ours at most
RELAY_WAITED = 2.0          # percent of the time that a worker without its CPU makes a run a disturbed one

Row = list[str]


def runs_of(setup: Mapping[str, Any]) -> dict[str, list[Run]]:
    """The runs of a gathered set-up, by contestant."""
    return {name: [Run(**run) for run in runs] for name, runs in setup["runs"].items()}


def _row(what: str, allowed: str, found: str, met: bool, disturbed: bool) -> Row:
    return [what, allowed, found, ("met" if met else "missed") + (", in a disturbed run" if disturbed else "")]


def _at_full_rate(runs: Sequence[Run], on: str) -> list[Row]:
    run, failed = median_run(runs), sum(one.failed for one in runs)
    disturbed = any(one.noise for one in runs)
    met = run.comparable and run.cpu_ms <= CPU_MS
    held = all(one.comparable for one in runs)
    behind = "" if held else ", it fell behind"
    return [
        _row(f"1,000 calls/s{on}", "none failed", f"{failed} failed{behind}", held, disturbed),
        _row(f"CPU a call, signalling, at 1,000/s{on}", f"at most {CPU_MS:g} ms", f"{run.cpu_ms:.3f} ms", met,
             disturbed),
    ]  # fmt: skip


def _at_ease(runs: Sequence[Run], on: str) -> list[Row]:
    run = median_run(runs)
    rows = []
    for at, allowed in RINGING_MS.items():
        value = run.ringing.get(at, float("inf"))
        what = f"INVITE->180 {at} at 50/s{on}"
        rows.append(_row(what, f"at most {allowed:g} ms", f"{value:.2f} ms", value <= allowed, bool(run.noise)))
    return rows


def _asked(runs: Mapping[str, Sequence[Run]], rate: str, on: str) -> list[Row]:
    """What asking costs, and what one caller's slow look-up does to the others."""
    names = [name + on for name in (ASKED, NOBODY, BY_HTTP, SLOWLY)]
    if not set(names) <= set(runs):
        return []
    asked, nobody, quick, late = (median_run(runs[name]) for name in names)
    rows = []
    for what, allowed, more, less, found in (
        (f"CPU a call that the look-up adds at {rate}{on}", LOOK_UP_ADDS, asked, nobody,
         asked.cpu_ms / nobody.cpu_ms - 1),
        (f"p99 that 100 ms for one in ten adds to the others at {rate}{on}", LATE_ADDS, late, quick,
         late.ringing.get("p99", 0.0) / quick.ringing.get("p99", float("inf")) - 1),
    ):  # fmt: skip
        if more.comparable and less.comparable:
            words = (f"at most {allowed:.0%}", f"{found:.1%}")
            rows.append(_row(what, *words, found <= allowed, bool(more.noise or less.noise)))
        else:
            rows.append([what, f"at most {allowed:.0%}", "-", "a server fell behind"])
    return rows


def _same_job(runs: Mapping[str, Sequence[Run]], rate: float, on: str) -> list[Row]:
    """Ours beside Kamailio that looks up, anchors media and writes records, too."""
    if SAME_JOB not in runs:
        return []
    ours, theirs = median_run(runs[OURS + on]), median_run(runs[SAME_JOB])
    where, disturbed = f"at {rate:,.0f}/s, beside {SAME_JOB}{on}", bool(ours.noise or theirs.noise)
    floor = min(theirs.achieved, KEPT * rate)
    rows = [
        _row(f"calls/s {where}", f"at least {floor:.0f}", f"{ours.achieved:.0f}", ours.achieved >= floor, disturbed)
    ]
    costs = ("CPU a call, signalling,", "CPU a call, signalling and media,", "INVITE->180 p50")
    return rows + [_beside(what, where, ours, theirs) for what in costs]


FIGURES: dict[str, tuple[Callable[[Run], float | None], int]] = {
    "CPU a call, signalling,": (lambda run: run.cpu_ms, 3),
    "CPU a call, signalling and media,": (lambda run: run.total_cpu_ms, 3),
    "INVITE->180 p50": (lambda run: run.ringing.get("p50"), 2),
}
"""Milliseconds of a run, and how many digits of them are shown."""


def _beside(what: str, where: str, ours: Run, theirs: Run, share: float = 1.0) -> Row:
    """One of FIGURES: of ours at most this share of theirs, as far as both kept up."""
    value, digits = FIGURES[what]
    mine, most = value(ours), value(theirs)
    if mine is None or most is None or not (ours.comparable and theirs.comparable):
        allowed = "no more" if share == 1 else f"at most {Fraction(share).limit_denominator(9)}"
        return [f"{what} {where}", allowed, "-", "a server fell behind"]
    part = "" if share == 1 else f" ({Fraction(share).limit_denominator(9)} of {most:.{digits}f})"
    allowed = f"at most {share * most:.{digits}f} ms{part}"
    disturbed = bool(ours.noise or theirs.noise)
    return _row(f"{what} {where}", allowed, f"{mine:.{digits}f} ms", mine <= share * most, disturbed)


def _beside_peers(runs: Mapping[str, Sequence[Run]], rate: float, on: str) -> list[Row]:
    """The 180 at 50 calls/s beside each peer's; at 1,000 CPU a call beside that of Kamailio as it is."""
    ours, rows = median_run(runs[OURS + on]), []
    for name, share in SHARES.items():
        if name in runs and rate == 50:
            where = f"at 50/s, beside {name}{on}"
            rows.append(_beside("INVITE->180 p50", where, ours, median_run(runs[name]), share))
    if kamailio.NAME in runs and rate == 1000:
        where, theirs = f"at 1,000/s, beside {kamailio.NAME}{on}", median_run(runs[kamailio.NAME])
        costs = ("CPU a call, signalling,", "CPU a call, signalling and media,")
        rows += [_beside(what, where, ours, theirs) for what in costs]
    return rows


def _best(found: Mapping[str, Found], on: str) -> list[Row]:
    """The best rate of ours, by each peer's. Where the load was a peer's limit it may be more than was seen."""
    ours, rows = found[OURS + on], []
    for name, least in TIMES.items():
        theirs = found.get(name)
        if theirs is None:
            continue
        what = f"best calls/s, beside {name}{on}"
        if theirs.rate is None:
            rows.append([what, f"at least {least:g} times theirs", ours.words(), "that server kept up with no rate"])
            continue
        part = "" if least == 1 else f"{least:g} times "
        allowed = f"at least {part}{theirs.rate:,g}{' or more' if theirs.at_least else ''}"
        factor = times(ours, theirs)
        words = ours.words() + (f", {factor} times" if factor else "")
        enough = (ours.rate or 0.0) >= least * theirs.rate
        if (theirs if enough else ours).at_least:
            rows.append([what, allowed, words, "the load was the limit"])
        else:
            rows.append(_row(what, allowed, words, enough, (theirs if enough else ours).disturbed))
    return rows


def _relayed(run: Mapping[str, Any]) -> list[Row]:
    worker = suffixes([run["relay"]], WORKER)
    if not worker:
        return []
    on = worker[0]
    calls, p99, cost = run["streams"] // 2, run["delay_ms"]["p99"], run["cpu_us_per_packet"]
    disturbed = run.get("worker_waited_percent", 0.0) > RELAY_WAITED
    if calls == 400:
        cheap = cost <= PACKET_US
        return [
            _row(f"CPU a packet at 400 calls{on}", f"at most {PACKET_US:g} us", f"{cost:.1f} us", cheap, disturbed),
            _row(f"added delay p99 at 400 calls{on}", f"under {DELAY_MS:g} ms", f"{p99:.2f} ms", p99 < DELAY_MS,
                 disturbed),
        ]  # fmt: skip
    if calls == 600:
        met = p99 < FULL_DELAY_MS and not run["lost"]
        allowed, found = f"p99 under {FULL_DELAY_MS:g} ms, none lost", f"{p99:.2f} ms, {run['lost']} lost"
        return [_row(f"600 calls a core{on}", allowed, found, met, disturbed)]
    return []


def _in_the_long_run(runs: Sequence[Run], on: str) -> list[Row]:
    """Memory and latency of a run of many calls, its end beside its beginning."""
    run = median_run(runs)
    found = drift(run)
    if found is None:
        return []
    calls, disturbed = f"over {run.offered:,} calls{on}", bool(run.noise)
    flat = not run.failed and found.growth <= GROWTH
    steady = run.comparable and found.slower <= SLOWER
    return [
        _row(f"memory after the first {LINGER_SECONDS:g} s, {calls}", f"grows by at most {GROWTH:.0%}",
             f"{found.growth:+.1%}", flat, disturbed),
        _row(f"180 p99, last tenth by first, {calls}", f"at most {SLOWER:+.0%}", f"{found.slower:+.1%}", steady,
             disturbed),
    ]  # fmt: skip


def verdicts(data: Mapping[str, Any]) -> list[Row]:
    """Rows of what, allowed, measured, verdict; only of what was gathered."""
    by_rate = {setup["plan"]["rate"]: runs_of(setup) for setup in data["setups"]}
    rows = _of_each(_at_full_rate, by_rate.get(1000.0, {})) + _of_each(_at_ease, by_rate.get(50.0, {}))
    if data.get("best"):
        found = found_of(data["best"])
        rows += [row for on in suffixes(found) for row in _best(found, on)]
    for at, runs in by_rate.items():
        rows += [row for on in suffixes(runs) for row in _beside_peers(runs, at, on)]
        rows += [row for on in suffixes(runs) for row in _same_job(runs, at, on)]
    if data["crm"]:
        runs, rate = runs_of(data["crm"]), f"{data['crm']['plan']['rate']:g}/s"
        rows += [row for on in suffixes(runs, ASKED) for row in _asked(runs, rate, on)]
    rows += _of_each(_in_the_long_run, runs_of(data["long"])) if data.get("long") else []
    return rows + [row for run in data["relay"] for row in _relayed(run)]


def _of_each(judge: Callable[[Sequence[Run], str], list[Row]], runs: Mapping[str, Sequence[Run]]) -> list[Row]:
    """Of ours on each interpreter."""
    return [row for on in suffixes(runs) for row in judge(runs[OURS + on], on)]
