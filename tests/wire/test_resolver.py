"""Finding servers with a real DNS server on loopback: caches, slow and broken servers, and a loop that never waits."""

from __future__ import annotations

import asyncio
from pathlib import Path

import dns.rcode
import pytest

from pbxcore.net import resolver as resolving
from pbxcore.net.location import Answer, Kind, NotFound, Unavailable
from pbxcore.net.resolver import Dns, Resolver, families
from pbxcore.sip.location import Question
from tests.name_server import NameServer
from tests.wire.shell import until

CARRIER = "carrier.test"
ZONE = {
    (CARRIER, "NAPTR"): [
        '10 10 "s" "SIP+D2T" "" _sip._tcp.carrier.test.', '20 10 "s" "SIP+D2U" "" _sip._udp.carrier.test.',
    ],
    ("_sip._tcp.carrier.test", "SRV"): ["10 60 5070 one.carrier.test.", "20 0 5060 two.carrier.test."],
    ("_sip._udp.carrier.test", "SRV"): ["10 60 5060 one.carrier.test."],
    ("one.carrier.test", "A"): ["127.0.0.11"],
    ("two.carrier.test", "A"): ["127.0.0.12"],
    ("two.carrier.test", "AAAA"): ["::1"],
    ("www.carrier.test", "CNAME"): ["one.carrier.test."],
}  # fmt: skip


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def asking(server: NameServer, clock: Clock | None = None, seconds: float = 10.0) -> Dns:
    return Dns(clock=clock or Clock(), nameservers=[server.address], hosts=None, seconds=seconds)


def finding(server: NameServer, **more: object) -> Resolver:
    return Resolver(asking(server), loopback=True, chance=lambda: 0.0, **more)  # type: ignore[arg-type]


async def test_naptr_srv_and_addresses_over_the_wire() -> None:
    async with NameServer(ZONE) as server:
        resolver = finding(server)
        found = await resolver.locate(Question(CARRIER))
        assert [str(one) for one in found] == ["tcp:127.0.0.11:5070", "tcp:127.0.0.12:5060", "tcp:[::1]:5060"]
        assert {one.name for one in found} == {CARRIER}
        found = await resolver.locate(Question("www.carrier.test", 5060))
        assert [str(one) for one in found] == ["udp:127.0.0.11:5060"]
        await resolver.close()


async def test_an_answer_is_kept_for_its_time_and_no_longer() -> None:
    async with NameServer(ZONE, seconds=60) as server:
        clock = Clock()
        ask = asking(server, clock)
        assert await ask("one.carrier.test", "A") == Answer(("127.0.0.11",), 60.0)
        clock.now += 59.0
        assert await ask("ONE.carrier.test.", "A") == Answer(("127.0.0.11",), 1.0)
        assert len(server.asked) == 1
        clock.now += 2.0
        server.zone["one.carrier.test", "A"] = ["127.0.0.13"]
        assert (await ask("one.carrier.test", "A")).rows == ("127.0.0.13",)
        assert len(server.asked) == 2


@pytest.mark.parametrize("name", ["nobody.test", "one.carrier.test"])
async def test_what_does_not_exist_is_remembered_too(name: str) -> None:
    """NXDOMAIN, and a name without records of this kind, for as long as the SOA says (RFC 2308)."""
    async with NameServer(ZONE) as server:
        clock = Clock()
        ask = asking(server, clock)
        assert await ask(name, "SRV") == Answer((), 30.0)
        clock.now += 29.0
        await ask(name, "SRV")
        assert len(server.asked) == 1
        clock.now += 2.0
        await ask(name, "SRV")
        assert len(server.asked) == 2


async def test_two_who_ask_at_once_ask_once() -> None:
    async with NameServer(ZONE) as server:
        server.delay = 0.05
        ask = asking(server)
        answers = await asyncio.gather(*(ask("one.carrier.test", "A") for _ in range(20)))
        assert {answer.rows for answer in answers} == {("127.0.0.11",)}
        assert len(server.asked) == 1


@pytest.mark.parametrize("trouble", ["silent", "refused", "servfail", "garbage", "formerr"])
async def test_a_server_in_trouble(trouble: str) -> None:
    async with NameServer(ZONE) as server:
        server.silent = trouble == "silent"
        server.garbage = b"\x00\x01 no DNS" if trouble == "garbage" else b""
        server.rcode = {"refused": dns.rcode.REFUSED, "servfail": dns.rcode.SERVFAIL, "formerr": dns.rcode.FORMERR}.get(
            trouble, dns.rcode.NOERROR
        )
        ask = asking(server, seconds=1.0)
        with pytest.raises(Unavailable):
            await ask("one.carrier.test", "A")
        server.silent, server.garbage, server.rcode = False, b"", dns.rcode.NOERROR
        assert (await ask("one.carrier.test", "A")).rows == ("127.0.0.11",)   # a failure is not remembered


async def test_an_answer_too_long_for_udp() -> None:
    async with NameServer(ZONE) as server:
        server.truncates = True
        assert (await asking(server)("one.carrier.test", "A")).rows == ("127.0.0.11",)
        assert server.over_tcp == 1


