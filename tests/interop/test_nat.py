"""baresip at home behind a masquerading router, an office behind its own, the world between: they call each other.

    desk 10.77.1.2 --+
                     +-- router 198.51.100.1 ======= 198.51.100.2 router -- home 192.168.7.2
    office 10.77.2.2-+   forwards SIP and media                   takes other ports than it is given
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from pbxcore.inquiry import ask, socket_beside
from pbxcore.media import tone
from tests.interop.server import Server, wait_until
from tests.interop.tool_baresip import Baresip
from tests.interop.tool_namespaces import Namespace, Networks, networks

EXTERNAL, HOME = "198.51.100.1", "198.51.100.2"
OFFICE, DESK, PHONE = "10.77.2.2", "10.77.1.2", "192.168.7.2"
PORT = 5060
TALK = 1.5          # seconds
PURE = 0.99         # of what is heard is the other's tone
DESK_HZ, HOME_HZ = 440, 880

OFFICE_ROUTER = f"""
table ip nat {{
    chain in {{
        type nat hook prerouting priority dstnat
        iifname "wan" udp dport {{ {PORT}, MEDIA }} dnat to {OFFICE}
    }}
    chain out {{
        type nat hook postrouting priority srcnat
        oifname "wan" masquerade
    }}
}}
table ip filter {{
    chain through {{
        type filter hook forward priority filter; policy drop
        iifname {{ "desk", "office" }} accept
        ct state established,related accept
        ct status dnat accept
    }}
}}
"""
HOME_ROUTER = """
table ip nat {
    chain out {
        type nat hook postrouting priority srcnat
        oifname "wan" masquerade random
    }
}
table ip filter {
    chain through {
        type filter hook forward priority filter; policy drop
        iifname "lan" accept
        ct state established,related accept
    }
}
"""


class Seen(Server):
    """The exchange as it is seen from one place."""

    def __init__(self, host: str) -> None:
        self._seen = host

    def address(self, transport: str = "udp", host: str = "") -> tuple[str, int]:
        return self._seen, PORT


class World:
    """Everybody in his own network, and the exchange running."""

    def __init__(self, made: Networks, directory: Path) -> None:
        office, desk, router, far, home = (made.add(name) for name in ("office", "desk", "router", "far", "home"))
        made.cable(office, "eth0", f"{OFFICE}/24", router, "office", "10.77.2.1/24")
        made.cable(desk, "eth0", f"{DESK}/24", router, "desk", "10.77.1.1/24")
        made.cable(router, "wan", f"{EXTERNAL}/24", far, "wan", f"{HOME}/24")
        made.cable(far, "lan", "192.168.7.1/24", home, "eth0", f"{PHONE}/24")
        for inner, gate in ((office, "10.77.2.1"), (desk, "10.77.1.1"), (home, "192.168.7.1")):
            inner.ip(f"route add default via {gate}")
        self.office, self.desk, self.home = office, desk, home
        self.directory = directory
        with office.inside():
            self.server = Server(
                directory, listen=(f"udp:0.0.0.0:{PORT}",),
                sip=f'external_address = "{EXTERNAL}"\nlocal_networks = ["10.77.0.0/16"]',
            )  # fmt: skip
        first = self.server.first_media_port
        router.nft(OFFICE_ROUTER.replace("MEDIA", f"{first}-{first + 399}"))
        far.nft(HOME_ROUTER)
        router.forwards()
        far.forwards()

    def phone(self, namespace: Namespace, number: str) -> Baresip:
        at_home = namespace is self.home
        directory = self.directory / f"{number}-{time.monotonic_ns()}"
        with namespace.inside():
            return Baresip(
                directory, Seen(EXTERNAL if at_home else OFFICE), number, HOME_HZ if at_home else DESK_HZ,
                host=PHONE if at_home else DESK,
            )  # fmt: skip

    def told(self, call_id: str, host: str) -> str:
        """All that the exchange sent there in this call."""
        async def trace() -> dict[str, Any]:
            async with aclosing(ask(socket_beside(self.server.database), {"call": call_id, "last": 1})) as answers:
                return await anext(answers)

        steps = asyncio.run(trace())["steps"]
        text = "".join(step["message"] for step in steps if step["out"] and step["remote"].startswith(host))
        return re.sub("a=ssrc:.*", "", text)   # the other phone's own word for itself


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with networks() as made:
        world = World(made, tmp_path_factory.mktemp("nat"))
        try:
            with world.office.inside():
                world.server.start()
            yield world
            with world.office.inside():
                world.server.stop()
        finally:
            world.server.close()


def assert_both_hear(world: World, caller: Baresip, callee: Baresip, number: str) -> None:
    caller.call(number)
    callee.wait("CALL_INCOMING")
    callee.tell("accept")
    caller.wait("CALL_ESTABLISHED")
    callee.wait("CALL_ESTABLISHED")
    time.sleep(TALK)
    callee.tell("hangup")
    caller.wait("CALL_CLOSED")
    for phone, hertz in ((caller, HOME_HZ if number == "102" else DESK_HZ),
                         (callee, DESK_HZ if number == "102" else HOME_HZ)):
        wait_until(phone.heard, "baresip to close its recording")
        heard = phone.heard()
        assert len(heard) / 2 / tone.RATE > TALK * 0.6, phone.log()
        assert tone.share(heard, hertz) > PURE


@pytest.mark.alone     # what is heard is all but pure: nobody may keep the audio of phones and exchange waiting
def test_a_phone_behind_a_masquerading_router_registers_is_called_and_calls(world: World) -> None:
    with world.phone(world.desk, "101") as desk, world.phone(world.home, "102") as home:
        desk.registered()
        home.registered()
        wait_until(lambda: len(world.server.rows("select * from bindings")) == 2, "two bindings in the database")
        received = {row["aor"]: row["received"] for row in world.server.rows("select * from bindings")}
        assert received["101"].startswith(f"{DESK}:")
        assert received["102"].startswith(f"{HOME}:")
        assert_both_hear(world, desk, home, "102")
        assert_both_hear(world, home, desk, "101")
        for record in world.server.wait_for_records(2):
            at_home, at_desk = world.told(record["call_id"], HOME), world.told(record["call_id"], DESK)
            assert OFFICE not in at_home     # nothing of the inner network gets out
            assert f"c=IN IP4 {EXTERNAL}" in at_home
            assert EXTERNAL not in at_desk   # and nobody inside takes the way over the router
            assert f"c=IN IP4 {OFFICE}" in at_desk


def test_nothing_is_left_of_the_networks() -> None:
    with networks() as made:
        name = made.add("gone").name
        assert name in os.listdir("/run/netns")
    assert name not in os.listdir("/run/netns")


def test_the_networks_are_gone_after_a_fault_too() -> None:
    names: list[str] = []

    def faulty() -> None:
        with networks() as made:
            names.append(made.add("gone").name)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        faulty()
    assert names
    assert not set(names) & set(os.listdir("/run/netns"))
