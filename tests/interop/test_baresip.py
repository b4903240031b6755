"""baresip registered at a running exchange: two of them talk, over UDP, TCP and IPv6, and hold each other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pbxcore.media import tone
from pbxcore.phone.audio import tone_sound
from pbxcore.phone.host import PhoneHost
from tests.interop.server import Server, password_of, running, wait_until
from tests.interop.tool_baresip import Baresip

# What is heard is all but pure: nobody may keep the audio of phones and exchange waiting.
pytestmark = pytest.mark.alone

ALICE_HZ, BOB_HZ = 440, 880
TALK = 1.5          # seconds
PURE = 0.99         # of what is heard is the other's tone
A_SECOND = 50       # packets


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("baresip")) as server:
        yield server


def the_record(server: Server, before: int) -> dict[str, Any]:
    """The one record since there were `before`; it has its one activity."""
    wait_until(lambda: len(server.records()) > before, "a call record")
    [record] = server.records()[before:]
    assert [activity["call_id"] for activity in server.activities()].count(record["call_id"]) == 1
    return record


@pytest.mark.parametrize(
    ("transport", "host", "secure"),
    [("udp", "127.0.0.1", False), ("tcp", "127.0.0.1", False), ("udp", "::1", False), ("udp", "127.0.0.1", True)],
)
def test_each_hears_the_other_and_nothing_else(
    server: Server, tmp_path: Path, transport: str, host: str, secure: bool
) -> None:
    before = len(server.records())
    way: dict[str, Any] = {"transport": transport, "host": host, "secure": secure}
    with (
        Baresip(tmp_path / "alice", server, "101", ALICE_HZ, **way) as alice,
        Baresip(tmp_path / "bob", server, "102", BOB_HZ, **way) as bob,
    ):
        alice.registered()
        bob.registered()
        wait_until(lambda: len(server.rows("select * from bindings")) == 2, "two bindings in the database")
        ways = server.rows("select * from bindings")
        assert {way["transport"] for way in ways} == {transport.upper()}
        assert all(host in way["received"] for way in ways)
        alice.call("102")
        bob.wait("CALL_INCOMING")
        bob.tell("accept")
        alice.wait("CALL_ESTABLISHED")
        bob.wait("CALL_ESTABLISHED")
        time.sleep(TALK)
        alice.tell("hangup")
        bob.wait("CALL_CLOSED")
        record = the_record(server, before)
        for phone, hertz in ((alice, BOB_HZ), (bob, ALICE_HZ)):
            heard = phone.heard()
            assert len(heard) / 2 / tone.RATE > TALK * 0.7
            assert tone.share(heard, hertz) > PURE
            assert ("AES_CM_128_HMAC_SHA1" in phone.log()) == secure
    assert (record["direction"], record["caller"], record["called"]) == ("internal", "101", "102")
    assert (record["disposition"], record["answered_by"], record["hung_up_by"]) == ("answered", "102", "caller")
    wait_until(lambda: not server.rows("select * from bindings"), "both to unregister")


def test_hold_and_resume_between_two(server: Server, tmp_path: Path) -> None:
    before = len(server.records())
    with (
        Baresip(tmp_path / "alice", server, "101", ALICE_HZ) as alice,
        Baresip(tmp_path / "bob", server, "102", BOB_HZ) as bob,
    ):
        alice.registered()
        bob.registered()
        alice.call("102")
        bob.wait("CALL_INCOMING")
        bob.tell("accept")
        alice.wait("CALL_ESTABLISHED")
        time.sleep(1.0)
        alice.tell("hold")
        time.sleep(0.3)
        held = alice.packets_heard()
        time.sleep(1.0)
        assert alice.packets_heard() - held <= 5
        alice.tell("resume")
        time.sleep(0.3)
        resumed = alice.packets_heard(), bob.packets_heard()
        time.sleep(1.0)
        assert alice.packets_heard() - resumed[0] > A_SECOND * 0.7
        assert bob.packets_heard() - resumed[1] > A_SECOND * 0.7
        bob.tell("hangup")
        alice.wait("CALL_CLOSED")
        assert tone.share(alice.heard(), BOB_HZ) > PURE
        assert tone.share(bob.heard(), ALICE_HZ) > PURE
    assert the_record(server, before)["hung_up_by"] == "callee"


async def test_what_is_heard_after_the_call_was_held(server: Server, tmp_path: Path) -> None:
    """baresip's own recording ends at the first re-INVITE: here it talks to a built-in phone."""
    with Baresip(tmp_path / "alice", server, "101", ALICE_HZ) as alice:
        alice.registered()
        async with PhoneHost() as host:
            await host.listen()
            phone = host.phone(
                f"sip:102@{server.at}", password=password_of("102"), registrar=f"udp:{server.at}",
                sound=tone_sound(BOB_HZ),
            )  # fmt: skip
            await phone.register()
            phone.agent.answer_after = 0.1
            alice.call("102")
            call = (await phone.wait("answered")).call
            assert call is not None
            alice.tell("hold")
            assert (await phone.wait("held")).detail == (True,)
            alice.tell("resume")
            assert (await phone.wait("held")).detail == (False,)
            phone.audio(call).forget()
            with pytest.raises(TimeoutError):
                await phone.wait("ended", within=1.0)
            assert phone.audio(call).share(ALICE_HZ) > PURE
            await phone.hang_up(call)
            alice.wait("CALL_CLOSED")
            await phone.unregister()
