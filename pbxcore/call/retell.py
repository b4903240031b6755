"""A description that one party gave for one peer, as another peer shall get it (RFC 3264, RFC 3725). Pure.

When somebody is transferred, those who remain have described their media already, to somebody else. What they said
then is offered again: held streams wake up, unless it was the party itself who put the other one on hold.
"""

from __future__ import annotations

from contextlib import suppress

from pbxcore.sip.sdp import Media, RtpMap, Sdp, SdpError

_TOLD = ("rtpmap:", "fmtp:", "crypto:", "fingerprint:", "setup:", "rtcp-mux", "ptime:")


def awake(sdp: bytes) -> bytes:
    """The same streams, wanted in both directions but where this party itself holds the other one (RFC 3264 section
    8.4). An SDP that cannot be read stays as it is."""
    with suppress(SdpError):
        read = Sdp.parse(sdp)
        for media in read.media:
            if media.port and media.direction != "sendonly":
                media.set_direction("sendrecv")
        return read.to_bytes()
    return sdp


def alike(one: bytes, other: bytes) -> bool:
    """Whether a peer that knows one of these needs not be told the other: the same formats and keys. Where it is sent
    to does not count, because that is the relay's."""
    with suppress(SdpError):
        return _told(Sdp.parse(one)) == _told(Sdp.parse(other))
    return False


def within(said: bytes, told: bytes) -> bool:
    """Whether whoever was told one description may be sent what the other one says: the same streams, and no format
    that he does not know by that number."""
    with suppress(SdpError):
        ours, theirs = Sdp.parse(told).media, Sdp.parse(said).media
        return len(ours) == len(theirs) and all(map(_fits_into, theirs, ours))
    return False


def _fits_into(media: Media, told: Media) -> bool:
    if not media.port or not told.port:
        return not media.port and not told.port
    known, meant = told.rtpmap(), media.rtpmap()
    alike = all(n in meant and n in told.formats and _same(meant[n], known.get(n)) for n in media.formats)
    return alike and media.kind == told.kind and media.proto == told.proto and media.direction == told.direction


def _told(sdp: Sdp) -> list[tuple[object, ...]]:
    return [
        (
            media.kind, media.proto, bool(media.port), media.formats,
            sorted(line.strip() for line in media.lines if line[:2] == "a=" and line[2:].startswith(_TOLD)),
        )
        for media in sdp.media
    ]  # fmt: skip


def answer(offer: bytes, other: bytes) -> bytes | None:
    """An answer to `offer` with the streams of `other`, which was an offer too: for each stream the formats that both
    mean by the same numbers, with `other`'s address. None when there is no audio in it."""
    try:
        theirs, ours = Sdp.parse(offer), Sdp.parse(other)
    except SdpError:
        return None
    spare = list(ours.media)
    made: list[Media] = []
    for wanted in theirs.media:
        found = next((media for media in spare if _fits(wanted, media)), None)
        if found is None:
            made.append(_refused(wanted, ours))
            continue
        spare.remove(found)
        common = _common(wanted, found)
        found.set_formats(common)
        kept = tuple(f"{name}:{payload}" for payload in found.formats for name in ("a=rtpmap", "a=fmtp"))
        found.lines = [
            line for line in found.lines
            if not line.startswith(("a=rtpmap:", "a=fmtp:")) or line.split(" ", 1)[0].rstrip() in kept
        ]  # fmt: skip
        made.append(found)
    if not any(media.port and media.kind == "audio" for media in made):
        return None
    ours.media = made
    return ours.to_bytes()


def _fits(wanted: Media, media: Media) -> bool:
    alike = wanted.kind == media.kind and wanted.proto == media.proto
    return alike and bool(wanted.port and media.port and _common(wanted, media))


def _common(wanted: Media, media: Media) -> list[str]:
    theirs, ours = wanted.rtpmap(), media.rtpmap()
    common = [payload for payload in media.formats if payload in ours and _same(ours[payload], theirs.get(payload))]
    return common if any(ours[payload].name.lower() != "telephone-event" for payload in common) else []


def _same(one: RtpMap, other: RtpMap | None) -> bool:
    return other is not None and one.key == other.key


def _refused(wanted: Media, ours: Sdp) -> Media:
    return Media([f"m={wanted.kind} 0 {wanted.proto} {' '.join(wanted.formats)}{wanted.ending}"], ours.session)


def holds(sdp: bytes) -> bool:
    """Whether an offer puts the other side on hold (RFC 3264 section 8.4, and RFC 2543's 0.0.0.0)."""
    try:
        media = Sdp.parse(sdp).media
    except SdpError:
        return False
    live = [m for m in media if m.port]
    return bool(live) and all(m.direction in ("sendonly", "inactive") or m.address == "0.0.0.0" for m in live)
