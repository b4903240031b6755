"""HEP3, also called EEP: every SIP message told to a Homer collector (the HEP3 protocol of sipcapture, revision 12).

Reads the ring behind the calls, a few times a second and so many messages at once, and packs each into one datagram:
the path of a call pays nothing for it. A collector that is dead, slow or unknown costs its messages and no more: what
the kernel will not take is dropped and counted. Secrets are masked before anything leaves. UDP only.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pbxcore.net.ladder import call_id_of
from pbxcore.net.masks import masked
from pbxcore.net.ring import Ring, Row

log = logging.getLogger(__name__)

DEFAULT_PORT = 9060
TICK = 0.1             # seconds between two looks at the ring
BATCH = 500            # messages a look
PAUSE = 5.0            # seconds of silence towards a collector that is not there
RESOLVE_AGAIN = 30.0   # seconds
MOST = 65000           # of a message: with its chunks it must fit into a datagram

GENERIC = 0            # the vendor of the chunks that everybody knows
FAMILY, PROTOCOL, SOURCE4, TARGET4, SOURCE6, TARGET6, SOURCE_PORT, TARGET_PORT = range(1, 9)
SECONDS, MICROSECONDS, KIND, AGENT, _KEEP_ALIVE, KEY, PAYLOAD, _COMPRESSED, CORRELATION = range(9, 18)
SIP = 1
IPV4, IPV6 = 2, 10     # AF_INET and AF_INET6 as Linux numbers them
UDP, TCP = 17, 6


def pack(row: Row, agent: int, password: str = "", correlation: str = "") -> bytes:
    """One message as a HEP3 packet: "HEP3", the whole length, chunks of vendor, type, length and value."""
    at, out, transport, local, remote, data = row
    source, target = (local, remote) if out else (remote, local)
    here, there = ipaddress.ip_address(source[0]), ipaddress.ip_address(target[0])
    six = here.version == 6
    seconds = int(at)
    chunks = [
        _chunk(FAMILY, struct.pack("!B", IPV6 if six else IPV4)),
        _chunk(PROTOCOL, struct.pack("!B", UDP if transport == "UDP" else TCP)),
        _chunk(SOURCE6 if six else SOURCE4, here.packed),
        _chunk(TARGET6 if six else TARGET4, there.packed),
        _chunk(SOURCE_PORT, struct.pack("!H", source[1])),
        _chunk(TARGET_PORT, struct.pack("!H", target[1])),
        _chunk(SECONDS, struct.pack("!I", seconds)),
        _chunk(MICROSECONDS, struct.pack("!I", int((at - seconds) * 1e6))),
        _chunk(KIND, struct.pack("!B", SIP)),
        _chunk(AGENT, struct.pack("!I", agent)),
    ]
    if password:
        chunks.append(_chunk(KEY, password.encode()))
    if correlation:
        chunks.append(_chunk(CORRELATION, correlation.encode("utf-8", "replace")))
    chunks.append(_chunk(PAYLOAD, masked(data)[:MOST]))
    body = b"".join(chunks)
    return b"HEP3" + struct.pack("!H", 6 + len(body)) + body


def _chunk(kind: int, value: bytes) -> bytes:
    return struct.pack("!HHH", GENERIC, kind, 6 + len(value)) + value


@dataclass(slots=True)
class Counters:
    """Numbers since start."""

    sent: int = 0
    failed: int = 0    # the kernel did not take it, or the collector's machine refused


class HepExport:
    """Tells `host`:`port` what the ring has. `dialogs` gives our call id for each Call-ID, as far as it is known.
    Made and used inside one running event loop."""

    def __init__(
        self,
        ring: Ring,
        host: str,
        port: int,
        *,
        agent: int,
        password: str = "",
        dialogs: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self.counters = Counters()
        self._ring = ring
        self._host = host
        self._port = port
        self._agent = agent
        self._password = password
        self._dialogs = dialogs
        self._last = ring.last
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Tells what is left, if somebody listens."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None

    async def _run(self) -> None:
        with await self._socket() as sock:
            try:
                while True:
                    pause = TICK if self._tell(sock) else PAUSE
                    await asyncio.sleep(pause)
            finally:
                self._tell(sock)

    async def _socket(self) -> socket.socket:
        """A connected UDP socket; asks for the name again and again, beside the event loop."""
        loop = asyncio.get_running_loop()
        complained = False
        while True:
            try:
                found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)
                sock = socket.socket(found[0][0], socket.SOCK_DGRAM)
                sock.setblocking(False)
                sock.connect(found[0][4])
            except OSError as error:
                if not complained:
                    log.warning("sip.hep: %s cannot be reached: %s", self._host, error.strerror)
                    complained = True
                await asyncio.sleep(RESOLVE_AGAIN)
            else:
                return sock

    def _tell(self, sock: socket.socket) -> bool:
        """Send what has come since the last time; False when there is nobody to hear it."""
        rows = self._ring.since(self._last, BATCH)
        if not rows:
            return True
        self._last = rows[-1]
        dialogs = self._dialogs()
        for place, row in enumerate(rows):
            try:
                sock.send(pack(row, self._agent, self._password, dialogs.get(call_id_of(row[5]), "")))
            except ConnectionError:   # an ICMP answer to one before: the port is closed
                self.counters.failed += len(rows) - place
                return False
            except OSError:           # a full buffer, no route just now, an address that fits no chunk
                self.counters.failed += 1
            else:
                self.counters.sent += 1
        return True
