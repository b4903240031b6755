"""Offer and answer (RFC 3264) for a user agent that ends one audio stream itself: the phone, prompts, mailboxes.

`make_offer` and `negotiate` write descriptions, `agreed` reads what two of them amount to. One codec is answered, the
first of the offer that we can, with its telephone-event (RFC 4733): so nobody changes codecs in the middle of a call.
Every other stream of an offer is turned down with port 0. Not here: keys (SDES, DTLS), ICE, video.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pbxcore.sip.sdp import INACTIVE, NOWHERE, RECVONLY, SENDONLY, SENDRECV, Media, RtpMap, Sdp, SdpError, connection

EVENT = "telephone-event"
PROFILES = ("RTP/AVP", "RTP/AVPF")    # AVPF without feedback is AVP (RFC 4585 section 3.2)
DEFAULT_PTIME = 20

_REVERSED = {SENDRECV: SENDRECV, SENDONLY: RECVONLY, RECVONLY: SENDONLY, INACTIVE: INACTIVE}


@dataclass(frozen=True, slots=True)
class Codec:
    """A format that we can send and receive. `payload` is the number in our own offers; `rate` in Hz."""

    name: str
    payload: int
    rate: int = 8000
    channels: int = 1
    fmtp: str = ""

    @property
    def rtpmap(self) -> RtpMap:
        return RtpMap(self.name, self.rate, self.channels)


PCMU = Codec("PCMU", 0)
PCMA = Codec("PCMA", 8)
EVENTS = Codec(EVENT, 101, fmtp="0-16")
G711 = (PCMU, PCMA, EVENTS)


@dataclass(frozen=True, slots=True)
class Here:
    """Our end of a stream. `session` is one number for the life of a dialog, `version` one more for every change."""

    address: str
    port: int
    session: int
    version: int = 1
    direction: str = SENDRECV
    rtcp_mux: bool = False


@dataclass(frozen=True, slots=True)
class Agreement:
    """What an offer and its answer amount to, seen from our side."""

    codec: RtpMap
    payload: int                # what we write into the packets that we send
    receive_payloads: frozenset[int]   # what may come, telephone-event left out
    event_payload: int | None          # of the telephone-events that we send; None: the other side takes none
    receive_event_payload: int | None
    address: str                # where to send RTP
    port: int
    rtcp_port: int              # the same as `port` with rtcp-mux
    sends: bool
    receives: bool
    ptime: int                  # ms of audio in each packet that we send


def make_offer(codecs: Sequence[Codec], here: Here) -> Sdp:
    """An offer of one audio stream, in the order of `codecs`. Raises SdpError for an address that is none."""
    lines = [f"m=audio {here.port} RTP/AVP {' '.join(str(codec.payload) for codec in codecs)}"]
    for codec in codecs:
        lines += _explained(codec.payload, codec.rtpmap, codec.fmtp)
    lines += _ending(here, here.direction)
    return _description(here, "0 0", lines)


def negotiate(offer: Sdp, codecs: Sequence[Codec], here: Here) -> Sdp:
    """The answer: one m= line for each of the offer's, the first audio that we can taken, the rest with port 0.

    `here.direction` is what we want; the answer never goes beyond what the offer allows. An answer in which every port
    is 0 means 488. Raises SdpError for an address of ours that is none.
    """
    lines: list[str] = []
    taken = False
    for media in offer.media:
        chosen = None if taken else _choose(media, codecs)
        if chosen is None:
            lines.append(f"m={media.kind} 0 {media.proto} {' '.join(media.formats)}")
        else:
            taken = True
            lines += _accepted(media, chosen, here)
    return _description(here, offer.times, lines)


def agreed(local: Sdp, remote: Sdp, *, answerer: bool) -> Agreement | None:
    """What the two descriptions agree on; None if there is no audio stream in both. `answerer`: the answer is ours."""
    answer = local if answerer else remote
    for ours, theirs, final in zip(local.media, remote.media, answer.media, strict=False):
        if ours.kind == theirs.kind == "audio" and ours.port and theirs.port and final.is_rtp:
            found = _agreement(ours, theirs, final)
            if found is not None:
                return found
    return None


def direction_allowed(offered: str, wanted: str) -> str:
    """The answer's direction (RFC 3264 section 6.1): what we want, as far as the offer lets us."""
    allowed = _REVERSED[offered]
    sends = allowed in (SENDRECV, SENDONLY) and wanted in (SENDRECV, SENDONLY)
    receives = allowed in (SENDRECV, RECVONLY) and wanted in (SENDRECV, RECVONLY)
    if sends:
        return SENDRECV if receives else SENDONLY
    return RECVONLY if receives else INACTIVE


