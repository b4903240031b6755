"""A call inside a worker: its legs, who is bridged to whom, its statistics.

A leg is written as a text: one media line after the other, separated by ";", each either "-" (disabled) or the words

    local port host rtp-port rtcp-host rtcp-port rate hosts

`local` and `port` name our pair of sockets; RTCP at the very address of RTP is rtcp-mux (RFC 5761); host 0.0.0.0 or ::
sends nothing there (hold, RFC 3264 section 8.4); rate 0 is a stream that is no RTP; `hosts`, separated by ",", may send
from another port or address than the SDP says (NAT).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest

from pbxcore.media.latch import Address
from pbxcore.media.sockets import Pair
from pbxcore.media.stream import Stream

HOLD_HOSTS = ("0.0.0.0", "::")
DISABLED = "-"

Leg = list[Pair | None]
Pairs = Mapping[tuple[str, int], Pair]


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

    def set_leg(self, tag: str, text: str, pairs: Pairs, now: float) -> None:
        """Take what an offer or answer said of one leg; sockets it used before and no longer does are closed."""
        before = self.legs.get(tag, [])
        leg: Leg = []
        for line in text.split(";"):
            leg.append(None if line == DISABLED else _set_line(before, line.split(" "), pairs, now))
        for pair in before:
            if pair is not None and pair not in leg:
                _close(pair)
        self.legs[tag] = leg

    def bridge(self, from_tag: str, to_tag: str) -> None:
        """Join two legs, media line by media line, and cut off whoever they were joined to before."""
        for pair, other in zip_longest(self.legs[from_tag], self.legs[to_tag]):
            for component in (0, 1):
                if pair is not None:
                    pair[component].bridge(other[component] if other is not None else None)
                elif other is not None:
                    other[component].bridge(None)
        self.bridged = from_tag if to_tag == "a" else to_tag

    def cut(self) -> None:
        """Relay nothing more between anybody."""
        for leg in self.legs.values():
            for pair in leg:
                if pair is not None:
                    pair[0].bridge(None)
                    pair[1].bridge(None)

    def drop_leg(self, tag: str) -> None:
        for pair in self.legs.pop(tag, []):
            if pair is not None:
                _close(pair)

    def close(self) -> None:
        self.ended = True
        for tag in list(self.legs):
            self.drop_leg(tag)

    def audio(self) -> Iterator[Stream]:
        """The streams of RTP, not those of RTCP."""
        return (pair[0] for leg in self.legs.values() for pair in leg if pair is not None)

    def _count(self) -> None:
        """Take in what the kernel has relayed."""
        for stream in self.audio():
            if stream.lent is not None:
                stream.lent.count()

    def activity(self) -> int:
        """A number that changes with every packet."""
        self._count()
        return sum(
            stream.reception.packets + stream.reception.other
            for leg in self.legs.values() for pair in leg if pair is not None for stream in pair
        )  # fmt: skip

    def statistics(self) -> str:
        """Packets, octets, lost and jitter in us: from `a`, then from the leg bridged to it."""
        self._count()
        return f"{_statistics(self.legs.get('a', []))} {_statistics(self.legs.get(self.bridged, []))}"


def _set_line(before: Leg, line: list[str], pairs: Pairs, now: float) -> Pair:
    local, port, host, rtp_port, rtcp_host, rtcp_port, rate, hosts = line
    pair = pairs[local, int(port)]
    rtp, rtcp = pair
    if pair not in before:
        clock = int(rate)
        rtp.open(clock)
        rtcp.open(clock)
    if host in HOLD_HOSTS:
        rtp.mute()
        rtcp.mute()
        return pair
    sources = tuple(hosts.split(","))
    remote: Address = (host, int(rtp_port))
    rtcp_remote: Address = (rtcp_host, int(rtcp_port))
    rtp.expect(remote, sources, now)
    if rtcp_remote != remote:
        rtcp.expect(rtcp_remote, sources, now)
    return pair


def _statistics(leg: Leg) -> str:
    receptions = [pair[0].reception for pair in leg if pair is not None]
    if len(receptions) == 1:
        only = receptions[0]
        return f"{only.packets} {only.octets} {only.lost} {int(only.jitter_ms * 1000)}"
    packets = sum(reception.packets for reception in receptions)
    octets = sum(reception.octets for reception in receptions)
    lost = sum(reception.lost for reception in receptions)
    jitter = max((reception.jitter_ms for reception in receptions), default=0.0)
    return f"{packets} {octets} {lost} {int(jitter * 1000)}"


def _close(pair: Pair) -> None:
    pair[0].close()
    pair[1].close()
