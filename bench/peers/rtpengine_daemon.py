"""rtpengine in user space, as Debian builds it, with the threads that it takes by itself."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bench import wire
from bench.subject import CannotStart, last_words, process
from pbxcore.media.backend import MediaError, MediaListener
from pbxcore.media.rtpengine import Rtpengine

NAME = "rtpengine"
PORTS = (12000, 19998)      # below those that the load's sockets get
START_TRIES = 5             # each waits for an answer as long as any request does


def find() -> str:
    """Its path; empty when it is not installed."""
    return shutil.which("rtpengine") or shutil.which("rtpengine", path="/usr/sbin:/usr/local/sbin") or ""


@asynccontextmanager
async def running(host: str, cpu: int, listener: MediaListener) -> AsyncIterator[tuple[Rtpengine, int]]:
    """A daemon on that CPU, what speaks to it, and its process. Raises CannotStart."""
    control = f"{host}:{wire.free_port(host)}"
    command = [
        find(), "--config-file=none", "--table=-1", f"--interface={host}", f"--listen-ng={control}", "--foreground",
        "--log-stderr", "--log-level=3", f"--port-min={PORTS[0]}", f"--port-max={PORTS[1]}",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with process(command, cpu=cpu, directory=directory) as started:
            backend = Rtpengine([f"udp:{control}"])
            for attempt in range(START_TRIES):
                try:
                    await backend.start(listener)
                    break
                except MediaError:
                    if attempt + 1 == START_TRIES or started.poll() is not None:
                        raise CannotStart(last_words(directory)) from None
                    await asyncio.sleep(0.2)
            try:
                yield backend, started.pid
            finally:
                await backend.close()
