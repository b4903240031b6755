"""Kamailio as a carrier (`kamailio-registrar.cfg`), in a process of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import require_tool
from tests.ports import free_port

CONFIG = Path(__file__).with_name("kamailio-registrar.cfg")
OPTIONS = (
    "OPTIONS sip:{host} SIP/2.0\r\nVia: SIP/2.0/UDP {own}:{port};branch=z9hG4bKready\r\nMax-Forwards: 70\r\n"
    "From: <sip:test@{own}>;tag=1\r\nTo: <sip:{host}>\r\nCall-ID: ready\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
)


def find() -> str:
    """Its path; daemons are not on everybody's."""
    return shutil.which("kamailio") or shutil.which("kamailio", path="/usr/sbin:/usr/local/sbin") or ""


@contextmanager
def carrier(directory: Path, host: str, callee: str, *, algorithm: str = "MD5") -> Iterator[tuple[str, int]]:
    """Where it listens, until the block ends. Calls that are not for `office` go to `callee` (user@host:port)."""
    path = find() or require_tool("kamailio")
    port = free_port(host)
    log = (directory / "kamailio.log").open("w")
    process = subprocess.Popen(
        [
            path, "-DD", "-E", "-f", str(CONFIG), "-l", f"udp:{host}:{port}", "-m", "64", "-M", "8",
            "-w", str(directory), "-Y", str(directory), "-P", str(directory / "kamailio.pid"),
            "-A", f'CALLEE="sip:{callee}"', "-A", f'ALGORITHM="{algorithm}"',
        ],
        cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
    )  # fmt: skip
    try:
        _wait(host, port, process, directory)
        yield host, port
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)   # it has children, and its own session
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        log.close()


def _wait(host: str, port: int, process: subprocess.Popen[bytes], directory: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.bind((host, 0))
        asking.settimeout(0.1)
        own = asking.getsockname()
        for _ in range(100):
            assert process.poll() is None, (directory / "kamailio.log").read_text()
            asking.sendto(OPTIONS.format(host=host, own=own[0], port=own[1]).encode(), (host, port))
            try:
                asking.recv(4096)
                return
            except OSError:
                time.sleep(0.02)
    raise AssertionError((directory / "kamailio.log").read_text())
