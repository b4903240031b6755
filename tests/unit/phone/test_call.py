"""Two phones back to back: every way a call can begin, go wrong, and end."""

from __future__ import annotations

import pytest

from pbxcore.phone.agent import Phones
from pbxcore.sip import build
from pbxcore.sip.dialog import Dialog
from pbxcore.sip.errors import SipError
from pbxcore.sip.message import Request, Response
from pbxcore.sip.transaction import ServerTransaction
from tests.unit.phone.world import Ear, Listening, World

BOB = "sip:bob@10.0.0.1:5070"


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def alice(world: World) -> Listening:
    return world.phone("alice", 5060)


@pytest.fixture
def bob(world: World) -> Listening:
    return world.phone("bob", 5070)


def connect(world: World, alice: Listening, bob: Listening) -> None:
    bob.agent.answer_after = 0
    alice.dial(BOB)
    world.run()
    assert alice.call.state == bob.call.state == "up"
    for phone in (alice, bob):
        phone.heard.clear()
    world.said()


def leave_nothing(world: World) -> None:
    """After a minute no call, no dialog and no transaction is left."""
    world.run(64)
    for layer in world.layers.values():
        assert (layer.server_count(), layer.client_count()) == (0, 0)
        if isinstance(layer.user, Phones):
            assert layer.user.calls == {}
            assert all(not agent.calls for agent in layer.user.agents.values())


def test_a_call_that_is_answered_and_hung_up_by_the_caller(world: World, alice: Listening, bob: Listening) -> None:
    bob.agent.answer_after = 2.0
    alice.dial(BOB)
    world.run(1.0)
    assert world.said() == ["INVITE", "180 INVITE"]
    assert alice.heard == [("progress", 180)]
    world.run(1.1)
    assert world.said() == ["200 INVITE", "ACK"]
    assert alice.ear.started
    assert bob.ear.started
    alice.call.hang_up()
    world.run()
    assert world.said() == ["BYE", "200 BYE"]
    assert alice.heard[1:] == [("answered",), ("ended", 200, "us")]
    assert bob.heard == [("incoming", "alice"), ("answered",), ("ended", 200, "them")]
    assert alice.ear.closed
    assert bob.ear.closed
    leave_nothing(world)


def test_a_call_that_is_hung_up_by_the_callee(world: World, alice: Listening, bob: Listening) -> None:
    connect(world, alice, bob)
    bob.call.hang_up()
    world.run()
    assert alice.heard == [("ended", 200, "them")]
    assert bob.heard == [("ended", 200, "us")]
    leave_nothing(world)


def test_a_bye_from_both_at_once_ends_the_call_once(world: World, alice: Listening, bob: Listening) -> None:
    connect(world, alice, bob)
    alice.call.hang_up()
    bob.call.hang_up()
    world.run()
    assert alice.heard == [("ended", 200, "us")]
    assert bob.heard == [("ended", 200, "us")]
    leave_nothing(world)


@pytest.mark.parametrize("status", [404, 480, 486, 503, 603])
def test_a_call_that_is_refused(world: World, alice: Listening, bob: Listening, status: int) -> None:
    bob.agent.reject_with = status
    alice.dial(BOB)
    world.run()
    assert alice.heard == [("ended", status, "them")]
    leave_nothing(world)


def test_a_call_that_is_declined_while_it_rings(world: World, alice: Listening, bob: Listening) -> None:
    alice.dial(BOB)
    world.run()
    bob.call.reject(486)
    world.run()
    assert alice.heard == [("progress", 180), ("ended", 486, "them")]
    assert bob.heard == [("incoming", "alice"), ("ended", 486, "us")]
    leave_nothing(world)


def test_one_call_more_than_a_phone_takes_hears_busy(world: World, alice: Listening, bob: Listening) -> None:
    connect(world, alice, bob)
    bob.agent.max_calls = 1
    alice.dial(BOB)
    world.run()
    assert alice.heard == [("ended", 486, "them")]


