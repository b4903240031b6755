"""The answer to a POST, read from octets as they come (HTTP/1.1, RFC 9112). Sans I/O: no socket, no clock.

It reads one answer and knows whether the connection can carry another. Everything is bounded: the body by the caller,
all that is no body (heads, interim answers, lengths of chunks, trailers) by `MOST_FRAMING` together. Not done here:
redirects, cookies, compression, and the bodies of answers that are not 2xx, which nobody reads.
"""

from __future__ import annotations

import re
from collections.abc import Callable

MOST_FRAMING = 16384    # octets

_START = b"HTTP/1."
_HEAD = re.compile(
    rb"HTTP/1\.([01]) ([0-9]{3})(?: ([^\r\n\0]*+))?\r?\n"                       # section 4
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[^\r\n\0]*+\r?\n)*+)\r?\n"              # section 5, lines that are not folded
)
_FIELD = re.compile(rb"([^:\r\n]++):[ \t]*+([^\r\n]*+)")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++:[^\r\n\0]*+\r?\n")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*+(?:;[^\r\n\0]*+)?\r\n")         # section 7.1
_LENGTH = re.compile(r"[0-9]{1,15}")


class BadAnswer(Exception):
    """What came cannot be taken; the connection must be closed. The message is for people."""


class Broken(BadAnswer):
    """It is no answer of HTTP/1.1, or not a whole one."""


class Reader:
    """Reads one answer: `feed` octets until `done`, or `end` it where the connection ended. Both raise BadAnswer.

    `began`: something came. `status`, `reason` and `fields` (names in lower case) are of the head, and known once
    `status` is not 0. `keep`, once done: the connection can carry another request.
    """

    __slots__ = (
        "_at",
        "_left",
        "_most",
        "_rest",
        "_seen",
        "_size",
        "_step",
        "began",
        "body",
        "done",
        "fields",
        "keep",
        "reason",
        "status",
    )

    def __init__(self, most: int) -> None:
        self.began = False
        self.done = False
        self.keep = False
        self.status = 0
        self.reason = ""
        self.fields: dict[str, str] = {}
        self.body = bytearray()
        self._most = most               # octets that the body may have
        self._left = MOST_FRAMING
        self._rest = b""                # what came and is not read yet ...
        self._at = 0                    # ... from here on
        self._seen = 0                  # of the rest of a head: searched for its end in vain
        self._size = -1                 # of the body or the chunk, what is still to come; -1: until the connection ends
        self._step: Callable[[Reader], bool] = Reader._head    # not bound: no cycle for the collector

    def feed(self, data: bytes) -> None:
        """More of it."""
        self.began = True
        if self.done:
            self.keep = False           # somebody who answers more than he was asked
            return
        self._rest = self._rest + data if self._rest else data
        while self._step(self) and not self.done:
            pass
        waits = len(self._rest) - self._at
        if self.done:
            self.keep = self.keep and not waits
            self._rest = b""
        elif waits > self._left:
            raise Broken(f"more than {MOST_FRAMING} octets round the body")
        elif self._at:
            self._rest = self._rest[self._at :]
        self._at = 0

    def end(self) -> None:
        """The connection ended."""
        if self._step is Reader._body and self._size < 0:
            self.done = True
        elif not self.done:
            raise Broken("the connection ended in the middle of it" if self.began else "the connection ended")

    # Steps take what they can from `_rest`; False: more must come first.

    def _head(self) -> bool:
        rest, at = self._rest, self._at
        end = rest.find(b"\n\r\n", at + self._seen)
        bare = rest.find(b"\n\n", at + self._seen, end if end >= 0 else len(rest))    # section 2.2 lets us take it
        if end < 0 and bare < 0:
            if not rest.startswith(_START[: len(rest) - at], at):
                raise Broken("it does not begin as HTTP/1.1 does")
            self._seen = max(0, len(rest) - at - 2)
            return False
        found = _HEAD.match(rest, at)
        if found is None:
            raise Broken("its head is malformed")
        self._seen = 0
        self._take(found.end())
        status = int(found[2])
        if 100 <= status < 200 and status != 101:
            return True                 # an interim answer; the real one follows
        if not 200 <= status < 600:
            raise Broken(f"status {status}")
        self.status = status
        self.reason = (found[3] or b"").decode(errors="replace").strip()
        fields = self.fields
        for name, value in _FIELD.findall(found[4]):
            key = name.decode("ascii").lower()
            text = value.decode("latin-1").rstrip(" \t")
            fields[key] = f"{fields[key]}, {text}" if key in fields else text
        self._frame(found[1] == b"1")
        return True

    def _frame(self, persistent: bool) -> None:
        """How long the body is: section 6.3."""
        fields = self.fields
        self.keep = persistent and "close" not in fields.get("connection", "").lower()
        self._step = Reader._body
        coding, length = fields.get("transfer-encoding"), fields.get("content-length")
        if self.status >= 300 or self.status == 204:
            self.done = True
            self.keep = self.keep and self.status == 204
        elif coding is not None:
            if coding.lower() != "chunked" or not persistent:
                raise Broken(f"transfer coding {coding[:40]!r}")
            self.keep = self.keep and length is None
            self._size = 0
            self._step = Reader._first_chunk
        elif length is not None:
            lengths = {one.strip() for one in length.split(",")}
            text = lengths.pop()
            if lengths or not _LENGTH.fullmatch(text):
                raise Broken(f"content length {length[:40]!r}")
            self._size = self._fits(int(text))
            self.done = not self._size
        else:
            self.keep = False

    def _body(self) -> bool:
        if self._size < 0:
            self._collect(len(self._rest) - self._at)
            return False
        self._size -= self._collect(min(self._size, len(self._rest) - self._at))
        self.done = not self._size
        return False

    def _first_chunk(self) -> bool:
        return self._begin_chunk(self._at)

    def _next_chunk(self) -> bool:
        """The line break that ends a chunk, and the length of the next one."""
        breaks = self._rest[self._at : self._at + 2]
        if not b"\r\n".startswith(breaks):
            raise Broken("a chunk is longer than it said")
        return len(breaks) == 2 and self._begin_chunk(self._at + 2)

    def _begin_chunk(self, at: int) -> bool:
        end = self._rest.find(b"\n", at) + 1
        if not end:
            return False
        found = _CHUNK.fullmatch(self._rest, at, end)
        if found is None:
            raise Broken("the length of a chunk is malformed")
        self._take(end)
        self._size = self._fits(int(found[1], 16))
        self._step = Reader._chunk if self._size else Reader._trailer
        return True

    def _chunk(self) -> bool:
        self._size -= self._collect(min(self._size, len(self._rest) - self._at))
        if self._size:
            return False
        self._step = Reader._next_chunk
        return True

    def _trailer(self) -> bool:
        at = self._at
        end = self._rest.find(b"\n", at) + 1
        if not end:
            return False
        line = self._rest[at:end]
        self._take(end)
        if line == b"\r\n":
            self.done = True
        elif not _TRAILER.fullmatch(line):
            raise Broken("its trailer is malformed")
        return True

    def _take(self, end: int) -> None:
        """Framing, up to there."""
        self._left -= end - self._at
        self._at = end
        if self._left < 0:
            raise Broken(f"more than {MOST_FRAMING} octets round the body")

    def _collect(self, count: int) -> int:
        """Body, so many octets."""
        self._fits(count)
        self.body += self._rest[self._at : self._at + count]
        self._at += count
        return count

    def _fits(self, count: int) -> int:
        if len(self.body) + count > self._most:
            raise BadAnswer(f"the answer is longer than {self._most} bytes")
        return count
