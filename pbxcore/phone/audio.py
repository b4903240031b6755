"""A phone's audio on asyncio: one UDP socket a call, G.711 in 20 ms packets, one timer for all calls of the process.

Plays a sound, presses digits (RFC 4733), keeps the last seconds heard, records to WAV, counts loss and jitter. No
jitter buffer and no RTCP: packets are heard in the order of their arrival, which is what a test of an exchange wants
to see.
"""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path

from pbxcore.media import dtmf, g711, rtp, tone, wav
from pbxcore.phone.description import Description, Remote
from pbxcore.sip.errors import SipError

FRAME = 0.02            # seconds
SAMPLES = 160           # in a frame, at 8 kHz
PRESS = 800             # timestamp units a digit is held
PAUSE_FRAMES = 4        # between two digits
MOST_BEHIND = 5         # frames that are made up for when the process was busy; more are skipped and counted
READS = 64              # datagrams a wake-up

_ENCODE = {g711.PCMU: g711.ulaw_encode, g711.PCMA: g711.alaw_encode}
_DECODE = {g711.PCMU: g711.ulaw_decode, g711.PCMA: g711.alaw_decode}


class Sound:
    """Audio to be sent, encoded once for all calls that play it. Plays once or over and over."""

    def __init__(self, pcm: bytes, *, repeat: bool) -> None:
        """`pcm` is 8 kHz, 16 bits, mono; it is filled up with silence to whole frames."""
        self._pcm = pcm + bytes(-len(pcm) % (2 * SAMPLES))
        self._encoded: dict[int, list[bytes]] = {}
        self.repeat = repeat

    @classmethod
    def wav(cls, path: str | Path, *, repeat: bool = True) -> Sound:
        """Raises wav.WavError, OSError."""
        return cls(wav.read(path), repeat=repeat)

    def frames(self, codec: int) -> list[bytes]:
        """20 ms each, in `g711.PCMU` or `PCMA`."""
        frames = self._encoded.get(codec)
        if frames is None:
            data = _ENCODE[codec](self._pcm)
            frames = [data[at : at + SAMPLES] for at in range(0, len(data), SAMPLES)]
            self._encoded[codec] = frames
        return frames


@lru_cache(maxsize=64)
def tone_sound(frequency: int) -> Sound:
    """A tone without end; whole Hz, so that a second of it can be repeated without a click."""
    return Sound(tone.sine(frequency, 1.0), repeat=True)


SILENCE = Sound(tone.silence(FRAME), repeat=True)


class AudioClock:
    """Sends the frames of all calls of a process, every 20 ms, from one timer."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ends: list[AudioEnd] = []
        self._next = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.skipped = 0   # frames not sent because the process was busy for too long

    def add(self, end: AudioEnd) -> None:
        if end not in self._ends:
            self._ends.append(end)
        if self._timer is None:
            self._next = self._loop.time()
            self._timer = self._loop.call_soon(self._tick)  # type: ignore[assignment]  # a Handle is enough to cancel

    def remove(self, end: AudioEnd) -> None:
        if end in self._ends:
            self._ends.remove(end)
        if not self._ends and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = None
        behind = int((self._loop.time() - self._next) / FRAME)
        if behind > MOST_BEHIND:
            self.skipped += behind - MOST_BEHIND
            self._next += (behind - MOST_BEHIND) * FRAME
        for end in self._ends.copy():
            end.tick()
        self._next += FRAME
        if self._ends:
            self._timer = self._loop.call_at(self._next, self._tick)


@dataclass(frozen=True, slots=True)
class AudioReport:
    """What one call's audio came to. `jitter_ms` is RFC 3550 section 6.4.1."""

    sent: int
    received: int
    lost: int
    jitter_ms: float


