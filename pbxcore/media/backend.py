"""What the call logic asks of a media relay, in the verbs of rtpengine's ng protocol.

Two rooms keep this protocol: `relay` (our own worker processes) and `rtpengine` (a daemon). Legs are named by labels
that live as long as the call: `a` is the caller's leg, every branch has its own (`b1`, `b2`, ...).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pbxcore.hooks import StreamStats


class MediaError(Exception):
    """The relay cannot serve this offer: no ports left, an unusable SDP, a dead worker. The message says which.

    `status` is what a caller is told: another offer might have gone (RFC 3261 section 21.4.26)."""

    status = 488


class NoRoom(MediaError):
    """No fault of the offer: the relay cannot take another call just now (section 21.5.4)."""

    status = 503


SWITCHED_OFF = "it is switched off"
RTPENGINE = "rtpengine has a kernel module of its own"


@dataclass(frozen=True, slots=True)
class KernelState:
    """What the kernel relays in place of the workers, some seconds ago. `refusal` says why it is nothing, and is empty
    where it may; one stream is one direction."""

    refusal: str
    streams: int = 0
    packets: int = 0


def itself(address: str) -> str:
    """Where packets come in that are sent to an address of ours, without a NAT router before us."""
    return address


class MediaListener(Protocol):
    """Who is told what the relay saw."""

    def media_timed_out(self, call_id: str) -> None:
        """Neither side has sent RTP or RTCP for the time-out set; streams on hold do not count. Early media does:
        a call that still rings may be told of.

        A call whose media was cut off because it sent far more than media can be (a loop, an attack) ends so too.
        """
        ...

    def media_lost(self, call_id: str) -> None:
        """The worker that relayed this call is gone."""
        ...

    def media_deleted(self, call_id: str, from_a: StreamStats, from_b: StreamStats) -> None:
        """The last word on a call after `delete`: what was received from the caller and from the party he spoke to."""
        ...

    def media_played(self, call_id: str, number: int) -> None:
        """The sounds of that number have been played to their end."""
        ...

    def media_digit(self, call_id: str, digit: str) -> None:
        """The party that is listened to has pressed a key."""
        ...

    def media_recorded(self, call_id: str, seconds: float) -> None:
        """The recording has ended and its file is whole: it was stopped, got too long, or the call is over."""
        ...


class MediaBackend(Protocol):
    """A relay. `offer` and `answer` return at once when ports are at hand; where they must wait they await plain
    futures, each with a deadline, so that they can be driven outside any asyncio task.

    `local` is the IP address of ours that the party who gets the rewritten SDP can reach: a local one, or where a NAT
    router stands before us, the one that it forwards from. `source` is the IP address
    that the SDP was signalled from: besides the address in the SDP itself it is the only one whose RTP is accepted,
    which is how a phone behind NAT is heard (its SDP names a private address). Empty: the SDP's address alone.
    """

    async def start(self, listener: MediaListener) -> None: ...

    async def offer(
        self, call_id: str, from_leg: str, to_leg: str, sdp: bytes, *, local: str, source: str = ""
    ) -> bytes:
        """The offer of `from_leg` as `to_leg` shall see it. A later offer of the same pair keeps its ports.

        An offer changes nothing for media that flows already: a re-INVITE that fails leaves it as it was.

        Raises MediaError.
        """
        ...

    async def answer(
        self, call_id: str, from_leg: str, to_leg: str, sdp: bytes, *, local: str, source: str = ""
    ) -> bytes:
        """The answer of `from_leg` to an offer of `to_leg`, as `to_leg` shall see it; bridges the two.

        Media of an earlier answer (another branch's early media) is cut off. Raises MediaError.
        """
        ...

    def drop_leg(self, call_id: str, leg: str) -> None:
        """A branch lost: give its ports back."""
        ...

    def ring(self, call_id: str, leg: str, sdp: bytes) -> None:
        """Let this party hear a ringing tone, until `quiet` or the next answer: whom it is to be connected to is rung.
        `sdp` is what it has said last; where that names nothing that can be sent, nothing is."""
        ...

    def quiet(self, call_id: str) -> None:
        """No ringing tone any more, nor any other sound."""
        ...

    async def attend(self, call_id: str, leg: str, sdp: bytes, answer: bytes, *, local: str, source: str = "") -> bytes:
        """Talk to this party ourselves: `sdp` is its offer and `answer` ours, with any address and port; the answer
        is returned as the party shall see it. Whoever it was bridged to is cut off. A later `answer` of another leg
        ends it. Raises MediaError."""
        ...

    def play(
        self, call_id: str, leg: str, files: Sequence[str], *, payload: int, number: int, repeat: bool = False
    ) -> None:
        """Play these files of mu-law at 8 kHz to a party, instead of what it hears now; `payload` is its kind of G.711.
        `media_played` tells their end by `number`, which is not 0."""
        ...

    def listen(self, call_id: str, leg: str, events: int) -> None:
        """Tell the keys of a party that is attended to (`media_digit`), in this payload type (RFC 4733)."""
        ...

    def record(self, call_id: str, file: str, seconds: float) -> None:
        """Record the party that is listened to into a WAV file, for so long at most; `media_recorded` follows."""
        ...

    def stop_recording(self, call_id: str) -> None: ...

    def delete(self, call_id: str) -> None:
        """The call is over; unknown calls are ignored. `media_deleted` follows with the counters."""
        ...

    def ports_in_use(self) -> int: ...

    def kernel(self) -> KernelState:
        """Known once it has started."""
        ...

    async def close(self) -> None: ...
