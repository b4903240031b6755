"""A hundred calls a second through the trunk, the CRM asked about each of them, and a call whose 200 is never
acknowledged at another exchange. HOOKLINE_LONG=1 makes it a minute instead of five seconds.

The last transactions take half a minute to end (64*T1). What is left then is looked at by tests of a file of their own,
which comes after all others that run alone."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pbxcore.sip import build
from pbxcore.sip.message import Request, parse
from tests.interop import wire
from tests.interop.server import CARRIER, LOOPBACK, NUMBER, Server, password_of, running, wait_until
from tests.interop.tool_sipp import Sipp
from tests.ports import free_port

RATE = 100
SECONDS = 60 if os.environ.get("HOOKLINE_LONG") else 5
CALLS = RATE * SECONDS
STANDING = 6        # timers: the phone's binding, the next probe of the carrier, and what the last one has left
LINGER = 36.0       # seconds: 64*T1 of the last transaction, and a little
PATIENCE = 50.0     # with SIPp, beside the calls
HOOK = """
from pbxcore.hooks import Ring

class Crm:
    async def on_incoming(self, call):
        return Ring(("101",), display_name=f"Caller of {call.called}", tags=("load",))
"""
MORE = """
[[crm.hook]]
kind = "python"
target = "load_crm:Crm"
"""
LEFT_OVER = ("live_calls", "dialogs", "server_transactions", "client_transactions", "media_ports")


def registered(server: Server) -> int:
    """The port of phone 101."""
    with wire.Udp(server.address(), port=free_port()) as phone:
        assert wire.register(phone, server.address(), "101", password_of("101")).status == 200
        return phone.port


class Unacknowledged(NamedTuple):
    server: Server
    caller: Sipp
    desk: Sipp


@contextmanager
def probed() -> Iterator[int]:
    """The carrier's own port, where somebody answers the exchange's OPTIONS as long as the block lasts."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((CARRIER, 0))

        def answer() -> None:
            while data := sock.recvfrom(65535):
                if not data[0]:
                    return
                request = parse(data[0])
                assert isinstance(request, Request)
                sock.sendto(build.response(request, 200, to_tag="up").to_bytes(), data[1])

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield sock.getsockname()[1]
        sock.sendto(b"", sock.getsockname())
        thread.join()


@contextmanager
def unacknowledged(directory: Path) -> Iterator[Unacknowledged]:
    """A call that has been answered, and will never be told so."""
    with (
        running(directory, listen=LOOPBACK) as server,
        Sipp("rings_and_answers", directory, server.at, port=registered(server), seconds=PATIENCE) as desk,
        Sipp(
            "never_acknowledges", directory, server.at, "-s", NUMBER, host=CARRIER, port=free_port(CARRIER),
            seconds=PATIENCE, caller="+12025550199",
        ) as caller,
    ):  # fmt: skip
        wait_until(lambda: "SIP/2.0 200" in caller.seen(), "an answer")
        yield Unacknowledged(server, caller, desk)


class Loaded(NamedTuple):
    """An exchange that had the load, and when that was over (monotonic seconds)."""

    server: Server
    over_at: float


@contextmanager
def loaded(directory: Path) -> Iterator[Loaded]:
    (directory / "load_crm.py").write_text(HOOK)
    with probed() as port, running(
        directory, more=MORE, media_ports=2000, deadline_ms=2000, carrier_port=port
    ) as server:  # fmt: skip
        _calls(server, directory)
        yield Loaded(server, time.monotonic())


def _calls(server: Server, directory: Path) -> None:
    load = ("-r", str(RATE), "-l", str(CALLS), "-d", "0", "-s", NUMBER)
    allowed = SECONDS + PATIENCE
    with (
        Sipp(
            "shown_the_name", directory, server.at, port=registered(server), calls=CALLS, seconds=allowed,
            trace=False, name="Caller of .12025550100",
        ) as desk,
        Sipp(
            "calls_and_hangs_up", directory, server.at, *load, host=CARRIER, port=free_port(CARRIER), calls=CALLS,
            seconds=allowed, trace=False, caller="+12025550177",
        ) as carrier,
    ):  # fmt: skip
        carrier.wait()
        desk.wait()


def left_over(server: Server) -> dict[str, float]:
    """What is not 0 of what a call takes."""
    figures = server.metrics()
    found = {name: figures[f"hookline_{name}"] for name in LEFT_OVER}
    found["timers"] = max(0.0, figures["hookline_timers"] - STANDING)
    return {name: count for name, count in found.items() if count}
