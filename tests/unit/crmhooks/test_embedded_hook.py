"""What the embedded CRM itself does with a call, and what it remembers of that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle

import pytest

from crmhooks.embedded import hook
from crmhooks.embedded.hook import Own, decide
from pbxcore.control import Card, ContactEntry
from pbxcore.hooks import Direction, IncomingCall, Ring

ANNA = ContactEntry("a", "Anna", ("+12025550101",), tags=("gold",), instructions="Be kind")
BORIS = ContactEntry("b", "Boris", ("+12025550101",))
DIRECTIONS: tuple[Direction, ...] = ("inbound", "outbound", "internal")


def call(direction: Direction = "inbound") -> IncomingCall:
    return IncomingCall("c1", "+12025550101", "+12025550100", direction, 0.0)


def card(*contacts: ContactEntry, instructions: str = "") -> Card:
    return Card("c1", "+12025550101", contacts, instructions)


def never(_: IncomingCall) -> bool:
    return False


def test_it_says_of_a_number_what_is_decided_anew_whatever_was_said_before() -> None:
    own = Own(never)
    cards = [
        card(), card(ANNA), card(ANNA, BORIS), card(BORIS), card(ANNA, instructions="Hurry"),
        card(instructions="Hurry"), card(replace(ANNA, name="Anne")), card(replace(ANNA, owner="101")),
    ]  # fmt: skip
    for one in cards * 2 + cards[::-1]:
        for direction in DIRECTIONS:
            assert own.decide(call(direction), one) == decide(call(direction), one, owner_first=False)
            assert own.decide(call(direction), one) == decide(call(direction), one, owner_first=False)


def test_the_decision_is_the_same_object_while_the_same_people_have_the_number() -> None:
    own, known = Own(never), card(ANNA)
    first = own.decide(call(), known)
    assert first is not None
    assert own.decide(call(), replace(known, call_id="c2")) is first
    assert own.decide(call(), card(replace(ANNA, name="Anne"))) is not first


def test_whether_an_owner_is_rung_is_asked_in_every_call() -> None:
    answers: Iterator[bool] = cycle([True, False])
    own, known = Own(lambda _: next(answers)), card(replace(ANNA, owner="101"))
    assert [isinstance(own.decide(call(), known), Ring) for _ in range(4)] == [True, False, True, False]


def test_no_more_numbers_are_remembered_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hook, "MOST_KEPT", 3)
    own = Own(never)
    for number in range(10):
        own.decide(call(), replace(card(ANNA), number=f"+1202555{number:04}"))
        assert len(own._kept) <= 3
