"""What becomes of the packets of a party that the exchange itself talks to: keys are told, sound is recorded.

Keys are telephone-events (RFC 4733); tones in the sound are not looked for. Sans I/O but for the file of a recording.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pbxcore.media import dtmf, g711, rtp, wav

RATE = 8000
LONGEST_GAP = 10 * RATE   # samples of silence written for packets that did not come; what is further is a new beginning
DECODERS: dict[int, Callable[[bytes], bytes]] = {g711.PCMU: g711.ulaw_decode, g711.PCMA: g711.alaw_decode}


class Recorder:
    """A WAV file made of one stream of G.711. Gaps are silence, what comes late or twice is left out."""

    def __init__(self, path: str | Path, most: float) -> None:
        """`most` is its length in seconds at most. Raises OSError."""
        self._writer = wav.Writer(path)
        self._left = int(most * RATE)
        self._source = self._next = -1

    def take(self, packet: rtp.Packet) -> bool:
        """Write down a packet; False when nothing more fits."""
        decode = DECODERS.get(packet.payload_type)
        if decode is None or not self._left:
            return bool(self._left)
        gap = 0
        if packet.ssrc == self._source:
            gap = (packet.timestamp - self._next) & 0xFFFFFFFF
            if gap >= 0x80000000:
                return True
            if gap > LONGEST_GAP:
                gap = 0
        self._source, self._next = packet.ssrc, (packet.timestamp + len(packet.payload)) & 0xFFFFFFFF
        pcm = bytes(2 * gap) + decode(packet.payload)
        pcm = pcm[: 2 * self._left]
        self._left -= len(pcm) // 2
        self._writer.write(pcm)
        return self._left > 0

    def close(self) -> float:
        """End the file; its length in seconds."""
        self._writer.close()
        return self._writer.seconds


class Ear:
    """One party's packets. `events` is the payload type of telephone-events in what we were offered."""

    __slots__ = ("_events", "_on_digit", "_on_full", "_receiver", "leg", "recorder")

    def __init__(
        self, leg: str, events: int, on_digit: Callable[[str], None], on_full: Callable[[], None]
    ) -> None:
        """`on_full` is called when a recording has got as long as it may."""
        self.leg = leg
        self.recorder: Recorder | None = None
        self._events = events
        self._on_digit = on_digit
        self._on_full = on_full
        self._receiver = dtmf.Receiver()

    def hear(self, data: bytes) -> None:
        """Takes the place of sending the packet on."""
        if self.recorder is None and data[1] & 0x7F != self._events:
            return
        packet = rtp.parse(data)
        if packet is None:
            return
        if packet.payload_type == self._events:
            digit = self._receiver.receive(packet.ssrc, packet.timestamp, packet.payload)
            if digit is not None:
                self._on_digit(digit)
        elif self.recorder is not None and not self.recorder.take(packet):
            self._on_full()
