"""Rows that are durable but not in the database yet: two append-only files beside it, used in turn.

A row is safe from kill -9 once it is appended (and from the plug once it is synced); the database follows a moment
later, or when it is back. Every statement may run twice, so a crash between the two does no harm. One file is emptied
and taken when the other is full and all that was in it has reached the database; while the database is gone the
current one grows.

A record is length, CRC-32, and the group in `marshal`: JSON would cost ten times as much.
"""

from __future__ import annotations

import errno
import fcntl
import marshal
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from struct import Struct

from pbxcore.store.rows import Group

FULL = 1 << 20         # bytes after which the other file is taken, if it is free
FORMAT = 4             # of marshal; read by every Python there is
_HEAD = Struct("<II")


class InUse(Exception):
    """Another exchange works with these files."""


class _File:
    __slots__ = ("fd", "last", "path", "size")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self.size = os.fstat(self.fd).st_size
        self.last = 0      # number of the last group in it

    def empty(self) -> None:
        os.ftruncate(self.fd, 0)
        self.size = 0
        self.last = 0


class Backlog:
    """The two files. `append` is for one thread, `read` for another."""

    def __init__(self, base: Path, *, sync: bool = False) -> None:
        """Raises InUse, OSError."""
        base.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._sync = sync
        self._files = [_File(base.with_name(base.name + suffix)) for suffix in ("-backlog-a", "-backlog-b")]
        self._current, self._other = self._files
        try:
            fcntl.flock(self._current.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not all(os.path.samestat(os.fstat(file.fd), file.path.stat()) for file in self._files):
                raise FileNotFoundError  # the last exchange removed them when it ended, a moment ago
        except OSError as error:
            self.close()
            raise InUse(str(base)) from error

    @property
    def size(self) -> int:
        """Bytes in both files, those that the database has already included."""
        return sum(file.size for file in self._files)

    def append(self, number: int, group: Group, applied: int) -> None:
        """Make a group durable. Numbers rise; all up to `applied` are in the database. Raises OSError."""
        file = self._current
        if file.size > FULL and self._other.last <= applied:
            self._other.empty()
            self._current, self._other = self._other, file
            file = self._current
        body = marshal.dumps((number, group), FORMAT)
        record = _HEAD.pack(len(body), zlib.crc32(body)) + body
        written = os.pwrite(file.fd, record, file.size)  # over half a record, if that was all there was room for
        if written != len(record):
            raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)}: {file.path}")
        if self._sync:
            os.fdatasync(file.fd)
        file.size += len(record)
        file.last = number

    def read(self, after: int = 0) -> Iterator[tuple[int, Group]]:
        """Groups with higher numbers than `after`, in order. A file ends at the first record that is not whole: it
        was torn by a crash and never promised to anyone."""
        for path in sorted((file.path for file in self._files), key=_first_number):
            for number, group in _records(path):
                if number > after:
                    yield number, group

    def clear(self) -> None:
        """All is in the database."""
        for file in self._files:
            file.empty()

    def close(self, *, remove: bool = False) -> None:
        while self._files:
            file = self._files.pop()
            if remove:
                file.path.unlink(missing_ok=True)
            os.close(file.fd)


def _first_number(path: Path) -> int:
    return next((number for number, _ in _records(path)), 0)


def _records(path: Path) -> Iterator[tuple[int, Group]]:
    with path.open("rb") as file:
        left = os.fstat(file.fileno()).st_size
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            length, crc = _HEAD.unpack(head)
            left -= _HEAD.size + length
            if left < 0:  # before it is read: a torn length may say gigabytes
                return
            body = file.read(length)
            if len(body) != length or zlib.crc32(body) != crc:
                return
            number, group = marshal.loads(body)  # noqa: S302 - our own file, checked
            yield number, group
