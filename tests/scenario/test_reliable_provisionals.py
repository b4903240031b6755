"""Provisionals that arrive for certain (RFC 3262) on either leg alone, and the offers and answers that they carry."""

from __future__ import annotations

import pytest

from pbxcore import profiles
from pbxcore.hooks import Ring
from pbxcore.sip import build
from pbxcore.sip.dialog import Dialog
from tests.scenario.modern import ALLOW, Modern, modern_carrier, modern_phone
from tests.scenario.office import EXCHANGE, Office
from tests.scenario.party import Talk
from tests.scenario.test_makes_of_phone import with_profile
from tests.scenario.world import Network

KNOWS = [("Supported", "100rel"), ALLOW]
DEMANDS = [("Require", "100rel"), ALLOW]


def answered(office: Office, caller: Modern, talk: Talk, callee: Modern) -> None:
    assert office.world.until(lambda: talk.state == "up" and callee.last.acked), office.world.ladder()
    office.world.run(0.5)


def finish(office: Office, caller: Modern, talk: Talk) -> None:
    caller.bye(talk)
    office.assert_nothing_left()


def trunk_profile(office: Office, **switches: object) -> None:
    office.trunk.profile = profiles.trunk("generic").model_copy(update=switches)


def test_the_caller_demands_it_and_the_phone_does_not_know_it() -> None:
    office = Office()
    desk = office.phone("101")
    desk.manners.answer_after = 1.0
    caller = modern_carrier(office)
    talk = caller.call("+15550100", EXCHANGE, headers=DEMANDS)
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    ringing = [r for r in talk.responses if r.status == 180]
    assert len(ringing) == 1
    assert ringing[0].require == ("100rel",)
    assert caller.said("PRACK") == [200]
    finish(office, caller, talk)


def test_the_phone_does_it_and_the_caller_does_not_know_it() -> None:
    office = Office()
    desk = modern_phone(office, "101")
    desk.ways.reliable = True
    desk.ways.answer_sdp = False
    caller = office.carrier()
    talk = caller.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    assert desk.got("INVITE")[0].supported[:2] == ("100rel", "timer")
    assert len(desk.pracked) == 1
    early = next(r for r in talk.responses if r.status == 183)
    assert "rseq" not in early
    assert early.body
    assert talk.responses[-1].body == early.body, "what came unreliably is said again in the 200"
    caller.bye(talk)
    office.assert_nothing_left()


def test_a_caller_who_only_knows_it_acknowledges_descriptions_alone() -> None:
    """Plain ringing needs no certainty; it costs two messages."""
    office = Office()
    desk = office.phone("101")
    caller = modern_carrier(office)
    talk = caller.call("+15550100", EXCHANGE, headers=KNOWS)
    assert office.world.until(lambda: talk.state == "up")
    assert caller.rseqs == []
    assert not [r for r in talk.responses if r.status < 200 and "rseq" in r]
    finish(office, caller, talk)
    del desk


def test_early_media_comes_once_and_the_200_does_not_repeat_it() -> None:
    office = Office()
    desk = modern_phone(office, "101")
    desk.ways.reliable = True
    desk.ways.answer_sdp = False
    caller = modern_carrier(office)
    talk = caller.call("+15550100", EXCHANGE, headers=KNOWS)
    answered(office, caller, talk, desk)
    [early] = [r for r in talk.responses if 100 < r.status < 200]
    assert (early.status, early.require) == (183, ("100rel",))
    assert early.body
    assert talk.responses[-1].body == b"", "offer and answer are over (RFC 6337 section 2.2)"
    assert caller.said("PRACK") == [200]
    finish(office, caller, talk)


def test_a_provisional_is_sent_again_until_its_prack_comes() -> None:
    office = Office()
    desk = modern_phone(office, "101")
    desk.ways.reliable = True
    desk.manners.answer_after = None
    caller = modern_carrier(office)
    caller.ways.pracks = False
    talk = caller.call("+15550100", EXCHANGE, headers=DEMANDS)
    office.world.run(4.0)
    seen = [r for r in caller.answers if r.status == 183]
    assert len(seen) == 4, office.world.ladder()   # at 0, 0.5, 1.5 and 3.5 seconds
    assert len({r.first("rseq") for r in seen}) == 1
    caller.ways.pracks = True
    office.world.run(6.0)
    sent = sum(data.startswith(b"SIP/2.0 183") for _, _, to, data in office.world.wire if to == caller.address)
    office.world.run(30.0)
    assert sent == sum(data.startswith(b"SIP/2.0 183") for _, _, to, data in office.world.wire if to == caller.address)
    assert caller.said("PRACK") == [200]
    caller.cancel(talk)
    office.world.run(1.0)
    assert talk.status == 487
    office.assert_nothing_left()


