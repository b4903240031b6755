"""SIPp on both sides of a running exchange: calls, and what goes wrong with them, as a foreign stack sends it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pbxcore.phone.audio import tone_sound
from pbxcore.phone.host import PhoneHost
from tests.interop import wire
from tests.interop.server import CARRIER, NUMBER, TRUNK_PASSWORD, TRUNK_USER, Server, password_of, running, wait_until
from tests.interop.tool_sipp import Sipp
from tests.ports import free_port

KNOWN, UNKNOWN = "+12025550177", "+12025550199"
HOOK = f"""
from pbxcore.hooks import Ring

class Crm:
    async def on_incoming(self, call):
        return Ring(("101",), display_name="Anna Ivanova") if call.caller == "{KNOWN}" else None
"""
MORE = """
[[crm.hook]]
kind = "python"
target = "office_crm:Crm"
"""


class Stage:
    """The exchange with phone 101 registered and a carrier; SIPp plays them."""

    def __init__(self, server: Server, directory: Path, carrier_port: int) -> None:
        self.server = server
        self.directory = directory
        self.carrier_port = carrier_port
        self.desk_port = free_port()
        with wire.Udp(server.address(), port=self.desk_port) as phone:
            assert wire.register(phone, server.address(), "101", password_of("101")).status == 200

    def desk(self, scenario: str, **words: str) -> Sipp:
        """What phone 101 does with the call that comes."""
        return Sipp(scenario, self.directory, self.server.at, port=self.desk_port, **words)

    def caller(self, scenario: str, *, transport: str = "udp", **words: str) -> Sipp:
        """Somebody who calls in through the trunk, and talks for a moment if he is let."""
        host, port = self.server.address(transport)
        return Sipp(
            scenario, self.directory, f"{host}:{port}", "-s", NUMBER, "-d", "200",
            host=CARRIER, port=free_port(CARRIER), transport=f"{transport[0]}1", **{"caller": UNKNOWN, **words},
        )  # fmt: skip

    def carrier(self, scenario: str, **words: Any) -> Sipp:
        """What the carrier does with the call that goes out."""
        return Sipp(scenario, self.directory, self.server.at, host=CARRIER, port=self.carrier_port, **words)

    def records(self, called: str = NUMBER) -> list[dict[str, Any]]:
        return [record for record in self.server.records() if record["called"] == called]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("sipp")
    (directory / "office_crm.py").write_text(HOOK)
    carrier_port = free_port(CARRIER)
    extensions = ("101", "103")
    with running(directory, carrier_port=carrier_port, extensions=extensions, more=MORE) as server:
        yield Stage(server, directory, carrier_port)


@pytest.fixture
def record(stage: Stage) -> Iterator[Callable[[], dict[str, Any]]]:
    """The one record that the call to NUMBER has left, once it is written."""
    before = len(stage.records())

    def the_record() -> dict[str, Any]:
        wait_until(lambda: len(stage.records()) > before, "a call record")
        [found] = stage.records()[before:]
        return found

    yield the_record
    assert len(stage.records()) == before + 1


Record = Callable[[], dict[str, Any]]


def test_a_call_with_the_name_from_the_crm(stage: Stage, record: Record) -> None:
    with stage.desk("shown_the_name", name="Anna Ivanova") as desk:
        with stage.caller("calls_and_hangs_up", caller=KNOWN) as caller:
            caller.wait()
        desk.wait()
    written = record()
    assert (written["caller"], written["trunk"], written["display_name"]) == (KNOWN, "carrier", "Anna Ivanova")
    assert (written["disposition"], written["answered_by"], written["hung_up_by"]) == ("answered", "101", "caller")
    assert written["decided_by"] == "office_crm:Crm"
    assert [activity["call_id"] for activity in stage.server.activities()].count(written["call_id"]) == 1


@pytest.mark.parametrize(
    ("caller", "desk"),
    [
        ("calls_and_hangs_up", "forks"),
        ("offers_nothing", "is_offered_nothing"),
        ("puts_on_hold", "is_put_on_hold"),
    ],
)
def test_calls_that_are_answered(stage: Stage, record: Record, caller: str, desk: str) -> None:
    with stage.desk(desk) as phone, stage.caller(caller) as carrier:
        carrier.wait()
        phone.wait()
    written = record()
    assert (written["disposition"], written["answered_by"], written["hung_up_by"]) == ("answered", "101", "caller")


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize(
    ("caller", "desk", "by"),
    [("calls_and_hangs_up", "rings_and_answers", "caller"), ("is_hung_up_on", "answers_and_hangs_up", "callee")],
)
def test_either_side_hangs_up(stage: Stage, record: Record, transport: str, caller: str, desk: str, by: str) -> None:
    with stage.desk(desk) as phone, stage.caller(caller, transport=transport) as carrier:
        carrier.wait()
        phone.wait()
    assert record()["hung_up_by"] == by


def test_a_caller_who_gives_up_cancels_the_phone(stage: Stage, record: Record) -> None:
    with stage.desk("is_cancelled") as phone, stage.caller("gives_up_while_it_rings") as carrier:
        carrier.wait()
        phone.wait()
    written = record()
    assert (written["disposition"], written["status"], written["hung_up_by"]) == ("cancelled", 487, "caller")
    assert written["answered_at"] is None


@pytest.mark.parametrize(
    ("status", "reason", "disposition"), [("486", "Busy Here", "busy"), ("603", "Decline", "rejected")]
)
def test_what_the_phone_says_is_what_the_caller_hears(
    stage: Stage, record: Record, status: str, reason: str, disposition: str
) -> None:
    words = {"status": status, "reason": reason}
    with stage.desk("refuses", **words) as phone, stage.caller("is_refused", **words) as carrier:
        carrier.wait()
        phone.wait()
    written = record()
    assert (written["disposition"], written["status"]) == (disposition, int(status))


@pytest.mark.parametrize("scenario", ["requires_the_unknown", "has_no_hops_left"])
def test_an_invite_that_is_refused_before_it_rings(stage: Stage, scenario: str) -> None:
    with stage.caller(scenario) as carrier:
        carrier.wait()


@pytest.mark.parametrize(
    ("method", "status"),
    [
        ("OPTIONS", "200"),
        ("MESSAGE", "401"),
        ("SUBSCRIBE", "401"),
        ("PUBLISH", "401"),
        ("REFER", "405"),
        ("INFO", "481"),
        ("BYE", "481"),
        ("INVITE", "401"),
        ("REGISTER", "401"),
        ("FROBNICATE", "501"),
    ],
)
def test_what_a_stranger_gets(stage: Stage, method: str, status: str) -> None:
    words = {"caller": "mallory", "method": method, "status": status}
    with Sipp("asks_with", stage.directory, stage.server.at, "-s", "101", host="127.0.0.9", **words) as stranger:
        stranger.wait()


@pytest.mark.parametrize("user", ["101", "nobody"])
def test_a_wrong_password_and_an_unknown_user_look_alike(stage: Stage, user: str) -> None:
    with wire.Udp(stage.server.address()) as phone:
        answer = wire.register(phone, stage.server.address(), user, "wrong")
    assert answer.first_line == "SIP/2.0 403 Forbidden"


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
async def test_the_carrier_wants_a_password(stage: Stage, tmp_path: Path, algorithm: str) -> None:
    more = 99       # calls to SIPp: the exchange asks by OPTIONS whether the carrier is there, and nobody knows when
    with stage.carrier("challenges", calls=1 + more, algorithm=algorithm, nonce="f00ba4") as carrier:
        async with PhoneHost() as host:
            await host.listen()
            phone = host.phone(
                f"sip:103@{stage.server.at}", password=password_of("103"), registrar=f"udp:{stage.server.at}",
                sound=tone_sound(440),
            )  # fmt: skip
            call = await phone.dial("9+12025550155")
            await phone.hang_up(call)
        over = re.compile(r"^SIP/2.0 200 OK\r?\n(.+\r?\n)*CSeq: \d+ BYE", re.MULTILINE)     # the scenario's last line
        wait_until(lambda: over.search(carrier.seen()), "the end of the call at the carrier")
    assert _proves_the_password(carrier.seen(), algorithm)
    wait_until(lambda: stage.records("9+12025550155"), "the record of the call out")
    written = stage.records("9+12025550155")[-1]
    assert (written["direction"], written["answered_by"]) == ("outbound", "trunk:carrier")


def _proves_the_password(seen: str, algorithm: str) -> bool:
    """RFC 7616 section 3.4.1, worked out here once more."""
    row = re.findall(r"^Proxy-Authorization: Digest (.*?)\r?$", seen, re.MULTILINE)[-1]
    given = {name: quoted or plain for name, quoted, plain in re.findall(r'(\w+)=(?:"([^"]*)"|([^\s,]+))', row)}
    assert (given["algorithm"], given["username"], given["nonce"]) == (algorithm, TRUNK_USER, "f00ba4")
    assert given["uri"].startswith("sip:+12025550155@127.0.0.2:")

    def hashed(text: str) -> str:
        return hashlib.new(algorithm.replace("-", ""), text.encode()).hexdigest()

    secret = hashed(f"{TRUNK_USER}:{given['realm']}:{TRUNK_PASSWORD}")
    request = hashed(f"INVITE:{given['uri']}")
    return given["response"] == hashed(f"{secret}:{given['nonce']}:{given['nc']}:{given['cnonce']}:auth:{request}")

