"""The connections that posts go over: kept, bounded, checked, and none whose answer could be somebody else's."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import uvloop

from crmhooks.posts import pool as pools
from crmhooks.posts.answer import BadAnswer, Broken
from crmhooks.posts.pool import CONNECTIONS, CannotConnect, Pool
from tests.authority import Authority
from tests.wire.shell import until

REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
MOST = 1000

Streams = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def says(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


class Server:
    """What is done with the nth request is the nth of `deeds`; the last one is done with all that follow."""

    def __init__(self, *deeds: Streams | bytes, greeting: bytes = b"") -> None:
        self.greeting = greeting
        self.deeds = deeds
        self.requests = 0
        self.connections = 0
        self.open = 0
        self.port = 0

    async def has(self, requests: int) -> None:
        await until(lambda: self.requests >= requests)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        writer.write(self.greeting)
        try:
            while not writer.is_closing():
                assert await reader.readexactly(len(REQUEST)) == REQUEST
                deed = self.deeds[min(self.requests, len(self.deeds) - 1)]
                self.requests += 1
                if isinstance(deed, bytes):
                    writer.write(deed)
                else:
                    await deed(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def serving(
    *deeds: Streams | bytes,
    host: str = "127.0.0.1",
    name: str = "",
    tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None,
    greeting: bytes = b"",
) -> AsyncIterator[tuple[Server, Pool]]:
    """A server, and the pool that posts to it; `tls` is their contexts, `name` what the pool calls it."""
    server = Server(*deeds, greeting=greeting)
    theirs, ours = tls or (None, None)
    listening = await asyncio.start_server(server.serve, host, 0, ssl=theirs)
    server.port = listening.sockets[0].getsockname()[1]
    pool = Pool(name or host, server.port, ours, MOST)
    try:
        yield server, pool
        await pool.close()
        assert not pool._open
        await until(lambda: not server.open)
    finally:
        listening.close()


async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def is_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def test_one_connection_carries_all() -> None:
    async with serving(says(b"1"), says(b"2"), b"HTTP/1.1 204 No\r\n\r\n", says(b"4")) as (server, pool):
        assert [bytes((await pool.post(REQUEST)).body) for _ in range(4)] == [b"1", b"2", b"", b"4"]
        assert server.connections == 1


async def test_a_kept_connection_that_was_closed_meanwhile_is_not_used() -> None:
    async def answers_and_leaves(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(says(b"1"))
        writer.close()

    async with serving(answers_and_leaves) as (server, pool):
        for _ in range(5):
            assert (await pool.post(REQUEST)).body == b"1"
            await asyncio.sleep(0.01)
        assert (server.connections, server.requests) == (5, 5)


async def test_what_a_closing_connection_swallowed_is_sent_once_more_on_a_new_one() -> None:
    async with serving(says(b"1"), hangs_up, says(b"3"), hangs_up) as (server, pool):
        assert (await pool.post(REQUEST)).body == b"1"
        assert (await pool.post(REQUEST)).body == b"3"
        assert (server.connections, server.requests) == (2, 3)
        with pytest.raises(Broken, match=r"^the connection ended$"):
            await pool.post(REQUEST)
        assert (server.connections, server.requests) == (3, 5)


async def test_what_one_kept_connection_met_the_others_need_not_meet() -> None:
    async def waits(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.has(CONNECTIONS)
        writer.write(says(b"1"))

    async with serving(*[waits] * CONNECTIONS, hangs_up, says(b"2")) as (server, pool):
        await asyncio.gather(*(pool.post(REQUEST) for _ in range(CONNECTIONS)))
        assert len(pool._idle) == CONNECTIONS
        assert (await pool.post(REQUEST)).body == b"2"
        assert len(pool._idle) == 1
        await until(lambda: server.open == 1)


async def test_what_was_answered_in_part_is_not_sent_again() -> None:
    async def in_part(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"H")
        writer.close()

    async with serving(in_part) as (server, pool):
        with pytest.raises(Broken, match="in the middle"):
            await pool.post(REQUEST)
        assert server.requests == 1


async def test_a_reset_in_the_middle_is_no_end_of_a_body() -> None:
    async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n{}")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
        )  # closes with a RST
        writer.transport.abort()

    async with serving(resets) as (server, pool):
        with pytest.raises(Broken, match="broke in the middle"):
            await pool.post(REQUEST)
        assert server.requests == 1


@pytest.mark.parametrize("deed", [says(b"1") + says(b"2"), says(b"1") + b"\r\n", b"HTTP/1.1 204 No\r\n\r\n{}"])
async def test_who_says_more_than_one_answer_is_left(deed: bytes) -> None:
    async with serving(deed) as (server, pool):
        for count in range(1, 4):
            assert bytes((await pool.post(REQUEST)).body) in (b"1", b"")
            assert server.connections == count


@contextmanager
def lying(said: threading.Event, may_lie: threading.Event) -> Iterator[int]:
    """A server in a thread, whose first connection gets an answer and, when it may, another one."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        first, _ = listening.accept()
        first.recv(1000)
        first.sendall(says(b"asked"))
        may_lie.wait(5)
        first.sendall(says(b"unasked"))
        said.set()
        second, _ = listening.accept()
        second.recv(1000)
        second.sendall(says(b"asked"))
        second.recv(1000)
        first.close()
        second.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listening.getsockname()[1]
    thread.join(5)
    assert not thread.is_alive()
    listening.close()