def _choose(media: Media, codecs: Sequence[Codec]) -> list[tuple[str, RtpMap, Codec]] | None:
    """The formats of the answer as the offer numbers them: one codec, then its telephone-event; None for none."""
    if media.kind != "audio" or media.port == 0 or media.proto.upper() not in PROFILES:
        return None
    known = {codec.rtpmap.key: codec for codec in codecs}
    found = [(payload, entry, known[entry.key]) for payload, entry in media.rtpmap().items()
             if entry.key in known and _payload(payload) is not None]
    voice = next((row for row in found if row[2].name != EVENT), None)
    if voice is None:
        return None
    event = next((row for row in found if row[2].name == EVENT and row[1].rate == voice[1].rate), None)
    return [voice] if event is None else [voice, event]


def _accepted(media: Media, chosen: list[tuple[str, RtpMap, Codec]], here: Here) -> list[str]:
    lines = [f"m=audio {here.port} {media.proto} {' '.join(payload for payload, _, _ in chosen)}"]
    for payload, entry, codec in chosen:
        lines += _explained(int(payload), entry, codec.fmtp)
    lines += _ending(here, direction_allowed(_offered_direction(media), here.direction), mux=media.rtcp_mux)
    return lines


def _offered_direction(media: Media) -> str:
    """Where the offer names no address to send to (RFC 2543's hold), its sender only sends."""
    if media.address in NOWHERE and media.direction == SENDRECV:
        return SENDONLY
    return media.direction


def _explained(payload: int, entry: RtpMap, fmtp: str) -> list[str]:
    lines = [f"a=rtpmap:{payload} {entry}"]
    if fmtp:
        lines.append(f"a=fmtp:{payload} {fmtp}")
    return lines


def _ending(here: Here, direction: str, *, mux: bool = True) -> list[str]:
    if direction not in _REVERSED:
        raise SdpError(f"{direction!r} is no direction")
    lines = [f"a=ptime:{DEFAULT_PTIME}", f"a={direction}"]
    if here.rtcp_mux and mux:
        lines.append("a=rtcp-mux")
    return lines


def _description(here: Here, times: str, media: list[str]) -> Sdp:
    """An answer repeats the t= line of its offer (RFC 3264 section 6)."""
    c = connection(here.address)
    head = ["v=0", f"o=- {here.session} {here.version} {c.removeprefix('c=')}", "s=-", c, f"t={times}"]
    return Sdp.parse("".join(f"{line}\r\n" for line in head + media).encode("latin-1"))


def _agreement(ours: Media, theirs: Media, final: Media) -> Agreement | None:
    """`final` is the answer's m= line: its first format that both explain is what is spoken."""
    own, other = ours.rtpmap(), theirs.rtpmap()
    mine = {entry.key for entry in own.values()}
    voice = next((entry for entry in final.rtpmap().values()
                  if entry.key in mine and entry.name.lower() != EVENT), None)
    send = None if voice is None else _number(other, voice)
    if voice is None or send is None:
        return None
    events = RtpMap(EVENT, voice.rate)
    mux = ours.rtcp_mux and theirs.rtcp_mux
    reachable = theirs.address not in NOWHERE and theirs.address != ""
    common = {entry.key for entry in other.values()}
    return Agreement(
        codec=voice,
        payload=send,
        receive_payloads=frozenset(
            int(payload) for payload, entry in own.items()
            if entry.key in common and entry.name.lower() != EVENT and _payload(payload) is not None
        ),
        event_payload=_number(other, events) if events.key in mine else None,
        receive_event_payload=_number(own, events) if events.key in common else None,
        address=theirs.address,
        port=theirs.port,
        rtcp_port=theirs.port if mux else theirs.rtcp_port,
        sends=reachable and ours.direction in (SENDRECV, SENDONLY) and theirs.direction in (SENDRECV, RECVONLY),
        receives=ours.direction in (SENDRECV, RECVONLY) and theirs.direction in (SENDRECV, SENDONLY),
        ptime=_ptime(theirs),
    )


def _number(formats: dict[str, RtpMap], wanted: RtpMap) -> int | None:
    for payload, entry in formats.items():
        number = _payload(payload)
        if entry.key == wanted.key and number is not None:
            return number
    return None


def _payload(text: str) -> int | None:
    """A payload type: 7 bits (RFC 3550 section 5.1)."""
    if text.isascii() and text.isdigit() and len(text) <= 3 and int(text) < 128:
        return int(text)
    return None


def _ptime(media: Media) -> int:
    """What the other side asks for, if it is sensible for G.711: whole tens of ms, so that no timer is off."""
    wanted = media.ptime
    return wanted if wanted is not None and 10 <= wanted <= 60 and wanted % 10 == 0 else DEFAULT_PTIME
