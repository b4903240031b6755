"""One server of a carrier fails, or the whole carrier: where the call goes then (RFC 3263 section 4.3), and where it
does not."""

from __future__ import annotations

import pytest

from pbxcore.hooks import Disposition
from tests.scenario.carrier import FIRST, SECOND, THIRD, Carrier, TrunkOffice
from tests.scenario.office import EXCHANGE
from tests.scenario.party import Party, Talk

NUMBER = "9+15558888"


def two_servers(**switches: object) -> tuple[TrunkOffice, Carrier, Carrier, Party]:
    office = TrunkOffice(servers=("127.0.0.2", "127.0.0.3"), registers=False, **switches)  # type: ignore[arg-type]
    first, second = Carrier(office.world, FIRST), Carrier(office.world, SECOND)
    office.start()
    return office, first, second, office.phone("101")


def two_trunks(**switches: object) -> tuple[TrunkOffice, Carrier, Carrier, Party]:
    office = TrunkOffice(registers=False, **switches)  # type: ignore[arg-type]
    office.add("other", "127.0.0.3", **switches)  # type: ignore[arg-type]
    first, second = Carrier(office.world, FIRST), Carrier(office.world, SECOND)
    office.start()
    return office, first, second, office.phone("101")


def invites(carrier: Carrier) -> int:
    return len({request.call_id for request in carrier.asked("INVITE")})


def goes_up(office: TrunkOffice, talk: Talk, seconds: float = 20.0) -> None:
    assert office.world.until(lambda: talk.state == "up", seconds), (talk.status, office.world.ladder())


def hangs_up(office: TrunkOffice, desk: Party, talk: Talk) -> None:
    desk.bye(talk)
    office.world.run(1.0)
    office.rest()
    [record] = office.records()
    assert record.disposition is Disposition.ANSWERED


def test_the_first_server_says_503() -> None:
    office, first, second, desk = two_servers()
    first.manners.refuse_with, first.manners.answer_after = 503, 0.0
    talk = desk.call(NUMBER, EXCHANGE)
    goes_up(office, talk, 3.0)
    assert (invites(first), invites(second)) == (1, 1)
    assert talk.provisionals.count(180) == 1
    hangs_up(office, desk, talk)


def test_the_first_server_is_silent() -> None:
    """Six seconds, not the 32 of Timer B; and what it says at last is settled without anybody."""
    office, first, second, desk = two_servers()
    first.alive = False
    talk = desk.call(NUMBER, EXCHANGE)
    office.world.run(5.0)
    assert invites(second) == 0
    goes_up(office, talk, 3.0)
    hangs_up(office, desk, talk)


def test_a_carrier_that_may_take_its_time() -> None:
    """`answer_seconds = 0`: as RFC 3261 has it, until Timer B."""
    office, first, second, desk = two_servers(answer_seconds=0, options_seconds=0)
    first.alive = False
    talk = desk.call(NUMBER, EXCHANGE)
    office.world.run(31.0)
    assert invites(second) == 0
    goes_up(office, talk, 3.0)
    hangs_up(office, desk, talk)


def test_the_late_answer_of_a_server_that_was_given_up() -> None:
    """Its 200 finds the call elsewhere: ACK and BYE (13.2.2.4)."""
    office, first, second, desk = two_servers()
    receive = first.receive

    def late(transport: str, source: tuple[str, int], data: bytes) -> None:
        office.world.at(7.0, lambda: receive(transport, source, data))

    first.receive = late  # type: ignore[method-assign]
    talk = desk.call(NUMBER, EXCHANGE)
    goes_up(office, talk, 6.9)
    office.world.run(30.0)
    assert (invites(first), invites(second)) == (1, 1)
    assert "BYE" in {request.method for request in first.seen}
    assert first.up() == []
    assert len(second.up()) == 1
    desk.bye(talk)
    office.world.run(1.0)