class AudioEnd:
    """The audio of one call; keeps `pbxcore.phone.listener.MediaEnd`.

    `host` is the address to receive at, `sound` what is played (None: silence), `on_digit` is told every digit heard.
    `keep` is how many seconds of what was heard stay in memory, `record` a WAV file that takes all of it.
    """

    def __init__(
        self,
        clock: AudioClock,
        host: str,
        *,
        sound: Sound | None = None,
        on_digit: Callable[[str], None] | None = None,
        keep: float = 10.0,
        record: str | Path | None = None,
    ) -> None:
        self._clock = clock
        self._host = host
        self._on_digit = on_digit
        self._record = None if record is None else wav.Writer(record)
        self._sock: socket.socket | None = None
        self._description: Description | None = None
        self._started = False
        self._place = 0                  # the next frame of the sound
        self.played_out = asyncio.Event()    # a sound that plays once has been sent to its end
        self.pressed_out = asyncio.Event()   # all digits have been sent
        self._sound = sound or SILENCE
        self._queue: deque[list[dtmf.Frame]] = deque()   # what digits still have to send, a list for every tick
        self._press_start = 0
        self._ssrc = random.getrandbits(32)
        self._sequence = random.getrandbits(15)          # low, so that no count begins with a wrap (RFC 3711 3.3.1)
        self._timestamp = random.getrandbits(32)
        self._reception = rtp.Reception()
        self._digits = dtmf.Receiver()
        self._heard: deque[tuple[int, bytes]] = deque(maxlen=max(1, round(keep / FRAME)))
        self.sent = 0
        self.digits = ""

    # ---- SDP

    def _open(self) -> Description:
        if self._description is None:
            sock = self._sock = _even_socket(self._host)
            sock.setblocking(False)
            asyncio.get_running_loop().add_reader(sock, self._readable)
            self._description = Description(self._host, sock.getsockname()[1], self._ssrc)
        return self._description

    def offer(self, direction: str) -> bytes:
        return self._open().offer(direction)

    def answer(self, offer: bytes) -> bytes:
        return self._open().answer(offer)

    def accept(self, answer: bytes) -> None:
        self._open().accept(answer)

    @property
    def held(self) -> bool:
        return self._description is not None and self._description.held

    @property
    def remote(self) -> Remote | None:
        """Where the other side wants to hear us, and in which format; None before it is known."""
        return None if self._description is None else self._description.remote

    def start(self) -> None:
        if not self._started and self._sock is not None:
            self._started = True
            self._clock.add(self)

    def close(self) -> None:
        self._started = False
        self._clock.remove(self)
        if self._sock is not None:
            asyncio.get_running_loop().remove_reader(self._sock)
            self._sock.close()
            self._sock = None
        if self._record is not None:
            self._record.close()
            self._record = None

    # ---- sending

    def play(self, sound: Sound | None) -> None:
        """Play this from its beginning instead; None is silence."""
        self._sound = sound or SILENCE
        self._place = 0
        self.played_out.clear()

    def press(self, digits: str) -> None:
        """Raises ValueError for what is no digit, and when the other side takes no telephone-events."""
        remote = self.remote
        if remote is None or remote.event_type is None:
            raise ValueError("the other side takes no telephone-events; send digits by INFO")
        frames: list[list[dtmf.Frame]] = []
        for digit in digits.upper():
            tick = 0
            for _, group in groupby(dtmf.press(digit, PRESS, step=SAMPLES), key=lambda frame: frame.wait > 0):
                for frame in group:
                    if frame.wait:
                        frames.append([frame])
                        tick += 1
                    else:
                        frames[-1].append(frame)   # the repeated end goes out with the end
            frames += [[] for _ in range(PAUSE_FRAMES)]
        self._queue.extend(frames)
        self.pressed_out.clear()

    def tick(self) -> None:
        """20 ms have passed: send what is due."""
        remote = self.remote
        if remote is None or not remote.wants_audio:
            return
        if self._queue:
            self._send_digits(remote, self._queue.popleft())
            if not self._queue:
                self.pressed_out.set()
        else:
            self._send_sound(remote)
        self._timestamp += SAMPLES

    def _send_sound(self, remote: Remote) -> None:
        frames = self._sound.frames(remote.codec)
        if self._place >= len(frames):
            if not self._sound.repeat:
                self.played_out.set()
                self._sound, frames = SILENCE, SILENCE.frames(remote.codec)
            self._place = 0
        self._send(remote, remote.payload_type, self._timestamp, frames[self._place], marker=not self.sent)
        self._place += 1

    def _send_digits(self, remote: Remote, frames: list[dtmf.Frame]) -> None:
        for frame in frames:
            if frame.marker:
                self._press_start = self._timestamp
            assert remote.event_type is not None
            timestamp = self._press_start + frame.offset
            self._send(remote, remote.event_type, timestamp, frame.payload, marker=frame.marker)

    def _send(self, remote: Remote, payload_type: int, timestamp: int, payload: bytes, *, marker: bool) -> None:
        packet = rtp.build(payload_type, self._sequence, timestamp, self._ssrc, payload, marker=marker)
        self._sequence += 1
        if self._sock is None:
            return
        try:
            self._sock.sendto(packet, (remote.host, remote.port))
        except OSError:
            return   # a full buffer or nobody there: lost, like any packet
        self.sent += 1

    # ---- hearing

    def _readable(self) -> None:
        sock = self._sock
        now = time.monotonic()
        for _ in range(READS):
            if sock is None or self._sock is None:
                return
            try:
                data = sock.recv(2048)
            except OSError:
                return
            self._reception.update(data, now)
            packet = rtp.parse(data)
            if packet is not None:
                self._hear(packet)

    def _hear(self, packet: rtp.Packet) -> None:
        description = self._description
        if description is None:
            return
        codec = description.codec_of.get(packet.payload_type)
        if codec is not None:
            self._heard.append((codec, packet.payload))
            if self._record is not None:
                self._record.write(_DECODE[codec](packet.payload))
        elif packet.payload_type == description.own_event_type:
            digit = self._digits.receive(packet.ssrc, packet.timestamp, packet.payload)
            if digit is not None:
                self.digits += digit
                if self._on_digit is not None:
                    self._on_digit(digit)

    def forget(self) -> None:
        """What was heard till now does not count for `heard`."""
        self._heard.clear()

    def heard(self, seconds: float = 10.0) -> bytes:
        """The last seconds of what was heard, as 8 kHz 16-bit PCM."""
        frames = list(self._heard)[-max(1, round(seconds / FRAME)) :]
        return b"".join(_DECODE[codec](payload) for codec, payload in frames)

    def share(self, frequency: float, seconds: float = 1.0) -> float:
        """How much of the last seconds' power is at `frequency`, 0..1."""
        return tone.share(self.heard(seconds), frequency)

    @property
    def report(self) -> AudioReport:
        reception = self._reception
        return AudioReport(self.sent, reception.packets, reception.lost, reception.jitter_ms)


def _even_socket(host: str) -> socket.socket:
    """A UDP socket on a free even port (RFC 3550 section 11). Raises SipError 500 when there is none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(32):
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.bind((host, 0))
        except OSError as error:
            sock.close()
            raise SipError(500, f"no audio port on {host}: {error.strerror}") from error
        if sock.getsockname()[1] % 2 == 0:
            return sock
        sock.close()
    raise SipError(500, f"no audio port on {host}")