async def test_an_answer_that_nobody_asked_for_and_that_the_loop_has_not_seen_yet_answers_nothing() -> None:
    said, may_lie = threading.Event(), threading.Event()
    with lying(said, may_lie) as port:
        pool = Pool("127.0.0.1", port, None, MOST)
        assert (await pool.post(REQUEST)).body == b"asked"
        may_lie.set()
        assert said.wait(5)     # the loop stands still
        assert (await pool.post(REQUEST)).body == b"asked"
        await pool.close()


async def test_a_server_that_speaks_first() -> None:
    async with serving(is_silent, greeting=b"220 mail.example.net ESMTP\r\n") as (server, pool):
        with pytest.raises(Broken):
            await pool.post(REQUEST)
        assert not pool._idle
        assert server.connections == 1


@pytest.mark.parametrize("status", [b"200 OK", b"413 Too Large"])
async def test_an_answer_before_the_request_has_left_is_taken_and_the_connection_is_not_kept(status: bytes) -> None:
    async def hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
        await asyncio.sleep(0.2)
        writer.transport.abort()

    async with serving(hasty) as (_, pool):
        answer = await pool.post(REQUEST + b"x" * 20_000_000)
        assert answer.status == int(status[:3])
        assert not pool._idle


async def test_too_much_is_refused_and_the_connection_closed() -> None:
    async with serving(says(b"x" * (MOST + 1)), says(b"2")) as (server, pool):
        with pytest.raises(BadAnswer, match="longer than 1000 bytes"):
            await pool.post(REQUEST)
        assert (await pool.post(REQUEST)).body == b"2"
        assert server.connections == 2


async def test_what_was_given_up_answers_nobody_else() -> None:
    async def is_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)
        writer.write(says(b"late"))

    async with serving(is_late, says(b"2")) as (server, pool):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await pool.post(REQUEST)
        assert not any(connection.usable() for connection in pool._open)
        assert (await pool.post(REQUEST)).body == b"2"
        await asyncio.sleep(0.1)
        assert (await pool.post(REQUEST)).body == b"2"
        assert server.connections == 2


async def test_nothing_takes_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "MOST_SECONDS", 0.1)
    async with serving(*[is_silent] * CONNECTIONS, says(b"1")) as (server, pool):
        posts = [asyncio.ensure_future(pool.post(REQUEST)) for _ in range(CONNECTIONS + 8)]
        done = await asyncio.gather(*posts, return_exceptions=True)
        assert all(isinstance(one, TimeoutError) for one in done[:CONNECTIONS])
        assert server.connections >= CONNECTIONS
        assert (await pool.post(REQUEST)).body == b"1"


async def test_so_many_connections_and_no_more_also_when_some_are_given_up_while_they_wait() -> None:
    go = asyncio.Event()
    most = 0

    async def thinks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal most
        most = max(most, server.open)
        await go.wait()
        writer.write(says(b"1"))

    async with serving(thinks) as (server, pool):
        posts = [asyncio.ensure_future(pool.post(REQUEST)) for _ in range(CONNECTIONS * 3)]
        await server.has(CONNECTIONS)
        for post in posts[CONNECTIONS : CONNECTIONS * 2]:
            post.cancel()
        go.set()
        done = await asyncio.gather(*posts, return_exceptions=True)
        assert sum(isinstance(one, asyncio.CancelledError) for one in done) == CONNECTIONS
        assert sum(not isinstance(one, BaseException) for one in done) == CONNECTIONS * 2
        assert most == server.connections == CONNECTIONS


