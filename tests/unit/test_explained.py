"""What was asked for a call, in phrases."""

from __future__ import annotations

from dataclasses import replace

from pbxcore.explained import ENGLISH, decides, from_record, say
from pbxcore.hooks import (
    CallSnapshot,
    CallState,
    Decision,
    Dial,
    Ivr,
    Proceed,
    Queue,
    Redirect,
    Reject,
    Ring,
    Voicemail,
)

CALL = CallSnapshot("c1", CallState.ENDED, "inbound", "+15550100", "+15550199", 0.0)


def test_every_kind_of_decision_has_its_words() -> None:
    decisions: list[Decision] = [
        Proceed(), Proceed(display_name="Anna"), Ring(("101", "102")), Dial("+15550100"), Queue("sales"), Ivr("main"),
        Voicemail("101"), Reject(486, "Busy"), Redirect("sip:a@b"),
    ]  # fmt: skip
    assert [say([decides(one)]) for one in decisions] == [
        "proceed", "proceed as Anna", "ring 101, 102", "dial +15550100", "queue sales", "ivr main",
        "voicemail 101", "reject 486", "redirect sip:a@b",
    ]  # fmt: skip


def test_phrases_make_a_sentence() -> None:
    assert say([("afterwards", {}), ("no_opinion", {}), ("filled", {})]) == (
        "afterwards: no opinion; the card was filled in"
    )
    assert say([("no_opinion", {})], {"no_opinion": "нет"}.__getitem__) == "нет"


def test_braces_in_a_value_are_no_field() -> None:
    assert say([("failed", {"why": "{why} {0}"})]) == "failed: {why} {0}"
    assert all(text for text in ENGLISH.values())


def outcomes(call: CallSnapshot) -> list[str]:
    return [f"{step.source}: {step.outcome}" for step in from_record(call)]


def test_a_record_alone_tells_who_decided() -> None:
    assert outcomes(CALL) == []
    assert outcomes(replace(CALL, decided_by="dial plan"))[0].startswith("dial plan: nobody is asked")
    known = replace(CALL, decided_by="embedded CRM", lookup_ms=0.1, display_name="Anna")
    assert outcomes(known) == ["embedded CRM: knows Anna"]
    assert outcomes(replace(CALL, decided_by="dial plan", lookup_ms=0.1)) == ["embedded CRM: knows nobody"]
    assert outcomes(replace(known, decided_by="office")) == ["embedded CRM: knows Anna", "office: proceed as Anna"]
