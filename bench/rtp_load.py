"""The load of `bench relay`, a process of its own: phones that send 20 ms of G.711 each and time what comes back.

Every packet carries the moment it was sent; the kernel stamps the moment it arrived (SO_TIMESTAMPNS), so that the delay
counted is the relay's and the kernel's, not that of this process' reading. Packets are due at even distances and are
sent late rather than left out. Speaks JSON over its standard input and output, one line each way at a time.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import sys
import time
from array import array

HOST = "127.0.0.1"
PERIOD = 0.02
SIZE = 172
SO_TIMESTAMPNS = 35
ANCILLARY = socket.CMSG_SPACE(16)
DRAIN_SECONDS = 0.5
LATCH_SECONDS = 5.0
_head = struct.Struct("!BBHIIQ")
_stamp = struct.Struct("!Q")
_timespec = struct.Struct("qq")


class Load:
    """`streams` sockets; each sends to one port of the relay and hears one other socket's stream."""

    def __init__(self, streams: int) -> None:
        self.sockets = [self._socket() for _ in range(streams)]
        self.delays = array("d")
        self.sent = 0
        self.lateness = 0.0
        self._turns = 0                 # packets of each stream so far
        self._since = 0                 # when a run began: what was sent before is not in its figures
        self.sending = 0                # nanoseconds of CPU, with what the kernel did for a packet before send returned
        self._epoll = select.epoll()
        self._readers = {}
        for sock in self.sockets:
            self._epoll.register(sock.fileno(), select.EPOLLIN)
            self._readers[sock.fileno()] = sock.recvmsg

    @staticmethod
    def _socket() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.bind((HOST, 0))
        return sock

    def ports(self) -> list[int]:
        return [sock.getsockname()[1] for sock in self.sockets]

    def aim(self, ports: list[int]) -> None:
        """Tell every socket where it sends to; one packet each way latches the relay before the clock starts."""
        for number, (sock, port) in enumerate(zip(self.sockets, ports, strict=True)):
            sock.connect((HOST, port))
            sock.send(_head.pack(0x80, 0, 0, 0, number, time.time_ns()) + bytes(SIZE - 20))
        deadline = time.monotonic() + LATCH_SECONDS
        while len(self.delays) < len(ports) and time.monotonic() < deadline:
            time.sleep(DRAIN_SECONDS)
            self._receive()
        if len(self.delays) != len(ports):
            raise SystemExit(f"only {len(self.delays)} of {len(ports)} streams are relayed")

    def run(self, seconds: float) -> None:
        """Send for `seconds`, then wait for what is on its way. The figures are of the last run."""
        self.delays, self.sending, self.lateness, self._since = array("d"), 0, 0.0, time.time_ns()
        count = len(self.sockets)
        total = int(seconds / PERIOD) * count
        gap = PERIOD / count
        padding = bytes(SIZE - 20)
        senders = [sock.send for sock in self.sockets]
        clock, wall, pack, used = time.perf_counter, time.time_ns, _head.pack, time.thread_time_ns
        start = clock()
        number = 0
        while number < total:
            late = clock() - start - number * gap
            while late >= 0.0 and number < total:
                turn, stream = divmod(number, count)
                turn += self._turns
                packet = pack(0x80, 0, turn + 1 & 0xFFFF, turn * 160 & 0xFFFFFFFF, stream, wall()) + padding
                before = used()
                senders[stream](packet)
                self.sending += used() - before
                number += 1
                if late > self.lateness:
                    self.lateness = late
                late = clock() - start - number * gap
            self._receive()
        self.sent = total
        self._turns += int(seconds / PERIOD)
        deadline = clock() + DRAIN_SECONDS
        while len(self.delays) < total and clock() < deadline:
            self._receive()

    def _receive(self) -> None:
        while events := self._epoll.poll(0):
            for fileno, _ in events:
                data, ancillary, _, _ = self._readers[fileno](2048, ANCILLARY)
                seconds, nanoseconds = _timespec.unpack(ancillary[0][2])
                sent = _stamp.unpack_from(data, 12)[0]
                if sent >= self._since:
                    self.delays.append((seconds * 1_000_000_000 + nanoseconds - sent) / 1e6)
            if len(events) < 64:
                return


def main() -> None:
    load = Load(int(sys.argv[1]))
    print(json.dumps(load.ports()), flush=True)
    load.aim(json.loads(sys.stdin.readline()))
    print("ready", flush=True)
    for line in sys.stdin:              # how many seconds to send for
        load.run(float(line))
        delays = sorted(load.delays)
        print(json.dumps({
            "sent": load.sent,
            "received": len(delays),
            "sending_seconds": load.sending / 1e9,
            "late_ms": load.lateness * 1000,
            "delay_ms": {
                name: delays[min(len(delays) - 1, int(len(delays) * share))] if delays else None
                for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))
            },
        }), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
