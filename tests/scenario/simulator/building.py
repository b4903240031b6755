"""The exchange of a simulated office: made as `pbxcore.app` makes it, killed, and made anew from what was durable.

Real: SIP, calls, registrar, runner, embedded CRM, journal, store. Virtual: time, the network, the relay's ports, the
CRMs behind the hooks, and when the disk is done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from crmhooks.connector import Hook
from crmhooks.embedded.desk import EmbeddedCrm
from crmhooks.runner import Runner
from pbxcore.app import RELEASE_SECONDS, KeptBindings, KeptTexts
from pbxcore.bus import Bus
from pbxcore.call.b2bua import LiveCall
from pbxcore.call.exchange import Doors, Exchange
from pbxcore.call.keeper import TrunkKeeper
from pbxcore.call.panel import Control
from pbxcore.call.registrar import Registrar
from pbxcore.call.registration import Tools
from pbxcore.call.router import DialPlan, ExtensionEntry, OutboundRule, emergency_numbers
from pbxcore.call.trunks import Trunk, Trunks
from pbxcore.control import Invalid, NotFound
from pbxcore.hooks import CallSnapshot, Decision
from pbxcore.media.backend import MediaError
from pbxcore.net.resolver import Watch
from pbxcore.settings import Sip
from pbxcore.sip.digest import Authenticator, Secret
from pbxcore.sip.errors import ParseError
from pbxcore.sip.location import Question
from pbxcore.sip.message import parse
from pbxcore.sip.timers import Timers
from tests.scenario.office import EXCHANGE, PASSWORD, VirtualRelay, build_exchange
from tests.scenario.simulator.clock import raised
from tests.scenario.simulator.disk import Cabinet, Disk, SteppedStore
from tests.scenario.simulator.network import Net
from tests.scenario.world import Address, Node, VirtualFlow

CARRIERS = {"carrier": ("127.0.0.2", 5060), "backup": ("127.0.0.3", 5060)}
NUMBERS = ("101", "102", "103", "104", "105")
BUDGET = 0.3
FOR_HELP = ("911", "112")
MEDIA_LOOK = 30.0       # seconds; two of them are `media.timeout_seconds`
SECRETS = {number: Secret.from_password(number, "hookline", PASSWORD) for number in NUMBERS}
SIP = Sip()
BRIEF = Sip(session_seconds=90)


class ExchangeNode(Node):
    """The exchange's address: what `net.endpoint` is on real sockets."""

    world: Net
    registrar: Registrar

    def __init__(self, net: Net) -> None:
        super().__init__(net, EXCHANGE, Timers())
        net.peers[EXCHANGE] = self

    def receive(self, transport: str, source: Address, data: bytes) -> None:
        flow = self.flow_to(transport, *source)
        copied = None if flow.reliable else self.layer.copied(data)
        if copied is not None:
            copied.again(self.world.now)
            return
        try:
            message = parse(data)
        except ParseError as error:
            self.layer.receive_error(error, flow, self.world.now)
            return
        self.layer.receive(message, flow, self.world.now)

    def flow_to(self, transport: str, host: str, port: int) -> VirtualFlow:
        flow = self.flows.get((transport, (host, port)))
        if flow is None or flow.closed:
            flow = super().flow_to(transport, host, port)
            flow.closed = not self.alive   # what is left of a killed process reaches nobody
        return flow

    def stream_lost(self, other: Address) -> None:
        for flow in [flow for (_, remote), flow in self.flows.items() if remote == other and flow.reliable]:
            flow.closed = True
            self.layer.flow_lost(flow)
            self.registrar.flow_lost(flow)


class Relay(VirtualRelay):
    """The relay with moods: `sulks` is the share of offers and answers that it refuses."""

    def __init__(self, net: Net) -> None:
        super().__init__(net)
        self.loop = net.loop  # type: ignore[assignment]  # as much of a loop as it asks for
        self.net = net
        self.sulks = 0.0

    async def _work(self, what: str, sdp: bytes) -> None:
        if self.sulks and self.net.chance["world"].random() < self.sulks:
            self.net.done["relay: refused"] += 1
            raise MediaError("no port is free")
        await super()._work(what, sdp)


