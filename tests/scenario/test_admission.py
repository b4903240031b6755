"""Who gets in, and what the rest is told."""

from __future__ import annotations

import dataclasses

import pytest

from pbxcore.call.router import OutboundRule
from pbxcore.sip import build
from pbxcore.sip.message import Response
from tests.scenario.office import EXCHANGE, Office
from tests.scenario.party import Party


def ask(office: Office, party: Party, method: str, headers: list[tuple[str, str]] | None = None, *, user: str = "101",
        body: bytes = b"", to_tag: str = "") -> Response:
    """Send one request outside of any dialog and give its final response."""
    uri = f"sip:{user}@127.0.0.1"
    to = f"<{uri}>" + (f";tag={to_tag}" if to_tag else "")
    rows = [
        ("Max-Forwards", "70"), ("From", f"<sip:{party.user}@127.0.0.1>;tag={office.world.token()}"), ("To", to),
        ("Call-ID", office.world.token()), ("CSeq", f"7 {method}"), ("Contact", party.contact),
    ]
    given = headers or []
    rows = [row for row in rows if row[0] not in {name for name, _ in given}] + given
    request = build.request(method, uri, rows, body)
    count = len(party.answers)
    party.layer.request(request, party.flow_to("UDP", *EXCHANGE), party)
    assert office.world.until(lambda: any(r.status >= 200 for r in party.answers[count:])), office.world.ladder()
    return next(r for r in party.answers[count:] if r.status >= 200)


@pytest.mark.parametrize(
    ("method", "status"),
    [
        ("INVITE", 401), ("REGISTER", 401), ("MESSAGE", 401), ("OPTIONS", 200), ("SUBSCRIBE", 401), ("PUBLISH", 401),
        ("REFER", 405), ("NOTIFY", 481), ("INFO", 481), ("BYE", 481), ("UPDATE", 481), ("PRACK", 481),
        ("DANCE", 501),
    ],
)
def test_a_stranger_gets_no_further_than_a_challenge(method: str, status: int) -> None:
    office = Office()
    desk = office.phone("101")
    stranger = Party(office.world, ("127.0.0.9", 5060), "eve")
    response = ask(office, stranger, method, body=stranger.sdp() if method == "INVITE" else b"")
    assert response.status == status, office.world.ladder()
    if status in (405, 501):
        assert "INVITE" in (response.first("allow") or "")
    assert not desk.seen
    office.assert_nothing_left()
    assert not office.records()


@pytest.mark.parametrize("method", ["INVITE", "BYE", "INFO", "OPTIONS", "MESSAGE", "REFER", "SUBSCRIBE"])
def test_a_dialog_that_never_was_is_answered_481(method: str) -> None:
    office = Office()
    stranger = Party(office.world, ("127.0.0.9", 5060), "eve")
    assert ask(office, stranger, method, to_tag="nobody").status == 481
    office.assert_nothing_left()


def test_a_wrong_password_and_an_unknown_user_look_alike() -> None:
    office = Office()
    answers = []
    for user in ("101", "999"):
        phone = Party(office.world, ("127.0.0.1", 20_000 + int(user)), user)
        phone.password = "wrong"
        phone.register(EXCHANGE)
        office.world.run(3.0)
        assert not phone.registered
        answers.append([(r.status, r.reason, sorted(key for key, _ in r.fields)) for r in phone.answers])
    assert answers[0] == answers[1]
    office.assert_nothing_left()


def test_credentials_of_one_do_not_bind_another() -> None:
    office = Office()
    phone = office.phone("101", registered=False)
    uri = "sip:127.0.0.1"
    request = phone._request("REGISTER", uri, "<sip:102@127.0.0.1>", [])
    phone.layer.request(request, phone.flow_to("UDP", *EXCHANGE), phone)
    office.world.run(2.0)
    assert phone.answers[-1].status == 403, office.world.ladder()
    assert not office.exchange.registrar.bindings("102")


def test_an_extension_that_is_required_is_refused() -> None:
    office = Office()
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE, headers=[("Require", "100rel, gruu")])
    office.world.run(1.0)
    assert talk.status == 420
    assert talk.responses[-1].values("unsupported") == ["gruu"]
    office.assert_nothing_left()


def test_hops_run_out() -> None:
    office = Office()
    carrier = office.carrier()
    invite = carrier._request("INVITE", "sip:+15550100@127.0.0.1", "<sip:+15550100@127.0.0.1>", [], carrier.sdp())
    invite.replace("Max-Forwards", "0")
    carrier.layer.request(invite, carrier.flow_to("UDP", *EXCHANGE), carrier)
    office.world.run(1.0)
    assert carrier.answers[-1].status == 483
    office.assert_nothing_left()


