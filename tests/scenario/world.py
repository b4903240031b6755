"""A virtual world: one clock, one network, one seed.

Nodes have addresses and speak through flows; a datagram may be lost, doubled, delayed and overtaken, all from one
`random.Random`. Time jumps from event to event, so an hour of ringing takes milliseconds, and the same seed gives the
same run.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass

from pbxcore.net.flow import destination
from pbxcore.sip.errors import ParseError
from pbxcore.sip.layer import Layer
from pbxcore.sip.message import parse
from pbxcore.sip.timers import Timers

Address = tuple[str, int]


@dataclass
class Network:
    """How bad it is: shares of datagrams, and seconds."""

    loss: float = 0.0
    doubled: float = 0.0
    delay: float = 0.001
    jitter: float = 0.0


class VirtualFlow:
    """`pbxcore.sip.layer.Flow` over the virtual network."""

    def __init__(self, world: World, transport: str, local: Address, remote: Address) -> None:
        self.world = world
        self.transport = transport
        self.local = local
        self.remote = remote
        self.closed = False

    @property
    def reliable(self) -> bool:
        return self.transport != "UDP"

    def send(self, data: bytes) -> None:
        if not self.closed:
            self.world.transmit(self, data)


class Node:
    """Something with an address, a transaction layer and timers."""

    def __init__(self, world: World, address: Address, timers: Timers | None = None) -> None:
        self.world = world
        self.address = address
        self.timers = timers or Timers()
        self.layer: Layer
        self.flows: dict[tuple[str, Address], VirtualFlow] = {}
        self.alive = True
        self.late = False       # looks for copies before it reads, as the shell does when messages wait too long
        world.nodes[address] = self

    def flow_to(self, transport: str, host: str, port: int) -> VirtualFlow:
        destination(host, port)  # refuses what the real shell refuses
        key = (transport, (host, port))
        flow = self.flows.get(key)
        if flow is None or flow.closed:
            flow = self.flows[key] = VirtualFlow(self.world, transport, self.address, (host, port))
        return flow

    def receive(self, transport: str, source: Address, data: bytes) -> None:
        if not self.alive:
            return
        flow = self.flow_to(transport, *source)
        copied = self.layer.copied(data) if self.late and not flow.reliable else None
        if copied is not None:
            copied.again(self.world.now)
            return
        try:
            message = parse(data)
        except ParseError as error:
            self.layer.receive_error(error, flow, self.world.now)
            return
        self.layer.receive(message, flow, self.world.now)


class World:
    """Clock, network and nodes."""

    def __init__(self, seed: int = 1, network: Network | None = None) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.network = network or Network()
        self.now = 1000.0
        self.epoch = 1_800_000_000.0
        self.nodes: dict[Address, Node] = {}
        self.wire: list[tuple[float, Address, Address, bytes]] = []  # what was sent, for the ladder
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def clock(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.epoch + self.now

    def token(self) -> str:
        return f"{self.random.getrandbits(96):024x}"

    def at(self, delay: float, action: Callable[[], None]) -> None:
        """Do something `delay` seconds from now."""
        self._count += 1
        heapq.heappush(self._events, (self.now + delay, self._count, action))

    def transmit(self, flow: VirtualFlow, data: bytes) -> None:
        self.wire.append((self.now, flow.local, flow.remote, data))
        network, rng = self.network, self.random
        copies = 1
        if not flow.reliable:
            if rng.random() < network.loss:
                return
            copies = 2 if rng.random() < network.doubled else 1
        for _ in range(copies):
            jitter = 0.0 if flow.reliable else rng.random() * network.jitter
            self.at(network.delay + jitter, lambda: self._deliver(flow, data))

    def _deliver(self, flow: VirtualFlow, data: bytes) -> None:
        node = self.nodes.get(flow.remote)
        if node is not None:
            node.receive(flow.transport, flow.local, data)

    def _next(self) -> float | None:
        times = [event[0] for event in self._events[:1]]
        times += [at for node in self.nodes.values() if (at := node.timers.next_at()) is not None]
        return min(times, default=None)

    def run(self, seconds: float) -> None:
        """Let this much time pass."""
        end = self.now + seconds
        while (at := self._next()) is not None and at <= end:
            self.now = max(self.now, at)
            while self._events and self._events[0][0] <= self.now:
                heapq.heappop(self._events)[2]()
            for node in list(self.nodes.values()):
                if (due := node.timers.next_at()) is not None and due <= self.now:
                    node.timers.fire(self.now)
        self.now = end

    def until(self, condition: Callable[[], bool], seconds: float = 60.0) -> bool:
        """Run until the condition holds; False when it did not within `seconds`."""
        end = self.now + seconds
        while not condition():
            at = self._next()
            if at is None or at > end:
                return False
            self.run(max(0.0, at - self.now))
        return True

    def ladder(self) -> str:
        """Who sent what to whom, a line each: for the message of a failing test."""
        lines = [f"seed {self.seed}"]
        for at, source, to, data in self.wire:
            first = data.split(b"\r\n", 1)[0].decode("utf-8", "replace")
            lines.append(f"{at - 1000.0:9.3f}  {source[0]}:{source[1]} -> {to[0]}:{to[1]}  {first}")
        return "\n".join(lines)
