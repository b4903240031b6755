"""The ladder of a call: a picture that can be walked by keyboard, a list of messages, nothing of a stranger's that is
markup."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from pbxcore.control import Trace, TraceParty, TraceStep
from tests.unit.web.conftest import Browser
from tests.unit.web.fakes import World
from web.pages.traces import MOST, picture

Browse = Callable[..., Browser]
EVIL = '"><script>alert(1)</script>'


def step(at: float, party: int, out: bool, text: str, again: bool = False) -> TraceStep:
    return TraceStep(at, party, out, text, again, "127.0.0.1:5060", "127.0.0.9:5070", "UDP", f"{text}\r\nVia: {EVIL}")


TRACE = Trace(
    "c1",
    (TraceParty("101", "127.0.0.9:5070", "UDP", "a"), TraceParty(EVIL, "127.0.0.9:5071", "TCP", "b")),
    (
        step(1000.0, 0, False, "INVITE (SDP)"),
        step(1000.002, 1, True, "INVITE (SDP)"),
        step(1000.5, 0, False, "INVITE (SDP)", again=True),
    ),
)


def test_the_measures_of_the_picture() -> None:
    made = picture(TRACE, "Office")
    assert [column.name for column in made.columns] == ["101", "Office", EVIL]
    first, second, third = made.arrows
    assert first.x1 == made.columns[0].x
    assert first.x2 == second.x1 == made.columns[1].x
    assert second.x2 == made.columns[2].x
    assert first.y < second.y < third.y < made.height
    assert second.offset == pytest.approx(0.002)
    assert made.columns[-1].x < made.width
    assert made.missing == 0


def test_a_call_without_a_caller_and_a_very_long_one() -> None:
    alone = Trace("c1", TRACE.parties[1:], (step(1.0, 0, True, "OPTIONS"),) * (MOST + 7))
    made = picture(alone, "Office")
    assert [column.kind for column in made.columns] == ["us", "called"]
    assert len(made.arrows) == MOST
    assert made.missing == 7


@pytest.mark.parametrize(("language", "word"), [("en", "SIP messages"), ("ru", "Сообщения SIP")])
def test_the_page(browse: Browse, world: World, language: str, word: str) -> None:
    world.control.traces["c1"] = TRACE
    browser = browse("admin")
    browser.client.cookies.set("hookline_language", language)
    answer = browser.client.get("/calls/c1/trace")
    assert answer.status_code == 200
    assert word in answer.text
    assert EVIL not in answer.text
    assert answer.text.count("<script>alert") == 0
    assert re.findall(r'<a href="#m(\d)"', answer.text) == ["0", "1", "2"]   # every arrow can be reached by Tab
    assert re.findall(r'<pre id="m(\d)"', answer.text) == ["0", "1", "2"]
    assert "style=" not in answer.text   # the policy of the page forbids it


def test_a_call_that_is_forgotten(browse: Browse) -> None:
    answer = browse("admin").client.get("/calls/c9/trace")
    assert answer.status_code == 404
    assert "no longer remembers" in answer.text
    assert browse("admin").client.get("/api/v1/calls/c9/trace").status_code == 404
    assert browse("admin").client.get("/calls/c9/trace.pcap").status_code == 404


def test_the_link_is_on_the_calls_page_for_administrators_alone(browse: Browse, world: World) -> None:
    world.ring("+14155550100", "101", call_id="c1")
    assert "/calls/c1/trace" in browse("admin").client.get("/calls/c1").text
    assert "/calls/c1/trace" not in browse("super").client.get("/calls/c1").text


def test_for_programs_and_for_wireshark(browse: Browse, world: World) -> None:
    world.control.traces["c1"] = TRACE
    client = browse("admin").client
    told = client.get("/api/v1/calls/c1/trace").json()
    assert [one["text"] for one in told["steps"]] == ["INVITE (SDP)"] * 3
    file = client.get("/calls/c1/trace.pcap")
    assert file.content == b"pcapc1"
    assert "attachment" in file.headers["content-disposition"]
    assert client.get("/api/v1/openapi.json").json()["paths"]["/calls/{call_id}/trace"]["get"]
