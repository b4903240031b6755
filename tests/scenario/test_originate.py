"""The office orders a call: the phone of the extension first, then whom it is to speak to."""

from __future__ import annotations

import pytest

from pbxcore.call.panel import Control
from pbxcore.control import Invalid
from pbxcore.hooks import CallState, Disposition, Proceed, Reject
from pbxcore.profiles import phone as profile
from tests.scenario.office import Office
from tests.scenario.party import Party


def office_with_phone(**manners: float | int | None) -> tuple[Office, Party, Control]:
    office = Office()
    phone = office.phone("101")
    phone.manners.ring_after, phone.manners.answer_after = 0.01, 0.5
    for name, value in manners.items():
        setattr(phone.manners, name, value)
    return office, phone, Control(office.exchange)


def test_the_phone_first_then_the_client_with_our_number() -> None:
    office, phone, control = office_with_phone()
    carrier = office.carrier()
    carrier.manners.ring_after, carrier.manners.answer_after = 0.1, 1.0
    office.hooks.decide = lambda call: Proceed(display_name="Anna Ivanova")
    call_id = control.originate("101", "915557777")
    office.world.run(0.3)
    [talk] = phone.talks.values()
    assert not carrier.talks, "the client is not called before the phone has answered"
    assert 'From: "Anna Ivanova"' in talk.invite.to_bytes().decode()
    assert not talk.invite.body
    office.world.run(0.6)
    [outside] = carrier.talks.values()
    invite = outside.invite.to_bytes().decode()
    assert "+15550100" in invite
    assert "Anna" not in invite
    assert control.call(call_id).state is CallState.RINGING
    assert office.relay.ringing == {call_id: "a"}
    office.world.run(3.0)
    call = control.call(call_id)
    assert (call.state, call.answered_by, call.direction) == (CallState.ANSWERED, "trunk:carrier", "outbound")
    assert (call.caller, call.called, call.extension) == ("101", "915557777", "101")
    assert [one.call_id for one in office.hooks.answered] == [call_id]
    carrier.bye(outside)
    office.world.run(1.0)
    [record] = office.records()
    assert (record.disposition, record.contact_id) == (Disposition.ANSWERED, None)
    office.assert_nothing_left()


def test_between_two_of_the_office() -> None:
    office, phone, control = office_with_phone()
    other = office.phone("102")
    call_id = control.originate("101", "102")
    office.world.run(3.0)
    assert control.call(call_id).answered_by == "102"
    assert 'From: "Desk 102"' in next(iter(phone.talks.values())).invite.to_bytes().decode()
    phone.bye(next(iter(phone.talks.values())))
    office.world.run(1.0)
    assert [talk.state for talk in other.talks.values()] == ["ended"]
    [record] = office.records()
    assert (record.hung_up_by, record.disposition) == ("caller", Disposition.ANSWERED)
    office.assert_nothing_left()


@pytest.mark.parametrize(("status", "disposition"), [(486, "busy"), (603, "rejected"), (480, "no_answer")])
def test_a_phone_that_refuses_calls_nobody(status: int, disposition: str) -> None:
    office, _, control = office_with_phone(refuse_with=status)
    carrier = office.carrier()
    control.originate("101", "915557777")
    office.world.run(2.0)
    assert not carrier.talks
    assert [record.disposition for record in office.records()] == [disposition]
    office.assert_nothing_left()


def test_a_phone_that_nobody_answers_stops_ringing() -> None:
    office, phone, control = office_with_phone(answer_after=None)
    control.originate("101", "915557777")
    office.world.run(29.0)
    assert len(office.exchange.live) == 1
    office.world.run(3.0)
    assert [record.disposition for record in office.records()] == ["no_answer"]
    assert [talk.state for talk in phone.talks.values()] == ["cancelled"]
    office.assert_nothing_left()


@pytest.mark.parametrize(("status", "disposition"), [(486, "busy"), (404, "failed"), (603, "rejected")])
def test_a_client_who_refuses_is_told_to_the_one_who_called(status: int, disposition: str) -> None:
    office, phone, control = office_with_phone()
    carrier = office.carrier()
    carrier.manners.refuse_with = status
    control.originate("101", "915557777")
    office.world.run(3.0)
    assert [record.disposition for record in office.records()] == [disposition]
    assert [talk.state for talk in phone.talks.values()] == ["ended"]
    office.assert_nothing_left()


