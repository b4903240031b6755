"""What the relay reads in an SDP, and the SDP as the other side gets it: our address, our ports, our o= line.

RFC 8866, RFC 3264, RFC 3605 (a=rtcp), RFC 5761 (a=rtcp-mux), RFC 8839 section 4.2.5 (candidates would lead around the
relay: they are taken out). Lines that are not about addresses pass unchanged: codecs, crypto and fingerprints are
between the two ends. User agents that negotiate use `pbxcore.sip.sdp`; this runs twice in every call's set-up and keeps
no tree. A phone says the same in every call but for its o= line and its ports: the sections around those are read once
and remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import ip_address
from typing import TypeVar

from pbxcore.media.backend import MediaError
from pbxcore.sip.sdp import ICE_ATTRIBUTES, MAX_MEDIA, NOWHERE, STATIC

REMEMBERED = 2048         # sections remembered, and the longest that is, in characters
LOWEST_PORT = 1024        # nobody receives RTP below; a name server or a clock does
_DROPPED = (*(f"a={name}" for name in ICE_ATTRIBUTES), "a=rtcp:")
_HELD = {"a=sendrecv": False, "a=sendonly": True, "a=recvonly": True, "a=inactive": True}
_RATE = 8000              # of what names no clock

_S = TypeVar("_S")


class Section:
    """The session's part of an SDP after its o= line, or a media line's part after its port.

    `pieces` is the text to be passed on, cut where our c= lines come in. What a section does not say is "" or None.
    """

    __slots__ = ("held", "host", "mux", "pieces", "rate", "relayed", "rtcp_host", "rtcp_port")

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.host = ""
        self.held: bool | None = None
        self.mux = False
        self.rate = 0
        self.relayed = True
        self.rtcp_host = ""
        self.rtcp_port: int | None = None


class Line:
    """One media line (m=). `host` and `port` are where its sender wants its RTP, port 0 a stream not wanted; `rate` is
    the RTP clock of its first format in Hz, 0 for what is no RTP; `held` is any direction but sendrecv,
    or the address 0.0.0.0."""

    __slots__ = ("held", "host", "kind", "mux", "pieces", "port", "rate", "rtcp_host", "rtcp_port")

    def __init__(self, kind: str, port: int, section: Section, session: Section) -> None:
        self.kind = kind
        self.port = port if section.relayed else 0
        self.host = host = section.host or session.host
        self.pieces = section.pieces
        self.held = bool(session.held if section.held is None else section.held) or host in NOWHERE
        self.mux = section.mux or session.mux
        self.rate = section.rate
        self.rtcp_host = section.rtcp_host or host
        self.rtcp_port = port + 1 if section.rtcp_port is None else section.rtcp_port
        if not LOWEST_PORT <= self.rtcp_port <= 65535:
            self.rtcp_host, self.rtcp_port = host, port         # none is wanted
        if self.port and not host:
            raise MediaError("the SDP names no address (c=)")


class Body:
    """An SDP that was read. `render` may be called for any number of receivers."""

    __slots__ = ("_session", "lines")

    def __init__(self, session: Section, lines: list[Line]) -> None:
        self._session = session
        self.lines = lines

    def render(self, local: str, ports: Sequence[int], session: int, version: int) -> bytes:
        """The SDP with our address and, media line by media line, our ports (0: not wanted)."""
        family = "IP6" if ":" in local else "IP4"
        ours = f"c=IN {family} {local}"
        text = f"v=0\r\no=- {session} {version} IN {family} {local}\r\n" + _join(self._session, ours)
        for line, port in zip(self.lines, ports, strict=True):
            text += f"m={line.kind} {port} " + _join(line, ours)
        return text.encode("latin-1")


def _join(section: Section | Line, connection: str) -> str:
    pieces = section.pieces
    if len(pieces) == 1:
        return pieces[0]
    if section.host == "0.0.0.0" and connection.startswith("c=IN IP4"):
        connection = "c=IN IP4 0.0.0.0"     # how RFC 2543 says hold: it must reach the other side as such
    return connection.join(pieces)


def read(sdp: bytes) -> Body:
    """Read an offer or answer. Raises MediaError when it cannot be relayed."""
    # Lone LFs end a line for some readers: no line may hide from us what another reader would see.
    session_text, *media_texts = sdp.decode("latin-1").replace("\r", "").rstrip("\n").split("\nm=")
    version, _, session_text = session_text.partition("\no=")
    if version.rstrip() != "v=0":
        raise MediaError("the body is no SDP")
    if len(media_texts) > MAX_MEDIA:
        raise MediaError(f"the SDP has more than {MAX_MEDIA} media lines")
    session = _remember(_session, session_text.partition("\n")[2])
    lines = []
    for text in media_texts:
        kind, _, text = text.partition(" ")
        port, _, text = text.partition(" ")
        lines.append(Line(kind, check_port(port), _remember(_media, text), session))
    return Body(session, lines)


def _remember(reader: Callable[[str], _S], text: str) -> _S:
    return reader(text) if len(text) <= REMEMBERED else _unremembered(reader, text)


def _unremembered(reader: Callable[[str], _S], text: str) -> _S:
    """Long sections would let a stranger fill our memory."""
    return reader.__wrapped__(text)     # type: ignore[attr-defined, no-any-return]  # lru_cache's own function


@lru_cache(maxsize=REMEMBERED)
def _session(text: str) -> Section:
    section = Section()
    _read_lines(section, text, "?")
    return section


@lru_cache(maxsize=REMEMBERED)
def _media(text: str) -> Section:
    """What follows the port: transport, formats, and the lines below."""
    section = Section()
    words = text.partition("\n")[0].split(" ")
    if len(words) < 2:
        raise MediaError("the SDP has a media line that cannot be read")
    transport, first = words[:2]
    rtpmap = "?"
    if "RTP/" in transport:
        section.rate = STATIC[first].rate if first in STATIC else _RATE
        rtpmap = f"a=rtpmap:{first} "
    else:
        section.relayed = transport.lower() == "udptl"      # what runs over TCP cannot be
    _read_lines(section, text, rtpmap)
    return section


def _read_lines(section: Section, text: str, rtpmap: str) -> None:
    kept: list[str] = []
    for line in text.split("\n"):
        kind = line[:2]
        if kind == "c=":
            words = line.split()
            if len(words) != 3:
                raise MediaError("the SDP has a c= line that cannot be read")
            section.host = section.host or check_host(words[2])
            section.pieces.append("".join(kept))
            kept = ["\r\n"]
            continue
        if kind == "a=":
            if line in _HELD:
                section.held = _HELD[line]
            elif line == "a=rtcp-mux":
                section.mux = True
            elif line.startswith(rtpmap):
                clock = line.partition("/")[2].partition("/")[0]
                if clock.isdecimal() and 0 < int(clock) <= 1_000_000:
                    section.rate = int(clock)
            elif line.startswith(_DROPPED):
                if line.startswith("a=rtcp:"):
                    _read_rtcp(section, line[7:].split())
                continue
        kept.append(line + "\r\n")
    section.pieces.append("".join(kept))


def _read_rtcp(section: Section, words: list[str]) -> None:
    """RFC 3605: a=rtcp:PORT [IN IP4 ADDRESS]."""
    if words:
        section.rtcp_port = check_port(words[0])
    if len(words) == 4:
        section.rtcp_host = check_host(words[3])


@lru_cache(maxsize=4096)
def check_host(text: str) -> str:
    """A host as c= or a=rtcp names it, in its canonical spelling. Raises MediaError for what cannot be sent to."""
    try:
        address = ip_address(text.partition("/")[0])
    except ValueError:
        raise MediaError(f"the SDP names {text!r}, which is no IP address") from None
    if address.is_multicast or text == "255.255.255.255":
        raise MediaError(f"the SDP names {text!r}, which is no single host")
    return str(address)


def check_port(text: str) -> int:
    """A port as m= or a=rtcp names it, 0 included. Raises MediaError."""
    number = text.partition("/")[0]
    port = int(number) if number.isascii() and number.isdecimal() and len(number) < 6 else -1
    if port != 0 and not LOWEST_PORT <= port <= 65535:
        raise MediaError(f"the SDP names port {text!r}, which cannot be relayed to")
    return port
