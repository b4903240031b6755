"""From gathered figures to sections: tables of one run of the report, ratios within it, budgets and what disturbed it.

Absolute figures stand in tables only, beside the machine they were taken on; sentences speak of ratios.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench import best, stages, warming
from bench.budgets import OURS, SLOWLY, runs_of, verdicts
from bench.document import Section, Table
from bench.figures import Run, median_run
from bench.interpreter import suffixes
from bench.memory import FIRST_CALLS, LINGER_SECONDS, TENTHS, drift
from bench.plots import Bar, bars, by_rate, distribution, over_time, waterfall
from bench.table import ratios, to_whom

SETUP_HEAD = ("server", "ok", "failed", "calls/s", "resent", "180 p50", "p95", "p99", "200 p50", "p99",
              "CPU ms a call", "min-max", "media", "load", "RSS MiB", "steal %", "kernel %", "waited %")  # fmt: skip
Runs = Mapping[str, Sequence[Run]]


def _ms(figures: Mapping[str, float], name: str) -> str:
    return f"{figures[name]:.2f}" if name in figures else "-"


def _setup_row(name: str, runs: Sequence[Run]) -> list[str]:
    run = median_run(runs)
    cpu = [one.cpu_ms for one in runs]
    return [
        name, str(run.ok), str(run.failed), f"{run.achieved:.0f}", str(run.resent),
        *(_ms(run.ringing, at) for at in ("p50", "p95", "p99")),
        _ms(run.answered, "p50"), _ms(run.answered, "p99"), f"{run.cpu_ms:.3f}", f"{min(cpu):.3f}-{max(cpu):.3f}",
        f"{run.media_cpu_ms:.3f}", f"{run.load_cpu_ms:.3f}", f"{run.rss_mib:.0f}", f"{run.steal * 100:.1f}",
        f"{run.kernel * 100:.1f}", f"{run.waited * 100:.1f}",
    ]  # fmt: skip


def _ratio_table(runs: Runs, does: Mapping[str, str], ours: str) -> Table:
    def shown(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"

    medians = {name: median_run(found) for name, found in runs.items()}
    rows = [[ours, "1", "1", "1", does.get(ours, "")]]
    for name, found in ratios(medians, ours).items():
        rows.append([name, *(shown(found[of]) for of in ("cpu", "ringing_p50", "ringing_p99")), does.get(name, "")])
    return Table((f"ratio to {ours}", "CPU a call", "INVITE->180 p50", "p99", "what it does"), rows, words=True)


def _bar(name: str, run: Run) -> Bar:
    if not run.comparable:
        return Bar(name, 0.0, 0.0, f"failed {run.failed} of {run.offered}" if run.failed else "fell behind")
    return Bar(name, run.total_cpu_ms, run.media_cpu_ms, f"{run.total_cpu_ms:.3f} ms")


def _remarks(runs: Runs, missing: Mapping[str, str]) -> list[str]:
    told = []
    for name, found in runs.items():
        for run in found:
            failed = ", ".join(f"{count} with {why}" for why, count in sorted(run.reasons.items()))
            said = [f"failed: {failed}"] if failed else []
            said += [f"its socket had no room for {run.dropped} packets"] if run.dropped else []
            told += [f"{name}: {what}" for what in (*said, *run.faults)]
    return list(dict.fromkeys(told)) + [f"{name} is not measured: {why}" for name, why in missing.items()]


def setup_section(setup: Mapping[str, Any]) -> Section:
    """One rate: everybody under the same load."""
    runs = runs_of(setup)
    medians = {name: median_run(found) for name, found in runs.items()}
    title = f"Call set-up at {setup['plan']['rate']:g} calls/s"
    curves = {name: run.ringing_curve for name, run in medians.items() if run.comparable}
    drawn = [_bar(name, run) for name, run in medians.items() if run.cpu_ms]
    tables = [Table(SETUP_HEAD, [_setup_row(name, found) for name, found in runs.items()])]
    if len(runs) > 1:
        tables += [_ratio_table(runs, setup["does"], ours) for ours in to_whom(runs)]
    return Section(
        title,
        [f"{setup['words']}. Runs of each, in turn: {len(runs[OURS])}; the middle one by CPU a call is shown whole."],
        tables,
        _remarks(runs, setup["missing"]),
        [
            ("Calls by time from INVITE to 180, without those who failed calls or fell behind", distribution(curves)),
            ("CPU a call; what the media workers used is lighter", bars(drawn)),
            ("Resident memory of the signalling processes", over_time(_memory(medians), "MiB")),
        ],
    )


def best_section(data: Mapping[str, Any]) -> Section:
    """The highest rate with which each server keeps up."""
    found = best.found_of(data)
    to = to_whom(found)
    rows = [
        [name, *best.row(one), *("1" if name == ours else best.times(found[ours], one) or "-" for ours in to)]
        for name, one in found.items()
    ]
    tried = [[name, *best.rates_tried(one)] for name, one in found.items()]
    p99s = {
        name: [(one.rate, one.run.ringing["p99"], one.good) for one in each.tries if one.run and one.run.ringing]
        for name, each in found.items()
    }
    text = (
        f"Each probe: a rate of a fixed ladder, about a tenth apart, {data['words']}. A rate is kept when one of "
        f"{best.TRIES} probes is good: none failed, nothing sent again, {best.KEPT:.0%} of the rate, 180 p99 at most "
        f"{best.P99_MS:g} ms, every record written. Figures are of the good probe at the best rate; bench/README.md "
        "says how rates are chosen, and when the load was the limit and a rate is 'at least' that."
    )
    why = [f"{name} is not measured: {why}" for name, why in data["missing"].items()]
    return Section(
        "Best rates", [text],
        [
            Table(("server", *best.HEAD, *(f"{ours} by it" for ours in to)), rows),
            Table(("calls/s of each probe, in turn", "good", "not good"), tried, words=True),
        ],
        [*(f"not more: {remark}" for remark in best.remarks(found)), *why],
        [("180 p99 of each probe by its rate; those that were not good are hollow", by_rate(p99s))],
    )  # fmt: skip


def _memory(medians: Mapping[str, Run]) -> dict[str, list[list[float]]]:
    return {name: run.memory for name, run in medians.items()}


def warming_section(found: Mapping[str, Any]) -> Section:
    """From a cold start: what a call costs while a JIT compiles."""
    cpu, p99, rows = {}, {}, []
    for name, runs in runs_of(found).items():
        made = warming.blocks(runs[0])
        cpu[name] = [[block.at, block.cpu_ms] for block in made]
        p99[name] = [[block.at, block.p99] for block in made]
        rows.append([f"{name}, CPU ms", *(f"{block.cpu_ms:.3f}" for block in made)])
        rows.append([f"{name}, 180 p99 ms", *(f"{block.p99:.2f}" for block in made)])
    ends = (str(number) for number in range(1, max(map(len, cpu.values())) + 1))
    text = (
        f"{found['words']}, from a cold start: nothing goes before, and no call is left out. One run of each. Each "
        f"column is {warming.BLOCK:,} calls; what goes before the other runs is long enough when the last ones are "
        "alike."
    )
    return Section(
        "How an interpreter with a JIT warms up", [text], [Table(("thousand calls", *ends), rows)],
        _remarks(runs_of(found), found["missing"]),
        [
            ("CPU a call of the signalling process", over_time(cpu, "ms")),
            ("INVITE->180 p99", over_time(p99, "ms")),
        ],
    )  # fmt: skip


def long_section(long: Mapping[str, Any]) -> Section:
    """One long run: what has changed by its end."""
    runs = runs_of(long)
    medians = {name: median_run(found) for name, found in runs.items()}
    tables = [Table(SETUP_HEAD, [_setup_row(name, found) for name, found in runs.items()])]
    drifts = {name: found for name, run in medians.items() if (found := drift(run)) is not None}
    if drifts:
        head = ("", f"RSS MiB after {FIRST_CALLS:,} calls", f"at {LINGER_SECONDS:g} s", "at the end", "grown since")
        rows = [
            [name, *(f"{mib:.1f}" for mib in (found.first, found.lingering, found.end)), f"{found.growth:+.1%}"]
            for name, found in drifts.items()
        ]
        p99s = [[name, *(f"{p99:.2f}" for p99 in medians[name].tenths)] for name in drifts]
        tables.append(Table(head, rows))
        tables.append(Table(("180 p99 ms, by tenth of the calls", *map(str, range(1, TENTHS + 1))), p99s))
    text = (
        f"{long['words']}. Finished transactions are kept for 32 s (RFC 3261), so memory grows until the first ones "
        f"are let go and is judged from {LINGER_SECONDS:g} s on."
    )
    plot = ("Resident memory of the signalling process", over_time(_memory(medians), "MiB"))
    calls = medians[OURS].offered
    return Section(f"{calls:,} calls in one run", [text], tables, _remarks(runs, long["missing"]), [plot])


def stages_section(found: Mapping[str, Any]) -> Section:
    """Where the time of a call goes at one rate."""
    tables, plots = [], []
    for name, fall in found["waterfalls"].items():
        if not fall["calls"]:
            continue
        rows = [[f"INVITE -> {name}", *_spent(fall), "100 %"]]
        rows += [[row["stage"], *_spent(row), f"{row['share'] * 100:.1f} %"] for row in fall["stages"]]
        tables.append(Table((f"to the {name}, ms", "p50", "p99", "mean", "share"), rows))
        steps = [(row["stage"], row["mean"]) for row in fall["stages"]]
        plots.append((f"INVITE -> {name}, mean of {fall['calls']} calls", waterfall(steps, stages.PHONE, "ms")))
    on = "".join(suffixes([found.get("name", OURS)]))
    return Section(
        f"Where the time of a call goes{on}, at {found['plan']['rate']:g} calls/s",
        [
            f"{found['words']}. A run of its own, whose exchange marks the stages: that costs time, so latency and CPU "
            "are reported of other runs, never of this one. From the INVITE's arrival in our socket to the response's "
            "leaving it; the phone's share is not ours. Means add up, percentiles do not. bench/README.md says what "
            "each stage is.",
        ],
        tables,
        [f"{found['failed']} of {found['offered']} calls failed"] * bool(found["failed"]) + list(found["faults"]),
        plots,
    )


def _spent(row: Mapping[str, float]) -> list[str]:
    return [f"{row[name]:.3f}" for name in ("p50", "p99", "mean")]


def crm_section(crm: Mapping[str, Any]) -> Section:
    """What asking the CRM on the way costs, and what not asking costs the CRM."""
    runs = runs_of(crm)
    first = next(iter(runs))
    late = [
        f"{_ms(median_run(runs[SLOWLY + on]).apart, 'p50')} ms{on}" for on in suffixes(runs, SLOWLY)
    ]
    kept = [
        [
            row["scheme"], row["workstation"], str(row["calls"]), str(row["recorded"]), str(row["told"]),
            _ms(row["ringing"], "p50"), _ms(row["ringing"], "p99"),
        ]
        for row in crm["kept"]
    ]  # fmt: skip
    return Section(
        f"The CRM asked on the way, at {crm['plan']['rate']:g} calls/s",
        [
            f"{crm['words']}; the first and the others in turn, {len(runs[first])} runs of each. Latencies of the last "
            f"are those of the nine callers in ten who were not late; the late ones' p50 was {', '.join(late) or '-'}.",
            "Below: both schemes at one desk. The exchange has every call in its record, the CRM those it was told of.",
        ],
        [
            Table(SETUP_HEAD, [_setup_row(name, found) for name, found in runs.items()]),
            Table(("scheme", "workstation", "calls", "recorded", "CRM told", "180 p50", "p99"), kept),
        ],
        _remarks(runs, crm.get("missing", {})),
    )


def relay_section(relay: Sequence[Mapping[str, Any]]) -> Section:
    """Audio through the worker, the kernel and rtpengine."""
    rows = [
        [
            f"{run['relay']}, {run['streams'] // 2} calls", f"{run['packets_per_second']:.0f}",
            f"{run['cpu_us_per_packet']:.2f}", f"{run['kernel_us_per_packet']:.2f}",
            f"{run['sending_us_per_packet']:.2f}", f"{run['added_us_per_packet']:.2f}",
            f"{run['delay_ms']['p50']:.3f}", f"{run['delay_ms']['p99']:.3f}", f"{run['delay_ms']['max']:.3f}",
            f"{run['lost']} of {run['sent']}", f"{run['worker_waited_percent']:.1f}", f"{run['late_ms']:.1f}",
        ]
        for run in relay
    ]  # fmt: skip
    head = ("relay", "packets/s", "CPU us a packet", "kernel's threads", "the load's sending", "added", "delay p50 ms",
            "p99", "max", "lost", "waited %", "load late ms")  # fmt: skip
    text = (
        "Packets of 172 octets, 50 a second each way; they flow for 5 s before they are counted. "
        "What is added is the first three together, less what they are "
        "with nothing between: the kernel does much of a relay's work in the name of whoever sends."
    )
    return Section("Relayed audio", [text], [Table(head, rows)])


def parse_section(parse: Mapping[str, Any]) -> Section:
    """The parser; ratios are to a fixed piece of Python measured in between."""
    rows = [
        [name, f"{value:.2f}", f"{parse['ratio'][name]:.2f}", f"{limit['at_most']:g}" if limit else ""]
        for name, value in parse["microseconds"].items()
        for limit in [parse["targets"].get(name)]
    ]
    octets, headers = parse["message"]["octets"], parse["message"]["headers"]
    return Section(
        "Reading and writing one message",
        [f"An INVITE of {headers} headers and {octets} octets; the ratio is to a fixed piece of Python."],
        [Table(("", "us", "ratio", "at most us"), rows)],
    )


def noise_of(data: Mapping[str, Any]) -> list[str]:
    """What disturbed the runs, by contestant and rate."""
    told = []
    for setup in filter(None, [*data["setups"], data["crm"], data.get("long"), data.get("warming")]):
        for name, found in runs_of(setup).items():
            for number, run in enumerate(found, 1):
                if run.noise:
                    told.append(f"{name} at {setup['plan']['rate']:g}/s, run {number}: {'; '.join(run.noise)}")
    if data.get("best"):
        searches = best.found_of(data["best"])
        told += [f"{name}, {one.noise()}" for name, one in searches.items() if one.noise()]
    for found in data.get("stages", ()):
        if found["noise"]:
            told.append(f"stages at {found['plan']['rate']:g}/s: {'; '.join(found['noise'])}")
    return told


def sections(data: Mapping[str, Any]) -> list[Section]:
    """The whole document."""
    noise = noise_of(data)
    taken = [[what, value] for what, value in {**data["machine"], **data["taken"]}.items()]
    made = [
        Section(
            "The machine",
            [
                "Absolute figures hold for this machine, this hour and this build of the interpreter; ratios were "
                "taken within one run. bench/README.md says how, and what each figure means.",
            ],
            [Table(("", ""), taken, words=True)],
        )
    ]
    if noise:
        made.append(
            Section(
                "Disturbed runs",
                ["They say as much of the neighbours as of us; what rests on one of them holds less."],
                (),
                noise,
            )
        )
    found = verdicts(data)
    if found:
        made.append(Section("Budgets", (), [Table(("", "allowed", "measured", ""), found, words=True)]))
    if data.get("best"):
        made.append(best_section(data["best"]))
    made += [setup_section(setup) for setup in data["setups"]]
    made += [stages_section(found) for found in data.get("stages", ())]
    if data.get("warming"):
        made.append(warming_section(data["warming"]))
    if data.get("long"):
        made.append(long_section(data["long"]))
    if data["crm"]:
        made.append(crm_section(data["crm"]))
    if data["relay"]:
        made.append(relay_section(data["relay"]))
    if data["parse"]:
        made.append(parse_section(data["parse"]))
    return made
