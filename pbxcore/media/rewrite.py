"""What the relay reads in an SDP, and the SDP as the other side gets it: our address, our ports, our o= line.

RFC 8866, RFC 3264, RFC 3605 (a=rtcp), RFC 5761 (a=rtcp-mux), RFC 8839 section 4.2.5 (candidates would lead around the
relay: they are taken out). Lines that are not about addresses pass byte for byte: codecs, crypto and fingerprints are
between the two ends. It is one pass over the lines and keeps no tree, because it runs twice in every call's set-up;
user agents that negotiate use `pbxcore.sip.sdp`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import ip_address

from pbxcore.media.backend import MediaError

MAX_LINES = 16            # media lines in one SDP
HOLD_HOSTS = ("0.0.0.0", "::")
LOWEST_PORT = 1024        # nobody receives RTP below; a name server or a clock does
_OURS_NOT = ("a=candidate:", "a=ice-", "a=remote-candidates:", "a=end-of-candidates", "a=rtcp:")
_DIRECTIONS = {"a=sendrecv": False, "a=sendonly": True, "a=recvonly": True, "a=inactive": True}
_VIDEO_RATE, _AUDIO_RATE = 90000, 8000
_RATES = {"10": 44100, "11": 44100} | {str(payload): _VIDEO_RATE for payload in (14, 25, 26, 28, 31, 32, 33, 34)}


class Line:
    """One media line (m=). `host` and `port` are where its sender wants its RTP, port 0 a stream not wanted; `rate` is
    the RTP clock of its first format in Hz, 0 for what is no RTP; `held` is any direction but sendrecv,
    or the address 0.0.0.0."""

    __slots__ = ("held", "host", "kind", "mux", "port", "rate", "rest", "rtcp_host", "rtcp_port", "start")

    def __init__(self, kind: str, port: int, rest: str, start: int) -> None:
        self.kind = kind
        self.port = port
        self.rest = rest              # what follows the port, to be passed on
        self.start = start
        self.host = ""
        self.rtcp_host = ""
        self.rtcp_port = port + 1
        self.mux = False
        self.held = False
        self.rate = 0


class Body:
    """An SDP that was read. `render` may be called for any number of receivers."""

    __slots__ = ("_connections", "_origin", "_parts", "lines")

    def __init__(self, parts: list[str], lines: list[Line], connections: list[int], origin: int) -> None:
        self._parts = parts
        self.lines = lines
        self._connections = connections
        self._origin = origin

    def render(self, local: str, ports: Sequence[int], session: int, version: int) -> bytes:
        """The SDP with our address and, media line by media line, our ports (0: not wanted)."""
        family = "IP6" if ":" in local else "IP4"
        parts = self._parts.copy()
        connection = f"c=IN {family} {local}"
        for index in self._connections:
            if not _is_old_hold(parts[index], family):
                parts[index] = connection
        if self._origin >= 0:
            parts[self._origin] = f"o=- {session} {version} IN {family} {local}"
        for line, port in zip(self.lines, ports, strict=True):
            parts[line.start] = f"m={line.kind} {port} {line.rest}"
        return "\r\n".join(parts).encode("latin-1")


def _is_old_hold(connection: str, family: str) -> bool:
    """c=IN IP4 0.0.0.0 is how RFC 2543 says hold: it must reach the other side as such."""
    return family == "IP4" and connection.endswith(" 0.0.0.0")


@lru_cache(maxsize=4096)
def check_host(text: str) -> str:
    """A host as c= or a=rtcp names it, in its canonical spelling. Raises MediaError for what cannot be sent to."""
    try:
        address = ip_address(text.partition("/")[0])
    except ValueError:
        raise MediaError(f"the SDP names {text!r}, which is no IP address") from None
    if address.is_multicast or text == "255.255.255.255":
        raise MediaError(f"the SDP names {text}, which is no single host")
    return str(address)


def check_port(text: str) -> int:
    """A port as m= or a=rtcp names it, 0 included. Raises MediaError."""
    number = text.partition("/")[0]
    port = int(number) if number.isascii() and number.isdecimal() and len(number) < 6 else -1
    if port != 0 and not LOWEST_PORT <= port <= 65535:
        raise MediaError(f"the SDP names port {text}, which cannot be relayed to")
    return port


def read(sdp: bytes) -> Body:
    """Read an offer or answer. Raises MediaError when it cannot be relayed."""
    text = sdp.decode("latin-1")
    if text[:2] != "v=":
        raise MediaError("the body is no SDP")
    # Lone LFs end a line for some readers: no line may hide from us what another reader would see.
    return _Reader().read(text.replace("\r", "").split("\n"))


class _Reader:
    """One pass over the lines of an SDP."""

    __slots__ = ("_connections", "_held", "_host", "_line", "_lines", "_mux", "_origin", "_parts", "_rtpmap")

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._lines: list[Line] = []
        self._connections: list[int] = []
        self._origin = -1
        self._line: Line | None = None      # the media line that is being read
        self._host = ""                     # of the session
        self._held = False
        self._mux = False
        self._rtpmap = "?"

    def read(self, raw: list[str]) -> Body:
        parts = self._parts
        for text in raw:
            kind = text[:2]
            if kind == "a=":
                if self._attribute(text):
                    continue
            elif kind == "m=":
                self._media(text)
            elif kind == "c=":
                self._connection(text)
            elif kind == "o=":
                self._origin = len(parts)
            parts.append(text)
        for line in self._lines:
            if not line.host:
                line.host = self._host
            if line.port and not line.host:
                raise MediaError("the SDP names no address (c=)")
            if not line.rtcp_host:
                line.rtcp_host = line.host
            if line.host in HOLD_HOSTS:
                line.held = True
            if not LOWEST_PORT <= line.rtcp_port <= 65535:
                line.rtcp_host, line.rtcp_port = line.host, line.port       # none is wanted
        return Body(parts, self._lines, self._connections, self._origin)

    def _media(self, text: str) -> None:
        words = text[2:].split(" ", 3)
        if len(words) < 4 or len(self._lines) == MAX_LINES:
            raise MediaError("the SDP has a media line that cannot be read, or too many of them")
        kind, port_text, transport, formats = words
        line = Line(kind, check_port(port_text), f"{transport} {formats}", len(self._parts))
        line.held, line.mux = self._held, self._mux
        if "RTP/" in transport:
            first = formats.split(" ", 1)[0]
            line.rate = _RATES.get(first) or (_VIDEO_RATE if kind == "video" else _AUDIO_RATE)
            self._rtpmap = f"a=rtpmap:{first} "
        else:
            self._rtpmap = "?"
            if transport.lower() != "udptl":
                line.port = 0               # nothing that runs over TCP can be relayed
        self._lines.append(line)
        self._line = line

    def _connection(self, text: str) -> None:
        words = text.split()
        if len(words) != 3:
            raise MediaError("the SDP has a c= line that cannot be read")
        host = check_host(words[2])
        self._connections.append(len(self._parts))
        if self._line is None:
            self._host = host
        elif not self._line.host:
            self._line.host = host

    def _attribute(self, text: str) -> bool:
        """Take an a= line in; True when it must not reach the other side."""
        held = _DIRECTIONS.get(text)
        if held is not None:
            if self._line is None:
                self._held = held
            else:
                self._line.held = held
        elif text.startswith(self._rtpmap):
            clock = text.partition("/")[2].partition("/")[0]
            if self._line is not None and clock.isdecimal() and 0 < int(clock) <= 1_000_000:
                self._line.rate = int(clock)
        elif text == "a=rtcp-mux":
            if self._line is None:
                self._mux = True
            else:
                self._line.mux = True
        elif text.startswith(_OURS_NOT):
            if text.startswith("a=rtcp:") and self._line is not None:
                self._rtcp(self._line, text[7:].split())
            return True
        return False

    def _rtcp(self, line: Line, words: list[str]) -> None:
        """RFC 3605: a=rtcp:PORT [IN IP4 ADDRESS]."""
        if words:
            line.rtcp_port = check_port(words[0])
        if len(words) == 4:
            line.rtcp_host = check_host(words[3])