def test_a_call_that_is_cancelled(world: World, alice: Listening, bob: Listening) -> None:
    alice.dial(BOB)
    world.run()
    alice.call.hang_up()
    world.run()
    assert world.said() == ["INVITE", "180 INVITE", "CANCEL", "200 CANCEL", "487 INVITE", "ACK"]
    assert alice.heard == [("progress", 180), ("ended", 487, "us")]
    assert bob.heard == [("incoming", "alice"), ("ended", 487, "them")]
    leave_nothing(world)


def test_a_cancel_waits_for_a_provisional_response(world: World, alice: Listening, bob: Listening) -> None:
    world.lose = lambda message: isinstance(message, Response)
    alice.dial(BOB)
    world.run()
    alice.call.hang_up()
    world.run()
    assert "CANCEL" not in world.said()
    world.lose = lambda message: False
    world.run(1.0)
    assert "CANCEL" in world.said()
    assert alice.heard == [("ended", 487, "us")]


def test_a_cancel_that_crosses_the_200_leaves_no_call(world: World, alice: Listening, bob: Listening) -> None:
    alice.dial(BOB)
    world.run()
    bob.call.answer()
    alice.call.hang_up()
    world.run()
    assert alice.heard[-1] == ("ended", 487, "us")
    assert bob.heard[-1] == ("ended", 200, "them")
    assert alice.ear.closed
    leave_nothing(world)


def test_nobody_there_is_408(world: World, alice: Listening) -> None:
    alice.dial(BOB)
    world.run(33)
    assert alice.heard == [("ended", 408, "them")]
    leave_nothing(world)


def test_no_way_to_the_target_ends_the_call_and_says_so(world: World, alice: Listening) -> None:
    def nowhere(uri: str) -> object:
        raise SipError(503, "no route")

    alice.agent.route = nowhere  # type: ignore[assignment]  # it never returns
    with pytest.raises(SipError):
        alice.dial(BOB)
    assert alice.heard == [("ended", 503, "us")]


def test_a_200_that_nobody_acknowledges_is_ended_with_bye(world: World, alice: Listening, bob: Listening) -> None:
    world.lose = lambda message: isinstance(message, Request) and message.method == "ACK"
    bob.agent.answer_after = 0
    alice.dial(BOB)
    world.run(33)
    assert bob.heard[-1] == ("ended", 408, "us")
    assert alice.heard[-1] == ("ended", 200, "them")
    leave_nothing(world)


def test_bye_of_the_callee_waits_for_the_ack(world: World, alice: Listening, bob: Listening) -> None:
    world.lose = lambda message: isinstance(message, Request) and message.method == "ACK"
    bob.agent.answer_after = 0
    alice.dial(BOB)
    world.run()
    bob.call.hang_up()
    world.run(0.2)
    assert "BYE" not in world.said()
    world.lose = lambda message: False
    world.run(1.0)
    assert world.said()[:3] == ["200 INVITE", "ACK", "BYE"]
    assert bob.heard[-1] == ("ended", 200, "us")


def test_a_lost_200_comes_again_and_gets_its_ack(world: World, alice: Listening, bob: Listening) -> None:
    lost: list[Response] = []

    def lose(message: Request | Response) -> bool:
        if isinstance(message, Response) and message.status == 200 and len(lost) < 2:
            lost.append(message)
            return True
        return False

    world.lose = lose
    bob.agent.answer_after = 0
    alice.dial(BOB)
    world.run(2.0)
    assert len(lost) == 2
    assert alice.heard == [("answered",)]
    assert bob.heard[-1] == ("answered",)


def test_a_late_offer_is_answered_in_the_ack(world: World, alice: Listening, bob: Listening) -> None:
    bob.agent.answer_after = 0
    alice.dial(BOB, late_offer=True)
    world.run()
    assert alice.ear.started
    assert bob.ear.started
    assert alice.ear.remote.startswith(b"v=0")
    assert bob.ear.remote.startswith(b"v=0")


