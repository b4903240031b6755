"""The relay's worker: a process of its own that binds ports, relays RTP and reports. `python -m pbxcore.media.worker`.

It is told what to do over a unix socket (SOCK_SEQPACKET), in verbs like those of rtpengine's ng protocol: `records`,
one way and in order. It needs no `offer`: the ports it has bound are booked by the signalling side (`relay`), and media
flows from the answer on.

    bind     address, count                       bind that many more pairs of ports (RTP even, RTCP odd)
    answer   call, leg, lines, hold [, by, lines] bridge the leg to the one that answers it; cuts off whoever was
                                                  bridged to it before; without `by` the exchange itself talks to it
    delete   call [, leg]                         end a call, or one leg of it
    play media   call, leg, payload [, files, number, repeat]
                                                  send sounds (files of mu-law) to a leg in this kind of G.711;
                                                  without files a ringing tone
    stop media   call
    listen   call, leg, events                    a leg that is bridged to nobody: its keys, in this payload type
    start recording   call, file, seconds         of the leg that is listened to
    stop recording    call
    query    call                                 its statistics
    ping

It says: ready, bound, timeout, flooded, deleted, queried, played, digit, recorded, failed, pong. It ends when the
socket closes, that is with its parent.
"""

from __future__ import annotations

import argparse
import errno
import gc
import os
import select
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence

from pbxcore.media import ringback
from pbxcore.media.bridge import Call
from pbxcore.media.ear import Ear, Recorder
from pbxcore.media.kernel import Kernel
from pbxcore.media.kernel import refusal as kernel_refusal
from pbxcore.media.player import Player
from pbxcore.media.records import RECEIVED, Lines, encode, pack, unpack
from pbxcore.media.sockets import Ports, raise_file_limit
from pbxcore.media.stream import DATAGRAM, Stream

BIND_STEP = 8                 # pairs bound between two looks at the sockets: about 0.3 ms
MAX_EVENTS = 512
BUSY_PACKETS = 1000           # packets a second from which on packets are collected before they are handled:
REST_SECONDS = 0.001          # waking up once for several packets is what makes 20,000 of them a second cheap
TICKS = 8                     # a sweep over all calls is spread over so many ticks
FLOOD = 5_000                 # packets a second on one call, all its streams together: a loop or an attack
FLOOD_SECONDS = 1.0           # over so long at least


