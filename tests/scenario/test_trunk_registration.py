"""The life of a registration at a carrier: challenges, refreshes, refusals, silence, and everything that moves."""

from __future__ import annotations

import itertools
import re

import pytest

from pbxcore.call.registration import FIRST_PAUSE, LONGEST_PAUSE
from tests.scenario.carrier import FIRST, SECOND, Carrier, TrunkOffice
from tests.scenario.office import EXCHANGE

OURS = "sip:office@127.0.0.1:5060"


@pytest.mark.parametrize("algorithms", [("MD5",), ("SHA-256",), ("SHA-256", "MD5")])
def test_it_registers_with_digest(algorithms: tuple[str, ...]) -> None:
    office = TrunkOffice()
    carrier = Carrier(office.world, algorithms=algorithms)
    office.start()
    assert carrier.held == [OURS], office.world.ladder()
    assert (office.state().registration, office.state().reason) == ("registered", "")
    first, second = carrier.asked("REGISTER")
    assert first.uri == "sip:127.0.0.2"
    assert str(first.to.uri) == str(first.from_.uri) == "sip:office@127.0.0.2"
    assert first.call_id == second.call_id
    assert (first.cseq.number, second.cseq.number) == (1, 2)
    assert f"algorithm={algorithms[0]}" in (second.first("authorization") or "")
    office.rest()


def test_it_never_lapses() -> None:
    """Refreshed in time, for a day, on a network that loses one datagram of five."""
    office = TrunkOffice()
    carrier = Carrier(office.world)
    carrier.grants = 120
    office.world.network.loss = 0.2
    office.start(seconds=30.0)
    for _ in range(24 * 60):
        office.world.run(60.0)
        assert carrier.held == [OURS], office.world.now
        assert office.state().registration == "registered"
        office.world.wire.clear()
    numbers = [request.cseq.number for request in carrier.asked("REGISTER")]
    assert numbers == sorted(numbers)
    gaps = [later - earlier for earlier, later in itertools.pairwise(carrier.times) if later - earlier > 5.0]
    assert len(gaps) > 24 * 3600 / 120
    assert max(gaps) < 120.0


def test_a_challenge_that_has_gone_stale() -> None:
    """The nonce lives for 300 s: each refresh meets a new one and is through with its second try."""
    office = TrunkOffice()
    carrier = Carrier(office.world)
    office.start()
    office.world.run(1800.0)
    assert carrier.held == [OURS]
    assert office.state().registration == "registered"


def test_a_wrong_password_is_not_hammered() -> None:
    office = TrunkOffice()
    carrier = Carrier(office.world)
    office.trunk.password = "wrong"
    office.start()
    state = office.state()
    assert state.registration == "failed"
    assert state.reason.startswith("the carrier does not take the username and password (40")
    office.world.run(500.0)
    assert len(carrier.times) == 2
    office.trunk.password = "trunk password"
    office.world.run(200.0)
    assert carrier.held == [OURS]
    office.rest()


@pytest.mark.parametrize(
    ("status", "words"),
    [(403, "does not take the username and password"), (404, "does not know this username"), (606, "says 606")],
)
def test_a_refusal_is_said_in_words(status: int, words: str) -> None:
    office = TrunkOffice()
    carrier = Carrier(office.world)
    carrier.refusal = status, []
    office.start()
    assert words in office.state().reason
    office.world.run(500.0)
    assert len(carrier.times) == 1


def test_too_brief() -> None:
    """423 says how long the carrier wants it (10.2.8)."""
    office = TrunkOffice(register_seconds=60)
    carrier = Carrier(office.world)
    carrier.minimum, carrier.grants = 1800, 3600
    office.start()
    assert carrier.held == [OURS], office.world.ladder()
    assert [request.expires for request in carrier.asked("REGISTER")][-1] == 1800
    assert office.registration.granted == 1800
    office.rest()


@pytest.mark.parametrize("minimum", ["", "soon", "10", "-5", "9999999", "99999999999999999999"])
def test_too_brief_without_sense(minimum: str) -> None:
    office = TrunkOffice(register_seconds=60)
    carrier = Carrier(office.world)
    carrier.refusal = 423, [("Min-Expires", minimum)] if minimum else []
    office.start()
    office.world.run(300.0)
    assert len(carrier.times) == 1
    assert office.state().reason == "the carrier says 423 Interval Too Brief"


