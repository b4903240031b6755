"""Phones on a wire that is a list, under a clock that is a number: no socket, no waiting."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from pbxcore.phone.agent import PhoneAgent, Phones
from pbxcore.phone.call import PhoneCall
from pbxcore.phone.listener import PhoneListener, Silent
from pbxcore.sip.layer import Layer
from pbxcore.sip.message import Request, Response, parse
from pbxcore.sip.timers import Timers
from pbxcore.sip.uri import Uri

Address = tuple[str, int]


class FakeFlow:
    """One direction of a UDP path."""

    transport = "UDP"
    reliable = False
    closed = False

    def __init__(self, world: World, local: Address, remote: Address) -> None:
        self.world, self.local, self.remote = world, local, remote

    def send(self, data: bytes) -> None:
        self.world.wire.append((self.local, self.remote, data))


class World:
    """Hosts at addresses; what is sent arrives when `run` is called, or is lost when `lose` says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.wire: list[tuple[Address, Address, bytes]] = []
        self.seen: list[str] = []
        self.layers: dict[Address, Layer] = {}
        self.lose: Callable[[Request | Response], bool] = lambda message: False
        self._numbers = itertools.count(1)
        self.timers = Timers()

    def token(self) -> str:
        return f"t{next(self._numbers):07d}"

    def clock(self) -> float:
        return self.now

    def host(self, port: int, user: Any = None) -> Layer:
        phones = user or Phones()
        layer = Layer(phones, self.timers, self.clock, self.token)
        phones.layer = layer
        self.layers["10.0.0.1", port] = layer
        return layer

    def flow(self, local: int, remote: int) -> FakeFlow:
        return FakeFlow(self, ("10.0.0.1", local), ("10.0.0.1", remote))

    def phone(self, name: str, port: int, *, registrar: int | None = None, password: str = "") -> Listening:
        layer = self.layers.get(("10.0.0.1", port)) or self.host(port)
        phones = layer.user
        assert isinstance(phones, Phones)
        listener = Listening()
        listener.agent = PhoneAgent(
            phones, self.timers, self.clock, self.token, aor=f"sip:{name}@10.0.0.1", listener=listener,
            media=lambda call: Ear(), route=lambda uri: self.flow(port, Uri.parse(uri).port or 5060), password=password,
            registrar=None if registrar is None else lambda: self.flow(port, registrar),
        )  # fmt: skip
        return listener

    def run(self, seconds: float = 0.0) -> None:
        """Deliver what is on the wire, and let time pass; everything that becomes due in it happens."""
        end = self.now + seconds
        while True:
            self._deliver()
            following = self.timers.next_at()
            if following is None or following > end:
                break
            self.now = max(self.now, following)
            self.timers.fire(self.now)
        self.now = end

    def _deliver(self) -> None:
        while self.wire:
            source, target, data = self.wire.pop(0)
            message = parse(data)
            self.seen.append(_name(message))
            layer = self.layers.get(target)
            if layer is not None and not self.lose(message):
                layer.receive(message, FakeFlow(self, target, source), self.now)

    def said(self) -> list[str]:
        """What was sent since the last time, as `INVITE`, `180 INVITE`."""
        said, self.seen = self.seen, []
        return said


def _name(message: Request | Response) -> str:
    return message.method if isinstance(message, Request) else f"{message.status} {message.cseq.method}"


class Ear(Silent):
    """Media that remembers what it was told."""

    def __init__(self) -> None:
        super().__init__("10.0.0.1", 4000)
        self.started = self.closed = False
        self.pressed = ""

    def start(self) -> None:
        self.started = True

    def press(self, digits: str) -> None:
        self.pressed += digits

    def close(self) -> None:
        self.closed = True


class Listening(PhoneListener):
    """Keeps what it is told."""

    agent: PhoneAgent

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []
        self.calls: list[PhoneCall] = []

    @property
    def call(self) -> PhoneCall:
        return self.calls[-1]

    @property
    def ear(self) -> Ear:
        media = self.call.media
        assert isinstance(media, Ear)
        return media

    def dial(self, target: str, **options: Any) -> PhoneCall:
        self.calls.append(self.agent.call(target, **options))
        return self.call

    def on_registered(self, agent: PhoneAgent, seconds: float) -> None:
        self.heard.append(("registered", seconds))

    def on_registration_failed(self, agent: PhoneAgent, status: int, reason: str) -> None:
        self.heard.append(("refused", status))

    def on_incoming(self, call: PhoneCall) -> None:
        self.calls.append(call)
        self.heard.append(("incoming", call.number))

    def on_progress(self, call: PhoneCall, status: int) -> None:
        self.heard.append(("progress", status))

    def on_answered(self, call: PhoneCall) -> None:
        self.heard.append(("answered",))

    def on_held(self, call: PhoneCall, held: bool) -> None:
        self.heard.append(("held", held))

    def on_hold_done(self, call: PhoneCall, status: int) -> None:
        self.heard.append(("hold done", status))

    def on_dtmf(self, call: PhoneCall, digit: str) -> None:
        self.heard.append(("digit", digit))

    def on_transfer(self, call: PhoneCall, status: int, reason: str) -> None:
        self.heard.append(("transfer", status))

    def on_message(self, agent: PhoneAgent, sender: str, text: str) -> None:
        self.heard.append(("message", sender, text))

    def on_ended(self, call: PhoneCall) -> None:
        self.heard.append(("ended", call.status, call.ended_by))
