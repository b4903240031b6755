"""The built-in relay, on the signalling side: which leg has which ports, and what the workers are told.

Keeps `backend.MediaBackend`. An offer only books ports, and the worker hears of a call when it is answered: so nothing
in set-up waits for a worker, and a re-INVITE that fails has changed nothing. RTP itself is never seen here (`worker`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import count

from pbxcore.hooks import StreamStats
from pbxcore.media.backend import SWITCHED_OFF, KernelState, MediaError, MediaListener, NoRoom, itself
from pbxcore.media.book import split_range
from pbxcore.media.channel import Channel
from pbxcore.media.records import Counters, Lines, Message
from pbxcore.media.rewrite import LOWEST_PORT, Body, read
from pbxcore.media.ringback import payload_for
from pbxcore.sip.addresses import is_stranded

PATIENCE = 2.0            # seconds an offer waits for ports at most
START_SECONDS = 10.0
PING_SECONDS = 5.0
DELETE_SECONDS = 0.02     # that a delete may wait to go with an answer: well under the rest that its ports get
SILENCE_SECONDS = 20.0    # a worker that said nothing for so long, in spite of pings, is ended
RESTART_SECONDS = 1.0     # between two starts of a worker that dies at once
NOTHING = StreamStats()
Received = tuple[StreamStats, StreamStats]      # from `a`, and from the party he speaks to


class _Leg:
    """One party of a call. `ports` are the RTP ports that face it, one a media line (0: none) on the address `local`;
    `retired` are ports of an address it was reached on before; the worker uses them until the next answer. `offered` is
    what its last offer said; `session` and `version` are those of the o= lines it was sent."""

    __slots__ = ("known", "local", "offered", "ports", "rendered", "retired", "session", "source", "version")

    def __init__(self, session: int) -> None:
        self.local = ""
        self.ports: list[int] = []
        self.retired: Sequence[tuple[str, int]] = ()
        self.offered: Body | None = None
        self.source = ""              # where its SDP was signalled from
        self.known = False            # the worker has heard of it
        self.session = session
        self.version = 0
        self.rendered = b""


class _Call:
    __slots__ = ("channel", "legs")

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.legs: dict[str, _Leg] = {}


class Relay:
    """A `MediaBackend` over worker processes. `addresses` are local addresses to have ports ready on from the start;
    `behind` gives the local address for one that a peer is told;
    `kernel`: let the kernel relay what it can, where it may.

    Raises ValueError for a range of ports that cannot be read.
    """

    def __init__(
        self, *, ports: str = "20000-29999", workers: int = 1, timeout_seconds: float = 60.0,
        addresses: Iterable[str] = (), behind: Callable[[str], str] = itself, kernel: bool = False,
    ) -> None:  # fmt: skip
        self._kernel = kernel
        self._ranges = split_range(ports, workers)
        self._timeout = timeout_seconds
        self._addresses = tuple(dict.fromkeys(addresses))
        self._behind = behind if behind is not itself else None
        self._calls: dict[str, _Call] = {}
        self._channels: list[Channel] = []
        self._queries: dict[str, list[asyncio.Future[Received]]] = {}
        self._timers: set[asyncio.TimerHandle] = set()
        self._sessions = count()
        self.workers_lost = 0
        self.commands_failed = 0
        self._kernel_before = 0         # packets that the kernel relayed for workers that are gone

    async def start(self, listener: MediaListener) -> None:
        """Start the workers and wait until each has ports. Raises MediaError when one does not come up."""
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._clock: Callable[[], float] = self._loop.time
        self._sessions = count(int(time.time()))        # of our o= lines: they go up from here
        for ports in self._ranges:
            self._start_worker(ports, self._addresses)
        deadline = self._clock() + START_SECONDS
        for channel in self._channels:
            while any(pool.asked for pool in channel.pools.values()):
                if not channel.alive or self._clock() >= deadline:
                    await self.close()
                    raise MediaError("a media worker does not come up; its own words are on standard error")
                await channel.wait(deadline)
        self._later(PING_SECONDS, self._ping)

    def _start_worker(self, ports: tuple[int, int], addresses: Iterable[str]) -> None:
        channel = Channel(ports, self._timeout, self._on_report, self._on_lost, kernel=self._kernel)
        self._channels.append(channel)
        for address in addresses:
            channel.pool(address)

    def _later(self, seconds: float, what: Callable[[], None]) -> None:
        def run() -> None:
            self._timers.discard(timer)
            what()

        timer = self._loop.call_later(seconds, run)
        self._timers.add(timer)

    # --- MediaBackend

    async def offer(
        self, call_id: str, from_leg: str, to_leg: str, sdp: bytes, *, local: str, source: str = ""
    ) -> bytes:
        body = read(sdp)
        call = self._calls.get(call_id)
        if call is None:
            call = self._calls[call_id] = _Call(self._choose())
        elif not call.channel.alive:
            raise MediaError("the media worker of this call is gone")
        legs = call.legs
        sender = legs.get(from_leg)
        if sender is None:
            sender = legs[from_leg] = _Leg(next(self._sessions))
        receiver = legs.get(to_leg)
        if receiver is None:
            receiver = legs[to_leg] = _Leg(next(self._sessions))
        sender.offered = body
        sender.source = source
        own = local if self._behind is None else self._behind(local)
        if not self._equip(call.channel, receiver, own, body.ports):
            await self._equip_patiently(call_id, call, receiver, own, body.ports)
        return _render(receiver, body, local)

    async def answer(
        self, call_id: str, from_leg: str, to_leg: str, sdp: bytes, *, local: str, source: str = ""
    ) -> bytes:
        body = read(sdp)
        try:
            call = self._calls[call_id]
            answerer, offerer = call.legs[from_leg], call.legs[to_leg]
            offered = offerer.offered
        except KeyError:
            offered = None
        if offered is None:
            raise MediaError(f"{from_leg} answers {to_leg}, who offered nothing")
        channel = call.channel
        if not channel.alive:
            raise MediaError("the media worker of this call is gone")
        wanted = body.ports
        if len(wanted) != len(offered.ports):
            raise MediaError("the answer has not as many media lines as the offer")
        held = True         # nothing need flow: on every media line one of the two is on hold
        for index, (port, ours, theirs) in enumerate(zip(offered.ports, body.parts, offered.parts, strict=True)):
            if not port:
                wanted[index] = 0
            if not (ours.held or theirs.held):
                held = False
        own = local if self._behind is None else self._behind(local)
        if not self._equip(channel, offerer, own, wanted):
            await self._equip_patiently(call_id, call, offerer, own, wanted)
        answerer.source = source
        its_lines, lines = _describe(answerer, body, offered), _describe(offerer, offered, body)
        channel.send(("answer", call_id, to_leg, lines, held, from_leg, its_lines))
        answerer.known = offerer.known = True
        if answerer.retired or offerer.retired:
            now = self._clock()
            _give_back_retired(channel, answerer, now)
            _give_back_retired(channel, offerer, now)
        return _render(offerer, body, local)

    def drop_leg(self, call_id: str, leg: str) -> None:
        call = self._calls.get(call_id)
        dropped = call.legs.pop(leg, None) if call is not None else None
        if call is None or dropped is None:
            return
        if dropped.known:
            call.channel.send(("delete", call_id, leg), DELETE_SECONDS)
        _give_back(call.channel, dropped, self._clock())

    async def attend(self, call_id: str, leg: str, sdp: bytes, answer: bytes, *, local: str, source: str = "") -> bytes:
        offered, ours = read(sdp), read(answer)
        call = self._calls.get(call_id)
        if call is None:
            call = self._calls[call_id] = _Call(self._choose())
        if not call.channel.alive:
            raise MediaError("the media worker of this call is gone")
        party = call.legs.get(leg)
        if party is None:
            party = call.legs[leg] = _Leg(next(self._sessions))
        party.offered = offered
        party.source = source
        own = local if self._behind is None else self._behind(local)
        if not self._equip(call.channel, party, own, ours.ports):
            await self._equip_patiently(call_id, call, party, own, ours.ports)
        lines, held = _describe(party, offered, ours), all(part.held for part in offered.parts)
        call.channel.send(("answer", call_id, leg, lines, held))
        party.known = True
        _give_back_retired(call.channel, party, self._clock())
        return _render(party, ours, local)

    def play(
        self, call_id: str, leg: str, files: Sequence[str], *, payload: int, number: int, repeat: bool = False
    ) -> None:
        self._tell("play media", call_id, leg, payload, list(files), number, repeat)

    def listen(self, call_id: str, leg: str, events: int) -> None:
        self._tell("listen", call_id, leg, events)

    def record(self, call_id: str, file: str, seconds: float) -> None:
        self._tell("start recording", call_id, file, seconds)

    def stop_recording(self, call_id: str) -> None:
        self._tell("stop recording", call_id)

    def _tell(self, verb: str, call_id: str, *words: object) -> None:
        call = self._calls.get(call_id)
        if call is not None:
            call.channel.send((verb, call_id, *words))

    def ring(self, call_id: str, leg: str, sdp: bytes) -> None:
        payload = payload_for(sdp)
        if payload is not None:
            self._tell("play media", call_id, leg, payload)

    def quiet(self, call_id: str) -> None:
        self._tell("stop media", call_id)

    def delete(self, call_id: str) -> None:
        call = self._calls.pop(call_id, None)
        if call is None:
            return
        channel = call.channel
        channel.load -= 1
        known = False
        now = self._clock()
        for leg in call.legs.values():
            known = known or leg.known
            _give_back(channel, leg, now)
        if known and channel.alive:
            channel.deleting.add(call_id)
            channel.send(("delete", call_id), DELETE_SECONDS)
        else:
            self._loop.call_soon(self._listener.media_deleted, call_id, NOTHING, NOTHING)

    def ports_in_use(self) -> int:
        """Pairs of ports lent to calls."""
        return sum(pool.lent for channel in self._channels for pool in channel.pools.values())

    def kernel(self) -> KernelState:
        if not self._kernel:
            return KernelState(SWITCHED_OFF)
        refusal = next((channel.refusal for channel in self._channels if channel.refusal), "")
        streams = sum(channel.streams for channel in self._channels)
        return KernelState(refusal, streams, self._kernel_before + sum(channel.packets for channel in self._channels))

    async def close(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        channels, self._channels = self._channels, []
        for channel in channels:
            await channel.close()

    # --- beyond the protocol

    def worker_pids(self) -> list[int]:
        """The worker processes that run now."""
        return [channel.pid for channel in self._channels if channel.alive]

    async def query(self, call_id: str) -> Received:
        """What was received so far. Raises MediaError."""
        call = self._calls.get(call_id)
        if call is None or not call.channel.alive:
            raise MediaError(f"no call {call_id}")
        answer: asyncio.Future[Received] = self._loop.create_future()
        self._queries.setdefault(call_id, []).append(answer)
        call.channel.send(("query", call_id))
        timer = self._loop.call_later(PATIENCE, _give_up, answer)
        try:
            return await answer
        finally:
            timer.cancel()

    # --- ports

    def _choose(self) -> Channel:
        """The worker with the fewest calls."""
        chosen: Channel | None = None
        for channel in self._channels:
            if channel.alive and (chosen is None or channel.load < chosen.load):
                chosen = channel
        if chosen is None:
            raise NoRoom("no media worker is running")
        chosen.load += 1
        return chosen

    def _equip(self, channel: Channel, leg: _Leg, local: str, wanted: Sequence[int]) -> bool:
        """Have a pair of ports on `local` for every media line that is wanted (not 0); False when some are missing
        yet."""
        if leg.local != local:
            if leg.ports:
                leg.retired = [*leg.retired, *[(leg.local, port) for port in leg.ports if port]]
                leg.ports = []
            leg.local = local
        ports = leg.ports
        pool = channel.pools.get(local) or channel.pool(local)
        for index, theirs in enumerate(wanted):
            if index == len(ports):
                ports.append(0)
            if theirs and not ports[index]:
                port = pool.take(self._clock())
                if not port:
                    return False
                ports[index] = port
        if pool.needs_more():
            channel.grow(pool)
        return True

    async def _equip_patiently(
        self, call_id: str, call: _Call, leg: _Leg, local: str, wanted: Sequence[int]
    ) -> None:
        """The slow way: a local address not seen before, or a run on the pool. Raises MediaError."""
        channel = call.channel
        pool = channel.pool(local)
        deadline = self._clock() + PATIENCE
        while True:
            if not channel.alive:
                raise NoRoom("the media worker is gone")
            if pool.needs_more():
                channel.grow(pool)
            rested = pool.next_rested()
            if pool.error and rested is None:
                if not pool.lent:
                    del channel.pools[local]        # the address may be there tomorrow
                raise NoRoom(f"no ports left: {pool.error}")
            if self._clock() >= deadline:
                raise NoRoom("no ports left" + (f": {pool.error}" if pool.error else " yet"))
            await channel.wait(deadline if rested is None else min(deadline, rested))
            if self._calls.get(call_id) is not call or leg not in call.legs.values():
                raise MediaError("the call is over")
            if self._equip(channel, leg, local, wanted):
                return

    # --- what workers report

    def _on_report(self, channel: Channel, report: Message) -> None:
        event, *words = report
        if event == "deleted":
            call_id, from_a, from_b = words
            channel.deleting.discard(call_id)
            self._listener.media_deleted(call_id, _stats(from_a), _stats(from_b))
        elif event in ("timeout", "flooded"):
            self._listener.media_timed_out(*words)
        elif event == "digit":
            self._listener.media_digit(*words)
        elif event == "played":
            self._listener.media_played(*words)
        elif event == "recorded":
            call_id, ms = words
            self._listener.media_recorded(call_id, ms / 1000)
        elif event == "pong":
            channel.streams, channel.packets = words
        elif event == "ready":
            [channel.refusal] = words
        elif event == "failed":
            self.commands_failed += 1
        elif event == "queried":
            call_id, from_a, from_b = words
            for waiter in self._queries.pop(call_id, []):
                if not waiter.done():
                    waiter.set_result((_stats(from_a), _stats(from_b)))

    def _on_lost(self, channel: Channel) -> None:
        """A worker died: start another, and tell whose calls went with it."""
        self.workers_lost += 1
        self._channels.remove(channel)
        self._kernel_before += channel.packets
        at_once = self._clock() - channel.started_at > RESTART_SECONDS
        self._later(0.0 if at_once else RESTART_SECONDS, lambda: self._start_worker(channel.ports, channel.pools))
        for call_id in channel.deleting:
            self._listener.media_deleted(call_id, NOTHING, NOTHING)
        for call_id in [call_id for call_id, call in self._calls.items() if call.channel is channel]:
            self._listener.media_lost(call_id)

    def _ping(self) -> None:
        now = self._clock()
        for channel in list(self._channels):
            if now - channel.heard_at > SILENCE_SECONDS:
                channel.lose()
            else:
                channel.send(("ping",))
        self._later(PING_SECONDS, self._ping)


def _give_up(answer: asyncio.Future[Received]) -> None:
    if not answer.done():
        answer.set_exception(MediaError("the media worker does not answer"))


def _render(leg: _Leg, body: Body, local: str) -> bytes:
    """The SDP for `leg`; its version goes up when it differs from the one sent before (RFC 3264 section 5)."""
    if leg.rendered:
        rendered = body.render(local, leg.ports, leg.session, leg.version)
        if rendered == leg.rendered:
            return rendered
    leg.version += 1
    leg.rendered = body.render(local, leg.ports, leg.session, leg.version)
    return leg.rendered


def _give_back(channel: Channel, leg: _Leg, now: float) -> None:
    """Let all of a leg's ports rest."""
    if leg.retired:
        _give_back_retired(channel, leg, now)
    if channel.alive:
        for port in leg.ports:
            if port:        # a leg that got none may be on an address whose pool is gone
                channel.pools[leg.local].give_back(port, now)
    leg.ports = []


