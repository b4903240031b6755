"""What a recording of a call says: how long it sounds, and whether by the one tone alone."""

from __future__ import annotations

from pbxcore.media import tone

WINDOW = 2 * tone.RATE // 10    # bytes: 0.1 s
SILENT = 0.01
PURE = 0.95


def sounding(pcm: bytes) -> list[bytes]:
    """The tenths of a second that are not silent."""
    parts = [pcm[at : at + WINDOW] for at in range(0, len(pcm) - WINDOW + 1, WINDOW)]
    return [part for part in parts if tone.level(part) > SILENT]


def purity(pcm: bytes, hertz: int) -> float:
    """Share of the sounding tenths that hold this tone and nothing else; 0 for silence. Where audio starts and stops a
    tenth is torn, so a good call with a hold in it comes to 0.9 or so."""
    parts = sounding(pcm)
    return sum(tone.share(part, hertz) > PURE for part in parts) / len(parts) if parts else 0.0