def test_early_media_is_heard_before_the_answer(world: World, alice: Listening, bob: Listening) -> None:
    alice.dial(BOB)
    world.run()
    bob.call.progress()
    world.run()
    assert alice.heard == [("progress", 180), ("progress", 183)]
    assert alice.ear.started
    bob.call.answer()
    world.run()
    assert alice.heard[-1] == ("answered",)


def test_an_offer_that_does_not_fit_is_488_and_leaves_nothing(world: World, alice: Listening, bob: Listening) -> None:
    class Deaf(Ear):
        def answer(self, offer: bytes) -> bytes:
            raise SipError(488, "Not Acceptable Here")

    bob.agent.media = lambda call: Deaf()
    alice.dial(BOB)
    world.run()
    assert alice.heard == [("ended", 488, "them")]
    assert bob.heard == []
    leave_nothing(world)


def test_an_answer_that_does_not_fit_ends_the_call(world: World, alice: Listening, bob: Listening) -> None:
    bob.agent.answer_after = 0
    alice.dial(BOB)

    def refuse(answer: bytes) -> None:
        raise SipError(488, "Not Acceptable Here")

    alice.ear.accept = refuse  # type: ignore[method-assign]  # the double made to fail
    world.run()
    assert alice.heard == [("ended", 488, "us")]
    assert bob.heard[-1] == ("ended", 200, "them")
    leave_nothing(world)


def test_hold_and_resume_are_heard_by_the_other_side(world: World, alice: Listening, bob: Listening) -> None:
    connect(world, alice, bob)
    alice.call.hold()
    world.run()
    alice.call.resume()
    world.run()
    assert bob.heard == [("held", True), ("held", False)]
    assert alice.heard == [("hold done", 200)] * 2
    assert world.said() == ["INVITE", "200 INVITE", "ACK"] * 2


def test_hold_from_both_sides_at_once_is_sorted_out(world: World, alice: Listening, bob: Listening) -> None:
    connect(world, alice, bob)
    alice.call.hold()
    bob.call.hold()
    world.run(10)
    assert world.said().count("491 INVITE") == 2
    assert ("hold done", 200) in alice.heard
    assert ("hold done", 200) in bob.heard
    assert ("held", True) in alice.heard
    assert ("held", True) in bob.heard


def test_a_change_of_mind_while_hold_is_under_way(world: World, alice: Listening, bob: Listening) -> None:
    connect(world, alice, bob)
    alice.call.hold()
    alice.call.resume()
    world.run()
    assert bob.heard == [("held", True), ("held", False)]


def test_a_re_invite_to_a_dialog_that_is_gone_ends_the_call(world: World, alice: Listening, bob: Listening) -> None:
    connect(world, alice, bob)
    bob.agent.phones.calls.clear()
    alice.call.hold()
    world.run()
    assert alice.heard[-1] == ("ended", 481, "us")


def test_digits_by_info_and_by_rtp(world: World, alice: Listening, bob: Listening) -> None:
    connect(world, alice, bob)
    alice.call.press("1#", info=True)
    alice.call.press("42")
    world.run()
    assert bob.heard == [("digit", "1"), ("digit", "#")]
    assert alice.ear.pressed == "42"


def test_options_and_message_inside_of_a_call(world: World, alice: Listening, bob: Listening) -> None:
    connect(world, alice, bob)
    dialog = alice.call.dialog
    assert dialog is not None
    for request in (
        dialog.request("OPTIONS"),
        dialog.request("MESSAGE", headers=[("Content-Type", "text/plain")], body=b"hello"),
        dialog.request("PUBLISH"),
        dialog.request("UPDATE"),
    ):
        alice.agent.layer.request(request, alice.call.flow(), None)
    world.run()
    assert world.said()[4:] == ["200 OPTIONS", "200 MESSAGE", "501 PUBLISH", "200 UPDATE"]
    assert bob.heard == [("message", "alice", "hello")]