def test_no_prack_ever_comes() -> None:
    """504 after 64*T1: the caller is told of a call that he cannot follow (section 3)."""
    office = Office()
    desk = modern_phone(office, "101")
    desk.ways.reliable = True
    desk.manners.answer_after = None
    caller = modern_carrier(office)
    caller.ways.pracks = False
    talk = caller.call("+15550100", EXCHANGE, headers=DEMANDS)
    office.world.run(31.0)
    assert talk.status is None
    office.world.run(3.0)
    assert talk.status == 504, office.world.ladder()
    office.assert_nothing_left()
    assert desk.last.state == "cancelled"
    assert office.records()[0].status == 504


def test_the_phone_answers_while_the_description_has_not_arrived() -> None:
    """No 2xx before the PRACK of an answer (section 3): the phone waits with an open line, and the caller misses
    nothing."""
    office = Office()
    desk = modern_phone(office, "101")
    desk.ways.reliable = True
    caller = modern_carrier(office)
    caller.ways.pracks = False
    talk = caller.call("+15550100", EXCHANGE, headers=DEMANDS)
    office.world.run(3.0)
    assert desk.last.state == "up", office.world.ladder()
    assert talk.status is None
    caller.ways.pracks = True
    office.world.run(6.0)
    assert talk.status == 200, office.world.ladder()
    finish(office, caller, talk)


@pytest.mark.parametrize("how", ["cancels", "is silent"])
def test_answered_and_given_up_before_the_description_arrives(how: str) -> None:
    office = Office()
    desk = modern_phone(office, "101")
    desk.ways.reliable = True
    caller = modern_carrier(office)
    caller.ways.pracks = False
    talk = caller.call("+15550100", EXCHANGE, headers=DEMANDS)
    office.world.run(2.0)
    assert desk.last.state == "up"
    if how == "cancels":
        caller.cancel(talk)
    office.world.run(35.0)
    assert talk.status == (487 if how == "cancels" else 504), office.world.ladder()
    assert desk.last.state == "ended"
    office.assert_nothing_left()


def test_one_provisional_does_not_overtake_another() -> None:
    """The second waits for the PRACK of the first, however quickly the phone goes on."""
    office = Office(network=Network(delay=0.05, jitter=0.2), seed=4)
    desk = modern_phone(office, "101")
    desk.ways.reliable = True
    desk.ways.statuses = (180, 183, 182)
    desk.ways.sdp_in = 1
    desk.manners.answer_after = 6.0
    caller = modern_carrier(office)
    talk = caller.call("+15550100", EXCHANGE, headers=DEMANDS)
    office.world.run(9.0)
    assert talk.status == 200, office.world.ladder()
    assert caller.rseqs == sorted(caller.rseqs)
    assert len(caller.rseqs) == 3
    assert [s for s in talk.provisionals if s != 100] == [180, 183, 182]
    finish(office, caller, talk)


@pytest.mark.parametrize("seed", range(1, 9))
def test_loss_and_disorder_on_both_legs(seed: int) -> None:
    office = Office(seed=seed)
    desk = modern_phone(office, "101")
    desk.ways.reliable = True
    desk.ways.statuses = (180, 183)
    desk.ways.sdp_in = 1
    desk.ways.answer_sdp = False
    desk.manners.answer_after = 3.0
    office.world.network = Network(loss=0.2, doubled=0.2, delay=0.02, jitter=0.3)
    caller = modern_carrier(office)
    talk = caller.call("+15550100", EXCHANGE, headers=DEMANDS)
    assert office.world.until(lambda: talk.state == "up", 40), office.world.ladder()
    assert len(set(caller.rseqs)) == len(caller.rseqs) == 2
    assert caller.rseqs[1] == caller.rseqs[0] + 1
    assert len(desk.pracked) == 2
    office.world.network = Network()
    office.world.run(5.0)
    finish(office, caller, talk)


def test_a_provisional_ahead_of_its_time_is_not_acknowledged() -> None:
    """The one before it is lost: the phone will send both again, in their order (section 4)."""
    office = Office()
    desk = modern_phone(office, "101")
    desk.ways.reliable = True
    desk.manners.answer_after = None
    caller = office.carrier()
    talk = caller.call("+15550100", EXCHANGE)
    office.world.run(0.5)
    assert [p.first("rack") for p in desk.pracked] == ["100 1 INVITE"]
    server = desk.last.server
    assert server is not None
    assert desk.last.dialog is not None
    early = build.response(server.request, 180, to_tag=desk.last.dialog.local_tag,
                           headers=[("Require", "100rel"), ("RSeq", "103"), ("Contact", desk.contact)])  # fmt: skip
    desk.layer.respond(server, early)
    office.world.run(0.5)
    assert len(desk.got("PRACK")) == 1, office.world.ladder()
    assert 180 not in talk.provisionals
    caller.cancel(talk)
    office.assert_nothing_left()


