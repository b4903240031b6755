"""`python -m bench peers`: the same set-up load against whichever peers are installed, beside ours of the same run.

With `--best` no rate is given: the highest is searched for with which each of them keeps up (`bench.best`).
"""

from __future__ import annotations

import argparse
import sys

from bench import best, setup
from bench.peers import registry
from bench.peers.kamailio_pbx import Job
from bench.subject import CannotStart

FIXED = ("rate", "seconds", "runs")     # what a search chooses itself


def main(argv: list[str]) -> int:
    """0 when no call of ours failed; of --best, when ours was searched. A peer that is not installed is said so."""
    parser = setup.parser("python -m bench peers", (__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--best", action="store_true", help="instead of one rate: the highest that each keeps up with (about 8 minutes)"
    )
    arguments = parser.parse_args(argv)
    plan = setup.plan_of(arguments)
    if not arguments.best:
        return setup.perform(plan, arguments, with_peers=True)
    if any(getattr(arguments, name) != parser.get_default(name) for name in FIXED):
        parser.error("--best chooses rates and times itself: without --rate, --seconds and --runs")
    return search(plan, arguments)


def search(plan: setup.Plan, arguments: argparse.Namespace) -> int:
    """Search, print; 1 when ours did not start."""
    peers, missing = registry.look(arguments.sippy, Job(plan.hook, plan.relay, plan.cpus[1]))
    try:
        data = best.gathered(plan, peers, missing, setup.tell)
    except CannotStart as error:
        print(f"the exchange did not start, or did not stay: {error}", file=sys.stderr)
        return 1
    best.show(data, arguments.json, plan.facts())
    return 0
