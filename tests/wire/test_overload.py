"""More comes in than can be handled, over real sockets: copies are not read, new calls are refused, calls go on."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pbxcore.net import endpoint as shell
from pbxcore.net.flow import Limits
from pbxcore.net.pressure import LATE
from pbxcore.phone.host import CallFailed
from pbxcore.sip import build
from pbxcore.sip.layer import Layer
from tests.wire.shell import both_loops, exchange, options, receive, udp_socket, until
from tests.wire.test_app import running, settings
from tests.wire.test_endpoint import station


def invite(port: int) -> bytes:
    return (
        f"INVITE sip:b@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bKone\r\n"
        "From: <sip:a@127.0.0.1>;tag=a\r\nTo: <sip:b@127.0.0.1>\r\nCall-ID: one\r\nCSeq: 1 INVITE\r\n"
        "Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    ).encode()


@both_loops
async def test_copies_that_came_late_get_the_last_response_without_being_read() -> None:
    endpoint, user, (listener,) = await station("udp:127.0.0.1:0", t1=0.5)
    batch = endpoint.limits.datagrams_a_wake_up
    with udp_socket() as phone, pytest.MonkeyPatch.context() as patch:
        data = invite(phone.getsockname()[1])
        phone.sendto(data, (listener.host, listener.port))
        await until(lambda: user.invite is not None)
        assert user.invite is not None
        user.layer.respond(user.invite, build.response(user.invite.request, 180, to_tag="u"))
        ringing = await receive(phone)
        read: list[bytes] = []
        parse = shell.parse
        patch.setattr(shell, "parse", lambda data: (read.append(data), parse(data))[1])
        for _ in range(4 * batch):
            phone.sendto(data, (listener.host, listener.port))
        time.sleep(LATE * 1.5)     # noqa: ASYNC251 - the loop is held up
        assert [await receive(phone) for _ in range(4 * batch)] == [ringing] * (4 * batch)
        assert len(read) == batch   # until it was clear that they had waited
        assert user.layer.counters.retransmissions_in == user.layer.counters.retransmissions_out == 4 * batch
        assert (endpoint.counters.datagrams_in, endpoint.counters.datagrams_out) == (4 * batch + 1, 4 * batch + 1)
        assert len(endpoint.ring) == 8 * batch + 2
        assert user.events == ["INVITE"]
        phone.sendto(options(), (listener.host, listener.port))
        await until(lambda: not endpoint.pressure.late)
        user.layer.respond(user.invite, build.response(user.invite.request, 486, to_tag="u"))


@both_loops
async def test_a_burst_that_is_worked_off_at_once_refuses_nobody() -> None:
    async with exchange("udp:127.0.0.1:0") as (endpoint, layer, (listener,)):
        seen = set()
        layer.on_message = lambda *_: seen.add((endpoint.pressure.late, endpoint.pressure.behind))
        endpoint.clock = lambda: 1.0    # how fast this machine is does not matter
        with udp_socket() as phone:
            for number in range(200):
                phone.sendto(options(number), (listener.host, listener.port))
            time.sleep(LATE * 1.5)     # noqa: ASYNC251 - the loop is held up
            await until(lambda: len(layer.messages) == 200)
            assert seen == {(False, False), (True, False)}
            assert not endpoint.pressure.late


@both_loops
async def test_datagrams_for_which_the_kernel_has_no_room_are_counted() -> None:
    async with exchange("udp:127.0.0.1:0", limits=Limits(datagrams_a_wake_up=2)) as (endpoint, layer, (listener,)):
        layer.answer = False
        listener.udp._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        late = []
        layer.on_message = lambda *_: late.append(endpoint.pressure.late)
        with udp_socket() as phone:
            for number in range(100):
                phone.sendto(options(number), (listener.host, listener.port))
            await until(lambda: layer.messages and endpoint.counters.receive_drops + len(layer.messages) == 100)
        assert endpoint.counters.receive_drops > 50
        assert late[:3] == [False, False, True]


class Flood:
    """Requests from a stranger without end, in a thread: the exchange shares our loop."""

    def __init__(self, address: tuple[str, int], a_second: int) -> None:
        self._address, self._a_second = address, a_second
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        number = 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind(("127.0.0.9", 0))
            while not self._stop.wait(20 / self._a_second):
                for _ in range(20):
                    number += 1
                    stranger.sendto(options(number), self._address)

    def __enter__(self) -> Flood:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def slowed(layer: Layer, seconds: float) -> Any:
    """What a message costs more from now on."""
    original = layer.receive

    def receive(*given: Any) -> None:
        time.sleep(seconds)
        original(*given)

    return receive


def test_a_process_that_cannot_keep_up_refuses_new_calls_and_keeps_those_it_has(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with running(settings(tmp_path)) as office:
            exchange, endpoint = office.app.exchange, office.app.endpoint
            host, _, port = office.address.rpartition(":")
            call, incoming = await office.call()
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(exchange.layer, "receive", slowed(exchange.layer, 0.004))
                with Flood((host, int(port)), 500):     # twice of what it can
                    await until(lambda: endpoint.pressure.behind)
                    with pytest.raises(CallFailed, match="503"):
                        await office.one.dial("102")
                    assert endpoint.pressure.late
                    assert (call.state, incoming.state) == ("up", "up")
                    await office.one.hang_up(call)      # a request inside of a dialog
                    assert (await office.two.wait("ended")).call is incoming
            await until(lambda: not endpoint.pressure.behind)
            call, _ = await office.call()
            await office.one.hang_up(call)
            assert exchange.counters.calls == 2
            assert exchange.counters.refused_behind == exchange.counters.refused_overload >= 1

    asyncio.run(run())
    assert caplog.text.count("behind: messages wait for") == 1