def test_he_hangs_up_while_the_client_rings() -> None:
    office, phone, control = office_with_phone()
    carrier = office.carrier()
    carrier.manners.answer_after = None
    control.originate("101", "915557777")
    office.world.run(2.0)
    phone.bye(next(iter(phone.talks.values())))
    office.world.run(1.0)
    assert [talk.state for talk in carrier.talks.values()] == ["cancelled"]
    assert [record.disposition for record in office.records()] == [Disposition.CANCELLED]
    office.assert_nothing_left()


@pytest.mark.parametrize("after", [0.1, 0.505, 0.7, 3.0])
def test_called_off_at_any_moment(after: float) -> None:
    office, phone, control = office_with_phone()
    office.carrier().manners.answer_after = 1.0
    call_id = control.originate("101", "915557777")
    office.world.run(after)
    control.hang_up(call_id)
    office.world.run(1.0)
    assert len(office.records()) == 1
    assert all(talk.state in ("ended", "cancelled") for talk in phone.talks.values()), office.world.ladder()
    office.assert_nothing_left()


def test_all_his_phones_ring_and_one_answers() -> None:
    office, phone, control = office_with_phone()
    second = office.phone("101", 10_201)
    second.manners.answer_after = 5.0
    office.phone("102")
    control.originate("101", "102")
    office.world.run(4.0)
    assert [talk.state for talk in second.talks.values()] == ["cancelled"]
    phone.bye(next(iter(phone.talks.values())))
    office.assert_nothing_left()


def test_two_phones_that_answer_at_once() -> None:
    office, phone, control = office_with_phone()
    second = office.phone("101", 10_201)
    second.manners.ring_after, second.manners.answer_after = 0.01, 0.5
    other = office.phone("102")
    control.originate("101", "102")
    office.world.run(4.0)
    talks = [*phone.talks.values(), *second.talks.values()]
    assert sorted(talk.state for talk in talks) == ["ended", "up"], office.world.ladder()
    other.bye(next(iter(other.talks.values())))
    office.assert_nothing_left()


def test_a_phone_that_cannot_be_understood() -> None:
    office, _, control = office_with_phone(answers_without_sdp=True)
    carrier = office.carrier()
    control.originate("101", "915557777")
    office.world.run(3.0)
    assert not carrier.talks
    office.assert_nothing_left()


def test_what_the_crm_forbids_does_not_ring_his_phone() -> None:
    office, phone, control = office_with_phone()
    office.hooks.decide = lambda call: Reject(603, "Do not call")
    control.originate("101", "915557777")
    office.world.run(2.0)
    assert not phone.talks
    assert [record.disposition for record in office.records()] == ["rejected"]
    office.assert_nothing_left()


@pytest.mark.parametrize(("make", "row"), [("yealink", "answer-after=0"), ("snom", "info=alert-autoanswer"), ("", "")])
def test_his_auto_answer_is_asked_of_a_phone_that_can(make: str, row: str) -> None:
    office, phone, control = office_with_phone()
    if make:
        [binding] = office.exchange.registrar.bindings("101")
        office.exchange.registrar.makes["101", binding.contact] = profile(make)
    control.originate("101", "102")
    office.world.run(0.2)
    text = next(iter(phone.talks.values())).invite.to_bytes().decode()
    assert ("answer-after=0" in text or "alert-autoanswer" in text) is bool(row)
    assert row in text


@pytest.mark.parametrize(
    ("agent", "to", "field"),
    [
        ("999", "102", "from"),
        ("103", "102", "from"),
        ("101", "", "to"),
        ("101", "101", "to"),
        ("101", "5557777", "to"),
        ("101", "1\r\nX: y", "to"),
        ("101", "9" * 65, "to"),
    ],
)
def test_what_cannot_be_called_is_said_at_once(agent: str, to: str, field: str) -> None:
    office, _, control = office_with_phone()
    with pytest.raises(Invalid) as refused:
        control.originate(agent, to)
    assert refused.value.field == field
    assert not office.exchange.live


def test_an_exchange_that_drains_takes_no_orders() -> None:
    office, _, control = office_with_phone()
    office.exchange.draining = True
    with pytest.raises(Invalid):
        control.originate("101", "102")


def test_sent_on_with_the_party_who_answers_once_more() -> None:
    """A transfer of an ordered call works as of any other."""
    office, phone, control = office_with_phone()
    office.phone("102")
    third = office.phone("103")
    call_id = control.originate("101", "102")
    office.world.run(3.0)
    control.transfer(call_id, "103", "101")
    office.world.run(3.0)
    assert [talk.state for talk in phone.talks.values()] == ["ended"], office.world.ladder()
    assert [talk.state for talk in third.talks.values()] == ["up"]
    third.bye(next(iter(third.talks.values())))
    office.assert_nothing_left()
