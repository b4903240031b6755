"""A call inside a worker: its legs, who is bridged to whom, its statistics. What is told of a leg is in `records`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest

from pbxcore.media.latch import Address
from pbxcore.media.records import Counters, Line, Lines
from pbxcore.media.rtp import Reception
from pbxcore.media.sockets import Pair
from pbxcore.media.stream import Stream

HOLD_HOSTS = ("0.0.0.0", "::")

Leg = list[Pair | None]
Pairs = Mapping[Address, Pair]


class Call:
    """A call that is bridged. `legs` holds a pair of streams (RTP, RTCP) for each media line, None for a disabled one;
    `bridged` names the leg that speaks to `a`. `last` is when a packet was last seen, on the worker's clock;
    `counted` is the activity at `counted_at`, against floods."""

    __slots__ = (
        "bridged", "counted", "counted_at", "ended", "flooded", "hold", "last", "legs", "reported", "seen",
    )  # fmt: skip

    def __init__(self, now: float) -> None:
        self.legs: dict[str, Leg] = {}
        self.bridged = ""
        self.hold = False
        self.seen = 0
        self.last = self.counted_at = now
        self.counted = 0
        self.flooded = False
        self.reported = False
        self.ended = False

    def set_leg(self, tag: str, lines: Lines, pairs: Pairs, now: float) -> None:
        """Take what an offer or answer said of one leg; sockets it used before and no longer does are closed."""
        before = self.legs.get(tag, [])
        leg: Leg = []
        for line in lines:
            leg.append(None if line is None else _set_line(before, line, pairs, now))
        for pair in before:
            if pair is not None and pair not in leg:
                _close(pair)
        self.legs[tag] = leg

    def bridge(self, from_tag: str, to_tag: str) -> None:
        """Join two legs, media line by media line, and cut off whoever they were joined to before."""
        for pair, other in zip_longest(self.legs[from_tag], self.legs[to_tag]):
            if pair is not None and other is not None:
                pair[0].bridge(other[0])
                pair[1].bridge(other[1])
            elif pair is not None or other is not None:
                _cut(pair or other)
        self.bridged = from_tag if to_tag == "a" else to_tag

    def cut(self) -> None:
        """Relay nothing more between anybody."""
        for leg in self.legs.values():
            for pair in leg:
                _cut(pair)

    def drop_leg(self, tag: str) -> None:
        for pair in self.legs.pop(tag, []):
            if pair is not None:
                _close(pair)

    def close(self) -> None:
        self.ended = True
        for tag in [*self.legs]:
            self.drop_leg(tag)

    def audio(self) -> Iterator[Stream]:
        """The streams of RTP, not those of RTCP."""
        return (pair[0] for leg in self.legs.values() for pair in leg if pair is not None)

    def activity(self) -> int:
        """A number that changes with every packet."""
        total = 0
        for leg in self.legs.values():
            for pair in leg:
                if pair is not None:
                    rtp, rtcp = _counted(pair[0]), pair[1].reception
                    total += rtp.packets + rtp.other + rtcp.packets + rtcp.other
        return total

    def statistics(self) -> tuple[Counters, Counters]:
        """What came from `a`, then from the leg bridged to it."""
        return _statistics(self.legs.get("a", [])), _statistics(self.legs.get(self.bridged, []))


def _set_line(before: Leg, line: Line, pairs: Pairs, now: float) -> Pair:
    ours, remote, rtcp_remote, rate, hosts = line
    pair = pairs[ours]
    rtp, rtcp = pair
    if pair not in before:
        rtp.open(rate)
        rtcp.open(rate)
    if remote[0] in HOLD_HOSTS:
        rtp.mute()
        rtcp.mute()
        return pair
    rtp.expect(remote, hosts, now)
    if rtcp_remote != remote:
        rtcp.expect(rtcp_remote, hosts, now)
    return pair


def _counted(stream: Stream) -> Reception:
    """With what the kernel has relayed."""
    if stream.lent is not None:
        stream.lent.count()
    return stream.reception


def _statistics(leg: Leg) -> Counters:
    packets = octets = lost = 0
    jitter = 0.0
    for pair in leg:
        reception = None if pair is None else _counted(pair[0])
        if reception is not None and reception.packets:
            packets += reception.packets
            octets += reception.octets
            lost += reception.lost
            jitter = max(jitter, reception.jitter_ms)
    return (packets, octets, lost, int(jitter * 1000)) if packets else ()


def _cut(pair: Pair | None) -> None:
    if pair is not None:
        pair[0].bridge(None)
        pair[1].bridge(None)


def _close(pair: Pair) -> None:
    pair[0].close()
    pair[1].close()
