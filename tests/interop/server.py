"""The exchange as its users run it: `hookline serve -c FILE` in a process of its own, on free loopback ports."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CARRIER = "127.0.0.2"          # every [[trunk]] of these tests is known by this address
NUMBER = "+12025550100"        # rings 101
TRUNK_USER, TRUNK_PASSWORD = "office", "trunk-password"
MEDIA_PORTS = range(10_000, 32_768)     # below the ports that the kernel hands out
PATIENCE = 30.0                # seconds for what must come: other tests may keep the machine busy
START_SECONDS = 60.0
STOP_SECONDS = 60.0
EVERYWHERE = ("udp:127.0.0.1:0", "tcp:127.0.0.1:0", "udp:[::1]:0", "tcp:[::1]:0")
LOOPBACK = ("udp:127.0.0.1:0",)


def password_of(number: str) -> str:
    return f"secret-of-{number}"


class Server:
    """One exchange and its directory; started again on the same ports and the same database.

    `sip` is added to section [sip], `more` to the end of the settings file; `carrier_port` is that of trunk `carrier`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        listen: Sequence[str] = EVERYWHERE,
        extensions: Iterable[str] = ("101", "102"),
        carrier_port: int = 5060,
        accept_from: str = CARRIER,
        media_ports: int = 400,
        deadline_ms: int = 300,
        on_unknown: str = "create",
        country: str = "US",
        sip: str = "",
        more: str = "",
    ) -> None:
        self.directory = directory
        self.config = directory / "hookline.toml"
        self.database = directory / "hookline.db"
        self.complaints = directory / "stderr.txt"
        self.listen = list(listen)
        self._sip = sip
        self.panel = ""
        self._process: subprocess.Popen[str] | None = None
        self.first_media_port = first = free_range(media_ports)
        phones = "".join(
            f'[[extension]]\nnumber = "{number}"\nname = "Desk {number}"\npassword = "{password_of(number)}"\n'
            for number in extensions
        )
        self._rest = f"""
[media]
ports = "{first}-{first + media_ports - 1}"
[office]
country = "{country}"
[web]
listen = "127.0.0.1:0"
[database]
url = "sqlite:///{self.database}"
[[trunk]]
name = "carrier"
server = "{CARRIER}:{carrier_port}"
username = "{TRUNK_USER}"
password = "{TRUNK_PASSWORD}"
accept_from = ["{accept_from}"]
[[inbound]]
number = "{NUMBER}"
to = "101"
[[outbound]]
prefix = "9"
strip = 1
trunks = ["carrier"]
{phones}
[crm]
deadline_ms = {deadline_ms}
on_unknown = "{on_unknown}"
{more}
"""

    # ---- running

    def start(self) -> Server:
        listen = ", ".join(f'"{spec}"' for spec in self.listen)
        sip = f"[sip]\nlisten = [{listen}]\ndrain_seconds = 1\n{self._sip}\n"
        self.config.write_text(sip + self._rest, "utf-8")
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{self.directory}"}
        with self.complaints.open("a") as complaints:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pbxcore", "serve", "-c", str(self.config)],
                cwd=self.directory, env=environment, text=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints,
            )  # fmt: skip
        self.words = self._until_ready()
        return self

    def _until_ready(self) -> list[str]:
        """What the exchange printed before it was ready."""
        process = self.process
        assert process.stdout is not None
        words = []
        guard = _Alarm(START_SECONDS, process)
        for line in process.stdout:
            if line.startswith("ready "):
                guard.cancel()
                found = dict(part.split("=", 1) for part in line.split()[1:])
                self.listen = found["sip"].split(",")
                self.panel = found["panel"]
                return words
            words.append(line)
        guard.cancel()
        raise AssertionError(f"the exchange did not start: {words} {self.complaints.read_text()}")

    @property
    def process(self) -> subprocess.Popen[str]:
        assert self._process is not None, "the exchange is not running"
        return self._process

    def stop(self) -> None:
        """SIGTERM: it must end by itself with 0, and have nothing to complain about."""
        figures = self.metrics()
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=STOP_SECONDS)
        status, self._process = self.process.returncode, None
        complaints = self.complaints.read_text()
        assert status == 0, complaints
        assert "Traceback" not in complaints, complaints
        assert figures["hookline_call_faults_total"] == 0, complaints
        assert figures["hookline_net_crashes_total"] == 0, complaints

    def kill(self) -> None:
        """The plug is pulled."""
        self.process.kill()
        self.process.communicate(timeout=STOP_SECONDS)
        self._process = None

    def close(self) -> None:
        if self._process is not None:
            self.kill()

    # ---- where it is

    def address(self, transport: str = "udp", host: str = "127.0.0.1") -> tuple[str, int]:
        for spec in self.listen:
            kind, where = spec.split(":", 1)
            name, _, port = where.rpartition(":")
            if (kind, name.strip("[]")) == (transport, host):
                return host, int(port)
        raise AssertionError(f"no {transport} at {host}: {self.listen}")

    @property
    def at(self) -> str:
        """Host and port of SIP over UDP and IPv4."""
        host, port = self.address()
        return f"{host}:{port}"

    # ---- what it knows

    def metrics(self) -> dict[str, float]:
        with urllib.request.urlopen(f"{self.panel}/metrics", timeout=PATIENCE) as answer:  # noqa: S310 - our own address
            text = answer.read().decode()
        return {name: float(value) for name, value in re.findall(r"^(\w+) ([\d.e+-]+)$", text, re.MULTILINE)}

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Of the database, read beside the exchange."""
        with sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=PATIENCE) as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute(query)]

    def records(self) -> list[dict[str, Any]]:
        """The calls that are over, in the order in which they began."""
        return self.rows("select * from calls where state = 'ended' order by id")

    def activities(self) -> list[dict[str, Any]]:
        return self.rows("select * from activities order by id")

    def wait_for_records(self, count: int) -> list[dict[str, Any]]:
        """At least so many finished calls in the database. The callers' counts are exact: see there."""
        wait_until(lambda: len(self.records()) >= count, f"{count} call records")
        return self.records()


def free_range(count: int) -> int:
    """The first of so many UDP ports in a row that were free a moment ago: an exchange binds many of its range at once,
    and other exchanges are about on a machine that runs tests."""
    while True:
        first = random.SystemRandom().randrange(MEDIA_PORTS.start, MEDIA_PORTS.stop - count, 2)
        with ExitStack() as held, contextlib.suppress(OSError):
            for port in range(first, first + count, count // 200 or 1):
                held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).bind(("127.0.0.1", port))
            return first


@contextmanager
def running(directory: Path, **options: Any) -> Iterator[Server]:
    """An exchange for as long as the block lasts; what it leaves behind is looked at when all went well."""
    server = Server(directory, **options)
    try:
        server.start()
        yield server
        server.stop()
    finally:
        server.close()


class _Alarm:
    """Kills a process that says nothing for too long."""

    def __init__(self, seconds: float, process: subprocess.Popen[str]) -> None:
        self._timer = threading.Timer(seconds, process.kill)
        self._timer.daemon = True
        self._timer.start()

    def cancel(self) -> None:
        self._timer.cancel()


def wait_until(condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Raises AssertionError naming what did not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.02)
