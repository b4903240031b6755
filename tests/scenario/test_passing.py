"""Requests that go through: INFO and MESSAGE and OPTIONS inside of a call, MESSAGE outside of one."""

from __future__ import annotations

import pytest

from pbxcore.sip import build
from tests.scenario.office import EXCHANGE, Office


@pytest.mark.parametrize("method", ["INFO", "MESSAGE", "OPTIONS"])
@pytest.mark.parametrize("sender", ["carrier", "desk"])
def test_inside_of_a_call(method: str, sender: str) -> None:
    office = Office()
    desk = office.phone("101")
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked)
    one, mine, other = (carrier, talk, desk) if sender == "carrier" else (desk, desk.last, carrier)
    body = b"Signal=5\r\nDuration=160\r\n"
    one.send(mine, method, body, [("Content-Type", "application/dtmf-relay"), ("X-Note", "kept")])
    office.world.run(1.0)
    [got] = [request for request in other.seen if request.method == method]
    assert got.body == body
    assert got.content_type == "application/dtmf-relay"
    assert got.first("x-note") == "kept"
    assert [r.status for r in one.answers if r.cseq.method == method] == [200]
    carrier.bye(talk)
    office.assert_nothing_left()


@pytest.mark.parametrize(("method", "status"), [("SUBSCRIBE", 405), ("NOTIFY", 405), ("DANCE", 501)])
def test_what_is_not_passed_on_is_refused(method: str, status: int) -> None:
    office = Office()
    desk = office.phone("101")
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked)
    carrier.send(talk, method)
    office.world.run(1.0)
    answer = next(r for r in carrier.answers if r.cseq.method == method)
    assert answer.status == status
    assert answer.first("allow")
    carrier.bye(talk)
    office.assert_nothing_left()


def test_a_message_to_an_extension() -> None:
    office = Office()
    sender, reader = office.phone("101"), office.phone("102")
    request = build.request(
        "MESSAGE", "sip:102@127.0.0.1",
        [
            ("Max-Forwards", "70"), ("From", "<sip:101@127.0.0.1>;tag=m"), ("To", "<sip:102@127.0.0.1>"),
            ("Call-ID", "message"), ("CSeq", "1 MESSAGE"), ("Content-Type", "text/plain"),
        ],
        "Привет".encode(),
    )
    sender.layer.request(request, sender.flow_to("UDP", *EXCHANGE), sender)
    office.world.run(2.0)
    [got] = [request for request in reader.seen if request.method == "MESSAGE"]
    assert got.body.decode() == "Привет"
    assert got.from_.uri.user == "101"
    assert sender.answers[-1].status == 200
    office.assert_nothing_left()


def test_an_old_request_is_out_of_order() -> None:
    office = Office()
    desk = office.phone("101")
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked)
    carrier.send(talk, "INFO")
    office.world.run(0.5)
    assert talk.dialog is not None
    talk.dialog.local_seq = 0
    carrier.send(talk, "INFO")
    office.world.run(0.5)
    assert [r.status for r in carrier.answers if r.cseq.method == "INFO"] == [200, 500]
    talk.dialog.local_seq = 10
    carrier.bye(talk)
    office.assert_nothing_left()


@pytest.mark.parametrize(("theirs", "ours"), [(407, 502), (401, 502), (503, 500), (488, 488), (415, 415)])
def test_a_refusal_inside_of_a_call(theirs: int, ours: int) -> None:
    office = Office()
    desk = office.phone("101")
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked)
    desk.manners.answer_requests = theirs
    carrier.send(talk, "INFO")
    office.world.run(1.0)
    assert [r.status for r in carrier.answers if r.cseq.method == "INFO"] == [ours], office.world.ladder()
    carrier.bye(talk)
    office.assert_nothing_left()


@pytest.mark.parametrize("method", ["INFO", "OPTIONS"])
def test_the_other_side_knows_nothing_of_the_call_any_more(method: str) -> None:
    """481 to any request inside of a dialog is its end (RFC 3261 section 12.2.1.2): both sides are released."""
    office = Office()
    desk = office.phone("101")
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked)
    desk.talks.clear()
    carrier.send(talk, method)
    office.world.run(1.0)
    assert [r.status for r in carrier.answers if r.cseq.method == method] == [481], office.world.ladder()
    assert talk.state == "ended"
    office.assert_nothing_left()


def test_a_dead_peer_and_many_requests() -> None:
    """What is passed on and not answered is bounded; the sender hears of every request."""
    office = Office()
    desk = office.phone("101")
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked)
    desk.alive = False
    for _ in range(40):
        carrier.send(talk, "INFO")
    office.world.run(1.0)
    assert [r.status for r in carrier.answers if r.cseq.method == "INFO"] == [500] * 8
    carrier.bye(talk)
    office.world.run(1.0)
    assert [r.status for r in carrier.answers if r.cseq.method == "INFO"] == [500] * 8 + [481] * 32
    office.assert_nothing_left()