def test_a_prack_that_fits_nothing() -> None:
    office = Office()
    desk = modern_phone(office, "101")
    desk.ways.reliable = True
    desk.manners.answer_after = None
    caller = modern_carrier(office)
    talk = caller.call("+15550100", EXCHANGE, headers=DEMANDS)
    office.world.run(1.0)
    caller.send(talk, "PRACK", headers=[("RAck", "1 1 INVITE")])
    caller.send(talk, "PRACK", headers=[("RAck", "nonsense")])
    caller.send(talk, "PRACK")
    office.world.run(1.0)
    assert caller.said("PRACK") == [200, 481, 481, 481]
    caller.cancel(talk)
    office.assert_nothing_left()


# ---- offers in provisionals


def test_an_offer_of_the_phone_is_answered_in_prack() -> None:
    """INVITE without SDP: the offer comes in the reliable 183, its answer goes in the PRACK, on both legs."""
    office = Office()
    desk = modern_phone(office, "101")
    desk.ways.reliable = True
    desk.ways.answer_sdp = False
    caller = modern_carrier(office)
    talk = caller.call("+15550100", EXCHANGE, headers=KNOWS, late_offer=True)
    answered(office, caller, talk, desk)
    assert not desk.got("INVITE")[0].body
    [prack] = desk.pracked
    assert b"m=audio 2000" in prack.body, "the relay's port"
    assert talk.responses[-1].status == 200
    assert talk.responses[-1].body == b""
    finish(office, caller, talk)


def test_no_offer_is_asked_for_that_could_not_be_passed_on() -> None:
    """The caller neither offers nor knows PRACK: the phone is not told that we do, and offers in its 200."""
    office = Office()
    desk = modern_phone(office, "101")
    caller = office.carrier()
    talk = caller.call("+15550100", EXCHANGE, late_offer=True)
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked), office.world.ladder()
    assert "100rel" not in desk.got("INVITE")[0].supported
    caller.bye(talk)
    office.assert_nothing_left()


def test_the_phone_that_offered_gives_way_to_another() -> None:
    """The caller has answered the first phone's offer; the next one is offered what he said, and he what it says."""
    office = Office()
    one, two = modern_phone(office, "101"), modern_phone(office, "102")
    office.hooks.decide = lambda call: Ring(("101", "102"), strategy="in_order", timeout=3.0)
    one.ways.reliable = True
    one.manners.answer_after = None
    caller = modern_carrier(office)
    talk = caller.call("+15550100", EXCHANGE, headers=KNOWS, late_offer=True)
    assert office.world.until(lambda: talk.state == "up" and two.last.acked), office.world.ladder()
    assert two.got("INVITE")[0].body, "what the caller has answered is his offer from now on"
    office.world.run(3.0)
    assert len(caller.got("UPDATE")) == 1, "he is told of the phone that has answered"
    finish(office, caller, talk)


def test_two_phones_with_early_media_and_the_second_answers() -> None:
    office = Office()
    one, two = modern_phone(office, "101"), modern_phone(office, "102")
    office.hooks.decide = lambda call: Ring(("101", "102"))
    one.ways.reliable = two.ways.reliable = True
    one.manners.answer_after = None
    two.manners.ring_after = 0.2
    two.manners.answer_after = 0.5
    caller = modern_carrier(office)
    talk = caller.call("+15550100", EXCHANGE, headers=KNOWS)
    answered(office, caller, talk, two)
    office.world.run(3.0)
    assert caller.rseqs
    assert len(caller.rseqs) == 1
    assert one.last.state == "cancelled"
    assert len(caller.got("UPDATE")) == 1, office.world.ladder()
    finish(office, caller, talk)


def test_a_new_offer_in_prack_is_answered() -> None:
    """The caller offers anew in his PRACK: the phone takes UPDATE, so it answers itself."""
    office = Office()
    desk = modern_phone(office, "101")
    desk.ways.reliable = True
    desk.manners.answer_after = 3.0
    caller = modern_carrier(office)
    caller.ways.pracks = False
    talk = caller.call("+15550100", EXCHANGE, headers=DEMANDS)
    office.world.run(0.2)
    early = next(r for r in caller.answers if r.status == 183)
    assert talk.invite is not None
    talk.dialog = caller.early[early.call_id] = Dialog.uac(talk.invite, early)
    rack = f"{early.first('rseq')} {early.cseq}"
    caller.send(talk, "PRACK", caller.sdp(port=44444), [("RAck", rack)])
    office.world.run(1.0)
    answer = next(r for r in caller.answers if r.cseq.method == "PRACK")
    assert answer.status == 200
    assert answer.body, office.world.ladder()
    assert len(desk.got("UPDATE")) == 1
    assert office.world.until(lambda: talk.state == "up")
    finish(office, caller, talk)


