"""A phone's side of offer and answer: one G.711 stream with telephone-events (RFC 3264, RFC 4733). Sans I/O."""

from __future__ import annotations

from typing import NamedTuple

from pbxcore.media import g711
from pbxcore.sip.errors import SipError
from pbxcore.sip.sdp import INACTIVE, RECVONLY, SENDONLY, SENDRECV, Media, Sdp, SdpError, connection

EVENT_TYPE = 101
CODECS = {("pcmu", 8000, 1): g711.PCMU, ("pcma", 8000, 1): g711.PCMA}
EVENTS = ("telephone-event", 8000, 1)
NAMES = {g711.PCMU: "PCMU", g711.PCMA: "PCMA"}
NOWHERE = ("", "0.0.0.0", "::")

_SENDS = (SENDRECV, SENDONLY)
_RECEIVES = (SENDRECV, RECVONLY)
_DIRECTION = {(True, True): SENDRECV, (True, False): SENDONLY, (False, True): RECVONLY, (False, False): INACTIVE}


class Remote(NamedTuple):
    """Where the other side hears us. `event_type` is the payload type of its telephone-events, None for none."""

    host: str
    port: int
    payload_type: int
    event_type: int | None
    wants_audio: bool


class Description:
    """Our session description, and what we know of theirs. Our direction is that of our last offer: a hold of ours
    outlasts offers of theirs."""

    def __init__(self, host: str, port: int, session: int) -> None:
        self._host = host
        self._port = port
        self._session = session
        self._version = 0
        self._formats = [g711.PCMU, g711.PCMA]
        self.own_event_type = EVENT_TYPE      # what we receive telephone-events as
        self._ours = SENDRECV
        self._theirs = SENDRECV
        self._far: tuple[str, int, int, int | None] | None = None

    @property
    def remote(self) -> Remote | None:
        """None before the other side has described itself."""
        if self._far is None:
            return None
        host, port, payload_type, event_type = self._far
        hears = self._theirs in _RECEIVES and self._ours == SENDRECV   # who holds is silent himself
        return Remote(host, port, payload_type, event_type, hears and port > 0 and host not in NOWHERE)

    @property
    def held(self) -> bool:
        """Whether the other side has put us on hold."""
        return self._far is not None and (self._theirs in (SENDONLY, INACTIVE) or self._far[0] in NOWHERE)

    def offer(self, direction: str) -> bytes:
        self._ours = direction
        return self._text([self._stream(self._formats, self.own_event_type, direction)]).encode()

    def answer(self, offer: bytes) -> bytes:
        """Takes the first audio stream that fits and turns the others down. Raises SipError 400, 488."""
        sdp = _parse(offer)
        chosen = next((media for media in sdp.media if _fits(media)), None)
        if chosen is None:
            raise SipError(488, "Not Acceptable Here")
        codec, event = self._take(chosen)
        self._formats = [codec]
        self.own_event_type = EVENT_TYPE if event is None else event
        sends = self._ours in _SENDS and self._theirs in _RECEIVES
        receives = self._ours in _RECEIVES and self._theirs in _SENDS
        stream = self._stream([codec], event, _DIRECTION[sends, receives])
        parts = [stream if media is chosen else _refused(media) for media in sdp.media]
        return self._text(parts, sdp.times).encode("latin-1")

    def accept(self, answer: bytes) -> None:
        """Raises SipError 400, 488 for an answer that leaves no stream."""
        chosen = next((media for media in _parse(answer).media if _fits(media)), None)
        if chosen is None:
            raise SipError(488, "Not Acceptable Here")
        self._take(chosen)

    def _take(self, media: Media) -> tuple[int, int | None]:
        codec, event = _codec(media), None
        assert codec is not None
        for payload, entry in media.rtpmap().items():
            if entry.key == EVENTS and payload.isdecimal():
                event = int(payload)
        self._theirs = media.direction
        self._far = (media.address, media.port, codec, event)
        return codec, event

    def _stream(self, formats: list[int], event: int | None, direction: str) -> str:
        names = [*map(str, formats), *([] if event is None else [str(event)])]
        lines = [f"m=audio {self._port} RTP/AVP {' '.join(names)}"]
        lines += [f"a=rtpmap:{codec} {NAMES[codec]}/8000" for codec in formats]
        if event is not None:
            lines += [f"a=rtpmap:{event} telephone-event/8000", f"a=fmtp:{event} 0-15"]
        return "\r\n".join([*lines, "a=ptime:20", f"a={direction}"])

    def _text(self, parts: list[str], times: str = "0 0") -> str:
        self._version += 1
        line = connection(self._host)
        origin = f"o=- {self._session} {self._version} {line.removeprefix('c=')}"
        return "\r\n".join(["v=0", origin, "s=-", line, f"t={times}", *parts, ""])


def _parse(body: bytes) -> Sdp:
    try:
        return Sdp.parse(body)
    except SdpError as error:
        raise SipError(400, f"Bad SDP: {error}") from error


def _codec(media: Media) -> int | None:
    """The first format of theirs that we have; their order is their wish."""
    for payload, entry in media.rtpmap().items():
        codec = CODECS.get(entry.key)
        if codec is not None and payload == str(codec):
            return codec
    return None


def _fits(media: Media) -> bool:
    return media.kind == "audio" and media.port > 0 and media.proto.upper() == "RTP/AVP" and _codec(media) is not None


def _refused(media: Media) -> str:
    return f"m={media.kind} 0 {media.proto} {' '.join(media.formats)}"