class Worker:
    def __init__(
        self, control: socket.socket, ports: Ports, timeout: float, clock: Callable[[], float],
        kernel: Kernel | None = None,
    ) -> None:  # fmt: skip
        self._control = control
        self._kernel = kernel
        self._ports = ports
        self._timeout = timeout
        self._clock = clock
        self._epoll = select.epoll()
        self._epoll.register(control.fileno(), select.EPOLLIN)
        self._streams: dict[int, Stream] = {}
        self._calls: dict[str, Call] = {}
        self._sweep: deque[tuple[str, Call]] = deque()
        self._binds: deque[tuple[str, int]] = deque()
        self._outbox: list[bytes] = []
        self._players: dict[str, Player] = {}
        self._ears: dict[str, Ear] = {}
        self._tick = min(1.0, timeout / TICKS) / TICKS
        self._next_tick = 0.0
        self._handled = self._handled_before = 0
        self._rest = 0.0
        self._parent = os.getppid()
        self._running = True
        self._verbs: dict[str, Callable[..., None]] = {
            "answer": self._answer, "delete": self._delete, "bind": self._bind, "query": self._query,
            "ping": self._ping, "play media": self._play, "stop media": self._stop, "listen": self._listen,
            "start recording": self._start_recording, "stop recording": self._stop_recording,
        }  # fmt: skip

    def run(self) -> None:
        """Until the parent goes away."""
        poll, clock, streams, control = self._epoll.poll, self._clock, self._streams, self._control.fileno()
        events: list[tuple[int, int]] = []
        while self._running:
            again = bool(events) and self._rest > 0.0
            events = poll(0.0 if again else self._patience(), MAX_EVENTS)
            if again and not events:        # only what has nothing left to do may rest: a burst is taken in one go
                time.sleep(self._rest)
                continue
            now = clock()
            for fileno, _ in events:
                if fileno == control:
                    self._obey()
                    continue
                stream = streams[fileno]
                if not stream.locked:
                    self._relay_unlocked(stream, now)
                    continue
                try:
                    data = stream.recv(DATAGRAM)
                except OSError:         # an ICMP error of an earlier packet, reported here
                    stream.failed += 1
                    continue
                stream.update(data, now)
                forward = stream.forward
                if forward is not None:
                    try:
                        forward(data)
                    except OSError as error:
                        self._retry(stream, forward, data, error)
            self._handled += len(events)
            if self._players:
                self._sound(now)
            if now >= self._next_tick:
                self._on_tick(now)
            if self._binds:
                self._bind_step()
            if self._outbox:
                self._flush()

    def _patience(self) -> float:
        """Seconds to wait for packets at most."""
        if self._binds:
            return 0.0
        if self._outbox or self._players:
            return 0.01
        return self._tick if self._calls else 1.0

    def _relay_unlocked(self, stream: Stream, now: float) -> None:
        try:
            packets = stream.take(now)
        except OSError:
            stream.failed += 1
            return
        for data in packets:
            stream.update(data, now)
            forward = stream.forward
            if forward is not None:
                try:
                    forward(data)
                except OSError as error:
                    self._retry(stream, forward, data, error)

    def _retry(self, stream: Stream, forward: Callable[[bytes], object], data: bytes, error: OSError) -> None:
        """A connected socket reports an ICMP error of an earlier packet instead of sending this one."""
        stream.failed += 1
        if error.errno == errno.ECONNREFUSED:
            try:
                forward(data)
            except OSError:
                stream.failed += 1

    # --- the signalling side's commands

    def _obey(self) -> None:
        try:
            record = self._control.recv(RECEIVED)
        except BlockingIOError:
            return
        except OSError:
            record = b""
        if not record:
            self._running = False
            return
        for command in unpack(record):
            try:
                verb, *words = command
                self._verbs[verb](*words)
            except Exception as error:      # one command that cannot be carried out must not end every other call
                self._say("failed", repr(error))

    def _say(self, *words: object) -> None:
        self._outbox.append(encode(words))

    def _flush(self) -> None:
        record, count = pack(self._outbox)
        try:
            self._control.send(record)
        except BlockingIOError:
            return
        except OSError:
            self._running = False
        del self._outbox[:count]

    def _ping(self) -> None:
        streams, packets = self._kernel.relayed() if self._kernel is not None else (0, 0)
        self._say("pong", streams, packets)

    def _bind(self, address: str, count: int) -> None:
        self._binds.append((address, count))

    def _bind_step(self) -> None:
        address, count = self._binds.popleft()
        ports, error = self._ports.bind(address, min(count, BIND_STEP))
        for port in ports:
            for stream in self._ports.pairs[address, port]:
                self._streams[stream.fileno] = stream
                self._epoll.register(stream.fileno, select.EPOLLIN)
        left = count - len(ports)
        if left and not error:
            self._binds.appendleft((address, left))
        done = not left or bool(error)
        self._say("bound", address, ports, error, done)

    def _answer(
        self, call_id: str, leg: str, lines: Lines, hold: bool, by: str = "", its_lines: Lines | None = None
    ) -> None:
        now = self._clock()
        call = self._calls.get(call_id)
        if call is None:
            call = self._calls[call_id] = Call(now)
            self._sweep.append((call_id, call))
        pairs = self._ports.pairs
        call.set_leg(leg, lines, pairs, now)
        if its_lines is not None:
            call.set_leg(by, its_lines, pairs, now)
            call.bridge(by, leg)
            if call_id in self._players or call_id in self._ears:
                self._fall_silent(call_id)
        call.hold = hold
        call.last = now
        call.reported = False

    def _play(
        self, call_id: str, leg: str, payload: int, files: Sequence[str] | None = None, number: int = 0,
        repeat: bool = False,
    ) -> None:  # fmt: skip
        now = self._clock()
        if call_id not in self._calls:
            return
        player = self._players.get(call_id)
        if player is None or player.leg != leg:
            source = int.from_bytes(os.urandom(4), "big")
            player = self._players[call_id] = Player(leg, payload, source, now)
        if files is None:
            player.play(ringback.sound(), now, repeat=True)
            return
        sound = b"".join(map(self._sound_of, files))
        player.play(sound, now, number=number, repeat=repeat)
        if not player.playing:
            self._say("played", call_id, number)

    def _sound_of(self, file: str) -> bytes:
        """What cannot be read is not heard, and told of; the call goes on as if it had been."""
        try:
            with open(file, "rb") as opened:
                return opened.read()
        except OSError as error:
            self._say("failed", str(error))
            return b""

    def _stop(self, call_id: str) -> None:
        self._players.pop(call_id, None)

    def _sound(self, now: float) -> None:
        for call_id, player in list(self._players.items()):
            call = self._calls.get(call_id)
            pair = next((pair for pair in call.legs.get(player.leg, []) if pair is not None), None) if call else None
            if call is None or pair is None:
                del self._players[call_id]
                continue
            if not player.playing:
                continue
            if not player.number:
                call.last = now         # while it rings nobody needs to speak
            send = pair[0].send
            for packet in player.due(now):
                if send is not None:
                    try:
                        send(packet)
                    except OSError:     # an ICMP error of an earlier one
                        pair[0].failed += 1
            if not player.playing:
                self._say("played", call_id, player.number)

    def _listen(self, call_id: str, leg: str, events: int) -> None:
        call = self._calls.get(call_id)
        if call is None:
            return
        self._stop_recording(call_id)
        ear = self._ears[call_id] = Ear(
            leg, events, lambda digit: self._say("digit", call_id, digit), lambda: self._stop_recording(call_id)
        )
        for pair in call.legs.get(leg, []):
            if pair is not None:
                pair[0].listen(ear.hear)
                pair[1].listen(None)

    def _start_recording(self, call_id: str, file: str, seconds: float) -> None:
        ear = self._ears.get(call_id)
        if ear is not None:
            self._stop_recording(call_id)
            ear.recorder = Recorder(file, seconds)

    def _stop_recording(self, call_id: str) -> None:
        ear = self._ears.get(call_id)
        if ear is not None and ear.recorder is not None:
            recorder, ear.recorder = ear.recorder, None
            self._say("recorded", call_id, int(recorder.close() * 1000))

    def _fall_silent(self, call_id: str) -> None:
        """The exchange itself talks no more in this call."""
        self._players.pop(call_id, None)
        self._stop_recording(call_id)
        self._ears.pop(call_id, None)

    def _delete(self, call_id: str, leg: str = "") -> None:
        call = self._calls.get(call_id)
        if call is None:
            return
        if leg:
            call.drop_leg(leg)
            return
        del self._calls[call_id]
        if call_id in self._ears:
            self._fall_silent(call_id)
        self._say("deleted", call_id, *call.statistics())
        call.close()

    def _query(self, call_id: str) -> None:
        call = self._calls.get(call_id)
        self._say("queried", call_id, *(call.statistics() if call is not None else ((), ())))

    # --- time

    def _on_tick(self, now: float) -> None:
        elapsed = now - self._next_tick + self._tick
        self._next_tick = now + self._tick
        if os.getppid() != self._parent:
            self._running = False
        if self._kernel is not None:
            self._kernel.keep_up(now)
        busy = self._handled - self._handled_before > BUSY_PACKETS * elapsed
        self._rest = REST_SECONDS if busy else 0.0
        self._handled_before = self._handled
        for _ in range(-(-len(self._sweep) // TICKS)):
            call_id, call = self._sweep.popleft()
            if not call.ended:
                self._sweep.append((call_id, call))
                self._look_at(call_id, call, now)

    def _look_at(self, call_id: str, call: Call, now: float) -> None:
        activity = call.activity()
        if now - call.counted_at >= FLOOD_SECONDS:
            if activity - call.counted > FLOOD * (now - call.counted_at) and not call.flooded:
                call.flooded = True
                call.cut()
                self._say("flooded", call_id)
            call.counted, call.counted_at = activity, now
        if activity != call.seen or call.hold:
            call.seen = activity
            call.last = now
            call.reported = False
        elif now - call.last > self._timeout and not call.reported:
            call.reported = True
            self._say("timeout", call_id)
        if self._kernel is not None:
            self._kernel.tend(call.audio(), now)

    def start(self, refusal: str) -> None:
        self._say("ready", refusal)
        self._flush()


def main() -> None:
    parser = argparse.ArgumentParser(description="Hookline's media worker; started by the exchange, not by hand")
    parser.add_argument("--control", type=int, required=True, help="file descriptor of the control socket")
    parser.add_argument("--ports", required=True, help="FIRST-LAST, the range of UDP ports to bind")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds without any packet until a call timed out")
    parser.add_argument("--kernel", choices=("auto", "off"), default="off", help="let the kernel relay what it can")
    options = parser.parse_args()
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):     # meant for the exchange, which drains its calls
        signal.signal(name, signal.SIG_IGN)
    first, last = (int(port) for port in options.ports.split("-"))
    most = raise_file_limit()
    control = socket.socket(fileno=options.control)
    control.setblocking(False)
    kernel, refusal = None, ""
    if options.kernel == "auto":
        try:
            kernel = Kernel()
        except OSError as error:
            refusal = kernel_refusal(error)
    worker = Worker(control, Ports(first, last, most), options.timeout, time.monotonic, kernel)
    if hasattr(gc, "freeze"):   # PyPy has none, and needs none
        gc.freeze()
        gc.disable()            # nothing here makes cycles but the streams, and those stay
    worker.start(refusal)
    worker.run()


if __name__ == "__main__":
    main()
