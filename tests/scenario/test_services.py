"""The exchange takes calls itself: announcements, menus, queues, mailboxes, ring groups."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import pytest

from pbxcore.call.panel import Control
from pbxcore.call.services.entries import Menu, QueueEntry, RingGroup
from pbxcore.call.services.voicemail import Message
from pbxcore.hooks import Ivr, Play, Queue, Voicemail
from tests.scenario.office import EXCHANGE, Office
from tests.scenario.party import Party, Talk


class NamedSounds:
    """Every prompt is one file of its own name; sentences are said with their variables."""

    async def files(self, say: str, variables: Mapping[str, str]) -> Sequence[str]:
        return (say.format(**variables),)

    async def recording(self, file: str) -> Sequence[str]:
        return (file,)


class Mail:
    def __init__(self) -> None:
        self.kept: list[Message] = []
        self.discarded: list[str] = []

    def file_for(self, box: str, call_id: str) -> str:
        return f"{box}.wav"

    def keep(self, message: Message) -> None:
        self.kept.append(message)

    def discard(self, file: str) -> None:
        self.discarded.append(file)

    async def messages(self, box: str) -> list[Message]:
        return [message for message in self.kept if message.box == box]

    def heard(self, message: Message) -> None:
        self.kept[self.kept.index(message)] = dataclasses.replace(message, new=False)

    def delete(self, message: Message) -> None:
        self.kept.remove(message)

    async def close(self) -> None:
        return


class Served(Office):
    """An office with services; what it plays to the caller is in `heard`."""

    def __init__(self, **plan: object) -> None:
        super().__init__()
        plan["prompts"] = frozenset({"closed"})
        self.exchange.dial_plan = dataclasses.replace(self.exchange.dial_plan, **plan)  # type: ignore[arg-type]
        self.exchange.sounds = NamedSounds()
        self.exchange.mailroom = self.mail = Mail()

    def arrives(self, *, seconds: float = 0.5) -> tuple[Party, Talk]:
        carrier = self.carrier()
        talk = carrier.call("+15550100", EXCHANGE)
        self.world.run(seconds)
        return carrier, talk

    @property
    def heard(self) -> list[str]:
        return [file for _, files in self.relay.played for file in files]


def record(office: Office) -> tuple[str, str | None, str | None]:
    [found] = office.records()
    return found.disposition.value, found.answered_by, found.hung_up_by


class TestAnnouncement:
    def test_it_is_played_and_then_the_call_is_over(self) -> None:
        office = Served()
        office.hooks.decide = lambda call: Play("closed")
        _, talk = office.arrives()
        assert talk.state == "up", office.world.ladder()
        assert office.heard == ["closed"]
        office.relay.ends_playing()
        office.world.run(1.0)
        assert talk.state == "ended"
        office.assert_nothing_left()
        assert record(office) == ("answered", "play:closed", "exchange")

    def test_the_caller_hangs_up_before_its_end(self) -> None:
        office = Served()
        office.hooks.decide = lambda call: Play("closed")
        carrier, talk = office.arrives()
        carrier.bye(talk)
        office.assert_nothing_left()
        assert record(office) == ("answered", "play:closed", "caller")

    def test_a_caller_who_speaks_no_g711_is_told_so(self) -> None:
        office = Served()
        office.hooks.decide = lambda call: Play("closed")
        carrier = office.carrier()
        sdp = carrier.sdp().replace(b"RTP/AVP 0 8 101", b"RTP/AVP 9 101")
        carrier.sdp = lambda *_: sdp  # type: ignore[method-assign, assignment]
        talk = carrier.call("+15550100", EXCHANGE)
        office.world.run(1.0)
        assert talk.status == 488, office.world.ladder()
        office.assert_nothing_left()

    def test_hold_and_resume(self) -> None:
        office = Served()
        office.hooks.decide = lambda call: Play("closed")
        carrier, talk = office.arrives()
        carrier.hold(talk)
        office.world.run(0.5)
        assert b"a=recvonly" in talk.remote_sdp, office.world.ladder()
        carrier.hold(talk, "sendrecv")
        office.world.run(0.5)
        assert b"a=sendonly" not in talk.remote_sdp
        carrier.bye(talk)
        office.assert_nothing_left()

    def test_it_gives_up_while_it_is_not_written_down(self) -> None:
        office = Served()
        office.journal.tick = 0.24
        office.hooks.decide = lambda call: Play("closed")
        carrier, talk = office.arrives(seconds=0.22)
        carrier.cancel(talk)
        office.assert_nothing_left()
        assert office.records()[0].disposition.value == "cancelled"


class TestMenu:
    MENU = Menu("main", ("welcome",), {"1": "101", "2": "queue:sales", "9": "again", "0": "hangup"}, otherwise="102")

    def office(self) -> Served:
        office = Served(menus={"main": self.MENU}, queues={"sales": QueueEntry("sales", ("103",))})
        office.hooks.decide = lambda call: Ivr("main")
        return office

    def test_a_key_leads_to_a_phone_and_both_talk(self) -> None:
        office = self.office()
        desk = office.phone("101")
        carrier, talk = office.arrives()
        office.relay.presses("1")
        office.world.run(2.0)
        assert desk.last.state == "up", office.world.ladder()
        assert talk.state == "up"
        assert [request.method for request in carrier.seen] == ["INVITE"]   # he is offered the phone's media
        assert b"sendrecv" in talk.remote_sdp
        carrier.bye(talk)
        office.assert_nothing_left()
        disposition, answered_by, _ = record(office)
        assert (disposition, answered_by) == ("answered", "101")

    def test_by_info_too(self) -> None:
        office = self.office()
        desk = office.phone("101")
        carrier, talk = office.arrives()
        carrier.send(talk, "INFO", b"Signal=1\r\nDuration=160\r\n", [("Content-Type", "application/dtmf-relay")])
        office.world.run(2.0)
        assert desk.last.state == "up", office.world.ladder()
        desk.bye(desk.last)
        office.assert_nothing_left()
        assert talk.state == "ended"

    def test_a_wrong_key_is_said_and_after_three_tries_somebody_helps(self) -> None:
        office = self.office()
        helper = office.phone("102")
        carrier, talk = office.arrives()
        for _ in range(3):
            office.relay.presses("7")
            office.world.run(0.1)
            office.relay.ends_playing()
            office.world.run(0.1)
        office.world.run(2.0)
        assert office.heard.count("wrong-key") == 3
        assert helper.last.state == "up", office.world.ladder()
        carrier.bye(talk)
        office.assert_nothing_left()

    def test_who_presses_nothing(self) -> None:
        office = self.office()
        helper = office.phone("102")
        carrier, talk = office.arrives()
        for _ in range(3):
            office.relay.ends_playing()
            office.world.run(6.5)
        assert office.heard.count("welcome") == 3
        assert helper.last.state == "up", office.world.ladder()
        carrier.bye(talk)
        office.assert_nothing_left()

    def test_a_key_that_hangs_up(self) -> None:
        office = self.office()
        _, talk = office.arrives()
        office.relay.presses("0")
        office.world.run(1.0)
        assert talk.state == "ended"
        office.assert_nothing_left()

    def test_data_of_the_crm_is_said(self) -> None:
        balance = Menu("balance", ("Your balance is {balance}",), {})
        office = Served(menus={"balance": balance})
        office.hooks.decide = lambda call: Ivr("balance", {"balance": "12 euros"})
        carrier, talk = office.arrives()
        assert office.heard == ["Your balance is 12 euros"]
        carrier.bye(talk)
        office.assert_nothing_left()


class TestQueue:
    def office(self, **entry: object) -> Served:
        queue = QueueEntry("sales", ("101", "102"), **entry)  # type: ignore[arg-type]
        office = Served(queues={"sales": queue}, watched=frozenset({"101", "102"}), boxes=frozenset({"101"}))
        office.hooks.decide = lambda call: Queue("sales")
        return office

    def test_a_free_agent_gets_the_caller_at_once(self) -> None:
        office = self.office()
        desk = office.phone("101")
        carrier, talk = office.arrives(seconds=2.0)
        assert desk.last.state == talk.state == "up", office.world.ladder()
        assert office.heard == ["music"]
        carrier.bye(talk)
        office.assert_nothing_left()
        assert record(office)[:2] == ("answered", "101")

    def test_whoever_has_been_told_the_same_media_is_told_nothing_more(self) -> None:
        """Many a carrier takes a re-INVITE badly."""
        office = self.office()
        desk = office.phone("101")
        sdp = desk.sdp
        # This phone alone has fewer formats than the others of the tests.
        desk.sdp = lambda *_: sdp().replace(b"RTP/AVP 0 8 101", b"RTP/AVP 0 101")  # type: ignore[method-assign]
        carrier, talk = office.arrives(seconds=2.0)
        assert desk.last.state == talk.state == "up", office.world.ladder()
        assert not carrier.seen
        [(call_id, leg)] = office.relay.bridged.items()
        assert (call_id, leg) in office.relay.ports
        carrier.hold(talk)
        office.world.run(1.0)
        assert [request.method for request in desk.seen] == ["INVITE", "INVITE"]
        desk.bye(desk.last)
        office.assert_nothing_left()
        assert record(office)[:2] == ("answered", "101")

    def test_callers_wait_in_their_order_for_the_one_agent(self) -> None:
        office = self.office()
        desk = office.phone("101")
        carrier = office.carrier()
        talks = []
        for _ in range(3):
            talks.append(carrier.call("+15550100", EXCHANGE))
            office.world.run(0.5)
        served = []
        for _ in range(3):
            assert office.world.until(lambda: bool(desk.up()), 5.0), office.world.ladder()
            office.world.run(1.0)
            [call] = [live for live in office.exchange.live.values() if live.call.answered_by.party == "101"]  # type: ignore[union-attr]
            served.append(call.call.offered.call_id)
            desk.bye(desk.up()[0])
            office.world.run(0.2)
        assert served == [call.call_id for call in office.hooks.asked]
        office.assert_nothing_left()

    def test_priority_goes_first(self) -> None:
        office = self.office()
        carrier = office.carrier()
        office.hooks.decide = lambda call: Queue("sales", priority=len(office.hooks.asked))
        for _ in range(2):
            carrier.call("+15550100", EXCHANGE)
            office.world.run(0.5)
        desk = office.phone("101")
        assert office.world.until(lambda: bool(desk.up()), 5.0), office.world.ladder()
        office.world.run(1.0)
        [call] = [live for live in office.exchange.live.values() if live.call.answered_by.party == "101"]  # type: ignore[union-attr]
        assert call.call.offered.call_id == office.hooks.asked[1].call_id
        for live in list(office.exchange.live):
            office.exchange.hang_up(live)
        office.assert_nothing_left()

    def test_who_does_not_answer_is_passed_over(self) -> None:
        office = self.office(seconds=5.0)
        first, second = office.phone("101"), office.phone("102")
        first.manners.answer_after = None
        carrier, talk = office.arrives(seconds=8.0)
        assert second.last.state == "up", office.world.ladder()
        assert first.last.state == "cancelled"
        carrier.bye(talk)
        office.assert_nothing_left()

    def test_whoever_has_been_idle_longest(self) -> None:
        office = self.office()
        first, second = office.phone("101"), office.phone("102")
        rung = []
        for _ in range(4):
            carrier, talk = office.arrives(seconds=2.0)
            rung.append("101" if first.up() else "102")
            carrier.bye(talk)
            office.world.run(3.0)
        assert rung == ["101", "102", "101", "102"]
        assert len(first.talks) == len(second.talks) == 2
        office.assert_nothing_left()

    def test_nobody_who_writes_his_summary(self) -> None:
        office = self.office()
        office.exchange.agents.ready = lambda number: number != "101"
        first, second = office.phone("101"), office.phone("102")
        carrier, talk = office.arrives(seconds=2.0)
        assert not first.talks
        assert second.last.state == "up"
        carrier.bye(talk)
        office.assert_nothing_left()

    def test_the_caller_hears_his_place_and_then_the_music_again(self) -> None:
        office = self.office(announce_seconds=10.0)
        carrier, talk = office.arrives(seconds=11.5)
        office.relay.ends_playing()
        office.world.run(0.5)
        assert office.heard == ["music", "your-place", "music"]
        carrier.bye(talk)
        office.assert_nothing_left()

    def test_after_too_long_he_may_leave_a_message(self) -> None:
        office = self.office(longest_seconds=20.0, otherwise="voicemail:101", announce_seconds=0.0)
        carrier, talk = office.arrives(seconds=21.0)
        assert office.heard[:2] == ["music", "voicemail-101"]
        carrier.bye(talk)
        office.assert_nothing_left()

    def test_he_hangs_up_while_an_agent_rings(self) -> None:
        office = self.office()
        desk = office.phone("101")
        desk.manners.answer_after = None
        carrier, talk = office.arrives(seconds=2.0)
        assert desk.last.state == "ringing"
        carrier.bye(talk)
        office.world.run(1.0)
        assert desk.last.state == "cancelled", office.world.ladder()
        assert not office.exchange.agents.rung
        assert not office.exchange.agents.line("sales").waiting
        office.assert_nothing_left()

    def test_a_full_queue(self) -> None:
        office = self.office(most=1, otherwise="102")
        helper = office.phone("102")
        office.exchange.agents.ready = lambda number: False
        office.arrives(seconds=2.0)
        office.arrives(seconds=2.0)
        assert helper.last.state == "up", office.world.ladder()
        for live in list(office.exchange.live):
            office.exchange.hang_up(live)
        office.assert_nothing_left()

    def test_somebody_of_the_office_takes_the_caller_out_of_it(self) -> None:
        office = self.office()
        helper = office.phone("103")
        carrier, talk = office.arrives(seconds=2.0)
        [call_id] = office.exchange.live
        Control(office.exchange).transfer(call_id, "103")
        office.world.run(2.0)
        assert helper.last.state == "up", office.world.ladder()
        carrier.bye(talk)
        office.assert_nothing_left()


class TestVoicemail:
    def office(self) -> Served:
        office = Served(boxes=frozenset({"101"}))
        office.hooks.decide = lambda call: Voicemail("101")
        return office

    def test_a_message_is_kept(self) -> None:
        office = self.office()
        carrier, talk = office.arrives()
        for _ in range(2):
            office.relay.ends_playing()
            office.world.run(0.2)
        assert office.heard == ["voicemail-101", "beep"]
        assert office.relay.recording == "101.wav"
        office.world.run(5.0)
        carrier.bye(talk)
        office.assert_nothing_left()
        [message] = office.mail.kept
        assert (message.box, message.caller, message.file) == ("101", "+15557777", "101.wav")
        assert message.seconds == pytest.approx(5.2, abs=0.3)

    def test_the_pound_key_ends_it(self) -> None:
        office = self.office()
        _, talk = office.arrives()
        for _ in range(2):
            office.relay.ends_playing()
            office.world.run(0.2)
        office.world.run(3.0)
        office.relay.presses("#")
        office.world.run(1.0)
        assert talk.state == "ended", office.world.ladder()
        assert len(office.mail.kept) == 1
        office.assert_nothing_left()

    def test_who_says_nothing_leaves_nothing(self) -> None:
        office = self.office()
        carrier, talk = office.arrives()
        for _ in range(2):
            office.relay.ends_playing()
            office.world.run(0.2)
        carrier.bye(talk)
        office.assert_nothing_left()
        assert not office.mail.kept
        assert office.mail.discarded == ["101.wav"]


class TestMailbox:
    def office(self) -> Served:
        office = Served(boxes=frozenset({"101"}), mailbox_number="*97")
        for number in range(3):
            office.mail.keep(Message("101", f"c{number}", "+15557777", "", float(number), 3.0, f"message-{number}"))
        return office

    def test_one_after_the_other(self) -> None:
        office = self.office()
        phone = office.phone("101")
        talk = phone.call("*97", EXCHANGE)
        office.world.run(0.5)
        for key in ("", "1", "7", "3"):
            if key:
                office.relay.presses(key)
                office.world.run(0.1)
            office.relay.ends_playing()
            office.world.run(0.1)
        assert [file for file in office.heard if file.startswith("message-")] == [
            "message-0", "message-keys", "message-0", "message-keys", "message-1", "message-keys",
            "message-2", "message-keys",
        ]  # fmt: skip
        assert [(message.call_id, message.new) for message in office.mail.kept] == [("c1", False), ("c2", True)]
        assert not office.hooks.asked
        assert [call.call.offered.direction for call in office.exchange.live.values()] == ["internal"]
        phone.bye(talk)
        office.assert_nothing_left()
        assert [message.new for message in office.mail.kept] == [False, True]

    def test_who_presses_nothing_hears_all_of_it(self) -> None:
        office = self.office()
        talk = office.phone("101").call("*97", EXCHANGE)
        for _ in range(5):
            office.world.run(6.0)
            office.relay.ends_playing()
        office.world.run(1.0)
        assert talk.state == "ended", office.world.ladder()
        assert office.heard[-1] == "no-more-messages"
        assert not any(message.new for message in office.mail.kept)
        office.assert_nothing_left()

    def test_only_who_has_one(self) -> None:
        office = self.office()
        talk = office.phone("102").call("*97", EXCHANGE)
        office.world.run(1.0)
        assert talk.status == 404, office.world.ladder()
        office.assert_nothing_left()


class TestRingGroup:
    def test_all_at_once_and_then_elsewhere(self) -> None:
        group = RingGroup("front", ("101", "102"), seconds=5.0, otherwise="103")
        office = Served(groups={"front": group}, inbound={"*": "group:front"})
        one, two, three = (office.phone(number) for number in ("101", "102", "103"))
        one.manners.answer_after = two.manners.answer_after = None
        carrier, talk = office.arrives(seconds=7.0)
        assert (one.last.state, two.last.state, three.last.state) == ("cancelled", "cancelled", "up")
        carrier.bye(talk)
        office.assert_nothing_left()

    def test_groups_that_lead_to_each_other_have_an_end(self) -> None:
        groups = {
            "a": RingGroup("a", ("101",), seconds=1.0, otherwise="group:b"),
            "b": RingGroup("b", ("102",), seconds=1.0, otherwise="group:a"),
        }
        office = Served(groups=groups, inbound={"*": "group:a"})
        _, talk = office.arrives(seconds=60.0)
        assert talk.status == 480, office.world.ladder()
        office.assert_nothing_left()

    def test_a_number_of_its_own_inside(self) -> None:
        office = Served(groups={"front": RingGroup("front", ("101",))}, numbers={"600": "group:front"})
        desk, colleague = office.phone("101"), office.phone("102")
        talk = colleague.call("600", EXCHANGE)
        office.world.run(2.0)
        assert desk.last.state == talk.state == "up", office.world.ladder()
        assert office.hooks.asked[0].direction == "internal"
        colleague.bye(talk)
        office.assert_nothing_left()
