"""SIP over WebSocket without sockets (RFC 7118): the handshake, frames in every cut, and what must be refused. The peer
is the client of the `websockets` library."""

from __future__ import annotations

import random
import struct

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.typing import Origin, Subprotocol
from websockets.uri import parse_uri

from pbxcore.net.websocket import Door, WebSocket
from pbxcore.sip.framing import KeepAlive
from pbxcore.sip.message import MAX_SIZE

MESSAGE = b"OPTIONS sip:100@127.0.0.1 SIP/2.0\r\nContent-Length: 0\r\n\r\n"
MASK = b"\x01\x02\x03\x04"


def client(
    *, path: str = "/", origin: str | None = None, subprotocols: tuple[str, ...] = ("sip",)
) -> tuple[ClientProtocol, bytes]:
    made = ClientProtocol(
        parse_uri(f"ws://pbx.example.net{path}"),
        origin=None if origin is None else Origin(origin),
        subprotocols=[Subprotocol(name) for name in subprotocols] or None,
    )
    made.send_request(made.connect())
    return made, b"".join(made.data_to_send())


def opened(door: Door | None = None) -> tuple[ClientProtocol, WebSocket]:
    peer, request = client()
    ours = WebSocket(door or Door())
    assert ours.feed(request) == []
    peer.receive_data(ours.outgoing())
    assert peer.state is State.OPEN
    assert peer.subprotocol == "sip"
    assert ours.open
    return peer, ours


def frame(opcode: int, data: bytes, *, fin: bool = True, mask: bool = True, length: int | None = None) -> bytes:
    size = len(data) if length is None else length
    head = bytes([(0x80 if fin else 0) | opcode])
    flag = 0x80 if mask else 0
    if size < 126:
        head += bytes([flag | size])
    elif size < 65536:
        head += bytes([flag | 126]) + struct.pack("!H", size)
    else:
        head += bytes([flag | 127]) + struct.pack("!Q", size)
    if not mask:
        return head + data
    return head + MASK + bytes(octet ^ MASK[at % 4] for at, octet in enumerate(data))


# ---- the handshake

@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({}, 101),
        ({"subprotocols": ("chat", "sip")}, 101),
        ({"subprotocols": ("chat",)}, 400),
        ({"subprotocols": ()}, 400),
        ({"path": "/sip"}, 404),
        ({"path": "/?token=1"}, 101),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "https://crm.example.net"}, 101),
        ({"origin": "http://crm.example.net"}, 403),
        ({"origin": "null"}, 403),
    ],
)
def test_who_is_let_in(asked: dict[str, object], status: int) -> None:
    _, request = client(**asked)  # type: ignore[arg-type]  # passed on
    ours = WebSocket(Door(origins=("https://crm.example.net",)))
    ours.feed(request)
    answer = ours.outgoing()
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert ours.open == (status == 101)
    assert ours.ended == (status != 101)
    assert (b"Sec-WebSocket-Protocol: sip\r\n" in answer) == (status == 101)
    assert b"Sec-WebSocket-Extensions" not in answer       # nothing is ever inflated


def test_without_a_list_no_page_is_let_in_and_with_a_star_every_one() -> None:
    _, request = client(origin="https://crm.example.net")
    closed, wide = WebSocket(Door()), WebSocket(Door(origins=("*",)))
    closed.feed(request)
    wide.feed(request)
    assert (closed.open, wide.open) == (False, True)


def test_another_path_may_be_the_one() -> None:
    ours = WebSocket(Door("/sip"))
    ours.feed(client(path="/sip")[1])
    assert ours.open


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00" * 20 + b"\r\n\r\n",
        MESSAGE,
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"Cookie: " + b"c" * 5000 + b"\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
    ],
)
def test_what_is_no_websocket_is_refused(said: bytes) -> None:
    ours = WebSocket(Door())
    assert ours.feed(said) == []
    assert ours.ended
    assert not ours.open
    assert ours.feed(said) == []


def test_a_handshake_in_single_octets_with_a_message_right_behind_it() -> None:
    peer, request = client()
    ours = WebSocket(Door())
    out = []
    for octet in request + frame(1, MESSAGE):
        out += ours.feed(bytes([octet]))
    assert out == [MESSAGE]
    peer.receive_data(ours.outgoing())
    assert peer.state is State.OPEN


# ---- messages

@pytest.mark.parametrize("seed", range(20))
def test_messages_in_any_fragments_and_any_cut_of_the_stream(seed: int) -> None:
    rng = random.Random(seed)
    _, ours = opened()
    messages = [MESSAGE[:-4] + b"X: " + "é".encode() * rng.randrange(9000) + b"\r\n\r\n" for _ in range(4)]
    stream = b""
    for message in messages:
        cuts = sorted(rng.randrange(len(message)) for _ in range(rng.randrange(6)))
        parts = [message[a:b] for a, b in zip([0, *cuts], [*cuts, len(message)], strict=True)]
        for index, part in enumerate(parts):
            opcode = (2 if rng.random() < 0.5 else 1) if index == 0 else 0
            stream += frame(opcode, part, fin=index == len(parts) - 1)
            if rng.random() < 0.3:
                stream += frame(9, b"still there?")
    got = []
    while stream:
        size = rng.randrange(1, 4000)
        got += [item for item in ours.feed(stream[:size]) if isinstance(item, bytes)]
        stream = stream[size:]
    assert got == messages
    assert not ours.ended


