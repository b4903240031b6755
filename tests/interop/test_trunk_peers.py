"""Registering at registrars of others: Kamailio as a carrier, with calls both ways; SIPp, which is hard to please."""

from __future__ import annotations

import re
import urllib.request
from pathlib import Path

import pytest

from pbxcore.phone.audio import tone_sound
from pbxcore.phone.host import PhoneHost
from tests.interop import tool_kamailio
from tests.interop.server import LOOPBACK, PATIENCE, Server, password_of, running, wait_until
from tests.interop.tool_sipp import Sipp
from tests.ports import free_port

CITY = "127.0.0.4"
REGISTERED = 'hookline_trunk_registered{trunk="city"}'


def city(at: tuple[str, int]) -> str:
    """A trunk that registers there, and the way out through it."""
    return f"""
[[trunk]]
name = "city"
server = "{at[0]}:{at[1]}"
register = true
username = "office"
password = "trunk password"
[[outbound]]
prefix = "8"
strip = 1
trunks = ["city"]
[[inbound]]
number = "*"
to = "101"
"""


def registered(server: Server) -> bool:
    return labelled(server).get(REGISTERED) == 1.0


def labelled(server: Server) -> dict[str, float]:
    with urllib.request.urlopen(f"{server.panel}/metrics", timeout=PATIENCE) as answer:  # noqa: S310 - our own address
        text = answer.read().decode()
    return {name: float(value) for name, value in re.findall(r"^(\w+\{[^}]*\}) ([\d.e+-]+)$", text, re.MULTILINE)}


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
async def test_kamailio_as_the_carrier(tmp_path: Path, algorithm: str) -> None:
    """401 for the registration, 407 for calls out, calls in to our binding."""
    async with PhoneHost() as outside:
        listener = await outside.listen("udp:127.0.0.5:0")
        with tool_kamailio.carrier(tmp_path, CITY, f"far@127.0.0.5:{listener.port}", algorithm=algorithm) as at:
            far = outside.phone(f"sip:far@127.0.0.5:{listener.port}", sound=tone_sound(440))
            far.agent.answer_after = 0
            with running(tmp_path, listen=LOOPBACK, more=city(at)) as server:
                wait_until(lambda: registered(server), "the registration")
                async with PhoneHost() as inside:
                    await inside.listen()
                    desk = inside.phone(
                        f"sip:101@{server.at}", password=password_of("101"), registrar=f"udp:{server.at}",
                        sound=tone_sound(1000),
                    )  # fmt: skip
                    desk.agent.answer_after = 0
                    await desk.register()
                    call = await desk.dial("8+12025550155")
                    await far.wait("answered")
                    await desk.hang_up(call)
                    await far.wait("ended")
                    incoming = await far.dial(f"sip:office@{at[0]}:{at[1]}")
                    await desk.wait("answered")
                    await far.hang_up(incoming)
                    await desk.wait("ended")
                out, came = server.wait_for_records(2)
                assert (out["direction"], out["answered_by"]) == ("outbound", "trunk:city")
                assert (came["direction"], came["answered_by"], came["trunk"]) == ("inbound", "101", "city")


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_sipp_as_a_registrar_that_is_hard_to_please(tmp_path: Path, algorithm: str) -> None:
    port = free_port(CITY)
    with Sipp(   # two calls: the registration, and OPTIONS before it
        "takes_a_registration", tmp_path, "127.0.0.1:5060", host=CITY, port=port, calls=2, algorithm=algorithm
    ) as carrier:
        with running(tmp_path, listen=LOOPBACK, more=city((CITY, port))) as server:
            wait_until(lambda: registered(server), "the registration")
            carrier.wait()
