"""Decisions from JSON and back: what is taken, what is refused, and what the refusal says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from crmhooks.decisions import (
    MAX_BYTES,
    MAX_DEPTH,
    InvalidDecision,
    check,
    decision_schema,
    from_json,
    incoming_call_schema,
    parse,
    to_json,
)
from crmhooks.embedded.hook import decide
from crmhooks.payloads import payload
from pbxcore.control import Card, ContactEntry
from pbxcore.hooks import (
    CallSnapshot,
    CallState,
    Decision,
    Dial,
    IncomingCall,
    Ivr,
    LegSnapshot,
    Play,
    Proceed,
    Queue,
    Redirect,
    Reject,
    Ring,
    Voicemail,
)

ALL = [
    Proceed(),
    Proceed(display_name="Анна", instructions="One\ntwo", contact_id="42", tags=("vip", "gold"), record=False),
    Ring(("101", "102"), "in_order", 12.5, alert_info="<urn:alert:source:external>"),
    Ring(("101",), otherwise=Queue("sales", 5, otherwise=Voicemail("101"))),
    Dial("+15550100", "carrier"),
    Queue("sales"),
    Ivr("main", {"balance": "42.50"}),
    Voicemail("101"),
    Play("closed"),
    Reject(486, "Busy Here"),
    Redirect("sip:anna@example.net:5070;transport=tcp"),
    Redirect("tel:+15550100"),
]


@pytest.mark.parametrize("decision", ALL, ids=lambda decision: type(decision).__name__)
def test_there_and_back(decision: Decision) -> None:
    assert from_json(json.loads(json.dumps(to_json(decision)))) == decision
    assert check(decision) == decision


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], 'a decision is an object such as {"kind": "proceed"}, not []'),
        ({}, "kind: is missing; it is one of proceed, ring, dial, queue, ivr, voicemail, play, reject, redirect"),
        ({"kind": "rung"}, "kind: 'rung' is none; it is one of"),
        ({"kind": ["ring"]}, "kind: ['ring'] is none"),
        ({"kind": "ring"}, "targets: is missing; 'ring' needs it"),
        ({"kind": "ring", "targets": None}, "targets: is missing"),
        ({"kind": "ring", "target": ["101"]}, "target: no such field in 'ring'; did you mean 'targets'?"),
        ({"kind": "queue", "name": "a", "wxyz": 1}, "wxyz: no such field in 'queue'; it takes name, priority, display"),
        ({"kind": "ring", "targets": "101"}, "targets: must be a list, not '101'"),
        ({"kind": "ring", "targets": []}, "targets: holds 0 entries; 1 to 32 are taken"),
        ({"kind": "ring", "targets": ["101"] * 33}, "targets: holds 33 entries"),
        ({"kind": "ring", "targets": [101]}, "targets[0]: must be text such as '101', not 101"),
        ({"kind": "ring", "targets": ["101", "10 2"]}, "targets[1]: '10 2' will not do; write for instance '101'"),
        ({"kind": "ring", "targets": ["101"], "strategy": "random"}, "strategy: must be 'all' or 'in_order'"),
        ({"kind": "ring", "targets": ["101"], "timeout": 0}, "timeout: must be seconds from 1 to 600, not 0"),
        ({"kind": "ring", "targets": ["101"], "timeout": True}, "timeout: must be seconds"),
        ({"kind": "ring", "targets": ["101"], "timeout": "20"}, "timeout: must be seconds"),
        ({"kind": "ring", "targets": ["101"], "timeout": float("nan")}, "timeout: must be seconds"),
        ({"kind": "dial", "number": "00 call me"}, "number: '00 call me' will not do; write for instance '+15550100'"),
        ({"kind": "dial", "number": "101\r\nVia: x"}, "number: "),
        ({"kind": "dial", "number": "101@evil.example"}, "number: "),
        ({"kind": "dial", "number": "1" * 65}, "number: is 65 characters long; at most 64 are taken"),
        ({"kind": "queue", "name": "sales", "priority": 1.5}, "priority: must be a whole number from -1000 to 1000"),
        ({"kind": "queue", "name": "sales", "priority": True}, "priority: must be a whole number"),
        ({"kind": "queue", "name": "../etc"}, "name: '../etc' will not do"),
        ({"kind": "ivr", "name": "main", "variables": [1]}, "variables: must be an object, not [1]"),
        ({"kind": "ivr", "name": "main", "variables": {"a b": "1"}}, "variables: 'a b' is no name"),
        ({"kind": "ivr", "name": "main", "variables": {"a": 1}}, "variables.a: must be text, not 1"),
        ({"kind": "ivr", "name": "m", "variables": {f"a{n}": "" for n in range(33)}}, "variables: holds 33 entries"),
        ({"kind": "play", "prompt": "../../etc/passwd"}, "prompt: "),
        ({"kind": "play", "prompt": "/etc/passwd"}, "prompt: "),
        ({"kind": "reject", "status": 200}, "status: must be a whole number from 400 to 699, not 200"),
        ({"kind": "reject", "status": 401}, "status: 401 asks for a password; take 403 or 603"),
        ({"kind": "redirect", "uri": "http://evil.example"}, "uri: 'http://evil.example' will not do"),
        ({"kind": "redirect", "uri": "sip:a@b>\r\nX: y"}, "uri: "),
        ({"kind": "redirect", "uri": "sip:a@b?Replaces=1"}, "uri: "),
        ({"kind": "redirect", "uri": "sip:a@b, sip:c@d"}, "uri: "),
        ({"kind": "proceed", "alert_info": "Bellcore-dr1"}, "alert_info: 'Bellcore-dr1' will not do; write for inst"),
        ({"kind": "proceed", "alert_info": "<urn:x:y>\r\nX: y"}, "alert_info: "),
        ({"kind": "proceed", "alert_info": "<urn:x:y>\u202e"}, "alert_info: "),
        ({"kind": "proceed", "display_name": 5}, "display_name: must be text, not 5"),
        ({"kind": "proceed", "display_name": "x" * 129}, "display_name: is 129 characters long; at most 128"),
        ({"kind": "proceed", "instructions": "x" * 4001}, "instructions: is 4001 characters long"),
        ({"kind": "proceed", "tags": ["a"] * 17}, "tags: holds 17 entries; 0 to 16 are taken"),
        ({"kind": "proceed", "record": 1}, "record: must be true or false, not 1"),
        ({"kind": "proceed", "contact_id": 42}, "contact_id: must be text such as '42', not 42"),
        ({"kind": "proceed", "otherwise": "reject"}, "otherwise: a decision is an object"),
        ({"kind": "proceed", "otherwise": {"kind": "ring", "targets": [" "]}}, "otherwise.targets[0]: ' ' will not do"),
    ],
)
def test_what_is_refused_says_where_and_what_is_right(value: Any, message: str) -> None:
    with pytest.raises(InvalidDecision) as caught:
        from_json(value)
    assert str(caught.value).startswith(message)


def test_a_refusal_never_shows_more_than_a_line_of_what_was_sent() -> None:
    with pytest.raises(InvalidDecision) as caught:
        from_json({"kind": "x\n\x1b[2J\u202e" * 1000})
    assert len(str(caught.value)) < 200
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("Anna Ivanova", "Anna Ivanova"),
        ("  Anna\tIvanova ", "Anna Ivanova"),
        ("Anna\r\nX-Evil: 1", "Anna X-Evil: 1"),
        ("Anna\x00\x1b[31m\x7f\x9b", "Anna[31m"),
        ("\u202eavonavI\u2066 annA\u200f", "avonavI annA"),
        ("A\ud800B", "AB"),
        ("\u0646\u0645\u06cc\u200c\u062e\u0648\u0627", "\u0646\u0645\u06cc\u200c\u062e\u0648\u0627"),
        ("\r\n\u202e", None),
        ("", None),
    ],
)
def test_a_name_is_one_clean_line(sent: str, shown: str | None) -> None:
    assert from_json({"kind": "proceed", "display_name": sent}).display_name == shown


def test_instructions_keep_their_lines() -> None:
    decision = from_json({"kind": "proceed", "instructions": "one\r\ntwo\x00\u2028three\n"})
    assert decision.instructions == "one\ntwo\nthree"


def test_small_mercies() -> None:
    assert from_json({"kind": "dial", "number": "+1 (555) 010-0"}) == Dial("+15550100")
    assert from_json({"kind": "ring", "targets": ["101", "102", "101"]}) == Ring(("101", "102"))
    assert from_json({"kind": "proceed", "alert_info": "urn:alert:tone:x"}) == Proceed(alert_info="<urn:alert:tone:x>")
    assert from_json({"kind": "proceed", "display_name": None, "otherwise": None, "tags": None}) == Proceed()
    assert from_json({"kind": "proceed", "tags": ["a", "\x00", "a"]}) == Proceed(tags=("a",))


@pytest.mark.parametrize(
    ("status", "reason"), [(486, "Busy Here"), (404, "Not Found"), (603, "Decline"), (499, "Rejected")]
)
def test_a_refusal_without_words_gets_those_of_its_status(status: int, reason: str) -> None:
    assert from_json({"kind": "reject", "status": status}) == Reject(status, reason)


def test_otherwise_goes_so_deep_and_no_deeper() -> None:
    value: dict[str, Any] = {"kind": "proceed"}
    decision: Decision = Proceed()
    for _ in range(MAX_DEPTH - 1):
        value = {"kind": "proceed", "otherwise": value}
        decision = Proceed(otherwise=decision)
    assert from_json(value) == decision == check(decision)
    with pytest.raises(InvalidDecision, match="at most 5 decisions"):
        from_json({"kind": "proceed", "otherwise": value})
    for _ in range(3000):
        decision = Proceed(otherwise=decision)
    with pytest.raises(InvalidDecision, match="at most 5 decisions"):
        check(decision)


@pytest.mark.parametrize("body", [b"", b" \r\n", b"null", b"{}", b" {} "])
def test_no_opinion(body: bytes) -> None:
    assert parse(body) is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"OK", "the answer is not JSON: b'OK'"),
        (b"<html>", "the answer is not JSON"),
        (b'{"kind": "proceed"', "the answer is not JSON"),
        (b"[" * 60_000, "the answer is not JSON"),
        (b'{"a":' * 12_000, "the answer is not JSON"),
        (b"1" * 60_000, "the answer is not JSON"),
        (b'{"kind": NaN}', "the answer holds NaN, which is not JSON"),
        (b'{"kind": "ring", "targets": ["1"], "timeout": 1e999}', "timeout: must be seconds"),
        (b"\xff\xfe{}", "the answer is not UTF-8"),
        (b" " * (MAX_BYTES + 1), "the answer is longer than 65536 bytes"),
        (b"[]", "a decision is an object"),
        (b'"proceed"', "a decision is an object"),
        (b"0", "a decision is an object"),
        (b"false", "a decision is an object"),
    ],
)
def test_bodies_that_are_no_decision(body: bytes, message: str) -> None:
    with pytest.raises(InvalidDecision) as caught:
        parse(body)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "lie",
    [
        Decision(),
        Ring("101"),  # type: ignore[arg-type]  # the blunder everybody makes once
        Ring((101,)),  # type: ignore[arg-type]  # lies
        Ring(("101",), otherwise="voicemail"),  # type: ignore[arg-type]  # lies
        Ivr("main", variables=7),  # type: ignore[arg-type]  # lies
        Reject(200),
        Proceed(tags="vip"),  # type: ignore[arg-type]  # lies
        None,
        "ring",
    ],
    ids=repr,
)
def test_python_code_is_held_to_the_same_rules(lie: Any) -> None:
    with pytest.raises(InvalidDecision):
        check(lie)


def test_the_schemas_are_json() -> None:
    for schema in (decision_schema(), incoming_call_schema()):
        assert json.loads(json.dumps(schema)) == schema
        assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert set(decision_schema()["$defs"]) == {
        "decision", "proceed", "ring", "dial", "queue", "ivr", "voicemail", "play", "reject", "redirect"
    }  # fmt: skip


def test_what_is_posted_is_clean_json_in_an_envelope() -> None:
    call = IncomingCall("c1", "+1555\r\n0100", "101", "inbound", 1.5, "\u202eEve\x00\udcff", headers={"a": "b"})
    body = payload("call.incoming", call, 1_700_000_000.25)
    assert body["type"] == "call.incoming"
    assert body["timestamp"] == "2023-11-14T22:13:20.250Z"
    assert body["data"]["caller_name"] == "Eve"
    assert set(body["data"]) == set(incoming_call_schema()["properties"]["data"]["properties"])
    leg = LegSnapshot("101", "b", "ended", "101", 1.0)
    snapshot = CallSnapshot("c1", CallState.ENDED, "inbound", "1", "101", 1.0, legs=(leg,))
    data = json.loads(json.dumps(payload("call.ended", snapshot, 2.0)))["data"]
    assert (data["state"], data["disposition"], data["legs"][0]["party"]) == ("ended", "open", "101")


# -- what the embedded CRM decides

ANNA = ContactEntry("1", "Anna Ivanova", owner="101", tags=("gold",), vip=True)
BORIS = ContactEntry("2", "Boris Petrov")


def ask(*contacts: ContactEntry, direction: Any = "inbound", instructions: str = "") -> Decision | None:
    call = IncomingCall("c1", "+15550100", "100", direction, 1.0)
    return decide(call, Card("c1", "+15550100", contacts, instructions))


def test_a_customer_rings_at_his_owners_desk_first() -> None:
    named: dict[str, Any] = {
        "display_name": "Anna Ivanova", "instructions": "Hi", "contact_id": "1", "tags": ("gold", "vip")
    }  # fmt: skip
    assert ask(ANNA, instructions="Hi") == Ring(("101",), timeout=20, otherwise=Proceed(**named), **named)


def test_he_does_not_where_somebody_else_was_called() -> None:
    call = IncomingCall("c1", "+15550100", "100", "inbound", 1.0)
    decision = decide(call, Card("c1", "+15550100", (ANNA,), ""), owner_first=False)
    assert decision == Proceed(display_name="Anna Ivanova", contact_id="1", tags=("gold", "vip"))


def test_a_customer_without_an_owner_is_shown_by_name() -> None:
    assert ask(BORIS) == Proceed(display_name="Boris Petrov", contact_id="2")


def test_a_shared_number_names_its_people_and_settles_on_nobody() -> None:
    assert ask(ANNA, BORIS) == Proceed(display_name="Anna Ivanova / Boris Petrov")
    assert ask(ANNA, BORIS, ANNA) == Proceed(display_name="3 contacts")


def test_inside_calls_ring_where_they_are_dialled() -> None:
    assert isinstance(ask(ANNA, direction="internal"), Proceed)


def test_the_customer_is_not_shown_what_the_crm_calls_him() -> None:
    decision = ask(ANNA, direction="outbound")
    assert isinstance(decision, Proceed)
    assert (decision.display_name, decision.contact_id) == (None, "1")


def test_strangers_are_no_concern() -> None:
    assert ask() is None
    assert decide(IncomingCall("c1", "101", "102", "internal", 1.0), None) is None


def test_a_name_too_long_for_a_phone_is_cut_and_a_wild_one_tamed() -> None:
    decision = ask(ContactEntry("1", "x" * 300))
    assert decision is not None
    assert decision.display_name == "x" * 127 + "…"
    decision = ask(ContactEntry("1", "Anna\r\nIvanova"))
    assert decision is not None
    assert decision.display_name == "Anna Ivanova"


def test_what_the_embedded_crm_decides_keeps_the_rules() -> None:
    for decision in (ask(ANNA, instructions="Hi"), ask(BORIS), ask(ANNA, BORIS)):
        assert check(decision) == decision
