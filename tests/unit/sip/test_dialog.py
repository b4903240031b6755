"""Dialogs: identifiers, routes, sequence numbers, targets, forks."""

from __future__ import annotations

import pytest

from pbxcore.sip import build
from pbxcore.sip.dialog import Dialog, DialogState, Forks, farewell, key_of
from pbxcore.sip.message import Request, Response, parse
from tests.unit.sip.joined import outgoing, request

LOOSE = ["<sip:p1.example.com;lr>", '"Second, one" <sip:p2.example.com;lr;x=1>;y=2']
CONTACT = "<sip:us@127.0.0.1:5061>"


def record_routes(*values: str) -> list[tuple[str, str]]:
    return [("Record-Route", value) for value in values]


def answer(
    invite: Request, status: int = 200, to_tag: str = "theirs", routes: tuple[str, ...] = (), contact: str | None = None
) -> Response:
    headers = record_routes(*routes)
    if contact is not None:
        headers.append(("Contact", contact))
    return build.response(invite, status, to_tag=to_tag, headers=headers)


# ---- making (12.1)


def test_the_called_side_reads_the_request() -> None:
    invite = request(cseq=17, more=record_routes(*LOOSE))
    dialog = Dialog.uas(invite, "ours", contact=CONTACT)
    assert (dialog.call_id, dialog.local_tag, dialog.remote_tag) == ("call1", "ours", "theirs")
    assert (dialog.local_seq, dialog.remote_seq) == (0, 17)
    assert dialog.local == "<sip:us@example.com>;tag=ours"
    assert dialog.remote == "<sip:peer@example.com>;tag=theirs"
    assert dialog.remote_target == "sip:peer@127.0.0.2:5062"
    assert dialog.route_set == LOOSE
    assert dialog.state == "early"
    assert not dialog.secure
    dialog.confirm()
    assert dialog.state == "confirmed"


def test_the_calling_side_reads_the_response_and_turns_the_routes() -> None:
    invite = outgoing(cseq=5)
    dialog = Dialog.uac(invite, answer(invite, 180, routes=tuple(LOOSE), contact="<sip:phone@127.0.0.3>"))
    assert (dialog.call_id, dialog.local_tag, dialog.remote_tag) == ("out1", "ours", "theirs")
    assert (dialog.local_seq, dialog.remote_seq) == (5, None)
    assert dialog.local == "<sip:us@example.com>;tag=ours"
    assert dialog.remote == "<sip:peer@example.com>;tag=theirs"
    assert dialog.remote_target == "sip:phone@127.0.0.3"
    assert dialog.route_set == LOOSE[::-1]
    assert dialog.contact == CONTACT
    assert dialog.state is DialogState.EARLY


def test_a_peer_that_rewrites_our_from_does_not_change_our_tag() -> None:
    invite = outgoing()
    response = answer(invite)
    response.replace("From", "<sip:us@elsewhere.example.com>;tag=changed")
    dialog = Dialog.uac(invite, response)
    assert dialog.local_tag == "ours"
    assert dialog.local == "<sip:us@example.com>;tag=ours"


def test_without_a_contact_the_target_stays_what_it_was() -> None:
    invite = outgoing()
    dialog = Dialog.uac(invite, answer(invite, 180))
    assert dialog.remote_target == "sip:peer@127.0.0.2:5062"
    bare = request()
    bare.remove("contact")
    assert Dialog.uas(bare, "ours", contact=CONTACT).remote_target == "sip:peer@example.com"


def test_an_rfc_2543_peer_without_a_from_tag_makes_a_dialog_with_an_empty_one() -> None:
    invite = request()
    invite.replace("From", "<sip:old@example.com>")
    dialog = Dialog.uas(invite, "ours", contact=CONTACT)
    assert dialog.remote_tag == ""
    assert dialog.request("BYE").first("to") == "<sip:old@example.com>"


def test_a_to_with_a_tag_keeps_it() -> None:
    dialog = Dialog.uas(request(to_tag="ours"), "ours", contact=CONTACT)
    assert dialog.local == "<sip:us@example.com>;tag=ours"


def test_sips_is_remembered() -> None:
    assert Dialog.uas(request(uri="sips:us@example.com"), "ours", contact=CONTACT).secure


def test_headers_in_a_contact_never_reach_the_request_uri() -> None:
    invite = outgoing()
    evil = "<sip:phone@127.0.0.3;x=1?Route=%3Csip:127.0.0.9%3E&Replaces=a>"
    dialog = Dialog.uac(invite, answer(invite, contact=evil))
    assert dialog.request("BYE").uri == "sip:phone@127.0.0.3;x=1"


# ---- requests (12.2.1.1)


def test_a_request_without_routes_goes_to_the_target() -> None:
    dialog = Dialog.uas(request(), "ours", contact=CONTACT)
    bye = dialog.request("BYE", headers=[("Reason", "Q.850;cause=16")])
    assert bye.to_bytes().decode().split("\r\n") == [
        "BYE sip:peer@127.0.0.2:5062 SIP/2.0",
        "Max-Forwards: 70",
        "From: <sip:us@example.com>;tag=ours",
        "To: <sip:peer@example.com>;tag=theirs",
        "Call-ID: call1",
        "CSeq: 1 BYE",
        "Reason: Q.850;cause=16",
        "Content-Length: 0",
        "",
        "",
    ]
    assert dialog.next_hop == "sip:peer@127.0.0.2:5062"


