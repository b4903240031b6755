"""Sound for one party, as RTP of G.711 in packets of 20 ms (RFC 3550, RFC 3551). Sans I/O: the worker asks what is due.

Sounds are octets of mu-law, as prompts are kept; whoever speaks A-law gets them translated. One after the other they
are one stream: numbers go on, and time too, so that a pause is a pause and no loss.
"""

from __future__ import annotations

from pbxcore.media import g711, rtp

PACKET = 0.02             # seconds
SAMPLES = 160
BEHIND = 5                # packets sent at most at once after a stall


class Player:
    """What `leg` hears, from `now` on; `ssrc` is its source. `number` is the sound that is being played."""

    __slots__ = ("_began", "_first", "_repeat", "_sequence", "_slot", "_sound", "_ssrc", "leg", "number", "payload")

    def __init__(self, leg: str, payload: int, ssrc: int, now: float) -> None:
        self.leg = leg
        self.payload = payload
        self.number = 0
        self._ssrc = ssrc
        self._began = now
        self._slot = 0            # of 20 ms each, since it began; the next to be sent
        self._first = 0           # the slot at which the sound begins
        self._sequence = 0
        self._sound = b""
        self._repeat = False

    def play(self, sound: bytes, now: float, *, number: int = 0, repeat: bool = False) -> None:
        """From now on this, whatever was played before."""
        self._sound = g711.ulaw_to_alaw(sound) if self.payload == g711.PCMA else sound
        self._repeat = repeat
        self.number = number
        self._first = self._slot = max(self._slot, int((now - self._began) / PACKET))

    @property
    def playing(self) -> bool:
        return bool(self._sound)

    def due(self, now: float) -> list[bytes]:
        """The packets whose time has come. The last of a sound is filled up with silence; then it plays no more."""
        want = int((now - self._began) / PACKET) + 1
        first = max(self._slot, want - BEHIND)
        self._slot = max(self._slot, want)
        return [packet for slot in range(first, want) if (packet := self._packet(slot))]

    def _packet(self, slot: int) -> bytes:
        length = len(self._sound)
        start = (slot - self._first) * SAMPLES
        if self._repeat and length:
            start %= length + -length % SAMPLES
        piece = self._sound[start : start + SAMPLES]
        if not piece:
            self._sound = b""
            return b""
        if len(piece) < SAMPLES:
            piece = piece.ljust(SAMPLES, g711.SILENCE_ALAW if self.payload == g711.PCMA else g711.SILENCE_ULAW)
        packet = rtp.build(
            self.payload, self._sequence, slot * SAMPLES, self._ssrc, piece, marker=slot == self._first
        )
        self._sequence += 1
        return packet