def test_who_rings_is_left_ringing() -> None:
    """A 180 is a word: the call waits for the person, not for the server."""
    office, first, second, desk = two_servers()
    first.manners.answer_after = 30.0
    talk = desk.call(NUMBER, EXCHANGE)
    goes_up(office, talk, 35.0)
    assert invites(second) == 0
    hangs_up(office, desk, talk)


@pytest.mark.parametrize("status", [486, 603, 404, 480, 403, 600, 484])
def test_what_a_person_or_the_network_says_goes_nowhere_else(status: int) -> None:
    office, first, second, desk = two_servers()
    other = office.add("other", "127.0.0.4")
    third = Carrier(office.world, THIRD)
    office.start()
    first.manners.refuse_with, first.manners.answer_after = status, 0.1
    talk = desk.call(NUMBER, EXCHANGE)
    assert office.world.until(lambda: talk.status is not None)
    assert talk.status == status
    assert (invites(first), invites(second), invites(third)) == (1, 0, 0)
    assert other.calls == 0
    office.rest()


def test_a_server_that_failed_is_tried_last_for_a_while() -> None:
    office, first, second, desk = two_servers(options_seconds=0)
    first.manners.refuse_with, first.manners.answer_after = 503, 0.0
    first.manners.refuse_headers = [("Retry-After", "90")]
    for calls in (1, 2, 3):
        talk = desk.call(NUMBER, EXCHANGE)
        goes_up(office, talk)
        assert (invites(first), invites(second)) == (1, calls)
        desk.bye(talk)
        office.world.run(10.0)
    office.world.run(60.0)
    desk.call(NUMBER, EXCHANGE)
    office.world.run(1.0)
    assert invites(first) == 2


def test_every_server_has_failed_and_is_tried_all_the_same() -> None:
    """One that is avoided is better than none: a 503 was about a call, not about the next one."""
    office, first, second, desk = two_servers(options_seconds=0)
    for carrier in (first, second):
        carrier.manners.refuse_with, carrier.manners.answer_after = 503, 0.0
    talk = desk.call(NUMBER, EXCHANGE)
    assert office.world.until(lambda: talk.status is not None)
    assert talk.status == 500    # never 503: this exchange is not overloaded (16.7)
    assert (invites(first), invites(second)) == (1, 1)
    for carrier in (first, second):
        carrier.manners.refuse_with, carrier.manners.answer_after = None, 0.05
    goes_up(office, desk.call(NUMBER, EXCHANGE), 3.0)


def test_the_caller_gives_up_between_two_servers() -> None:
    office, first, second, desk = two_servers()
    first.alive = False
    talk = desk.call(NUMBER, EXCHANGE)
    office.world.run(3.0)
    desk.cancel(talk)
    office.world.run(60.0)
    assert talk.status == 487
    assert invites(second) == 0
    office.rest()


@pytest.mark.parametrize("seed", range(20))
def test_the_caller_gives_up_just_then(seed: int) -> None:
    """Around the moment when the second server gets its turn: one answer, nothing left."""
    office = TrunkOffice(seed, servers=("127.0.0.2", "127.0.0.3"), registers=False)
    first, second = Carrier(office.world, FIRST), Carrier(office.world, SECOND)
    office.start()
    desk = office.phone("101")
    first.alive = False
    second.manners.answer_after = 0.02
    talk = desk.call(NUMBER, EXCHANGE)
    office.world.run(5.97 + 0.005 * seed)
    desk.cancel(talk)
    office.world.run(5.0)
    if talk.state == "up":
        desk.bye(talk)
    office.world.run(40.0)
    assert talk.status in (200, 487)
    assert second.up() == []
    office.rest()


# ---- health


