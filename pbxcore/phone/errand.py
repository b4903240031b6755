"""What `hookline phone` does: one registration, one call, and an account of them as text or JSON lines."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from pbxcore.media import tone, wav
from pbxcore.net.connections import Options
from pbxcore.net.flow import PORTS, ListenError, NoFlow, parse_spec, source_towards
from pbxcore.phone.audio import AudioEnd, Sound, tone_sound
from pbxcore.phone.call import PhoneCall
from pbxcore.phone.host import CallFailed, Phone, PhoneEvent, PhoneHost
from pbxcore.sip.errors import SipError
from pbxcore.sip.uri import Uri, join_host

REGISTER_SECONDS = 10.0
RING_SECONDS = 60.0       # patience with a call of ours when no --wait is given
SETTLE_SECONDS = 0.3      # between the answer and the first digit: the far side starts its audio
TRANSFER_SECONDS = 40.0
HANG_UP_SECONDS = 5.0
TONE_TOLERANCE = 5        # Hz


@dataclass(frozen=True, slots=True)
class Errand:
    """The command's options."""

    aor: str
    username: str
    password: str
    listen: str
    ca: str
    target: str
    answer: bool
    answer_after: float
    reject: int | None
    play: Path | None
    once: bool
    tone: int | None
    record: Path | None
    dtmf: str
    info: bool
    transfer: str
    expect_tone: int | None
    seconds: float | None
    wait: float | None
    as_json: bool


Result = TypeVar("Result")


class Failed(Exception):
    """The errand cannot go on; the message says why."""


async def run(errand: Errand) -> int:
    """The exit status of the command."""
    account = Account(errand.as_json)
    try:
        async with PhoneHost(options=Options(authorities=errand.ca)) as host:
            return await _Runner(errand, host, account).run()
    except (Failed, ListenError, SipError, wav.WavError, OSError) as error:
        account.say("failed", reason=str(error))
        return 1


