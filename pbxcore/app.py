"""The composition root: the one place that knows every room, and puts them together.

`App.start` opens the database, reads what was kept, binds the sockets and starts the panel; `App.stop` drains and lets
go in the opposite order. Nothing else imports upward.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import chain

import structlog

from crmhooks.build import build_connectors, build_crm, build_rules, build_runner, connector_names
from crmhooks.decisions import call_notice_schema, decision_schema, incoming_call_schema
from crmhooks.embedded.desk import EmbeddedCrm
from crmhooks.explained import ExplainLog
from crmhooks.outbox import Outbox
from crmhooks.records import agent_of
from crmhooks.runner import Runner
from pbxcore import office
from pbxcore.attending import make_ready
from pbxcore.bus import Bus
from pbxcore.call.exchange import Doors, Exchange
from pbxcore.call.explained import route
from pbxcore.call.keepalive import KeepAlive
from pbxcore.call.keeper import TrunkKeeper
from pbxcore.call.panel import Control
from pbxcore.call.registrar import Binding, Registrar
from pbxcore.call.registration import Tools
from pbxcore.call.router import owner_may_ring
from pbxcore.call.services.states import LAMP_STATES
from pbxcore.call.texts import Text
from pbxcore.call.trunks import Trunks
from pbxcore.collector import Collector
from pbxcore.events import RegistrationChanged
from pbxcore.hooks import CallSnapshot, Decision, ExplainStep, IncomingCall
from pbxcore.inquiry import Inquiries, socket_beside
from pbxcore.media.backend import MediaBackend
from pbxcore.media.factory import make_backend
from pbxcore.metrics import Metrics
from pbxcore.net.connections import Options
from pbxcore.net.endpoint import Endpoint
from pbxcore.net.hep import DEFAULT_PORT as HEP_PORT
from pbxcore.net.hep import HepExport
from pbxcore.net.outside import Outside
from pbxcore.net.resolver import Dns, Resolver, families
from pbxcore.net.ring import Ring
from pbxcore.net.websocket import Door
from pbxcore.settings import Settings, Sip
from pbxcore.sip.digest import Authenticator
from pbxcore.sip.timers import Timers
from pbxcore.sip.uri import split_host
from pbxcore.store import Store
from pbxcore.store import open as open_store
from pbxcore.store.repo import Binding as StoredBinding
from pbxcore.store.repo import Bindings, Extensions, Secrets, StoredExtension, StoredText, StoredTexts, Users
from pbxcore.store.sql import beside
from pbxcore.store.tokens import ApiTokens
from web.app import create_app
from web.auth import first_admin
from web.server import Listening
from web.server import serve as serve_panel

log = structlog.get_logger("app")

DIGESTS = {"md5": ("MD5",), "sha-256": ("SHA-256",), "both": ("SHA-256", "MD5")}
DRAIN_LOOK = 0.1
RELEASE_SECONDS = 2.0
LOOK_UP_SECONDS = 1.0      # how long the start waits for the DNS: then it goes on without
UNREGISTER_SECONDS = 1.0   # how long the end waits for carriers that registrations are taken back from


@dataclass(frozen=True, slots=True)
class Credentials:
    """What was made on the first start, to be shown once."""

    extensions: tuple[StoredExtension, ...] = ()
    admin_password: str | None = None


TOKEN_SIZE = 12
TOKENS_AT_ONCE = 512


def _fresh_tokens() -> list[str]:
    """Identifiers of 96 random bits. Asking the kernel for them one by one would cost a call seven system calls."""
    return secrets.token_bytes(TOKEN_SIZE * TOKENS_AT_ONCE).hex(" ", TOKEN_SIZE).split()


token: Callable[[], str] = chain.from_iterable(iter(_fresh_tokens, [])).__next__
"""The next fresh identifier; a new batch is made when the last one is used up."""


def transport_options(sip: Sip) -> Options:
    """What the settings say of TLS, WebSocket and keep-alives."""
    return Options(
        certificate=sip.tls_certificate,
        key=sip.tls_key,
        authorities=sip.tls_ca,
        door=Door(sip.websocket_path, sip.websocket_origins),
        keep_alive_seconds=sip.keep_alive_seconds,
        large_by_tcp=sip.large_requests_by_tcp,
        outside=Outside(sip.external_address, sip.local_networks) if sip.external_address else None,
    )


def _hosts(listen: Iterable[str]) -> list[str]:
    """The local addresses that SIP is heard on; wildcards name none."""
    hosts = [spec.split(":", 1)[1].rpartition(":")[0].strip("[]") for spec in listen]
    return [host for host in hosts if host not in ("0.0.0.0", "::", "")]


def _is_ipv6(text: str) -> bool:
    return text.count(":") > 1 and not text.startswith("[")


async def _until(done: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:  # noqa: ASYNC110  # no call tells that it was the last
        await asyncio.sleep(DRAIN_LOOK)


class KeptBindings:
    """The registrar's bindings in the database (`registrar.BindingStore`)."""

    def __init__(self, store: Store) -> None:
        self._bindings = Bindings(store)

    def put_binding(self, binding: Binding) -> None:
        host, port = binding.remote
        received = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._bindings.put(
            StoredBinding(
                binding.extension,
                binding.name,
                binding.expires_at,
                received,
                binding.transport,
                binding.call_id,
                binding.cseq,
                binding.user_agent,
                binding.instance,
                binding.path,
            )
        )

    def drop_binding(self, extension: str, name: str) -> None:
        self._bindings.drop(extension, name)

    def load(self, now: float) -> list[Binding]:
        """Blocks: for the start."""
        found = []
        for kept in self._bindings.load(now):
            host, port = split_host(kept.received)
            contact, _, flow = kept.contact.partition(" ")  # `Binding.name`
            if port is not None:
                remote = (host.strip("[]"), port)
                found.append(
                    Binding(
                        kept.aor,
                        contact,
                        kept.expires_at,
                        kept.transport,
                        remote,
                        kept.call_id,
                        kept.cseq,
                        kept.user_agent,
                        instance=kept.instance,
                        reg_id=int(flow.rpartition(" ")[2] or 0),
                        path=kept.path,
                        since=now,
                    )
                )
        return found