def test_hops_are_counted_down() -> None:
    office = Office()
    desk = office.phone("101")
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up")
    assert desk.seen[0].max_forwards == 69
    carrier.bye(talk)
    office.assert_nothing_left()


def test_a_contact_that_is_our_own_address_makes_no_loop() -> None:
    """The phone is reached where its REGISTER came from, whatever its Contact says."""
    office = Office()
    phone = office.phone("101", registered=False)
    request = phone._request("REGISTER", "sip:127.0.0.1", "<sip:101@127.0.0.1>", [])
    request.replace("Contact", f"<sip:101@{EXCHANGE[0]}:{EXCHANGE[1]}>")
    phone.layer.request(request, phone.flow_to("UDP", *EXCHANGE), phone)
    office.world.run(2.0)
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    carrier.bye(talk)
    office.world.run(1.0)
    assert office.exchange.counters.calls == 1


@pytest.mark.parametrize("why", ["draining", "full"])
def test_who_asks_whether_we_take_calls_is_told(why: str) -> None:
    """OPTIONS is answered as an INVITE would be (RFC 3261 section 11.2): balancers send calls elsewhere meanwhile."""
    office = Office(max_calls=1)
    office.phone("101")
    carrier = office.carrier()
    assert ask(office, carrier, "OPTIONS").status == 200
    if why == "draining":
        office.exchange.draining = True
    else:
        talk = carrier.call("+15550100", EXCHANGE)
        assert office.world.until(lambda: talk.state == "up")
    answer = ask(office, carrier, "OPTIONS")
    assert (answer.status, answer.first("retry-after")) == (503, "5")


def test_strangers_are_answered_and_forgotten() -> None:
    """A flood from forged addresses leaves nothing in memory, and nobody gets more packets than were sent for him."""
    office = Office(max_calls=1)
    stranger = Party(office.world, ("127.0.0.9", 5060), "eve")
    for method in ("INVITE", "REGISTER", "MESSAGE", "BYE", "INFO", "SUBSCRIBE", "DANCE"):
        for to_tag in ("", "x"):
            ask(office, stranger, method, to_tag=to_tag)
    office.exchange.draining = True
    ask(office, stranger, "INVITE")
    assert office.exchange.layer.server_count() == 0
    assert office.exchange.layer.counters.retransmissions_out == 0


def test_a_caller_without_a_name_or_number() -> None:
    """And a callee without one: no URI of ours has an empty user part."""
    office = Office()
    desk, carrier = office.phone("101"), office.carrier()
    office.exchange.dial_plan = dataclasses.replace(office.exchange.dial_plan, inbound={"*": "101"})
    invite = carrier._request("INVITE", "sip:127.0.0.1", "<sip:127.0.0.1>", [], carrier.sdp())
    invite.replace("From", f"<sip:127.0.0.2>;tag={office.world.token()}")
    carrier.layer.request(invite, carrier.flow_to("UDP", *EXCHANGE), carrier)
    office.world.run(1.0)
    [got] = [request for request in desk.seen if request.method == "INVITE"]
    assert got.from_.uri.user == "anonymous"
    assert not [data for _, source, _, data in office.world.wire if source == EXCHANGE and b"sip:@" in data]
    office.exchange.hang_up(next(iter(office.exchange.live)))
    office.world.run(40.0)


def test_our_own_request_comes_back() -> None:
    office = Office()
    mirror = Party(office.world, ("127.0.0.1", 5999), "101")
    mirror.address = EXCHANGE
    invite = mirror._request("INVITE", "sip:+15550100@127.0.0.1", "<sip:+15550100@127.0.0.1>", [], mirror.sdp())
    invite.prepend("Via", f"SIP/2.0/UDP {EXCHANGE[0]}:{EXCHANGE[1]};branch=z9hG4bKmirror")
    office.node.receive("UDP", ("127.0.0.2", 5060), invite.to_bytes())
    office.world.run(1.0)
    assert [data for _, source, _, data in office.world.wire if source == EXCHANGE and b"482" in data[:20]]
    office.assert_nothing_left()


