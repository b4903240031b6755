"""A hundred calls a second through the trunk, the CRM asked about each of them: none fails, none is forgotten, and in
the end nothing is left. HOOKLINE_LONG=1 makes it a minute instead of five seconds."""

from __future__ import annotations

import os
from pathlib import Path

from tests.interop import wire
from tests.interop.server import CARRIER, NUMBER, password_of, running, wait_until
from tests.interop.tool_sipp import Sipp

RATE = 100
SECONDS = 60 if os.environ.get("HOOKLINE_LONG") else 5
CALLS = RATE * SECONDS
LINGER = 36.0       # seconds: 64*T1 of the last transaction, and a little
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


def test_a_hundred_calls_a_second(tmp_path: Path) -> None:
    (tmp_path / "load_crm.py").write_text(HOOK)
    with running(tmp_path, more=MORE, media_ports=2000, deadline_ms=2000) as server:
        desk_port, carrier_port = wire.free_port(), wire.free_port(CARRIER)
        with wire.Udp(server.address(), port=desk_port) as phone:
            assert wire.register(phone, server.address(), "101", password_of("101")).status == 200
        load = ("-r", str(RATE), "-l", str(CALLS), "-d", "0", "-s", NUMBER)
        allowed = SECONDS + 40.0
        with (
            Sipp(
                "shown_the_name", tmp_path, server.at, port=desk_port, calls=CALLS, seconds=allowed, trace=False,
                name="Caller of .12025550100",
            ) as desk,
            Sipp(
                "calls_and_hangs_up", tmp_path, server.at, *load, host=CARRIER, port=carrier_port, calls=CALLS,
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

        def left() -> dict[str, float]:
            figures = server.metrics()
            found = {name: figures[f"hookline_{name}"] for name in LEFT_OVER}
            found["timers"] = figures["hookline_timers"] - 1    # the binding of the phone runs out some day
            return found

        wait_until(lambda: not any(left().values()), LINGER, "an exchange with nothing left over")
