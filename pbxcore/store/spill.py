"""Where rows wait while the database is gone: an append-only file beside it, one JSON line a row.

A spilled row is as durable as a committed one: the file survives kill -9, and the plug where it is synced.
Rows are replayed in order; every statement may be run twice, so a crash in the middle of a replay does no harm.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from pbxcore.store.statements import Row


class Spill:
    """One file of rows. `waiting` counts those in it. Used by one thread."""

    __slots__ = ("_fd", "_path", "_sync", "waiting")

    def __init__(self, path: Path, *, sync: bool = False) -> None:
        self._path = path
        self._sync = sync
        self._fd: int | None = None
        self.waiting = sum(1 for _ in self.read())

    def append(self, rows: list[tuple[str, Row]]) -> None:
        """Write rows as (statement name, row), whole or not at all. Raises OSError."""
        if self._fd is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            self._end_torn_line(self._fd)
        size = os.fstat(self._fd).st_size
        data = memoryview("".join(json.dumps(row) + "\n" for row in rows).encode())
        try:
            while data:
                data = data[os.write(self._fd, data) :]
            if self._sync:
                os.fsync(self._fd)
        except OSError:
            os.ftruncate(self._fd, size)
            raise
        self.waiting += len(rows)

    def read(self) -> Iterator[tuple[str, Row]]:
        """Every row in order. A line torn by a crash was never promised to anyone: it is left out."""
        try:
            file = self._path.open(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return
        with file:
            for line in file:
                try:
                    name, row = json.loads(line)
                except ValueError:
                    continue
                yield name, tuple(row)

    def clear(self) -> None:
        """All rows are in the database: remove the file."""
        self.close()
        self._path.unlink(missing_ok=True)
        self.waiting = 0

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _end_torn_line(self, fd: int) -> None:
        """A crash may have left half a line at the end: what follows must not be glued to it."""
        if os.fstat(fd).st_size:
            with self._path.open("rb") as file:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    os.write(fd, b"\n")
