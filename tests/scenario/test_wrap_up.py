"""After a call an agent is left alone until his summary is stored or the time is up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pbxcore.call.panel import Control
from pbxcore.call.services.states import LAMP_STATES
from pbxcore.control import NotFound
from pbxcore.events import AgentStateChanged
from pbxcore.hooks import Play, Ring
from tests.scenario.office import EXCHANGE, Office
from tests.scenario.test_services import NamedSounds
from tests.scenario.watcher import DIALOG, Watcher

SECONDS = 30.0


class Desk:
    """An office whose 101 takes a call from outside, and 102 is there."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self.office = Office()
        self.office.exchange.states.seconds = seconds
        self.one, self.two = self.office.phone("101"), self.office.phone("102")
        self.carrier = self.office.carrier()
        self.office.hooks.decide = lambda call: Ring(("101",))
        self.control = Control(self.office.exchange)

    def talk(self) -> str:
        """A call that is answered and over; its identifier."""
        talk = self.carrier.call("+15550100", EXCHANGE)
        assert self.office.world.until(lambda: talk.state == "up" and self.one.last.acked)
        [call] = self.control.calls()
        assert self.state() == "ready"
        self.carrier.bye(talk)
        self.office.world.run(1.0)
        return call.call_id

    def state(self, number: str = "101") -> str:
        return next(one.state for one in self.control.extensions() if one.number == number)

    def free(self) -> list[str]:
        return self.office.exchange.agents.free(["101", "102"])


def test_no_queue_offers_him_a_call_until_the_summary_is_stored() -> None:
    desk = Desk()
    call_id = desk.talk()
    assert desk.state() == "after-call work"
    assert desk.free() == ["102"]
    desk.control.summary_written("of another call")
    assert desk.free() == ["102"]
    desk.control.summary_written(call_id)
    assert desk.state() == "ready"
    assert desk.free() == ["101", "102"]
    desk.office.world.run(SECONDS + 1)
    desk.office.assert_nothing_left()


def test_or_until_the_time_is_up() -> None:
    desk = Desk()
    desk.talk()
    desk.office.world.run(SECONDS - 3)
    assert desk.state() == "after-call work"
    desk.office.world.run(5)
    assert desk.state() == "ready"


def test_two_calls_want_two_summaries() -> None:
    desk = Desk()
    first = desk.talk()
    desk.control.agent_says("101", "ready")
    second = desk.talk()
    desk.control.summary_written(first)
    assert desk.state() == "after-call work"
    desk.control.summary_written(second)
    assert desk.state() == "ready"


def test_nobody_writes_where_it_is_not_wanted_nor_of_a_call_that_he_did_not_have() -> None:
    desk = Desk(0.0)
    desk.talk()
    assert desk.state() == "ready"
    desk = Desk()
    desk.one.manners.answer_after = None
    talk = desk.carrier.call("+15550100", EXCHANGE)
    desk.office.world.run(1.0)
    desk.carrier.cancel(talk)
    desk.office.world.run(1.0)
    assert desk.state() == "ready"


def test_neither_a_carrier_nor_an_announcement_writes() -> None:
    desk = Desk()
    heard: list[object] = []
    desk.office.bus.listen(heard.append)
    desk.office.exchange.dial_plan = replace(desk.office.exchange.dial_plan, prompts=frozenset({"closed"}))
    desk.office.hooks.decide = lambda call: Play("closed")
    desk.office.exchange.sounds = NamedSounds()
    talk = desk.carrier.call("+15550100", EXCHANGE)
    assert desk.office.world.until(lambda: talk.state == "up")
    desk.carrier.bye(talk)
    desk.office.world.run(1.0)
    assert len(desk.office.records()) == 1
    assert [event for event in heard if isinstance(event, AgentStateChanged)] == []


def test_who_has_handed_a_call_over_writes_at_once_and_once() -> None:
    desk = Desk()
    talk = desk.carrier.call("+15550100", EXCHANGE)
    assert desk.office.world.until(lambda: talk.state == "up" and desk.one.last.acked)
    [call] = desk.control.calls()
    desk.control.transfer(call.call_id, "102")
    assert desk.office.world.until(lambda: desk.state() == "after-call work")
    assert [live.call_id for live in desk.control.calls()] == [call.call_id]
    assert desk.state("102") == "ready"
    desk.office.world.run(SECONDS + 1)
    assert desk.state() == "ready"
    desk.carrier.bye(talk)
    desk.office.world.run(1.0)
    assert (desk.state("101"), desk.state("102")) == ("ready", "after-call work")


