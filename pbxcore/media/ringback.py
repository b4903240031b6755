"""The ringing tone that somebody hears who is being transferred, and whose call is answered already (ITU-T E.180).

One second of 425 Hz, four of silence. It is for those who speak G.711 in the clear; whoever does not hears nothing
while it rings.
"""

from __future__ import annotations

from functools import cache

from pbxcore.media import g711, tone
from pbxcore.sip.sdp import Sdp, SdpError

HERTZ = 425.0
ON, OFF = 1.0, 4.0        # seconds
LOUD = 0.15


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
def sound() -> bytes:
    """The tone once, in mu-law."""
    return g711.ulaw_encode(tone.sine(HERTZ, ON, amplitude=LOUD) + tone.silence(OFF))