def test_silence_is_met_with_patience() -> None:
    """Twice the pause after each failure, with chance in it, up to a bound (RFC 5626 section 4.5)."""
    office = TrunkOffice(options_seconds=0)
    carrier = Carrier(office.world)
    carrier.alive = False
    office.start()
    office.world.run(4000.0)
    begun: dict[bytes, float] = {}      # by CSeq, which copies of a request share
    for at, _, _, data in office.world.wire:
        if data.startswith(b"REGISTER"):
            begun.setdefault(re.findall(rb"CSeq: (\d+)", data)[0], at)
    starts = list(begun.values())
    pauses = [later - earlier - 32.0 for earlier, later in itertools.pairwise(starts)]
    assert all(FIRST_PAUSE * 0.5 - 1 <= pause <= LONGEST_PAUSE + 1 for pause in pauses), pauses
    assert pauses[0] < FIRST_PAUSE + 1
    assert max(pauses) > 100
    assert len({round(pause, 1) for pause in pauses}) > len(pauses) // 2
    assert office.state().reason == "no answer to REGISTER"
    carrier.alive = True
    assert office.world.until(lambda: carrier.held == [OURS], LONGEST_PAUSE + 40.0)
    office.world.run(1.0)
    assert office.state().reason == ""


def test_the_server_asks_for_patience() -> None:
    office = TrunkOffice(options_seconds=0)
    carrier = Carrier(office.world)
    carrier.refusal = 503, [("Retry-After", "120;duration=3600")]
    office.start()
    assert office.state().reason == "the server says 503 Service Unavailable"
    carrier.refusal = None
    office.world.run(115.0)
    assert len(carrier.times) == 1
    office.world.run(30.0)
    assert carrier.held == [OURS]


def test_the_next_server_takes_it() -> None:
    office = TrunkOffice(servers=("127.0.0.2", "127.0.0.3"))
    first, second = Carrier(office.world, FIRST), Carrier(office.world, SECOND)
    first.refusal = 503, []
    office.start()
    assert second.held == [OURS], office.world.ladder()
    assert office.state().registration == "registered"
    assert office.registration.at == ("UDP", SECOND)
    assert first.held == []
    office.rest()


def test_a_dead_server_costs_eight_seconds() -> None:
    """Not the 32 of Timer F, when there is another."""
    office = TrunkOffice(servers=("127.0.0.2", "127.0.0.3"), options_seconds=0)
    first, second = Carrier(office.world, FIRST), Carrier(office.world, SECOND)
    first.alive = False
    office.start(seconds=7.0)
    assert office.state().registration == "trying"
    office.world.run(2.0)
    assert second.held == [OURS]
    office.world.run(60.0)
    assert office.state().registration == "registered"


def test_a_refresh_that_fails_does_not_take_the_binding_away() -> None:
    """Until it expires the carrier sends calls; only then is it told as lost."""
    office = TrunkOffice(options_seconds=0)
    carrier = Carrier(office.world)
    carrier.grants = 600
    office.start()
    carrier.alive = False
    office.world.run(580.0)
    assert office.state().registration == "registered"
    assert office.state().reason == "no answer to REGISTER"
    office.world.run(60.0)
    assert office.state().registration == "failed"


def test_the_server_that_held_it_dies() -> None:
    """OPTIONS finds out, long before a refresh would."""
    office = TrunkOffice(servers=("127.0.0.2", "127.0.0.3"), options_seconds=20)
    first, second = Carrier(office.world, FIRST), Carrier(office.world, SECOND)
    first.grants = second.grants = 3600
    office.start()
    assert first.held == [OURS]
    assert second.held == []
    first.alive = False
    assert office.world.until(lambda: second.held == [OURS], 120.0), office.state()
    assert office.state().reason == ""


def test_our_address_changes() -> None:
    """The carrier is told at once, not when the old binding runs out (RFC 5626 section 4.2)."""
    office = TrunkOffice()
    carrier = Carrier(office.world)
    office.start()
    office.world.run(30.0)
    assert len(carrier.times) == 2
    office.moves_to("127.0.0.77")
    office.world.run(12.0)
    assert "sip:office@127.0.0.77:5060" in carrier.held
    assert office.state().registration == "registered"
    office.world.run(60.0)
    assert len(carrier.times) == 4    # once, with its challenge


def test_the_connection_is_lost() -> None:
    office = TrunkOffice(transport="TCP")
    carrier = Carrier(office.world)
    carrier.transport = "TCP"
    office.start()
    assert carrier.held == ["sip:office@127.0.0.1:5060;transport=tcp"]
    office.loses(office.node.flow_to("TCP", *FIRST))
    office.world.run(12.0)
    assert len(carrier.asked("REGISTER")) == 4
    office.rest()


def test_the_end_takes_the_binding_back() -> None:
    office = TrunkOffice()
    carrier = Carrier(office.world)
    office.start()
    assert carrier.held
    office.keeper.stop()
    assert office.keeper.busy
    office.world.run(1.0)
    assert carrier.held == []
    assert not office.keeper.busy
    assert office.state().registration == "off"
    told = len(carrier.times)
    office.world.run(3600.0)
    assert len(carrier.times) == told
    office.assert_nothing_left()


