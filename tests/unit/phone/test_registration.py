"""A phone and its registrar: challenges, refreshes, refusals, silence."""

from __future__ import annotations

import pytest

from pbxcore.sip import build
from pbxcore.sip.digest import Authenticator, Granted, Secret
from pbxcore.sip.message import Request, Response
from pbxcore.sip.transaction import ServerTransaction
from tests.unit.phone.world import Listening, World

REALM = "10.0.0.1"
SECRET = Secret.from_password("101", REALM, "correct horse")


class Registrar:
    """Challenges everything; keeps the requests it granted. `status` answers with something else instead."""

    def __init__(self, world: World) -> None:
        self.layer = world.host(5060, self)
        self.authenticator = Authenticator(b"k" * 32, world.clock)
        self.granted: list[Request] = []
        self.status = 200
        self.most = 3600
        self.challenges = 0
        self.always_stale = False

    def on_request(self, tx: ServerTransaction, request: Request) -> None:
        verdict = self.authenticator.check(request, "10.0.0.1", REALM, {"101": SECRET}.get)
        if not isinstance(verdict, Granted) or self.always_stale:
            self.challenges += 1
            stale = self.always_stale or getattr(verdict, "stale", False)
            rows = self.authenticator.challenge(request, "10.0.0.1", REALM, stale=stale)
            self.layer.respond(tx, build.response(request, 401, to_tag="r", headers=rows))
            return
        self.granted.append(request)
        if self.status != 200:
            headers = [("Min-Expires", "900")] if self.status == 423 else []
            self.layer.respond(tx, build.response(request, self.status, to_tag="r", headers=headers))
            if self.status == 423:
                self.status = 200
            return
        seconds = min(request.expires or 0, self.most)
        other = "<sip:101@192.0.2.9:5066>;expires=17"
        contact = f"{request.first('contact')}".partition(";expires")[0]
        rows = [("Contact", other), *([("Contact", f"{contact};expires={seconds}")] if seconds else [])]
        self.layer.respond(tx, build.response(request, 200, to_tag="r", headers=rows))

    def on_stray_ack(self, request: Request, flow: object) -> None: ...


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def registrar(world: World) -> Registrar:
    return Registrar(world)


@pytest.fixture
def phone(world: World) -> Listening:
    return world.phone("101", 5070, registrar=5060, password="correct horse")


def test_a_challenge_is_answered_and_the_binding_kept(world: World, registrar: Registrar, phone: Listening) -> None:
    phone.agent.register(120)
    world.run()
    assert phone.heard == [("registered", 120.0)]
    assert world.said() == ["REGISTER", "401 REGISTER", "REGISTER", "200 REGISTER"]
    assert registrar.granted[0].uri == "sip:10.0.0.1"
    world.run(1000)
    assert len(registrar.granted) == 1 + 1000 // 90
    numbers = [request.cseq.number for request in registrar.granted]
    assert numbers == sorted(set(numbers))
    assert len({request.call_id for request in registrar.granted}) == 1


def test_the_registrar_s_shorter_time_is_what_counts(world: World, registrar: Registrar, phone: Listening) -> None:
    registrar.most = 60
    phone.agent.register(3600)
    world.run(31)
    assert phone.heard == [("registered", 60.0)] * 2


def test_423_asks_for_as_long_as_the_registrar_wants(world: World, registrar: Registrar, phone: Listening) -> None:
    registrar.status = 423
    phone.agent.register(10)
    world.run()
    assert phone.heard == [("registered", 900.0)]


def test_a_wrong_password_is_told_once_and_not_tried_for_ever(world: World, registrar: Registrar) -> None:
    phone = world.phone("101", 5071, registrar=5060, password="battery staple")
    phone.agent.register()
    world.run(600)
    assert phone.heard == [("refused", 401)]
    assert registrar.challenges == 2


def test_a_registrar_that_finds_every_nonce_stale_is_given_up(world: World, registrar: Registrar) -> None:
    registrar.always_stale = True
    phone = world.phone("101", 5071, registrar=5060, password="correct horse")
    phone.agent.register()
    world.run(600)
    assert phone.heard == [("refused", 401)]
    assert registrar.challenges == 3


def test_silence_is_met_with_patience(world: World, registrar: Registrar, phone: Listening) -> None:
    world.lose = lambda message: True
    phone.agent.register()
    world.run(80)
    assert phone.heard == [("refused", 408), ("refused", 408)]
    world.lose = lambda message: False
    world.run(10)
    assert phone.heard[-1][0] == "registered"


