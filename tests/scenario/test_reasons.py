"""Why a call ended (RFC 3326): told to the other side as it was said, and kept for the record."""

from __future__ import annotations

import pytest

from pbxcore.hooks import Ring
from tests.scenario.office import EXCHANGE, Office
from tests.scenario.party import Party, Talk

WHY = 'Q.850;cause=16;text="Normal call clearing"'


def up(office: Office) -> tuple[Party, Talk, Party]:
    desk = office.phone("101")
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked), office.world.ladder()
    return carrier, talk, desk


def last(party: Party, method: str) -> list[str]:
    return [request for request in party.seen if request.method == method][-1].values("reason")


@pytest.mark.parametrize("who", ["caller", "callee"])
def test_a_bye_says_why_to_the_other_side(who: str) -> None:
    office = Office()
    carrier, talk, desk = up(office)
    one, mine, other = (carrier, talk, desk) if who == "caller" else (desk, desk.last, carrier)
    mine.state = "ended"
    one.send(mine, "BYE", headers=[("Reason", f'{WHY}, SIP;cause=200;text="a, b;cause=5"')])
    office.world.run(1.0)
    assert last(other, "BYE") == [WHY, 'SIP;cause=200;text="a, b;cause=5"']
    office.assert_nothing_left()
    [record] = office.records()
    assert [leg.cause for leg in record.legs] == ([16, None] if who == "caller" else [None, 16])


def test_a_cancel_says_why_to_every_phone() -> None:
    office = Office()
    one, two = office.phone("101"), office.phone("102")
    office.hooks.decide = lambda call: Ring(("101", "102"))
    one.manners.answer_after = two.manners.answer_after = None
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    office.world.run(0.5)
    assert talk.client is not None
    reason = 'SIP;cause=200;text="Call completed elsewhere"'
    carrier.layer.cancel(talk.client, reason=reason)
    office.world.run(0.5)
    assert last(one, "CANCEL") == last(two, "CANCEL") == [reason], "answered elsewhere for the caller: no missed call"
    office.assert_nothing_left()


def test_the_losers_of_a_fork_show_no_missed_call() -> None:
    office = Office()
    one, two, three = office.phone("101"), office.phone("102"), office.phone("103")
    office.hooks.decide = lambda call: Ring(("101", "102", "103"))
    two.manners.answer_after = three.manners.answer_after = None
    three.manners.ring_after = 2.0     # says nothing yet: its CANCEL waits for a provisional (RFC 3261 section 9.1)
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    office.world.run(4.0)
    assert talk.state == "up"
    expected = ['SIP;cause=200;text="Call completed elsewhere"']
    assert last(two, "CANCEL") == last(three, "CANCEL") == expected, office.world.ladder()
    carrier.bye(talk)
    office.assert_nothing_left()
    del one


def test_a_loser_whose_answer_crosses_is_told_so_in_its_bye() -> None:
    office = Office()
    one, two = office.phone("101"), office.phone("102")
    office.hooks.decide = lambda call: Ring(("101", "102"))
    one.manners.answer_after = 0.1
    two.manners.answer_after = 0.1
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    office.world.run(2.0)
    loser = one if one.last.state == "ended" else two
    assert last(loser, "BYE") == ['SIP;cause=200;text="Call completed elsewhere"'], office.world.ladder()
    carrier.bye(talk)
    office.assert_nothing_left()


def test_a_carrier_says_why_it_did_not_connect() -> None:
    """Q.850 causes of the telephone network: for the caller, and for the record."""
    office = Office()
    desk, carrier = office.phone("101"), office.carrier()
    carrier.manners.refuse_with = 503
    carrier.manners.refuse_headers = [("Reason", 'Q.850 ;cause=34 ;text="No circuit available"')]
    talk = desk.call("915551234", EXCHANGE)
    office.world.run(2.0)
    assert talk.status == 500
    assert talk.responses[-1].first("reason") == 'Q.850 ;cause=34 ;text="No circuit available"'
    office.assert_nothing_left()
    [record] = office.records()
    assert (record.legs[1].party, record.legs[1].status, record.legs[1].cause) == ("trunk:carrier", 500, 34)


@pytest.mark.parametrize("said", ["Q.850", "Q.850;cause=", "Q.850;cause=999", "SIP;cause=486", ";;;", "Q.850;cause=x"])
def test_a_reason_that_says_nothing(said: str) -> None:
    office = Office()
    carrier, talk, desk = up(office)
    talk.state = "ended"
    carrier.send(talk, "BYE", headers=[("Reason", said)])
    office.world.run(1.0)
    assert desk.last.state == "ended"
    office.assert_nothing_left()
    assert office.records()[0].legs[0].cause is None


def test_what_the_exchange_ends_it_says_why() -> None:
    office = Office()
    carrier, talk, desk = up(office)
    office.exchange.media_timed_out(next(iter(office.exchange.live)))
    office.world.run(1.0)
    assert last(desk, "BYE") == last(carrier, "BYE") == ['SIP;cause=408;text="No RTP"']
    office.assert_nothing_left()
    del talk


@pytest.mark.parametrize(("kind", "body"), [
    ("application/dtmf-relay", b"Signal=5\r\nDuration=160\r\n"), ("application/dtmf", b"5"),
])  # fmt: skip
@pytest.mark.parametrize("who", ["caller", "callee"])
def test_digits_by_info_go_through_untouched(kind: str, body: bytes, who: str) -> None:
    office = Office()
    carrier, talk, desk = up(office)
    one, mine, other = (carrier, talk, desk) if who == "caller" else (desk, desk.last, carrier)
    for _ in range(3):
        one.send(mine, "INFO", body, [("Content-Type", kind)])
    office.world.run(1.0)
    got = [request for request in other.seen if request.method == "INFO"]
    assert [(request.body, request.content_type) for request in got] == [(body, kind)] * 3, "each of them once"
    assert [r.status for r in one.answers if r.cseq.method == "INFO"] == [200] * 3
    carrier.bye(talk)
    office.assert_nothing_left()