class Nowhere:
    """Instead of the DNS: the carriers' addresses are known."""

    def watch(self, question: Question, told: Callable[[], None] | None = None) -> Watch:
        raise NotImplementedError("no trunk has a name to look up")


class Witness(dict[str, LiveCall]):
    """`Exchange.live`, which remembers every call that was ever in it: id, and the simulated call's number."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, str] = {}

    def __setitem__(self, call_id: str, call: LiveCall) -> None:
        self.seen[call_id] = call.a.invite.first("x-sim") or ""
        super().__setitem__(call_id, call)


class Building:
    """The exchange, whichever of its lives it is in."""

    node: ExchangeNode
    exchange: Exchange
    runner: Runner
    store: SteppedStore
    relay: Relay

    def __init__(
        self, net: Net, cabinet: Cabinet, hooks: list[tuple[Hook, float]], talking: Callable[[str], bool]
    ) -> None:
        """`talking` says whether anybody is in a simulated call, by its number."""
        self.net, self.cabinet, self.hooks, self.talking = net, cabinet, hooks, talking
        self.disk = Disk(net)
        self.alive = False
        self.lives = 0
        self.killed_at: list[float] = []
        self.seen: dict[str, str] = {}       # every call of every life: id, number
        self.forgiven: set[str] = set()      # calls that a kill took before they were durable
        self.late = 0                        # answers that did not wait for the journal any longer
        self.trunks: list[Trunk] = []
        self.max_calls = 0                   # of a trunk
        short = net.chance["world"].random() < 0.3
        self.sip = BRIEF if short else SIP   # sessions are refreshed in the middle of a call, or hardly ever
        self.stopped: Callable[[int], None] = lambda life: None
        self.merged: set[str] = set()        # calls that became a part of another
        self.reasons: list[str] = []         # of the faults in calls
        cabinet.emptied()
        self.start()

    def start(self) -> None:
        """As `App.start` does it, in its order."""
        net = self.net
        self.lives += 1
        self.node = node = ExchangeNode(net)
        net.timers = node.timers
        self.store = store = self.cabinet.store(self.disk)
        store.start_on(net.loop)
        bus = Bus()
        crm = EmbeddedCrm(store, bus, "US", clock=net.wall, token=net.token)
        crm.load()
        if self.lives > 1:
            net.loop.create_task(crm.journal.close_interrupted())
        self.runner = Runner(
            crm, bus, hooks=self.hooks, budget=BUDGET, country="US", clock=net.clock, wall=net.wall,
            annotate=crm.journal.annotate, learned=self._learned,
        )  # fmt: skip
        self.relay = Relay(net)
        bindings = KeptBindings(store)
        doors = Doors(self.runner, crm.journal, self.relay, bus)
        authenticator = Authenticator(b"k" * 32, net.clock, algorithms=("MD5",))
        self.exchange = exchange = build_exchange(node, doors, bindings, self.sip, authenticator)
        exchange.live = self.witness = Witness()
        lamps: Any = exchange.events.notifier.packages["dialog"]
        lamps._calls._live = self.witness      # which was given the dictionary that the witness has replaced
        self._watch_merges(exchange)
        exchange.fault = self._fault  # type: ignore[method-assign]  # to know what it was
        node.layer, node.registrar = exchange.layer, exchange.registrar
        exchange.texts.store = texts = KeptTexts(store)
        exchange.texts.restore(texts.load(net.wall()))
        self.relay._listener = exchange
        plan = DialPlan(
            extensions={n: ExtensionEntry(n, f"Desk {n}", _control(n)) for n in NUMBERS},
            inbound={"15550100": "101", "15550102": "102", "*": "103"},
            outbound=(OutboundRule("9", 1, "", ("carrier", "backup")),),
            trunks=frozenset(CARRIERS),
        )
        exchange.dial_plan = replace(plan, emergency=emergency_numbers(FOR_HELP, plan))
        exchange.secrets = SECRETS
        self.trunks = [self._trunk(name, address) for name, address in CARRIERS.items()]
        exchange.trunks = Trunks(self.trunks)
        exchange.registrar.restore(bindings.load(net.wall()))
        tools = Tools(exchange.layer, node.timers, net.clock, net.token, net.random.random)
        self.keeper = TrunkKeeper(exchange.trunks, tools, Nowhere(), {}, frozenset(("carrier",)))
        self.keeper.start()
        self.alive = True
        self.silent: set[str] = set()
        net.at(MEDIA_LOOK, self._listen, self.lives)

    def _listen(self, life: int) -> None:
        """The relay's watch over calls in which neither side is heard any more: two looks in a row are enough."""
        if life != self.lives or not self.alive:
            return
        silent = set()
        for call_id, live in self.exchange.live.items():
            if live.call.answered_at is not None and not self.talking(self.witness.seen[call_id]):
                silent.add(call_id)
        for call_id in sorted(silent & self.silent):
            self.net.done["relay: nobody is heard"] += 1
            self.exchange.media_timed_out(call_id)
        self.silent = silent
        self.net.at(MEDIA_LOOK, self._listen, life)

    def _trunk(self, name: str, address: Address) -> Trunk:
        node, host = self.node, address[0]
        return Trunk(name, "UDP", host, *address, node.flow_to, self.net.token, "office", "trunk password", "+15550100",
                     self.max_calls, clock=self.net.clock, chance=self.net.random.random)  # fmt: skip

    def drain(self) -> None:
        """SIGTERM: no new calls, a while for the live ones, their end, and a flush (`App.drain`, `hang_up`, `stop`)."""
        net = self.net
        net.note("the exchange drains")
        self.exchange.draining = True
        net.at(net.chance["world"].choice((0.0, 5.0)), self._hang_up, self.lives)

    def _hang_up(self, life: int) -> None:
        if life == self.lives and self.alive:
            for call_id in list(self.exchange.live):
                self.exchange.hang_up(call_id)
            self.exchange.events.close()
            self.keeper.stop()
            self.net.at(RELEASE_SECONDS, self._stop, life)

    def _stop(self, life: int) -> None:
        if life != self.lives or not self.alive:
            return
        self.store.writer._turn()
        self.kill()
        self.stopped(life)

    def _learned(self, call_id: str, decision: Decision) -> None:
        self.exchange.found_late(call_id, decision)

    def _fault(self, call_id: str, error: Exception) -> None:
        self.exchange.counters.faults += 1
        self.reasons.append(raised(error))

    def _watch_merges(self, exchange: Exchange) -> None:
        merged = exchange.merged

        def noted(snapshot: CallSnapshot) -> None:
            self.merged.add(snapshot.call_id)
            merged(snapshot)

        exchange.merged = noted  # type: ignore[method-assign]

    def number_of(self, call_id: str) -> str:
        """The simulated call that a dialog of the exchange belongs to."""
        for ours, theirs in reversed(self.exchange.trail):
            if theirs == call_id:
                return self.witness.seen.get(ours, "")
        return ""

    def transfer(self, call_id: str, to: str, party: str | None) -> bool:
        """By the office, as the panel does it; False when it is refused."""
        try:
            Control(self.exchange).transfer(call_id, to, party)
        except (Invalid, NotFound):
            return False
        return True

    def kill(self) -> None:
        """kill -9."""
        net = self.net
        net.note("the exchange is killed")
        self._remember()
        self.alive = self.node.alive = False
        self.killed_at.append(net.now)
        rng = net.chance["world"]
        self._forgive()
        self.store.kill(rng.randbytes(rng.randrange(40)))
        net.timers = None
        for flow in self.node.flows.values():
            flow.closed = True      # whatever an old coroutine still sends goes nowhere
        net.peers.pop(EXCHANGE, None)

    def _forgive(self) -> None:
        """Calls that need not leave a record: killed before it was durable, and nobody was told that he is talking."""
        late = self.exchange.counters.journal_late > 0
        for call_id, live in self.exchange.live.items():
            if late or live.call.answered_at is None:
                self.forgiven.add(call_id)
        for plan, key, value, _ in self.store.writer._queue:
            if plan is not None and plan.name == "calls" and (late or value.answered_at is None):
                self.forgiven.add(key)

    def _remember(self) -> None:
        self.seen.update(self.witness.seen)
        self.late += self.exchange.counters.journal_late

    def close(self) -> None:
        """The end of a run: everything into the database."""
        self._remember()
        self.store.settle_now()


def _control(number: str) -> Any:
    return "first-party" if number == "104" else "third-party"
