"""The panel as programs and people use it: the API with a token, its event stream read aside; and an agent's live page
with its stream, as a browser has it."""

from __future__ import annotations

import json
import re
import socket
import sqlite3
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from http.cookiejar import CookieJar
from typing import Any

from bench.instrument import SO_TIMESTAMPNS
from tests.interop.server import PATIENCE, ROOT, Server, wait_until
from web.auth import hash_password

PASSWORD = "correct-horse"


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
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310
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

    def told(self, name: str, seconds: float = PATIENCE, **values: object) -> dict[str, Any]:
        """The first event of this name with these values."""

        def found() -> list[dict[str, Any]]:
            events = [body for kind, body in list(self.events) if kind == name]
            return [body for body in events if all(body.get(key) == value for key, value in values.items())]

        wait_until(found, f"{name} {values}; told: {[kind for kind, _ in self.events]}", seconds)
        return found()[0]


class LivePage:
    """The live page of an agent, signed in and open: `said` is what its stream sent, and when that was here."""

    def __init__(self, server: Server, username: str, extension: str) -> None:
        with sqlite3.connect(server.database, timeout=PATIENCE) as database:
            row = (username, hash_password(PASSWORD), "agent", extension, time.time())
            database.execute("insert into users values (?, ?, ?, ?, ?)", row)
        self.said: list[tuple[float, str]] = []
        self._base = server.panel
        cookies = CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(cookies))
        [token] = re.findall(r'name="token" value="([^"]+)"', self.get("sign-in"))
        self.get("sign-in", {"username": username, "password": PASSWORD, "token": token, "next": "/"})
        threading.Thread(target=self._read, args=(self._feed(cookies),), daemon=True).start()
        wait_until(lambda: self.said, "the page")

    def get(self, path: str, fields: dict[str, str] | None = None) -> str:
        data = None if fields is None else urllib.parse.urlencode(fields).encode()
        with self._opener.open(f"{self._base}/{path}", data, timeout=PATIENCE) as answer:
            return str(answer.read().decode())

    def _feed(self, cookies: CookieJar) -> socket.socket:
        """The live feed on a socket whose octets the kernel stamps, in HTTP/1.0: no chunks."""
        at = urllib.parse.urlsplit(self._base)
        sock = socket.create_connection((at.hostname or "", at.port or 80), timeout=60)
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        cookie = "; ".join(f"{one.name}={one.value}" for one in cookies)
        sock.sendall(f"GET {at.path}/live/feed HTTP/1.0\r\nHost: {at.netloc}\r\nCookie: {cookie}\r\n\r\n".encode())
        return sock

    def _read(self, sock: socket.socket) -> None:
        """Each event with when it was in our kernel, however late this thread is."""
        rest, lines = b"", list[str]()
        try:
            while True:
                data, stamps, _, _ = sock.recvmsg(65536, 256)
                if not data:
                    return
                at = time.time()        # the kernel begins to stamp a moment after it was asked to
                for _, _, stamp in stamps:
                    seconds, nanoseconds = struct.unpack("qq", stamp)
                    at = seconds + nanoseconds / 1e9
                *whole, rest = (rest + data).split(b"\n")
                for line in whole:
                    if line.startswith(b"data: "):
                        lines.append(line[6:].rstrip(b"\r").decode())
                    elif not line.strip() and lines:
                        self.said.append((at, "".join(lines)))
                        lines.clear()
        except OSError:     # the exchange has gone, or the test is over
            return

    def showed(self, *words: str, seconds: float = PATIENCE) -> tuple[float, str]:
        """When the page first had all of these words at once, and what it was sent then."""

        def found() -> list[tuple[float, str]]:
            return [one for one in list(self.said) if all(word in one[1] for word in words)]

        wait_until(found, f"a page that says {words}", seconds)
        return found()[0]
