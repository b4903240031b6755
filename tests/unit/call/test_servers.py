"""Which server comes first, and which is passed over."""

from __future__ import annotations

from pbxcore.call.servers import AVOID_SECONDS, LONGEST_AVOID, Servers
from pbxcore.sip.location import Choice, Located, Server

ONE, TWO, THREE = (Server("UDP", f"192.0.2.{n}", 5060) for n in (1, 2, 3))


def key(server: Server) -> tuple[str, tuple[str, int]]:
    return server.transport, server.at


def order(servers: Servers, now: float = 0.0, *tried: Server) -> list[Server]:
    return servers.order(lambda: 0.0, now, {key(server) for server in tried})


def test_the_order_of_the_settings() -> None:
    servers = Servers.of(ONE, TWO, THREE)
    assert order(servers) == servers.all() == [ONE, TWO, THREE]
    assert order(servers, 0.0, ONE) == [TWO, THREE]
    assert servers.addresses() == {"192.0.2.1", "192.0.2.2", "192.0.2.3"}


def test_weights_are_drawn_for_every_call() -> None:
    servers = Servers()
    servers.locate([Located((Choice((ONE,), 1, 1), Choice((TWO,), 1, 1)), 60.0)])
    assert {servers.order(lambda value=value: value, 0.0)[0] for value in (0.0, 0.4, 0.99)} == {ONE, TWO}  # type: ignore[misc]


def test_one_that_failed_comes_last_for_a_while() -> None:
    servers = Servers.of(ONE, TWO, THREE)
    servers.failed(key(ONE), 100.0, "no answer")
    assert order(servers, 100.0) == [TWO, THREE, ONE]
    servers.failed(key(TWO), 100.0, "503", 10.0)
    assert order(servers, 100.0) == [THREE, TWO, ONE]       # the one that is back soonest first
    assert order(servers, 111.0) == [TWO, THREE, ONE]
    assert order(servers, 100.0 + AVOID_SECONDS) == [ONE, TWO, THREE]
    servers.failed(key(ONE), 0.0, "503", 1e9)
    assert order(servers, LONGEST_AVOID) == [ONE, TWO, THREE]


def test_down_and_up() -> None:
    servers = Servers.of(ONE, TWO, down_after=2)
    told: list[str] = []
    servers.told = lambda: told.append(servers.reason)
    servers.missed(key(ONE), "silence")
    assert order(servers) == [ONE, TWO]
    servers.missed(key(ONE), "silence")
    servers.missed(key(ONE), "silence")
    assert (order(servers), servers.reachable, servers.reason) == ([TWO], True, "silence")
    servers.missed(key(TWO), "silence too")
    servers.missed(key(TWO), "silence too")
    assert (order(servers), servers.reachable) == ([], False)
    servers.heard(key(ONE))
    assert (order(servers), servers.reachable) == ([ONE], True)
    servers.heard(key(ONE))
    assert len(told) == 3


def test_what_is_known_of_those_that_stay_is_kept() -> None:
    servers = Servers.of(ONE, TWO, down_after=1)
    servers.missed(key(ONE), "silence")
    assert servers.locate([Located((Choice((ONE, THREE)),), 60.0)])
    assert servers.is_down(key(ONE))
    assert not servers.has(key(TWO))
    assert not servers.locate([Located((Choice((THREE, ONE)),), 60.0)])    # the same ones, in another order
    assert servers.known
    assert servers.locate([])
    assert not servers.known
    assert not servers.reachable


def test_strangers_change_nothing() -> None:
    servers = Servers.of(ONE)
    for act in (servers.heard, lambda k: servers.missed(k, "x"), lambda k: servers.failed(k, 0.0, "x")):
        act(key(TWO))
    assert order(servers) == [ONE]
    assert not servers.is_down(key(TWO))