def test_a_body_that_is_no_sdp() -> None:
    office = Office()
    carrier = office.carrier()
    invite = carrier._request("INVITE", "sip:+15550100@127.0.0.1", "<sip:+15550100@127.0.0.1>", [], b"<xml/>")
    invite.replace("Content-Type", "application/unknown")
    carrier.layer.request(invite, carrier.flow_to("UDP", *EXCHANGE), carrier)
    office.world.run(1.0)
    assert carrier.answers[-1].status == 415
    assert carrier.answers[-1].first("accept") == "application/sdp"
    office.assert_nothing_left()


def test_more_calls_than_allowed() -> None:
    office = Office(max_calls=1)
    office.phone("101")
    carrier = office.carrier()
    first = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: first.state == "up")
    second = carrier.call("+15550100", EXCHANGE)
    office.world.run(1.0)
    assert second.status == 503
    assert second.responses[-1].first("retry-after")
    carrier.bye(first)
    office.assert_nothing_left()


def test_more_calls_a_second_than_allowed() -> None:
    office = Office(max_calls_per_second=5)
    office.phone("101")
    carrier = office.carrier()
    talks = [carrier.call("+15550100", EXCHANGE) for _ in range(9)]
    office.world.run(3.0)
    assert sorted(talk.status or 0 for talk in talks) == [200] * 5 + [503] * 4
    for talk in talks:
        carrier.bye(talk)
    office.assert_nothing_left()


def test_strangers_do_not_use_up_the_calls_a_second() -> None:
    office = Office(max_calls_per_second=5)
    desk, carrier = office.phone("101"), office.carrier()
    stranger = Party(office.world, ("127.0.0.9", 5060), "eve")
    for _ in range(50):
        stranger.call("101", EXCHANGE)
    office.world.run(0.01)
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.status is not None), office.world.ladder()
    assert talk.state == "up"
    assert {response.status for response in stranger.answers} == {401}
    assert [request.method for request in desk.seen] == ["INVITE"]
    carrier.bye(talk)
    office.assert_nothing_left()


def test_a_call_to_nobody() -> None:
    """A Request-URI without a user part rings nobody, and no carrier is asked for it."""
    office = Office()
    office.exchange.dial_plan = dataclasses.replace(
        office.exchange.dial_plan, outbound=(OutboundRule("", 0, "", ("carrier",)),)
    )
    desk, carrier = office.phone("101"), office.carrier()
    talk = desk.call("", EXCHANGE)
    assert office.world.until(lambda: talk.status is not None), office.world.ladder()
    assert talk.status == 404
    assert not carrier.seen
    office.assert_nothing_left()


def test_draining_refuses_new_calls_and_keeps_the_live_ones() -> None:
    office = Office()
    desk = office.phone("101")
    carrier = office.carrier()
    first = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: first.state == "up")
    office.exchange.draining = True
    second = carrier.call("+15550100", EXCHANGE)
    office.world.run(1.0)
    assert second.status == 503
    assert first.state == desk.last.state == "up"
    carrier.bye(first)
    office.assert_nothing_left()


@pytest.mark.parametrize(
    "name",
    ["X-Hookline-Call", "P-Asserted-Identity ", "Remote-Party-ID", "Alert-Info", "call-info", "P-ASSERTED-IDENTITY"],
)
def test_a_caller_smuggles_no_header_that_the_exchange_owns(name: str) -> None:
    office = Office()
    desk = office.phone("101")
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE, headers=[(name, "<sip:boss@127.0.0.1>;evil=1"), ("X-Free", "passes")])
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    [invite] = [request for request in desk.seen if request.method == "INVITE"]
    assert b"evil" not in invite.to_bytes()
    assert invite.first("x-free") == "passes"
    carrier.bye(talk)
    office.assert_nothing_left()


def test_control_characters_in_a_name_reach_nobody() -> None:
    office = Office()
    desk = office.phone("101")
    carrier = office.carrier()
    invite = carrier._request("INVITE", "sip:+15550100@127.0.0.1", "<sip:+15550100@127.0.0.1>", [], carrier.sdp())
    invite.replace("From", f'"Eve\x1b[31m\u202e\x00\\"" <sip:eve@127.0.0.1>;tag={office.world.token()}')
    carrier.layer.request(invite, carrier.flow_to("UDP", *EXCHANGE), carrier)
    office.world.run(0.5)
    assert office.hooks.asked[0].caller_name == 'Eve[31m"'
    name = desk.seen[0].from_.display or ""
    assert name.isprintable()
    office.exchange.hang_up(next(iter(office.exchange.live)))
    office.world.run(40.0)
