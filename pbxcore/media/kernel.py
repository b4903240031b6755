"""Audio that the kernel relays by itself: an eBPF program that meets a packet on its way in, gives it the addresses
that the worker would have sent it with, and sends it out again before any socket is touched. Linux 6.6, IPv4.

The worker lends the kernel a stream once both sides are latched, and takes it back whenever anything about it changes;
its sockets stay open all the while, so a packet is relayed by the one or by the other and none is lost. The kernel only
takes the very packet that it expects: from the latched address, of the same source (SSRC), next in sequence. All else
(RTCP, STUN, what came late, what follows a loss, fragments) goes the worker's way, who understands it (`rtp.Reception`)
and says what is expected next. So the figures of a call are those that the worker alone would have got.

A lent stream is not seen by the firewall. Therefore one packet of it goes the long way every few seconds: that keeps
the connection known there, and if the firewall meanwhile forbids it the worker never gets that packet, and the kernel
relays no other.
"""

from __future__ import annotations

import errno
import mmap
import os
import socket
import struct
import sys
from collections import deque
from collections.abc import Iterable

from pbxcore.media import bpf, kernel_program
from pbxcore.media.kernel_program import NEXT, NOBODY, PROGRESS, SLOT, SLOT_OCTETS
from pbxcore.media.routes import Routes
from pbxcore.media.stream import Stream

STREAMS = 8192            # that can be lent at a time, each direction one
LONG_WAY_SECONDS = 5.0    # between two packets of a stream that go through the worker
CALM_SECONDS = 2.0        # without news of the network before a stream is lent
_progress, _number, _source = struct.Struct("=QQ"), struct.Struct("=I"), struct.Struct("=II")


class Kernel:
    """What one worker has lent to the kernel. Raises OSError when it may not, or the kernel cannot."""

    def __init__(self) -> None:
        self.packets = 0                        # relayed by the kernel, of streams that were taken back
        self._lent: dict[Stream, Flow] = {}
        self._calm_at = 0.0
        self._free = deque(range(STREAMS))
        self._links: dict[int, int] = {}        # descriptors by device
        self._descriptors: list[int] = []
        try:
            self.flows = bpf.create_map(bpf.HASH, kernel_program.KEY_OCTETS, kernel_program.FLOW.size, STREAMS)
            self._descriptors.append(self.flows)
            slots = bpf.create_map(bpf.ARRAY, 4, SLOT_OCTETS, STREAMS, bpf.MAPPABLE)
            self._descriptors.append(slots)
            self.memory = mmap.mmap(slots, STREAMS * SLOT_OCTETS)
            self._program = bpf.load(bpf.assemble(kernel_program.PROGRAM, {"flows": self.flows, "slots": slots}))
            self._descriptors.append(self._program)
            os.close(bpf.attach(self._program, socket.if_nametoindex("lo")))        # may we?
            self._routes = Routes()
        except OSError:
            self._close_descriptors()
            raise

    def tend(self, streams: Iterable[Stream], now: float) -> None:
        """Lend what can be lent of these, and let those that are lent go the long way when it is time."""
        for stream in streams:
            flow = self._lent.get(stream)
            if flow is not None:
                if now >= flow.until:
                    flow.lapse(now)
            elif stream.settled and self._free and now >= self._calm_at:
                self._lend(stream, now)

    def keep_up(self, now: float) -> None:
        """Devices, addresses or routes may have changed: then everything goes through the worker for a while."""
        if self._routes.changed():
            self._calm_at = now + CALM_SECONDS
            for flow in list(self._lent.values()):
                flow.end()
            self._detach()

    def relayed(self) -> tuple[int, int]:
        """Streams that are lent now, and packets that the kernel has relayed so far."""
        return len(self._lent), self.packets + sum(flow.packets() for flow in self._lent.values())

    def _lend(self, stream: Stream, now: float) -> None:
        peer = stream.peer
        assert peer is not None
        local, remote = stream.addresses()
        new_local, new_remote = peer.addresses()
        if ":" in local[0] or ":" in new_local[0] or self._routes.encrypted():
            return
        incoming = self._routes.device(local[0], remote[0])
        outgoing = self._routes.device(new_local[0], new_remote[0])
        if not (incoming and outgoing and self._attached(incoming)):
            return
        slot = self._free.popleft()
        before, after = kernel_program.octets(remote, local), kernel_program.octets(new_local, new_remote)
        flow = Flow(self, stream, slot, before, now)
        try:
            bpf.update(self.flows, before, kernel_program.rewriting(slot, outgoing, before, after))
        except OSError:
            self._free.append(slot)
            return
        self._lent[stream] = stream.lent = flow
        stream.update = flow.update

    def _attached(self, device: int) -> bool:
        if device not in self._links:
            try:
                self._links[device] = bpf.attach(self._program, device)
            except OSError:
                return False
        return True

    def returned(self, stream: Stream, slot: int, packets: int) -> None:
        """A flow has ended."""
        del self._lent[stream]
        self._free.append(slot)
        self.packets += packets

    def close(self) -> None:
        for flow in list(self._lent.values()):
            flow.end()
        self._detach()
        self._routes.close()
        self.memory.close()
        self._close_descriptors()

    def _detach(self) -> None:
        for link in self._links.values():
            os.close(link)
        self._links.clear()

    def _close_descriptors(self) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()


