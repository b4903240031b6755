"""The interpreters that Hookline is measured on: the bench's own, and others that `--interpreter` names.

Only the exchange runs on another one. The load stays on the bench's own for everybody: one whose JIT warms up would be
in every latency. `python -m bench.interpreter` says of the interpreter that runs it what must stand beside its figures.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bench import machine
from bench.subject import ROOT

NAME = "Hookline"
ON = " on "
WARM_UP = 20_000            # calls until PyPy's JIT has compiled what a call runs through, with some to spare
ANSWER_SECONDS = 60.0
INSTALL = "{pip} -m pip --python {path} install -e {root}"


class Unusable(argparse.ArgumentTypeError):
    """An interpreter is not there, or cannot run the exchange; the message says what to do."""


@dataclass(frozen=True)
class Interpreter:
    """`name` is that of Hookline on it, `facts` what must stand beside its figures; one with a JIT is warmed up."""

    path: str
    name: str
    facts: str
    jit: bool

    @property
    def suffix(self) -> str:
        """What tells a name on this interpreter from the same on the bench's own; empty of that."""
        return self.name.removeprefix(NAME)


def asked(text: str) -> Interpreter:
    """The interpreter at a path or of a name on the path, by its own words. Raises Unusable."""
    path = shutil.which(text)
    if path is None:
        raise Unusable(f"{text} is not there, or no program")
    path = str(Path(path).absolute())       # not resolved: a virtual environment's is a link
    try:
        said = subprocess.run(
            [path, "-m", "bench.interpreter"], cwd=ROOT, capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL, timeout=ANSWER_SECONDS,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unusable(f"{text} does not run: {error}") from None
    try:
        return Interpreter(path, **json.loads(said.stdout))
    except (ValueError, TypeError):
        words = (said.stderr.strip() or "it says nothing").splitlines()[-1]
        install = INSTALL.format(pip=sys.executable, path=path, root=ROOT)
        raise Unusable(f"{text} cannot run Hookline: {words}. Its packages: {install}") from None


def add_interpreter(parser: argparse.ArgumentParser) -> None:
    """The option that all share who measure ours."""
    parser.add_argument(
        "--interpreter", type=asked, action="append", default=[], metavar="PATH",
        help="measure ours on this Python, too (PyPy, another CPython); may be given again",
    )  # fmt: skip


def own() -> Interpreter:
    """The bench's own."""
    return Interpreter(sys.executable, NAME, machine.interpreter(), machine.has_jit())


def told_apart(found: Sequence[Interpreter]) -> tuple[Interpreter, ...]:
    """The same; those of one name have their paths in it."""
    names = [one.name for one in found]
    return tuple(
        replace(one, name=f"{one.name} ({one.path})") if names.count(one.name) > 1 else one for one in found
    )


def suffixes(names: Iterable[str], of: str = NAME) -> list[str]:
    """The suffixes of those names that are `of`, on whichever interpreter."""
    return [name.removeprefix(of) for name in names if name == of or name.startswith(of + ON)]


def main() -> None:
    """Say what this interpreter is, if the exchange can run on it."""
    import bench.server  # noqa: F401 - fails where the project's packages are not

    words = f"{machine.interpreter()}; collector {machine.collector()}; loop {machine.loop()}"
    here = Interpreter(sys.executable, f"{NAME}{ON}{machine.implementation()}", words, machine.has_jit())
    print(json.dumps({name: value for name, value in asdict(here).items() if name != "path"}))


if __name__ == "__main__":
    main()
