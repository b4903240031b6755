"""SIP over WebSocket, the server's side (RFC 7118, RFC 6455), without sockets.

The frames and the opening handshake are those of the `websockets` library's sans-I/O core. Added here is what SIP asks
of them: the subprotocol `sip`, the path, the origins, one SIP message a WebSocket message. Compression is not offered.
We open no such connection: a browser can only be reached over the one that it opened.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from websockets.exceptions import NegotiationError
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Origin, Subprotocol

from pbxcore.sip.framing import KeepAlive
from pbxcore.sip.message import MAX_SIZE

SUBPROTOCOL = Subprotocol("sip")
HANDSHAKE_SIZE = 16 * 1024   # octets of a browser's request with all its cookies
ANY = "*"

_quiet = logging.getLogger("pbxcore.net.websocket.library")   # what a stranger sends must not fill the log
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False
_quiet.setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class Door:
    """Who may open a connection: the path to ask for, and the pages (RFC 6454 origins) that may; `*` is every page.
    A client that names no origin is no browser, and is let in: it proves itself by digest as any phone does."""

    path: str = "/"
    origins: tuple[str, ...] = ()

    def allowed(self) -> list[Origin | None] | None:
        """As the library has it: None for everybody."""
        return None if ANY in self.origins else [None, *(Origin(origin) for origin in self.origins)]


def _select(_: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol:
    """RFC 7118 section 4.1: the handshake fails without the subprotocol."""
    if SUBPROTOCOL not in offered:
        raise NegotiationError("the subprotocol sip is needed")
    return SUBPROTOCOL


class WebSocket:
    """One connection. What it wants to say waits in `outgoing`; `ended` once the connection is to be closed."""

    __slots__ = ("_door", "_parts", "_protocol", "_size", "_text", "ended", "open")

    def __init__(self, door: Door) -> None:
        self._door = door
        self._protocol = ServerProtocol(
            origins=door.allowed(), subprotocols=[SUBPROTOCOL], select_subprotocol=_select, max_size=MAX_SIZE,
            logger=_quiet,
        )  # fmt: skip
        self._size = 0                 # octets of the handshake so far
        self._parts: list[bytes] = []  # of a message in fragments
        self._text = False
        self.open = False
        self.ended = False

    def feed(self, data: bytes) -> list[bytes | KeepAlive]:
        """The SIP messages and signs of life that these octets complete, in order."""
        if self.ended:
            return []
        if not self.open:
            self._size += len(data)
            if self._size > HANDSHAKE_SIZE and self._protocol.state is State.CONNECTING:
                self.ended = True
                return []
        self._protocol.receive_data(data)
        out: list[bytes | KeepAlive] = []
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._shake_hands(event)
            elif isinstance(event, Frame):
                self._take(event, out)
        if self._protocol.close_expected() or self._protocol.state is State.CLOSED:
            self.ended = True
        return out

    def _shake_hands(self, request: Request) -> None:
        protocol = self._protocol
        if request.path.partition("?")[0] != self._door.path:
            response = protocol.reject(404, "There is no SIP here.\n")
        else:
            response = protocol.accept(request)
        protocol.send_response(response)
        self.open = response.status_code == 101

    def _take(self, frame: Frame, out: list[bytes | KeepAlive]) -> None:
        if frame.opcode in (Opcode.PING, Opcode.PONG):   # a ping has its pong by now
            if not self._parts:   # in the middle of a message they are no sign that it will ever end
                out.append(KeepAlive.PONG)
            return
        if frame.opcode is Opcode.CLOSE or self.ended:
            return
        if frame.opcode is not Opcode.CONT:
            self._text = frame.opcode is Opcode.TEXT
        self._parts.append(bytes(frame.data))
        if not frame.fin:
            return
        message = b"".join(self._parts)
        self._parts.clear()
        if self._text and not _is_text(message):   # RFC 6455 section 8.1
            self._protocol.fail(CloseCode.INVALID_DATA, "text that is not UTF-8")
            self.ended = True
        elif not message.strip(b"\r\n"):   # the keep-alive of RFC 5626, usable here too (RFC 7118 section 6)
            out.append(KeepAlive.PING if len(message) >= 4 else KeepAlive.PONG)
        else:
            out.append(message)

    def wrap(self, message: bytes) -> bytes:
        """One message of ours as it goes onto the network: text where it is text (RFC 7118 section 4.2)."""
        if self._protocol.state is not State.OPEN:
            return b""
        if _is_text(message):
            self._protocol.send_text(message)
        else:
            self._protocol.send_binary(message)
        return self.outgoing()

    def ping(self) -> None:
        if self._protocol.state is State.OPEN:
            self._protocol.send_ping(b"")

    def close(self) -> None:
        """Says good-bye; the answer is not waited for."""
        self.ended = True
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(CloseCode.GOING_AWAY)

    def outgoing(self) -> bytes:
        return b"".join(self._protocol.data_to_send())


def _is_text(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True