class Flow:
    """One direction that is lent: what comes in at `stream`. The stream's packets that come to the worker all the same
    are given to `update` in place of its reception's."""

    __slots__ = ("_at", "_kernel", "_octets", "_packets", "_reception", "_slot", "_stream", "key", "until")

    def __init__(self, kernel: Kernel, stream: Stream, slot: int, key: bytes, now: float) -> None:
        self._kernel = kernel
        self._stream = stream
        self._reception = stream.reception
        self._slot = slot
        self._at = slot * SLOT_OCTETS
        self._packets = self._octets = 0
        self.key = key
        self.until = now + LONG_WAY_SECONDS
        SLOT.pack_into(kernel.memory, self._at, 0, 0, 0, 0, NOBODY, 0, 0, 10**9 // self._reception.rate)
        self._expect()

    def update(self, data: bytes, now: float) -> None:
        """A packet that came to the worker."""
        reception = self._reception
        self.count()
        before = reception.packets
        reception.update(data, now)
        if reception.packets != before:
            self._expect()

    def packets(self) -> int:
        """What the kernel has relayed since it was lent."""
        return int.from_bytes(self._kernel.memory[self._at : self._at + 8], sys.byteorder)

    def count(self) -> None:
        """Bring the reception up to what the kernel has seen."""
        memory, at = self._kernel.memory, self._at
        found = SLOT.unpack_from(memory, at)
        if found[0] == self._packets:
            return
        while (again := SLOT.unpack_from(memory, at)) != found:    # it was being written
            found = again
        packets, octets, arrival, jitter, _, _, timestamp, _ = found
        reception = self._reception
        reception.counted_elsewhere(
            packets - self._packets, octets - self._octets, timestamp, arrival / 1e9, jitter * reception.rate / 16e9
        )
        self._packets, self._octets = packets, octets

    def _expect(self) -> None:
        """Tell the kernel which packet is the next in line; last of all its number, which sets it going."""
        sequence, ssrc, timestamp, arrival, jitter = self._reception.expectation()
        memory, at, rate = self._kernel.memory, self._at, self._reception.rate
        _progress.pack_into(memory, at + PROGRESS, max(0, int(arrival * 1e9)), int(jitter * 16e9 / rate))
        _source.pack_into(memory, at + NEXT + 4, socket.htonl(ssrc), timestamp)
        _number.pack_into(memory, at + NEXT, sequence)

    def lapse(self, now: float) -> None:
        """The next packet comes to the worker, and all after it until one does."""
        _number.pack_into(self._kernel.memory, self._at + NEXT, NOBODY)
        self.until = now + LONG_WAY_SECONDS

    def end(self) -> None:
        """All packets come to the worker again."""
        self.lapse(0.0)
        bpf.delete(self._kernel.flows, self.key)
        self.count()
        self._stream.lent = None
        self._stream.update = self._reception.update
        self._kernel.returned(self._stream, self._slot, self._packets)


def trial() -> str:
    """Why the kernel relays nothing here; empty when it may."""
    try:
        Kernel().close()
    except OSError as error:
        return refusal(error)
    return ""


def refusal(error: OSError) -> str:
    """In words, what the kernel has against it."""
    if error.errno in (errno.EPERM, errno.EACCES):
        return "not permitted: it takes CAP_BPF and CAP_NET_ADMIN"
    if error.errno in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        return "this kernel cannot: it takes Linux 6.6"
    return error.strerror or str(error)
