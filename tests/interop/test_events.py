"""Other people's phones watch, publish and write: SIPp (RFC 4235), PJSIP (3856, 3903, 3842, 3428), baresip (3842)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import require_module
from tests.interop import wire
from tests.interop.server import CARRIER, NUMBER, Server, password_of, running, wait_until
from tests.interop.test_pjsua2 import wheel_expected
from tests.interop.tool_baresip import Baresip
from tests.interop.tool_pjsua import Pjsua
from tests.interop.tool_sipp import Sipp
from tests.ports import free_port


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("events"), extensions=("101", "102", "103")) as server:
        yield server


def test_sipp_sees_a_colleague_ring_talk_and_hang_up(server: Server, tmp_path: Path) -> None:
    port = free_port()
    with wire.Udp(server.address(), port=port) as phone:
        assert wire.register(phone, server.address(), "101", password_of("101")).status == 200
    words = {"user": "102", "password": password_of("102")}
    with (
        Sipp(
            "watches_a_call", tmp_path, server.at, "-s", "101", "-auth_uri", f"101@{server.at}",
            port=free_port(), **words,
        ) as watcher,
        Sipp("rings_and_answers", tmp_path, server.at, port=port) as desk,
    ):
        time.sleep(1.2)   # the first NOTIFY was a second ago: the next may follow
        with Sipp(
            "calls_and_hangs_up", tmp_path, server.at, "-s", NUMBER, "-d", "2500", host=CARRIER,
            port=free_port(CARRIER), caller="+12025550199",
        ) as caller:  # fmt: skip
            caller.wait()
        desk.wait()
        watcher.wait()


def test_pjsip_watches_a_buddy_who_publishes_and_telephones(server: Server, tmp_path: Path) -> None:
    require_module("pjsua2", expected=wheel_expected())
    with (
        Pjsua(tmp_path, server, "101", 440, publishes=True) as anna,
        Pjsua(tmp_path, server, "102", 880) as boris,
    ):
        anna.wait("registration", status=200)
        boris.wait("registration", status=200)
        assert "Messages-Waiting: no" in anna.wait("messages")["body"]
        anna.tell("publish", note="in the garden")
        boris.tell("watch", to="101")
        boris.wait("colleague", number="101", online=True, subscription="ACTIVE", note="in the garden", away=True)
        with Pjsua(tmp_path, server, "101", 440) as second:
            second.wait("registration", status=200)
            second.tell("call", to="102")
            boris.wait("incoming")
            boris.wait("colleague", 12.0, number="101", busy=True)
            second.tell("hang up")
            second.wait("call", state="DISCONNECTED")
        boris.tell("say", to="101", words="привет")
        assert anna.wait("text")["words"] == "привет"
        boris.wait("sent", status=200)


def test_a_text_waits_for_pjsip_through_a_restart(server: Server, tmp_path: Path) -> None:
    require_module("pjsua2", expected=wheel_expected())
    with Pjsua(tmp_path, server, "102", 880) as boris:
        boris.wait("registration", status=200)
        boris.tell("watch", to="103")
        boris.wait("colleague", number="103", online=False)
        for words in ("one", "two"):
            boris.tell("say", to="103", words=words)
            boris.wait("sent", status=202)
    wait_until(lambda: len(server.rows("select * from texts")) == 2, "two texts in the database")
    server.stop()
    server.start()
    with Pjsua(tmp_path, server, "103", 440) as anna:
        assert [anna.wait("text")["words"] for _ in range(2)] == ["one", "two"]
        wait_until(lambda: not server.rows("select * from texts"), "no text that waits")


def test_baresip_asks_for_its_messages(server: Server, tmp_path: Path) -> None:
    with Baresip(tmp_path / "alice", server, "101", 440, more="module_app mwi.so") as alice:
        alice.registered()
        wait_until(lambda: "Voice-Message: 0/0 (0/0)" in alice.log(), "what baresip says of its messages")
        assert "Messages-Waiting: no" in alice.log()
