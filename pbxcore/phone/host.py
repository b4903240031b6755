"""Phones in an asyncio program: sockets, timers and audio put together, and calls that can be awaited.

    async with PhoneHost() as host:
        flow = await host.listen("udp:127.0.0.1:0")
        phone = host.phone("sip:101@127.0.0.1:5060", password="...", registrar="udp:127.0.0.1:5060")
        await phone.register()
        call = await phone.dial("102")
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from pbxcore.net.connections import Options
from pbxcore.net.endpoint import Endpoint, Listener
from pbxcore.net.flow import PORTS, Limits, NoFlow, parse_spec
from pbxcore.phone.agent import PhoneAgent, Phones
from pbxcore.phone.audio import AudioClock, AudioEnd, Sound
from pbxcore.phone.call import PhoneCall
from pbxcore.phone.listener import MediaEnd, PhoneListener
from pbxcore.sip.layer import Flow, Layer
from pbxcore.sip.timers import Timers
from pbxcore.sip.uri import Uri

MOST_EVENTS = 1000
WITHIN = 30.0       # seconds


@dataclass(frozen=True, slots=True)
class PhoneEvent:
    """Something a phone told: `name` is the listener's method without `on_`, `detail` its other arguments."""

    at: float
    name: str
    call: PhoneCall | None
    detail: tuple[Any, ...] = ()


class CallFailed(Exception):
    """A call that was not answered; the message is its status and reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status


class Phone(PhoneListener):
    """A phone whose events can be awaited. `agent` does the work; `on_event` is told everything at once as well.

    `sound` is what its calls play, `record` a WAV file for what the next call hears.
    """

    def __init__(self, host: PhoneHost, *, sound: Sound | None = None, record: str | None = None) -> None:
        self._host = host
        self.sound = sound
        self.record = record
        self.agent: PhoneAgent
        self.events: deque[PhoneEvent] = deque(maxlen=MOST_EVENTS)   # not awaited yet
        self.on_event: Callable[[PhoneEvent], None] | None = None
        self._news = asyncio.Event()

    # ---- to be awaited; every one raises TimeoutError after `within` seconds

    async def wait(self, *names: str, within: float | None = WITHIN) -> PhoneEvent:
        """The next event of one of these names; those before it are passed over and not given again."""
        async with asyncio.timeout(within):
            while True:
                while self.events:
                    event = self.events.popleft()
                    if event.name in names:
                        return event
                self._news.clear()
                await self._news.wait()

    async def register(self, seconds: int = 600, *, within: float = WITHIN) -> float:
        """Seconds granted. Raises CallFailed when the registrar refuses."""
        self.agent.register(seconds)
        event = await self.wait("registered", "registration_failed", within=within)
        if event.name == "registration_failed":
            raise CallFailed(*event.detail)
        return float(event.detail[0])

    async def unregister(self, *, within: float = WITHIN) -> None:
        self.agent.unregister()
        await self.wait("registered", "registration_failed", within=within)

    async def dial(
        self, target: str, *, within: float = WITHIN, headers: Sequence[tuple[str, str]] = (), late_offer: bool = False
    ) -> PhoneCall:
        """A call that is up. Raises CallFailed when it is refused; SipError when there is no way."""
        call = self.agent.call(target, headers=headers, late_offer=late_offer)
        while True:
            event = await self.wait("answered", "ended", within=within)
            if event.call is call:
                if event.name == "ended":
                    raise CallFailed(call.status, call.reason)
                return call

    async def hang_up(self, call: PhoneCall, *, within: float = WITHIN) -> None:
        call.hang_up()
        async with asyncio.timeout(within):
            while call.state != "ended":
                await self.wait("ended", within=within)

    # ---- what the agent tells

    def _tell(self, name: str, call: PhoneCall | None, *detail: Any) -> None:
        event = PhoneEvent(time.time(), name, call, detail)
        self.events.append(event)
        self._news.set()
        if self.on_event is not None:
            self.on_event(event)

    def on_registered(self, agent: PhoneAgent, seconds: float) -> None:
        self._tell("registered", None, seconds)

    def on_registration_failed(self, agent: PhoneAgent, status: int, reason: str) -> None:
        self._tell("registration_failed", None, status, reason)

    def on_incoming(self, call: PhoneCall) -> None:
        self._tell("incoming", call)

    def on_progress(self, call: PhoneCall, status: int) -> None:
        self._tell("progress", call, status)

    def on_answered(self, call: PhoneCall) -> None:
        self._tell("answered", call)

    def on_held(self, call: PhoneCall, held: bool) -> None:
        self._tell("held", call, held)

    def on_hold_done(self, call: PhoneCall, status: int) -> None:
        self._tell("hold_done", call, status)

    def on_dtmf(self, call: PhoneCall, digit: str) -> None:
        self._tell("dtmf", call, digit)

    def on_transfer(self, call: PhoneCall, status: int, reason: str) -> None:
        self._tell("transfer", call, status, reason)

    def on_message(self, agent: PhoneAgent, sender: str, text: str) -> None:
        self._tell("message", None, sender, text)

    def on_ended(self, call: PhoneCall) -> None:
        self._tell("ended", call)

    def audio(self, call: PhoneCall) -> AudioEnd:
        """The audio of one of its calls. Raises TypeError when its phone was made with other media."""
        if not isinstance(call.media, AudioEnd):
            raise TypeError("this phone's calls have no audio")
        return call.media

    def make_audio(self, call: PhoneCall) -> AudioEnd:
        """A new call's audio; one recording takes one call."""
        record, self.record = self.record, None
        return AudioEnd(
            self._host.audio_clock, self._host.address, sound=self.sound, record=record,
            on_digit=lambda digit: self.on_dtmf(call, digit),
        )  # fmt: skip