def test_folded_rows_of_the_peer_are_one_line_each_in_our_requests() -> None:
    invite = parse(
        b"INVITE sip:us@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP a.example.com;branch=z9hG4bKfold\r\nMax-Forwards: 70\r\n"
        b'From: "A"\r\n <sip:a@example.com>;tag=theirs\r\nTo: <sip:us@127.0.0.1>\r\nCall-ID: one\r\n two\r\n'
        b"CSeq: 1 INVITE\r\nContact: <sip:a@127.0.0.2>\r\nContent-Length: 0\r\n\r\n"
    )
    assert isinstance(invite, Request)
    made = Dialog.uas(invite, "ours", contact=CONTACT).request("BYE")
    written = made.to_bytes("Via: v")
    assert b'\r\nTo: "A" <sip:a@example.com>;tag=theirs\r\nCall-ID: one two\r\n' in written
    assert made.first_lines["to"] == 'To: "A" <sip:a@example.com>;tag=theirs'
    assert made.to_bytes("Via: v") == written


def test_loose_routes_go_into_route_rows_in_order() -> None:
    dialog = Dialog.uas(request(more=record_routes(*LOOSE)), "ours", contact=CONTACT)
    info = dialog.request("INFO", body=b"x")
    assert info.uri == "sip:peer@127.0.0.2:5062"
    assert info.values("route") == LOOSE
    assert info.body == b"x"
    assert dialog.next_hop == "sip:p1.example.com;lr"


def test_a_strict_router_gets_itself_as_the_request_uri_and_the_target_last() -> None:
    routes = ["<sip:strict.example.com;method=INVITE;a=b?x=y>", "<sip:p2.example.com>"]
    dialog = Dialog.uas(request(more=record_routes(*routes)), "ours", contact=CONTACT)
    bye = dialog.request("BYE")
    assert bye.uri == "sip:strict.example.com;a=b"
    assert bye.values("route") == ["<sip:p2.example.com>", "<sip:peer@127.0.0.2:5062>"]
    assert dialog.next_hop.startswith("sip:strict.example.com")
    again = dialog.request("INFO")
    assert again.uri == bye.uri
    assert again.values("route") == bye.values("route")


def test_sequence_numbers_rise_by_one() -> None:
    invite = outgoing(cseq=5)
    dialog = Dialog.uac(invite, answer(invite))
    assert [str(dialog.request(method).cseq) for method in ("INFO", "INVITE", "BYE")] == ["6 INFO", "7 INVITE", "8 BYE"]


@pytest.mark.parametrize(("method", "has"), [("INVITE", True), ("UPDATE", True), ("BYE", False), ("INFO", False)])
def test_only_requests_that_move_the_target_carry_our_contact(method: str, has: bool) -> None:
    sent = Dialog.uas(request(), "ours", contact=CONTACT).request(method)
    assert (sent.first("contact") == CONTACT) is has


def test_the_ack_has_the_number_and_the_credentials_of_its_invite() -> None:
    credentials = 'Proxy-Authorization:  Digest username="a",\r\n realm="b"'
    invite = outgoing(cseq=5)
    invite.add_lines("proxy-authorization", [credentials, 'Proxy-Authorization: Digest username="c"'])
    invite.add("Authorization", 'Digest username="d"')
    dialog = Dialog.uac(invite, answer(invite, routes=tuple(LOOSE), contact="<sip:phone@127.0.0.3>"))
    dialog.request("INFO")
    ack = dialog.ack(invite, headers=[("X-A", "b")], body=b"sdp")
    assert ack.uri == "sip:phone@127.0.0.3"
    assert str(ack.cseq) == "5 ACK"
    assert ack.lines("proxy-authorization") == [credentials, 'Proxy-Authorization: Digest username="c"']
    assert ack.first("authorization") == 'Digest username="d"'
    assert ack.values("route") == LOOSE[::-1]
    assert ack.body == b"sdp"
    assert dialog.local_seq == 6


# ---- order (12.2.2)


def test_lower_numbers_are_out_of_order_and_equal_or_higher_ones_are_not() -> None:
    dialog = Dialog.uas(request(cseq=10), "ours", contact=CONTACT)
    refused = dialog.accept(request("INFO", cseq=9))
    assert refused is not None
    assert refused.status == 500
    assert dialog.accept(request("INFO", cseq=12)) is None
    assert dialog.accept(request("BYE", cseq=13)) is None
    assert dialog.accept(request("ACK", cseq=10)) is None
    assert dialog.accept(request("CANCEL", cseq=10)) is None
    assert dialog.remote_seq == 13


def test_the_first_request_of_the_called_side_may_have_any_number() -> None:
    invite = outgoing()
    dialog = Dialog.uac(invite, answer(invite))
    assert dialog.accept(request("INFO", cseq=0)) is None
    assert dialog.remote_seq == 0


