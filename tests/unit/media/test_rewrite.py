"""What the relay reads in an SDP and what the other side gets of it."""

from __future__ import annotations

import pytest

from pbxcore.media.backend import MediaError
from pbxcore.media.rewrite import REMEMBERED, Part, read

OFFER = b"""v=0\r
o=alice 2890844526 2890844527 IN IP4 192.0.2.1\r
s=A call\r
c=IN IP4 192.0.2.1\r
t=0 0\r
m=audio 49170 RTP/AVP 96 0 101\r
a=rtpmap:96 opus/48000/2\r
a=fmtp:96 useinbandfec=1\r
a=rtpmap:0 PCMU/8000\r
a=rtpmap:101 telephone-event/8000\r
a=x-unknown: \xc5\x81 kept\r
"""


def sdp(*lines: str, address: str = "c=IN IP4 192.0.2.1") -> bytes:
    head = ["v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-", *([address] if address else []), "t=0 0"]
    return "\r\n".join([*head, *lines, ""]).encode()


def line(*lines: str, address: str = "c=IN IP4 192.0.2.1") -> tuple[Part, int]:
    """The only media line, and its port."""
    body = read(sdp(*lines, address=address))
    [part], [port] = body.parts, body.ports
    return part, port


def rendered(data: bytes, local: str = "198.51.100.1", ports: tuple[int, ...] = (20000,)) -> list[str]:
    return read(data).render(local, ports, 5, 6).decode("latin-1").split("\r\n")


class TestRender:
    def test_only_addresses_ports_and_origin_change(self) -> None:
        expected = (
            OFFER.replace(b"alice 2890844526 2890844527 IN IP4 192.0.2.1", b"- 5 6 IN IP4 198.51.100.1")
            .replace(b"192.0.2.1", b"198.51.100.1")
            .replace(b"49170", b"20000")
        )
        assert read(OFFER).render("198.51.100.1", [20000], 5, 6) == expected

    def test_nothing_of_the_senders_address_is_left(self) -> None:
        data = sdp(
            "m=audio 4000 RTP/AVP 0", "c=IN IP4 192.0.2.1", "a=rtcp:4711 IN IP4 192.0.2.1", "a=ice-ufrag:x",
            "a=candidate:1 1 UDP 1 192.0.2.1 4000 typ host", "a=end-of-candidates",
        )  # fmt: skip
        text = "\n".join(rendered(data))
        assert "192.0.2.1" not in text
        assert "candidate" not in text
        assert "rtcp" not in text

    def test_ipv6_towards_a_phone_that_speaks_it(self) -> None:
        lines = rendered(OFFER, "2001:db8::1")
        assert "c=IN IP6 2001:db8::1" in lines
        assert "o=- 5 6 IN IP6 2001:db8::1" in lines

    def test_address_of_each_media_line(self) -> None:
        data = sdp(
            "m=audio 4000 RTP/AVP 0", "c=IN IP4 192.0.2.7", "a=ptime:20", "m=video 4002 RTP/AVP 96", "c=IN IP6 ::9",
            address="",
        )  # fmt: skip
        body = read(data)
        assert [part.host for part in body.parts] == ["192.0.2.7", "::9"]
        assert body.ports == [4000, 4002]
        assert rendered(data, ports=(20000, 0))[4:] == [
            "m=audio 20000 RTP/AVP 0", "c=IN IP4 198.51.100.1", "a=ptime:20", "m=video 0 RTP/AVP 96",
            "c=IN IP4 198.51.100.1", "",
        ]  # fmt: skip

    def test_old_hold_stays_a_hold(self) -> None:
        data = sdp("m=audio 4000 RTP/AVP 0", address="c=IN IP4 0.0.0.0")
        assert "c=IN IP4 0.0.0.0" in rendered(data)
        assert read(data).parts[0].held

    def test_lone_line_feeds_are_lines_too(self) -> None:
        lines = rendered(OFFER.replace(b"\r\n", b"\n"))
        assert lines == rendered(OFFER)

    def test_no_media_line_hides_behind_another_line_end(self) -> None:
        data = OFFER + b"a=x\nm=video 5000 RTP/AVP 31\nc=IN IP4 192.0.2.66\r\n"
        body = read(data)
        assert len(body.ports) == 2
        assert b"192.0.2.66" not in body.render("198.51.100.1", [20000, 0], 1, 1)

    def test_other_forms_of_the_same_phone_do_not_mix(self) -> None:
        for direction in ("sendrecv", "sendonly", "inactive", "sendrecv"):
            part, _ = line("m=audio 4000 RTP/AVP 0", f"a={direction}")
            assert part.held is (direction != "sendrecv")