class KeptTexts:
    """The texts that wait for their phones in the database (`texts.TextStore`)."""

    def __init__(self, store: Store) -> None:
        self._texts = StoredTexts(store)

    def put_text(self, text: Text, then: Callable[[], None]) -> bool:
        kept = StoredText(
            text.id, text.receiver, text.sender, text.content_type, text.body, text.sent_at, text.expires_at
        )
        return self._texts.put(kept, then)

    def drop_text(self, text_id: str) -> None:
        self._texts.drop(text_id)

    def load(self, now: float) -> list[Text]:
        """Blocks: for the start."""
        return [
            Text(
                kept.text_id, kept.receiver, kept.sender, kept.content_type, kept.body, kept.sent_at, kept.expires_at
            )
            for kept in self._texts.load(now)
        ]


class App:
    """One running exchange. Made and used inside one event loop."""

    def __init__(self, settings: Settings, *, media: MediaBackend | None = None) -> None:
        """`media` takes the place of the relay that the settings name."""
        self.settings = settings
        self._media = media
        self.bus = Bus()
        self.timers = Timers()
        self.endpoint: Endpoint
        self.exchange: Exchange
        self.store: Store
        self.crm: EmbeddedCrm
        self.runner: Runner
        self.outbox: Outbox
        self.credentials = Credentials()
        self.interrupted = 0
        self.sip_addresses: tuple[str, ...] = ()
        self.web_address = ""
        self.control: Control
        self.resolver: Resolver | None = None
        self._keeper: TrunkKeeper | None = None
        self._panel: Listening | None = None
        self._inquiries: Inquiries | None = None
        self._hep: HepExport | None = None
        self._collector: Collector | None = None

    async def start(self) -> None:
        """Raises StoreUnavailable, ListenError, InvalidHook, each with a sentence for people."""
        settings = self.settings
        database = settings.database
        self.store = open_store(database.url, database.durability, serving=True, crms=connector_names(settings))
        self.store.start()
        self.crm = build_crm(settings, self.store, self.bus)
        self.crm.load()
        self.crm.start()
        self.crm.journal.first_party = office.first_party(settings, Extensions(self.store).load())
        self.interrupted = await self.crm.journal.close_interrupted()
        await self._first_start()
        self.explained = ExplainLog(self.store, self._route)
        connectors = build_connectors(settings)
        self.outbox = Outbox(
            self.store, connectors, country=settings.office.country, on_unknown=settings.crm.on_unknown,
            wrap_up=settings.crm.wrap_up_seconds,
        )  # fmt: skip
        self.rules = build_rules(settings, self.store, present=self._present)
        self.runner = build_runner(
            settings, self.crm, self.bus, annotate=self.crm.journal.annotate, crms=connectors,
            learned=lambda call_id, decision: self.exchange.found_late(call_id, decision),
            route=self._route, keep=self.explained.keep, rules=self.rules, first_party=self._first_party,
            owner_first=lambda call: owner_may_ring(call, self.exchange.dial_plan),
        )  # fmt: skip
        await self._start_sip()
        self.control = Control(self.exchange, self.endpoint.ring, kept=self.explained.find)
        self.crm.schedule.attach(self.control.originate, self.control.busy)
        await self._start_tracing()
        await self._start_panel()
        await self.outbox.start()
        self._collector = Collector(time.monotonic, lambda: self.exchange.counters.calls)
        self._collector.start()
        self.metrics.collector = self._collector

    async def _first_start(self) -> None:
        """An office with no extension at all gets two, and a panel without users its admin."""
        made: tuple[StoredExtension, ...] = ()
        kept = Extensions(self.store)
        if not self.settings.extension and not kept.load():
            made = tuple(StoredExtension(number, secrets.token_urlsafe(12)) for number in ("101", "102"))
            for extension in made:
                await kept.save(extension)
        users = Users(self.store)
        password = await first_admin(users, time.time())
        if password and made:  # who tries it out alone sees the cards of the first phone
            await users.change("admin", extension=made[0].number)
        self.credentials = Credentials(made, password)

    async def _start_sip(self) -> None:
        settings = self.settings
        ring = Ring(settings.sip.trace_messages)
        self.endpoint = endpoint = Endpoint(ring=ring, options=transport_options(settings.sip))
        self.timers = timers = Timers(endpoint.wake_at)
        bindings = KeptBindings(self.store)
        registrar = Registrar(
            timers,
            clock=endpoint.clock,
            wall=time.time,
            flow_to=endpoint.flow_to,
            store=bindings,
            changed=self._registration_changed,
        )
        endpoint.lost_listeners.append(registrar.flow_lost)
        KeepAlive(registrar, timers, endpoint.clock, settings.sip.keep_alive_seconds)
        secret = await Secrets(self.store).get_or_make("digest", secrets.token_hex(32))
        media = self._media or make_backend(settings.media, _hosts(settings.sip.listen), endpoint.behind)
        self.exchange = exchange = Exchange(
            Doors(self.runner, self.crm.journal, media, self.bus),
            timers,
            clock=endpoint.clock,
            wall=time.time,
            token=token,
            flow_to=endpoint.flow_to,
            registrar=registrar,
            authenticator=Authenticator(
                bytes.fromhex(secret), endpoint.clock, algorithms=DIGESTS[settings.sip.digest]
            ),
            settings=settings.sip,
            pressure=endpoint.pressure,
            crm_seconds=settings.crm.deadline_ms / 1000,
            wrap_up_seconds=settings.crm.wrap_up_seconds,
            lamp_states=LAMP_STATES[settings.crm.agent_lamp],
        )
        made = office.build(settings, Extensions(self.store).load(), exchange.realm)
        exchange.cards.base = settings.web.public_url
        exchange.dial_plan = made.dial_plan
        exchange.secrets = made.secrets
        registrar.profiles = made.profiles
        exchange.trunks = Trunks(office.trunks(settings, endpoint.flow_to, token, endpoint.clock, random.random))
        await media.start(exchange)
        refusal = media.kernel().refusal
        log.info(f"the kernel relays no audio: {refusal}" if refusal else "the kernel relays audio where it can")
        endpoint.attach(exchange.layer, timers)
        registrar.restore(bindings.load(time.time()))  # before the first caller is heard
        make_ready(settings, exchange)
        exchange.texts.store = texts = KeptTexts(self.store)
        exchange.texts.restore(texts.load(time.time()))
        listeners = [await endpoint.listen(spec) for spec in settings.sip.listen]
        self.sip_addresses = tuple(str(listener) for listener in listeners)
        await self._start_trunks([listener.host for listener in listeners], [one.transport for one in listeners])

    async def _start_trunks(self, hosts: list[str], listening: list[str]) -> None:
        """Names are looked up and registrations begun; an office whose carrier cannot be found starts all the same."""
        settings, endpoint, exchange = self.settings, self.endpoint, self.exchange
        nameservers = [split_host(server) if not _is_ipv6(server) else (server, None)
                       for server in settings.sip.nameservers]
        self.resolver = Resolver(
            Dns(clock=endpoint.clock, nameservers=[(host, port or 53) for host, port in nameservers]),
            transports=[*(["UDP"] if "UDP" in listening else []), "TCP", "TLS"],
            kinds=families(hosts),
            loopback=all(ip_address(host).is_loopback for host in hosts),
        )
        tools = Tools(exchange.layer, self.timers, endpoint.clock, token, random.random)
        registering = frozenset(trunk.name for trunk in settings.trunk if trunk.register)
        self._keeper = TrunkKeeper(exchange.trunks, tools, self.resolver, office.questions(settings), registering)
        self._keeper.start()
        await self.resolver.settled(LOOK_UP_SECONDS)

    async def _start_tracing(self) -> None:
        """For `hookline trace`, and for Homer. No call depends on either."""
        sip, path = self.settings.sip, socket_beside(beside(self.settings.database.url))
        inquiries = Inquiries(self.control)
        try:
            await inquiries.start(path)
        except OSError as error:
            log.warning("hookline trace will not work", socket=str(path), reason=error.strerror)
        self._inquiries = inquiries
        if sip.hep:
            host, port = split_host(sip.hep.partition(":")[2])
            self._hep = HepExport(
                self.endpoint.ring,
                host.strip("[]"),
                port or HEP_PORT,
                agent=sip.hep_id,
                password=sip.hep_password.get_secret_value(),
                dialogs=lambda: {theirs: ours for ours, theirs in self.exchange.trail},
            )
            self._hep.start()

    async def _start_panel(self) -> None:
        key = await Secrets(self.store).get_or_make("panel", secrets.token_hex(32))
        self.metrics = Metrics(self.exchange, self.endpoint, self.bus, self.store)
        panel = create_app(
            control=self.control,
            desk=self.crm,
            outbox=self.outbox,
            bus=self.bus,
            settings=self.settings,
            users=Users(self.store),
            rules=self.rules,
            tokens=ApiTokens(self.store),
            secret_key=bytes.fromhex(key),
            clock=time.monotonic,
            schemas={
                "decision": decision_schema(),
                "incoming-call": incoming_call_schema(),
                "call-notice": call_notice_schema(),
            },
            collector=self.metrics,
            ready=lambda: not self.exchange.draining,
        )
        self._panel = await serve_panel(panel, self.settings.web.listen)
        self.web_address = f"http://{self._panel.address}"

    def _route(self, call: IncomingCall, decision: Decision | None) -> tuple[ExplainStep, ...]:
        return route(call, decision, self.exchange.dial_plan)

    def _first_party(self, call: CallSnapshot) -> bool:
        """Whether the workstation of the call's extension tells the CRM of it, and the exchange does not."""
        return agent_of(call) in self.crm.journal.first_party

    def _present(self, extension: str) -> bool:
        """Whether somebody could answer there."""
        return self.exchange.states.ready(extension) and bool(self.exchange.registrar.bindings(extension))

    def _registration_changed(self, extension: str, bindings: int) -> None:
        if self.bus.wanted:
            self.bus.publish(RegistrationChanged(time.time(), extension, bindings))

    async def drain(self) -> None:
        """Take no new calls, let the live ones go on for up to `sip.drain_seconds`."""
        exchange = self.exchange
        exchange.draining = True
        await _until(lambda: not exchange.live, self.settings.sip.drain_seconds)

    async def hang_up(self) -> None:
        """End every call: both legs get their BYE, or what else is due."""
        exchange = self.exchange
        for call_id in list(exchange.live):
            exchange.hang_up(call_id)
        exchange.events.close()
        await _until(lambda: not exchange.dialogs, RELEASE_SECONDS)

    async def stop(self) -> None:
        """Let go of everything; the journal is written out first. Works after a start that failed half way, too."""
        if self._keeper is not None:
            self._keeper.stop()
            keeper = self._keeper
            await _until(lambda: not keeper.busy, UNREGISTER_SECONDS)
        if self._collector is not None:
            await self._collector.stop()
        if self._panel is not None:
            await self._panel.stop()
        if hasattr(self, "exchange"):
            await self.exchange.media.close()
            await self.exchange.mailroom.close()
            self.exchange.endings.close()
        if hasattr(self, "runner"):
            await self.runner.close()
        if hasattr(self, "crm"):
            await self.crm.close()
        if hasattr(self, "outbox"):
            await self.outbox.stop()
        if self._inquiries is not None:
            await self._inquiries.stop()
        if self.resolver is not None:
            await self.resolver.close()
        if hasattr(self, "endpoint"):
            await self.endpoint.close()
        if self._hep is not None:  # after the last message is out
            await self._hep.stop()
        if hasattr(self, "store"):
            await self.store.close()
