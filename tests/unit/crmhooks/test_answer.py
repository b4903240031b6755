"""Answers to posts, read from octets: what is taken, what is refused, and when the connection can be used again."""

from __future__ import annotations

import gc

import pytest

from crmhooks.posts.answer import MOST_FRAMING, BadAnswer, Broken, Reader

MOST = 100
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def read(*parts: bytes) -> Reader:
    reader = Reader(MOST)
    for part in parts:
        reader.feed(part)
    return reader


@pytest.mark.parametrize(
    ("octets", "body", "keep"),
    [
        (OK + b"Content-Length: 4\r\n\r\nnull", b"null", True),
        (OK + b"Content-Length: 0\r\n\r\n", b"", True),
        (OK + b"content-length:  4 , 4\t\r\n\r\nnull", b"null", True),
        (OK + b"Content-Length: 4\r\nContent-Length: 4\r\n\r\nnull", b"null", True),
        (OK + b"Content-Length: 4\r\nConnection: x, Close\r\n\r\nnull", b"null", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nnull", b"null", False),
        (b"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\n1", b"1", True),
        (b"HTTP/1.1 200 OK\nContent-Length: 4\n\nnull", b"null", True),
        (b"HTTP/1.1 200 OK\nContent-Length: 6\n\r\n\r\n\r\n{}", b"\r\n\r\n{}", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", b"", True),
        (CHUNKED + b"4\r\nnull\r\n0\r\n\r\n", b"null", True),
        (CHUNKED + b"2;a=b;c=\"d\"\r\nnu\r\n02 \r\nll\r\n0\r\nX: y\r\nZ:\r\n\r\n", b"null", True),
        (OK + b"Transfer-Encoding: Chunked\r\nContent-Length: 9\r\n\r\n1\r\n1\r\n0\r\n\r\n", b"1", False),
        (b"HTTP/1.1 100 x\r\n\r\nHTTP/1.1 103 y\r\nLink: x\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\n1", b"1", True),
        (OK + b"Content-Length: 4\r\n\r\nnullHTTP/1.1 200 OK\r\n", b"null", False),
        (CHUNKED + b"1\r\n1\r\n0\r\n\r\n\n", b"1", False),
        (b"HTTP/1.1 204 No Content\r\n\r\nx", b"", False),
    ],
)  # fmt: skip
def test_whole_answers_in_one_piece_and_octet_by_octet(octets: bytes, body: bytes, keep: bool) -> None:
    drips = read(*[octets[index : index + 1] for index in range(len(octets))])
    for reader in (read(octets), drips):
        assert reader.done
        assert (bytes(reader.body), reader.keep) == (body, keep)


def test_a_short_head_after_the_end_of_a_long_one() -> None:
    assert read(b"HTTP/1.1 103 y\r\nLink: a longer head than the next\r\n\r", b"\nHTTP/1.1 204\r\n\r\n").done


def test_what_its_head_says() -> None:
    reader = read(OK + b"Content-Type: a/b; c\r\nX-Two: 1\r\nx-two: \xfc \r\nContent-Length: 0\r\n\r\n")
    assert (reader.status, reader.reason) == (200, "OK")
    assert reader.fields == {"content-type": "a/b; c", "x-two": "1, ü", "content-length": "0"}


@pytest.mark.parametrize("status", [b"301 Moved", b"304 Not Modified", b"404 Not Found", b"500 x", b"599 "])
def test_the_body_of_what_is_not_2xx_is_not_waited_for(status: bytes) -> None:
    reader = read(b"HTTP/1.1 " + status + b"\r\nContent-Length: 10000000\r\n\r\n")
    assert reader.done
    assert not reader.keep
    assert reader.status == int(status[:3])


@pytest.mark.parametrize(
    "octets",
    [
        b"\r\n" + OK,
        b"x",
        b"HTTP/2",
        b"\x16\x03\x01",
        b"<html>",
        b"SSH-2.0-x\r\n",
        b"HTTP/1.2 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"HTTP/1.1 200\tOK\r\n\r\n",
        b"HTTP/1.1 \xd9\xa2\xd9\xa0\xd9\xa0 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 600 x\r\n\r\n",
        b"HTTP/1.1 099 x\r\n\r\n",
        OK + b"no colon\r\n\r\n",
        OK + b": no name\r\n\r\n",
        OK + b"Content-Length : 4\r\n\r\nnull",
        OK + b"X: a\r\n folded\r\nContent-Length: 4\r\n\r\nnull",
        OK + b"X: a\rb\r\n\r\n",
        OK + b"X: a\0b\r\n\r\n",
        OK + b"Content-Length: -1\r\n\r\n",
        OK + b"Content-Length: +4\r\n\r\nnull",
        OK + b"Content-Length: 0x4\r\n\r\nnull",
        OK + b"Content-Length: 4_0\r\n\r\nnull",
        OK + b"Content-Length: \xb2\r\n\r\nnull",
        OK + b"Content-Length: \r\n\r\nnull",
        OK + b"Content-Length: 4, 5\r\n\r\nnull",
        OK + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nnull",
        OK + b"Content-Length: 9999999999999999\r\n\r\n",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        OK + b"Transfer-Encoding: identity\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        CHUNKED + b"\r\n",
        CHUNKED + b"x\r\n",
        CHUNKED + b"-1\r\n",
        CHUNKED + b"4\nnull\r\n",
        CHUNKED + b"000000001\r\n1\r\n",
        CHUNKED + b"4\r\nnulls",
        CHUNKED + b"4\r\nnull\rx",
        CHUNKED + b"4\r\nnull\n",
        CHUNKED + b"4 4\r\nnull\r\n",
        CHUNKED + b"0\r\nno colon\r\n\r\n",
        CHUNKED + b"0\r\n\n",
    ],
)  # fmt: skip
def test_what_is_no_answer_is_refused(octets: bytes) -> None:
    with pytest.raises(Broken):
        read(octets)
    with pytest.raises(Broken):
        read(*[octets[index : index + 1] for index in range(len(octets))])


@pytest.mark.parametrize(
    "octets",
    [
        OK + b"Content-Length: 101\r\n\r\n",
        OK + b"Content-Length: 999999999999999\r\n\r\n",
        CHUNKED + b"65\r\n",
        CHUNKED + b"ffffffff\r\n",
        CHUNKED + b"64\r\n" + b"x" * 100 + b"\r\n1\r\n",
        OK + b"\r\n" + b"x" * 101,
    ],
)
def test_more_than_was_asked_for_is_refused_as_soon_as_it_is_known(octets: bytes) -> None:
    with pytest.raises(BadAnswer, match=r"^the answer is longer than 100 bytes$") as caught:
        read(octets)
    assert not isinstance(caught.value, Broken)


def test_as_much_as_was_asked_for_is_taken() -> None:
    hundred = b"x" * 100
    assert read(OK + b"Content-Length: 100\r\n\r\n" + hundred).done
    assert read(CHUNKED + b"64\r\n" + hundred + b"\r\n0\r\n\r\n").done


@pytest.mark.parametrize(
    ("start", "again"),
    [
        (OK, b"a: b\r\n"),
        (OK, b"a: " + b"b" * 5000 + b"\r\n"),
        (OK + b"a: ", b"b"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 ", b"O"),
        (CHUNKED, b"1;" + b"x" * 500 + b"\r\n1\r\n"),
        (CHUNKED + b"1;", b"x"),
        (CHUNKED + b"0\r\n", b"a: b\r\n"),
        (CHUNKED + b"0\r\na: ", b"b"),
    ],
)
def test_a_flood_round_the_body_has_an_end(start: bytes, again: bytes) -> None:
    reader = Reader(10_000)
    reader.feed(start)
    for _ in range((MOST_FRAMING - len(start)) // len(again) - 20):
        reader.feed(again)      # so much is allowed
    with pytest.raises(Broken, match="more than 16384 octets round the body"):
        read(start, *[again] * (MOST_FRAMING // len(again) * 2))
    with pytest.raises(Broken):
        read(start + again * (3 * MOST_FRAMING // len(again)))


def test_small_chunks_without_end() -> None:
    with pytest.raises(Broken, match="octets round the body"):
        Reader(10**6).feed(CHUNKED + b"1\r\nx\r\n" * 10_000)


@pytest.mark.parametrize(
    "octets",
    [b"H", OK, OK + b"Content-Length: 4\r\n\r\nnul", CHUNKED, CHUNKED + b"4\r\nnull", CHUNKED + b"4\r\nnull\r\n0\r\n"],
)
def test_an_end_in_the_middle(octets: bytes) -> None:
    reader = read(octets)
    with pytest.raises(Broken, match=r"^the connection ended in the middle of it$"):
        reader.end()
    assert not reader.done


def test_an_end_before_anything_came() -> None:
    reader = Reader(MOST)
    with pytest.raises(Broken, match=r"^the connection ended$"):
        reader.end()
    assert not reader.began


@pytest.mark.parametrize("version", [b"0", b"1"])
def test_a_body_that_ends_with_the_connection(version: bytes) -> None:
    reader = read(b"HTTP/1." + version + b" 200 OK\r\n\r\nnu", b"ll")
    assert not reader.done
    reader.end()
    assert reader.done
    assert not reader.keep
    assert reader.body == b"null"


def test_what_follows_an_answer_ends_the_connection() -> None:
    reader = read(OK + b"Content-Length: 4\r\n\r\nnull")
    assert reader.keep
    reader.feed(OK)
    assert not reader.keep
    assert reader.body == b"null"


def test_nothing_is_left_for_the_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            read(CHUNKED + b"4\r\nnull\r\n0\r\n\r\n")
            read(OK + b"Content-Length: 4\r\n\r\nnu")
        assert gc.collect() == 0
    finally:
        gc.enable()
