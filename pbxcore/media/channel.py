"""The signalling side's end of one worker process: starts it, sends it commands, hears its reports.

Commands are collected and sent in order, without waiting for an answer: at the next turn of the event loop, or with
whatever goes first where a command can wait, and a few ms apart while many come. To wake a worker costs 50 µs.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from math import inf
from pathlib import Path

import pbxcore
from pbxcore.media.book import STEP, Pool
from pbxcore.media.records import RECEIVED, Message, encode, pack, unpack

BUFFER = 1 << 20
EXIT_SECONDS = 2.0
TOGETHER = 0.010          # seconds after one record in which commands gather for the next: half a packet of audio


class Channel:
    """One worker. `load` is how many calls it has; `pools` are its ports by local address.

    `on_report` gets every report but that of ports bound, `on_lost` is called once when the worker is gone (not after
    `close`).
    """

    def __init__(
        self, ports: tuple[int, int], timeout: float, on_report: Callable[[Channel, Message], None],
        on_lost: Callable[[Channel], None], *, kernel: bool = False,
    ) -> None:  # fmt: skip
        self.ports = ports
        self.refusal = ""                       # why its kernel relays nothing
        self.streams = self.packets = 0         # that the kernel relays, and has relayed
        self.pools: dict[str, Pool] = {}
        self.load = 0
        self.deleting: set[str] = set()         # calls whose last statistics are still to come
        self.alive = False
        self.started_at = 0.0
        self.heard_at = 0.0
        self._timeout = timeout
        self._kernel = "auto" if kernel else "off"
        self._on_report = on_report
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._out: list[bytes] = []
        self._flushed_at = -inf                 # when a record last went
        self._flush_at = inf                    # when `_out` goes, by the loop's clock
        self._flush_handle: asyncio.Handle | None = None
        self._writer = False
        self._waiters: set[asyncio.Future[None]] = set()
        self._process, self._socket = self._start()

    def _start(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for sock in (ours, theirs):
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        root = str(Path(pbxcore.__path__[0]).parent)
        command = [
            sys.executable, "-S", "-P", "-m", "pbxcore.media.worker", "--control", str(theirs.fileno()),
            "--ports", f"{self.ports[0]}-{self.ports[1]}", "--timeout", str(self._timeout),
            "--kernel", self._kernel,
        ]  # fmt: skip
        with theirs:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[theirs.fileno()],
                env=os.environ | {"PYTHONPATH": root},
            )  # fmt: skip
        self.alive = True
        self.started_at = self.heard_at = self._loop.time()
        self._loop.add_reader(ours.fileno(), self._read)
        return process, ours

    @property
    def pid(self) -> int:
        return self._process.pid

    def pool(self, address: str) -> Pool:
        """The ports on a local address; the first mention of an address has some bound."""
        pool = self.pools.get(address)
        if pool is None:
            pool = self.pools[address] = Pool(address)
            self.grow(pool)
        return pool

    def grow(self, pool: Pool) -> None:
        """Ask the worker for more ports."""
        pool.asked = True
        self.send(("bind", pool.address, STEP))

    def send(self, command: Message, within: float = 0.0) -> None:
        """Queue a command; it and all before it go at the end of this turn, or `within` seconds if that is said.

        While calls come in quick succession theirs go together: waking the worker costs more than all else here.
        """
        self._out.append(encode(command))
        due = self._flushed_at + TOGETHER
        if due >= self._flush_at:       # they go as soon as may be
            return
        now = self._loop.time()
        if due < now + within:
            due = now + within
            if due >= self._flush_at:
                return
        self._flush_at = due
        if self._flush_handle is not None:
            self._flush_handle.cancel()
        loop = self._loop
        self._flush_handle = loop.call_at(due, self._flush) if due > now else loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._flush_handle is not None:
            self._flush_handle.cancel()
            self._flush_handle = None
        self._flush_at = inf
        self._flushed_at = self._loop.time()
        out = self._out
        while out and self.alive:
            record, count = pack(out)
            try:
                self._socket.send(record)
            except BlockingIOError:
                self._wait_for_room()
                return
            except OSError:
                self.lose()
                return
            del out[:count]
        if self._writer:
            self._loop.remove_writer(self._socket.fileno())
            self._writer = False

    def _wait_for_room(self) -> None:
        if not self._writer:
            self._writer = True
            self._loop.add_writer(self._socket.fileno(), self._flush)

    def _read(self) -> None:
        """One record: the loop comes again for the next, which costs half of being refused one."""
        try:
            record = self._socket.recv(RECEIVED)
        except BlockingIOError:
            return
        except OSError:
            record = b""
        if not record:
            self.lose()
            return
        self.heard_at = self._loop.time()
        for report in unpack(record):
            if report[0] == "bound":
                self._on_bound(*report[1:])
            else:
                self._on_report(self, report)

    def _on_bound(self, address: str, ports: list[int], error: str, done: bool) -> None:
        pool = self.pools.get(address)
        if pool is not None:
            pool.bound(ports, error, done)
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    async def wait(self, until: float) -> None:
        """Until ports were bound, the worker was lost, or the loop's clock reads `until`. Needs no asyncio task."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters.add(waiter)
        timer = self._loop.call_at(until, _release, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiters.discard(waiter)

    def lose(self) -> None:
        """The worker is gone, or must go: end it for good and say so."""
        if self.alive:
            self._stop()
            self._process.kill()
            self._loop.run_in_executor(None, self._process.wait)
            self._on_lost(self)

    def _stop(self) -> None:
        self.alive = False
        if self._flush_handle is not None:
            self._flush_handle.cancel()
        self._loop.remove_reader(self._socket.fileno())
        if self._writer:
            self._loop.remove_writer(self._socket.fileno())
            self._writer = False
        self._socket.close()
        self._out.clear()
        self._wake()

    async def close(self) -> None:
        """Let the worker end, and wait for it."""
        if not self.alive:
            return
        self._stop()
        try:
            await asyncio.to_thread(self._process.wait, EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)


def _release(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
