"""Kamailio as a stateful proxy (`kamailio.cfg`): the C yardstick for signalling alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from bench import machine
from bench.subject import HOST, Subject, installed, process, wait_for_sip

NAME = "Kamailio"
DOES = "C; stateful proxy: no back-to-back user agent, no media, no look-up, no records"
CONFIG = Path(__file__).with_name("kamailio.cfg")
# MiB, shared and of each process. Transactions stay for five seconds after their end: with 256 calls were refused for
# want of memory at 1,900/s, where the CPU had room for half as many again.
SHARED_MEMORY = ("-m", "1024", "-M", "16")


def find() -> str:
    """Its path; empty when it is not installed."""
    return installed("kamailio")


def starter(path: str) -> Callable[[Path, int, int, int], AbstractContextManager[Subject]]:
    """A `bench.peers.Starter`."""

    @contextmanager
    def start(directory: Path, cpu: int, port: int, callee_port: int) -> Iterator[Subject]:
        command = [
            path, "-DD", "-E", "-f", str(CONFIG), "-l", f"udp:{HOST}:{port}", *SHARED_MEMORY,
            "-w", str(directory), "-Y", str(directory), "-P", str(directory / "pid"),
            "-A", f'CALLEE="sip:101@{HOST}:{callee_port}"',
        ]  # fmt: skip
        with process(command, cpu=cpu, directory=directory) as started:
            server = (HOST, port)
            wait_for_sip(server, started, directory)
            yield Subject(NAME, server, callee_port, signalling=[started.pid, *machine.children(started.pid)])

    return start
