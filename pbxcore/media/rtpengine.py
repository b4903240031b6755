"""A `MediaBackend` over rtpengine daemons and their ng protocol: one line of configuration instead of our workers.

A leg's label is its tag there, and the label of the party called is the via-branch too, which is how rtpengine tells
forks apart. A call stays with the daemon that took its first offer; a new call goes to the next one that lives.

Against RTP bleed a stream is taken from the SDP's address alone (`asymmetric`, `strict-source`), unless a private
address in the SDP and another one in the signalling show that the phone is behind NAT: then rtpengine learns the
address by its heuristic, which a stranger can win in the first seconds. The built-in relay does not have that weakness.
More differences: every fork that answers gets a port of its own towards the caller, loss and jitter are not told, keys
are understood by INFO only, and nothing is recorded (menus and mailboxes want the built-in relay).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal

import structlog

from pbxcore.hooks import StreamStats
from pbxcore.media import wav
from pbxcore.media.backend import RTPENGINE, KernelState, MediaError, MediaListener, NoRoom, itself
from pbxcore.media.ng import Daemon, NoAnswer, Words
from pbxcore.media.rewrite import Body, read
from pbxcore.media.ringback import payload_for, sound
from pbxcore.sip.addresses import is_stranded

log = structlog.get_logger("hookline.media")

NOTHING = StreamStats()
CHECKS = 4                # looks at a call within its time-out
OURSELVES = "x"           # the label of the exchange itself, when it talks to a party


class _Call:
    """`offerer` is the tag of the first offer; `lines` are the streams each leg has, by label; `seen` counts packets
    and `changed_at` is when it last grew. `sounds` counts what was to be heard: a sound that is read from the disk
    meanwhile is not played any more."""

    __slots__ = (
        "answered", "changed_at", "daemon", "held", "lines", "offered", "offerer", "reported", "seen", "sounds",
        "speaks",
    )  # fmt: skip

    def __init__(self, daemon: Daemon, offerer: str) -> None:
        self.daemon = daemon
        self.offerer = offerer
        self.lines: dict[str, int] = {}
        self.offered: dict[str, Body] = {}
        self.answered: set[str] = set()
        self.speaks = ""                  # the leg that speaks to `a`
        self.held = False
        self.seen = -1
        self.sounds = 0
        self.changed_at = 0.0
        self.reported = False


class Rtpengine:
    """Raises ValueError for an address that cannot be read, or none at all."""

    def __init__(
        self, daemons: Iterable[str], *, timeout_seconds: float = 60.0, behind: Callable[[str], str] = itself
    ) -> None:
        self._daemons = [Daemon(spec, self._on_dead) for spec in daemons]
        if not self._daemons:
            raise ValueError("no rtpengine is named: media.rtpengine = [\"udp:127.0.0.1:2223\"]")
        self._timeout = timeout_seconds
        self._behind = behind
        self._calls: dict[str, _Call] = {}
        self._next = 0
        self._check_timer: asyncio.TimerHandle | None = None

    async def start(self, listener: MediaListener) -> None:
        """Raises MediaError when no daemon answers."""
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        for daemon in self._daemons:
            await daemon.open()
        if not any(await asyncio.gather(*(daemon.ping() for daemon in self._daemons))):
            await self.close()
            raise MediaError("no rtpengine answers at " + ", ".join(daemon.spec for daemon in self._daemons))
        self._check_timer = self._loop.call_later(self._timeout / CHECKS, self._check)

    async def close(self) -> None:
        if self._check_timer is not None:
            self._check_timer.cancel()
        self._calls.clear()
        for daemon in self._daemons:
            daemon.close()

    async def offer(
        self, call_id: str, from_leg: str, to_leg: str, sdp: bytes, *, local: str, source: str = ""
    ) -> bytes:
        body = read(sdp)
        call = self._calls.get(call_id)
        words = self._words("offer", call_id, from_leg, to_leg, sdp, body, local, source)
        if call is None:
            reply = await self._offer_anywhere(call_id, from_leg, words)
            call = self._calls[call_id]
        else:
            if to_leg in call.answered and from_leg in call.answered:
                words["to-tag"] = to_leg
            reply = await self._ask(call, words)
        call.offered[from_leg] = body
        call.lines[to_leg] = sum(port > 0 for port in body.ports)
        return _sdp(reply)

    def _words(
        self, command: Literal["offer", "answer"], call_id: str, offerer: str, answerer: str, sdp: bytes, body: Body,
        local: str, source: str,
    ) -> dict[str, Any]:  # fmt: skip
        hosts = {part.host for part, port in zip(body.parts, body.ports, strict=True) if port}
        behind_nat = bool(source) and any(host != source and not ip_address(host).is_global for host in hosts)
        family = "IP6" if ":" in local else "IP4"
        flags = ["strict-source", "no-rtcp-attribute", "endpoint-learning-heuristic" if behind_nat else "asymmetric"]
        words: dict[str, Any] = {
            "command": command, "call-id": call_id, "from-tag": offerer, "sdp": sdp, "ICE": "remove",
            "via-branch": answerer if offerer == "a" else offerer, "address family": family,
            "replace": ["origin", "session-connection"], "flags": flags,
        }  # fmt: skip
        if source:
            words["received-from"] = ["IP6" if ":" in source else "IP4", source]
            if hosts and all(is_stranded(host, source) for host in hosts):
                flags.append("SIP-source-address")   # what the SDP names is somebody else here
        if self._behind(local) != local:
            words["media address"] = local   # that of the router before us
        return words

    async def _offer_anywhere(self, call_id: str, from_leg: str, words: dict[str, Any]) -> Words:
        """The first offer of a call: the next daemon that answers takes it."""
        self._next += 1
        order = [self._daemons[(self._next + n) % len(self._daemons)] for n in range(len(self._daemons))]
        order.sort(key=lambda daemon: not daemon.alive)
        trouble: MediaError = NoRoom("no rtpengine is alive")
        for daemon in order:
            call = self._calls[call_id] = _Call(daemon, from_leg)
            try:
                return await self._ask(call, words)
            except NoAnswer as error:
                trouble = error
                if self._calls.get(call_id) is not call:
                    raise
        raise trouble

    async def answer(
        self, call_id: str, from_leg: str, to_leg: str, sdp: bytes, *, local: str, source: str = ""
    ) -> bytes:
        body = read(sdp)
        call = self._calls.get(call_id)
        offered = call.offered.get(to_leg) if call is not None else None
        if call is None or offered is None or from_leg not in call.lines:
            raise MediaError(f"{from_leg} answers {to_leg}, who offered nothing")
        if len(body.ports) != len(offered.ports):
            raise MediaError("the answer has not as many media lines as the offer")
        # rtpengine, like SIP, names both by the direction of the offer.
        words = self._words("answer", call_id, to_leg, from_leg, sdp, body, local, source)
        words["to-tag"] = from_leg
        reply = await self._ask(call, words)
        call.answered |= {from_leg, to_leg}
        call.lines[to_leg] = sum(port > 0 for port in body.ports)
        call.speaks = from_leg if to_leg == "a" else to_leg
        call.held = all(one.held or other.held for one, other in zip(body.parts, offered.parts, strict=True))
        call.changed_at = self._loop.time()
        call.reported = False
        return _sdp(reply)

    async def _ask(self, call: _Call, words: dict[str, Any]) -> Words:
        reply = await call.daemon.request(words)
        if reply.get("result") != "ok":
            raise MediaError(f"rtpengine: {reply.get('error-reason', 'refused')}")
        return reply

    def drop_leg(self, call_id: str, leg: str) -> None:
        call = self._calls.get(call_id)
        if call is None or call.lines.pop(leg, None) is None:
            return
        call.answered.discard(leg)
        call.daemon.request({
            "command": "delete", "call-id": call_id, "from-tag": "a", "to-tag": leg, "via-branch": leg,
            "delete delay": 0,
        })  # fmt: skip

    async def attend(self, call_id: str, leg: str, sdp: bytes, answer: bytes, *, local: str, source: str = "") -> bytes:
        """rtpengine bridges two: the other one is an address of ours at which nobody reads."""
        await self.offer(call_id, leg, OURSELVES, sdp, local=local, source=source)
        return await self.answer(call_id, OURSELVES, leg, answer, local=local)

    def play(
        self, call_id: str, leg: str, files: Sequence[str], *, payload: int, number: int, repeat: bool = False
    ) -> None:
        call = self._calls.get(call_id)
        if call is None:
            return
        call.sounds += 1
        reading = self._loop.run_in_executor(None, _sound_of, tuple(files))
        reading.add_done_callback(partial(self._on_read, call_id, leg, call.sounds, number, repeat))

    def _on_read(
        self, call_id: str, leg: str, turn: int, number: int, repeat: bool, reading: asyncio.Future[bytes]
    ) -> None:
        call = self._calls.get(call_id)
        if call is None or call.sounds != turn:
            return
        sound = reading.result()
        if sound:
            words: dict[str, Any] = {"command": "play media", "call-id": call_id, "from-tag": leg}
            words |= {"blob": wav.wrap_ulaw(sound)} | ({"repeat-times": 100} if repeat else {})
            call.daemon.request(words)
        if not repeat or not sound:
            self._loop.call_later(len(sound) / wav.RATE, self._listener.media_played, call_id, number)

    def listen(self, call_id: str, leg: str, events: int) -> None:
        """Keys come by INFO only: rtpengine logs those in RTP, and tells nobody."""

    def record(self, call_id: str, file: str, seconds: float) -> None:
        """Nothing is recorded: rtpengine leaves that to a daemon of its own."""
        self._loop.call_soon(self._listener.media_recorded, call_id, 0.0)

    def stop_recording(self, call_id: str) -> None:
        """Nothing is being recorded."""

    def ring(self, call_id: str, leg: str, sdp: bytes) -> None:
        call = self._calls.get(call_id)
        if call is not None and payload_for(sdp) is not None:
            call.sounds += 1
            words: dict[str, Any] = {"command": "play media", "call-id": call_id, "from-tag": leg}
            call.daemon.request({**words, "blob": wav.wrap_ulaw(sound()), "repeat-times": 100})

    def quiet(self, call_id: str) -> None:
        call = self._calls.get(call_id)
        if call is not None:
            call.sounds += 1
            call.daemon.request({"command": "stop media", "call-id": call_id, "all": "all"})

    def delete(self, call_id: str) -> None:
        call = self._calls.pop(call_id, None)
        if call is None:
            return
        gone = call.daemon.request({
            "command": "delete", "call-id": call_id, "from-tag": call.offerer, "delete delay": 0,
        })  # fmt: skip
        gone.add_done_callback(partial(self._on_deleted, call_id, call.speaks))

    def _on_deleted(self, call_id: str, speaks: str, reply: asyncio.Future[Words]) -> None:
        words = reply.result() if not reply.cancelled() and reply.exception() is None else {}
        self._listener.media_deleted(call_id, _statistics(words, "a"), _statistics(words, speaks))

    def ports_in_use(self) -> int:
        """Pairs of ports that the calls' SDPs name; rtpengine may hold more in reserve."""
        return sum(sum(call.lines.values()) for call in self._calls.values())

    def kernel(self) -> KernelState:
        return KernelState(RTPENGINE)

    # --- silence and death

    def _on_dead(self, daemon: Daemon) -> None:
        for call_id in [call_id for call_id, call in self._calls.items() if call.daemon is daemon]:
            self._listener.media_lost(call_id)

    def _check(self) -> None:
        """Ask after every call that is answered; rtpengine tells nobody by itself."""
        self._check_timer = self._loop.call_later(self._timeout / CHECKS, self._check)
        for call_id, call in self._calls.items():
            if call.answered and call.daemon.alive and not call.reported:
                asked = call.daemon.request({"command": "query", "call-id": call_id})
                asked.add_done_callback(partial(self._on_checked, call_id))

    def _on_checked(self, call_id: str, reply: asyncio.Future[Words]) -> None:
        call = self._calls.get(call_id)
        if call is None or reply.cancelled() or reply.exception() is not None:
            return
        words = reply.result()
        now = self._loop.time()
        seen = sum(packets for packets, _ in _streams(words, None)) if words.get("result") == "ok" else call.seen
        if seen != call.seen or call.held:
            call.seen = seen
            call.changed_at = now
        elif now - call.changed_at > self._timeout and not call.reported:
            call.reported = True
            self._listener.media_timed_out(call_id)


def _sound_of(files: Iterable[str]) -> bytes:
    """On a thread. What cannot be read is not heard."""
    sound = b""
    for file in files:
        try:
            sound += Path(file).read_bytes()
        except OSError as error:
            log.error("sound not heard", file=file, error=str(error))
    return sound


def _sdp(reply: Words) -> bytes:
    return str(reply.get("sdp", "")).encode("utf-8", "surrogateescape")


def _streams(words: Words, tag: str | None) -> Iterator[tuple[int, int]]:
    """Packets and octets of the streams of a leg, or of all, RTCP included for all; strangers' are not counted."""
    tags: Any = words.get("tags", {})
    for name, leg in tags.items():
        if tag is not None and name != tag:
            continue
        for media in leg["medias"]:
            for stream in media["streams"]:
                if tag is None or "RTP" in stream["flags"]:
                    stats = stream["stats"]
                    yield stats["packets"] - stats["errors"], stats["bytes"]


def _statistics(words: Words, tag: str) -> StreamStats:
    packets = octets = 0
    for more_packets, more_octets in _streams(words, tag):
        packets += more_packets
        octets += more_octets
    return StreamStats(packets, octets) if packets else NOTHING
