"""A NAT router before us, on real sockets: what peers outside and inside are told, and where RTP comes in.

127.0.0.5 plays the world outside.
"""

from __future__ import annotations

import pytest

from pbxcore.media.factory import make_backend
from pbxcore.media.relay import Relay
from pbxcore.net.connections import Options
from pbxcore.net.outside import Outside
from pbxcore.settings import Media
from tests.wire.parties import Heard, Party, line
from tests.wire.shell import both_loops, exchange, options, receive, udp_socket, until

EXTERNAL, WORLD = "203.0.113.7", "127.0.0.5"


class Here(Outside):
    """Loopback has an outside here."""

    def shown(self, own: str, peer: str) -> str:
        return self.address if peer == WORLD else own


NAT = Options(outside=Here(EXTERNAL))


@both_loops
async def test_each_peer_is_told_the_address_that_leads_from_him_to_us() -> None:
    async with exchange("udp:127.0.0.1:0", options=NAT) as (endpoint, recorder, [listener]):
        with udp_socket("127.0.0.1") as inside, udp_socket(WORLD) as outside:
            for sock in (inside, outside):
                sock.sendto(options(), ("127.0.0.1", listener.port))
                assert (await receive(sock)).startswith(b"SIP/2.0 200")
            assert [flow.local for flow in recorder.flows] == [
                ("127.0.0.1", listener.port), (EXTERNAL, listener.port)
            ]  # fmt: skip
        assert endpoint.flow_to("UDP", WORLD, 5060).local == (EXTERNAL, listener.port)
        assert endpoint.flow_to("UDP", WORLD, 5060, local=(EXTERNAL, listener.port)).local[0] == EXTERNAL
        assert endpoint.flow_to("UDP", "127.0.0.6", 5060).local[0] == "127.0.0.1"


@both_loops
async def test_an_answer_to_another_port_goes_out_of_the_same_socket() -> None:
    async with exchange("udp:127.0.0.1:0", options=NAT) as (_, recorder, [listener]):
        with udp_socket(WORLD) as outside, udp_socket(WORLD) as other:
            outside.sendto(options(), ("127.0.0.1", listener.port))
            await until(lambda: recorder.flows)
            way = recorder.flows[0].to(WORLD, other.getsockname()[1])
            assert way.local == (EXTERNAL, listener.port)
            way.send(b"\r\n\r\n")
            assert await receive(other) == b"\r\n\r\n"


@both_loops
async def test_over_tcp_it_is_the_same_both_ways() -> None:
    async with exchange("tcp:127.0.0.1:0", options=NAT) as (endpoint, _, [listener]):
        flow = endpoint.flow_to("TCP", WORLD, 9)
        assert flow.local == (EXTERNAL, listener.port)
        assert endpoint.flow_to("TCP", WORLD, 9, local=(EXTERNAL, listener.port)) is flow
        await until(lambda: flow.closed)


@both_loops
async def test_what_is_behind_the_external_address_is_where_we_listen() -> None:
    async with exchange("udp:127.0.0.3:0", options=NAT) as (endpoint, _, _):
        assert endpoint.behind(EXTERNAL) == "127.0.0.3"
        assert endpoint.behind("127.0.0.9") == "127.0.0.9"


async def test_the_relay_names_the_external_address_and_hears_at_the_one_behind_it() -> None:
    relay = make_backend(Media(ports="12000-19999"), ["127.0.0.1"], lambda shown: "127.0.0.1")
    assert isinstance(relay, Relay)
    alice, bob = Party("127.0.0.2", 0xA), Party(WORLD, 0xB)
    await relay.start(Heard())
    try:
        to_b = await relay.offer("c1", "a", "b1", alice.sdp(), local=EXTERNAL, source=alice.host)
        assert f"c=IN IP4 {EXTERNAL}".encode() in to_b
        assert f" IN IP4 {EXTERNAL}\r\ns=".encode() in to_b   # o=
        to_a = await relay.answer("c1", "b1", "a", bob.sdp(), local="127.0.0.1", source=bob.host)
        assert EXTERNAL.encode() not in to_a
        await relay.query("c1")
        at_b = line(to_b.replace(EXTERNAL.encode(), b"127.0.0.1"))   # what the router does
        at_a = line(to_a)
        assert await alice.hears(bob.speak(at_b))
        assert await bob.hears(alice.speak(at_a))
    finally:
        alice.close()
        bob.close()
        await relay.close()


@pytest.mark.parametrize(
    ("host", "source", "there", "believed"),
    [
        ("192.168.1.50", "203.0.113.9", "203.0.113.9", ("203.0.113.9",)),
        ("192.168.1.50", "192.168.1.50", "192.168.1.50", ("192.168.1.50",)),
        ("192.168.1.50", "10.0.0.1", "192.168.1.50", ("192.168.1.50", "10.0.0.1")),
        ("198.51.100.1", "203.0.113.9", "198.51.100.1", ("198.51.100.1", "203.0.113.9")),
    ],
)
def test_a_private_address_in_the_sdp_of_a_phone_outside_is_nobody_of_ours(
    host: str, source: str, there: str, believed: tuple[str, ...]
) -> None:
    """The same private network may be ours too: there somebody else has that address."""
    from pbxcore.media import relay
    from pbxcore.media.rewrite import read

    sdp = f"v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
    leg = relay._Leg(1)
    leg.local, leg.source = "10.0.0.2", source
    leg.ports = [20000]
    body = read(sdp.encode())
    assert relay._describe(leg, body, body) == [
        (("10.0.0.2", 20000), (there, 4000), (there, 4001), 8000, believed)
    ]
