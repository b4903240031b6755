"""`python -m bench report`: a fixed set of runs, written to bench/RESULTS.md and as one page with plots.

Set-up at 50 and 500 calls/s with the peers, at 1,000 with those who can; the best rate of each; where the time of a
call goes; 100,000 calls in one run; at 200 what asking the CRM costs; the relay; the parser. The set, its order and the
rule are fixed before: the middle of three runs, none repeated, none left out. What was gathered is kept as JSON beside
the page, so that both can be written again (`--from`) without measuring again.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import best, crm, parse, relay, results, warming
from bench.document import html, markdown
from bench.interpreter import NAME, Interpreter, Unusable, add_interpreter, asked, told_apart
from bench.peers import kamailio, kamailio_pbx, registry
from bench.setup import Contestant, Plan, contestants, in_turn, staged, tell
from bench.subject import ROOT, CannotStart

TITLE = "Hookline: what calls cost"
RATES = (50.0, 500.0, 1000.0)
CRM_RATE = 200.0
STAGE_RATES = (50.0, 500.0)
LONG_RATE, LONG_SECONDS = 500.0, 200.0       # 100,000 calls
FAST_PEERS = (registry.NOTHING, kamailio.NAME, kamailio_pbx.NAME)   # who may be asked for 1,000 calls/s at all
PYPY = ROOT / ".venv-pypy" / "bin" / "python"       # measured, too, when it is there: `make bench` makes it
STREAMS = (800, 1200)       # 400 and 600 calls


def said(main: Callable[[list[str]], int], argv: list[str]) -> Any:
    """The JSON that a command prints."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        main(argv)
    return json.loads(output.getvalue())


def measured(plan: Plan, peers: list[registry.Peer]) -> list[Contestant]:
    """Who is measured at the rate of this plan."""
    if plan.rate > RATES[1]:
        peers = [peer for peer in peers if peer.name in FAST_PEERS]
    return contestants(plan, peers)


def gathered(plan: Plan, runs: int, peers: list[registry.Peer], missing: dict[str, str]) -> dict[str, Any]:
    """The runs of everybody who is measured under this plan. Raises CannotStart."""
    tell(plan.words())
    everybody = measured(plan, peers)
    absent = dict(missing)
    made = in_turn(everybody, runs, absent, tell)
    return {
        "plan": asdict(plan),
        "words": plan.words(),
        "does": {one.name: one.does for one in everybody},
        "runs": {name: [asdict(run) for run in done] for name, done in made.items()},
        "missing": absent,
    }


def gather(
    runs: int, seconds: float, sippy: str, command: str, *, long: bool = True,
    interpreters: tuple[Interpreter, ...] = (), missing: Mapping[str, str] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Measure all of it, ours on these interpreters, too; `long`: the run of many calls. Raises CannotStart."""
    peers, absent = registry.look(sippy)
    absent |= missing or {}
    plan = Plan(seconds=seconds, relay=True, interpreters=interpreters)
    setups = [gathered(replace(plan, rate=rate), runs, peers, absent) for rate in RATES]
    fastest = best.gathered(plan, peers, absent, tell)
    tell("stages ...")
    marked = [staged(replace(plan, rate=rate), on) for rate in STAGE_RATES for on in plan.on()]
    lasting = replace(plan, rate=LONG_RATE, seconds=LONG_SECONDS)
    begun_cold = any(on.jit for on in plan.on())
    asked_crm = crm.gather(replace(plan, rate=CRM_RATE), runs)
    relayed = [option for on in interpreters for option in ("--interpreter", on.path)]
    tell("relay and parser ...")
    return {
        "taken": {"taken": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "commit": _commit(), "command": command},
        "machine": plan.facts(),
        "setups": setups,
        "best": fastest,
        "stages": marked,
        "long": gathered(lasting, 1, [], {}) if long else None,
        "warming": gathered(warming.cold(plan), 1, [], {}) if begun_cold else None,
        "crm": asked_crm,
        "relay": [
            run
            for n in STREAMS
            for run in said(relay.main, ["--streams", str(n), "--seconds", f"{seconds:g}", *relayed, "--json"])["runs"]
        ],
        "parse": said(lambda argv: parse.main(argv), ["--json"]),
    }


def also(named: Sequence[Interpreter]) -> tuple[tuple[Interpreter, ...], dict[str, str]]:
    """The interpreters that were named, or that of `make bench`; why it is not measured when it cannot be."""
    if named or not PYPY.exists():
        return told_apart(named), {}
    try:
        return (asked(str(PYPY)),), {}
    except Unusable as error:
        return (), {f"{NAME} on PyPy": str(error)}


def _commit() -> str:
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"


def write(data: dict[str, Any], results_file: Path, page: Path) -> None:
    """Both documents, from what was gathered."""
    found = results.sections(data)
    results_file.write_text(markdown(TITLE, found), "utf-8")
    page.write_text(html(TITLE, found), "utf-8")
    print(f"written: {results_file} and {page}")
    noise = results.noise_of(data)
    if noise:
        print(f"{len(noise)} runs were disturbed; the first: {noise[0]}. They are named on the page.", file=sys.stderr)


def main(argv: list[str]) -> int:
    """Measure and write, or write again."""
    parser = argparse.ArgumentParser(prog="python -m bench report", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=3, help="runs of everything, in turn (default 3)")
    parser.add_argument("--seconds", type=float, default=10, help="length of a run (default 10)")
    parser.add_argument("--short", action="store_true", help="without 100,000 calls in one run (4 minutes less)")
    add_interpreter(parser)
    parser.add_argument("--sippy", default="", help="Sippy's b2bua_simple, when it is not on the path")
    parser.add_argument("--out", type=Path, default=ROOT / "bench", help="directory of RESULTS.md and results.html")
    parser.add_argument("--from", dest="source", type=Path, help="write again what this results.json has")
    options = parser.parse_args(argv)
    kept = options.out / "results.json"
    if options.source is not None:
        data = json.loads(options.source.read_text("utf-8"))
    else:
        command = f"python -m bench report --runs {options.runs} --seconds {options.seconds:g}"
        command += " --short" if options.short else ""
        command += "".join(f" --interpreter {one.path}" for one in options.interpreter)
        interpreters, missing = also(options.interpreter)
        try:
            data = gather(
                options.runs, options.seconds, options.sippy, command, long=not options.short,
                interpreters=interpreters, missing=missing,
            )  # fmt: skip
        except CannotStart as error:
            print(f"the exchange did not start, or did not stay: {error}", file=sys.stderr)
            return 1
        kept.write_text(json.dumps(data), "utf-8")
    write(data, options.out / "RESULTS.md", options.out / "results.html")
    return 0
