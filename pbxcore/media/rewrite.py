"""What the relay reads in an SDP, and the SDP as the other side gets it: our address, our ports, our o= line.

RFC 8866, RFC 3264, RFC 3605 (a=rtcp), RFC 5761 (a=rtcp-mux), RFC 8839 section 4.2.5 (candidates would lead around the
relay: they are taken out). Lines that are not about addresses pass unchanged: codecs, crypto and fingerprints are
between the two ends. User agents that negotiate use `pbxcore.sip.sdp`; this runs twice in every call's set-up and keeps
no tree. A phone says the same in every call but for its o= line and its ports: what is around those is read once and
remembered.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import ip_address

from pbxcore.media.backend import MediaError
from pbxcore.sip.sdp import ICE_ATTRIBUTES, MAX_MEDIA, NOWHERE, STATIC

REMEMBERED = 2048         # descriptions remembered, and the longest that is, in characters
LOCALS = 8                # addresses of ours that each is kept ready for
LOWEST_PORT = 1024        # nobody receives RTP below; a name server or a clock does
_DROPPED = (*(f"a={name}" for name in ICE_ATTRIBUTES), "a=rtcp:")
_HELD = {"a=sendrecv": False, "a=sendonly": True, "a=recvonly": True, "a=inactive": True}
UNREADABLE = "the SDP has a media line that cannot be read"
_RATE = 8000              # of what names no clock


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


class Part:
    """All of a media line (m=) but its port, with what the session says for it. `host` is where its sender wants its
    RTP; `rate` is the RTP clock of its first format in Hz, 0 for what is no RTP; `held` is any direction but sendrecv,
    or the address 0.0.0.0; `rtcp_port` is None for the one after RTP's."""

    __slots__ = ("held", "host", "kind", "mux", "rate", "relayed", "rtcp_host", "rtcp_port", "section")

    def __init__(self, kind: str, section: Section, session: Section) -> None:
        self.kind = kind
        self.section = section
        self.host = host = section.host or session.host
        self.held = bool(session.held if section.held is None else section.held) or host in NOWHERE
        self.mux = section.mux or session.mux
        self.rate = section.rate
        self.relayed = section.relayed
        self.rtcp_host = section.rtcp_host or host
        self.rtcp_port = section.rtcp_port


class Shape:
    """What an SDP says besides its o= line and its ports: the same in every call of a phone. `usual`: each of its media
    lines can be relayed and has an address."""

    __slots__ = ("_ready", "_session", "parts", "usual")

    def __init__(self, session: Section, parts: list[Part]) -> None:
        self._session = session
        self.parts = parts
        self.usual = all(part.relayed and part.host for part in parts)
        self._ready: dict[str, tuple[str, list[str]]] = {}

    def around(self, local: str) -> tuple[str, list[str]]:
        """With our address `local`, the text from behind our o= line's version to the first port; and what follows
        each port."""
        ready = self._ready.get(local)
        if ready is None:
            if len(self._ready) == LOCALS:
                self._ready.clear()
            ready = self._ready[local] = self._write(f"IN {'IP6' if ':' in local else 'IP4'} {local}")
        return ready

    def _write(self, connection: str) -> tuple[str, list[str]]:
        head, *texts = [f" {connection}\r\n{_join(self._session, connection)}"] + [
            f" {_join(part.section, connection)}" for part in self.parts
        ]
        kinds = [f"m={part.kind} " for part in self.parts] + [""]
        return head + kinds[0], [text + kind for text, kind in zip(texts, kinds[1:], strict=True)]


class Body:
    """An SDP that was read, media line by media line: its `parts`, and its `ports`, 0 for a stream that is not wanted
    or cannot be relayed. `render` may be called for any number of receivers."""

    __slots__ = ("_shape", "parts", "ports")

    def __init__(self, shape: Shape, ports: list[int]) -> None:
        self._shape = shape
        self.parts = shape.parts
        self.ports = ports

    def render(self, local: str, ports: Sequence[int], session: int, version: int) -> bytes:
        """The SDP with our address and, media line by media line, our ports; 0 where the line is not wanted."""
        head, tails = self._shape.around(local)
        text = f"v=0\r\no=- {session} {version}{head}"
        for index, tail in enumerate(tails):
            text += f"{ports[index] if self.ports[index] else 0}{tail}"
        return text.encode("latin-1")


def _join(section: Section, connection: str) -> str:
    pieces = section.pieces
    if len(pieces) == 1:
        return pieces[0]
    if section.host == "0.0.0.0" and connection.startswith("IN IP4"):
        connection = "IN IP4 0.0.0.0"       # how RFC 2543 says hold: it must reach the other side as such
    return f"c={connection}".join(pieces)


def read(sdp: bytes) -> Body:
    """Read an offer or answer. Raises MediaError when it cannot be relayed."""
    # Lone LFs end a line for some readers: no line may hide from us what another reader would see.
    session, *media = sdp.decode("latin-1").split("\nm=")
    version, _, session = session.partition("\no=")
    if version.rstrip() != "v=0":
        raise MediaError("the body is no SDP")
    if len(media) > MAX_MEDIA:
        raise MediaError(f"the SDP has more than {MAX_MEDIA} media lines")
    texts, ports = [session.partition("\n")[2]], []
    for line in media:
        try:
            kind, port, text = line.split(" ", 2)
        except ValueError:
            raise MediaError(UNREADABLE) from None
        ports.append(check_port(port))
        texts += (kind, text)
    # Long ones would let a stranger fill our memory.
    shape = _shape(*texts) if len(sdp) <= REMEMBERED else _shape.__wrapped__(*texts)
    if not shape.usual:
        for index, part in enumerate(shape.parts):
            if not part.relayed:
                ports[index] = 0
            elif ports[index] and not part.host:
                raise MediaError("the SDP names no address (c=)")
    return Body(shape, ports)


@lru_cache(maxsize=REMEMBERED)
def _shape(session_text: str, *media: str) -> Shape:
    """`media` are the kind of each media line and what follows its port; line ends are as they came."""
    texts = [text.replace("\r", "") for text in (session_text, *media)]
    if any("\nm=" in f"\n{text}" for text in texts):
        raise MediaError("the SDP has line ends that not everybody reads alike")
    texts[-1] = texts[-1].rstrip("\n")
    session = Section()
    _read_lines(session, texts[0], "?")
    kinds = zip(texts[1::2], texts[2::2], strict=True)
    return Shape(session, [Part(kind, _media(text), session) for kind, text in kinds])


def _media(text: str) -> Section:
    """What follows the port: transport, formats, and the lines below."""
    section = Section()
    words = text.partition("\n")[0].split(" ")
    if len(words) < 2:
        raise MediaError(UNREADABLE)
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
    number = text if text.isdecimal() else text.partition("/")[0]
    if number.isdecimal() and len(number) < 6:      # read as latin-1, where these are 0 to 9
        port = int(number)
        if LOWEST_PORT <= port <= 65535 or not port:
            return port
    raise MediaError(f"the SDP names port {text!r}, which cannot be relayed to")
