"""`hookline demo`: a whole exchange on loopback ports, seen from outside.

Two desks and a carrier are built-in phones with real audio. A known and an unknown caller ring in; what is shown is
measured: the ladder as it was on the wire, the card, the instruction, the activity, the tones each side heard, the
set-up latency. Whatever is not as it should be is named, and the exit status is 1.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import click

from pbxcore.app import App, token
from pbxcore.control import ContactEntry
from pbxcore.hooks import IncomingCall
from pbxcore.net.endpoint import Endpoint
from pbxcore.phone.agent import PhoneAgent, Phones
from pbxcore.phone.audio import AudioClock, AudioEnd, tone_sound
from pbxcore.phone.call import PhoneCall, PhoneCallState
from pbxcore.phone.listener import MediaEnd, PhoneListener
from pbxcore.settings import Settings
from pbxcore.sip.layer import Flow, Layer
from pbxcore.sip.message import Request, Response
from pbxcore.sip.timers import Timers

OFFICE, CARRIER = "127.0.0.1", "127.0.0.2"
NUMBER = "+12025550100"
KNOWN, UNKNOWN = "+12025550123", "+12025550177"
INSTRUCTION = "Ask about the printer; the contract ends in March."
CALLER_HZ, DESK_HZ = 440, 880
TALK_SECONDS = 1.5
SHARE = 0.9
DEADLINE_MS = 300
ALLOWED_MS = 50  # what set-up may take beside the CRM's budget
PORTS = 64


class SlowCrm:
    """A CRM hook that answers when nobody waits any more."""

    async def on_incoming(self, call: IncomingCall) -> None:
        await asyncio.sleep(30)


@dataclass
class Played:
    """One call of the demo, as it was measured."""

    caller: str
    rang: str = ""
    shown: str = ""
    ring_ms: float = 0.0
    lookup_ms: float = 0.0
    asked: list[str] = field(default_factory=list)
    card: str = ""
    instruction: str = ""
    activity: str = ""
    caller_heard: float = 0.0
    desk_heard: float = 0.0
    ladder: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def expect(self, holds: bool, problem: str) -> None:
        if not holds:
            self.problems.append(problem)


class Desk(PhoneListener):
    """Answers after a moment, and remembers who rang."""

    def __init__(self) -> None:
        self.rang: list[PhoneCall] = []

    def on_incoming(self, call: PhoneCall) -> None:
        self.rang.append(call)


class Stage:
    """The phones: an endpoint of their own with the desks at 127.0.0.1 and the carrier at 127.0.0.2."""

    def __init__(self, exchange: tuple[str, int]) -> None:
        self.endpoint = Endpoint()
        self.timers = Timers(self.endpoint.wake_at)
        self.phones = Phones()
        self.layer = Layer(self.phones, self.timers, self.endpoint.clock, token)
        self.phones.layer = self.layer
        self.clock = AudioClock()
        self.exchange = exchange
        self.desks: dict[str, PhoneAgent] = {}
        self.listeners: dict[str, Desk] = {}
        self.ports: dict[str, int] = {}

    async def start(self, passwords: dict[str, str]) -> None:
        self.endpoint.attach(self.layer, self.timers)
        for host in (OFFICE, CARRIER):
            self.ports[host] = (await self.endpoint.listen(f"udp:{host}:0")).port
        for number, password in passwords.items():
            listener = self.listeners[number] = Desk()
            agent = self.desks[number] = self._agent(number, OFFICE, DESK_HZ, listener, password)
            agent.answer_after = 0.2
            agent.register()

    def carrier(self, number: str) -> PhoneAgent:
        return self._agent(number, CARRIER, CALLER_HZ, PhoneListener(), "")

    def _agent(self, number: str, host: str, hertz: int, listener: PhoneListener, password: str) -> PhoneAgent:
        def way() -> Flow:
            return self.endpoint.flow_to("UDP", *self.exchange, local=(host, self.ports[host]))

        def media(_: PhoneCall) -> MediaEnd:
            return AudioEnd(self.clock, host, sound=tone_sound(hertz))

        return PhoneAgent(
            self.phones,
            self.timers,
            self.endpoint.clock,
            token,
            aor=f"sip:{number}@{self.exchange[0]}:{self.exchange[1]}",
            listener=listener,
            media=media,
            route=lambda _: way(),
            registrar=way,
            password=password,
        )


class Ladder:
    """Every message that reached the exchange or the phones, with its time and direction."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, str, str, str]] = []
        self.names: dict[tuple[str, int], str] = {}

    def tap(self, layer: Layer, name: str) -> None:
        """Note what this layer receives; `name` stands where the sender's flow says nothing."""
        receive: Callable[[Request | Response, Flow, float], None] = layer.receive

        def noted(msg: Request | Response, flow: Flow, now: float) -> None:
            what = msg.method if isinstance(msg, Request) else f"{msg.status} {msg.reason}"
            source = self.names.get(flow.remote, f"{flow.remote[0]}:{flow.remote[1]}")
            target = self.names.get(flow.local, name)
            self.rows.append((time.perf_counter(), source, target, what))
            receive(msg, flow, now)

        layer.receive = noted  # type: ignore[method-assign]  # the demo looks over the layer's shoulder

    def take(self) -> list[str]:
        rows, self.rows = self.rows, []
        start = rows[0][0] if rows else 0.0
        return [f"{(at - start) * 1000:8.1f} ms  {source:>9} -> {to:<9} {what}" for at, source, to, what in rows]