class TestLine:
    def test_clock_of_the_first_format(self) -> None:
        assert read(OFFER).parts[0].rate == 48000
        assert line("m=audio 4000 RTP/AVP 9")[0].rate == 8000
        assert line("m=video 4000 RTP/AVP 34")[0].rate == 90000
        assert line("m=audio 4000 RTP/SAVP 97", "a=rtpmap:97 x/0")[0].rate == 8000

    def test_mux(self) -> None:
        assert line("m=audio 4000 RTP/AVP 0", "a=rtcp-mux")[0].mux
        assert not line("m=audio 4000 RTP/AVP 0")[0].mux

    def test_direction_of_the_session_unless_the_line_has_its_own(self) -> None:
        body = read(sdp("a=sendonly", "m=audio 4000 RTP/AVP 0", "a=sendrecv", "m=video 4002 RTP/AVP 34"))
        assert [part.held for part in body.parts] == [False, True]

    def test_fax_is_relayed_and_tcp_is_not(self) -> None:
        fax, port = line("m=image 4000 udptl t38")
        assert (port, fax.rate) == (4000, 0)
        assert line("m=message 4000 TCP/MSRP *")[1] == 0

    def test_port_count_of_a_media_line(self) -> None:
        assert line("m=audio 4000/2 RTP/AVP 0")[1] == 4000

    def test_disabled_line_needs_no_address(self) -> None:
        assert line("m=audio 0 RTP/AVP 0", address="")[1] == 0

    def test_ipv6_address_in_its_canonical_spelling(self) -> None:
        assert line("m=audio 4000 RTP/AVP 0", address="c=IN IP6 2001:DB8:0:0::1")[0].host == "2001:db8::1"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no SDP"),
        (b"hello", "no SDP"),
        (b"v=1\r\no=x\r\n", "no SDP"),
        (b"v=0\r\ns=-\r\n", "no SDP"),
        (sdp("m=audio 4000 RTP/AVP 0", address=""), "no address"),
        (sdp("m=audio 4000 RTP/AVP 0", address="c=IN IP4 phone.example.com"), "no IP address"),
        (sdp("m=audio 4000 RTP/AVP 0", address="c=IN IP4 224.2.17.12/127"), "no single host"),
        (sdp("m=audio 4000 RTP/AVP 0", address="c=IN IP4 255.255.255.255"), "no single host"),
        (sdp("m=audio 4000 RTP/AVP 0", address="c=IN IP4"), "c= line"),
        (sdp("m=audio 65536 RTP/AVP 0"), "port '65536'"),
        (sdp("m=audio -1 RTP/AVP 0"), "port '-1'"),
        (sdp("m=audio 53 RTP/AVP 0"), "port '53'"),
        (sdp("m=audio x RTP/AVP 0"), "port 'x'"),
        (sdp("m=audio ٤٠٠٠ RTP/AVP 0"), "port "),
        (sdp("m=audio 4000 RTP/AVP 0", "a=rtcp:99999"), "port '99999'"),
        (sdp("m=audio"), "media line"),
        (sdp("m=audio 4000"), "media line"),
        (sdp("m=audio 4000 RTP/AVP"), "media line"),
        (OFFER + b"\rm=video 5000 RTP/AVP 31\r\n", "line ends"),
        (OFFER.replace(b"s=", b"\rm=video 5000 RTP/AVP 31\r\ns="), "line ends"),
        (sdp(*["m=audio 4000 RTP/AVP 0"] * 10_000), "media lines"),
    ],
)
def test_unusable(data: bytes, message: str) -> None:
    with pytest.raises(MediaError, match=message):
        read(data)


def test_huge_descriptions_are_not_remembered() -> None:
    from pbxcore.media import rewrite

    before = rewrite._shape.cache_info().currsize
    for n in range(20):
        read(sdp("m=audio 4000 RTP/AVP 0", f"a=x:{n}" + "x" * REMEMBERED))
    assert rewrite._shape.cache_info().currsize == before
