"""Asterisk with PJSIP (`asterisk/*.conf`): the C yardstick that does what we do, a B2BUA with its own media ports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from bench.subject import HOST, Subject, installed, process, wait_for_sip

NAME = "Asterisk"
DOES = "C; back-to-back user agent with media ports allocated; no look-up, no records"
CONFIG = Path(__file__).parent / "asterisk"


def find() -> str:
    """Its path; empty when it is not installed."""
    return installed("asterisk")


def write_config(directory: Path, port: int, callee_port: int) -> Path:
    """The configuration with its places filled in; what to give to `asterisk -C`."""
    places = {"@DIRECTORY@": str(directory), "@SIP_PORT@": str(port), "@CALLEE_PORT@": str(callee_port)}
    for file in sorted(CONFIG.glob("*.conf")):
        text = file.read_text("utf-8")
        for place, value in places.items():
            text = text.replace(place, value)
        (directory / file.name).write_text(text, "utf-8")
    return directory / "asterisk.conf"


def starter(path: str) -> Callable[[Path, int, int, int], AbstractContextManager[Subject]]:
    """A `bench.peers.Starter`."""

    @contextmanager
    def start(directory: Path, cpu: int, port: int, callee_port: int) -> Iterator[Subject]:
        command = [path, "-f", "-C", str(write_config(directory, port, callee_port))]
        with process(command, cpu=cpu, directory=directory) as started:
            server = (HOST, port)
            wait_for_sip(server, started, directory)
            yield Subject(NAME, server, callee_port, signalling=[started.pid])

    return start
