"""The exchange under test: `hookline serve` on one CPU, optionally without a relay (SDP goes through untouched), or
with the stages of its calls marked (`bench.instrument`) and written to a file when it ends.

Also fills the embedded CRM (`--contacts N`) through the exchange's own code, so that look-ups find somebody.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from sqlmodel import Session

from crmhooks.embedded import rows
from pbxcore.control import ContactEntry
from pbxcore.hooks import StreamStats
from pbxcore.media.backend import KernelState, MediaBackend, MediaError, MediaListener
from pbxcore.settings import Settings
from pbxcore.settings_file import load
from pbxcore.startup import serve
from pbxcore.store import open as open_store


class NoRelay:
    """A `MediaBackend` that leaves media to the phones: what signalling alone costs."""

    def __init__(self) -> None:
        self._listener: MediaListener | None = None

    async def start(self, listener: MediaListener) -> None:
        self._listener = listener

    async def offer(
        self, call_id: str, from_leg: str, to_leg: str, sdp: bytes, *, local: str, source: str = ""
    ) -> bytes:
        return sdp

    answer = offer

    async def attend(self, call_id: str, leg: str, sdp: bytes, answer: bytes, *, local: str, source: str = "") -> bytes:
        raise MediaError("nobody talks here but the phones")

    def play(
        self, call_id: str, leg: str, files: Sequence[str], *, payload: int, number: int, repeat: bool = False
    ) -> None:
        return

    def listen(self, call_id: str, leg: str, events: int) -> None:
        return

    def record(self, call_id: str, file: str, seconds: float) -> None:
        return

    def stop_recording(self, call_id: str) -> None:
        return

    def drop_leg(self, call_id: str, leg: str) -> None:
        return

    def ring(self, call_id: str, leg: str, sdp: bytes) -> None:
        return

    def quiet(self, call_id: str) -> None:
        return

    def delete(self, call_id: str) -> None:
        if self._listener is not None:
            self._listener.media_deleted(call_id, StreamStats(), StreamStats())

    def ports_in_use(self) -> int:
        return 0

    def kernel(self) -> KernelState:
        return KernelState("nothing is relayed")

    async def close(self) -> None:
        return


def _contact(number: int) -> ContactEntry:
    return ContactEntry("", f"Caller {number}", (f"+1202555{number:04d}",))


async def fill(settings: Settings, count: int) -> int:
    """Store `count` contacts with the numbers that `bench.load` calls from, in one transaction."""
    store = open_store(settings.database.url, settings.database.durability)
    store.start()

    def saved(session: Session) -> None:
        now = time.time()
        for number in range(count):
            rows.save_contact(session, _contact(number), f"caller{number}", now)

    await store.change(saved)
    await store.close()
    return 0


def main() -> int:
    """Serve, or fill."""
    parser = argparse.ArgumentParser(prog="python -m bench.server")
    parser.add_argument("config")
    parser.add_argument("--cpu", type=int)
    parser.add_argument("--no-relay", action="store_true")
    parser.add_argument("--contacts", type=int)
    parser.add_argument("--stages", type=Path)
    arguments = parser.parse_args()
    settings = load(arguments.config)
    if arguments.cpu is not None:
        os.sched_setaffinity(0, {arguments.cpu})
    if arguments.contacts:
        return asyncio.run(fill(settings, arguments.contacts))
    media: MediaBackend | None = NoRelay() if arguments.no_relay else None
    if arguments.stages is None:
        return run(settings, media)
    from bench.instrument import Recorder

    recorder = Recorder()
    recorder.install()
    status = run(settings, media)
    recorder.write(arguments.stages)
    return status


def run(settings: Settings, media: MediaBackend | None) -> int:
    """Serve until told to stop, on the loop that `hookline serve` would take."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(serve(settings, media=media))
    return uvloop.run(serve(settings, media=media))


if __name__ == "__main__":
    sys.exit(main())
