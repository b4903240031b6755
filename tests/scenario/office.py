"""The whole exchange in the virtual world: real SIP, real call logic, with a journal, hooks and a relay that live in
virtual time. What they are told is kept for the assertions."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence

from pbxcore.bus import Bus
from pbxcore.call.exchange import Doors, Exchange
from pbxcore.call.registrar import Binding, BindingStore, Registrar
from pbxcore.call.router import DialPlan, ExtensionEntry, OutboundRule
from pbxcore.call.trunks import Trunk, Trunks
from pbxcore.hooks import CallSnapshot, CallState, Decision, ExplainStep, IncomingCall, StreamStats
from pbxcore.media.backend import KernelState, MediaError, MediaListener
from pbxcore.settings import Sip
from pbxcore.sip.digest import Authenticator, Secret
from tests.scenario.party import Party
from tests.scenario.world import Network, Node, World

EXCHANGE = ("127.0.0.1", 5060)
CARRIER = ("127.0.0.2", 5060)
PASSWORD = "correct horse"


class VirtualJournal:
    """Commits `tick` seconds after the first write that waits, in the order of writing."""

    def __init__(self, world: World, tick: float = 0.003) -> None:
        self.world = world
        self.tick: float | None = tick
        self.written: list[CallSnapshot] = []
        self.merged: list[CallSnapshot] = []
        self.committed: dict[str, CallSnapshot] = {}
        self._pending: dict[str, CallSnapshot] = {}
        self._waiting: list[tuple[str, Callable[[], None]]] = []
        self._scheduled = False

    def write(self, call: CallSnapshot) -> None:
        self.written.append(call)
        self._pending[call.call_id] = call
        if not self._scheduled and self.tick is not None:
            self._scheduled = True
            self.world.at(self.tick, self.commit)

    def merge(self, call: CallSnapshot) -> None:
        self.merged.append(call)
        self._pending.pop(call.call_id, None)
        self.committed.pop(call.call_id, None)

    def commit(self) -> None:
        self._scheduled = False
        self.committed.update(self._pending)
        self._pending.clear()
        waiting, self._waiting = self._waiting, []
        for _, then in waiting:
            then()

    def when_durable(self, call_id: str, then: Callable[[], None]) -> bool:
        if call_id not in self._pending:
            return True
        self._waiting.append((call_id, then))
        return False


class VirtualLoop:
    """As much of an event loop as a future needs, on the world's clock."""

    def __init__(self, world: World) -> None:
        self.world = world

    def get_debug(self) -> bool:
        return False

    def call_soon(self, callback: Callable[..., object], *arguments: object, context: object = None) -> None:
        def run() -> None:
            callback(*arguments)

        self.world.at(0.0, run)

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.Future(loop=self)  # type: ignore[arg-type]  # enough of one
        self.world.at(seconds, lambda: future.set_result(None))
        await future


