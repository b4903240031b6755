"""The simulator's own phones go by the RFC where they blame the exchange for not doing so."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.scenario.simulator.agent import Agent
from tests.scenario.simulator.deeds import asks_the_impossible, sends_the_invite_again_late
from tests.scenario.simulator.network import Net, Weather
from tests.scenario.simulator.people import People
from tests.scenario.simulator.session import Session
from tests.scenario.simulator.transactions import T4
from tests.scenario.simulator.wire import Wire, reply
from tests.scenario.world import Address

EXCHANGE: Address = ("127.0.0.1", 5060)
PHONE: Address = ("127.0.1.1", 10_001)


class Answers:
    """In the exchange's place: `status` to INVITE, 200 to everything else. It grants a session timer to who asks for
    one, and never refreshes."""

    alive = True

    def __init__(self, net: Net, status: int = 200) -> None:
        self.net, self.status = net, status
        self.invited: list[float] = []       # when an INVITE or a copy of one arrived
        net.peers[EXCHANGE] = self

    def receive(self, transport: str, source: Address, data: bytes) -> None:
        request = Wire(data)
        if request.method == "INVITE":
            self.invited.append(self.net.now)
        if request.method != "ACK":
            status = self.status if request.method == "INVITE" else 200
            granted = request.head.get("session-expires", "")
            rows = f"Session-Expires: {granted}\r\n" if granted else ""
            self.net.send(transport, EXCHANGE, source, reply(request, status, "x", "sip:127.0.0.1", extra=rows))

    def stream_lost(self, flow: Address) -> None:
        raise AssertionError("no streams here")


def _session(net: Net) -> Session:
    people = People(net)
    return Session(Agent(net, people, PHONE, "101", exchange=EXCHANGE), None, "caller", "c", "t")


def test_a_late_copy_of_an_invite_arrives_while_its_transaction_is_known() -> None:
    """RFC 3261 17.2.1: Timer I is T4, as long as a message may remain in the network; who comes later is new."""
    copies = 0
    for seed in range(60):
        net = Net(seed)
        net.weather = Weather(delay=0.1, spike=0.5, spike_seconds=4.0)
        exchange, session = Answers(net, 503), _session(net)
        sends_the_invite_again_late(session, random.Random(seed))
        session.call("102")
        net.run(60.0)
        client = session.client
        assert client is not None
        assert max(exchange.invited) <= client.replied + T4, seed
        copies += sum(at > client.replied for at in exchange.invited)
    assert copies


class _Update(random.Random):
    """Chance that always falls on the UPDATE."""

    def choice(self, seq: Any) -> Any:
        return "UPDATE" if "UPDATE" in seq else super().choice(seq)


@pytest.mark.parametrize("ends_it", [True, False])
def test_an_update_without_a_session_timer_ends_it(ends_it: bool) -> None:
    """RFC 4028 7.2: the latest 2xx counts. A phone that refreshes no more blames the exchange only while one runs."""
    net = Net(1)
    Answers(net)
    session = _session(net)
    session.timer.knows, session.timer.asks, session.timer.who, session.timer.lazy = True, 90, "uac", True
    if ends_it:
        session.on_up.append(lambda s: asks_the_impossible(s, _Update(1)))
    session.call("102")
    net.run(150.0)
    assert session.timer.interval == (0 if ends_it else 90)
    wrongs = session.agent.people.wrongs
    assert wrongs == [] if ends_it else "nobody refreshed goes on" in wrongs[0]