def free_ports() -> str:
    """A block of UDP ports for the relay that is free now."""
    for first in range(30_000, 60_000, PORTS):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as low, socket.socket(
            socket.AF_INET, socket.SOCK_DGRAM
        ) as high:
            try:
                low.bind((OFFICE, first))
                high.bind((OFFICE, first + PORTS - 1))
            except OSError:
                continue
            return f"{first}-{first + PORTS - 1}"
    raise OSError("no free block of UDP ports for the relay")


def settings(directory: Path, passwords: dict[str, str], slow_crm: bool) -> Settings:
    hooks = [{"kind": "python", "name": "slow CRM", "target": "pbxcore.demo:SlowCrm"}] if slow_crm else []
    return Settings.model_validate(
        {
            "office": {"name": "Demo office", "country": "US"},
            "sip": {"listen": [f"udp:{OFFICE}:0"]},
            "media": {"ports": free_ports()},
            "web": {"listen": f"{OFFICE}:0"},
            "database": {"url": f"sqlite:///{directory}/demo.db"},
            "crm": {"deadline_ms": DEADLINE_MS, "hook": hooks},
            "extension": [{"number": n, "name": f"Desk {n}", "password": p} for n, p in passwords.items()],
            "trunk": [{"name": "carrier", "server": f"{CARRIER}:5060", "accept_from": [CARRIER]}],
            "inbound": [{"number": NUMBER, "to": "102"}],
        }
    )


async def until(done: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.01)  # the phones are told by callbacks; a demo can look
    return True


async def demo(*, as_json: bool, slow_crm: bool) -> int:
    """Play it and print it; 0 when everything was as it should be."""
    passwords = {number: secrets.token_urlsafe(12) for number in ("101", "102")}
    with tempfile.TemporaryDirectory(prefix="hookline-demo-") as directory:
        app = App(settings(Path(directory), passwords, slow_crm))
        try:
            await app.start()
            played = await _play(app, passwords, slow_crm, as_json)
        finally:
            await app.stop()
    problems = [problem for call in played for problem in call.problems]
    if as_json:
        click.echo(json.dumps({"calls": [asdict(call) for call in played], "ok": not problems}, ensure_ascii=False))
    else:
        for call in played:
            _show(call)
        click.echo("everything as it should be" if not problems else f"{len(problems)} things are off")
    return 1 if problems else 0


async def _play(app: App, passwords: dict[str, str], slow_crm: bool, quiet: bool) -> list[Played]:
    host, port = app.sip_addresses[0].rsplit(":", 2)[1:]
    stage = Stage((host, int(port)))
    await stage.start(passwords)
    ladder = Ladder()
    ladder.names = {
        (host, int(port)): "exchange",
        (OFFICE, stage.ports[OFFICE]): "desk",
        (CARRIER, stage.ports[CARRIER]): "carrier",
    }
    try:
        if not quiet:
            click.echo("two desks register ...", err=True)
        registered = lambda: all(app.exchange.registrar.bindings(number) for number in passwords)  # noqa: E731
        if not await until(registered, 5.0):
            failed = Played("")
            failed.expect(False, "the desks could not register")
            return [failed]
        await app.crm.save_contact(
            ContactEntry("", "Anna Ivanova", (KNOWN,), owner="101", tags=("customer",), instructions=INSTRUCTION)
        )
        ladder.tap(app.exchange.layer, "exchange")
        ladder.tap(stage.layer, "phones")
        played = []
        for caller in (KNOWN, UNKNOWN):
            if not quiet:
                click.echo(f"{caller} calls {NUMBER} ...", err=True)
            played.append(await _call(app, stage, ladder, caller, slow_crm))
        return played
    finally:
        await stage.endpoint.close()


