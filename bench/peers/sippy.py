"""Sippy's B2BUA (`b2bua_simple`, PyPI `sippy`): the Python yardstick.

Its traps: an upper-case `;transport=UDP` in a Contact makes its B-leg's BYE fail (ours has none), and it sometimes
sends no 180, so those calls are missing in its INVITE->180.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from bench.subject import HOST, ROOT, Subject, process, wait_for_sip

NAME = "Sippy B2BUA"
DOES = "Python; back-to-back user agent, signalling only: no media, no look-up, no records"
VARIABLE = "HOOKLINE_BENCH_SIPPY"
PLACE = ".venv-sippy"       # a virtual environment of its own, in the project's directory


def find(path: str = "") -> list[str]:
    """The command of b2bua_simple: as given, named by HOOKLINE_BENCH_SIPPY, on the path, in PLACE of the project, or of
    this interpreter."""
    own = shutil.which("b2bua_simple", path=str(ROOT / PLACE / "bin"))
    given = path or os.environ.get(VARIABLE, "") or shutil.which("b2bua_simple") or own or ""
    if given:
        return [str(Path(given).absolute())] if os.access(given, os.X_OK) else []
    return [sys.executable, "-m", "sippy.b2bua_simple"] if importlib.util.find_spec("sippy") else []


def starter(found: Sequence[str]) -> Callable[[Path, int, int, int], AbstractContextManager[Subject]]:
    """A `bench.peers.Starter`."""

    @contextmanager
    def start(directory: Path, cpu: int, port: int, callee_port: int) -> Iterator[Subject]:
        command = [*found, "-f", "-l", HOST, "-p", str(port), "-n", f"{HOST}:{callee_port}"]
        with process(command, cpu=cpu, directory=directory, environment={"SIPLOG_BEND": "none"}) as started:
            server = (HOST, port)
            wait_for_sip(server, started, directory)
            yield Subject(NAME, server, callee_port, signalling=[started.pid])

    return start
