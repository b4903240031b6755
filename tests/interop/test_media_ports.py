"""An exchange whose ports for media are all taken: calls are refused, it goes on, and no call is left over."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path

from tests.interop import wire
from tests.interop.server import CARRIER, NUMBER, Server, password_of, wait_until

PORTS = 12


def call(server: Server) -> int:
    """The final status of a call from the carrier."""
    with wire.Udp(server.address(), CARRIER) as carrier:
        sdp = wire.SDP.format(host=CARRIER, port=40_000)
        invite = wire.request(carrier, "INVITE", f"sip:{NUMBER}@{server.at}", user="+12025550177", body=sdp)
        return wire.ask(carrier, invite, 10).status


def test_a_call_for_which_there_are_no_ports(tmp_path: Path) -> None:
    server = Server(tmp_path, media_ports=PORTS)
    with ExitStack() as taken:
        for port in range(server.first_media_port, server.first_media_port + PORTS):
            sock = taken.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.bind(("127.0.0.1", port))
        taken.callback(server.close)
        server.start()
        with wire.Udp(server.address()) as phone:
            assert wire.register(phone, server.address(), "101", password_of("101")).status == 200
            assert [call(server) for _ in range(3)] == [503, 503, 503]
            assert phone.receive(0.1) is None
        records = server.wait_for_records(3)
        assert [record["disposition"] for record in records] == ["failed"] * 3
        wait_until(lambda: server.metrics()["hookline_live_calls"] == 0, "the end of the calls")
        server.stop()
