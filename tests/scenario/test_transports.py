"""Calls across transports in virtual time: what Via, Contact and Request-URI say on each, and what sips demands."""

from __future__ import annotations

import itertools

import pytest

from pbxcore.sip.message import Request, parse
from tests.scenario.office import EXCHANGE, Office
from tests.scenario.party import Party

KINDS = ("UDP", "TCP", "TLS", "WS", "WSS")
URI_WORD = {"UDP": None, "TCP": "tcp", "TLS": "tls", "WS": "ws", "WSS": "ws"}


def invite_to(office: Office, phone: Party) -> Request:
    """The INVITE that reached this phone."""
    for _, source, to, data in office.world.wire:
        if source == EXCHANGE and to == phone.address and data.startswith(b"INVITE "):
            message = parse(data)
            assert isinstance(message, Request)
            return message
    raise AssertionError(office.world.ladder())


@pytest.mark.parametrize(("one", "other"), list(itertools.product(KINDS, KINDS)))
def test_a_call_between_any_two_transports(one: str, other: str) -> None:
    office = Office()
    caller, callee = office.phone("101", transport=one), office.phone("102", transport=other)
    talk = caller.call("102", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    invite = invite_to(office, callee)
    assert invite.via.transport == other
    contact = invite.contact
    assert contact is not None
    assert contact.uri.params.get("transport") == URI_WORD[other]      # RFC 7118: ws for both WebSockets
    [answer] = [response for response in talk.responses if response.status == 200]
    assert answer.contact is not None
    assert answer.contact.uri.params.get("transport") == URI_WORD[one]
    callee.bye(callee.up()[0])
    assert office.world.until(lambda: talk.state == "ended"), office.world.ladder()
    office.assert_nothing_left()


def call_sips(office: Office, caller: Party) -> int | None:
    invite = caller._request("INVITE", "sips:102@127.0.0.1", "<sips:102@127.0.0.1>", [], caller.sdp())
    flow = caller.flow_to(caller.transport, *EXCHANGE)
    caller.layer.request(invite, flow, caller)
    finals = lambda: [r for r in caller.answers if r.cseq.method == "INVITE" and r.status >= 200 and r.status != 401]  # noqa: E731
    assert office.world.until(lambda: bool(finals())), office.world.ladder()
    return int(finals()[-1].status)


@pytest.mark.parametrize("transport", ["UDP", "TCP", "WS"])
def test_sips_over_what_is_not_secure_is_refused(transport: str) -> None:
    office = Office()
    caller = office.phone("101", transport=transport)
    office.phone("102", transport="TLS")
    assert call_sips(office, caller) == 403
    office.assert_nothing_left()


def test_sips_rings_secure_phones_alone() -> None:
    office = Office()
    caller = office.phone("101", transport="TLS")
    plain, secure = office.phone("102", transport="UDP"), office.phone("102", 10_902, transport="TLS")
    secure.manners.refuse_with = 486
    assert call_sips(office, caller) == 486
    assert not any(seen.method == "INVITE" for seen in plain.seen)
    office.assert_nothing_left()


def test_sips_to_a_phone_that_is_not_secure_finds_nobody() -> None:
    office = Office()
    caller = office.phone("101", transport="WSS")
    plain = office.phone("102", transport="UDP")
    assert call_sips(office, caller) == 480
    assert not any(seen.method == "INVITE" for seen in plain.seen)
    office.assert_nothing_left()


def test_our_contact_is_sips_where_the_request_s_is() -> None:
    office = Office()
    caller, callee = office.phone("101", transport="TLS"), office.phone("102")
    headers = [("Contact", "<sips:101@127.0.0.1:10101>")]
    talk = caller.call("102", EXCHANGE, headers=headers)
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    [answer] = [response for response in talk.responses if response.status == 200]
    assert answer.contact is not None
    assert answer.contact.uri.scheme == "sips"
    callee.bye(callee.up()[0])
    office.world.run(1.0)
    office.assert_nothing_left()