# ---- by profile


def test_a_phone_that_is_spared_it() -> None:
    office = Office()
    with_profile(office, reliable="avoid", session_timer="avoid")
    desk = modern_phone(office, "101")
    caller = office.carrier()
    talk = caller.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up")
    invite = desk.got("INVITE")[0]
    assert not {"100rel", "timer"} & set(invite.supported)
    assert "session-expires" not in invite
    caller.bye(talk)
    office.assert_nothing_left()


def test_a_phone_of_which_it_is_demanded() -> None:
    office = Office()
    with_profile(office, reliable="demand")
    desk = modern_phone(office, "101")
    caller = office.carrier()
    talk = caller.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up")
    assert desk.got("INVITE")[0].require == ("100rel",)
    caller.bye(talk)
    office.assert_nothing_left()


@pytest.mark.parametrize(
    ("terms", "headers", "status", "said"),
    [
        ("avoid", DEMANDS, 420, ("unsupported", "100rel")),
        ("demand", [], 421, ("require", "100rel")),
        ("demand", KNOWS, 200, None),
        ("avoid", KNOWS, 200, None),
    ],
)
def test_what_a_carrier_is_told_whose_terms_are_not_met(
    terms: str, headers: list[tuple[str, str]], status: int, said: tuple[str, str] | None
) -> None:
    office = Office()
    trunk_profile(office, reliable=terms)
    desk = office.phone("101")
    caller = modern_carrier(office)
    talk = caller.call("+15550100", EXCHANGE, headers=headers)
    office.world.run(2.0)
    assert talk.status == status, office.world.ladder()
    if said is not None:
        assert talk.responses[-1].first(said[0]) == said[1]
    expected = {"100rel"} if status == 200 and terms == "demand" else set()
    rang = {r.first("require") for r in talk.responses if r.status == 180} - {None}
    assert rang == expected
    caller.bye(talk)
    office.assert_nothing_left()
    del desk


def test_a_carrier_that_lacks_what_we_demand_is_passed_over() -> None:
    """420 to an extension of ours is no word to the caller: he could mend nothing."""
    office = Office()
    trunk_profile(office, reliable="demand")
    carrier = office.carrier()
    carrier.manners.refuse_with = 420
    carrier.manners.refuse_headers = [("Unsupported", "100rel")]
    desk = office.phone("101")
    talk = desk.call("915551234", EXCHANGE)
    office.world.run(2.0)
    assert carrier.seen[0].require == ("100rel",)
    assert talk.status == 500, office.world.ladder()
    office.assert_nothing_left()


def test_the_phone_leaves_allow_out_of_its_200() -> None:
    """What it said with its ringing still holds."""
    office = Office()
    desk = modern_phone(office, "101")
    desk.ways.reliable = True
    desk.manners.answer_after = 1.0
    caller = modern_carrier(office)
    talk = caller.call("+15550100", EXCHANGE, headers=KNOWS)
    office.world.run(0.5)
    desk.ways.allows = None
    answered(office, caller, talk, desk)
    caller.send(talk, "UPDATE", caller.sdp())
    office.world.run(1.0)
    assert len(desk.got("UPDATE")) == 1, office.world.ladder()
    finish(office, caller, talk)


def test_a_flood_of_forks_and_of_numbers() -> None:
    """What one INVITE can make us keep is bounded, whatever tags and numbers come."""
    office = Office()
    desk = modern_phone(office, "101")
    desk.manners.ring_after = desk.manners.answer_after = None
    caller = office.carrier()
    talk = caller.call("+15550100", EXCHANGE)
    office.world.run(0.1)
    server = desk.last.server
    assert server is not None
    for n in range(200):
        rseq = ["1", "0", "-1", "4294967296", "x"][n % 5]
        rows = [("Require", "100rel"), ("RSeq", rseq), ("Contact", desk.contact)]
        desk.layer.respond(server, build.response(server.request, 180, to_tag=f"fork{n}", headers=rows))
    office.world.run(1.0)
    assert 0 < len(desk.got("PRACK")) <= 16, len(desk.got("PRACK"))
    caller.cancel(talk)
    office.assert_nothing_left()
