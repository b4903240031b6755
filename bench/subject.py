"""What is measured: a server that is running, by its address and its processes. Starting one and letting it go."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import machine

HOST = "127.0.0.1"
ROOT = Path(__file__).parents[1]
START_SECONDS = 20.0
STOP_SECONDS = 10.0
PLACES = "/usr/sbin:/usr/local/sbin"    # daemons are not on everybody's path


def installed(program: str) -> str:
    """Its path; empty when it is not installed."""
    return shutil.which(program) or shutil.which(program, path=PLACES) or ""


class CannotStart(Exception):
    """A server did not come up or did not stay up; the message has its last words."""


@dataclass
class Subject:
    """A running server. `media` are the processes among its own whose work is audio. `audit` counts the records
    of a peer that writes some, after loads of so many calls each, and says what is wrong with them."""

    name: str
    server: tuple[str, int]
    callee_port: int
    caller_port: int = 0
    password: str = ""
    signalling: list[int] = field(default_factory=list)
    media: list[int] = field(default_factory=list)
    panel: str = ""
    database: Path | None = None
    config: Path | None = None
    audit: Callable[[Sequence[int]], tuple[int, list[str]]] | None = None

    @property
    def pids(self) -> list[int]:
        return self.signalling + self.media


@contextmanager
def process(
    command: Sequence[str], *, cpu: int | None, directory: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A program pinned to a CPU, in a session of its own; what it says goes to `directory`/output."""
    with (directory / "output").open("wb") as output, machine.on_cpu(cpu):
        started = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=ROOT, start_new_session=True,
            env={**os.environ, **(environment or {})},
        )  # fmt: skip
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()


def last_words(directory: Path) -> str:
    """The end of what the program in this directory has said."""
    return (directory / "output").read_text("utf-8", "replace")[-2000:].strip()


def wait_for_sip(server: tuple[str, int], started: subprocess.Popen[bytes], directory: Path) -> None:
    """Until the server answers OPTIONS, with whatever status. Raises CannotStart."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((HOST, 0))
        sock.settimeout(0.2)
        host, port = sock.getsockname()
        to = f"sip:{server[0]}:{server[1]}"
        deadline = time.monotonic() + START_SECONDS
        attempt = 0
        while time.monotonic() < deadline and started.poll() is None:
            attempt += 1
            request = (
                f"OPTIONS {to} SIP/2.0\r\nVia: SIP/2.0/UDP {host}:{port};branch=z9hG4bKprobe{attempt};rport\r\n"
                f"Max-Forwards: 70\r\nFrom: <sip:probe@{host}>;tag=p{attempt}\r\nTo: <{to}>\r\n"
                f"Call-ID: probe{attempt}@{host}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
            )
            try:
                sock.sendto(request.encode(), server)
                if sock.recv(65535)[:8] == b"SIP/2.0 ":
                    return
            except (TimeoutError, ConnectionRefusedError):
                time.sleep(0.05)
    raise CannotStart(last_words(directory) or f"no answer at {server[0]}:{server[1]}")
