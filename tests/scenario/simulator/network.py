"""The network between the exchange and everybody else, with weather: it loses, doubles, delays and reorders
datagrams, cuts addresses off for a while, and breaks streams.

A stream keeps its order and loses nothing while it lives; towards somebody who is not there it breaks after a while,
and both ends are told, as TCP does it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Protocol

from tests.scenario.simulator.clock import START, Universe
from tests.scenario.world import Address, VirtualFlow


@dataclass
class Weather:
    """Shares of datagrams, and seconds. `spike` of them are `spike_seconds` late."""

    loss: float = 0.0
    doubled: float = 0.0
    delay: float = 0.002
    jitter: float = 0.0
    spike: float = 0.0
    spike_seconds: float = 0.0

    @property
    def slowest(self) -> float:
        """Seconds that no datagram takes longer than."""
        return self.delay + self.jitter + (self.spike_seconds if self.spike else 0.0)


class Peer(Protocol):
    """Whoever has an address."""

    alive: bool

    def receive(self, transport: str, source: Address, data: bytes) -> None: ...

    def stream_lost(self, flow: Address) -> None: ...


class Net(Universe):
    """A universe with its network. `kept` is the wire log of a replay, None when nobody reads it."""

    def __init__(self, seed: int, *, keep: bool = False) -> None:
        super().__init__(seed)
        self.weather = Weather()
        self.peers: dict[Address, Peer] = {}
        self.cut: set[Address] = set()
        self.kept: list[str] | None = [] if keep else None
        # What did not arrive, by Call-ID and first word: the one excuse for a call that ends badly.
        self.lost: Counter[tuple[str, str]] = Counter()
        self.touched: Counter[str] = Counter()    # how often anything of a Call-ID was lost
        self._chance = self.chance["net"]
        self._order: dict[tuple[Address, Address], float] = {}   # of a stream: when its last message arrives
        self._breaking: set[tuple[Address, Address]] = set()
        self._broken_before: Counter[tuple[Address, Address]] = Counter()

    def note(self, text: str) -> None:
        """A line of the ladder that is no message."""
        if self.kept is not None:
            self.kept.append(f"{self.now - START:10.4f}  -- {text}")

    def transmit(self, flow: VirtualFlow, data: bytes) -> None:
        self.send(flow.transport, flow.local, flow.remote, data)

    def send(self, transport: str, source: Address, to: Address, data: bytes) -> None:
        self.sent += 1
        if self.kept is not None:
            self.kept.append(f"{self.now - START:10.4f}  {line_of(transport, source, to, data)}")
        weather, rng = self.weather, self._chance
        gone = to in self.cut or source in self.cut
        if transport != "UDP":
            self._stream(transport, source, to, data, gone)
            return
        if gone:
            self._lose(data, "partition", source)
            return
        if weather.loss and rng.random() < weather.loss:
            self._lose(data, "lost", source)
            return
        self.at(self._delay(), self._arrive, transport, source, to, data)
        if weather.doubled and rng.random() < weather.doubled:
            self.done["net: doubled"] += 1
            self.at(self._delay(), self._arrive, transport, source, to, data)

    def _delay(self) -> float:
        weather, rng = self.weather, self._chance
        delay = weather.delay
        if weather.jitter:
            delay += rng.random() * weather.jitter
        if weather.spike and rng.random() < weather.spike:
            self.done["net: delayed"] += 1
            delay += rng.random() * weather.spike_seconds
        return delay

    def _lose(self, data: bytes, why: str, source: Address) -> None:
        self.done[f"net: {why}"] += 1
        call_id, word = known_by(data)
        self.lost[call_id, word] += 1
        self.touched[call_id] += 1
        if self.kept is not None:
            self.kept.append(f"{self.now - START:10.4f}  -- {why}: {word} of {call_id}")

    def _arrive(self, transport: str, source: Address, to: Address, data: bytes) -> None:
        peer = self.peers.get(to)
        if peer is None or not peer.alive:
            call_id, word = known_by(data)
            self.lost[call_id, word] += 1
            self.touched[call_id] += 1
            return
        peer.receive(transport, source, data)

    # ---- streams

    def _stream(self, transport: str, source: Address, to: Address, data: bytes, gone: bool) -> None:
        peer = self.peers.get(to)
        if gone or peer is None or not peer.alive:
            self._lose(data, "stream", source)
            self.break_stream(source, to, 1.0 + self._chance.random() * 20.0)
            return
        at = max(self.now + self.weather.delay, self._order.get((source, to), 0.0))
        self._order[source, to] = at
        pair = (min(source, to), max(source, to))
        self.at(at - self.now, self._flow, pair, self._broken_before[pair], transport, source, to, data)

    def _flow(self, pair: tuple[Address, Address], life: int, transport: str, source: Address, to: Address,
              data: bytes) -> None:  # fmt: skip
        """What was under way when a stream broke is lost with it."""
        if self._broken_before[pair] == life:
            self._arrive(transport, source, to, data)
        else:
            self._lose(data, "stream", source)

    def break_stream(self, one: Address, other: Address, within: float) -> None:
        """Both ends are told after a while, once."""
        pair = (min(one, other), max(one, other))
        if pair not in self._breaking:
            self._breaking.add(pair)
            self.done["net: stream broken"] += 1
            self.at(within, self._broken, pair)

    def _broken(self, pair: tuple[Address, Address]) -> None:
        self._breaking.discard(pair)
        self._broken_before[pair] += 1
        self.note(f"stream {pair[0][0]}:{pair[0][1]} <-> {pair[1][0]}:{pair[1][1]} is lost")
        for mine, other in (pair, pair[::-1]):
            peer = self.peers.get(mine)
            if peer is not None and peer.alive:
                peer.stream_lost(other)


def known_by(data: bytes) -> tuple[str, str]:
    """Call-ID and what it is: the method of a request; of a response `1xx` or `final`, and the method."""
    head = data.partition(b"\r\n\r\n")[0].decode("utf-8", "replace")
    call_id, method = "", ""
    lines = head.split("\r\n")
    for line in lines[1:]:
        name, _, value = line.partition(":")
        if name.lower() == "call-id":
            call_id = value.strip()
        elif name.lower() == "cseq":
            method = value.split()[-1] if value.split() else ""
    if lines[0].startswith("SIP/2.0 "):
        return call_id, f"{'1xx' if lines[0][8:9] == '1' else 'final'} {method}"
    return call_id, lines[0].partition(" ")[0][:10]


def line_of(transport: str, source: Address, to: Address, data: bytes) -> str:
    """A message in one line of a ladder."""
    head = data.partition(b"\r\n\r\n")[0].decode("utf-8", "replace").split("\r\n")
    wanted = {"cseq": "", "call-id": "", "x-sim": ""}
    tag = ""
    for line in head[1:]:
        name, _, value = line.partition(":")
        key = name.strip().lower()
        if key in wanted:
            wanted[key] = value.strip()
        elif key == "to":
            tag = value.partition(";tag=")[2][:6]
    number = f" #{wanted['x-sim']}" if wanted["x-sim"] else ""
    to_tag = f" to={tag}" if tag else ""
    first = "".join(c if c.isprintable() else "?" for c in head[0][:70])
    return (
        f"{source[0]}:{source[1]} -> {to[0]}:{to[1]} {transport} {first} "
        f"[{wanted['cseq']} {wanted['call-id'][:8]}{to_tag}{number}]"
    )
