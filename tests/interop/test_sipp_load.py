"""A hundred calls a second through the trunk, the CRM asked about each of them: none fails, none is forgotten, and in
the end nothing is left. HOOKLINE_LONG=1 makes it a minute instead of five seconds.

Meanwhile, at another exchange, a call whose 200 is never acknowledged: it takes as long as the last of these
transactions."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from pbxcore.sip import build
from pbxcore.sip.message import Request, parse
from tests.interop import wire
from tests.interop.server import CARRIER, LOOPBACK, NUMBER, Server, password_of, running, wait_until
from tests.interop.tool_sipp import Sipp
from tests.ports import free_port

# The load takes the whole machine.
pytestmark = pytest.mark.alone

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


@pytest.fixture(scope="module", autouse=True)
def unacknowledged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Unacknowledged]:
    """Started before the load, looked at after it."""
    directory = tmp_path_factory.mktemp("unacknowledged")
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


def test_a_hundred_calls_a_second(tmp_path: Path) -> None:
    (tmp_path / "load_crm.py").write_text(HOOK)
    with probed() as port, running(
        tmp_path, more=MORE, media_ports=2000, deadline_ms=2000, carrier_port=port
    ) as server:  # fmt: skip
        under_load(server, tmp_path)
        deadline = time.monotonic() + LINGER
        while left := left_over(server):
            assert time.monotonic() < deadline, left
            time.sleep(0.2)


def left_over(server: Server) -> dict[str, float]:
    """What is not 0 of what a call takes."""
    figures = server.metrics()
    found = {name: figures[f"hookline_{name}"] for name in LEFT_OVER}
    found["timers"] = max(0.0, figures["hookline_timers"] - STANDING)
    return {name: count for name, count in found.items() if count}


def under_load(server: Server, directory: Path) -> None:
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

    records = server.wait_for_records(CALLS)
    assert len(records) == CALLS
    assert {record["disposition"] for record in records} == {"answered"}
    assert {record["decided_by"] for record in records} == {"load_crm:Crm"}
    calls = {record["call_id"] for record in records}
    assert len(calls) == CALLS
    activities = server.activities()
    assert len(activities) == CALLS
    assert {activity["call_id"] for activity in activities} == calls


def test_an_answer_that_is_never_acknowledged_is_hung_up(unacknowledged: Unacknowledged) -> None:
    unacknowledged.caller.wait()
    unacknowledged.desk.wait()
    [record] = unacknowledged.server.wait_for_records(1)
    assert (record["disposition"], record["hung_up_by"], record["reason"]) == ("answered", "exchange", "No ACK")
    assert 31.5 < record["ended_at"] - record["answered_at"] < 36
    assert len(unacknowledged.server.activities()) == 1