async def test_a_slow_dns_never_stops_the_loop() -> None:
    """While a look-up hangs, the loop turns, and the watch gives what it has."""
    async with NameServer(ZONE) as server:
        server.silent = True
        resolver = Resolver(asking(server, seconds=60.0), loopback=True)
        watch = resolver.watch(Question(CARRIER))
        assert watch.located is None
        for _ in range(50):
            await asyncio.sleep(0.002)
        await resolver.settled(0.05)     # gives up waiting, not looking
        assert not watch.asked           # so the look-up hangs still: neither the turns nor the waiting waited for it
        async with asyncio.timeout(30):
            await resolver.close()


async def test_the_last_good_answer_outlives_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ran out stays in use while the DNS is dead; when it is back, what changed is told."""
    monkeypatch.setattr(resolving, "SHORTEST", 0.05)
    monkeypatch.setattr(resolving, "RETRY_FIRST", 0.05)
    monkeypatch.setattr(resolving, "NEGATIVE_SHORTEST", 0.05)
    async with NameServer(ZONE, seconds=0) as server:
        resolver = Resolver(
            Dns(clock=asyncio.get_running_loop().time, nameservers=[server.address], hosts=None, seconds=0.1),
            loopback=True,
        )
        told: list[str] = []
        watch = resolver.watch(Question("one.carrier.test", 5060), lambda: told.append(watch.problem))
        watch._retry = 0.05
        await resolver.settled(2.0)
        assert [str(one) for one in watch.located.servers] == ["udp:127.0.0.11:5060"]  # type: ignore[union-attr]
        server.silent = True
        await until(lambda: watch.problem != "")
        assert "the DNS does not answer" in watch.problem
        assert [str(one) for one in watch.located.servers] == ["udp:127.0.0.11:5060"]  # type: ignore[union-attr]
        server.zone["one.carrier.test", "A"] = ["127.0.0.14"]
        server.silent = False
        await until(lambda: watch.problem == "")
        assert [str(one) for one in watch.located.servers] == ["udp:127.0.0.14:5060"]  # type: ignore[union-attr]
        assert told[0] == ""
        assert told[-1] == ""
        del server.zone["one.carrier.test", "A"]
        server.minimum = 0
        await until(lambda: watch.problem != "")
        assert watch.problem == "the DNS has no address for one.carrier.test"
        assert [str(one) for one in watch.located.servers] == ["udp:127.0.0.14:5060"]  # type: ignore[union-attr]
        await resolver.close()


async def test_two_watches_of_one_name_are_one() -> None:
    async with NameServer(ZONE) as server:
        resolver = finding(server)
        assert resolver.watch(Question(CARRIER)) is resolver.watch(Question(CARRIER))
        await resolver.settled(2.0)
        await resolver.close()


async def test_names_do_not_lead_to_this_machine_unless_they_may() -> None:
    """A forged answer must not make the phones of this machine a carrier, nor make us call ourselves."""
    async with NameServer({("evil.test", "A"): ["127.0.0.1", "224.0.0.1", "0.0.0.0"]}) as server:
        resolver = Resolver(asking(server), loopback=False)
        with pytest.raises(NotFound):
            await resolver.locate(Question("evil.test", 5060))
        await resolver.close()


async def test_a_thousand_records_from_a_real_server() -> None:
    zone = {("_sip._udp.many.test", "SRV"): [f"1 1 5060 h{n}.many.test." for n in range(1000)]}
    zone |= {(f"h{n}.many.test", "A"): ["127.0.0.9"] for n in range(1000)}
    async with NameServer(zone) as server:
        server.truncates = True
        resolver = finding(server, kinds=("A",))
        found = await resolver.locate(Question("many.test", transport="UDP"))
        assert 0 < len(found) <= 32
        await resolver.close()


async def test_the_hosts_file_comes_first(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("# a comment\n127.0.0.7  Gateway gw.local # the gateway\n::7 gateway\nnonsense gateway\n")
    async with NameServer({("gateway", "A"): ["127.0.0.99"]}) as server:
        ask = Dns(clock=Clock(), nameservers=[server.address], hosts=hosts)
        assert (await ask("gateway", "A")).rows == ("127.0.0.7",)
        assert (await ask("gateway", "AAAA")).rows == ("::7",)
        assert server.asked == []
        hosts.unlink()
        assert (await Dns(clock=Clock(), nameservers=[server.address], hosts=hosts)("gateway", "A")).rows == (
            "127.0.0.99",
        )


async def test_closing_while_it_asks() -> None:
    async with NameServer(ZONE) as server:
        server.silent = True
        resolver = finding(server)
        watch = resolver.watch(Question(CARRIER))
        await asyncio.sleep(0.01)
        await resolver.close()
        assert watch.located is None


@pytest.mark.parametrize(
    ("hosts", "kinds"),
    [(["0.0.0.0"], ("A",)), (["::"], ("A", "AAAA")), (["::1"], ("AAAA",)), (["127.0.0.1", "::1"], ("A", "AAAA"))],
)
def test_families(hosts: list[str], kinds: tuple[Kind, ...]) -> None:
    assert families(hosts) == kinds