def test_a_restart() -> None:
    """A new life knows nothing of the old one's Call-ID and numbers; the carrier takes it all the same."""
    office = TrunkOffice()
    carrier = Carrier(office.world)
    office.start()
    office.registration._wanted = False     # the plug is pulled
    office.start()
    assert carrier.held == [OURS]
    assert len({request.call_id for request in carrier.asked("REGISTER")}) == 2
    assert office.state().registration == "registered"


def test_several_trunks_do_not_mind_each_other() -> None:
    office = TrunkOffice()
    other = office.add("other", "127.0.0.3", registers=True)
    plain = office.add("plain", "127.0.0.4")
    first, second = Carrier(office.world, FIRST), Carrier(office.world, SECOND)
    first.refusal = 403, []
    office.start()
    assert second.held == [OURS]
    assert [office.state(t).registration for t in (office.trunk, other, plain)] == ["failed", "registered", "off"]


def test_a_nat_is_kept_open() -> None:
    office = TrunkOffice(keepalive_seconds=25)
    Carrier(office.world)
    office.start()
    office.world.wire.clear()
    office.world.run(300.0)
    empty = [at for at, source, to, data in office.world.wire if data == b"\r\n\r\n" and to == FIRST]
    assert len(empty) >= 9
    assert all(later - earlier <= 31.0 for earlier, later in itertools.pairwise(empty))


def test_no_keep_alive_where_none_is_wanted() -> None:
    office = TrunkOffice(keepalive_seconds=0)
    Carrier(office.world)
    office.start()
    office.world.run(300.0)
    assert not [data for _, _, _, data in office.world.wire if data == b"\r\n\r\n"]


def test_the_route_that_the_carrier_gives() -> None:
    """RFC 3608: calls out go along it, until the registration is lost."""
    office = TrunkOffice()
    carrier = Carrier(office.world)
    carrier.extra = [("Service-Route", "<sip:edge1.carrier.example;lr>, <sip:edge2.carrier.example;lr>")]
    office.start()
    desk = office.phone("101")
    desk.call("9+15558888", EXCHANGE)
    office.world.run(1.0)
    [invite] = carrier.asked("INVITE")
    assert invite.values("route") == ["<sip:edge1.carrier.example;lr>", "<sip:edge2.carrier.example;lr>"]
    assert invite.first("contact") == f"<{OURS}>"


def test_a_route_that_is_of_no_use() -> None:
    office = TrunkOffice(service_route=False)
    carrier = Carrier(office.world)
    carrier.extra = [("Service-Route", "<sip:10.0.0.1;lr>")]
    office.start()
    desk = office.phone("101")
    desk.call("9+15558888", EXCHANGE)
    office.world.run(1.0)
    assert "route" not in carrier.asked("INVITE")[0]


def test_an_outbound_proxy_that_wants_to_be_named() -> None:
    office = TrunkOffice()
    office.trunk.proxy = "<sip:127.0.0.2;lr>"
    carrier = Carrier(office.world)
    office.start()
    desk = office.phone("101")
    desk.call("9+15558888", EXCHANGE)
    office.world.run(1.0)
    for method in ("REGISTER", "OPTIONS", "INVITE"):
        assert carrier.asked(method)[0].values("route") == ["<sip:127.0.0.2;lr>"]


def test_a_server_that_grants_nothing() -> None:
    office = TrunkOffice()
    carrier = Carrier(office.world)
    carrier.challenges = False
    carrier.refusal = 200, [("Contact", f"<{OURS}>;expires=0")]
    office.start()
    assert office.state().reason == "the carrier has taken no binding of ours"
    office.world.run(300.0)
    assert len(carrier.times) == 1


def test_a_carrier_that_rewrites_our_contact() -> None:
    """As session border controllers do behind a NAT: what was granted is read all the same."""
    office = TrunkOffice()
    carrier = Carrier(office.world)
    carrier.challenges = False
    carrier.refusal = 200, [("Contact", "<sip:office@198.51.100.7:61000>;expires=77"), ("Expires", "3600")]
    office.start()
    assert office.registration.granted == 77


def test_challenges_without_end() -> None:
    """A carrier that finds every answer stale gets a few, and then a pause."""
    office = TrunkOffice()
    carrier = Carrier(office.world)

    def stale() -> tuple[int, list[tuple[str, str]]]:
        nonce = office.world.token()
        return 401, [("WWW-Authenticate", f'Digest realm="x", nonce="{nonce}", stale=true, qop="auth"')]

    carrier._outcome = lambda tx, request: stale()  # type: ignore[method-assign]
    office.start()
    office.world.run(300.0)
    assert len(carrier.times) <= 5
    assert office.state().registration == "failed"
