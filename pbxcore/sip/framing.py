"""Cutting a stream into messages: RFC 3261 section 18.3, keep-alives of RFC 5626 section 4.4.1.

Knows bytes only: `message.parse` reads what comes out. WebSocket needs none of this (one message a frame, RFC 7118).
"""

from __future__ import annotations

import re
from enum import Enum

from pbxcore.sip.errors import ParseError
from pbxcore.sip.headers import digits
from pbxcore.sip.message import MAX_SIZE, Request, parse

# One row of Content-Length with its folds. Rows begin behind a line feed, so no two attempts read the same octets.
_length_rows = re.compile(rb"\n(?:content-length|l)[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)", re.IGNORECASE).finditer
_body_rows = re.compile(rb"\n(?:content-type|c)[ \t]*:", re.IGNORECASE).search


class KeepAlive(Enum):
    PING = "ping"  # a double CRLF: to be answered by a single one
    PONG = "pong"  # a single CRLF


class FramingError(ParseError):
    """The stream cannot be cut any further: answer `partial` if there is one, then close.

    `messages` are those that were complete before it in the same octets.
    """

    def __init__(self, status: int, reason: str, partial: Request | None = None) -> None:
        super().__init__(status, reason, partial)
        self.messages: list[bytes | KeepAlive] = []


class StreamFramer:
    """One a connection. After a FramingError it takes nothing more."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0  # up to here there is no end of headers
        self._needed = 0  # octets of the message whose headers are complete; 0 while they are not
        self._crlf = False  # the last thing seen between messages was a single CRLF
        self._broken = False

    @property
    def pending(self) -> int:
        """Octets of a message that is not complete."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes | KeepAlive]:
        """Takes what the stream brought; returns the messages and keep-alives that it completes, in order.

        Raises FramingError: no or contradictory Content-Length, more than MAX_SIZE octets.
        """
        if self._broken:
            return []
        self._buffer += data
        out: list[bytes | KeepAlive] = []
        try:
            while self._next(out):
                pass
        except FramingError as error:
            self._broken = True
            self._buffer.clear()
            error.messages = out
            raise
        return out

    def _next(self, out: list[bytes | KeepAlive]) -> bool:
        buffer = self._buffer
        if not self._needed:
            if buffer[:1] == b"\r" or buffer[:1] == b"\n":
                return self._keep_alive(out)
            end = _end_of_headers(buffer, max(0, self._scanned - 3))
            if end < 0:
                self._scanned = len(buffer)
                if len(buffer) > MAX_SIZE:
                    raise FramingError(513, "Message Too Large")
                return False
            self._crlf = False
            self._needed = end + _body_length(bytes(buffer[:end]))
        if len(buffer) < self._needed:
            return False
        out.append(bytes(buffer[: self._needed]))
        del buffer[: self._needed]
        self._needed = self._scanned = 0
        return bool(buffer)

    def _keep_alive(self, out: list[bytes | KeepAlive]) -> bool:
        """Between messages: two CRLF in a row are a ping, however they were cut; a single one is a pong or nothing."""
        buffer = self._buffer
        if buffer[:1] == b"\n":  # from a stack that ends its body with one
            del buffer[:1]
        elif buffer[:4] == b"\r\n\r\n":
            del buffer[:4]
            self._crlf = False
            out.append(KeepAlive.PING)
        elif buffer[:2] == b"\r\n":
            del buffer[:2]
            out.append(KeepAlive.PING if self._crlf else KeepAlive.PONG)
            self._crlf = not self._crlf
        elif len(buffer) == 1:
            return False
        else:
            raise FramingError(400, "Bare CR between messages")
        return bool(buffer)


def _end_of_headers(buffer: bytearray, start: int) -> int:
    """Where the body begins; -1 while the headers are not complete. Empty lines may end in a bare LF, as in `parse`."""
    end = buffer.find(b"\n\r\n", start)
    bare = buffer.find(b"\n\n", start, end + 1 if end >= 0 else len(buffer))
    if bare >= 0:
        return bare + 2
    return end + 3 if end >= 0 else -1


def _body_length(head: bytes) -> int:
    """Octets of the body behind `head`; FramingError when that cannot be known."""
    lengths = {digits(b" ".join(row[1].split()).decode("latin-1"), MAX_SIZE) for row in _length_rows(head)}
    if not lengths:
        if _body_rows(head):
            raise _error(head, 400, "Missing Content-Length")
        return 0
    length = lengths.pop()
    if length is None or lengths:
        raise _error(head, 400, "Malformed Content-Length")
    if len(head) + length > MAX_SIZE:
        raise _error(head, 513, "Message Too Large")
    return length


def _error(head: bytes, status: int, reason: str) -> FramingError:
    """With the request, if its headers can be read."""
    try:
        message = parse(head)
    except ParseError as error:
        return FramingError(status, reason, error.partial)
    return FramingError(status, reason, message if isinstance(message, Request) else None)
