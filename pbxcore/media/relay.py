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
from pbxcore.media import bencode
from pbxcore.media.backend import SWITCHED_OFF, KernelState, MediaError, MediaListener, NoRoom, itself
from pbxcore.media.book import split_range
from pbxcore.media.channel import Channel, Words
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
        self._queries: dict[str, list[asyncio.Future[str]]] = {}
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
        channel = Channel(ports, self._timeout, self._on_event, self._on_lost, kernel=self._kernel)
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
        call = self._calls.get(call_id)
        answerer = call.legs.get(from_leg) if call is not None else None
        offerer = call.legs.get(to_leg) if call is not None else None
        if call is None or answerer is None or offerer is None or offerer.offered is None:
            raise MediaError(f"{from_leg} answers {to_leg}, who offered nothing")
        if not call.channel.alive:
            raise MediaError("the media worker of this call is gone")
        offered = offerer.offered
        wanted = body.ports
        if len(wanted) != len(offered.ports):
            raise MediaError("the answer has not as many media lines as the offer")
        held = "yes"        # nothing need flow: on every media line one of the two is on hold
        for index, port in enumerate(offered.ports):
            if not port:
                wanted[index] = 0
            if not (body.parts[index].held or offered.parts[index].held):
                held = "no"
        own = local if self._behind is None else self._behind(local)
        if not self._equip(call.channel, offerer, own, wanted):
            await self._equip_patiently(call_id, call, offerer, own, wanted)
        answerer.source = source
        from_, to = _describe(answerer, body, offered), _describe(offerer, offered, body)
        call.channel.send((     # bencode by hand: there is one in every call
            f"d7:command6:answer7:call-id{len(call_id)}:{call_id}8:from-tag{len(from_leg)}:{from_leg}"
            f"6:to-tag{len(to_leg)}:{to_leg}4:from{len(from_)}:{from_}2:to{len(to)}:{to}4:hold{len(held)}:{held}e"
        ).encode("ascii"))  # fmt: skip
        answerer.known = offerer.known = True
        if answerer.retired or offerer.retired:
            now = self._clock()
            _give_back_retired(call.channel, answerer, now)
            _give_back_retired(call.channel, offerer, now)
        return _render(offerer, body, local)

    def drop_leg(self, call_id: str, leg: str) -> None:
        call = self._calls.get(call_id)
        dropped = call.legs.pop(leg, None) if call is not None else None
        if call is None or dropped is None:
            return
        if dropped.known:
            command = bencode.encode_text({"command": "delete", "call-id": call_id, "from-tag": leg})
            call.channel.send(command, within=DELETE_SECONDS)
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
        call.channel.send(bencode.encode_text({
            "command": "answer", "call-id": call_id, "to-tag": leg,
            "to": _describe(party, offered, ours),
            "hold": "yes" if all(part.held for part in offered.parts) else "no",
        }))  # fmt: skip
        party.known = True
        _give_back_retired(call.channel, party, self._clock())
        return _render(party, ours, local)

    def play(
        self, call_id: str, leg: str, files: Sequence[str], *, payload: int, number: int, repeat: bool = False
    ) -> None:
        self._tell(call_id, {
            "command": "play media", "from-tag": leg, "payload": payload, "files": list(files), "number": number,
            "repeat": "yes" if repeat else "no",
        })  # fmt: skip

    def listen(self, call_id: str, leg: str, events: int) -> None:
        self._tell(call_id, {"command": "listen", "from-tag": leg, "events": events})

    def record(self, call_id: str, file: str, seconds: float) -> None:
        self._tell(call_id, {"command": "start recording", "file": file, "seconds": str(seconds)})

    def stop_recording(self, call_id: str) -> None:
        self._tell(call_id, {"command": "stop recording"})

    def _tell(self, call_id: str, words: dict[str, bencode.Encodable]) -> None:
        call = self._calls.get(call_id)
        if call is not None:
            call.channel.send(bencode.encode({**words, "call-id": call_id}))

    def ring(self, call_id: str, leg: str, sdp: bytes) -> None:
        call, payload = self._calls.get(call_id), payload_for(sdp)
        if call is not None and payload is not None:
            words = {"command": "play media", "call-id": call_id, "from-tag": leg, "payload": str(payload)}
            call.channel.send(bencode.encode_text(words))

    def quiet(self, call_id: str) -> None:
        call = self._calls.get(call_id)
        if call is not None:
            call.channel.send(bencode.encode_text({"command": "stop media", "call-id": call_id}))

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
            channel.send(f"d7:command6:delete7:call-id{len(call_id)}:{call_id}e".encode("ascii"), DELETE_SECONDS)
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

    async def query(self, call_id: str) -> tuple[StreamStats, StreamStats]:
        """What was received so far from `a` and from the party he speaks to. Raises MediaError."""
        call = self._calls.get(call_id)
        if call is None or not call.channel.alive:
            raise MediaError(f"no call {call_id}")
        answer: asyncio.Future[str] = self._loop.create_future()
        self._queries.setdefault(call_id, []).append(answer)
        call.channel.send(bencode.encode_text({"command": "query", "call-id": call_id}))
        return _statistics(await self._patiently(answer))

    async def _patiently(self, answer: asyncio.Future[str]) -> str:
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

    def _on_event(self, channel: Channel, words: Words) -> None:
        event = words["event"]
        if event == "deleted":
            for text in str(words["calls"]).split("\n"):
                call_id, _, numbers = text.partition(" ")
                channel.deleting.discard(call_id)
                self._listener.media_deleted(call_id, *_statistics(numbers))
        elif event in ("timeout", "flooded"):
            self._listener.media_timed_out(str(words["call-id"]))
        elif event == "digit":
            self._listener.media_digit(str(words["call-id"]), str(words["digit"]))
        elif event == "played":
            self._listener.media_played(str(words["call-id"]), int(str(words["number"])))
        elif event == "recorded":
            self._listener.media_recorded(str(words["call-id"]), int(str(words["ms"])) / 1000)
        elif event == "pong":
            channel.streams, channel.packets = int(str(words["streams"])), int(str(words["packets"]))
        elif event == "ready":
            channel.refusal = str(words["kernel"])
        elif event == "failed":
            self.commands_failed += 1
        elif event == "queried" and "call-id" in words:
            for waiter in self._queries.pop(str(words["call-id"]), []):
                if not waiter.done():
                    waiter.set_result(str(words["stats"]))

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
                channel.send(bencode.encode_text({"command": "ping"}))
        self._later(PING_SECONDS, self._ping)