class PhoneHost:
    """The sockets, timers and audio that the phones of one program share."""

    def __init__(self, *, limits: Limits | None = None, options: Options | None = None) -> None:
        """`options` has the CAs of TLS."""
        self.endpoint = Endpoint(limits=limits, options=options)
        self.phones = Phones()
        self.timers = Timers(self.endpoint.wake_at)
        self.layer = Layer(self.phones, self.timers, self.endpoint.clock, _token)
        self.phones.layer = self.layer
        self.endpoint.attach(self.layer, self.timers)
        self.audio_clock = AudioClock()
        self.address = "127.0.0.1"   # where audio is received: the first listener's

    async def __aenter__(self) -> PhoneHost:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def listen(self, spec: str = "udp:127.0.0.1:0") -> Listener:
        """Raises ListenError."""
        listener = await self.endpoint.listen(spec)
        if len(self.endpoint.listeners) == 1:
            self.address = listener.host
        return listener

    def phone(
        self,
        aor: str,
        *,
        password: str = "",
        username: str = "",
        registrar: str = "",
        domain: str = "",
        contact_user: str = "",
        display: str | None = None,
        sound: Sound | None = None,
        record: str | None = None,
        media: Callable[[PhoneCall], MediaEnd] | None = None,
    ) -> Phone:
        """A phone on this host. `registrar` is `udp:192.0.2.1:5060`; without one the phone calls others directly. The
        certificate of one that is reached by TLS must name `domain`, or its address."""
        phone = Phone(self, sound=sound, record=record)
        phone.agent = PhoneAgent(
            self.phones,
            self.timers,
            self.endpoint.clock,
            _token,
            aor=aor,
            listener=phone,
            media=media or phone.make_audio,
            route=self.flow_to,
            registrar=self._registrar(registrar, domain) if registrar else None,
            contact_user=contact_user,
            password=password,
            username=username,
            display=display,
        )
        return phone

    def _registrar(self, spec: str, domain: str) -> Callable[[], Flow]:
        transport, host, port = parse_spec(spec)
        return lambda: self.endpoint.flow_to(transport, host, port, domain=domain or host)

    def flow_to(self, uri: str) -> Flow:
        """The way to a URI whose host is an IP address. Raises NoFlow."""
        target = Uri.parse(uri)
        if target.scheme not in ("sip", "sips"):
            raise NoFlow(f"there is no way to {target.scheme}: URIs")
        transport = "TLS" if target.scheme == "sips" else (target.params.get("transport") or "udp").upper()
        port = target.port or PORTS.get(transport, 0)
        return self.endpoint.flow_to(transport, target.host, port, domain=target.host)

    async def close(self) -> None:
        """Hang up what is up and close every socket; waits for BYEs to be answered, a second at most."""
        calls = [call for agent in self.phones.agents.values() for call in agent.calls]
        for call in calls:
            call.hang_up()
        for _ in range(50):
            if all(call.state == "ended" for call in calls):
                break
            await asyncio.sleep(0.02)
        for call in calls:
            call.media.close()
        for agent in list(self.phones.agents.values()):
            agent.close()
        await self.endpoint.close()


def _token() -> str:
    return secrets.token_hex(8)
