"""The panel's API as a program uses it: with a token, JSON, and the event stream read aside."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from typing import Any

from tests.interop.server import ROOT, Server, wait_until


class PanelApi:
    """Signed in with a token made beside the running exchange: an admin's, or the agent's of `extension`."""

    def __init__(self, server: Server, extension: str = "") -> None:
        role = ["--role", "agent", "--extension", extension] if extension else ["--role", "admin"]
        made = subprocess.run(
            [sys.executable, "-m", "pbxcore", "token", f"of {extension or 'all'}", *role, "-c", str(server.config)],
            cwd=ROOT, capture_output=True, text=True, check=True, timeout=30,
        )  # fmt: skip
        self._base = server.panel
        self._headers = {"Authorization": f"Bearer {made.stdout.strip()}", "Content-Type": "application/json"}
        self.events: list[tuple[str, dict[str, Any]]] = []

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The JSON of the answer, None for an empty one. Raises HTTPError."""
        data = None if body is None else json.dumps(body).encode()
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        request = urllib.request.Request(  # noqa: S310 - our own address
            f"{self._base}/api/v1/{path}", data, self._headers | named, method=method
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            text = answer.read()
        return json.loads(text) if text else None

    def calls(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("GET", "calls")["calls"]
        return found

    def listen(self) -> None:
        """From now on `events` has what the stream tells."""
        request = urllib.request.Request(f"{self._base}/api/v1/events", headers=self._headers)  # noqa: S310
        stream = urllib.request.urlopen(request, timeout=60)  # noqa: S310
        threading.Thread(target=self._read, args=(stream,), daemon=True).start()

    def _read(self, stream: Any) -> None:
        name = ""
        try:
            for line in stream:
                field, _, value = line.decode().strip().partition(": ")
                if field == "event":
                    name = value
                elif field == "data":
                    self.events.append((name, json.loads(value)))
        except (OSError, ValueError):   # the exchange has gone, or the test is over
            return

    def told(self, name: str, seconds: float = 10.0, **values: object) -> dict[str, Any]:
        """The first event of this name with these values."""

        def found() -> list[dict[str, Any]]:
            events = [body for kind, body in list(self.events) if kind == name]
            return [body for body in events if all(body.get(key) == value for key, value in values.items())]

        wait_until(found, seconds, f"{name} {values}; told: {[kind for kind, _ in self.events]}")
        return found()[0]