def test_a_dialog_that_ended_accepts_nothing() -> None:
    dialog = Dialog.uas(request(), "ours", contact=CONTACT)
    dialog.terminate()
    refused = dialog.accept(request("INFO", cseq=2))
    assert refused is not None
    assert refused.status == 481
    dialog.confirm()
    assert dialog.state is DialogState.TERMINATED


# ---- target refresh (12.2.1.2, 12.2.2)


@pytest.mark.parametrize(("method", "moves"), [("INVITE", True), ("UPDATE", True), ("INFO", False), ("BYE", False)])
def test_only_target_refresh_requests_move_the_target(method: str, moves: bool) -> None:
    dialog = Dialog.uas(request(more=record_routes(*LOOSE)), "ours", contact=CONTACT)
    again = request(method, cseq=2, more=record_routes("<sip:other;lr>"))
    again.replace("Contact", "<sip:moved@127.0.0.7>")
    dialog.refresh(again)
    assert (dialog.remote_target == "sip:moved@127.0.0.7") is moves
    assert dialog.route_set == LOOSE


def test_the_2xx_of_a_reinvite_moves_the_target_and_a_refusal_does_not() -> None:
    invite = outgoing()
    dialog = Dialog.uac(invite, answer(invite, contact="<sip:first@127.0.0.3>", routes=("<sip:p1;lr>",)))
    again = dialog.request("INVITE")
    dialog.refresh(answer(again, 302, contact="<sip:refused@127.0.0.4>"))
    assert dialog.remote_target == "sip:first@127.0.0.3"
    dialog.refresh(answer(again, 200, contact="<sip:second@127.0.0.5>", routes=("<sip:p9;lr>",)))
    assert dialog.remote_target == "sip:second@127.0.0.5"
    assert dialog.route_set == ["<sip:p1;lr>"]


def test_the_2xx_of_the_invite_confirms_and_sets_the_routes_anew() -> None:
    invite = outgoing()
    dialog = Dialog.uac(invite, answer(invite, 183, routes=("<sip:early;lr>",)))
    dialog.refresh(answer(invite, 200, routes=("<sip:p1;lr>", "<sip:p2;lr>"), contact="<sip:phone@127.0.0.3>"))
    assert dialog.state is DialogState.CONFIRMED
    assert dialog.route_set == ["<sip:p2;lr>", "<sip:p1;lr>"]
    assert dialog.remote_target == "sip:phone@127.0.0.3"


def test_the_2xx_of_a_bye_confirms_nothing() -> None:
    invite = outgoing()
    dialog = Dialog.uac(invite, answer(invite, 183))
    dialog.refresh(answer(dialog.request("BYE"), 200, contact="<sip:x@127.0.0.9>"))
    assert dialog.state is DialogState.EARLY
    assert dialog.remote_target == "sip:peer@127.0.0.2:5062"


# ---- finding, forking, leaving


def test_a_request_of_the_peer_finds_its_dialog_on_both_sides() -> None:
    invite = outgoing()
    caller = Dialog.uac(invite, answer(invite))
    callee = Dialog.uas(invite, "theirs", contact=CONTACT)
    assert key_of(callee.request("BYE")) == caller.key
    assert key_of(caller.request("BYE")) == callee.key
    assert caller.key != callee.key


def test_every_to_tag_is_a_dialog_of_its_own() -> None:
    invite = outgoing()
    forks = Forks(invite)
    assert forks.take(answer(invite, 100)) is None
    assert forks.take(answer(invite, 486)) is None
    one = forks.take(answer(invite, 180, "one", contact="<sip:one@127.0.0.3>"))
    two = forks.take(answer(invite, 183, "two", contact="<sip:two@127.0.0.4>"))
    assert one is not None
    assert two is not None
    assert one is not two
    assert forks.take(answer(invite, 180, "one")) is one
    assert forks.take(answer(invite, 200, "two", contact="<sip:two@127.0.0.4>")) is two
    assert (one.state, two.state) == (DialogState.EARLY, DialogState.CONFIRMED)
    assert forks.drop_early() == [one]
    assert one.state is DialogState.TERMINATED
    assert list(forks.dialogs) == ["two"]


def test_the_responses_without_a_to_tag_make_no_dialog() -> None:
    invite = outgoing()
    assert Forks(invite).take(build.response(invite, 180)) is None


def test_a_forgotten_2xx_can_be_ended_from_the_response_alone() -> None:
    invite = outgoing(cseq=8)
    ack, bye = farewell(answer(invite, routes=("<sip:p1;lr>", "<sip:p2;lr>"), contact="<sip:phone@127.0.0.3>"))
    assert (ack.uri, bye.uri) == ("sip:phone@127.0.0.3", "sip:phone@127.0.0.3")
    assert (str(ack.cseq), str(bye.cseq)) == ("8 ACK", "9 BYE")
    assert (bye.from_tag, bye.to_tag, bye.call_id) == ("ours", "theirs", "out1")
    assert bye.values("route") == ["<sip:p2;lr>", "<sip:p1;lr>"]