def test_ours_are_text_where_they_are_text_and_not_masked() -> None:
    peer, ours = opened()
    binary = MESSAGE + b"\xff\xfe"
    for message in (MESSAGE, binary, b"a" * 70_000):
        peer.receive_data(ours.wrap(message))
    frames = [event for event in peer.events_received() if isinstance(event, Frame)]
    assert [(one.opcode, one.data) for one in frames] == [
        (Opcode.TEXT, MESSAGE), (Opcode.BINARY, binary), (Opcode.TEXT, b"a" * 70_000)
    ]  # fmt: skip


def test_pings_are_answered_and_crlf_is_one_too() -> None:
    peer, ours = opened()
    assert ours.feed(frame(9, b"abc")) == [KeepAlive.PONG]
    peer.receive_data(ours.outgoing())
    [pong] = [event for event in peer.events_received() if isinstance(event, Frame)]
    assert (pong.opcode, pong.data) == (Opcode.PONG, b"abc")
    assert ours.feed(frame(1, b"\r\n\r\n")) == [KeepAlive.PING]     # who has the flow answers it with a CRLF
    assert ours.feed(frame(1, b"\r\n")) == [KeepAlive.PONG]
    ours.ping()
    peer.receive_data(ours.outgoing())
    assert ours.feed(b"".join(peer.data_to_send())) == [KeepAlive.PONG]


def test_pings_in_the_middle_of_a_message_are_no_sign_of_life() -> None:
    _, ours = opened()
    assert ours.feed(frame(1, b"OPT", fin=False)) == []
    assert ours.feed(frame(9, b"") * 10 + frame(10, b"")) == []
    assert ours.outgoing() != b""        # they are answered all the same
    assert ours.feed(frame(0, b"IONS")) == [b"OPTIONS"]


# ---- what must be refused (attacks.md, row 20)

@pytest.mark.parametrize(
    ("what", "code"),
    [
        (frame(1, MESSAGE, mask=False), 1002),
        (frame(1, b"", length=100_000_000), 1009),
        (frame(1, b"a" * (MAX_SIZE + 1)), 1009),
        (frame(1, b"a" * MAX_SIZE, fin=False) + frame(0, b"bb"), 1009),
        (b"".join(frame(1 if n == 0 else 0, b"x" * 10_000, fin=False) for n in range(8)), 1009),
        (frame(0, MESSAGE), 1002),                                       # continues nothing
        (frame(1, b"a", fin=False) + frame(1, MESSAGE), 1002),           # begins another in the middle
        (frame(3, b""), 1002),                                           # no such opcode
        (frame(9, b"x" * 126), 1002),                                    # a control frame that is too long
        (frame(9, b"", fin=False), 1002),                                # and one in fragments
        (bytes([0xC1]) + frame(1, b"a")[1:], 1002),                      # compressed, which nobody agreed on
        (frame(1, b"\xff\xfe"), 1007),
        (frame(1, "é".encode()[:1], fin=False) + frame(0, b"x"), 1007),
    ],
)  # fmt: skip
def test_frames_of_100_mb_fragments_without_end_and_unmasked_ones_are_refused(what: bytes, code: int) -> None:
    peer, ours = opened()
    assert [item for item in ours.feed(what) if isinstance(item, bytes)] == []
    assert ours.ended
    peer.receive_data(ours.outgoing())
    assert peer.close_rcvd is not None
    assert peer.close_rcvd.code == code
    assert ours.feed(frame(1, MESSAGE)) == []
    assert ours.wrap(MESSAGE) == b""


def test_a_message_as_large_as_sip_allows_passes() -> None:
    _, ours = opened()
    assert ours.feed(frame(1, b"a" * MAX_SIZE)) == [b"a" * MAX_SIZE]


def test_both_sides_say_goodbye() -> None:
    peer, ours = opened()
    peer.send_close(1000)
    ours.feed(b"".join(peer.data_to_send()))
    assert ours.ended
    peer.receive_data(ours.outgoing())
    assert peer.close_rcvd is not None
    peer, ours = opened()
    ours.close()
    peer.receive_data(ours.outgoing())
    assert peer.close_rcvd is not None
    assert peer.close_rcvd.code == 1001
    ours.close()      # once is enough
    assert ours.outgoing() == b""


@pytest.mark.parametrize("seed", range(200))
def test_no_octets_raise(seed: int) -> None:
    rng = random.Random(seed)
    ours = WebSocket(Door())
    if seed % 2:
        ours.feed(client()[1])
    data = bytearray(frame(1, MESSAGE) * 3 + frame(9, b"x") + frame(8, b"\x03\xe8"))
    for _ in range(rng.randrange(1, 8)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    for _ in range(5):
        ours.feed(bytes(data))
        ours.outgoing()
