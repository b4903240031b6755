"""Access tokens by a refresh token that is good for one use (RFC 6749 section 6): each answer brings the next one.

The newest is kept in a file that is its owner's alone, because after a restart the one in the settings is spent; the
file is locked while a token is fetched, because commands ask beside the exchange. Without a file it is kept in memory.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from crmhooks.connectors.common import needed
from crmhooks.connectors.oauth import Tokens
from crmhooks.connectors.site import Denied, Site, Unauthorised

LOCK_SECONDS = 0.05


class RotatingTokens(Tokens):
    """`first` is the refresh token of the settings; another one there makes what the file says worthless."""

    def __init__(
        self,
        site: Site,
        url: str,
        form: Mapping[str, str],
        clock: Callable[[], float],
        *,
        first: str,
        file: Path | None,
    ) -> None:
        super().__init__(site, url, form, clock)
        self._mark = hashlib.sha256(first.encode()).hexdigest()
        self._refresh = first
        self._file = file

    async def _fetch(self) -> None:
        if self._file is None:
            await self._renew()
            return
        try:
            lock = os.open(self._file.with_name(self._file.name + ".lock"), os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise Unauthorised(f"cannot keep its token in {self._file}: {error.strerror}") from None
        try:
            while not _locked(lock):  # noqa: ASYNC110 - the other one is another process
                await asyncio.sleep(LOCK_SECONDS)
            self._refresh = self._kept() or self._refresh
            await self._renew()
        finally:
            os.close(lock)

    async def _renew(self) -> None:
        body = {**self._form, "grant_type": "refresh_token", "refresh_token": self._refresh}
        try:
            answer = await self._site.ask("POST", self._url, json=body)
        except Denied as error:
            mend = "if it stays so, give api_key a fresh refresh token"
            raise Unauthorised(f"gives no access token: {error}; {mend}") from None
        self._refresh = needed(answer.body, "refresh_token")
        if self._file is not None:
            self._keep(self._file)
        self._take(answer.body)

    def _kept(self) -> str:
        """What the file says, if it began with the same token of the settings."""
        assert self._file is not None
        try:
            mark, _, token = self._file.read_text().partition("\n")
        except OSError:
            return ""
        return token.strip() if mark == self._mark else ""

    def _keep(self, file: Path) -> None:
        fresh = file.with_name(file.name + ".new")
        try:
            with _private(fresh) as descriptor:
                os.write(descriptor, f"{self._mark}\n{self._refresh}\n".encode())
                os.fsync(descriptor)
            fresh.replace(file)
        except OSError as error:
            raise Unauthorised(f"cannot keep its token in {file}: {error.strerror}") from None


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _private(file: Path) -> Iterator[int]:
    descriptor = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
