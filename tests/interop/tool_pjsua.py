"""PJSIP (the wheel of pjsua2-python) as a phone, driven over the pipe of its process (`pjsua_child`)."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from tests.interop.server import PATIENCE, ROOT, Server, password_of

WAV_HEADER = 44     # bytes


class Pjsua:
    """One extension at PJSIP. It plays a tone of `hz`, answers what comes, and keeps what it hears."""

    def __init__(
        self, directory: Path, server: Server, number: str, hz: int, *, transport: str = "udp", publishes: bool = False,
        ca: str = "", insists: bool = False, rings: bool = False,
    ) -> None:  # fmt: skip
        """With `publishes` it also publishes its presence and subscribes to its messages. `ca` is whom it believes over
        TLS. With `insists` it takes no call without PRACK and a session timer; with `rings` it answers when told."""
        host, port = server.address(transport)
        self.record = directory / f"{number}.wav"
        self.errors = directory / f"{number}.stderr"
        options = {
            "number": number, "password": password_of(number), "server": f"{host}:{port}", "transport": transport,
            "hz": hz, "record": str(self.record), "publishes": publishes, "ca": ca,
            "insists": insists, "rings": rings,
        }  # fmt: skip
        with self.errors.open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.interop.pjsua_child", json.dumps(options)],
                cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
            )  # fmt: skip
        self._events: Queue[dict[str, Any]] = Queue()
        self.told: list[dict[str, Any]] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                self._events.put(json.loads(line))

    def __enter__(self) -> Pjsua:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.tell("quit")
            self._process.wait(5)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            self._process.kill()
            self._process.wait()

    def tell(self, do: str, **values: str) -> None:
        assert self._process.stdin is not None
        print(json.dumps({"do": do, **values}), file=self._process.stdin, flush=True)

    def wait(self, event: str, seconds: float = PATIENCE, **values: object) -> dict[str, Any]:
        """The next event of this name with these values; those before it are passed over."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                said = self._events.get(timeout=max(deadline - time.monotonic(), 0.001))
            except Empty:
                complaints = self.errors.read_text("utf-8", "replace")
                raise AssertionError(f"PJSIP never told {event} {values}: {self.told} {complaints}") from None
            self.told.append(said)
            if said["event"] == event and all(said[key] == value for key, value in values.items()):
                return said

    def heard(self) -> bytes:
        """Everything since the first call was up, but for the last quarter of a second, as 8 kHz PCM. The lengths in
        the file's header are written when it is closed, and this process is never let come to that."""
        return self.record.read_bytes()[WAV_HEADER:]
