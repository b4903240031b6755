"""Transfers by other people's phones through a running exchange: the two that remain hear each other, the third one
nothing; and the record is one call with three legs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pbxcore.media import tone
from tests.conftest import require_module
from tests.interop.hearing import purity, sounding
from tests.interop.server import Server, running, wait_until
from tests.interop.test_pjsua2 import wheel_expected
from tests.interop.tool_baresip import Baresip
from tests.interop.tool_pjsua import Pjsua

# Three phones and an exchange share the machine already: their audio is torn enough.
pytestmark = pytest.mark.alone

HZ = {"101": 440, "102": 880, "103": 1320}
SECOND = 2 * tone.RATE      # bytes of a second of what was heard
TALK = 1.5                  # seconds
LISTENS = 3
PURE = 0.5                  # of what sounds: three phones and an exchange share this machine with the other tests


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """One for each test: phones of the one before are still registered, and would be rung."""
    with running(tmp_path, extensions=tuple(HZ), listen=("udp:127.0.0.1:0",)) as server:
        yield server


@pytest.fixture
def pjsips(server: Server, tmp_path: Path) -> Iterator[dict[str, Pjsua]]:
    require_module("pjsua2", expected=wheel_expected())
    phones = {number: Pjsua(tmp_path, server, number, hz) for number, hz in HZ.items()}
    try:
        for phone in phones.values():
            phone.wait("registration", status=200)
        yield phones
    finally:
        for phone in phones.values():
            phone.__exit__()


def the_record(server: Server, before: int) -> dict[str, Any]:
    """The one record since there were `before`, with its one activity."""
    wait_until(lambda: len(server.records()) > before, "a call record")
    time.sleep(0.5)     # a second one would come about now
    [record] = server.records()[before:]
    assert [activity["call_id"] for activity in server.activities()].count(record["call_id"]) == 1
    assert len(server.activities()) == len(server.records())
    return record


def parties(record: dict[str, Any]) -> list[tuple[str, str | None]]:
    """Who has spoken in it, and by whom he was brought in."""
    legs = json.loads(record["legs"])
    return [(leg["party"], leg.get("transferred_by")) for leg in legs if leg["answered_at"] is not None]


def heard_during_talk(*phones: Pjsua) -> list[bytes]:
    """What each of them hears from now on for so long."""
    marks = [len(phone.heard()) for phone in phones]
    time.sleep(TALK)    # they talk in real time
    return [phone.heard()[mark:] for phone, mark in zip(phones, marks, strict=True)]


def the_others_talk(first: Pjsua, second: Pjsua, third: Pjsua) -> None:
    """The first and the third hear each other, and nothing of the second, who hears nobody. Where a machine that stood
    still has broken their tones up they are listened to once more; nobody may hear the second at any time."""
    time.sleep(0.5)     # what was said before it came to this is heard by now
    for _ in range(LISTENS):
        heard = heard_during_talk(first, second, third)
        assert purity(heard[0], HZ["102"]) == purity(heard[2], HZ["102"]) == 0
        assert not sounding(heard[1])
        if min(purity(heard[0], HZ["103"]), purity(heard[2], HZ["101"])) > PURE:
            break
    assert purity(heard[0], HZ["103"]) > PURE
    assert purity(heard[2], HZ["101"]) > PURE
    assert len(sounding(heard[0])) >= 8
    assert len(sounding(heard[2])) >= 8


def test_attended_transfer_by_three_softphones(server: Server, pjsips: dict[str, Pjsua]) -> None:
    """101 calls 102, who asks 103 and makes one call of the two: 101 and 103 hear each other."""
    before = len(server.records())
    first, second, third = pjsips.values()
    first.tell("call", to="102")
    first.wait("call", state="CONFIRMED")
    second.wait("call", state="CONFIRMED")
    second.tell("hold")
    second.wait("media")
    time.sleep(0.3)
    second.tell("call", to="103")
    second.wait("call", state="CONFIRMED")
    third.wait("call", state="CONFIRMED")
    time.sleep(0.5)
    second.tell("join")
    second.wait("transfer", status=200)
    second.wait("call", state="DISCONNECTED")
    second.wait("call", state="DISCONNECTED")
    the_others_talk(*pjsips.values())
    first.tell("hang up")
    third.wait("call", state="DISCONNECTED")
    record = the_record(server, before)
    assert parties(record) == [("101", None), ("102", None), ("103", "102")]
    assert (record["answered_by"], record["hung_up_by"], record["disposition"]) == ("103", "caller", "answered")


def test_blind_transfer_by_pjsip(server: Server, pjsips: dict[str, Pjsua]) -> None:
    before = len(server.records())
    first, second, third = pjsips.values()
    first.tell("call", to="102")
    second.wait("call", state="CONFIRMED")
    time.sleep(0.3)
    second.tell("transfer", to="103")
    second.wait("transfer", status=200)
    second.wait("call", state="DISCONNECTED")
    third.wait("call", state="CONFIRMED")
    the_others_talk(*pjsips.values())
    third.tell("hang up")
    first.wait("call", state="DISCONNECTED")
    record = the_record(server, before)
    assert parties(record) == [("101", None), ("102", None), ("103", "102")]
    assert record["hung_up_by"] == "callee"


def test_blind_transfer_by_baresip(server: Server, tmp_path: Path) -> None:
    """Of three baresips. Its own recording ends at a re-INVITE, so the one who stays counts packets."""
    before = len(server.records())
    with (
        Baresip(tmp_path / "one", server, "101", HZ["101"]) as first,
        Baresip(tmp_path / "two", server, "102", HZ["102"]) as second,
        Baresip(tmp_path / "three", server, "103", HZ["103"]) as third,
    ):
        for phone in (first, second, third):
            phone.registered()
        first.call("102")
        second.wait("CALL_INCOMING")
        second.tell("accept")
        second.wait("CALL_ESTABLISHED")
        time.sleep(0.5)
        second.tell("transfer", f"sip:103@{server.at}")
        third.wait("CALL_INCOMING")
        third.tell("accept")
        third.wait("CALL_ESTABLISHED")
        second.wait("CALL_CLOSED")
        time.sleep(0.3)
        counted = first.packets_heard()
        time.sleep(TALK)
        assert first.packets_heard() - counted > 50 * TALK * 0.7
        first.tell("hangup")
        third.wait("CALL_CLOSED")
        heard = third.heard()
        assert tone.share(heard, HZ["101"]) > 0.95
        assert len(heard) > SECOND
    record = the_record(server, before)
    assert parties(record) == [("101", None), ("102", None), ("103", "102")]


def test_a_blind_transfer_to_nobody_leaves_the_call_where_it_was(server: Server, pjsips: dict[str, Pjsua]) -> None:
    before = len(server.records())
    first, second, _ = pjsips.values()
    first.tell("call", to="102")
    second.wait("call", state="CONFIRMED")
    time.sleep(0.3)
    second.tell("transfer", to="555")
    second.wait("transfer", status=404)
    time.sleep(0.5)     # what was said before it was refused is heard by now
    assert any(purity(heard_during_talk(first)[0], HZ["102"]) > PURE for _ in range(LISTENS))
    first.tell("hang up")
    second.wait("call", state="DISCONNECTED")
    assert parties(the_record(server, before)) == [("101", None), ("102", None)]
