"""What tests of every room share: asking for the tools of others that may not be on this machine, in which order they
run, and what is said of how they ended."""

from __future__ import annotations

import gc
import glob
import importlib
import json
import os
import shutil
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import hypothesis
import pytest

from tests.workers import own_network

# How long an example takes says nothing where other tests run beside it. Continuous integration plays the same examples
# every time; at a desk there are new ones.
hypothesis.settings.register_profile(
    "tests", deadline=None, derandomize=bool(os.environ.get("CI")), print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)  # fmt: skip
hypothesis.settings.load_profile("tests")

# Debian keeps these off the path: PostgreSQL's server programs, and daemons in sbin.
EXTRA_PLACES = ("/usr/lib/postgresql/*/bin", "/usr/sbin", "/usr/local/sbin")


def _missing(what: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"{what}; continuous integration must have it", pytrace=False)
    pytest.skip(what)


def require_tool(name: str) -> str:
    """The path of the program `name`. Without it the test is skipped; when CI is set it fails."""
    places = (path for pattern in EXTRA_PLACES for path in sorted(glob.glob(pattern), reverse=True))
    found = shutil.which(name) or shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        _missing(f"{name} is not installed")
    return found


def require_root(what: str) -> None:
    """Skips the test, or fails it when CI is set, unless it may do what only root may; `what` names that."""
    if os.geteuid() != 0:
        _missing(f"{what} need root")


def could_not(what: str) -> NoReturn:
    """Something of the machine's that the test needs could not be made: skips it, or fails it when CI is set."""
    _missing(what)


def require_module(name: str, *, expected: bool = True) -> ModuleType:
    """The module `name` of another project. `expected` is False where it has no wheel for this Python: then it is
    never more than a skip."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if not expected:
            pytest.skip(f"{name} is not available for this Python: {error}")
        _missing(f"{name} cannot be imported: {error}")


ORDER = ("unit", "property", "scenario", "torture", "contract", "wire", "interop", "browser")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--outcomes-to", type=Path, help="a file for how each test ended, a JSON object of names")


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):      # of pytest-xdist: others run beside this one
        own_network()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is quick and tells most comes first; among several workers what takes long, so that none has much left to do
    when the others are through. The browser is last: its driver keeps an event loop running in this thread, beside
    which no other test could run one."""
    order = ORDER
    if hasattr(config, "workerinput"):
        order = (*reversed(ORDER[:-1]), ORDER[-1])

    def rank(item: pytest.Item) -> int:
        room = item.path.parts[item.path.parts.index("tests") + 1] if "tests" in item.path.parts else ""
        return order.index(room) if room in order else 0

    items.sort(key=rank)


def pytest_collection_finish() -> None:
    """What has been imported and collected stays: the collector need not look through it again and again."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish(session: pytest.Session) -> None:
    path, reporter = session.config.option.outcomes_to, session.config.pluginmanager.get_plugin("terminalreporter")
    if path is None or reporter is None or hasattr(session.config, "workerinput"):
        return
    outcomes: dict[str, str] = {}
    for outcome in ("passed", "skipped", "xfailed", "xpassed", "failed", "error"):     # the last is what counts
        for report in reporter.stats.get(outcome, ()):
            outcomes[report.nodeid] = "failed" if outcome == "error" else outcome
    path.write_text(json.dumps(outcomes), encoding="utf-8")
