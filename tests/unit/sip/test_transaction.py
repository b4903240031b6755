"""The machines, one by one, through a layer with a fake flow: what is sent when, what is told, what is kept."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pbxcore.sip import build, figures, transaction
from pbxcore.sip.figures import Input, State
from pbxcore.sip.message import Request, Response
from pbxcore.sip.transaction import SPENT, ServerTransaction
from tests.unit.sip.joined import Bench, outgoing, request

A_TIMES = [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
E_TIMES = [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]

Machine = tuple[figures.Table, State, type[transaction.Transaction]]
MACHINES: dict[str, Machine] = {
    "INVITE server": (figures.INVITE_SERVER, State.TRYING, transaction.InviteServer),
    "server": (figures.SERVER, State.TRYING, transaction.NonInviteServer),
    "INVITE client": (figures.INVITE_CLIENT, State.CALLING, transaction.InviteClient),
    "client": (figures.CLIENT, State.TRYING, transaction.NonInviteClient),
}


def respond(bench: Bench, status: int, to_tag: str = "ours") -> None:
    tx = bench.user.servers[-1]
    bench.layer.respond(tx, build.response(tx.request, status, to_tag=to_tag))


# ---- the tables


@pytest.mark.parametrize("name", MACHINES)
def test_every_state_of_a_figure_is_reached_and_can_end(name: str) -> None:
    table, start, _ = MACHINES[name]
    arrows: dict[State, set[State]] = {}
    for (state, _), (following, _) in table.items():
        arrows.setdefault(state, set()).add(following)

    def reachable(state: State) -> set[State]:
        seen, todo = {state}, [state]
        while todo:
            for following in arrows.get(todo.pop(), ()):
                if following not in seen:
                    seen.add(following)
                    todo.append(following)
        return seen

    assert reachable(start) == set(arrows) | {State.TERMINATED}
    assert all(State.TERMINATED in reachable(state) for state in arrows)
    assert State.TERMINATED not in arrows


@pytest.mark.parametrize("name", MACHINES)
def test_the_compiled_states_are_the_table(name: str) -> None:
    table, start, machine = MACHINES[name]
    nodes = {start: machine.start}
    todo = [start]
    while todo:
        for following, node, _ in nodes[todo.pop()].values():
            if following not in nodes:
                nodes[following] = node
                todo.append(following)
    rows = {(state, Input(what)): row for state, node in nodes.items() for what, row in node.items()}
    assert rows.keys() == table.keys()
    for key, (following, node, actions) in rows.items():
        assert (following, tuple(action.__name__ for action in actions)) == table[key]
        assert node is nodes[following]


def test_an_action_that_is_missing_is_an_error_at_import() -> None:
    table = {(State.TRYING, Input.ACK): (State.TERMINATED, ("no_such_action",))}
    with pytest.raises(AttributeError):
        transaction.compile_table(table, transaction.InviteServer)


# ---- INVITE server (figure 7, RFC 6026)


def test_invite_is_answered_100_after_200_ms_when_the_user_is_silent() -> None:
    bench = Bench()
    bench.receive(request())
    bench.run(0.199)
    assert bench.flow.lines == []
    bench.run(0.002)
    assert bench.flow.lines == ["100 INVITE"]
    assert bench.flow.messages[0].to_tag is None


def test_invite_gets_no_100_when_the_user_was_faster() -> None:
    bench = Bench()
    bench.receive(request())
    respond(bench, 180)
    bench.run(10)
    assert bench.flow.lines == ["180 INVITE"]


def test_a_copy_of_an_invite_gets_the_last_provisional_again() -> None:
    bench = Bench()
    bench.receive(request())
    bench.receive(request())
    assert bench.flow.lines == ["100 INVITE"]  # a copy before the 100 is due calls for it
    respond(bench, 183)
    respond(bench, 180)
    bench.receive(request())
    assert bench.flow.lines == ["100 INVITE", "183 INVITE", "180 INVITE", "180 INVITE"]
    assert bench.user.heard == ["INVITE"]
    assert bench.layer.counters.retransmissions_in == 2


def test_a_refused_invite_is_refused_again_until_its_ack_then_absorbs_copies() -> None:
    bench = Bench()
    bench.receive(request())
    respond(bench, 486)
    bench.run(1.6)
    assert bench.flow.times == [0, 0.5, 1.5]
    bench.receive(request("ACK", to_tag="ours"))
    bench.run(4.9)
    bench.receive(request("ACK", to_tag="ours"))
    bench.receive(request())
    assert len(bench.flow.sent) == 3
    assert bench.layer.server_count() == 1
    bench.run(0.1)
    assert bench.layer.server_count() == 0
    assert bench.user.heard == ["INVITE"]


def test_a_refusal_without_ack_ends_by_timer_h() -> None:
    bench = Bench()
    bench.receive(request())
    respond(bench, 603)
    bench.run(31.999)
    assert bench.flow.times == E_TIMES
    assert bench.layer.server_count() == 1
    bench.run(0.002)
    assert bench.empty
    assert bench.user.heard == ["INVITE"]


def test_over_a_stream_a_refusal_is_sent_once_and_ends_with_its_ack() -> None:
    bench = Bench("TCP")
    bench.receive(request())
    respond(bench, 486)
    bench.run(20)
    assert bench.flow.lines == ["486 INVITE"]
    bench.receive(request("ACK", to_tag="ours"))
    assert bench.layer.server_count() == 0
    bench.run(32)
    assert bench.empty


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
def test_a_2xx_is_sent_again_over_every_transport_until_its_ack(transport: str) -> None:
    bench = Bench(transport)
    bench.receive(request())
    respond(bench, 200)
    bench.run(12)
    assert bench.flow.times == [0, 0.5, 1.5, 3.5, 7.5, 11.5]
    bench.receive(request("ACK", branch="z9hG4bKpeer2", to_tag="ours"))
    bench.receive(request("ACK", branch="z9hG4bKpeer2", to_tag="ours"))
    bench.run(12)
    assert len(bench.flow.sent) == 6
    assert bench.user.heard == ["INVITE", "ack"]
    bench.receive(request())  # RFC 6026: a late copy of the INVITE rings no phone
    assert bench.user.heard == ["INVITE", "ack"]
    bench.run(8)
    assert bench.empty


def test_a_2xx_without_ack_is_told_after_64_t1() -> None:
    bench = Bench()
    bench.receive(request())
    respond(bench, 200)
    bench.run(31.999)
    assert bench.user.heard == ["INVITE"]
    bench.run(0.002)
    assert bench.user.heard == ["INVITE", "no ack"]
    assert bench.empty
    assert bench.flow.times == E_TIMES


def test_an_ack_of_another_dialog_acknowledges_nothing() -> None:
    bench = Bench()
    bench.receive(request())
    respond(bench, 200)
    bench.receive(request("ACK", branch="z9hG4bKx", to_tag="someone"))
    bench.receive(request("ACK", branch="z9hG4bKy", to_tag="ours", cseq=2))
    bench.receive(request("ACK", branch="z9hG4bKz", to_tag="ours", from_tag="other"))
    assert bench.user.heard == ["INVITE", "stray ACK", "stray ACK", "stray ACK"]
    bench.receive(request("ACK", branch="z9hG4bKv", to_tag="ours"))
    assert bench.user.heard[-1] == "ack"


def test_an_ack_of_a_2xx_with_the_branch_of_its_invite_is_taken() -> None:
    bench = Bench()
    bench.receive(request())
    respond(bench, 200)
    bench.receive(request("ACK", to_tag="ours"))
    assert bench.user.heard == ["INVITE", "ack"]


def test_only_the_first_final_response_is_sent() -> None:
    bench = Bench()
    bench.receive(request())
    tx = bench.user.servers[0]
    respond(bench, 486)
    respond(bench, 200)
    respond(bench, 180)
    bench.layer.respond(tx, build.response(request(), 200))
    assert bench.flow.lines == ["486 INVITE"]
    assert bench.layer.counters.late_responses == 3


def test_an_invite_that_raises_in_the_user_is_answered_500() -> None:
    bench = Bench()

    def fail(tx: ServerTransaction) -> None:
        raise ZeroDivisionError

    bench.user.on_invite = fail
    with pytest.raises(ZeroDivisionError):
        bench.receive(request())
    assert bench.flow.lines == ["500 INVITE"]


# ---- server (figure 8)


def test_a_copy_of_a_request_is_absorbed_until_there_is_an_answer() -> None:
    bench = Bench()
    bench.receive(request("OPTIONS"))
    bench.receive(request("OPTIONS"))
    assert bench.flow.lines == []
    respond(bench, 100)
    bench.receive(request("OPTIONS"))
    respond(bench, 200)
    bench.receive(request("OPTIONS"))
    assert bench.flow.lines == ["100 OPTIONS", "100 OPTIONS", "200 OPTIONS", "200 OPTIONS"]
    assert bench.user.heard == ["OPTIONS"]
    bench.run(31.999)
    assert bench.layer.server_count() == 1
    bench.run(0.002)
    assert bench.empty


def test_over_a_stream_an_answered_request_is_gone_at_once() -> None:
    bench = Bench("TCP")
    bench.receive(request("BYE", to_tag="ours"))
    respond(bench, 200)
    assert bench.flow.lines == ["200 BYE"]
    assert bench.empty


@pytest.mark.parametrize("method", ["INVITE", "REGISTER"])
def test_a_refusal_leaves_nothing_behind_and_sends_nothing_again(method: str) -> None:
    bench = Bench()
    bench.receive(request(method))
    tx = bench.user.servers[0]
    bench.layer.refuse(tx, build.response(tx.request, 401, to_tag="x"))
    assert bench.layer.server_count() == 0
    assert tx.owner is None
    assert tx.request is SPENT
    bench.run(60)
    assert bench.flow.lines == [f"401 {method}"]
    assert bench.empty
    bench.layer.refuse(tx, build.response(tx.request, 401, to_tag="x"))
    assert bench.layer.counters.late_responses == 1


# ---- INVITE client (figure 5, RFC 6026)


def test_an_unanswered_invite_is_sent_seven_times_and_times_out() -> None:
    bench = Bench()
    bench.layer.request(outgoing(), bench.flow, bench.user)
    bench.run(31.999)
    assert bench.flow.times == A_TIMES
    assert bench.user.heard == []
    bench.run(0.002)
    assert bench.user.heard == ["timeout"]
    assert bench.empty
    assert bench.layer.counters.retransmissions_out == 6


def test_over_a_stream_nothing_is_sent_again() -> None:
    bench = Bench("TCP")
    bench.layer.request(outgoing(), bench.flow, bench.user)
    bench.layer.request(outgoing("OPTIONS"), bench.flow, bench.user)
    bench.run(40)
    assert bench.flow.lines == ["INVITE", "OPTIONS"]
    assert bench.user.heard == ["timeout", "timeout"]
    assert bench.empty


def test_a_provisional_stops_the_invite_and_its_timeout() -> None:
    bench = Bench()
    bench.layer.request(outgoing(), bench.flow, bench.user)
    bench.answer(100)
    bench.answer(180)
    bench.run(120)
    assert bench.flow.lines == ["INVITE"]
    assert bench.user.heard == ["100", "180"]
    assert bench.layer.client_count() == 1


def test_a_refusal_is_acknowledged_and_so_is_each_copy() -> None:
    bench = Bench()
    tx = bench.layer.request(outgoing(more=[("Route", "<sip:proxy;lr>")]), bench.flow, bench.user)
    bench.answer(486)
    bench.answer(486)
    assert bench.user.heard == ["486"]
    assert bench.flow.lines == ["INVITE", "ACK", "ACK"]
    invite, ack, again = bench.flow.messages
    assert isinstance(ack, Request)
    assert ack.to_bytes() == again.to_bytes()
    assert ack.uri == "sip:peer@127.0.0.2:5062"
    assert ack.lines("via") == invite.lines("via")
    assert ack.lines("route") == invite.lines("route")
    assert ack.lines("from") == invite.lines("from")
    assert ack.to_tag == "theirs"
    assert str(ack.cseq) == "1 ACK"
    assert ack.max_forwards == 70
    assert tx.owner is None
    assert tx.request is SPENT
    bench.run(31.9)
    bench.answer(486)
    assert bench.flow.lines[-1] == "ACK"
    bench.run(0.2)
    assert bench.empty


def test_each_fork_is_told_once_and_each_copy_of_a_2xx_gets_its_ack() -> None:
    bench = Bench()
    tx = bench.layer.request(outgoing(), bench.flow, bench.user)
    bench.answer(200, "one")
    bench.answer(200, "one")  # a copy before the user has acknowledged
    assert bench.flow.lines == ["INVITE"]
    bench.layer.acknowledge(tx, outgoing("ACK"), bench.flow, bench.user.responses[0])
    bench.answer(200, "two")
    bench.answer(200, "one")
    assert bench.user.heard == ["200", "200"]
    assert bench.flow.lines == ["INVITE", "ACK", "ACK"]
    assert bench.flow.sent[1][1] == bench.flow.sent[2][1]
    bench.layer.acknowledge(tx, outgoing("ACK"), bench.flow, bench.user.responses[1])
    bench.answer(200, "two")
    assert bench.flow.sent[3][1] == bench.flow.sent[4][1] != bench.flow.sent[1][1]
    bench.run(32)
    assert bench.empty
    assert tx.acks is None
    assert tx.owner is None
    assert tx.request is SPENT


def test_a_fork_that_answers_after_the_call_is_hung_up() -> None:
    bench = Bench()
    tx = bench.layer.request(outgoing(), bench.flow, bench.user)
    bench.answer(200, "one")
    bench.layer.acknowledge(tx, outgoing("ACK"), bench.flow, bench.user.responses[0])
    bench.layer.release(tx)
    assert tx.owner is None
    assert tx.request is SPENT
    bench.answer(200, "one")
    assert bench.flow.lines == ["INVITE", "ACK", "ACK"]
    two = build.response(
        bench.flow.messages[0],  # type: ignore[arg-type]  # it is the INVITE
        200,
        to_tag="two",
        headers=[("Contact", "<sip:second@127.0.0.9>"), ("Record-Route", "<sip:p2;lr>, <sip:p1;lr>")],
    )
    bench.receive(two)
    bench.receive(two)
    assert bench.flow.lines == ["INVITE", "ACK", "ACK", "ACK", "BYE", "ACK"]
    ack, bye = bench.flow.messages[3:5]
    assert isinstance(bye, Request)
    assert isinstance(ack, Request)
    assert ack.uri == bye.uri == "sip:second@127.0.0.9"
    assert ack.to_tag == bye.to_tag == "two"
    assert bye.from_tag == "ours"
    assert bye.values("route") == ack.values("route") == ["<sip:p1;lr>", "<sip:p2;lr>"]
    assert (str(ack.cseq), str(bye.cseq)) == ("1 ACK", "2 BYE")
    bench.run(40)
    assert bench.empty


def test_a_late_2xx_is_told_after_a_cancel() -> None:
    bench = Bench()
    tx = bench.layer.request(outgoing(), bench.flow, bench.user)
    bench.answer(180)
    bench.layer.cancel(tx)
    invite = bench.flow.messages[0]
    assert isinstance(invite, Request)
    bench.receive(build.response(invite, 200, to_tag="theirs"))
    assert bench.user.heard == ["180", "200"]


# ---- CANCEL (section 9.1)


def test_a_cancel_waits_for_a_provisional_and_is_sent_once() -> None:
    bench = Bench()
    tx = bench.layer.request(outgoing(more=[("Route", "<sip:proxy;lr>")]), bench.flow, bench.user)
    bench.layer.cancel(tx, reason='SIP;cause=200;text="Call completed elsewhere"')
    bench.run(1.6)
    assert bench.flow.lines == ["INVITE", "INVITE", "INVITE"]
    bench.answer(100)
    bench.layer.cancel(tx)
    bench.layer.cancel(tx)
    assert bench.flow.lines == ["INVITE", "INVITE", "INVITE", "CANCEL"]
    invite, cancel = bench.flow.messages[0], bench.flow.messages[3]
    assert isinstance(cancel, Request)
    for key in ("via", "from", "to", "call-id", "route"):
        assert cancel.lines(key) == invite.lines(key)
    assert str(cancel.cseq) == "1 CANCEL"
    assert cancel.uri == "sip:peer@127.0.0.2:5062"
    assert cancel.first("reason") == 'SIP;cause=200;text="Call completed elsewhere"'
    bench.answer(200)
    assert isinstance(invite, Request)
    bench.receive(build.response(invite, 487, to_tag="theirs"))
    assert bench.user.heard == ["100", "487"]
    assert bench.flow.lines[4:] == ["ACK"]
    bench.run(32)
    assert bench.empty


def test_a_cancel_that_is_never_answered_ends_the_invite_after_64_t1() -> None:
    bench = Bench()
    tx = bench.layer.request(outgoing(), bench.flow, bench.user)
    bench.answer(180)
    bench.run(50)
    bench.layer.cancel(tx)
    bench.run(31.999)
    assert bench.user.heard == ["180"]
    bench.run(0.002)
    assert bench.user.heard == ["180", "timeout"]
    assert bench.empty
    assert bench.flow.lines == ["INVITE"] + ["CANCEL"] * 11


def test_a_cancel_before_anything_times_out_with_its_invite() -> None:
    bench = Bench()
    tx = bench.layer.request(outgoing(), bench.flow, bench.user)
    bench.layer.cancel(tx)
    bench.run(32)
    assert bench.user.heard == ["timeout"]
    assert set(bench.flow.lines) == {"INVITE"}
    assert bench.empty


@pytest.mark.parametrize("status", [200, 486])
def test_a_cancel_after_the_final_response_is_nothing(status: int) -> None:
    bench = Bench()
    tx = bench.layer.request(outgoing(), bench.flow, bench.user)
    bench.answer(status)
    bench.layer.cancel(tx)
    assert "CANCEL" not in bench.flow.lines


# ---- client (figure 6)


def test_an_unanswered_request_is_sent_eleven_times_and_times_out() -> None:
    bench = Bench()
    bench.layer.request(outgoing("OPTIONS"), bench.flow, bench.user)
    bench.run(32)
    assert bench.flow.times == E_TIMES
    assert bench.user.heard == ["timeout"]
    assert bench.empty


def test_a_provisional_slows_a_request_down_to_t2() -> None:
    bench = Bench()
    bench.layer.request(outgoing("OPTIONS"), bench.flow, bench.user)
    bench.run(0.1)
    bench.answer(100)
    bench.run(31.9)
    assert bench.flow.times == [0, 0.5, 4.5, 8.5, 12.5, 16.5, 20.5, 24.5, 28.5]
    assert bench.user.heard == ["100", "timeout"]


def test_copies_of_an_answer_are_absorbed_for_t4() -> None:
    bench = Bench()
    tx = bench.layer.request(outgoing("OPTIONS"), bench.flow, bench.user)
    bench.answer(200)
    bench.answer(200)
    assert bench.user.heard == ["200"]
    assert tx.request is SPENT
    bench.run(4.999)
    assert bench.layer.client_count() == 1
    bench.run(0.002)
    assert bench.layer.client_count() == 0
    assert bench.flow.lines == ["OPTIONS"]


def test_the_request_can_be_read_in_the_last_word() -> None:
    bench = Bench("TCP")
    seen: list[str] = []

    class Owner:
        def on_response(self, tx: transaction.ClientTransaction, response: Response) -> None:
            seen.append(tx.request.method)

        def on_timeout(self, tx: transaction.ClientTransaction) -> None:
            seen.append(tx.request.method)

        def on_transport_error(self, tx: transaction.ClientTransaction) -> None:
            seen.append(tx.request.method)

    bench.layer.request(outgoing("INVITE"), bench.flow, Owner())
    bench.answer(401)
    bench.layer.request(outgoing("OPTIONS"), bench.flow, Owner())
    bench.answer(200)
    bench.layer.request(outgoing("INFO"), bench.flow, Owner())
    bench.layer.request(outgoing("INVITE", cseq=2), bench.flow, Owner())
    bench.run(32)
    bench.layer.request(outgoing("REFER"), bench.flow, Owner())
    bench.layer.flow_lost(bench.flow)
    assert seen == ["INVITE", "OPTIONS", "INFO", "INVITE", "REFER"]


# ---- lost streams


def lose(bench: Bench) -> None:
    bench.flow.closed = True
    bench.layer.flow_lost(bench.flow)


def test_a_lost_stream_ends_what_waits_on_it() -> None:
    bench = Bench("TCP")
    bench.layer.request(outgoing(), bench.flow, bench.user)
    bench.answer(180)
    bench.layer.request(outgoing("OPTIONS"), bench.flow, bench.user)
    bench.receive(request("INVITE"))
    bench.receive(request("OPTIONS", branch="z9hG4bKo", cseq=9))
    bench.user.heard.clear()
    lose(bench)
    assert bench.user.heard == ["transport error"] * 4
    assert bench.layer.server_count() == bench.layer.client_count() == 0
    assert all(tx.owner is None and tx.request is SPENT for tx in bench.user.servers)
    bench.run(32)
    assert bench.empty


def test_a_lost_stream_leaves_other_flows_alone() -> None:
    bench, other = Bench("TCP"), Bench("TCP").flow
    bench.layer.request(outgoing(), bench.flow, bench.user)
    bench.layer.flow_lost(other)
    assert bench.user.heard == []


@pytest.mark.parametrize(
    ("end", "heard"),
    [(lambda bench: bench.run(32), "no ack"), (lambda bench: bench.receive(request("ACK", to_tag="ours")), "ack")],
)
def test_an_answered_invite_outlives_its_stream(end: Callable[[Bench], None], heard: str) -> None:
    bench = Bench("TCP")
    bench.receive(request())
    respond(bench, 200)
    lose(bench)
    assert bench.user.heard == ["INVITE", "transport error"]
    end(bench)
    assert bench.user.heard[2:] == [heard]
    bench.run(32)
    assert bench.empty


def test_a_request_on_a_closed_flow_fails_after_the_call_returns() -> None:
    bench = Bench("TCP")
    bench.flow.closed = True
    bench.layer.request(outgoing(), bench.flow, bench.user)
    assert bench.user.heard == []
    bench.run(0)
    assert bench.user.heard == ["transport error"]
    assert bench.flow.sent == []


# ---- arrows that no story above takes: how to get to the state, the input, what is sent and told then


def provisional(bench: Bench) -> None:
    respond(bench, 180)


def refused(bench: Bench) -> None:
    respond(bench, 486)


def accepted(bench: Bench) -> None:
    respond(bench, 200)


def refuse(bench: Bench) -> None:
    tx = bench.user.servers[-1]
    bench.layer.refuse(tx, build.response(tx.request, 403, to_tag="ours"))


def copy(bench: Bench) -> None:
    tx = bench.user.servers[-1]
    bench.receive(request(tx.key.rpartition(" ")[2]))


def second_2xx(bench: Bench) -> None:
    respond(bench, 202)


def ring(bench: Bench) -> None:
    bench.answer(180)


def ring_invite(bench: Bench) -> None:
    bench.receive(build.response(bench.flow.messages[0], 183, to_tag="x"))  # type: ignore[arg-type]  # the INVITE


def fail(bench: Bench) -> None:
    bench.answer(486)


def succeed(bench: Bench) -> None:
    bench.answer(200)


SERVER_ARROWS = [
    ("INVITE", "TCP", [provisional], refuse, "Terminated", ["403 INVITE"], []),
    ("INVITE", "TCP", [provisional], lose, "Terminated", [], ["transport error"]),
    ("INVITE", "UDP", [refused], copy, "Completed", ["486 INVITE"], []),
    ("INVITE", "TCP", [refused], lose, "Terminated", [], []),
    ("INVITE", "UDP", [accepted], second_2xx, "Accepted", ["202 INVITE"], []),
    ("INVITE", "UDP", [accepted], copy, "Accepted", [], []),
    ("OPTIONS", "UDP", [], copy, "Trying", [], []),
    ("OPTIONS", "UDP", [provisional], provisional, "Proceeding", ["180 OPTIONS"], []),
    ("OPTIONS", "UDP", [provisional], refuse, "Terminated", ["403 OPTIONS"], []),
    ("OPTIONS", "TCP", [provisional], lose, "Terminated", [], ["transport error"]),
]


@pytest.mark.parametrize(("method", "transport", "before", "stimulus", "state", "sent", "told"), SERVER_ARROWS)
def test_arrows_of_the_servers(
    method: str,
    transport: str,
    before: list[Callable[[Bench], None]],
    stimulus: Callable[[Bench], None],
    state: str,
    sent: list[str],
    told: list[str],
) -> None:
    bench = Bench(transport)
    bench.receive(request(method))
    for step in before:
        step(bench)
    bench.user.heard.clear()
    bench.flow.sent.clear()
    stimulus(bench)
    tx = bench.user.servers[0]
    assert (tx.state, bench.flow.lines, bench.user.heard) == (state, sent, told)
    assert (bench.layer.server_count() == 0) is (state == "Terminated")
    if state == "Terminated":
        assert tx.owner is None
        assert tx.request is SPENT


CLIENT_ARROWS = [
    ("INVITE", "UDP", ["cancel"], ring, "Cancelled", ["CANCEL"], ["180"]),
    ("INVITE", "UDP", ["cancel"], succeed, "Accepted", [], ["200"]),
    ("INVITE", "UDP", ["cancel"], fail, "Completed", ["ACK"], ["486"]),
    ("INVITE", "TCP", ["cancel"], fail, "Terminated", ["ACK"], ["486"]),
    ("INVITE", "TCP", ["cancel"], lose, "Terminated", [], ["transport error"]),
    ("INVITE", "UDP", [ring], fail, "Completed", ["ACK"], ["486"]),
    ("INVITE", "UDP", [ring, "cancel"], ring_invite, "Cancelled", [], ["183"]),
    ("INVITE", "TCP", [ring], fail, "Terminated", ["ACK"], ["486"]),
    ("INVITE", "TCP", [ring], lose, "Terminated", [], ["transport error"]),
    ("INVITE", "UDP", [fail], fail, "Completed", ["ACK"], []),
    ("OPTIONS", "UDP", [ring], ring, "Proceeding", [], ["180"]),
    ("OPTIONS", "UDP", [ring], succeed, "Completed", [], ["200"]),
    ("OPTIONS", "TCP", [ring], lose, "Terminated", [], ["transport error"]),
]


@pytest.mark.parametrize(("method", "transport", "before", "stimulus", "state", "sent", "told"), CLIENT_ARROWS)
def test_arrows_of_the_clients(
    method: str,
    transport: str,
    before: list[Callable[[Bench], None] | str],
    stimulus: Callable[[Bench], None],
    state: str,
    sent: list[str],
    told: list[str],
) -> None:
    bench = Bench(transport)
    tx = bench.layer.request(outgoing(method), bench.flow, bench.user)
    for step in before:
        if isinstance(step, str):
            bench.layer.cancel(tx)
        else:
            step(bench)
    bench.user.heard.clear()
    head = len(bench.flow.sent)
    stimulus(bench)
    assert (tx.state, bench.flow.lines[head:], bench.user.heard) == (state, sent, told)
    if state == "Terminated":
        assert tx.owner is None
        assert tx.request is SPENT
        assert bench.empty
    else:
        bench.run(40)
        assert bench.empty


def test_a_lost_stream_while_a_cancel_is_under_way_is_told() -> None:
    bench = Bench("TCP")
    tx = bench.layer.request(outgoing(), bench.flow, bench.user)
    ring(bench)
    bench.layer.cancel(tx)
    lose(bench)
    assert bench.user.heard == ["180", "transport error"]
    assert bench.empty


def test_a_stream_lost_after_the_final_response_is_told_to_nobody() -> None:
    """Completed over a stream ends at once, so this is a matter of a flow that is lost over UDP rules."""
    bench = Bench()
    client = bench.layer.request(outgoing(), bench.flow, bench.user)
    other = bench.layer.request(outgoing("OPTIONS"), bench.flow, bench.user)
    bench.answer(200)
    bench.receive(build.response(bench.flow.messages[0], 486, to_tag="x"))  # type: ignore[arg-type]  # the INVITE
    bench.receive(request())
    respond(bench, 486)
    bench.receive(request("OPTIONS", branch="z9hG4bKo", cseq=2))
    respond(bench, 200)
    bench.user.heard.clear()
    for tx in (client, other, *bench.user.servers):
        assert tx.state == "Completed"
        tx.feed(Input.TRANSPORT_ERROR, None, bench.now)
        assert tx.state == "Terminated"
    assert bench.user.heard == []
    assert bench.empty
