"""What the worker is told of a leg."""

from __future__ import annotations

import pytest

from pbxcore.media.backend import MediaError
from pbxcore.media.records import Line, Lines
from pbxcore.media.relay import _describe, _Leg
from pbxcore.media.rewrite import Body, read


def described(*media: str) -> Body:
    head = ["v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-", "c=IN IP4 192.0.2.1", "t=0 0"]
    return read("\r\n".join([*head, *media, ""]).encode())


def told(*media: str, other: tuple[str, ...] = (), local: str = "198.51.100.1", source: str = "") -> Lines:
    leg = _Leg(1)
    leg.local, leg.source = local, source
    said = described(*media)
    leg.ports = [20000 + 2 * index for index in range(len(said.ports))]
    return _describe(leg, said, described(*(other or media)))


def test_rtcp_is_on_the_next_port_or_where_it_says() -> None:
    def line(rtcp: tuple[str, int]) -> Line:
        return ("198.51.100.1", 20000), ("192.0.2.1", 4000), rtcp, 8000, ("192.0.2.1",)

    assert told("m=audio 4000 RTP/AVP 0") == [line(("192.0.2.1", 4001))]
    assert told("m=audio 4000 RTP/AVP 0", "a=rtcp:4711") == [line(("192.0.2.1", 4711))]
    elsewhere = told("m=audio 4000 RTP/AVP 0", "a=rtcp:4711 IN IP4 192.0.2.9")
    assert elsewhere == [line(("192.0.2.9", 4711))]


@pytest.mark.parametrize(("port", "attribute"), [(65535, "a=ptime:20"), (4000, "a=rtcp:0")])
def test_no_rtcp_is_written_as_the_rtp_address(port: int, attribute: str) -> None:
    rtp = ("192.0.2.1", port)
    lines = told(f"m=audio {port} RTP/AVP 0", attribute)
    assert lines == [(("198.51.100.1", 20000), rtp, rtp, 8000, ("192.0.2.1",))]


def test_rtcp_shares_the_port_only_where_both_want_it() -> None:
    muxed = ("m=audio 4000 RTP/AVP 0", "a=rtcp-mux")
    rtp, rtcp = ("192.0.2.1", 4000), ("192.0.2.1", 4001)
    ours, rest = ("198.51.100.1", 20000), (8000, ("192.0.2.1",))
    assert told(*muxed) == [(ours, rtp, rtp, *rest)]
    assert told(*muxed, other=("m=audio 4000 RTP/AVP 0",)) == [(ours, rtp, rtcp, *rest)]


def test_a_line_that_one_of_them_refused_is_off() -> None:
    audio, video = "m=audio 4000 RTP/AVP 0", "m=video 4002 RTP/AVP 34"
    lines = told(audio, video, other=(audio, "m=video 0 RTP/AVP 34"))
    assert lines[0] is not None
    assert lines[1] is None


def test_whom_our_sockets_cannot_reach_is_refused() -> None:
    with pytest.raises(MediaError, match="cannot be reached"):
        told("m=audio 4000 RTP/AVP 0", local="2001:db8::1")
    with pytest.raises(MediaError, match="this machine"):
        told("m=audio 4000 RTP/AVP 0", "c=IN IP4 127.0.0.1")
