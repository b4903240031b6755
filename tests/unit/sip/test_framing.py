"""Streams: where a message ends, keep-alives, and when nothing more can be cut."""

from __future__ import annotations

import pytest

from pbxcore.sip.framing import FramingError, KeepAlive, StreamFramer
from pbxcore.sip.message import MAX_SIZE

HEAD = (
    b"OPTIONS sip:a SIP/2.0\r\n"
    b"Via: SIP/2.0/TCP h\r\nFrom: <sip:a>\r\nTo: <sip:b>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n"
)
PING, PONG = KeepAlive.PING, KeepAlive.PONG


def message(body: bytes = b"", row: bytes = b"Content-Length: ") -> bytes:
    return HEAD + row + str(len(body)).encode() + b"\r\n\r\n" + body


def broken(data: bytes) -> FramingError:
    with pytest.raises(FramingError) as caught:
        StreamFramer().feed(data)
    return caught.value


def test_one_message_octet_by_octet() -> None:
    framer = StreamFramer()
    raw = message(b"a\r\n\r\nb")
    for at in range(len(raw) - 1):
        assert framer.feed(raw[at : at + 1]) == []
    assert framer.pending == len(raw) - 1
    assert framer.feed(raw[-1:]) == [raw]
    assert framer.pending == 0


def test_many_messages_at_once() -> None:
    parts = [message(b"x" * size) for size in (0, 1, 100)]
    assert StreamFramer().feed(b"".join(parts) + b"OPT") == parts


@pytest.mark.parametrize(
    "row", [b"l: ", b"L:", b"content-length   : ", b"CONTENT-LENGTH:\r\n\t ", b"X: y\r\n z: 9\r\nContent-Length: 00"]
)
def test_spellings_of_the_length(row: bytes) -> None:
    raw = message(b"body", row)
    assert StreamFramer().feed(raw + raw) == [raw, raw]


def test_a_length_in_the_body_or_a_fold_is_none() -> None:
    raw = HEAD + b"X: y\r\n l: 99\r\nl: 8\r\n\r\n\nl: 99\r\n"
    assert StreamFramer().feed(raw) == [raw]


def test_no_length_and_no_body_is_a_message() -> None:
    assert StreamFramer().feed(HEAD + b"\r\n" + message()) == [HEAD + b"\r\n", message()]


def test_bare_line_feeds() -> None:
    raw = message(b"x").replace(b"\r\n", b"\n")
    assert StreamFramer().feed(raw + message()) == [raw, message()]


def test_keep_alives_between_messages() -> None:
    framer = StreamFramer()
    assert framer.feed(b"\r\n\r\n") == [PING]
    assert framer.feed(message() + b"\r\n\r\n" + message()) == [message(), PING, message()]
    assert framer.feed(b"\r\n") == [PONG]
    assert framer.feed(message()) == [message()]


def test_a_ping_in_two_parts_is_a_ping() -> None:
    framer = StreamFramer()
    assert framer.feed(b"\r\n") == [PONG]
    assert framer.feed(b"\r\n") == [PING]
    assert framer.feed(b"\r") == []
    assert framer.feed(b"\n\r") == [PONG]
    assert framer.feed(b"\n") == [PING]


def test_a_stray_line_feed_behind_a_body_is_skipped() -> None:
    assert StreamFramer().feed(message() + b"\n" + message()) == [message(), message()]


@pytest.mark.parametrize(
    ("row", "status"),
    [
        (b"Content-Length: -1", 400),
        (b"Content-Length: x", 400),
        (b"Content-Length: 1\r\nl: 2", 400),
        (b"Content-Length: 65536", 513),
        (b"Content-Length: 999999999999999999999", 400),
        (b"Content-Type: text/plain", 400),
        (b"c: text/plain", 400),
    ],
)
def test_a_body_without_an_end_can_be_answered_and_ends_the_stream(row: bytes, status: int) -> None:
    error = broken(message() + HEAD + row + b"\r\n\r\n" + b"x" * 10)
    assert error.status == status
    assert error.partial is not None
    assert error.partial.call_id == "c"
    assert error.messages == [message()]


def test_the_same_length_twice_is_read() -> None:
    raw = HEAD + b"l: 2\r\nContent-Length: 02\r\n\r\nab"
    assert StreamFramer().feed(raw) == [raw]


def test_a_response_or_noise_with_a_bad_length_is_not_answered() -> None:
    assert broken(b"SIP/2.0 200 OK\r\nl: -1\r\n\r\n").partial is None
    assert broken(b"noise\r\nl: -1\r\n\r\n").partial is None


def test_headers_without_an_end_are_bounded() -> None:
    framer = StreamFramer()
    assert framer.feed(b"x" * MAX_SIZE) == []
    with pytest.raises(FramingError) as caught:
        framer.feed(b"x")
    assert (caught.value.status, caught.value.partial) == (513, None)
    assert framer.pending == 0


def test_after_an_error_nothing_more_is_taken() -> None:
    framer = StreamFramer()
    with pytest.raises(FramingError):
        framer.feed(b"\rx")
    assert framer.feed(message()) == []