def test_what_he_says_himself_stands_before_all() -> None:
    desk = Desk()
    heard: list[tuple[str, str]] = []

    def listen(event: object) -> None:
        if isinstance(event, AgentStateChanged):
            heard.append((event.extension, event.state))

    desk.office.bus.listen(listen)
    desk.control.agent_says("101", "not ready")
    desk.control.agent_says("101", "not ready")
    assert desk.free() == ["102"]
    desk.control.agent_says("101", "after-call work")
    assert desk.state() == "after-call work"
    desk.control.agent_says("101", "ready")
    assert heard == [("101", "not ready"), ("101", "after-call work"), ("101", "ready")]
    with pytest.raises(NotFound):
        desk.control.agent_says("999", "ready")


def test_presence_says_that_he_writes_and_stops_saying_it() -> None:
    desk = Desk()
    watch = Watcher(desk.office, "102").subscribe("101", "presence")
    call_id = desk.talk()
    desk.office.world.run(6.0)
    assert "After-call work" in watch.seen[-1].body.decode()
    desk.control.summary_written(call_id)
    desk.office.world.run(6.0)
    assert "After-call work" not in watch.seen[-1].body.decode()


def test_his_lamp_shines_until_the_summary_is_stored() -> None:
    """As a call of its own: a phone that shows calls alone keeps apart the one that is over and the work after it."""
    desk = Desk()
    watch = Watcher(desk.office, "102").subscribe("101")
    call_id = desk.talk()
    desk.office.world.run(3.0)
    shown = [dialog for document in watch.documents() for dialog in document]
    working = shown[-1]
    assert working.findtext(f"{DIALOG}state") == "confirmed"
    assert set(working.keys()) == {"id"}                      # there is nothing that could be picked up
    assert working.find(f"{DIALOG}remote") is None
    assert shown[-2].findtext(f"{DIALOG}state") == "terminated"
    assert working.get("id") not in {dialog.get("id") for dialog in shown[:-1]}
    late = Watcher(desk.office, "103", 20_103).subscribe("101")
    assert late.dialog_states() == [["confirmed"]]
    desk.control.summary_written(call_id)
    desk.office.world.run(3.0)
    [dialog] = watch.documents()[-1]
    assert (dialog.get("id"), dialog.findtext(f"{DIALOG}state")) == (working.get("id"), "terminated")
    assert late.dialog_states()[-1] == ["terminated"]
    assert Watcher(desk.office, "104", 20_104).subscribe("101").dialog_states() == [[]]


def test_it_shines_through_his_next_call_and_goes_out_when_the_time_is_up() -> None:
    desk = Desk()
    desk.talk()
    watch = Watcher(desk.office, "102").subscribe("101")
    talk = desk.carrier.call("+15550100", EXCHANGE)           # by a colleague's hand, not by a queue
    assert desk.office.world.until(lambda: talk.state == "up" and desk.one.last.acked)
    desk.office.world.run(2.0)
    assert Watcher(desk.office, "103", 20_103).subscribe("101").dialog_states() == [["confirmed", "confirmed"]]
    desk.office.world.run(SECONDS)
    assert Watcher(desk.office, "104", 20_104).subscribe("101").dialog_states() == [["confirmed"]]
    assert watch.dialog_states()[-1] == ["terminated"]
    desk.carrier.bye(talk)
    desk.office.world.run(1.0)


@pytest.mark.parametrize(
    ("setting", "working", "away"),
    [("never", [], []), ("wrap-up", ["confirmed"], []), ("not-ready", ["confirmed"], ["confirmed"])],
)
def test_what_lights_the_lamp_is_the_offices_choice(setting: str, working: list[str], away: list[str]) -> None:
    desk = Desk()
    desk.office.exchange.lamp_states = LAMP_STATES[setting]
    seen = []
    for at, state in enumerate(("after-call work", "not ready", "ready")):
        desk.control.agent_says("101", state)                 # type: ignore[arg-type]  # they are all three
        seen += Watcher(desk.office, f"10{at + 2}", 20_102 + at).subscribe("101").dialog_states()
    assert seen == [working, away, []]