class Account:
    """Tells events: one JSON object a line, or a line of text."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json

    def say(self, event: str, **values: Any) -> None:
        values = {key: value for key, value in values.items() if value is not None}
        if self._as_json:
            click.echo(json.dumps({"event": event, "at": round(time.time(), 3), **values}))
        else:
            details = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in values.items() if value != "")
            click.echo(f"{time.strftime('%H:%M:%S')}  {event.replace('_', ' ')}{': ' if details else ''}{details}")


class _Runner:
    def __init__(self, errand: Errand, host: PhoneHost, account: Account) -> None:
        self._errand = errand
        self._host = host
        self._account = account
        self._stop = asyncio.Event()   # Ctrl-C
        self._failures: list[str] = []
        self._transferred: asyncio.Future[int] | None = None   # the status of a transfer, once it is told

    async def run(self) -> int:
        registrar = await self._open()
        phone = self._phone(registrar)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError):   # not on Windows
                loop.add_signal_handler(number, self._stop.set)
        if registrar:
            try:
                await self._or_stop(phone.register(within=REGISTER_SECONDS))
            except (CallFailed, TimeoutError) as error:
                raise Failed(f"not registered: {str(error) or 'no answer'}") from error
        try:
            await self._do(phone)
        finally:
            if registrar:
                with contextlib.suppress(TimeoutError):
                    await phone.unregister(within=1.0)
        if self._failures:
            self._account.say("failed", reason="; ".join(self._failures))
        return 1 if self._failures else 0

    async def _do(self, phone: Phone) -> None:
        errand = self._errand
        if errand.target:
            call = await self._call(phone)
        elif errand.answer:
            call = await self._be_called(phone)
        else:
            await self._pause(errand.seconds)
            return
        if call is not None:
            await self._talk(phone, call)
        elif not self._failures:
            self._failures.append("stopped before a call was up")

    # ---- the parts

    async def _open(self) -> str:
        """Opens the local socket; the registrar's address, empty without one."""
        errand = self._errand
        if not errand.aor and not errand.target:
            await self._host.listen(errand.listen)
            return ""
        uri = Uri.parse(errand.aor or errand.target)
        if uri.scheme not in ("sip", "sips"):
            raise Failed(f"{errand.aor or errand.target}: without --register the target is a sip: URI")
        transport = "tls" if uri.scheme == "sips" else (uri.params.get("transport") or "udp").lower()
        address, port = await _address(uri.host), uri.port or PORTS.get(transport.upper(), 5060)
        spec = errand.listen
        if not spec:   # a TLS phone opens its connection, and nobody opens one to it
            source = source_towards(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
            spec = f"{'udp' if transport == 'tls' else transport}:{join_host(source, 0)}"
        listener = await self._host.listen(spec)
        if listener.host in ("0.0.0.0", "::"):
            self._host.address = source_towards(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
        return f"{transport}:{join_host(address, port)}" if errand.aor else ""

    def _phone(self, registrar: str) -> Phone:
        errand = self._errand
        sound = None
        if errand.play is not None:
            sound = Sound.wav(errand.play, repeat=not errand.once)
        elif errand.tone is not None:
            sound = tone_sound(errand.tone)
        aor = Uri.parse(errand.aor or f"sip:phone@{join_host(self._host.address, None)}")
        aor.params = {}
        phone = self._host.phone(
            str(aor), password=errand.password, username=errand.username, registrar=registrar, sound=sound,
            domain=aor.host,
            record=str(errand.record) if errand.record else None,
        )  # fmt: skip
        if not registrar and errand.answer:   # called directly, by whatever user name
            self._host.phones.fallback = phone.agent
        phone.agent.max_calls = 1
        phone.agent.answer_after = errand.answer_after if errand.answer else None
        phone.agent.reject_with = errand.reject
        phone.on_event = self._tell
        return phone

    async def _call(self, phone: Phone) -> PhoneCall | None:
        try:
            return await self._or_stop(phone.dial(self._errand.target, within=self._errand.wait or RING_SECONDS))
        except CallFailed as error:
            self._failures.append(f"not answered: {error}")
        except TimeoutError:
            self._failures.append("not answered in time")
        return None

    async def _be_called(self, phone: Phone) -> PhoneCall | None:
        try:
            event = await self._or_stop(phone.wait("answered", within=self._errand.wait))
        except TimeoutError:
            self._failures.append("nobody called in time")
            return None
        return None if event is None else event.call

    async def _talk(self, phone: Phone, call: PhoneCall) -> None:
        """Until the errand is done, the other side hangs up, or Ctrl-C."""
        errand, audio = self._errand, phone.audio(call)
        ended = asyncio.ensure_future(phone.wait("ended", within=None))
        acts = asyncio.ensure_future(self._act(call, audio))
        stop = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait((ended, acts, stop), return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            if call.state == "up":
                call.hang_up()
            await asyncio.wait((ended,), timeout=HANG_UP_SECONDS)
        for task in (ended, acts, stop):
            task.cancel()
        results = await asyncio.gather(ended, acts, stop, return_exceptions=True)
        self._failures += [str(result) for result in results if isinstance(result, Failed)]
        if isinstance(results[1], asyncio.CancelledError) and (errand.transfer or errand.seconds or errand.once):
            self._failures.append("the call was over before all was done")
        if errand.expect_tone is not None:
            heard = frequency(audio.heard())
            if heard is None or abs(heard - errand.expect_tone) > TONE_TOLERANCE:
                self._failures.append(f"expected {errand.expect_tone} Hz, heard {heard or 'no tone'}")

    async def _act(self, call: PhoneCall, audio: AudioEnd) -> None:
        """What is done while the call is up; returns when it is time to hang up."""
        errand = self._errand
        until = None if errand.seconds is None else time.monotonic() + errand.seconds
        if errand.dtmf:
            await self._press(call, audio)
        if errand.transfer:
            await self._transfer(call)
        elif errand.once and until is None:
            await audio.played_out.wait()
        else:
            await self._pause(None if until is None else until - time.monotonic())

    async def _press(self, call: PhoneCall, audio: AudioEnd) -> None:
        await asyncio.sleep(SETTLE_SECONDS)
        try:
            call.press(self._errand.dtmf, info=self._errand.info)
        except ValueError as error:
            raise Failed(str(error)) from error
        if not self._errand.info:
            await audio.pressed_out.wait()

    async def _transfer(self, call: PhoneCall) -> None:
        self._transferred = asyncio.get_running_loop().create_future()
        call.transfer(self._errand.transfer)
        try:
            status = await asyncio.wait_for(self._transferred, TRANSFER_SECONDS)
        except TimeoutError:
            raise Failed("nobody told in time how the transfer went") from None
        if status >= 300:
            raise Failed(f"the transfer failed: {status}")

    # ---- telling

    def _tell(self, event: PhoneEvent) -> None:
        say, call = self._account.say, event.call
        match event.name:
            case "registered":
                say("registered" if event.detail[0] else "unregistered", seconds=event.detail[0] or None)
            case "registration_failed":
                say("registration_failed", status=event.detail[0], reason=event.detail[1])
            case "progress":
                say("ringing", status=event.detail[0])
            case "incoming" if call is not None:
                say("incoming", number=call.number, name=call.name)
            case "answered" if call is not None:
                say("answered", number=call.number)
            case "dtmf":
                say("dtmf", digit=event.detail[0])
            case "held":
                say("held" if event.detail[0] else "resumed")
            case "transfer":
                self._transfer_told(*event.detail)
            case "message":
                say("message", sender=event.detail[0], text=event.detail[1])
            case "ended" if call is not None:
                # Looking for the tone takes a while, and the answer to their BYE is not to wait for it.
                asyncio.get_running_loop().call_soon(self._ended, call)

    def _transfer_told(self, status: int, reason: str) -> None:
        self._account.say("transfer", status=status, reason=reason)
        waiting = self._transferred
        # 202 answers REFER alone; NOTIFY tells the end.
        if status >= 200 and status != 202 and waiting is not None and not waiting.done():
            waiting.set_result(status)

    def _ended(self, call: PhoneCall) -> None:
        values: dict[str, Any] = {"status": call.status, "reason": call.reason, "by": call.ended_by}
        if call.answered_at is not None and call.ended_at is not None:
            values["seconds"] = round(call.ended_at - call.answered_at, 2)
        if isinstance(call.media, AudioEnd) and call.answered_at is not None:
            report = call.media.report
            values |= {
                "sent": report.sent, "received": report.received, "lost": report.lost,
                "jitter_ms": round(report.jitter_ms, 2), "digits": call.media.digits,
            }  # fmt: skip
            if self._errand.expect_tone is not None:
                values["heard_hz"] = frequency(call.media.heard()) or 0
        self._account.say("ended", **values)

    # ---- waiting

    async def _pause(self, seconds: float | None) -> None:
        """So many seconds, or for ever with None; Ctrl-C ends both."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    async def _or_stop(self, what: Coroutine[Any, Any, Result]) -> Result | None:
        """The result of a coroutine, None when Ctrl-C came first."""
        task = asyncio.ensure_future(what)
        stop = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            for one in (task, stop):
                one.cancel()


async def _address(host: str) -> str:
    """The IP address of a host by its name (A and AAAA; no NAPTR, no SRV)."""
    host = host.strip("[]")
    with contextlib.suppress(ListenError):
        parse_spec(f"udp:{join_host(host, 0)}")
        return host
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except OSError as error:
        raise Failed(f"no address is known for {host}: {error.strerror}") from error
    if not found:
        raise NoFlow(f"no address is known for {host}")
    return str(found[0][4][0])


def frequency(pcm: bytes) -> int | None:
    """The tone in the loudest half second, in Hz; None when there is none."""
    window = tone.RATE   # bytes: half a second of 16 bits
    parts = [pcm[at : at + window] for at in range(0, max(1, len(pcm) - window + 1), window)]
    loudest = max(parts, key=tone.level, default=b"")
    if tone.level(loudest) < 0.001:
        return None
    short = loudest[: window // 5]   # 0.1 s tells tones 10 Hz apart, half a second those of 2 Hz
    coarse = max(range(50, 3800, 5), key=lambda hz: tone.share(short, hz))
    fine = max(range(coarse - 8, coarse + 9), key=lambda hz: tone.share(loudest, hz))
    return fine if tone.share(loudest, fine) > 0.5 else None
