"""kill -9 with twenty calls up: started again on the same database, the exchange knows what it had and goes on."""

from __future__ import annotations

from pathlib import Path

from tests.interop import wire
from tests.interop.server import CARRIER, NUMBER, Server, password_of, wait_until
from tests.interop.tool_sipp import Sipp
from tests.ports import free_port

CALLS = 20
OTHER_NUMBER = "+12025550102"   # rings 102


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def running(pid: int) -> bool:
    """Whether it still does something; what waits for its parent to take note of its end does not."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(") ")[2][0] != "Z"


def caller(server: Server, directory: Path, calls: int, hold: float) -> Sipp:
    options = ("-s", NUMBER, "-d", str(int(hold * 1000)), "-r", str(CALLS))
    port = free_port(CARRIER)
    return Sipp(
        "calls_and_hangs_up", directory, server.at, *options, host=CARRIER, port=port, calls=calls, seconds=60,
        caller="+12025550177",
    )  # fmt: skip


def test_twenty_calls_are_up_when_the_exchange_is_killed(tmp_path: Path) -> None:
    more = f'[[inbound]]\nnumber = "{OTHER_NUMBER}"\nto = "102"\n'
    server = Server(tmp_path, more=more).start()
    desk_port = free_port()
    try:
        with wire.Udp(server.address(), port=desk_port) as phone:
            assert wire.register(phone, server.address(), "101", password_of("101")).status == 200
        with Sipp("rings_and_answers", tmp_path, server.at, port=desk_port, calls=CALLS, seconds=60):
            with caller(server, tmp_path, CALLS, hold=60):
                one_that_only_rings(server)
                up = "select * from calls where state = 'answered'"
                wait_until(lambda: len(server.rows(up)) == CALLS, "twenty calls in the database")
                workers = children(server.process.pid)
                assert workers
                server.kill()
        wait_until(lambda: not any(map(running, workers)), "the end of the media workers")

        server.start()
        assert f"{CALLS + 1} calls of an earlier run were closed as interrupted\n" in server.words
        records = server.records()
        assert len({record["call_id"] for record in records}) == len(records) == CALLS + 1
        assert {record["disposition"] for record in records} == {"interrupted"}
        answered = [record for record in records if record["answered_at"]]
        assert len(answered) == CALLS
        assert all(record["ended_at"] >= record["answered_at"] for record in answered)
        assert {record["answered_by"] for record in answered} == {"101"}
        activities = server.activities()
        assert {activity["call_id"] for activity in activities} == {record["call_id"] for record in records}
        assert len(activities) == CALLS + 1

        with Sipp("rings_and_answers", tmp_path, server.at, port=desk_port) as desk:   # no REGISTER in between
            with caller(server, tmp_path, 1, hold=0.2) as carrier:
                carrier.wait()
            desk.wait()
        written = server.wait_for_records(CALLS + 2)
        assert written[:-1] == records
        assert written[-1]["disposition"] == "answered"

        server.kill()
        server.start()
        assert not [word for word in server.words if "interrupted" in word]
        assert [record["call_id"] for record in server.records()] == [record["call_id"] for record in written]
        assert len(server.activities()) == CALLS + 2
        server.stop()
    finally:
        server.close()


def one_that_only_rings(server: Server) -> None:
    """A call to 102 that is not answered, in the database."""
    with wire.Udp(server.address()) as phone, wire.Udp(server.address(), CARRIER) as carrier:
        assert wire.register(phone, server.address(), "102", password_of("102")).status == 200
        sdp = wire.SDP.format(host=CARRIER, port=40_000)
        carrier.send(wire.request(carrier, "INVITE", f"sip:{OTHER_NUMBER}@{server.at}", body=sdp))
        invite = phone.receive(5)
        assert invite is not None
        assert invite.first_line.startswith("INVITE ")
    calls = "select * from calls"
    wait_until(lambda: OTHER_NUMBER in [call["called"] for call in server.rows(calls)], "the call in the database")
