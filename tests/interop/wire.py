"""Bare sockets that speak SIP: no stack of ours in between, so what is seen is what the exchange put on the wire."""

from __future__ import annotations

import hashlib
import re
import secrets
import socket
import time
from dataclasses import dataclass

from tests.interop.server import PATIENCE

SDP = (
    "v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"
    "a=rtpmap:0 PCMU/8000\r\na=sendrecv\r\n"
)


@dataclass(frozen=True)
class Answer:
    """A response (or a request: `status` is 0) as it arrived."""

    text: str

    @property
    def status(self) -> int:
        return int(self.text[8:11]) if self.text.startswith("SIP/2.0 ") else 0

    @property
    def first_line(self) -> str:
        return self.text.split("\r\n", 1)[0]

    def values(self, name: str) -> list[str]:
        head = self.text.split("\r\n\r\n", 1)[0]
        return re.findall(rf"^{re.escape(name)}:[ \t]*(.*?)\r?$", head, re.MULTILINE | re.IGNORECASE)

    def value(self, name: str) -> str:
        return (self.values(name) or [""])[0]


class Udp:
    """A UDP socket with the exchange at its other end."""

    transport = "UDP"

    def __init__(self, server: tuple[str, int], host: str = "127.0.0.1", port: int = 0) -> None:
        self.server = server
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, port))
        self.host, self.port = self._socket.getsockname()[:2]

    def __enter__(self) -> Udp:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, data: bytes) -> None:
        self._socket.sendto(data, self.server)

    def receive(self, seconds: float) -> Answer | None:
        """The next message; None when nothing comes."""
        self._socket.settimeout(max(seconds, 0.001))
        try:
            return Answer(self._socket.recv(65535).decode("utf-8", "replace"))
        except TimeoutError:
            return None


class Tcp:
    """A connection to the exchange. `closed` once the exchange has closed it."""

    transport = "TCP"

    def __init__(self, server: tuple[str, int]) -> None:
        self._socket = socket.create_connection(server, timeout=PATIENCE)
        self.host, self.port = self._socket.getsockname()[:2]
        self._buffer = b""
        self.closed = False

    def __enter__(self) -> Tcp:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def receive(self, seconds: float) -> Answer | None:
        """The next message; None when nothing comes, or when the connection was closed."""
        deadline = time.monotonic() + seconds
        while not self.closed:
            found = re.search(rb"\A(.*?\r\n\r\n)", self._buffer, re.DOTALL)
            if found:
                length = re.search(rb"^Content-Length:\s*(\d+)", found[1], re.MULTILINE | re.IGNORECASE)
                end = len(found[1]) + (int(length[1]) if length else 0)
                if len(self._buffer) >= end:
                    text, self._buffer = self._buffer[:end], self._buffer[end:]
                    return Answer(text.decode("utf-8", "replace"))
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                data = self._socket.recv(65535)
            except TimeoutError:
                return None
            except ConnectionResetError:
                data = b""
            self.closed = not data
            self._buffer += data
        return None


Peer = Udp | Tcp


def request(
    peer: Peer, method: str, uri: str, *headers: str, user: str = "somebody", to: str = "", cseq: int = 1,
    call_id: str = "", tag: str = "", body: str = "",
) -> bytes:  # fmt: skip
    """A request with everything that RFC 3261 section 8.1.1 asks for."""
    host = f"[{peer.host}]" if ":" in peer.host else peer.host
    contact = f"<sip:{user}@{host}:{peer.port}>"
    lines = [
        f"{method} {uri} SIP/2.0",
        f"Via: SIP/2.0/{peer.transport} {host}:{peer.port};branch=z9hG4bK{secrets.token_hex(8)};rport",
        "Max-Forwards: 70",
        f"From: <sip:{user}@{host}>;tag={tag or secrets.token_hex(4)}",
        f"To: {to or f'<{uri}>'}",
        f"Call-ID: {call_id or secrets.token_hex(8)}",
        f"CSeq: {cseq} {method}",
        f"Contact: {contact}",
        *headers,
        *(["Content-Type: application/sdp"] if body else []),
        f"Content-Length: {len(body)}",
        "",
        body,
    ]
    return "\r\n".join(lines).encode()


def ask(peer: Peer, data: bytes, seconds: float = PATIENCE) -> Answer:
    """Send a request and wait for its final response; provisionals and answers to others are passed over."""
    peer.send(data)
    call_id = Answer(data.decode()).value("Call-ID")
    deadline = time.monotonic() + seconds
    while True:
        answer = peer.receive(deadline - time.monotonic())
        assert answer is not None, f"no answer to {data[:60]!r}"
        if answer.status >= 200 and answer.value("Call-ID") == call_id:
            return answer


def options(peer: Peer, server: tuple[str, int]) -> bytes:
    host = f"[{server[0]}]" if ":" in server[0] else server[0]
    return request(peer, "OPTIONS", f"sip:{host}:{server[1]}")


def credentials(answer: Answer, method: str, uri: str, user: str, password: str) -> str:
    """The answer to the MD5 challenge of a 401 (RFC 7616 section 3.4.1)."""
    challenge = next(value for value in answer.values("WWW-Authenticate") if "MD5" in value)
    realm, nonce = (re.search(rf'{key}="([^"]+)"', challenge)[1] for key in ("realm", "nonce"))  # type: ignore[index]
    cnonce = secrets.token_hex(4)
    ha1, ha2 = _md5(f"{user}:{realm}:{password}"), _md5(f"{method}:{uri}")
    response = _md5(f"{ha1}:{nonce}:00000001:{cnonce}:auth:{ha2}")
    return (
        f'Authorization: Digest username="{user}", realm="{realm}", nonce="{nonce}", uri="{uri}", algorithm=MD5, '
        f'qop=auth, nc=00000001, cnonce="{cnonce}", response="{response}"'
    )


def register(peer: Peer, server: tuple[str, int], user: str, password: str, expires: int = 600) -> Answer:
    """REGISTER, the challenge, and the REGISTER with credentials; the last answer."""
    uri = f"sip:{server[0]}:{server[1]}"
    aor = f"<sip:{user}@{server[0]}>"
    call_id = secrets.token_hex(8)
    rows = (f"Expires: {expires}",)
    first = ask(peer, request(peer, "REGISTER", uri, *rows, user=user, to=aor, call_id=call_id))
    assert first.status == 401, first.text
    row = credentials(first, "REGISTER", uri, user, password)
    return ask(peer, request(peer, "REGISTER", uri, *rows, row, user=user, to=aor, call_id=call_id, cseq=2))


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
