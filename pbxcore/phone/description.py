"""A phone's side of offer and answer: one G.711 stream with telephone-events, over the life of a call. Sans I/O.

The rules are in `pbxcore.sip.offer`; here is what has been said and what follows for the audio.
"""

from __future__ import annotations

from typing import NamedTuple

from pbxcore.media import g711
from pbxcore.sip.errors import SipError
from pbxcore.sip.offer import G711, PROFILES, Agreement, Here, agreed, make_offer, negotiate
from pbxcore.sip.sdp import SENDRECV, Media, Sdp, SdpError

CODECS = {"PCMU": g711.PCMU, "PCMA": g711.PCMA}


class Remote(NamedTuple):
    """Where the other side hears us. `codec` is `g711.PCMU` or `PCMA`, `payload_type` its number in packets;
    `event_type` that of telephone-events, None for none."""

    host: str
    port: int
    codec: int
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
        self._wish = SENDRECV
        self._offer: Sdp | None = None     # ours, that was made last
        self._theirs: Media | None = None
        self._agreement: Agreement | None = None

    @property
    def remote(self) -> Remote | None:
        """None before the other side has described itself."""
        found = self._agreement
        if found is None:
            return None
        codec = CODECS[found.codec.name.upper()]
        talks = found.sends and self._wish == SENDRECV   # who holds is silent himself
        return Remote(found.address, found.port, codec, found.payload, found.event_payload, talks)

    @property
    def codec_of(self) -> dict[int, int]:
        """The codec of every payload type that may come."""
        found = self._agreement
        if found is None:
            return {}
        codec = CODECS[found.codec.name.upper()]
        own = {number: number for number in (g711.PCMU, g711.PCMA)}
        return own | {payload: codec for payload in found.receive_payloads if payload not in own}

    @property
    def own_event_type(self) -> int | None:
        """What we receive telephone-events as."""
        return None if self._agreement is None else self._agreement.receive_event_payload

    @property
    def held(self) -> bool:
        """Whether the other side has put us on hold."""
        return self._theirs is not None and self._theirs.is_held

    def offer(self, direction: str) -> bytes:
        self._wish = direction
        self._offer = make_offer(G711, self._here())
        return self._offer.to_bytes()

    def answer(self, offer: bytes) -> bytes:
        """Takes the first audio stream that fits and turns the others down. Raises SipError 400, 488."""
        theirs = _parse(offer)
        ours = negotiate(theirs, G711, self._here())
        self._agree(ours, theirs, answerer=True)
        return ours.to_bytes()

    def accept(self, answer: bytes) -> None:
        """Raises SipError 400, 488 for an answer that leaves no stream."""
        if self._offer is not None:
            self._agree(self._offer, _parse(answer), answerer=False)

    def _here(self) -> Here:
        self._version += 1
        return Here(self._host, self._port, self._session, self._version, self._wish)

    def _agree(self, ours: Sdp, theirs: Sdp, *, answerer: bool) -> None:
        agreement = agreed(ours, theirs, answerer=answerer)
        stream = next((media for media in theirs.media if _is_ours(media)), None)
        if agreement is None or stream is None:
            raise SipError(488, "Not Acceptable Here")
        self._agreement = agreement
        self._theirs = stream


def _is_ours(media: Media) -> bool:
    return media.kind == "audio" and media.port > 0 and media.proto.upper() in PROFILES


def _parse(body: bytes) -> Sdp:
    try:
        return Sdp.parse(body)
    except SdpError as error:
        raise SipError(400, f"Bad SDP: {error}") from error