def test_a_request_with_an_old_sequence_number_is_refused(world: World, alice: Listening, bob: Listening) -> None:
    connect(world, alice, bob)
    dialog = alice.call.dialog
    assert dialog is not None
    old = dialog.local_seq
    alice.agent.layer.request(dialog.request("OPTIONS"), alice.call.flow(), None)
    world.run()
    dialog.local_seq = old - 1
    alice.agent.layer.request(dialog.request("BYE"), alice.call.flow(), None)
    world.run()
    assert world.said()[-1] == "500 BYE"
    assert bob.call.state == "up"


class Office:
    """The other side of a transfer: takes the INVITE, accepts REFER, and tells how it went."""

    def __init__(self, world: World) -> None:
        self.layer = world.host(5080, self)
        self.dialog: Dialog | None = None

    def on_request(self, tx: ServerTransaction, request: Request) -> None:
        if request.method == "INVITE":
            self.dialog = Dialog.uas(request, "office", contact="<sip:10.0.0.1:5080>")
            headers = [("Contact", "<sip:10.0.0.1:5080>"), ("Content-Type", "application/sdp")]
            self.layer.respond(tx, build.response(request, 200, to_tag="office", headers=headers, body=request.body))
        elif request.method == "REFER":
            assert self.dialog is not None
            assert request.first("refer-to") == "<sip:103@10.0.0.1>"
            self.layer.respond(tx, build.response(request, 202))
            for status in ("100 Trying", "200 OK"):
                rows = [("Event", "refer"), ("Subscription-State", "active"), ("Content-Type", "message/sipfrag")]
                notify = self.dialog.request("NOTIFY", headers=rows, body=f"SIP/2.0 {status}\r\n".encode())
                self.layer.request(notify, tx.flow, None)
        else:
            self.layer.respond(tx, build.response(request, 200))

    def on_stray_ack(self, request: Request, flow: object) -> None: ...


def test_a_blind_transfer_tells_how_it_goes(world: World, alice: Listening) -> None:
    Office(world)
    alice.dial("sip:102@10.0.0.1:5080")
    world.run()
    alice.call.transfer("103")
    world.run()
    assert alice.heard[1:] == [("transfer", 202), ("transfer", 100), ("transfer", 200)]
    assert "481 NOTIFY" not in world.said()


class Fork:
    """A proxy that lets two phones answer one INVITE."""

    def __init__(self, world: World) -> None:
        self.layer = world.host(5080, self)
        self.byes: list[str] = []
        self.acks: list[str] = []

    def on_request(self, tx: ServerTransaction, request: Request) -> None:
        if request.method == "INVITE":
            rows = [("Contact", "<sip:10.0.0.1:5080>"), ("Content-Type", "application/sdp")]
            for tag in ("first", "second"):
                response = build.response(request, 200, to_tag=tag, headers=rows, body=request.body)
                tx.flow.send(response.to_bytes())
        else:
            self.byes.append(request.to_tag or "")
            self.layer.respond(tx, build.response(request, 200))

    def on_stray_ack(self, request: Request, flow: object) -> None:
        self.acks.append(request.to_tag or "")


def test_a_second_200_of_a_forked_invite_gets_ack_and_bye(world: World, alice: Listening) -> None:
    fork = Fork(world)
    alice.dial("sip:102@10.0.0.1:5080")
    world.run()
    assert fork.acks == ["first", "second"]
    assert fork.byes == ["second"]
    assert alice.heard == [("answered",)]
    assert alice.call.state == "up"


def test_a_phone_that_moves_is_found_by_either_re_invite(world: World, alice: Listening, bob: Listening) -> None:
    connect(world, alice, bob)
    for moves, asks in ((bob, alice), (alice, bob)):
        moves.agent.contact_user = "moved"
        asks.call.hold()
        world.run()
        assert asks.call.dialog is not None
        assert asks.call.dialog.remote_target.startswith("sip:moved@")
    bob.agent.contact_user = "again"
    bob.call.dialog.contact = bob.agent.contact(world.flow(5070, 5060))  # type: ignore[union-attr]  # it is up
    bob.call.resume()
    world.run()
    assert alice.call.dialog is not None
    assert alice.call.dialog.remote_target.startswith("sip:again@")
