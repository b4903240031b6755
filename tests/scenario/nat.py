"""Routers of the virtual network that translate addresses.

`Router` stands before phones: each peer that a phone speaks to sees another port of the one public address, and nobody
else gets in there (the strictest kind, RFC 4787 sections 4.1 and 5). `forwarded` is the office's own: what comes to its
external address is the exchange's.
"""

from __future__ import annotations

from pbxcore.net.flow import destination
from pbxcore.net.outside import Outside
from pbxcore.sip.timers import Timers
from tests.scenario.world import Address, Node, VirtualFlow, World


class Hole:
    """A port of a router: what comes in from `peer` is the phone's, all else is dropped and counted."""

    def __init__(self, phone: Node, peer: Address) -> None:
        self.phone = phone
        self.peer = peer
        self.timers = Timers()
        self.dropped = 0

    def receive(self, transport: str, source: Address, data: bytes) -> None:
        if source == self.peer:
            self.phone.receive(transport, source, data)
        else:
            self.dropped += 1


class InnerFlow(VirtualFlow):
    """A phone's flow: it knows its private address, the network sees the router's."""

    def __init__(self, router: Router, transport: str, phone: Node, remote: Address) -> None:
        super().__init__(router.world, transport, phone.address, remote)
        self._router = router
        self._phone = phone

    def send(self, data: bytes) -> None:
        port = self._router.port_of(self._phone, self.remote)
        VirtualFlow(self.world, self.transport, (self._router.public, port), self.remote).send(data)


class Router:
    """A NAT at the address `public`."""

    def __init__(self, world: World, public: str) -> None:
        self.world = world
        self.public = public
        self.holes: dict[tuple[Address, Address], int] = {}
        self._next = 40_000

    def take(self, phone: Node) -> None:
        """From here on this phone is behind the router."""

        def flow_to(transport: str, host: str, port: int) -> VirtualFlow:
            destination(host, port)
            key = (transport, (host, port))
            flow = phone.flows.get(key)
            if not isinstance(flow, InnerFlow):
                flow = phone.flows[key] = InnerFlow(self, transport, phone, (host, port))
            return flow

        phone.flow_to = flow_to  # type: ignore[method-assign]  # of this one
        if self.world.nodes.get(phone.address) is phone:
            self.world.nodes.pop(phone.address)  # a private address: nobody outside reaches it
        self.world.nodes[f"behind {self.public}", phone.address[1]] = phone  # its timers still run

    def port_of(self, phone: Node, peer: Address) -> int:
        key = (phone.address, peer)
        port = self.holes.get(key)
        if port is None:
            port = self.holes[key] = self._next
            self._next += 1
            self.world.nodes[self.public, port] = Hole(phone, peer)  # type: ignore[assignment]  # enough of one
        return port

    def forgets(self) -> None:
        """It was restarted: every hole is closed, and the next ones have other ports."""
        for port in self.holes.values():
            del self.world.nodes[self.public, port]
        self.holes.clear()


def forwarded(node: Node, external: str) -> None:
    """The node is behind a router with this address, which forwards its port; its own network sees its own address."""
    outside, own, port = Outside(external), node.address[0], node.address[1]
    node.world.nodes[external, port] = node

    def flow_to(transport: str, host: str, to: int) -> VirtualFlow:
        destination(host, to)
        key = (transport, (host, to))
        flow = node.flows.get(key)
        if flow is None or flow.closed:
            local = (outside.shown(own, host), port)
            flow = node.flows[key] = VirtualFlow(node.world, transport, local, (host, to))
        return flow

    node.flow_to = flow_to  # type: ignore[method-assign]  # of this one
