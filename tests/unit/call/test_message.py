"""MESSAGE outside of a dialog: copies to every phone, one answer."""

from __future__ import annotations

from typing import Any

import pytest

from pbxcore.call.message import MessageRelay
from pbxcore.sip import build
from pbxcore.sip.layer import Layer
from pbxcore.sip.message import Request, Response, parse
from pbxcore.sip.timers import Timers
from pbxcore.sip.transaction import ServerTransaction
from tests.unit.call.fakes import Counting, FakeFlow, request


class Relayed:
    """A MESSAGE that has arrived for two phones."""

    def __init__(self, *headers: tuple[str, str], domain: str = "", body: bytes = b"hello") -> None:
        self.phones = [FakeFlow("UDP", ("10.0.0.1", 5060)), FakeFlow("UDP", ("10.0.0.2", 5060))]
        self.sender = FakeFlow()
        self.timers = Timers()
        self.layer = Layer(self, self.timers, lambda: 0.0, Counting())
        self.domain = domain
        rows = (("Content-Type", "text/plain"), *headers)
        message = parse(request("MESSAGE", "sip:101@127.0.0.1", *rows, body=body).to_bytes())
        self.layer.receive(message, self.sender, 0.0)

    def on_request(self, tx: ServerTransaction, message: Request) -> None:
        relay = MessageRelay(self.layer, tx, message, "102", self.domain)
        relay.start([(flow, f"sip:101@{flow.remote[0]}", ()) for flow in self.phones])

    def on_stray_ack(self, *_: Any) -> None:
        return

    def copy(self, phone: int) -> Request:
        message = parse(self.phones[phone].sent[0])
        assert isinstance(message, Request)
        return message

    def answer(self, phone: int, status: int, reason: str | None = None) -> None:
        response = parse(build.response(self.copy(phone), status, reason, to_tag="p").to_bytes())
        self.layer.receive(response, self.phones[phone], 0.0)

    def answers(self) -> list[tuple[int, str]]:
        found = [parse(data) for data in self.sender.sent]
        return [(message.status, message.reason) for message in found if isinstance(message, Response)]


def test_each_phone_gets_a_copy() -> None:
    relayed = Relayed(("Subject", "lunch"), ("Authorization", "Digest x"), ("P-Asserted-Identity", "<sip:boss@x>"))
    one, two = relayed.copy(0), relayed.copy(1)
    assert (one.uri, two.uri) == ("sip:101@10.0.0.1", "sip:101@10.0.0.2")
    for copy in (one, two):
        assert (copy.body, copy.content_type, copy.first("subject")) == (b"hello", "text/plain", "lunch")
        assert copy.from_.uri.user == "102"
        assert "authorization" not in copy
        assert "p-asserted-identity" not in copy
    assert one.call_id != two.call_id


def test_one_has_taken_it() -> None:
    relayed = Relayed()
    relayed.answer(0, 200)
    assert relayed.answers() == [(200, "OK")]
    relayed.answer(1, 486)
    assert relayed.answers() == [(200, "OK")]


def test_the_best_of_the_refusals() -> None:
    relayed = Relayed()
    relayed.answer(0, 480)
    assert relayed.answers() == []
    relayed.answer(1, 486, "Not now")
    assert relayed.answers() == [(486, "Not now")]


def test_a_phone_that_asks_for_a_password() -> None:
    relayed = Relayed()
    relayed.answer(0, 401)
    relayed.answer(1, 401)
    assert relayed.answers() == [(502, "Bad Gateway")]


def test_nobody_answers() -> None:
    relayed = Relayed()
    for second in range(1, 40):
        relayed.timers.fire(float(second))
    assert relayed.answers() == [(408, "Request Timeout")]


@pytest.mark.parametrize(("theirs", "ours"), [("70", 69), ("1", 0), ("0", 0), (None, 70)])
def test_hops(theirs: str | None, ours: int) -> None:
    headers = [("Max-Forwards", theirs)] if theirs is not None else []
    assert Relayed(*headers).copy(0).max_forwards == ours


def test_the_domain() -> None:
    copy = Relayed(domain="pbx.example.net").copy(0)
    assert (copy.from_.uri.host, copy.to.uri.host) == ("pbx.example.net", "pbx.example.net")