def test_down_and_up_again() -> None:
    office, first, second, desk = two_servers(options_seconds=30, options_down_after=3)
    first.options = 0
    assert office.world.until(lambda: office.trunk.servers.is_down(("UDP", FIRST)), 120.0)
    assert office.state().reachable
    probes = len(first.asked("OPTIONS"))
    assert probes >= 3
    talk = desk.call(NUMBER, EXCHANGE)
    goes_up(office, talk, 1.0)
    assert (invites(first), invites(second)) == (0, 1)
    desk.bye(talk)
    first.options = 200
    assert office.world.until(lambda: not office.trunk.servers.is_down(("UDP", FIRST)), 10.0)
    talk = desk.call(NUMBER, EXCHANGE)
    goes_up(office, talk, 1.0)
    assert invites(first) == 1


def test_one_lost_probe_is_nothing() -> None:
    office, first, _, desk = two_servers(options_seconds=30)
    first.options = 0
    office.world.run(40.0)
    first.options = 200
    office.world.run(300.0)
    assert not office.trunk.servers.is_down(("UDP", FIRST))
    goes_up(office, desk.call(NUMBER, EXCHANGE), 1.0)
    assert invites(first) == 1


@pytest.mark.parametrize(("status", "down"), [(200, False), (404, False), (405, False), (401, False), (503, True)])
def test_every_answer_but_503_says_that_it_is_there(status: int, down: bool) -> None:
    office, first, _, _ = two_servers(options_seconds=20)
    first.options = status
    office.world.run(120.0)
    assert office.trunk.servers.is_down(("UDP", FIRST)) is down


def test_a_carrier_that_wants_no_options_gets_none() -> None:
    office, first, _, _ = two_servers(options_seconds=0)
    office.world.run(3600.0)
    assert first.asked("OPTIONS") == []
    assert office.state().reachable


def test_probes_keep_their_distance() -> None:
    office, first, second, _ = two_servers(options_seconds=60)
    office.world.run(3600.0)
    for carrier in (first, second):
        assert 50 <= len(carrier.asked("OPTIONS")) <= 72


def test_the_health_of_a_dead_carrier_in_words() -> None:
    office, first, second, _ = two_servers(options_seconds=20)
    first.options = second.options = 0
    office.world.run(120.0)
    state = office.state()
    assert not state.reachable
    assert state.reason == "udp:127.0.0.2:5060: no answer to OPTIONS"


# ---- the next trunk


def test_a_trunk_that_is_down_is_passed_over_at_once() -> None:
    office, first, second, desk = two_trunks(options_seconds=20)
    first.options = 0
    assert office.world.until(lambda: not office.state().reachable, 120.0)
    talk = desk.call(NUMBER, EXCHANGE)
    goes_up(office, talk, 0.5)
    assert (invites(first), invites(second)) == (0, 1)
    hangs_up(office, desk, talk)


@pytest.mark.parametrize("trouble", ["silent", 503, 500, 502])
def test_a_trunk_in_trouble(trouble: int | str) -> None:
    office, first, second, desk = two_trunks(options_seconds=0)
    if trouble == "silent":
        first.alive = False
    else:
        first.manners.refuse_with, first.manners.answer_after = int(trouble), 0.0
    talk = desk.call(NUMBER, EXCHANGE)
    goes_up(office, talk, 8.0)
    assert invites(second) == 1
    hangs_up(office, desk, talk)


@pytest.mark.parametrize("status", [486, 603, 404])
def test_a_refusal_does_not_go_to_the_next_trunk(status: int) -> None:
    office, first, second, desk = two_trunks()
    first.manners.refuse_with, first.manners.answer_after = status, 0.0
    talk = desk.call(NUMBER, EXCHANGE)
    assert office.world.until(lambda: talk.status is not None)
    assert (talk.status, invites(second)) == (status, 0)


def test_a_full_trunk() -> None:
    """max_calls counts both directions."""
    office, first, second, desk = two_trunks()
    office.trunk.max_calls = 1
    goes_up(office, desk.call(NUMBER, EXCHANGE))
    other = office.phone("102")
    goes_up(office, other.call(NUMBER, EXCHANGE))
    assert (invites(first), invites(second)) == (1, 1)
    talk = first.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.status is not None)
    assert talk.status == 503


