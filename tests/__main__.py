"""Runs the tests on several workers:

    python -m tests [--workers N] [ARGUMENT OF PYTEST ...]

First those that are marked `alone`, one after the other with nothing beside them; then all others, on several workers
(pytest-xdist), a file on one of them. The last lines name what failed in either.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BYTECODE = ROOT / ".pytest_cache" / "bytecode"
NOTHING_TO_RUN = 5      # pytest's status


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests", allow_abbrev=False)
    parser.add_argument("--workers", type=int, default=workers(os.cpu_count() or 1), help="how many (%(default)s)")
    known, rest = parser.parse_known_args(arguments)
    with tempfile.NamedTemporaryFile("r", prefix="hookline-failed-", encoding="utf-8") as failed:
        statuses = [
            _pytest("-m", "alone", "-n", "1", f"--failed-to={failed.name}", *rest),
            _pytest("-m", "not alone", "-n", str(known.workers), f"--failed-to={failed.name}", *rest),
        ]
        names = failed.read().split("\n")[:-1]
    if names:
        print(f"\n{len(names)} failed:", *names, sep="\n", flush=True)
    wrong = [status for status in statuses if status not in (0, NOTHING_TO_RUN)]
    if not wrong and set(statuses) == {NOTHING_TO_RUN}:
        return NOTHING_TO_RUN
    return wrong[0] if wrong else 0


def workers(processors: int) -> int:
    """Many tests wait most of the time: one more than there are processors, but not so many that they are late."""
    return min(processors + 1, 4)


def _pytest(*arguments: str) -> int:
    """Its status. All processes of all tests share what was compiled, also where the environment forbids that."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(BYTECODE)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-m", "pytest", "--dist", "loadfile", "--no-loadscope-reorder", *arguments]
    return subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, check=False).returncode


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
