"""What asking the CRM on the way costs a call, and what not asking costs the CRM.

Set-up with nobody asked (first-party control: the phone rings at once), with the embedded CRM asked, with a CRM asked
by HTTP, and with one that takes 100 ms for one caller in ten: what matters then is the other nine. After that both
schemes take the same calls twice, the agent's workstation on and then off, and the CRM says which it was told of.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from bench import setup, table
from bench.budgets import ASKED, BY_HTTP, NOBODY, SLOWLY
from bench.crm_server import SECRET, crm_server, told
from bench.exchange import exchange, written
from bench.figures import Run, median_run
from bench.interpreter import Interpreter, suffixes
from bench.setup import Contestant, Plan, in_turn, tell
from bench.subject import ROOT, CannotStart, Subject, last_words, process
from bench.trial import trial

LATE = 0.1                  # seconds that the slow CRM takes
KEPT_RATE, KEPT_SECONDS = 5.0, 8.0      # what one desk's workstation can carry
SIGN_IN_SECONDS = 15.0
TOLD_SECONDS = 5.0          # that the CRM gets to be told of the last call


@dataclass(frozen=True)
class Kept:
    """One scheme, its workstation on or off: calls, those in the exchange's own record, those whose end the CRM was
    told of, and the milliseconds to the 180."""

    scheme: str
    workstation: str
    calls: int
    recorded: int
    told: int
    ringing: Mapping[str, float]


def contestants(plan: Plan) -> list[Contestant]:
    """The same exchange four times on each interpreter; the first of each is what the others are held against."""
    kinds = {
        ASKED: replace(plan, hook="embedded"),
        NOBODY: replace(plan, hook="none"),
        BY_HTTP: replace(plan, hook="http"),
        SLOWLY: replace(plan, hook="http", slow=LATE),
    }
    return [
        Contestant(name + on.suffix, kind.does(), partial(setup.ours, kind, on))
        for on in plan.on()
        for name, kind in kinds.items()
    ]


def kept(plan: Plan) -> list[Kept]:
    """Both schemes, each with the workstation on and off, on the first interpreter. Raises CannotStart."""
    return [one for scheme in ("third-party", "first-party") for one in of_scheme(scheme, plan, plan.on()[0])]


def of_scheme(scheme: str, plan: Plan, on: Interpreter) -> Iterator[Kept]:
    """One scheme, its workstation on, then off. Raises CannotStart."""
    server_cpu, load_cpu = plan.cpus
    hook = "http" if scheme == "third-party" else "none"
    with (
        crm_server(load_cpu) as url,
        exchange(hook, on=on, relay=plan.relay, cpu=server_cpu, load_cpu=load_cpu, hook_url=url) as subject,
    ):
        before, recorded = 0, 0
        for state in ("on", "off"):
            tell(f"{scheme}, workstation {state} ...")
            options = replace(plan, rate=KEPT_RATE, seconds=KEPT_SECONDS, slow=0.0).options()
            desk = state == "on" and scheme == "first-party"     # third-party control has no use for one
            with _workstation(subject, url, load_cpu) if desk else nullcontext():
                run = trial(subject, options, load_cpu)
                now = _told(url, before + run.offered)
            assert subject.database is not None
            book = written(subject.database, recorded + run.offered)
            yield Kept(scheme, state, run.offered, book.records - recorded, now - before, run.ringing)
            before, recorded = now, book.records


def _told(url: str, wanted: int) -> int:
    """How many calls' ends the CRM was told of, once it is as many as wanted or time is up."""
    deadline = time.monotonic() + TOLD_SECONDS
    while (found := told(url).get("call.ended", 0)) < wanted and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


@contextmanager
def _workstation(subject: Subject, url: str, cpu: int) -> Iterator[None]:
    """The agent's own program (`hookline agent`), signed in and listening."""
    assert subject.config is not None
    command = [sys.executable, "-m", "pbxcore"]
    made = subprocess.run(
        [*command, "token", "desk", "--extension", "101", "-c", str(subject.config)],
        check=True, capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    directory = Path(subject.config.parent, "desk")
    directory.mkdir()
    environment = {"HOOKLINE_TOKEN": made.stdout.strip(), "HOOKLINE_SECRET": SECRET}
    run = [*command, "agent", "--url", subject.panel, "--post", url]
    with process(run, cpu=cpu, directory=directory, environment=environment) as started:
        deadline = time.monotonic() + SIGN_IN_SECONDS
        while "waiting for calls" not in last_words(directory):
            if started.poll() is not None or time.monotonic() > deadline:
                raise CannotStart(last_words(directory))
            time.sleep(0.05)
        yield


def late_words(runs: Mapping[str, Sequence[Run]], suffix: str) -> str:
    """What the slow CRM does to those who were not slow, on one interpreter."""
    quick, slow = median_run(runs[BY_HTTP + suffix]), median_run(runs[SLOWLY + suffix])
    return (
        f"one caller in ten late by {LATE * 1000:g} ms{suffix}: "
        f"the others' INVITE->180 p99 {slow.ringing['p99']:.2f} ms, "
        f"{quick.ringing['p99']:.2f} ms where nobody is late; the late ones' p50 {slow.apart['p50']:.1f} ms"
    )


def show_kept(rows: Sequence[Kept]) -> None:
    """The two schemes, for people."""
    print(f"{'scheme':<14}{'workstation':<13}{'calls':>6}{'recorded':>10}{'CRM told':>10}{'180 p50':>9}{'p99':>8}")
    for row in rows:
        print(
            f"{row.scheme:<14}{row.workstation:<13}{row.calls:>6}{row.recorded:>10}{row.told:>10}"
            f"{row.ringing['p50']:>9.2f}{row.ringing['p99']:>8.2f}"
        )


def gather(plan: Plan, runs: int) -> dict[str, Any]:
    """All of it, as JSON has it. Raises CannotStart."""
    everybody = contestants(plan)
    missing: dict[str, str] = {}
    made = in_turn(everybody, runs, missing, tell)
    return {
        "bench": "crm",
        "plan": asdict(plan),
        "words": plan.words(),
        "machine": plan.facts(),
        "does": {one.name: one.does for one in everybody},
        "runs": {name: [asdict(run) for run in done] for name, done in made.items()},
        "missing": missing,
        "kept": [asdict(row) for row in kept(plan)],
    }


def main(argv: list[str]) -> int:
    """0 when no call failed and third-party control told the CRM of every one."""
    parser = setup.parser("python -m bench crm", (__doc__ or "").splitlines()[0])
    parser.set_defaults(rate=200.0, media=True)
    arguments = parser.parse_args(argv)
    plan = setup.plan_of(arguments)
    try:
        found = gather(plan, arguments.runs)
    except CannotStart as error:
        print(f"the exchange did not start, or did not stay: {error}", file=sys.stderr)
        return 1
    made = {name: [Run(**run) for run in runs] for name, runs in found["runs"].items()}
    rows = [Kept(**row) for row in found["kept"]]
    if arguments.json:
        print(json.dumps(found))
    else:
        what = f"{plan.rate:g} calls/s for {plan.seconds:g} s{plan.warming()}"
        table.show(what, made, found["does"], found["missing"], found["machine"])
        for suffix in suffixes(made, SLOWLY):
            print(late_words(made, suffix))
        show_kept(rows)
    whole = all(row.told == row.calls for row in rows if row.scheme == "third-party")
    return 0 if whole and not found["missing"] and all(run.good for runs in made.values() for run in runs) else 1