def test_every_server_of_every_trunk_is_tried_once() -> None:
    office = TrunkOffice(servers=("127.0.0.2", "127.0.0.3"), registers=False)
    office.add("other", "127.0.0.4")
    carriers = [Carrier(office.world, at) for at in (FIRST, SECOND, THIRD)]
    office.start()
    for carrier in carriers:
        carrier.manners.refuse_with, carrier.manners.answer_after = 503, 0.0
    desk = office.phone("101")
    talk = desk.call(NUMBER, EXCHANGE)
    assert office.world.until(lambda: talk.status is not None)
    assert talk.status == 500
    assert [invites(carrier) for carrier in carriers] == [1, 1, 1]
    office.rest()


def test_calls_follow_the_registration() -> None:
    office = TrunkOffice(servers=("127.0.0.2", "127.0.0.3"), calls_follow_registration=True)
    office.add("other", "127.0.0.4")
    first, second, third = (Carrier(office.world, at) for at in (FIRST, SECOND, THIRD))
    first.refusal = 503, []
    office.start()
    desk = office.phone("101")
    talk = desk.call(NUMBER, EXCHANGE)
    goes_up(office, talk, 1.0)
    assert (invites(first), invites(second), invites(third)) == (0, 1, 0)
    desk.bye(talk)
    office.registration._lost("gone")
    talk = desk.call(NUMBER, EXCHANGE)
    goes_up(office, talk, 1.0)
    assert invites(third) == 1


# ---- names


def test_servers_that_are_found_by_name() -> None:
    office = TrunkOffice(servers=("carrier.example",), registers=False)
    first, second = Carrier(office.world, FIRST), Carrier(office.world, SECOND)
    office.start()
    desk = office.phone("101")
    assert (office.state().reachable, office.state().reason) == (False, "its servers are not known yet")
    talk = desk.call(NUMBER, EXCHANGE)
    assert office.world.until(lambda: talk.status is not None)
    assert talk.status == 503
    stranger = first.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: stranger.status is not None)
    assert stranger.status == 401       # not known yet: nobody's
    office.names.found("carrier.example", FIRST, SECOND)
    office.world.run(1.0)
    goes_up(office, desk.call(NUMBER, EXCHANGE), 1.0)
    assert first.asked("INVITE")[0].uri == "sip:+15558888@carrier.example"
    calls = second.call("+15550100", EXCHANGE)     # from what the name stands for
    assert office.world.until(lambda: calls.status is not None)
    assert calls.status != 401
    office.names.found("carrier.example", SECOND)
    office.world.run(1.0)
    stranger = first.call("+15550100", EXCHANGE)   # from what it stood for
    assert office.world.until(lambda: stranger.status is not None)
    assert stranger.status == 401


def test_a_dns_that_dies_takes_nothing_away() -> None:
    office = TrunkOffice(servers=("carrier.example",), registers=False)
    first = Carrier(office.world, FIRST)
    office.start()
    office.names.found("carrier.example", FIRST)
    office.names.found("carrier.example", problem="the DNS does not answer when asked for carrier.example")
    desk = office.phone("101")
    goes_up(office, desk.call(NUMBER, EXCHANGE), 1.0)
    assert invites(first) == 1


def test_a_name_that_does_not_exist() -> None:
    office = TrunkOffice(servers=("carrier.example",))
    office.start()
    office.names.found("carrier.example", problem="the DNS has no address for carrier.example")
    office.world.run(60.0)
    state = office.state()
    assert (state.registration, state.reachable) == ("failed", False)
    assert state.reason == "the DNS has no address for carrier.example"


def test_a_registration_moves_with_the_name() -> None:
    office = TrunkOffice(servers=("carrier.example",))
    first, second = Carrier(office.world, FIRST), Carrier(office.world, SECOND)
    office.start()
    office.names.found("carrier.example", FIRST)
    office.world.run(1.0)
    assert first.held
    office.names.found("carrier.example", SECOND)
    office.world.run(1.0)
    assert second.held
    assert office.registration.at == ("UDP", SECOND)
