"""rtpengine in user space, as Debian builds it, with the threads that it takes by itself."""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from bench import wire
from bench.subject import START_SECONDS, CannotStart, installed, last_words, process
from pbxcore.media import bencode
from pbxcore.media.backend import MediaListener
from pbxcore.media.rtpengine import Rtpengine

NAME = "rtpengine"
PORTS = (12000, 29998)      # below those that the load's sockets get
ANSWER_SECONDS = 1.0


def find() -> str:
    """Its path; empty when it is not installed."""
    return installed("rtpengine")


@contextmanager
def serving(host: str, cpu: int) -> Iterator[tuple[str, int]]:
    """A daemon on that CPU that answers: the address of its control socket, and its process. A call's ports are free
    as soon as it is deleted: half a minute later, as it is otherwise, there would be too few. Raises CannotStart."""
    control = f"{host}:{wire.free_port(host)}"
    command = [
        find(), "--config-file=none", "--table=-1", f"--interface={host}", f"--listen-ng={control}", "--foreground",
        "--log-stderr", "--log-level=3", f"--port-min={PORTS[0]}", f"--port-max={PORTS[1]}", "--delete-delay=0",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with process(command, cpu=cpu, directory=directory) as started:
            deadline = time.monotonic() + START_SECONDS
            while not ask(control, "ping"):
                if started.poll() is not None or time.monotonic() > deadline:
                    raise CannotStart(last_words(directory) or f"no rtpengine answers at {control}")
                time.sleep(0.05)
            yield control, started.pid


def ask(control: str, command: str) -> dict[str, bencode.Value]:
    """What the daemon answers to a command without arguments; nothing when it does not."""
    host, _, port = control.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((host, int(port)))
        sock.settimeout(ANSWER_SECONDS)
        cookie = f"{time.monotonic_ns()} ".encode()     # one that it has heard before is answered as before
        try:
            sock.send(cookie + bencode.encode({"command": command}))
            words = bencode.decode(sock.recv(wire.DATAGRAM).removeprefix(cookie))
        except OSError:
            return {}
    return words if isinstance(words, dict) else {}


def calls(control: str) -> int:
    """How many calls it has had that were ended by their proxy."""
    told = ask(control, "statistics").get("statistics")
    totals = told.get("totalstatistics") if isinstance(told, dict) else None
    count = totals.get("regularterminatedsessions") if isinstance(totals, dict) else None
    return count if isinstance(count, int) else 0


@asynccontextmanager
async def running(host: str, cpu: int, listener: MediaListener) -> AsyncIterator[tuple[Rtpengine, int]]:
    """A daemon on that CPU, what speaks to it, and its process. Raises CannotStart."""
    with serving(host, cpu) as (control, pid):
        backend = Rtpengine([f"udp:{control}"])
        await backend.start(listener)
        try:
            yield backend, pid
        finally:
            await backend.close()