async def test_a_connection_that_was_idle_for_long_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(says(b"1")) as (server, pool):
        await asyncio.gather(*(pool.post(REQUEST) for _ in range(3)))
        kept = server.connections
        monkeypatch.setattr(pools, "IDLE_SECONDS", -1.0)
        await pool.post(REQUEST)
        assert server.connections == kept + 1
        assert len(pool._idle) == 1
        await asyncio.sleep(0.05)
        assert server.open == 1


async def test_whoever_waits_while_it_is_closed_is_told() -> None:
    async with serving(is_silent) as (server, pool):
        post = asyncio.ensure_future(pool.post(REQUEST))
        await server.has(1)
        await pool.close()
        with pytest.raises(Broken, match="was closed"):
            await post


async def test_ipv6() -> None:
    async with serving(says(b"1"), host="::1") as (_, pool):
        assert (await pool.post(REQUEST)).body == b"1"


async def test_an_address_that_refuses_or_swallows_is_not_waited_for() -> None:
    async with serving(says(b"1")) as (server, _):
        with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
            stuck = [socket.socket() for _ in range(4)]
            for one in stuck:       # the queue is full then: the kernel drops what else comes
                one.setblocking(False)
                one.connect_ex(full.getsockname())
            good = (socket.AF_INET, ("127.0.0.1", server.port))
            for bad in (("127.0.0.1", 1), full.getsockname()):
                async with asyncio.timeout(5):
                    sock = await pools._reach([(socket.AF_INET, bad), good])
                assert sock.getpeername() == good[1]
                sock.close()
            for one in stuck:
                one.close()
        with pytest.raises(ConnectionRefusedError):
            await pools._reach([(socket.AF_INET, ("127.0.0.1", 1)), (socket.AF_INET6, ("::1", 1))])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "a" * 64 + ".example", "x..y"])
async def test_nobody_there(host: str) -> None:
    with pytest.raises(CannotConnect) as caught:
        await Pool(host, 1, None, MOST).post(REQUEST)
    assert str(caught.value)


def contexts(directory: Path, *, trusted: bool = True, names: tuple[str, ...] = ("localhost",), expired: bool = False
) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = Authority(directory)
    pair = authority.issue(dns=names, addresses=(), expired=expired)
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    theirs.load_cert_chain(pair.certificate, pair.key)
    return theirs, ssl.create_default_context(cafile=authority.file if trusted else None)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_tls(run: Callable[..., None], tmp_path: Path) -> None:
    async def main() -> None:
        made = contexts(tmp_path)
        async with serving(says(b"1"), hangs_up, says(b"3"), name="localhost", tls=made) as (server, pool):
            for body in (b"1", b"3", b"3"):
                assert bytes((await pool.post(REQUEST)).body) == body
            assert server.connections == 2

    run(main())


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
@pytest.mark.parametrize("fault", [{"trusted": False}, {"names": ("crm.example.net",)}, {"expired": True}])
def test_a_certificate_that_is_not_right(run: Callable[..., None], fault: dict[str, object], tmp_path: Path) -> None:
    async def main() -> None:
        made = contexts(tmp_path, **fault)     # type: ignore[arg-type]
        async with serving(says(b"1"), name="localhost", tls=made) as (server, pool):
            with pytest.raises(CannotConnect, match=r"(?i)certificate"):
                await pool.post(REQUEST)
            assert server.requests == 0

    run(main())


def test_the_same_on_uvloop() -> None:
    async def main() -> None:
        async with serving(says(b"1"), hangs_up, says(b"3"), says(b"4") + b"x", hangs_up) as (server, pool):
            for body in (b"1", b"3", b"4"):
                assert bytes((await pool.post(REQUEST)).body) == body
            with pytest.raises(Broken):
                await pool.post(REQUEST)
            assert (server.connections, server.requests) == (4, 6)
        with pytest.raises(CannotConnect):
            await Pool("127.0.0.1", 1, None, MOST).post(REQUEST)

    uvloop.run(main())
