"""A call that is over is gone: nothing of it waits for Python's cycle collector, which does not run while calls are set
up (`pbxcore.collector`)."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from pbxcore.call.b2bua import LiveCall
from pbxcore.call.call import Call
from pbxcore.call.conversation import Conversation
from pbxcore.call.leg import Leg
from pbxcore.hooks import Proceed
from pbxcore.sip.dialog import Dialog
from pbxcore.sip.message import Message
from pbxcore.sip.transaction import ClientTransaction, ServerTransaction
from tests.scenario.office import CARRIER, EXCHANGE, Office
from tests.scenario.party import Party
from tests.scenario.test_slow_relay import answer, early_media
from tests.scenario.test_trunks import Challenger

Play = Callable[[Office], None]


def answered(office: Office) -> None:
    talk = office.carrier().call("+15550100", EXCHANGE)
    desk = phone_at(office, 10101)
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked)
    office.world.run(1.0)
    desk.bye(desk.last)


def held_and_resumed(office: Office) -> None:
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up")
    for direction in ("sendonly", "sendrecv"):
        office.world.run(1.0)
        carrier.hold(talk, direction)
    carrier.send(talk, "INFO", b"Signal=5", [("Content-Type", "application/dtmf-relay")])
    office.world.run(1.0)
    carrier.send(talk, "INVITE")
    office.world.run(1.0)
    carrier.bye(talk)


def late_offer(office: Office) -> None:
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE, late_offer=True)
    assert office.world.until(lambda: talk.state == "up")
    office.world.run(1.0)
    carrier.bye(talk)


def cancelled(office: Office) -> None:
    phone_at(office, 10101).manners.answer_after = None
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: 180 in talk.provisionals)
    carrier.cancel(talk)


def cancel_crosses_200(office: Office) -> None:
    desk = phone_at(office, 10101)
    desk.manners.answer_after, desk.manners.holds_200_after_cancel = 1.0, True
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: 180 in talk.provisionals)
    carrier.cancel(talk)


def refused(office: Office) -> None:
    phone_at(office, 10101).manners.refuse_with = 486
    office.carrier().call("+15550100", EXCHANGE)


def nobody_there(office: Office) -> None:
    office.carrier().call("404", EXCHANGE)


def forked(office: Office) -> None:
    slow = office.phone("101", 10201)
    slow.manners.answer_after, slow.manners.holds_200_after_cancel = 0.051, True
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up")
    office.world.run(1.0)
    carrier.bye(talk)


def dead_phone(office: Office) -> None:
    phone_at(office, 10101).alive = False
    office.carrier().call("+15550100", EXCHANGE)


def never_acknowledged(office: Office) -> None:
    carrier = office.carrier()
    carrier.manners.acknowledges = False
    carrier.call("+15550100", EXCHANGE)


def slow_crm_and_relay(office: Office) -> None:
    office.hooks.delay = 0.1
    office.hooks.decide = lambda call: Proceed(display_name="Anna")
    office.relay.delay = 0.1
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up")
    carrier.bye(talk)


def late_crm(office: Office) -> None:
    office.hooks.delay = 5.0
    answered(office)


def refusing_relay(office: Office) -> None:
    office.relay.refuses = "answer"
    office.carrier().call("+15550100", EXCHANGE)


def two_answers_behind_a_slow_relay(office: Office) -> None:
    one, two = phone_at(office, 10101), office.phone("101", 10201)
    one.manners.answer_after = two.manners.answer_after = None
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: bool(one.talks and two.talks))
    office.relay.delay = 0.3
    early_media(one)
    office.world.run(0.05)
    answer(one)
    answer(two)
    assert office.world.until(lambda: talk.state == "up")
    carrier.bye(talk)


def out_through_a_challenging_carrier(office: Office) -> None:
    carrier = Challenger(office.world, CARRIER, "+1555")
    carrier.arm()
    desk = phone_at(office, 10101)
    talk = desk.call("9+15558888", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up")
    desk.bye(talk)


def broken_connection(office: Office) -> None:
    caller = office.phone("102", transport="TCP")
    talk = caller.call("101", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up")
    flow = office.node.flow_to("TCP", *caller.address)
    flow.closed = True
    office.exchange.layer.flow_lost(flow)
    phone_at(office, 10101).bye(phone_at(office, 10101).last)


def wrong_password(office: Office) -> None:
    desk = phone_at(office, 10101)
    desk.password = "wrong"
    desk.call("102", EXCHANGE)
    office.world.run(2.0)
    desk.manners.silent = True


PLAYS: tuple[Play, ...] = (
    answered, held_and_resumed, late_offer, cancelled, cancel_crosses_200, refused, nobody_there, forked, dead_phone,
    never_acknowledged, slow_crm_and_relay, late_crm, refusing_relay, two_answers_behind_a_slow_relay,
    out_through_a_challenging_carrier, broken_connection, wrong_password,
)  # fmt: skip


def phone_at(office: Office, port: int) -> Party:
    node = office.world.nodes["127.0.0.1", port]
    assert isinstance(node, Party)
    return node


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    gc.freeze()     # what is there already is no affair of theirs, and takes time to look through
    yield
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("play", PLAYS, ids=lambda play: play.__name__)
def test_a_call_leaves_no_cycles(play: Play) -> None:
    office = Office()
    office.phone("101")
    office.world.run(40.0)
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    play(office)
    office.world.run(120.0)
    gc.collect()
    found = Counter(f"{type(o).__module__}.{type(o).__qualname__}" for o in gc.garbage)
    ours = {name: count for name, count in found.items() if name.startswith("pbxcore")}
    assert not ours, found.most_common(12)


WATCHED = (LiveCall, Leg, Conversation, Call, Dialog, ServerTransaction, ClientTransaction, Message)


def alive(office: Office) -> list[object]:
    """What the exchange could still know of calls; the parties of the test are made to forget theirs."""
    for party in office.world.nodes.values():
        if isinstance(party, Party):
            for log in (party.talks, party.seen, party.answers):
                log.clear()
    return [o for o in gc.get_objects() if isinstance(o, WATCHED)]


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("play", PLAYS, ids=lambda play: play.__name__)
def test_a_call_is_gone_as_soon_as_its_transactions_are(play: Play) -> None:
    office = Office()
    office.phone("101")
    office.world.run(40.0)
    before = {id(o) for o in alive(office)}
    play(office)
    office.world.run(120.0)
    left = [o for o in alive(office) if id(o) not in before]
    assert not left, left


def test_a_thousand_calls_leave_no_memory_behind() -> None:
    """Objects are counted, not bytes: what grows with the number of calls shows."""
    office = Office()
    desk = office.phone("101")
    carrier = office.carrier()

    def calls(count: int) -> int:
        for _ in range(count):
            talk = carrier.call("+15550100", EXCHANGE)
            assert office.world.until(lambda talk=talk: talk.state == "up")
            carrier.bye(talk)
            office.world.run(0.1)
        office.world.run(120.0)
        for party in (desk, carrier):
            for log in (party.talks, party.seen, party.answers, party._retry):
                log.clear()
        for log in (office.world.wire, office.journal.written, office.journal.committed, office.hooks.asked,
                    office.hooks.answered, office.hooks.ended, office.relay.deleted, office.relay.bridged):  # fmt: skip
            log.clear()
        gc.collect()
        return len(gc.get_objects())

    before = calls(100)
    assert calls(500) - before < 50
