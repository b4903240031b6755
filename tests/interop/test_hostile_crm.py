"""A CRM that sleeps, refuses, lies or floods: every call rings within the budget all the same, and none fails."""

from __future__ import annotations

import contextlib
import socket
import statistics
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pbxcore.phone.host import PhoneHost
from tests.interop.server import CARRIER, LOOPBACK, NUMBER, Server, password_of, running

# Set-up is timed: nothing may run beside it.
pytestmark = pytest.mark.alone

DEADLINE_MS = 200
ALLOWED_MS = 50             # what set-up may take beside the budget
CALLS = 5
SECRET = "whsec_aG9va2xpbmUgaW50ZXJvcCB0ZXN0cywgbm8gc2VjcmV0"
ASKED = "asked.txt"         # python hooks write a line for every question into the exchange's directory

PYTHON_HOOKS = {
    "sleeps": "await asyncio.sleep(30)",
    "raises": "raise RuntimeError('no CRM today')",
    "lies": "return 42",
}
BLOCKING = "blocks its thread"
HTTP = """[[crm.hook]]
kind = "http"
url = "{url}"
secret = "{secret}"
"""
PYTHON = """[[crm.hook]]
kind = "python"
target = "hostile_crm:Crm"
"""
MODULE = """
import asyncio, time

class Crm:
    {prefix}def on_incoming(self, call):
        with open("asked.txt", "a") as file:
            print(call.caller, file=file)
        {body}
"""


async def ring_times(server: Server) -> list[float]:
    """Milliseconds from INVITE to 180 of some calls, one after the other; each is answered and hung up."""
    found = []
    async with PhoneHost() as office, PhoneHost() as outside:
        await office.listen()
        await outside.listen(f"udp:{CARRIER}:0")
        desk = office.phone(f"sip:101@{server.at}", password=password_of("101"), registrar=f"udp:{server.at}")
        desk.agent.answer_after = 0.01
        await desk.register()
        carrier = outside.phone(f"sip:+12025550177@{server.at}")
        for _ in range(CALLS):
            began = carrier.agent.clock()
            call = await carrier.dial(f"sip:{NUMBER}@{server.at}")
            assert call.ringing_at is not None
            found.append((call.ringing_at - began) * 1000)
            await carrier.hang_up(call)
            await desk.wait("ended")
    return found


async def check(directory: Path, more: str) -> None:
    with running(directory, listen=LOOPBACK, deadline_ms=DEADLINE_MS, on_unknown="ignore", more=more) as server:
        times = await ring_times(server)
        assert statistics.median(times) <= DEADLINE_MS + ALLOWED_MS, times
        records = server.wait_for_records(CALLS)
        assert [record["disposition"] for record in records] == ["answered"] * CALLS
        assert {record["decided_by"] for record in records} == {"dial plan"}


@pytest.mark.parametrize("name", [*PYTHON_HOOKS, BLOCKING])
async def test_a_hook_in_python_that(tmp_path: Path, name: str) -> None:
    if name == BLOCKING:
        text = MODULE.format(prefix="", body="time.sleep(3)")
    else:
        text = MODULE.format(prefix="async ", body=PYTHON_HOOKS[name])
    (tmp_path / "hostile_crm.py").write_text(text)
    await check(tmp_path, PYTHON)
    assert (tmp_path / ASKED).read_text()


# ---- over HTTP: what a server does with a question once it has read it

Deed = Callable[[BaseHTTPRequestHandler, threading.Event], None]


def sleeps(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    over.wait(30)


def answers_rubbish(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.end_headers()
    handler.wfile.write(b'{"kind": "ring", "targets": [')


def answers_ten_megabytes(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.end_headers()
    handler.wfile.write(b'{"kind": "proceed", "display_name": "')
    for _ in range(10):
        handler.wfile.write(b"A" * 1_000_000)
    handler.wfile.write(b'"}')


def trickles(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    handler.send_response(200)
    handler.end_headers()
    while not over.wait(0.05):
        handler.wfile.write(b" ")


class HostileServer(ThreadingHTTPServer):
    """Does its deed with every question about a call; counts them."""

    daemon_threads = True

    def __init__(self, deed: Deed) -> None:
        self.asked = 0
        self.over = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if b"call.incoming" not in body:
                    self.send_response(204)
                    self.end_headers()
                    return
                server.asked += 1
                with contextlib.suppress(OSError):      # the exchange hangs up on such a server
                    deed(self, server.over)

            def log_message(self, *_: object) -> None:
                """Not on the screen."""

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"


@pytest.fixture
def hostile() -> Iterator[Callable[[Deed], HostileServer]]:
    servers: list[HostileServer] = []

    def start(deed: Deed) -> HostileServer:
        server = HostileServer(deed)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    yield start
    for server in servers:
        server.over.set()
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("deed", [sleeps, answers_rubbish, answers_ten_megabytes, trickles])
async def test_a_hook_over_http_that(
    tmp_path: Path, hostile: Callable[[Deed], HostileServer], deed: Deed
) -> None:
    server = hostile(deed)
    await check(tmp_path, HTTP.format(url=server.url, secret=SECRET))
    assert server.asked


async def test_a_hook_over_http_that_refuses_connections(tmp_path: Path) -> None:
    with socket.socket() as taken:      # bound, and listening to nobody
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/hook"
        await check(tmp_path, HTTP.format(url=url, secret=SECRET))
