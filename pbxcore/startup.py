"""From the command to a running exchange: signals, the one `ready` line, credentials printed once, clean ends."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from typing import TextIO, cast

import click
import structlog

from crmhooks.connector import InvalidHook
from pbxcore.app import App
from pbxcore.attending import CannotAttend
from pbxcore.large_pages import enlarge
from pbxcore.media.backend import MediaBackend, MediaError
from pbxcore.net.flow import ListenError
from pbxcore.profiles import BadProfile
from pbxcore.settings import Settings
from pbxcore.store import StoreUnavailable
from pbxcore.store import open as open_store
from pbxcore.store.repo import Extensions
from web.server import CannotListen

START_ERRORS = (BadProfile, StoreUnavailable, ListenError, InvalidHook, CannotListen, MediaError, CannotAttend)


def stored_numbers(url: str) -> frozenset[str]:
    """The numbers of the extensions kept in the database; none when it does not exist or cannot be read."""
    with contextlib.suppress(StoreUnavailable):
        store = open_store(url)
        try:
            return frozenset(extension.number for extension in Extensions(store).load())
        finally:
            store.engine.dispose()
    return frozenset()


class _Lines:
    """Standard error as the log writes to it: whoever read it may be gone, and no call shall fail for that. `stream`
    is None when the program was started without one."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if self._stream is not None:
            with contextlib.suppress(OSError, ValueError):
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        if self._stream is not None:
            with contextlib.suppress(OSError, ValueError):
                self._stream.flush()


def log_to_stderr() -> None:
    """Lines for people on standard error: standard output is for `ready` and the credentials."""
    stream: TextIO | None = sys.stderr
    structlog.configure(
        processors=[
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer(colors=stream is not None and stream.isatty()),
        ],
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _Lines(stream))),
    )


async def serve(settings: Settings, *, media: MediaBackend | None = None) -> int:
    """Run until SIGTERM or SIGINT; a second one ends the draining. `media` takes the place of the settings' relay."""
    log_to_stderr()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):  # one that comes while we start is not lost
        loop.add_signal_handler(number, stop.set)
    app = App(settings, media=media)
    try:
        await app.start()
    except START_ERRORS as error:
        await app.stop()
        click.echo(f"hookline cannot start: {error}", err=True)
        return 1
    enlarge()
    _greet(app)
    await stop.wait()
    stop.clear()
    live = len(app.exchange.live)
    if live:
        most = f"at most {settings.sip.drain_seconds:g} s; once more ends them now"
        click.echo(f"draining: {live} calls, {most}", err=True)
    draining = asyncio.ensure_future(app.drain())
    hurry = asyncio.ensure_future(stop.wait())
    await asyncio.wait((draining, hurry), return_when=asyncio.FIRST_COMPLETED)
    draining.cancel()
    hurry.cancel()
    await asyncio.gather(draining, hurry, return_exceptions=True)
    await app.hang_up()
    await app.stop()
    return 0


def _greet(app: App) -> None:
    made = app.credentials
    if made.extensions or made.admin_password:
        click.echo("First start. These passwords are shown once, so keep them:")
        for extension in made.extensions:
            click.echo(f"  phone  user {extension.number:<8} password {extension.secret}")
        if made.admin_password:
            click.echo(f"  panel  user {'admin':<8} password {made.admin_password}")
    if app.interrupted:
        click.echo(f"{app.interrupted} calls of an earlier run were closed as interrupted")
    click.echo(f"ready sip={','.join(app.sip_addresses)} panel={app.web_address}")