class VirtualHooks:
    """Answers with what `decide` says: at once, or after `delay` seconds."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.loop = VirtualLoop(world)
        self.delay = 0.0
        self.decide: Callable[[IncomingCall], Decision | None] = lambda call: None
        self.asked: list[IncomingCall] = []
        self.answered: list[CallSnapshot] = []
        self.ended: list[CallSnapshot] = []

    async def on_incoming(self, call: IncomingCall) -> Decision | None:
        self.asked.append(call)
        if self.delay:
            await self.loop.sleep(self.delay)
        return self.decide(call)

    def on_answered(self, call: CallSnapshot) -> None:
        self.answered.append(call)

    def on_ended(self, call: CallSnapshot) -> None:
        self.ended.append(call)

    def explain(self, call_id: str) -> tuple[ExplainStep, ...]:
        return ()

    def decided_by(self, call_id: str) -> str | None:
        return None


class VirtualRelay:
    """Hands out port numbers and rewrites o=, c= and m=; knows which are out. Answers at once, or after `delay`
    seconds as a relay on another machine does; `refuses` says what it will not do ("offer", "answer")."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.loop = VirtualLoop(world)
        self.delay = 0.0
        self.refuses = ""
        self.ports: dict[tuple[str, str], int] = {}
        self.deleted: list[str] = []
        self.bridged: dict[str, str] = {}
        self.ringing: dict[str, str] = {}   # who hears a ringing tone
        self.played: list[tuple[str, tuple[str, ...]]] = []   # call, and the files that its caller heard
        self.recording = ""                 # the file of the recording under way
        self._playing: dict[str, int] = {}  # call -> number of what is being played and has an end
        self._recorded: dict[str, float] = {}   # call -> since when
        self.rang: list[str] = []
        self._next = 20000
        self._listener: MediaListener | None = None

    async def start(self, listener: MediaListener) -> None:
        self._listener = listener

    async def _work(self, what: str, sdp: bytes) -> None:
        if self.delay:
            await self.loop.sleep(self.delay)
        if what == self.refuses or not sdp:
            raise MediaError(f"no {what} today")

    def _rewrite(self, call_id: str, leg: str, sdp: bytes, local: str) -> bytes:
        port = self.ports.get((call_id, leg))
        if port is None:
            port = self.ports[call_id, leg] = self._next
            self._next += 2
        sdp = re.sub(rb"(c=|o=.* )IN IP4 \S+", rb"\1IN IP4 " + local.encode(), sdp)
        return re.sub(rb"m=audio [1-9]\d*", b"m=audio %d" % port, sdp)

    async def offer(
        self, call_id: str, from_leg: str, to_leg: str, sdp: bytes, *, local: str, source: str = ""
    ) -> bytes:
        await self._work("offer", sdp)
        return self._rewrite(call_id, to_leg, sdp, local)

    async def answer(
        self, call_id: str, from_leg: str, to_leg: str, sdp: bytes, *, local: str, source: str = ""
    ) -> bytes:
        await self._work("answer", sdp)
        if to_leg == "a":
            self.bridged[call_id] = from_leg
        return self._rewrite(call_id, to_leg, sdp, local)

    def ring(self, call_id: str, leg: str, sdp: bytes) -> None:
        self.ringing[call_id] = leg
        self.rang.append(leg)

    def quiet(self, call_id: str) -> None:
        self.ringing.pop(call_id, None)

    async def attend(self, call_id: str, leg: str, sdp: bytes, answer: bytes, *, local: str, source: str = "") -> bytes:
        await self._work("attend", sdp)
        return self._rewrite(call_id, leg, answer, local)

    def play(
        self, call_id: str, leg: str, files: Sequence[str], *, payload: int, number: int, repeat: bool = False
    ) -> None:
        self.played.append((call_id, tuple(files)))
        self._playing.pop(call_id, None)
        if not repeat:
            self._playing[call_id] = number

    def ends_playing(self) -> None:
        """What has an end has come to it, in every call."""
        playing, self._playing = self._playing, {}
        for call_id, number in playing.items():
            self.listener.media_played(call_id, number)

    def presses(self, digit: str) -> None:
        """The caller of the newest call presses a key."""
        self.listener.media_digit(self.played[-1][0], digit)

    def listen(self, call_id: str, leg: str, events: int) -> None:
        return

    def record(self, call_id: str, file: str, seconds: float) -> None:
        self.recording = file
        self._recorded[call_id] = self.world.now

    def stop_recording(self, call_id: str) -> None:
        since = self._recorded.pop(call_id, None)
        if since is not None:
            self.recording = ""
            seconds = self.world.now - since
            self.world.at(0.001, lambda: self.listener.media_recorded(call_id, seconds))

    @property
    def listener(self) -> MediaListener:
        assert self._listener is not None
        return self._listener

    def drop_leg(self, call_id: str, leg: str) -> None:
        self.ports.pop((call_id, leg), None)

    def delete(self, call_id: str) -> None:
        self.deleted.append(call_id)
        self.stop_recording(call_id)
        self._playing.pop(call_id, None)
        for key in [key for key in self.ports if key[0] == call_id]:
            del self.ports[key]
        if self._listener is not None:
            self._listener.media_deleted(call_id, StreamStats(), StreamStats())

    def ports_in_use(self) -> int:
        return len(self.ports)

    def kernel(self) -> KernelState:
        return KernelState("nothing is relayed")

    async def close(self) -> None:
        return


