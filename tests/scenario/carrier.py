"""Carriers for scenarios: one that takes registrations, and an office whose trunks are kept going."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pbxcore import profiles
from pbxcore.call.keeper import TrunkKeeper, state_of
from pbxcore.call.registration import Registration, Tools
from pbxcore.call.router import OutboundRule
from pbxcore.call.servers import Servers
from pbxcore.call.trunks import Trunk, Trunks
from pbxcore.control import TrunkState
from pbxcore.net.resolver import Watch
from pbxcore.sip import build
from pbxcore.sip.digest import Authenticator, Granted, Secret
from pbxcore.sip.layer import Flow
from pbxcore.sip.location import Choice, Located, Question, Server, numeric
from pbxcore.sip.message import Request
from pbxcore.sip.transaction import ServerTransaction
from tests.scenario.office import Office
from tests.scenario.party import Party, Talk
from tests.scenario.world import Network, World

REALM = "carrier.example"
FIRST, SECOND, THIRD = ("127.0.0.2", 5060), ("127.0.0.3", 5060), ("127.0.0.4", 5060)


class Carrier(Party):
    """A registrar and a gateway in one: digest, bindings with their ends, and whatever goes wrong there."""

    def __init__(self, world: World, address: tuple[str, int] = FIRST, *, algorithms: Sequence[str] = ("MD5",)) -> None:
        super().__init__(world, address, "+1555")
        self.authenticator = Authenticator(b"c" * 32, world.clock, lifetime=300.0, algorithms=algorithms)
        self.secret = Secret.from_password("office", REALM, "trunk password")
        self.challenges = True
        self.grants = 600
        self.minimum = 0                 # 423 below it
        self.refusal: tuple[int, list[tuple[str, str]]] | None = None   # of every REGISTER
        self.options: int = 200          # its answer to OPTIONS; 0: none
        self.extra: list[tuple[str, str]] = []
        self.bindings: dict[str, float] = {}    # by Contact, until when
        self.times: list[float] = []            # when a REGISTER came

    def asked(self, method: str) -> list[Request]:
        return [request for request in self.seen if request.method == method]

    @property
    def held(self) -> list[str]:
        return [contact for contact, until in self.bindings.items() if until > self.world.now]

    def calls_contact(self, user: str, number: str, exchange: tuple[str, int]) -> Talk:
        """As a carrier does whom we are registered at: our Contact is called, and the number is in To."""
        to = f"<sip:{number}@{self.address[0]}>"
        invite = self._request("INVITE", f"sip:{user}@{exchange[0]}", to, [], self.sdp())
        talk = Talk()
        talk.flow, talk.invite, talk.state = self.flow_to(self.transport, *exchange), invite, "calling"
        self.talks[invite.call_id, invite.from_tag or ""] = talk
        talk.client = self.layer.request(invite, talk.flow, self)
        return talk

    def on_request(self, tx: ServerTransaction, request: Request) -> None:
        if self.manners.silent:
            return
        if request.method == "REGISTER":
            self.seen.append(request)
            self.times.append(self.world.now)
            self._register(tx, request)
        elif request.method == "OPTIONS":
            self.seen.append(request)
            if self.options:
                self.layer.respond(tx, build.response(request, self.options, to_tag=self.world.token()))
        else:
            super().on_request(tx, request)

    def _register(self, tx: ServerTransaction, request: Request) -> None:
        status, headers = self._outcome(tx, request)
        response = build.response(request, status, to_tag=self.world.token(), headers=headers)
        self.layer.respond(tx, response)

    def _outcome(self, tx: ServerTransaction, request: Request) -> tuple[int, list[tuple[str, str]]]:
        if self.refusal is not None:
            return self.refusal
        source = tx.flow.remote[0]
        if self.challenges:
            outcome = self.authenticator.check(
                request, source, REALM, lambda user: self.secret if user == "office" else None
            )
            if not isinstance(outcome, Granted):
                stale = getattr(outcome, "stale", False)
                return 401, self.authenticator.challenge(request, source, REALM, stale=stale)
        [contact] = request.contacts
        wanted = int(contact.params["expires"] or 0)
        if 0 < wanted < self.minimum:
            return 423, [("Min-Expires", str(self.minimum))]
        granted = min(wanted, self.grants)
        self.bindings[str(contact.uri)] = self.world.now + granted
        rows = [("Contact", f"<{uri}>;expires={round(self.bindings[uri] - self.world.now)}") for uri in self.held]
        return 200, [*rows, *self.extra]


class Names:
    """The DNS of a scenario (`keeper.Finder`): what is not numeric is found when the test says so."""

    def __init__(self) -> None:
        self.watches: dict[Question, Watch] = {}

    def watch(self, question: Question, told: Callable[[], None] | None = None) -> Watch:
        watch = self.watches.setdefault(question, Watch(question, numeric(question)))
        if told is not None:
            watch.told.append(told)
        return watch

    def found(self, host: str, *servers: tuple[str, int], problem: str = "") -> None:
        """From now on this is the answer; without servers the last one stays."""
        for question, watch in self.watches.items():
            if question.host == host:
                choices = tuple(Choice((Server("UDP", *at, host),), place) for place, at in enumerate(servers))
                watch.located = Located(choices, 60.0) if servers else watch.located
                watch.problem = problem
                for told in watch.told:
                    told()


class TrunkOffice(Office):
    """An office with trunk `carrier`, that registers at 127.0.0.2 unless told otherwise; `start` sets it going.

    `switches` change its profile. `servers` are addresses, or names that `names` knows."""

    def __init__(
        self,
        seed: int = 1,
        network: Network | None = None,
        *,
        servers: Sequence[str] = ("127.0.0.2",),
        registers: bool = True,
        transport: str = "UDP",
        **switches: Any,
    ) -> None:
        super().__init__(seed, network)
        self.names = Names()
        self.questions: dict[str, list[Question]] = {}
        self.registering: set[str] = set()
        self.trunks: list[Trunk] = []
        self.trunk = self.add("carrier", *servers, registers=registers, transport=transport, **switches)
        self.keeper: TrunkKeeper

    def add(
        self, name: str, *servers: str, registers: bool = False, transport: str = "UDP", **switches: Any
    ) -> Trunk:
        world = self.world
        profile = profiles.trunk("generic").model_copy(update=switches)
        trunk = Trunk(
            name, transport, servers[0], "", 0, self.node.flow_to, world.token, "office", "trunk password", "+15550100",
            profile=profile, clock=world.clock, chance=world.random.random,
            servers=Servers(profile.options_down_after),
        )  # fmt: skip
        self.trunks.append(trunk)
        self.questions[name] = [Question(server, None, transport) for server in servers]
        if registers:
            self.registering.add(name)
        return trunk

    def start(self, *, seconds: float = 1.0) -> None:
        world = self.world
        self.exchange.trunks = Trunks(self.trunks)
        plan = self.exchange.dial_plan
        rule = OutboundRule("9", 1, "", tuple(trunk.name for trunk in self.trunks))
        self.exchange.dial_plan = type(plan)(
            plan.extensions, plan.inbound, (rule,), frozenset(trunk.name for trunk in self.trunks)
        )
        tools = Tools(self.exchange.layer, self.node.timers, world.clock, world.token, world.random.random)
        self.keeper = TrunkKeeper(
            self.exchange.trunks, tools, self.names, self.questions, frozenset(self.registering)
        )
        self.keeper.start()
        world.run(seconds)

    @property
    def registration(self) -> Registration:
        assert self.trunk.registration is not None
        return self.trunk.registration

    def state(self, trunk: Trunk | None = None) -> TrunkState:
        return state_of(trunk or self.trunk)

    def moves_to(self, host: str) -> None:
        """Our address changes: every way out is a new one."""
        world, node = self.world, self.node
        node.address = host, node.address[1]
        world.nodes[node.address] = node
        node.flows.clear()

    def loses(self, flow: Flow) -> None:
        """A connection is gone."""
        flow.closed = True  # type: ignore[misc]  # a virtual one's can be set
        self.exchange.layer.flow_lost(flow)

    def rest(self) -> None:
        """Stop what goes on by itself, so that what calls leave behind can be told."""
        self.keeper.stop()
        self.world.run(1.0)
        self.assert_nothing_left()
