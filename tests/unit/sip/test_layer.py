"""The layer: matching, merged requests, Via, CANCEL, refusals, two layers over a bad wire, and that nothing leaks."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import pytest

from pbxcore.sip import build, message
from pbxcore.sip.dialog import Dialog
from pbxcore.sip.errors import SipError
from pbxcore.sip.layer import stateless_tag
from pbxcore.sip.message import Request, Response
from pbxcore.sip.transaction import ClientTransaction, ServerTransaction
from tests.unit.sip.joined import Bench, FakeFlow, Wire, outgoing, request, tables_empty


def respond(bench: Bench, status: int, to_tag: str = "ours") -> None:
    tx = bench.user.servers[-1]
    bench.layer.respond(tx, build.response(tx.request, status, to_tag=to_tag))


# ---- requests (17.2.3)


def test_branch_sent_by_and_method_make_a_transaction() -> None:
    bench = Bench()
    bench.receive(request("OPTIONS", call_id="1"))
    bench.receive(request("OPTIONS", call_id="2", branch="z9hG4bKother"))
    bench.receive(request("OPTIONS", call_id="3", sent_by="127.0.0.2:5070"))
    bench.receive(request("INFO", call_id="4"))
    assert bench.user.heard == ["OPTIONS", "OPTIONS", "OPTIONS", "INFO"]
    bench.receive(request("OPTIONS", call_id="1"))
    assert bench.layer.counters.retransmissions_in == 1
    assert bench.layer.server_count() == 4


@pytest.mark.parametrize("branch", [None, "1", "z9hG4bK"])
def test_rfc_2543_copies_and_acks_are_matched_without_a_branch(branch: str | None) -> None:
    bench = Bench()
    bench.receive(request(branch=branch))
    bench.receive(request(branch=branch))
    assert bench.user.heard == ["INVITE"]
    bench.receive(request(branch=branch, cseq=2, call_id="call2"))
    assert bench.user.heard == ["INVITE", "INVITE"]
    tx = bench.user.servers[0]
    bench.layer.respond(tx, build.response(tx.request, 404, to_tag="ours"))
    bench.receive(request("ACK", branch=branch, to_tag="ours"))
    assert tx.state == "Confirmed"
    bench.receive(request("CANCEL", branch=branch, cseq=2, call_id="call2"))
    assert bench.user.heard == ["INVITE", "INVITE", "cancel"]


def test_rfc_2543_other_sources_of_the_same_call_are_other_transactions() -> None:
    bench = Bench()
    bench.receive(request("OPTIONS", branch=None, to_tag="x"))
    bench.receive(request("OPTIONS", branch=None, to_tag="x", sent_by="127.0.0.2:5099"))
    bench.receive(request("OPTIONS", branch=None, to_tag="x", uri="sip:another@127.0.0.1"))
    assert bench.user.heard == ["OPTIONS"] * 3


@pytest.mark.parametrize("method", ["INVITE", "BYE", "CANCEL", "REGISTER", "OPTIONS"])
def test_a_copy_is_known_by_its_first_two_rows_while_its_transaction_lasts(method: str) -> None:
    bench = Bench()
    data = request(method).to_bytes()
    assert bench.layer.copied(data) is None
    bench.receive(data)
    tx = bench.layer.copied(data)
    assert tx is not None
    assert tx.key == f"z9hG4bKpeer1 127.0.0.2 5062 {method}"
    for other in (request(method, branch="z9hG4bKother"), request(method, sent_by="127.0.0.2"), request("INFO")):
        assert bench.layer.copied(other.to_bytes()) is None
    if method != "CANCEL":   # which is answered by the layer
        respond(bench, 486)
    sent = len(bench.flow.sent)
    tx.again(bench.now)
    assert bench.flow.sent[sent:] == bench.flow.sent[sent - 1 : sent]
    assert bench.layer.counters.retransmissions_in == 1
    bench.run(64)
    assert bench.layer.copied(data) is None


@pytest.mark.parametrize("branch", [None, "1", "z9hG4bK"])
def test_without_a_branch_of_the_rfc_a_copy_must_be_read(branch: str | None) -> None:
    bench = Bench()
    data = request(branch=branch).to_bytes()
    bench.receive(data)
    assert bench.layer.copied(data) is None


def test_responses_and_acks_are_no_copies_of_requests() -> None:
    bench = Bench()
    bench.receive(request())
    assert bench.layer.copied(request("ACK").to_bytes()) is None
    assert bench.layer.copied(build.response(request(), 200, to_tag="x").to_bytes()) is None


def test_a_request_by_two_paths_is_taken_once() -> None:
    bench = Bench()
    bench.receive(request())
    bench.receive(request(branch="z9hG4bKsecondpath"))
    bench.receive(request(branch="z9hG4bKsecondpath"))
    assert bench.user.heard == ["INVITE"]
    assert bench.flow.lines == ["482 INVITE", "482 INVITE"]
    assert bench.flow.sent[0][1] == bench.flow.sent[1][1]
    assert bench.layer.counters.merged == 2
    bench.receive(request("ACK", branch="z9hG4bKsecondpath", to_tag=bench.flow.messages[0].to_tag or ""))
    assert bench.user.heard == ["INVITE", "stray ACK"]
    respond(bench, 486)
    assert bench.flow.lines[2:] == ["486 INVITE"]


def test_a_merged_copy_does_not_steal_the_ack() -> None:
    bench = Bench()
    bench.receive(request())
    respond(bench, 200)
    bench.receive(request(branch="z9hG4bKsecondpath"))
    bench.receive(request("ACK", branch="z9hG4bKack", to_tag="ours"))
    assert bench.user.heard == ["INVITE", "ack"]


def test_requests_inside_of_a_dialog_are_never_merged() -> None:
    bench = Bench()
    bench.receive(request("INFO", to_tag="ours"))
    bench.receive(request("INFO", to_tag="ours", branch="z9hG4bKnext"))
    assert bench.user.heard == ["INFO", "INFO"]


@pytest.mark.parametrize("method", ["INVITE", "REGISTER"])
def test_a_client_that_keeps_its_cseq_for_the_credentials_is_not_merged(method: str) -> None:
    bench = Bench()
    bench.receive(request(method))
    respond(bench, 401)
    bench.receive(request(method, branch="z9hG4bKagain"))
    assert bench.user.heard == [method, method]


def test_an_ack_for_nothing_is_told_and_not_answered() -> None:
    bench = Bench()
    bench.receive(request("ACK", to_tag="ours"))
    assert bench.user.heard == ["stray ACK"]
    assert bench.flow.sent == []
    assert bench.layer.counters.stray_acks == 1


# ---- CANCEL (9.2)


def test_a_cancel_is_answered_200_and_told() -> None:
    bench = Bench()
    bench.receive(request())
    respond(bench, 180)
    bench.receive(request("CANCEL"))
    bench.receive(request("CANCEL"))
    assert bench.user.heard == ["INVITE", "cancel"]
    assert bench.flow.lines == ["180 INVITE", "200 CANCEL", "200 CANCEL"]
    assert bench.flow.messages[1].to_tag == "ours"  # the same as in the response to the INVITE (9.2)
    respond(bench, 487)
    bench.receive(request("ACK", to_tag="ours"))
    bench.run(32)
    assert bench.empty


def test_a_cancel_for_nothing_is_answered_481() -> None:
    bench = Bench()
    bench.receive(request("CANCEL"))
    assert bench.flow.lines == ["481 CANCEL"]
    assert bench.user.heard == []
    assert bench.layer.counters.stray_cancels == 1


@pytest.mark.parametrize("status", [200, 486])
def test_a_cancel_that_crosses_the_final_response_changes_nothing(status: int) -> None:
    bench = Bench()
    bench.receive(request())
    respond(bench, status)
    bench.receive(request("CANCEL"))
    assert bench.flow.lines == [f"{status} INVITE", "200 CANCEL"]
    assert bench.user.heard == ["INVITE"]


def test_a_cancelled_invite_that_nobody_owns_is_ended_by_the_layer() -> None:
    bench = Bench()
    bench.receive(request())
    bench.user.servers[0].owner = None
    bench.receive(request("CANCEL"))
    assert bench.flow.lines == ["200 CANCEL", "487 INVITE"]


def test_a_cancel_from_another_address_has_another_sent_by_and_finds_nothing() -> None:
    bench = Bench()
    bench.receive(request())
    bench.receive(request("CANCEL", sent_by="127.0.0.66:5062"))
    assert bench.flow.lines == ["481 CANCEL"]


# ---- Via and the way back (18.2, RFC 3581)


def test_an_honest_via_is_left_as_it_came() -> None:
    bench = Bench()
    bench.receive(request("OPTIONS"))
    respond(bench, 200)
    assert bench.flow.messages[0].lines("via") == ["Via: SIP/2.0/UDP 127.0.0.2:5062;branch=z9hG4bKpeer1"]


def test_rport_is_filled_and_answered_to_the_source() -> None:
    bench = Bench()
    bench.receive(request("OPTIONS", sent_by="10.0.0.9:9999", via_params=";rport;x=1"))
    respond(bench, 200)
    via = bench.flow.messages[0].via
    assert (via.host, via.port, via.received, via.rport) == ("10.0.0.9", 9999, "127.0.0.2", 5062)
    assert bench.flow.others == {}


def test_without_rport_the_answer_goes_to_the_port_of_the_via() -> None:
    bench = Bench()
    bench.receive(request("OPTIONS", sent_by="phone.example.com:5099"))
    respond(bench, 200)
    (flow,) = bench.flow.others.values()
    assert flow.remote == ("127.0.0.2", 5099)
    assert flow.messages[0].via.received == "127.0.0.2"
    assert bench.flow.sent == []


@pytest.mark.parametrize(
    ("sent_by", "source", "to_source"),
    [
        ("192.168.1.50:5070", ("203.0.113.9", 40001), True),    # a NAT, which lets nothing in at another port
        ("192.168.1.50:5070", ("192.168.1.50", 40001), False),  # listens at another port than it sends from
        ("203.0.113.10:5070", ("203.0.113.9", 40001), False),
        ("phone.example.com:5070", ("203.0.113.9", 40001), False),
    ],
)
def test_a_private_via_from_outside_is_answered_to_the_source_without_rport_too(
    sent_by: str, source: tuple[str, int], to_source: bool
) -> None:
    bench = Bench()
    bench.flow.remote = source
    bench.receive(request("OPTIONS", sent_by=sent_by))
    respond(bench, 200)
    assert bool(bench.flow.sent) == to_source
    assert bool(bench.flow.others) == (not to_source)


def test_a_via_without_port_means_5060() -> None:
    bench = Bench()
    bench.receive(request("OPTIONS", sent_by="127.0.0.2"))
    respond(bench, 200)
    assert list(bench.flow.others) == [("127.0.0.2", 5060)]


def test_over_a_stream_the_answer_goes_back_on_it_whatever_the_via_says() -> None:
    bench = Bench("TCP")
    bench.receive(request("OPTIONS", sent_by="127.0.0.2:1", transport="TCP"))
    respond(bench, 200)
    assert bench.flow.lines == ["200 OPTIONS"]


@pytest.mark.parametrize("params", [";received=127.0.0.99", ";maddr=239.1.2.3", ";maddr=255.255.255.255;ttl=1"])
def test_no_via_makes_us_talk_to_a_third_party(params: str) -> None:
    bench = Bench()
    bench.receive(request("OPTIONS", sent_by="255.255.255.255:5062", via_params=params))
    respond(bench, 200)
    assert bench.flow.lines == ["200 OPTIONS"]
    assert bench.flow.messages[0].via.received == "127.0.0.2"


def test_a_flow_that_cannot_reach_the_port_of_the_via_answers_to_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: FakeFlow, host: str, port: int) -> FakeFlow:
        raise SipError(503, "Service Unavailable")

    monkeypatch.setattr(FakeFlow, "to", refuse)
    bench = Bench()
    bench.receive(request("OPTIONS", sent_by="127.0.0.2:0"))
    respond(bench, 200)
    assert bench.flow.lines == ["200 OPTIONS"]


def test_our_via_has_the_address_of_the_flow_a_cookie_and_rport() -> None:
    bench = Bench()
    bench.flow.local = ("::1", 5060)
    tx = bench.layer.request(outgoing(), bench.flow, bench.user)
    assert bench.flow.messages[0].lines("via") == [f"Via: SIP/2.0/UDP [::1]:5060;branch={tx.branch};rport"]
    assert tx.branch.startswith("z9hG4bK")
    bench.answer(180)
    assert bench.user.heard == ["180"]


# ---- responses (17.1.3, 18.1.2)


def test_responses_that_are_not_ours_are_dropped_and_counted() -> None:
    bench = Bench()
    bench.layer.request(outgoing(), bench.flow, bench.user)
    invite = bench.flow.messages[0]
    assert isinstance(invite, Request)
    good = build.response(invite, 180, to_tag="x").to_bytes().decode()
    foreign = [
        good.replace("127.0.0.1:5061;branch", "127.0.0.7:5061;branch"),
        good.replace("127.0.0.1:5061;branch", "127.0.0.1:5062;branch"),
        good.replace("127.0.0.1:5061;branch", "127.0.0.1;branch"),
        good.replace("From:", "Via: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bKx\r\nFrom:"),
        good.replace(";rport\r\n", ";rport, SIP/2.0/UDP 127.0.0.9\r\n"),
    ]
    strays = [good.replace("branch=z9hG4bK", "branch=z9hG4bKnot"), good.replace("1 INVITE", "1 BYE")]
    for text in [*foreign, *strays]:
        assert text != good
        bench.receive(text.replace("\r\n", "\n"))
    assert bench.user.heard == []
    assert bench.layer.counters.foreign_responses == len(foreign)
    assert bench.layer.counters.stray_responses == len(strays)
    bench.receive(good.replace("\r\n", "\n"))
    assert bench.user.heard == ["180"]


def test_a_stream_that_learns_its_port_later_still_knows_its_answers() -> None:
    bench = Bench("TCP")
    bench.layer.request(outgoing(), bench.flow, bench.user)
    bench.flow.local = ("127.0.0.1", 40000)
    bench.answer(180)
    assert bench.user.heard == ["180"]


# ---- what cannot be read (8.2.7)


def test_a_broken_request_is_answered_without_a_transaction() -> None:
    bench = Bench()
    text = request().to_bytes().decode().replace("\r\n", "\n")
    bench.receive(text.replace("CSeq: 1 INVITE", "CSeq: 1 BYE"))
    bench.receive(text.replace("CSeq: 1 INVITE", "CSeq: 1 BYE"))
    bench.receive(text.replace("sip:us@127.0.0.1:5061 SIP", "nobody:knows SIP"))
    bench.receive(text.replace("SIP/2.0\nVia", "SIP/7.0\nVia"))
    assert [msg.status for msg in bench.flow.messages if isinstance(msg, Response)] == [400, 400, 416, 505]
    assert bench.flow.sent[0][1] == bench.flow.sent[1][1]
    assert bench.user.heard == []
    assert bench.layer.server_count() == 0
    assert bench.layer.counters.malformed == 4
    bench.run(60)
    assert len(bench.flow.sent) == 4


def test_what_cannot_be_answered_is_dropped() -> None:
    bench = Bench()
    bench.layer.request(outgoing(), bench.flow, bench.user)
    invite = bench.flow.messages[0]
    assert isinstance(invite, Request)
    answer = build.response(invite, 200, to_tag="x").to_bytes().decode().replace("\r\n", "\n")
    bench.receive(answer.replace("Call-ID: out1\n", ""))
    bench.receive(request("ACK").to_bytes().decode().replace("\r\n", "\n").replace("1 ACK", "1 INVITE"))
    bench.receive("INVITE sip:x SIP/2.0\nTo: <sip:x>\n\n")
    assert bench.user.heard == []
    assert bench.flow.lines == ["INVITE"]
    assert bench.layer.counters.malformed == 3


def test_the_tag_without_a_transaction_is_that_of_the_request() -> None:
    assert stateless_tag(request()) == stateless_tag(request(branch="z9hG4bKother"))
    assert stateless_tag(request()) != stateless_tag(request(cseq=2))


TORTURE = sorted((Path(__file__).parents[2] / "torture").rglob("*.dat"))


@pytest.mark.skipif(not TORTURE, reason="the RFC 4475 files are not in this tree")
def test_torture_files_never_raise_and_never_open_a_transaction_for_a_response() -> None:
    for path in TORTURE:
        bench = Bench()
        data = path.read_bytes()
        bench.receive(data)
        if data.startswith(b"SIP/"):
            assert bench.flow.sent == []
            assert bench.layer.server_count() == 0


# ---- two layers back to back


def call_and_hang_up(wire: Wire) -> None:
    wire.b.script = lambda tx, req: wire.b.answer(180)
    wire.a.call()
    wire.run(1)
    wire.b.answer(200)
    wire.run(1)
    wire.a.hang_up()
    wire.run(1)


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
def test_a_whole_call(transport: str) -> None:
    wire = Wire(transport=transport)
    call_and_hang_up(wire)
    assert wire.a.heard == ["180 INVITE", "200 INVITE", "200 BYE"]
    assert wire.b.heard == ["INVITE", "ack", "BYE"]
    assert [line.split()[1] for line in wire.trace] == ["INVITE", "SIP/2.0", "SIP/2.0", "ACK", "BYE", "SIP/2.0"]
    wire.run(64)
    assert wire.empty
    assert len(wire.a.timers) == len(wire.b.timers) == 0


@pytest.mark.parametrize("seed", range(30))
def test_a_call_over_a_bad_wire_comes_about_once(seed: int) -> None:
    wire = Wire(seed, loss=0.2, copies=0.3)
    wire.b.script = lambda tx, req: wire.b.answer(200)
    wire.a.call()
    wire.run(40)
    assert len(wire.a.finals) == 1
    assert wire.b.heard.count("INVITE") == 1
    if wire.a.finals == [200]:
        assert wire.b.heard.count("ack") + wire.b.heard.count("no ack") == 1
        wire.a.hang_up()
    wire.run(120)
    assert wire.b.heard.count("BYE") <= 1
    assert wire.empty
    assert len(wire.a.timers) == len(wire.b.timers) == 0


@pytest.mark.parametrize("seed", range(60))
def test_a_cancel_races_an_answer_over_a_bad_wire(seed: int) -> None:
    """Whoever wins, both sides agree in the end: no phone is left off the hook."""
    wire = Wire(seed, loss=0.1, copies=0.2)
    wire.b.script = lambda tx, req: wire.b.answer(180)
    wire.a.call()
    wire.run(wire.chance.random())
    if wire.a.client is not None:
        wire.a.layer.cancel(wire.a.client)
    wire.run(wire.chance.random())
    if wire.b.server is not None and "cancel" not in wire.b.heard:
        wire.b.answer(200)
    wire.run(120)
    if wire.b.server is None and "INVITE" in wire.b.heard:
        assert wire.a.finals == [200]
    else:
        assert wire.a.finals in ([487], [408])
    assert wire.a.layer.client_count() == 0
    assert tables_empty(wire.b.layer) or wire.a.finals == [408]


def test_the_same_seed_gives_the_same_trace() -> None:
    def trace(seed: int) -> list[str]:
        wire = Wire(seed, loss=0.3, copies=0.3)
        wire.b.script = lambda tx, req: wire.b.answer(200)
        wire.a.call()
        wire.run(100)
        return wire.trace

    assert trace(7) == trace(7)
    assert trace(7) != trace(8)


# ---- nothing is left over


def test_a_whole_call_leaves_no_garbage_and_no_row() -> None:
    wire = Wire()
    call_and_hang_up(wire)  # warm up: caches, compiled patterns
    wire.run(64)
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        for _ in range(10):
            call_and_hang_up(wire)
            wire.a.dialog = None
            wire.a.heard.clear()
            wire.b.heard.clear()
            wire.a.finals.clear()
            wire.trace.clear()
            wire.a.flow.sent.clear()
            wire.b.flow.sent.clear()
            wire.run(64)
        assert wire.empty
        assert len(wire.a.timers) == len(wire.b.timers) == 0
        assert len(gc.get_objects()) - before < 30
        assert gc.collect() == 0
    finally:
        gc.enable()


class Weak:
    """An owner that can be watched."""

    def on_response(self, tx: ClientTransaction, response: Response) -> None: ...
    def on_timeout(self, tx: ClientTransaction) -> None: ...
    def on_transport_error(self, tx: ServerTransaction | ClientTransaction) -> None: ...
    def on_cancel(self, tx: ServerTransaction, cancel: Request) -> None: ...
    def on_ack(self, tx: ServerTransaction, ack: Request) -> None: ...
    def on_no_ack(self, tx: ServerTransaction) -> None: ...


@pytest.mark.parametrize("final", [200, 486])
def test_a_finished_server_transaction_lets_go_while_it_lingers(final: int) -> None:
    bench = Bench()
    bench.receive(request())
    tx = bench.user.servers.pop()
    owner = Weak()
    tx.owner = owner
    watch = weakref.ref(owner)
    tail = tx.request
    bench.layer.respond(tx, build.response(tx.request, final, to_tag="ours"))
    bench.receive(request("ACK", branch="z9hG4bKa" if final == 200 else "z9hG4bKpeer1", to_tag="ours"))
    del owner
    assert watch() is None
    assert tx.request is not tail
    assert tx.data == b""
    assert tx.response is None
    assert bench.layer.server_count() == 1


@pytest.mark.parametrize("status", [200, 486])
def test_a_finished_client_transaction_lets_go_while_it_lingers(status: int) -> None:
    bench = Bench()
    owner = Weak()
    watch = weakref.ref(owner)
    invite = bench.layer.request(outgoing(), bench.flow, owner)
    bye = bench.layer.request(outgoing("BYE"), bench.flow, owner)
    bench.answer(200)
    bench.receive(build.response(bench.flow.messages[0], status, to_tag="x"))  # type: ignore[arg-type]  # the INVITE
    del owner
    bench.layer.release(invite)
    assert watch() is None
    assert invite.request.method == bye.request.method == "SPENT"
    assert bye.data == b""
    assert bench.layer.client_count() == 2


# ---- dialogs over the wire


def test_a_reinvite_from_the_called_side_finds_the_caller() -> None:
    wire = Wire()
    seen: list[Dialog] = []

    def script(tx: ServerTransaction, req: Request) -> None:
        dialog = Dialog.uas(req, "callee", contact=wire.b.contact)
        wire.b.answer(200)
        dialog.confirm()
        seen.append(dialog)

    wire.b.script = script
    wire.a.script = lambda tx, req: wire.a.answer(200)
    wire.a.call()
    wire.run(1)
    wire.b.layer.request(seen[0].request("INVITE"), wire.b.flow, wire.b)
    wire.run(1)
    assert wire.a.heard == ["200 INVITE", "INVITE", "ack"]
    assert wire.b.heard == ["INVITE", "ack", "200 INVITE"]


def test_messages_of_the_wire_can_be_read_back() -> None:
    wire = Wire()
    call_and_hang_up(wire)
    for flow in (wire.a.flow, wire.b.flow):
        for _, data in flow.sent:
            message.check(message.parse(data))