class KeptBindings:
    """A binding store that outlives an exchange."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], Binding] = {}

    def put_binding(self, binding: Binding) -> None:
        self.kept[binding.extension, binding.name] = binding

    def drop_binding(self, extension: str, name: str) -> None:
        self.kept.pop((extension, name), None)


def build_exchange(
    node: Node, doors: Doors, bindings: BindingStore, settings: Sip, authenticator: Authenticator | None = None
) -> Exchange:
    """An exchange at this node, in the node's virtual time."""
    world = node.world
    registrar = Registrar(node.timers, clock=world.clock, wall=world.wall, flow_to=node.flow_to, store=bindings)
    return Exchange(
        doors,
        node.timers,
        clock=world.clock,
        wall=world.wall,
        token=world.token,
        flow_to=node.flow_to,
        registrar=registrar,
        authenticator=authenticator or Authenticator(b"k" * 32, world.clock),
        settings=settings,
    )


class Office:
    """An exchange with extensions 101 to 104, a carrier at 127.0.0.2, inbound +15550100 -> 101, outbound 9..."""

    def __init__(self, seed: int = 1, network: Network | None = None, **sip: object) -> None:
        self.world = World(seed, network)
        self.node = Node(self.world, EXCHANGE)
        self.journal = VirtualJournal(self.world)
        self.hooks = VirtualHooks(self.world)
        self.relay = VirtualRelay(self.world)
        self.bindings = KeptBindings()
        self.bus = Bus()
        doors = Doors(self.hooks, self.journal, self.relay, self.bus)
        self.exchange = build_exchange(self.node, doors, self.bindings, Sip.model_validate(sip))
        self.node.layer = self.exchange.layer
        self.relay._listener = self.exchange
        numbers = ("101", "102", "103", "104")
        self.exchange.dial_plan = DialPlan(
            extensions={n: ExtensionEntry(n, f"Desk {n}") for n in numbers},
            inbound={"15550100": "101"},
            outbound=(OutboundRule("9", 1, "", ("carrier",)),),
            trunks=frozenset({"carrier"}),
        )
        self.exchange.secrets = {n: Secret.from_password(n, self.exchange.realm, PASSWORD) for n in numbers}
        self.trunk = Trunk(
            "carrier", "UDP", CARRIER[0], CARRIER[0], CARRIER[1], self.node.flow_to,
            self.world.token, "office", "trunk password", "+15550100", clock=self.world.clock,
        )  # fmt: skip
        self.exchange.trunks = Trunks([self.trunk])

    def phone(self, number: str, port: int = 0, *, transport: str = "UDP", registered: bool = True) -> Party:
        """A phone of this extension, registered."""
        address = ("127.0.0.1", port or 10_000 + int(number))
        phone = Party(self.world, address, number, transport=transport)
        phone.password = PASSWORD
        if registered:
            phone.register(EXCHANGE)
            assert self.world.until(lambda: phone.registered), self.world.ladder()
        return phone

    def carrier(self, user: str = "+15557777") -> Party:
        return Party(self.world, CARRIER, user)

    def records(self) -> list[CallSnapshot]:
        return list(self.journal.committed.values())

    def assert_nothing_left(self) -> None:
        """Invariants 1, 2 and 4: one final record a call, nothing left over 40 s later."""
        self.world.run(40.0)
        exchange, ladder = self.exchange, self.world.ladder
        assert not exchange.live, ladder()
        assert not exchange.dialogs, (exchange.dialogs, ladder())
        assert exchange.layer.server_count() == 0, ladder()
        assert exchange.layer.client_count() == 0, ladder()
        assert self.relay.ports_in_use() == 0, ladder()
        assert exchange.counters.faults == 0, ladder()
        assert self.trunk.calls == 0, ladder()
        for record in self.records():
            assert record.state is CallState.ENDED, ladder()
