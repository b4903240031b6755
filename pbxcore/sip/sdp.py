"""Session descriptions: RFC 8866, with a=rtcp of RFC 3605 and a=rtcp-mux of RFC 5761.

Read leniently, edited in place: what was not edited is printed byte for byte as it came. Views scan the few lines of
their section when asked, and keep nothing that an edit could make stale. Offers and answers are made in `offer`; the
relay has a rewriter of its own (`pbxcore.media.rewrite`), for it knows its ports and runs twice a call.

Not here: times, bandwidths, keys and ICE are lines like any other.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

MAX_SIZE = 65536        # octets
MAX_LINES = 2048        # a browser's offer of audio and video has about 200
MAX_MEDIA = 16          # m= lines
MAX_FORMATS = 128       # in one m= line

SENDRECV, SENDONLY, RECVONLY, INACTIVE = DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")
_DIRECTION_LINES = {f"a={name}": name for name in DIRECTIONS}
RTP_PROFILES = frozenset({
    "RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF",
})
ICE_ATTRIBUTES = (
    "candidate", "remote-candidates", "end-of-candidates", "ice-ufrag", "ice-pwd", "ice-options", "ice-lite",
    "ice-mismatch", "ice-pacing",
)
_AFTER_C = ("b=", "t=", "r=", "z=", "k=", "a=")   # RFC 8866 section 5: the order of lines
NOWHERE = ("0.0.0.0", "::")   # the address of a party that wants to hear nothing (RFC 2543's hold; RFC 6157 for IPv6)


class SdpError(ValueError):
    """A body that is no session description we can work with. The message says why; the answer is 400 or 488."""


class RtpMap(NamedTuple):
    """What a payload type stands for (RFC 8866 section 6.6). Names compare without regard to case: see `key`."""

    name: str
    rate: int           # of the RTP clock, Hz
    channels: int = 1

    @property
    def key(self) -> tuple[str, int, int]:
        return self.name.lower(), self.rate, self.channels

    def __str__(self) -> str:
        return f"{self.name}/{self.rate}" + (f"/{self.channels}" if self.channels != 1 else "")


# RFC 3551 tables 4 and 5, and comfort noise of RFC 3389: what needs no a=rtpmap.
STATIC = {
    "0": RtpMap("PCMU", 8000), "3": RtpMap("GSM", 8000), "4": RtpMap("G723", 8000), "5": RtpMap("DVI4", 8000),
    "6": RtpMap("DVI4", 16000), "7": RtpMap("LPC", 8000), "8": RtpMap("PCMA", 8000), "9": RtpMap("G722", 8000),
    "10": RtpMap("L16", 44100, 2), "11": RtpMap("L16", 44100), "12": RtpMap("QCELP", 8000), "13": RtpMap("CN", 8000),
    "14": RtpMap("MPA", 90000), "15": RtpMap("G728", 8000), "16": RtpMap("DVI4", 11025), "17": RtpMap("DVI4", 22050),
    "18": RtpMap("G729", 8000), "25": RtpMap("CelB", 90000), "26": RtpMap("JPEG", 90000), "28": RtpMap("nv", 90000),
    "31": RtpMap("H261", 90000), "32": RtpMap("MPV", 90000), "33": RtpMap("MP2T", 90000), "34": RtpMap("H263", 90000),
}


class Section:
    """The session part or one media part: raw lines without their line feed, which may end in a carriage return."""

    __slots__ = ("ending", "lines")

    def __init__(self, lines: list[str], ending: str) -> None:
        """`ending` is what new lines get before their line feed."""
        self.lines = lines
        self.ending = ending

    def attributes(self, name: str) -> list[str]:
        """The values of every a= line of that name, empty for a flag."""
        flag, valued = f"a={name}", f"a={name}:"
        found = []
        for line in self.lines:
            if line.startswith(valued):
                found.append(line[len(valued):].strip())
            elif line.rstrip() == flag:
                found.append("")
        return found

    def attribute(self, name: str) -> str | None:
        """The value of the first a= line of that name; None if there is none."""
        found = self.attributes(name)
        return found[0] if found else None

    def add_attribute(self, name: str, value: str | None = None) -> None:
        """Adds it at the end of the part. Raises SdpError for what would not stay on one line."""
        text = f"a={name}" if value is None else f"a={name}:{value}"
        self.insert(len(self.lines), _one_line(text))

    def remove_attributes(self, *names: str) -> None:
        """Every a= line of these names."""
        valued, flags = _spellings(names)
        self.lines[:] = [line for line in self.lines if line.rstrip() not in flags and not line.startswith(valued)]

    def value(self, kind: str) -> str | None:
        for line in self.lines:
            if line.startswith(kind):
                return line[2:].strip()
        return None

    def own_address(self) -> str:
        value = self.value("c=")
        words = value.split() if value else []
        return words[2].partition("/")[0] if len(words) >= 3 else ""

    def own_direction(self) -> str | None:
        for line in self.lines:
            if line.startswith("a="):
                name = _DIRECTION_LINES.get(line.rstrip())
                if name is not None:
                    return name
        return None

    def insert(self, place: int, text: str) -> None:
        """A new line; blank lines at the end stay at the end."""
        lines, ending = self.lines, self.ending
        while place > 1 and not lines[place - 1].strip():
            place -= 1
        if place == len(lines) and not lines[-1].endswith(ending):   # the body's last line has no ending
            lines[-1:] = [lines[-1] + ending, text]
        else:
            lines.insert(place, text + ending)

    def replace(self, kind: str, text: str) -> bool:
        """Every line of the kind; False if there is none."""
        found = False
        for index, line in enumerate(self.lines):
            if line.startswith(kind):
                self.lines[index] = text + ("\r" if line.endswith("\r") else "")
                found = True
        return found


class Media(Section):
    """One m= line and what belongs to it. `port` is 0 for a stream that is not wanted."""

    __slots__ = ("_session", "formats", "kind", "port", "proto")

    def __init__(self, lines: list[str], session: Section) -> None:
        """Raises SdpError for an m= line that cannot be read."""
        self.lines = lines
        self.ending = session.ending
        self._session = session
        words = lines[0][2:].split()
        if len(words) < 4:
            raise SdpError("an m= line has less than a kind, a port, a transport and a format")
        if len(words) > MAX_FORMATS + 3:
            raise SdpError(f"an m= line has more than {MAX_FORMATS} formats")
        self.kind = words[0]
        self.port = _port(words[1].partition("/")[0])
        self.proto = words[2]
        self.formats = words[3:]

    @property
    def is_rtp(self) -> bool:
        """Whether it is RTP over UDP, in the clear or not."""
        return self.proto.upper() in RTP_PROFILES

    @property
    def address(self) -> str:
        """Where its sender wants to receive: of this part, else of the session; empty if neither says."""
        return self.own_address() or self._session.own_address()

    @property
    def direction(self) -> str:
        """As its sender sees it; of this part, else of the session, else sendrecv."""
        return self.own_direction() or self._session.own_direction() or SENDRECV

    @property
    def is_held(self) -> bool:
        """Whether its sender does not want to hear the other side (RFC 3264 section 8.4, and RFC 2543's 0.0.0.0)."""
        return self.direction in (SENDONLY, INACTIVE) or self.address in NOWHERE

    @property
    def rtcp_mux(self) -> bool:
        return self.attribute("rtcp-mux") is not None

    @property
    def rtcp_port(self) -> int:
        """a=rtcp's, else the port after RTP's; 0 where there is no stream. Of no interest once a=rtcp-mux is agreed."""
        words = (self.attribute("rtcp") or "").split()
        if words and self.port:
            try:
                return _port(words[0])
            except SdpError:
                pass    # nonsense from a device whose RTP is fine
        return self.port + 1 if 0 < self.port < 65535 else 0

    @property
    def rtcp_address(self) -> str:
        words = (self.attribute("rtcp") or "").split()
        return words[3] if len(words) >= 4 else self.address

    @property
    def ptime(self) -> int | None:
        """Milliseconds of audio in a packet that its sender likes to get; None for none or nonsense."""
        return _digits(self.attribute("ptime") or "", 1000)

    def rtpmap(self) -> dict[str, RtpMap]:
        """What each format stands for, in the order of the m= line. Formats that nobody explains are left out."""
        explained: dict[str, RtpMap] = {}
        for value in self.attributes("rtpmap"):
            payload, _, text = value.partition(" ")
            entry = _rtpmap(text.strip())
            if entry is not None:
                explained.setdefault(payload, entry)
        found = {}
        for payload in self.formats:
            entry = explained.get(payload) or STATIC.get(payload)
            if entry is not None:
                found[payload] = entry
        return found

    def fmtp(self, payload: str) -> str:
        """The parameters of a format; empty if there are none."""
        for value in self.attributes("fmtp"):
            name, _, parameters = value.partition(" ")
            if name == payload:
                return parameters.strip()
        return ""

    def set_port(self, port: int) -> None:
        """0 turns the stream down. Raises SdpError for no port."""
        self.port = _port(str(port))
        self._write()

    def set_formats(self, formats: list[str]) -> None:
        """Leaves those in the m= line; their a= lines are the caller's. Raises SdpError for none or too many."""
        if not 0 < len(formats) <= MAX_FORMATS:
            raise SdpError("an m= line needs a format")
        self.formats = [_one_line(name) for name in formats]
        self._write()

    def set_address(self, host: str) -> None:
        text = connection(host)
        if not self.replace("c=", text):
            place = 2 if len(self.lines) > 1 and self.lines[1].startswith("i=") else 1
            self.insert(place, text)

    def set_direction(self, direction: str) -> None:
        if direction not in DIRECTIONS:
            raise SdpError(f"{direction!r} is no direction")
        self.remove_attributes(*DIRECTIONS)
        self.add_attribute(direction)

    def set_rtcp(self, port: int, host: str | None = None) -> None:
        """Writes a=rtcp where there is one; else the port after RTP's is meant, and a line is added only for another.

        Raises SdpError for no port.
        """
        value = str(_port(str(port)))
        if host is not None:
            value += " " + connection(host).removeprefix("c=")
        if not self.replace("a=rtcp:", f"a=rtcp:{value}") and (port != self.port + 1 or host is not None):
            self.add_attribute("rtcp", value)

    def _write(self) -> None:
        ending = "\r" if self.lines[0].endswith("\r") else ""   # as it was: the last line may have none
        self.lines[0] = f"m={self.kind} {self.port} {self.proto} {' '.join(self.formats)}{ending}"


class Sdp:
    """A whole description: `session` has the lines before the first m=, `media` the parts in their order."""

    __slots__ = ("_tail", "media", "session")

    def __init__(self, session: Section, media: list[Media], tail: str) -> None:
        self.session = session
        self.media = media
        self._tail = tail       # the line feed of the last line, if it has one

    @classmethod
    def parse(cls, data: bytes) -> Sdp:
        """Raises SdpError for what is no SDP, for NUL and stray CR (they hide lines from others), and over the limits.

        Lines may end in LF alone; lines of unknown kinds are kept.
        """
        if len(data) > MAX_SIZE:
            raise SdpError(f"more than {MAX_SIZE} octets")
        text = data.decode("latin-1")
        if not text.startswith("v=0"):
            raise SdpError("no v=0 at the start")
        if "\0" in text:
            raise SdpError("a NUL octet")
        if text.count("\r") != text.count("\r\n") + text.endswith("\r"):
            raise SdpError("a carriage return within a line")
        if text.count("\n") > MAX_LINES:
            raise SdpError(f"more than {MAX_LINES} lines")
        tail = ""
        if text.endswith("\n"):
            tail, text = "\n", text[:-1]
        head, *rest = text.split("\nm=")
        if len(rest) > MAX_MEDIA:
            raise SdpError(f"more than {MAX_MEDIA} m= lines")
        lines = head.split("\n")
        session = Section(lines, "\r" if lines[0].endswith("\r") else "")
        return cls(session, [Media(("m=" + part).split("\n"), session) for part in rest], tail)

    def to_bytes(self) -> bytes:
        """Raises SdpError for characters that an edit brought in and that have no octet (beyond Latin-1)."""
        lines = self.session.lines.copy()
        for media in self.media:
            lines += media.lines
        try:
            return ("\n".join(lines) + self._tail).encode("latin-1")
        except UnicodeEncodeError:
            raise SdpError("a character beyond Latin-1") from None

    @property
    def origin(self) -> str:
        """The o= value; empty if there is none."""
        return self.session.value("o=") or ""

    @property
    def version(self) -> int:
        """The version of the session in o= (RFC 3264 section 8: one more for every new offer); 0 for nonsense."""
        words = self.origin.split()
        return (_digits(words[2], 2**64) or 0) if len(words) > 2 else 0

    @property
    def times(self) -> str:
        """The first t= value, which an answer repeats."""
        return self.session.value("t=") or "0 0"

    def set_origin(self, value: str) -> None:
        text = _one_line(f"o={value}")
        if not self.session.replace("o=", text):
            self.session.insert(1, text)

    def set_address(self, host: str) -> None:
        """Every c= line of the description; the session gets one if there is none at all."""
        text = connection(host)
        found = self.session.replace("c=", text)
        for media in self.media:
            found |= media.replace("c=", text)
        if not found:
            lines = self.session.lines
            self.session.insert(next((i for i, line in enumerate(lines) if line[:2] in _AFTER_C), len(lines)), text)


def connection(host: str) -> str:
    """The c= line of an address. Raises SdpError for what would not stay one word."""
    if not host or len(host.split()) != 1 or host != host.strip():
        raise SdpError(f"{host!r} is no address")
    return f"c=IN {'IP6' if ':' in host else 'IP4'} {_one_line(host)}"


def _one_line(text: str) -> str:
    if "\r" in text or "\n" in text or "\0" in text:
        raise SdpError("a value with a line break or a NUL in it")
    return text


@lru_cache(maxsize=32)
def _spellings(names: tuple[str, ...]) -> tuple[tuple[str, ...], frozenset[str]]:
    return tuple(f"a={name}:" for name in names), frozenset(f"a={name}" for name in names)


def _digits(text: str, limit: int) -> int | None:
    """A decimal number below the limit, in ASCII; None for anything else. Long ones cost nothing."""
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        return None
    number = int(text)
    return number if number < limit else None


def _port(text: str) -> int:
    number = _digits(text, 65536)
    if number is None:
        raise SdpError(f"{text[:20]!r} is no port")
    return number


def _rtpmap(text: str) -> RtpMap | None:
    words = text.split("/")
    if len(words) not in (2, 3) or not words[0]:
        return None
    rate = _digits(words[1], 10**9)
    channels = _digits(words[2], 256) if len(words) == 3 else 1
    return RtpMap(words[0], rate, channels) if rate and channels else None