async def _call(app: App, stage: Stage, ladder: Ladder, caller: str, slow_crm: bool) -> Played:
    played = Played(caller)
    known = caller == KNOWN
    expected = "101" if known else "102"
    desk = stage.listeners[expected]
    agent = stage.carrier(caller)
    began = agent.clock()
    call = agent.call(NUMBER)
    if not await until(lambda: call.state is PhoneCallState.UP, 5.0) or not desk.rang:
        played.expect(False, f"extension {expected} did not answer: {call.status} {call.reason}")
        played.ladder = ladder.take()
        return played
    at_desk = desk.rang[-1]
    played.rang = expected
    played.ring_ms = ((call.ringing_at or began) - began) * 1000
    live = app.exchange.live
    snapshot = next(iter(live.values())).snapshot()
    played.lookup_ms = snapshot.lookup_ms or 0.0
    played.asked = [f"{step.source}: {step.outcome}" for step in app.runner.explain(snapshot.call_id)]
    played.shown = snapshot.display_name or ""
    card = app.crm.card(snapshot.call_id)
    if card is not None:
        played.card = ", ".join(contact.name for contact in card.contacts) or "unknown number"
        played.instruction = card.instructions
    await asyncio.sleep(TALK_SECONDS)
    played.caller_heard = _share(call, DESK_HZ)
    played.desk_heard = _share(at_desk, CALLER_HZ)
    call.hang_up()
    await until(lambda: not live and call.state is PhoneCallState.ENDED, 5.0)
    agent.close()
    played.ladder = ladder.take()
    await _check(app, played, snapshot.call_id, known, slow_crm)
    return played


def _share(call: PhoneCall, hertz: int) -> float:
    return call.media.share(hertz) if isinstance(call.media, AudioEnd) else 0.0


async def _check(app: App, played: Played, call_id: str, known: bool, slow_crm: bool) -> None:
    await app.crm.journal.flush(2.0)
    found = [activity for activity in await app.crm.activities() if activity.call_id == call_id]
    if found:
        activity = found[0]
        who = activity.contact_name or "nobody known"
        played.activity = f"{activity.state}: {activity.direction} call of {who}, {activity.disposition}"
    played.expect(len(found) == 1, f"{len(found)} activities for one call")
    limit = (DEADLINE_MS if slow_crm else 0) + ALLOWED_MS
    played.expect(0 < played.ring_ms <= limit, f"rang after {played.ring_ms:.1f} ms; at most {limit} ms are allowed")
    played.expect(played.caller_heard > SHARE, "the caller did not hear the desk's tone")
    played.expect(played.desk_heard > SHARE, "the desk did not hear the caller's tone")
    played.expect(played.card == ("Anna Ivanova" if known else "unknown number"), f"the card says {played.card!r}")
    if known:
        played.expect(played.shown == "Anna Ivanova", f"the phone showed {played.shown!r}")
        played.expect(played.instruction == INSTRUCTION, "the instruction is missing on the card")


def _show(call: Played) -> None:
    click.echo(f"\ncall from {call.caller}")
    for row in call.ladder:
        click.echo(f"  {row}")
    shown = call.shown or call.caller
    click.echo(f"  rang         extension {call.rang}, showing {shown}, after {call.ring_ms:.1f} ms")
    click.echo(f"  CRM          {call.lookup_ms:.2f} ms in all: {'; '.join(call.asked)}")
    click.echo(f"  card         {call.card}")
    if call.instruction:
        click.echo(f"  instruction  {call.instruction}")
    click.echo(f"  activity     {call.activity}")
    click.echo(f"  audio        caller heard {call.caller_heard:.3f} of the desk's tone, desk {call.desk_heard:.3f}")
    for problem in call.problems:
        click.echo(click.style(f"  OFF          {problem}", fg="red"))


__all__ = ["SlowCrm", "demo"]
