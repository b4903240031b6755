"""The ringing tone that somebody hears who is being transferred, and whose call is answered already (ITU-T E.180).

One second of 425 Hz, four of silence, as RTP of G.711 (RFC 3550, RFC 3551). Sans I/O: the worker asks for what is due.
It is for those who speak G.711 in the clear; whoever does not hears nothing while it rings.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from pbxcore.media import g711, rtp, tone, wav
from pbxcore.sip.sdp import Sdp, SdpError

HERTZ = 425.0
ON, WHOLE = 50, 250       # packets
PACKET = 0.02             # seconds
SAMPLES = 160
LOUD = 0.15
ENCODERS: dict[int, Callable[[bytes], bytes]] = {0: g711.ulaw_encode, 8: g711.alaw_encode}


def payload_for(sdp: bytes) -> int | None:
    """The first kind of G.711 that this description takes; None when there is none in the clear."""
    try:
        media = next((m for m in Sdp.parse(sdp).media if m.kind == "audio" and m.port), None)
    except SdpError:
        return None
    if media is None or media.proto.upper() not in ("RTP/AVP", "RTP/AVPF"):
        return None
    return next((int(name) for name in media.formats if name in ("0", "8")), None)


@cache
def _frames(payload: int) -> tuple[bytes, ...]:
    encode = ENCODERS[payload]
    silence = encode(tone.silence(PACKET))
    sounding = [encode(tone.sine(HERTZ, PACKET, amplitude=LOUD, start=n * SAMPLES)) for n in range(ON)]
    return (*sounding, *[silence] * (WHOLE - ON))


class Ringback:
    """The tone for one party, from `now` on; `ssrc` is its source. Who sends it is the caller's business."""

    __slots__ = ("_began", "_payload", "_sent", "_ssrc", "leg")

    def __init__(self, leg: str, payload: int, ssrc: int, now: float) -> None:
        self.leg = leg
        self._payload = payload
        self._ssrc = ssrc
        self._began = now
        self._sent = 0

    def due(self, now: float) -> list[bytes]:
        """The packets whose time has come; after a stall not all of them at once."""
        want = int((now - self._began) / PACKET) + 1
        first = max(self._sent, want - 5)
        self._sent = want
        frames = _frames(self._payload)
        return [
            rtp.build(
                self._payload, n & 0xFFFF, (n * SAMPLES) & 0xFFFFFFFF, self._ssrc, frames[n % WHOLE], marker=n == 0
            )
            for n in range(first, want)
        ]


@cache
def recording() -> bytes:
    """The tone once as a WAV file, for a relay that plays files."""
    pcm = tone.sine(HERTZ, ON * PACKET, amplitude=LOUD) + tone.silence((WHOLE - ON) * PACKET)
    return wav.encode(pcm)
