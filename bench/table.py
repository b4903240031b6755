"""Figures for people: one row a run, ratios of the middle runs, and what must stand beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench import memory, stages
from bench.figures import Run, median_run, ratio
from bench.interpreter import NAME, suffixes

HEAD = ("", "ok", "failed", "calls/s", "resent", "180 p50", "p95", "p99", "max", "200 p50", "p99", "CPU ms", "media",
        "load", "RSS MiB", "steal %")  # fmt: skip


def row(run: Run) -> tuple[str, ...]:
    """One run, in the order of HEAD."""
    ringing, answered = run.ringing, run.answered
    return (
        run.name, str(run.ok), str(run.failed), f"{run.achieved:.0f}", str(run.resent),
        *(_ms(ringing, name) for name in ("p50", "p95", "p99", "max")),
        _ms(answered, "p50"), _ms(answered, "p99"),
        f"{run.cpu_ms:.3f}", f"{run.media_cpu_ms:.3f}", f"{run.load_cpu_ms:.3f}", f"{run.rss_mib:.0f}",
        f"{run.steal * 100:.1f}",
    )  # fmt: skip


def _ms(figures: Mapping[str, float], name: str) -> str:
    return f"{figures[name]:.2f}" if name in figures else "-"


def to_whom(names: Iterable[str]) -> list[str]:
    """Whom the others are held against: ours on every interpreter; of runs that are all ours, the first."""
    names = list(names)
    return [NAME + suffix for suffix in suffixes(names)] or names[:1]


def ratios(runs: Mapping[str, Run], to: str) -> dict[str, dict[str, float | None]]:
    """The others' figures by those of `to`. None where either failed calls or has no such figure."""
    ours = runs[to]
    found: dict[str, dict[str, float | None]] = {}
    for name, run in runs.items():
        if name == to:
            continue
        usable = run.comparable and ours.comparable
        found[name] = {
            "cpu": ratio(run.total_cpu_ms, ours.total_cpu_ms) if usable else None,
            "ringing_p50": ratio(run.ringing.get("p50"), ours.ringing.get("p50")) if usable else None,
            "ringing_p99": ratio(run.ringing.get("p99"), ours.ringing.get("p99")) if usable else None,
        }
    return found


def ratio_words(found: Mapping[str, float | None]) -> str:
    """One peer's ratios in words."""
    names = {"cpu": "CPU a call", "ringing_p50": "INVITE->180 p50", "ringing_p99": "p99"}
    told = [f"{what} {found[name]:.2f} of it" for name, what in names.items() if found.get(name) is not None]
    return ", ".join(told) or "not comparable: calls failed, or one of the two fell behind"


def audio_words(audio: Mapping[str, Any]) -> str:
    delay = audio.get("delay_ms") or {}
    return (
        f"{audio['streams']} streams, {audio['sent']} packets sent, {audio['lost']} lost ({audio['lost_at_start']} "
        f"before the first that was heard), "
        f"delay p50 {_ms(delay, 'p50')} p99 {_ms(delay, 'p99')} max {_ms(delay, 'max')} ms"
    )


def remarks(run: Run) -> list[str]:
    """What else is to be said of a run."""
    told = []
    if run.reasons:
        told.append("failed: " + ", ".join(f"{count} with {why}" for why, count in sorted(run.reasons.items())))
    told += [f"fault: {fault}" for fault in run.faults]
    told += [f"noise: {why}" for why in run.noise]
    if run.warmed:
        told.append(f"{run.warmed:,} calls went before; in no figure but the memory that they have left")
    if run.dropped:
        told.append(f"its socket had no room for {run.dropped} packets")
    if run.records is not None:
        activities = "" if run.activities is None else f" and {run.activities} activities"
        told.append(f"{run.records} records{activities} for {run.ok} good calls of {run.offered}")
    if run.audio:
        told.append(audio_words(run.audio))
    drift = memory.drift(run)
    if drift is not None:
        told.append(memory.words(drift))
    if run.leaks:
        left = "; ".join(run.leaks["left"]) or "nothing left over"
        told.append(
            f"35 s later: {left}; {run.leaks['cpu_ms_afterwards']:.3f} ms CPU and "
            f"{run.leaks['kib_a_call']:+.1f} KiB a call afterwards"
        )
    return told


def show(
    what: str, made: Mapping[str, Sequence[Run]], does: Mapping[str, str], missing: Mapping[str, str],
    facts: Mapping[str, str],
) -> None:
    """Print all of it. `does` says what each does for its call: without it a ratio means nothing."""
    for fact, value in facts.items():
        print(f"{fact:<12} {value}")
    print(f"{'load':<12} {what}")
    print(f"{'late':<12} the load left {_late(made)} ms late at p99; latency counts from when a call was meant")
    width = max(24, *(len(name) + 1 for name in made))
    print(f"{HEAD[0]:<{width}}" + "".join(f"{name:>9}" for name in HEAD[1:]))
    for runs in made.values():
        for run in runs:
            cells = row(run)
            print(f"{cells[0]:<{width}}" + "".join(f"{cell:>9}" for cell in cells[1:]))
            for remark in remarks(run):
                print(f"    {remark}")
    if len(made) > 1:
        medians = {name: median_run(runs) for name, runs in made.items()}
        for ours in to_whom(medians):
            print(f"of the middle runs, {ours} being 1:")
            for name, found in ratios(medians, ours).items():
                print(f"    {name:<22} {ratio_words(found)}")
        print("what each does:")
        for name in made:
            print(f"    {name:<22} {does.get(name, '')}")
    for name, why in missing.items():
        print(f"{name} is not measured: {why}")


def show_stages(found: Mapping[str, Any]) -> None:
    """Print where the time of a call goes."""
    for fact, value in found["machine"].items():
        print(f"{fact:<12} {value}")
    print(f"{'load':<12} {found['words']}; {found['offered']} calls, {found['failed']} failed")
    for name, waterfall in found["waterfalls"].items():
        print()
        for line in stages.text(name, waterfall):
            print(line)
        seen = found["seen"][name]
        print(f"the load saw p50 {_ms(seen, 'p50')}, p99 {_ms(seen, 'p99')}")
    print("\nTo mark the stages costs time of its own: what a call costs is measured without (leave --stages out).")
    for what, told in (("fault", found["faults"]), ("noise", found["noise"])):
        for why in told:
            print(f"{what}: {why}")


def _late(made: Mapping[str, Sequence[Run]]) -> str:
    worst = max((run.late.get("p99", 0.0) for runs in made.values() for run in runs), default=0.0)
    return f"{worst:.2f}"
