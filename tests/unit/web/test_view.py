"""Calls, numbers and times as people read them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pbxcore.control import ContactEntry, ExtensionState
from pbxcore.hooks import CallSnapshot, CallState, LegSnapshot, Ring
from web.decisions import in_words
from web.view import (
    Names,
    dialable,
    duration,
    exact_moment,
    initials,
    iso_moment,
    milliseconds,
    moment,
    other_number,
    own_leg,
    parties,
    phase,
    pretty_number,
)
from web.words import Words

NOON = 1_700_049_600.0  # 15 November 2023, 12:00 UTC

INBOUND = CallSnapshot(
    "c1",
    CallState.RINGING,
    "inbound",
    "+14155550100",
    "+15550199",
    NOON,
    trunk="city",
    legs=(
        LegSnapshot("trunk:city", "a", "calling", "+14155550100", NOON),
        LegSnapshot("101", "b", "ringing", "101", NOON),
        LegSnapshot("102", "b", "ended", "102", NOON),
    ),
)
OUTBOUND = CallSnapshot(
    "c2",
    CallState.ANSWERED,
    "outbound",
    "101",
    "+14155550100",
    NOON,
    extension="101",
    answered_by="trunk:city",
    legs=(
        LegSnapshot("101", "a", "answered", "101", NOON),
        LegSnapshot("trunk:city", "b", "answered", "+14155550100", NOON),
    ),
)


def test_a_call_belongs_to_everybody_who_has_or_had_a_leg_of_it() -> None:
    assert parties(INBOUND) == {"trunk:city", "101", "102"}
    assert own_leg(INBOUND, "101") is not None
    assert own_leg(INBOUND, "102") is None
    assert own_leg(INBOUND, None) is None


def test_a_caller_that_calls_himself_101_owns_nothing() -> None:
    spoofed = replace(INBOUND, caller="101", caller_name="101", legs=INBOUND.legs[:1])
    assert "101" not in parties(spoofed)


def test_the_other_number_is_the_one_that_this_extension_speaks_to() -> None:
    assert other_number(INBOUND, "101") == "+14155550100"
    assert other_number(OUTBOUND, "101") == "+14155550100"
    assert other_number(OUTBOUND, None) == "+14155550100"
    inside = replace(
        OUTBOUND,
        direction="internal",
        called="102",
        caller="101",
        legs=(OUTBOUND.legs[0], LegSnapshot("102", "b", "answered", "102", NOON)),
    )
    assert other_number(inside, "102") == "101"
    assert other_number(inside, "101") == "102"


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (CallState.ARRIVED, "setup"),
        (CallState.ROUTING, "setup"),
        (CallState.DIALING, "setup"),
        (CallState.RINGING, "ringing"),
        (CallState.ANSWERED, "talking"),
        (CallState.HELD, "held"),
        (CallState.RELEASING, "ended"),
        (CallState.ENDED, "ended"),
    ],
)
def test_every_state_has_a_word(state: CallState, word: str) -> None:
    assert phase(replace(INBOUND, state=state)) == word


def test_rows_name_both_sides() -> None:
    people = {"+14155550100": (ContactEntry("1", "Elena"),), "+1999": (ContactEntry("1", "A"), ContactEntry("2", "B"))}
    names = Names([ExtensionState("101", "Anna", "third-party", (), False)], lambda number: people.get(number, ()))
    row = names.row(INBOUND)
    assert (row.caller.name, row.caller.number, row.with_) == ("Elena", "+14155550100", "Anna (101)")
    assert names.row(replace(INBOUND, display_name="VIP Elena")).caller.name == "VIP Elena"
    assert names.row(replace(INBOUND, caller="+1999")).caller.name == "A +1"
    out = names.row(OUTBOUND)
    assert (out.caller.name, out.called.name, out.with_) == ("Anna", "Elena", "city")
    assert names.row(replace(INBOUND, caller="", caller_name=None)).caller.first == ""


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("+14155550100", "+1 415-555-0100"),
        ("+74951234567", "+7 495 123-45-67"),
        ("101", "101"),
        ("+1555", "+1 555"),
        ("+", "+"),
        ("anonymous", "anonymous"),
        ("+<script>", "+<script>"),
        ("+1415555010A", "+1415555010A"),
    ],
)
def test_numbers_are_grouped_and_never_changed(number: str, shown: str) -> None:
    assert pretty_number(number) == shown


@pytest.mark.parametrize(
    ("number", "can"),
    [("+14155550100", True), ("101", True), ("", False), ("+", False), ("anonymous", False), ("1٣", False)],
)
def test_what_can_be_dialled(number: str, can: bool) -> None:
    assert dialable(number) is can


def test_milliseconds_say_enough() -> None:
    assert [milliseconds(0.04), milliseconds(0.999), milliseconds(12.34)] == ["0.04", "1.00", "12.3"]


@pytest.mark.parametrize(
    ("seconds", "shown"), [(None, "–"), (0, "0:00"), (7.9, "0:07"), (750, "12:30"), (3723, "1:02:03"), (-5, "0:00")]
)
def test_durations(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown


def test_moments_say_as_much_as_is_needed() -> None:
    english, russian = Words("en"), Words("ru")
    assert moment(english, NOON - 3600, NOON, "UTC") == "11:00"
    assert moment(english, NOON - 86400, NOON, "UTC") == "yesterday 12:00"
    assert moment(russian, NOON - 86400, NOON, "UTC") == "вчера 12:00"
    assert moment(english, NOON - 5 * 86400, NOON, "UTC") == "10 Nov, 12:00"
    assert moment(english, NOON - 400 * 86400, NOON, "UTC") == "11 Oct 2022, 12:00"
    assert moment(english, None, NOON, "UTC") == "–"
    assert moment(english, NOON, NOON, "Europe/Moscow") == "15:00"
    assert moment(english, NOON, NOON, "No/Such_Zone") == "12:00"
    assert exact_moment(NOON + 0.25, "UTC") == "12:00:00.250"
    assert exact_moment(None, "UTC") == "–"
    assert iso_moment(NOON, "UTC") == "2023-11-15T12:00:00+00:00"


@pytest.mark.parametrize(
    ("name", "letters"),
    [
        ("Elena Petrova", "EP"),
        ("Dr. Omar Haddad", "DH"),
        ("Reception", "R"),
        ("", "#"),
        ("<b>", "#"),
        ("Иван Петров", "ИП"),
    ],
)
def test_initials(name: str, letters: str) -> None:
    assert initials(name) == letters


def test_decisions_in_words() -> None:
    decision = Ring(targets=("101", "102"), tags=("gold",), otherwise=Ring(targets=("103",)))
    said = in_words(decision)
    assert said.startswith("Ring targets=101, 102")
    assert "tags=gold" in said
    assert "otherwise=(Ring targets=103" in said
