"""Runs the tests, as `make test` does:

    python -m tests [--workers N] [ARGUMENT OF PYTEST ...]

First those that are marked `alone`, one after the other with nothing beside them; then all others, on several workers
(pytest-xdist), a file on one of them.

Processes, sockets and browsers of others may be late on a machine that is busy. So when what has failed are at most
five tests that ran beside others, all of them of the rooms in `REAL`, those are run once more, alone. What fails again
has failed; what passes is named as "passed only when run alone". All other tests end alike every time: there is no
second try once one of them has failed, nor one that is marked `alone`.

The last lines name what failed, and count the tests of all passes: "8217 passed, 0 failed". The status is 0 only if
nothing has failed in the end.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BYTECODE = ROOT / ".pytest_cache" / "bytecode"
FAILED, NOTHING_TO_RUN = 1, 5       # pytest's statuses
FINE = (0, NOTHING_TO_RUN)
REAL = (        # where processes of others, or of ours, are met by their sockets, in real time
    "tests/browser/",
    "tests/contract/test_crash.py",
    "tests/contract/test_every_call_once.py",
    "tests/contract/test_http_hook.py",
    "tests/contract/test_store.py",
    "tests/contract/test_tryton.py",
    "tests/interop/",
    "tests/unit/bench/test_crm.py",
    "tests/unit/bench/test_relay.py",
    "tests/unit/bench/test_smoke.py",
    "tests/unit/bench/test_stages.py",
    "tests/wire/",
)
FEW = 5


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests", allow_abbrev=False)
    parser.add_argument("--workers", type=int, default=workers(os.cpu_count() or 1), help="how many (%(default)s)")
    known, rest = parser.parse_known_args(arguments)
    with tempfile.TemporaryDirectory(prefix="hookline-tests-") as directory:
        run = Run(Path(directory), rest)
        statuses = [run("-m", "alone", "-n", "1"), run("-m", "not alone", "-n", str(known.workers))]
        doubtful, late = run.failed, []
        if statuses[0] in FINE and statuses[1] == FAILED and may_be_late(doubtful):
            print(f"\nOnce more, alone: {', '.join(doubtful)}", flush=True)
            statuses[1] = run("-m", "not alone", "-n", "1", "--last-failed", "--last-failed-no-failures=none")
            late = [name for name in doubtful if name not in run.failed]
    if late:
        print(f"\n{len(late)} passed only when run alone:", *late, sep="\n")
    if run.failed:
        print(f"\n{len(run.failed)} failed:", *run.failed, sep="\n")
    wrong = [status for status in statuses if status not in FINE]
    if wrong and not run.failed:
        print(f"\npytest ended with status {wrong[0]}")
    print(f"\n{run.totals()}", flush=True)
    if not wrong and set(statuses) == {NOTHING_TO_RUN}:
        return NOTHING_TO_RUN
    return wrong[0] if wrong else FAILED if run.failed else 0


def workers(processors: int) -> int:
    """Many tests wait most of the time: one more than there are processors, but not so many that they are late."""
    return min(processors + 1, 4)


def may_be_late(failed: Sequence[str]) -> bool:
    """Whether tests failed that another try may clear."""
    return 0 < len(failed) <= FEW and all(name.startswith(REAL) for name in failed)


class Run:
    """The passes of one run, and how each test ended in the last of them that it was in. What has failed is known to
    `--last-failed` from the passes before alone: their cache is in `directory`."""

    def __init__(self, directory: Path, rest: Sequence[str]) -> None:
        self._directory, self._rest = directory, rest
        self._outcomes: dict[str, str] = {}

    def __call__(self, *arguments: str) -> int:
        """pytest's status."""
        told = self._directory / "outcomes.json"
        told.unlink(missing_ok=True)
        status = _pytest(*arguments, f"--outcomes-to={told}", "-o", f"cache_dir={self._directory}", *self._rest)
        if told.exists():
            self._outcomes |= json.loads(told.read_text(encoding="utf-8"))
        return status

    @property
    def failed(self) -> list[str]:
        return sorted(name for name, outcome in self._outcomes.items() if outcome == "failed")

    def totals(self) -> str:
        counted = Counter({"passed": 0, "failed": 0})
        counted.update(self._outcomes.values())
        return ", ".join(f"{count} {outcome}" for outcome, count in counted.items())


def _pytest(*arguments: str) -> int:
    """Its status. All processes of all tests share what was compiled, also where it may not be kept beside the code."""
    environment = dict(os.environ)
    if environment.pop("PYTHONDONTWRITEBYTECODE", None):
        environment["PYTHONPYCACHEPREFIX"] = str(BYTECODE)
    command = [sys.executable, "-m", "pytest", "--dist", "loadfile", "--no-loadscope-reorder", *arguments]
    return subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, check=False).returncode


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
