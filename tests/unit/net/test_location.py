"""The steps of RFC 3263 and the order of RFC 2782, with the DNS played by a dict."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest

from pbxcore.net.location import BRIEFLY, MOST_SERVERS, Answer, Kind, Naptr, NotFound, Srv, Unavailable, locate
from pbxcore.sip.location import Choice, Question, Server, rfc2782

Zone = dict[tuple[str, Kind], list[Naptr | Srv | str]]

EVERYTHING = ("UDP", "TCP", "TLS", "WS", "WSS")
BOTH: Sequence[Kind] = ("A", "AAAA")


class Names:
    """The DNS: `down` are names that cannot be asked for."""

    def __init__(self, zone: Zone, seconds: float = 60.0, down: tuple[str, ...] = ()) -> None:
        self.zone = zone
        self.seconds = seconds
        self.down = down
        self.asked: list[tuple[str, Kind]] = []

    async def __call__(self, name: str, kind: Kind) -> Answer:
        self.asked.append((name, kind))
        if name in self.down:
            raise Unavailable(f"no answer for {name}")
        return Answer(tuple(self.zone.get((name, kind), ())), self.seconds)


async def found(question: Question, names: Names, transports: Sequence[str] = EVERYTHING) -> list[str]:
    located = await locate(question, names, transports=transports, kinds=BOTH)
    return [str(server) for server in located.order(lambda: 0.999)]


CARRIER = "carrier.test"
FULL: Zone = {
    (CARRIER, "NAPTR"): [
        Naptr(20, 50, "s", "SIP+D2U", "_sip._udp.carrier.test"),
        Naptr(10, 20, "s", "SIP+D2T", "_sip._tcp.carrier.test"),
        Naptr(10, 10, "s", "SIPS+D2T", "_sips._tcp.carrier.test"),
    ],
    ("_sips._tcp.carrier.test", "SRV"): [Srv(0, 0, 5061, "a.carrier.test")],
    ("_sip._tcp.carrier.test", "SRV"): [Srv(0, 0, 5070, "a.carrier.test")],
    ("_sip._udp.carrier.test", "SRV"): [Srv(2, 0, 5060, "b.carrier.test"), Srv(1, 0, 5060, "a.carrier.test")],
    ("a.carrier.test", "A"): ["192.0.2.1"],
    ("b.carrier.test", "A"): ["192.0.2.2", "192.0.2.3"],
    ("b.carrier.test", "AAAA"): ["2001:db8::2"],
    (CARRIER, "A"): ["192.0.2.9"],
}


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        (Question("192.0.2.7"), "udp:192.0.2.7:5060"),
        (Question("192.0.2.7", 5070, "TCP"), "tcp:192.0.2.7:5070"),
        (Question("[2001:db8::7]", transport="TLS"), "tls:[2001:db8::7]:5061"),
        (Question("192.0.2.7", secure=True), "tls:192.0.2.7:5061"),
        (Question("192.0.2.7", default_port=6060), "udp:192.0.2.7:6060"),
    ],
)
async def test_a_numeric_host_asks_nobody(question: Question, expected: str) -> None:
    names = Names({}, down=("192.0.2.7",))
    assert await found(question, names) == [expected]
    assert names.asked == []


async def test_a_port_that_is_written_down_bypasses_srv() -> None:
    names = Names(FULL)
    assert await found(Question(CARRIER, 5080), names) == ["udp:192.0.2.9:5080"]
    assert await found(Question(CARRIER, 5080, "TCP"), names) == ["tcp:192.0.2.9:5080"]
    assert {kind for _, kind in names.asked} == {"A", "AAAA"}


async def test_a_transport_that_is_written_down_bypasses_naptr() -> None:
    names = Names(FULL)
    assert await found(Question(CARRIER, transport="UDP"), names) == [
        "udp:192.0.2.1:5060", "udp:192.0.2.2:5060", "udp:192.0.2.3:5060", "udp:[2001:db8::2]:5060",
    ]  # fmt: skip
    assert (CARRIER, "NAPTR") not in names.asked


@pytest.mark.parametrize(
    ("transports", "expected"),
    [
        (("UDP", "TCP", "TLS"), "tls:192.0.2.1:5061"),       # the domain's wish counts, not ours
        (("UDP", "TCP"), "tcp:192.0.2.1:5070"),
        (("UDP",), "udp:192.0.2.1:5060"),
    ],
)  # fmt: skip
async def test_naptr_chooses_the_transport(transports: tuple[str, ...], expected: str) -> None:
    assert (await found(Question(CARRIER), Names(FULL), transports))[0] == expected


async def test_sips_goes_over_tls_only() -> None:
    assert await found(Question(CARRIER, secure=True), Names(FULL), ("UDP", "TCP", "TLS")) == ["tls:192.0.2.1:5061"]
    with pytest.raises(NotFound):
        await found(Question(CARRIER, secure=True), Names({}), ("UDP", "TCP", "TLS"))


async def test_without_naptr_every_transport_of_ours_is_asked_for() -> None:
    zone = {key: rows for key, rows in FULL.items() if key[1] != "NAPTR" and key[0] != "_sip._udp.carrier.test"}
    assert await found(Question(CARRIER), Names(zone), ("UDP", "TCP")) == ["tcp:192.0.2.1:5070"]


async def test_without_srv_the_name_itself_is_the_server() -> None:
    names = Names({(CARRIER, "A"): ["192.0.2.9"], (CARRIER, "AAAA"): ["2001:db8::9"]})
    assert await found(Question(CARRIER), names) == ["udp:192.0.2.9:5060", "udp:[2001:db8::9]:5060"]
    assert await found(Question(CARRIER, transport="TLS"), names) == ["tls:192.0.2.9:5061", "tls:[2001:db8::9]:5061"]


async def test_a_naptr_that_leads_nowhere() -> None:
    zone: Zone = {
        (CARRIER, "NAPTR"): [
            Naptr(1, 1, "u", "E2U+sip", ""), Naptr(2, 1, "s", "SIP+D2X", "_x.carrier.test"),
            Naptr(3, 1, "s", "SIP+D2T", "_gone.carrier.test"), Naptr(4, 1, "S", "sip+d2u", "_sip._udp.carrier.test"),
        ],
        ("_sip._udp.carrier.test", "SRV"): [Srv(0, 0, 5066, "a.carrier.test")],
        ("a.carrier.test", "A"): ["192.0.2.1"],
    }  # fmt: skip
    assert await found(Question(CARRIER), Names(zone)) == ["udp:192.0.2.1:5066"]


async def test_the_transport_of_naptr_is_in_order_and_preference() -> None:
    located = await locate(Question(CARRIER), Names(FULL), transports=("UDP",), kinds=BOTH)
    assert [choice.priority for choice in located.choices] == [1, 2]
    assert located.choices[0].servers == (Server("UDP", "192.0.2.1", 5060, CARRIER),)


async def test_a_service_that_is_decidedly_not_there() -> None:
    zone: Zone = {("_sip._udp.carrier.test", "SRV"): [Srv(0, 0, 0, ".")]}
    with pytest.raises(NotFound, match=r"the DNS has no address for carrier\.test"):
        await found(Question(CARRIER), Names(zone, 7.0), ("UDP",))


async def test_how_long_not_finding_is_believed() -> None:
    with pytest.raises(NotFound) as caught:
        await found(Question(CARRIER), Names({}, 7.0))
    assert caught.value.seconds == 7.0


async def test_a_dns_that_does_not_answer() -> None:
    with pytest.raises(Unavailable):
        await found(Question(CARRIER, 5060), Names({}, down=(CARRIER,)))


async def test_a_part_that_cannot_be_had_is_asked_for_again_soon() -> None:
    located = await locate(Question(CARRIER, transport="UDP"), Names(FULL, 3600.0, down=("a.carrier.test",)))
    assert [server.address for server in located.order(lambda: 0.0)] == ["192.0.2.2", "192.0.2.3", "2001:db8::2"]
    assert located.seconds == BRIEFLY
    assert (await locate(Question(CARRIER, transport="UDP"), Names(FULL, 3600.0))).seconds == 3600.0


async def test_only_families_that_we_reach_are_asked_for() -> None:
    names = Names(FULL)
    await locate(Question("b.carrier.test", 5060), names, kinds=("A",))
    assert names.asked == [("b.carrier.test", "A")]


async def test_addresses_that_are_none_to_send_to() -> None:
    zone: Zone = {(CARRIER, "A"): ["0.0.0.0", "192.0.2.1"]}
    located = await locate(Question(CARRIER, 5060), Names(zone), usable=lambda address: address != "0.0.0.0")
    assert [server.address for server in located.order(lambda: 0.0)] == ["192.0.2.1"]


async def test_a_thousand_srv_records_stay_a_few() -> None:
    """Hostile zones cost a bounded number of questions."""
    zone: Zone = {("_sip._udp.carrier.test", "SRV"): [Srv(1, 1, 5060, f"h{n}.test") for n in range(1000)]}
    zone |= {(f"h{n}.test", "A"): [f"10.{n // 250}.{n % 250}.{m}" for m in range(50)] for n in range(1000)}
    names = Names(zone)
    located = await locate(Question(CARRIER, transport="UDP"), names, kinds=BOTH)
    assert len(located.servers) == MOST_SERVERS
    assert len(names.asked) <= 1 + 2 * 16


# ---- RFC 2782


def choice(name: str, priority: int, weight: int) -> Choice:
    return Choice((Server("UDP", name, 5060),), priority, weight)


def names_of(choices: list[Choice]) -> str:
    return "".join(choice.servers[0].address for choice in choices)


def test_priorities_come_first_whatever_the_weights() -> None:
    choices = [choice("c", 30, 99), choice("a", 10, 0), choice("b", 20, 99)]
    for seed in range(50):
        assert names_of(rfc2782(choices, random.Random(seed).random)) == "abc"


def test_weights_share_the_load() -> None:
    choices = [choice("a", 1, 75), choice("b", 1, 25), choice("z", 1, 0)]
    chance = random.Random(7).random
    first = Counter(names_of(rfc2782(choices, chance))[0] for _ in range(10_000))
    assert 0.72 < first["a"] / 10_000 < 0.78
    assert 0.22 < first["b"] / 10_000 < 0.28
    assert 0 < first["z"] < 300     # a very small chance, and not none


def test_everybody_is_in_the_order_once() -> None:
    chance = random.Random(3).random
    choices = [choice(name, 1, weight) for name, weight in zip("abcdef", (0, 0, 1, 5, 65535, 0), strict=True)]
    for _ in range(500):
        assert sorted(names_of(rfc2782(choices, chance))) == list("abcdef")


def test_without_weights_every_one_has_its_turn_at_the_ends_of_chance() -> None:
    choices = [choice("a", 1, 0), choice("b", 1, 0)]
    assert names_of(rfc2782(choices, lambda: 0.0)) == "ab"
    assert names_of(rfc2782([choice("a", 1, 1), choice("b", 1, 1)], lambda: 0.999999)) == "ba"


def test_the_same_seed_gives_the_same_order() -> None:
    choices = [choice(name, 1, 10) for name in "abcdefgh"]
    assert names_of(rfc2782(choices, random.Random(5).random)) == names_of(rfc2782(choices, random.Random(5).random))