def _give_up(answer: asyncio.Future[str]) -> None:
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


def _describe(leg: _Leg, body: Body, other: Body) -> str:
    """A leg that said `body` to who said `other`, as `bridge` reads it. Raises MediaError for a remote address that
    this leg's sockets cannot reach."""
    told = []
    for index, part in enumerate(body.parts):
        own, port = leg.ports[index], body.ports[index]
        if not (own and port and other.ports[index]):
            told.append("-")
            continue
        its = other.parts[index]
        host, rtcp_host, hosts = _reached(leg.local, part.host, part.rtcp_host, leg.source)
        rtcp_port = port + 1 if part.rtcp_port is None else part.rtcp_port
        if (part.mux and its.mux) or not LOWEST_PORT <= rtcp_port <= 65535:      # or none is wanted
            rtcp_host, rtcp_port = host, port
        told.append(f"{leg.local} {own} {host} {port} {rtcp_host} {rtcp_port} {part.rate} {hosts}")
    return ";".join(told)


@lru_cache(maxsize=1024)
def _reached(local: str, host: str, rtcp_host: str, source: str) -> tuple[str, str, str]:
    """Where to send RTP and RTCP from `local` for whoever named these two hosts and spoke from `source`; and who may
    send, separated by ",". Raises MediaError."""
    if (":" in local) != (":" in host):
        raise MediaError(f"{host} cannot be reached from {local}")
    hosts = host
    if source and source != host:   # behind a NAT, or its media is elsewhere
        if is_stranded(host, source):   # whoever has this address in our own network is somebody else
            host = rtcp_host = hosts = source   # many a NAT keeps the port
        else:
            hosts = f"{host},{source}"
    if _is_loopback(host) and not _is_loopback(local):
        raise MediaError(f"the SDP names {host}, which is this machine")
    return host, rtcp_host, hosts


def _is_loopback(host: str) -> bool:
    return host.startswith("127.") or host == "::1"


def _statistics(text: str) -> tuple[StreamStats, StreamStats]:
    """Read what `bridge.Call.statistics` wrote."""
    if text == "0 0 0 0 0 0 0 0":
        return NOTHING, NOTHING
    packets, octets, lost, jitter, packets_b, octets_b, lost_b, jitter_b = map(int, text.split())
    from_b = StreamStats(packets_b, octets_b, lost_b, jitter_b / 1000.0)
    return StreamStats(packets, octets, lost, jitter / 1000.0), from_b
