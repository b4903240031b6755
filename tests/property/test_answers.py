"""Answers to posts from anywhere: how they are cut into pieces changes nothing, and only BadAnswer is raised."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from crmhooks.posts.answer import MOST_FRAMING, BadAnswer, Reader

MOST = 2000
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
EXTENSIONS = st.sampled_from([b"", b";a", b" ; a=b", b';a="0\t1"'])
PIECES = [
    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.0 204\r\n", b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"\r\n", b"\n", b"\r", b"3\r\n", b"abc", b"0\r\n",
    b":", b" ", b";", b"\0", b"7d1\r\n",
]  # fmt: skip


def cut(octets: bytes, places: list[int]) -> list[bytes]:
    """The octets in pieces; no piece is empty."""
    ends = sorted({0, len(octets), *(place % (len(octets) + 1) for place in places)})
    return [octets[start:end] for start, end in pairwise(ends)]


def outcome(pieces: list[bytes]) -> tuple[object, ...]:
    reader = Reader(MOST)
    try:
        for piece in pieces:
            reader.feed(piece)
    except BadAnswer as error:
        return ("refused", type(error))
    return (reader.done, reader.keep, reader.status, reader.reason, reader.fields, bytes(reader.body))


@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=40), EXTENSIONS, st.booleans()), max_size=12),
    st.lists(st.sampled_from([b"X: y\r\n", b"Z:\r\n"]), max_size=3),
    st.lists(st.integers(0, 2000), max_size=30),
)
def test_chunks_however_they_are_cut(
    chunks: list[tuple[bytes, bytes, bool]], trailers: list[bytes], places: list[int]
) -> None:
    body = b"".join(
        (b"%X" if upper else b"0%x") % len(chunk) + extension + b"\r\n" + chunk + b"\r\n"
        for chunk, extension, upper in chunks
    )
    octets = CHUNKED + body + b"0\r\n" + b"".join(trailers) + b"\r\n"
    reader = Reader(MOST)
    for piece in cut(octets, places):
        assert not reader.done
        reader.feed(piece)
    assert reader.done
    assert reader.keep
    assert bytes(reader.body) == b"".join(chunk for chunk, _, _ in chunks)


@given(st.lists(st.sampled_from(PIECES), max_size=20), st.lists(st.integers(0, 400), max_size=20))
def test_how_it_is_cut_changes_nothing(parts: list[bytes], places: list[int]) -> None:
    octets = b"".join(parts)
    assert outcome(cut(octets, places)) == outcome([octets] if octets else [])


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=300)), max_size=40))
def test_nothing_else_is_raised_and_no_more_is_held(parts: list[bytes]) -> None:
    reader = Reader(MOST)
    try:
        for part in [b"HTTP/1.1 200 OK\r\n", *parts]:
            reader.feed(part)
            assert len(reader.body) <= MOST
            assert len(reader._rest) <= MOST_FRAMING
        reader.end()
    except BadAnswer:
        assert not reader.done