def _give_back_retired(channel: Channel, leg: _Leg, now: float) -> None:
    if channel.alive:
        for local, port in leg.retired:
            channel.pools[local].give_back(port, now)
    leg.retired = ()


def _describe(leg: _Leg, body: Body, other: Body) -> Lines:
    """A leg that said `body` to who said `other`. Raises MediaError for a remote address that this leg's sockets cannot
    reach."""
    local, source = leg.local, leg.source
    told: Lines = []
    lines = zip(leg.ports, body.ports, other.ports, body.parts, other.parts, strict=False)
    for own, port, its_port, part, its in lines:
        if not (own and port and its_port):
            told.append(None)
            continue
        host, rtcp_host, hosts = _reached(local, part.host, part.rtcp_host, source)
        rtp = rtcp = (host, port)
        if not (part.mux and its.mux):
            rtcp_port = port + 1 if part.rtcp_port is None else part.rtcp_port
            if LOWEST_PORT <= rtcp_port <= 65535:      # or none is wanted
                rtcp = (rtcp_host, rtcp_port)
        told.append(((local, own), rtp, rtcp, part.rate, hosts))
    return told


@lru_cache(maxsize=1024)
def _reached(local: str, host: str, rtcp_host: str, source: str) -> tuple[str, str, tuple[str, ...]]:
    """Where to send RTP and RTCP from `local` for whoever named these two hosts and spoke from `source`; and who may
    send. Raises MediaError."""
    if (":" in local) != (":" in host):
        raise MediaError(f"{host} cannot be reached from {local}")
    hosts: tuple[str, ...] = (host,)
    if source and source != host:   # behind a NAT, or its media is elsewhere
        if is_stranded(host, source):   # whoever has this address in our own network is somebody else
            host = rtcp_host = source           # many a NAT keeps the port
            hosts = (source,)
        else:
            hosts = (host, source)
    if _is_loopback(host) and not _is_loopback(local):
        raise MediaError(f"the SDP names {host}, which is this machine")
    return host, rtcp_host, hosts


def _is_loopback(host: str) -> bool:
    return host.startswith("127.") or host == "::1"


def _stats(counters: Counters) -> StreamStats:
    if not counters:
        return NOTHING
    packets, octets, lost, jitter = counters
    return StreamStats(packets, octets, lost, jitter / 1000.0)
