"""The peers: which are installed, what each does for its call, and one run of the load against one of them.

A peer is started on the exchange's CPU with a configuration of its own, loaded by the same generator and stopped. What
each does differs and is said by `does`: a ratio without it means nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import wire
from bench.caller import GIVEN_UP
from bench.figures import Run
from bench.options import Options
from bench.peers import asterisk_pbx, kamailio, kamailio_pbx, sippy
from bench.peers.kamailio_pbx import Job
from bench.subject import HOST, Subject
from bench.trial import trial, warm

Starter = Callable[[Path, int, int, int], AbstractContextManager[Subject]]
"""Directory to work in, CPU, SIP port, the callee's port."""


@dataclass(frozen=True)
class Peer:
    """A server that others made. `start` raises CannotStart."""

    name: str
    does: str
    start: Starter


@contextmanager
def _nothing(directory: Path, cpu: int, port: int, callee_port: int) -> Iterator[Subject]:
    yield Subject(NOTHING, (HOST, callee_port), callee_port)


NOTHING = "nothing between"
AS_REPORTED = Job()


def look(sippy_path: str = "", job: Job = AS_REPORTED) -> tuple[list[Peer], dict[str, str]]:
    """The peers that are installed, and why the others are not measured. `job` is what ours does in this run."""
    found = [Peer(NOTHING, "the load calls itself: what every figure contains", _nothing)]
    missing: dict[str, str] = {}
    kamailio_path = kamailio.find()
    if kamailio_path:
        found.append(Peer(kamailio.NAME, kamailio.DOES, kamailio.starter(kamailio_path)))
    else:
        missing[kamailio.NAME] = "not installed (Debian: apt-get install kamailio)"
    absent = kamailio_pbx.missing(kamailio_path, job)
    if absent:
        missing[kamailio_pbx.NAME] = absent
    else:
        found.append(Peer(kamailio_pbx.NAME, job.does(), kamailio_pbx.starter(kamailio_path, job)))
    sippy_command = sippy.find(sippy_path)
    if sippy_command:
        found.append(Peer(sippy.NAME, sippy.DOES, sippy.starter(sippy_command)))
    else:
        missing[sippy.NAME] = f"not installed (python3 -m venv {sippy.PLACE} && {sippy.PLACE}/bin/pip install sippy)"
    asterisk_path = asterisk_pbx.find()
    if asterisk_path:
        found.append(Peer(asterisk_pbx.NAME, asterisk_pbx.DOES, asterisk_pbx.starter(asterisk_path)))
    else:
        missing[asterisk_pbx.NAME] = "not on the path"
    return found, missing


def run(peer: Peer, options: Options, cpus: tuple[int, int], *, warm_up: int = 0) -> Run:
    """One run on a fresh server, after so many calls that are not measured. Raises CannotStart."""
    server_cpu, load_cpu = cpus
    with tempfile.TemporaryDirectory(prefix="hookline-bench-") as name:
        port, callee_port = wire.free_port(HOST), wire.free_port(HOST)
        with peer.start(Path(name), server_cpu, port, callee_port) as subject:
            before = warm(subject, options, warm_up, load_cpu)
            measured = trial(subject, options, load_cpu)
            measured.warmed = before.offered
            if subject.audit is not None and GIVEN_UP not in measured.reasons:
                records, wrong = subject.audit([before.offered, measured.offered])
                measured.records = records - before.offered
                measured.faults += wrong
            return measured