def test_a_refusal_for_good_is_not_tried_again(world: World, registrar: Registrar, phone: Listening) -> None:
    registrar.status = 403
    phone.agent.register()
    world.run(600)
    assert phone.heard == [("refused", 403)]
    assert len(registrar.granted) == 1


def test_unregistering_takes_the_binding_back(world: World, registrar: Registrar, phone: Listening) -> None:
    phone.agent.register()
    world.run()
    phone.agent.unregister()
    world.run(2000)
    assert phone.heard == [("registered", 600.0), ("registered", 0.0)]
    assert registrar.granted[-1].expires == 0
    assert len(registrar.granted) == 2


def test_unregistering_while_the_first_answer_is_on_its_way(
    world: World, registrar: Registrar, phone: Listening
) -> None:
    phone.agent.register()
    phone.agent.unregister()
    world.run(2000)
    assert registrar.granted[-1].expires == 0
    assert phone.heard[-1] == ("registered", 0.0)


def test_a_phone_that_was_closed_refreshes_nothing(world: World, registrar: Registrar, phone: Listening) -> None:
    phone.agent.register(120)
    world.run()
    phone.agent.close()
    world.run(1000)
    assert len(registrar.granted) == 1


def test_a_call_is_challenged_too(world: World, registrar: Registrar, phone: Listening) -> None:
    registrar.status = 486
    phone.dial("102")
    world.run()
    assert phone.heard == [("ended", 486, "them")]
    assert world.said()[:4] == ["INVITE", "401 INVITE", "ACK", "INVITE"]
    assert registrar.granted[0].uri == "sip:102@10.0.0.1"


def test_a_call_that_is_cancelled_while_it_is_challenged(world: World, registrar: Registrar, phone: Listening) -> None:
    phone.dial("102")
    phone.call.hang_up()
    world.run()
    assert phone.heard == [("ended", 401, "us")]
    assert registrar.granted == []


def test_a_message_is_challenged_too(world: World, registrar: Registrar, phone: Listening) -> None:
    done: list[int] = []
    phone.agent.message("102", "hello", done.append)
    world.run()
    assert done == [200]
    assert registrar.granted[0].body == b"hello"


def test_two_phones_on_one_layer_are_told_apart(world: World) -> None:
    one, two = world.phone("one", 5070), world.phone("two", 5070)
    caller = world.phone("caller", 5071)
    caller.dial("sip:two@10.0.0.1:5070")
    world.run()
    assert one.heard == []
    assert two.heard == [("incoming", "caller")]
    caller.dial("sip:three@10.0.0.1:5070")
    world.run()
    assert caller.heard[-1] == ("ended", 404, "them")
    with pytest.raises(ValueError, match="two"):
        world.phone("two", 5070)


def request_to_bob(method: str) -> Request:
    rows = [("From", "<sip:alice@10.0.0.1>;tag=a"), ("To", "<sip:bob@10.0.0.1>"), ("Call-ID", "c")]
    return build.request(method, "sip:bob@10.0.0.1:5070", [*rows, ("CSeq", f"1 {method}")])


@pytest.mark.parametrize(
    ("method", "status"), [("OPTIONS", 200), ("INFO", 481), ("PUBLISH", 405), ("BYE", 481), ("MESSAGE", 200)]
)
def test_requests_outside_of_dialogs(world: World, method: str, status: int) -> None:
    phone, peer = world.phone("bob", 5070), world.phone("alice", 5071)
    peer.agent.layer.request(request_to_bob(method), world.flow(5071, 5070), None)
    world.run()
    assert world.said() == [method, f"{status} {method}"]
    assert phone.heard == ([("message", "alice", "")] if method == "MESSAGE" else [])


def test_an_extension_that_is_required_and_unknown_is_420(world: World) -> None:
    world.phone("bob", 5070)
    peer = world.phone("alice", 5071)
    answers: list[Response] = []

    class Owner:
        def on_response(self, tx: object, response: Response) -> None:
            answers.append(response)

    request = request_to_bob("INVITE")
    request.add("Require", "100rel")
    peer.agent.layer.request(request, world.flow(5071, 5070), Owner())  # type: ignore[arg-type]  # a part of one
    world.run()
    assert [(answer.status, answer.first("unsupported")) for answer in answers] == [(420, "100rel")]
