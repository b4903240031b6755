"""Decisions from anywhere: whatever JSON a hook sends, it is a clean decision or a refusal in one line; and the
schema that is served says the same as the reader does."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from crmhooks.decisions import InvalidDecision, check, decision_schema, from_json, incoming_call_schema, parse, to_json
from crmhooks.payloads import payload
from crmhooks.text import one_line, paragraphs
from pbxcore.hooks import Decision, IncomingCall

SCHEMA = Draft202012Validator(decision_schema())
CALL = Draft202012Validator(incoming_call_schema())

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
numbers = st.from_regex(r"[1-9][0-9]{2,3}", fullmatch=True)
names = st.from_regex(r"[a-z][a-z0-9_.-]{0,20}", fullmatch=True)

common: dict[str, st.SearchStrategy[Any]] = {
    "display_name": st.none() | st.text(max_size=128),
    "alert_info": st.none() | st.sampled_from(["<urn:alert:source:internal>", "<http://a/b>;info=x", "urn:alert:a:b"]),
    "instructions": st.text(max_size=400),
    "contact_id": names,
    "tags": st.lists(st.text(max_size=64), max_size=16),
    "record": st.booleans(),
}
own: dict[str, tuple[dict[str, st.SearchStrategy[Any]], dict[str, st.SearchStrategy[Any]]]] = {
    "proceed": ({}, {}),
    "ring": (
        {"targets": st.lists(numbers, min_size=1, max_size=32)},
        {"strategy": st.sampled_from(["all", "in_order"]), "timeout": st.floats(1, 600) | st.integers(1, 600)},
    ),
    "dial": ({"number": st.from_regex(r"\+?[0-9]{3,15}", fullmatch=True)}, {"trunk": names}),
    "queue": ({"name": names}, {"priority": st.integers(-1000, 1000)}),
    "ivr": ({"name": names}, {"variables": st.dictionaries(st.from_regex(r"[a-z_]{1,9}", fullmatch=True), st.text())}),
    "voicemail": ({"box": numbers}, {}),
    "play": ({"prompt": st.sampled_from(["closed", "de/closed.wav"])}, {}),
    "reject": ({}, {"status": st.integers(402, 406), "reason": st.text(max_size=64)}),
    "redirect": ({"uri": st.sampled_from(["sip:a@b", "sips:[::1]:5061;a=b", "tel:+1-555;ext=1"])}, {}),
}


def decisions(deeper: st.SearchStrategy[Any] | None = None) -> st.SearchStrategy[dict[str, Any]]:
    """Decisions that must be taken, as JSON."""
    more = common if deeper is None else common | {"otherwise": deeper}
    return st.one_of(
        [
            st.fixed_dictionaries({"kind": st.just(kind)} | required, optional=optional | more)
            for kind, (required, optional) in own.items()
        ]
    )


valid = decisions(decisions())


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """A decision with one thing in it changed, taken out or put in."""
    whole = draw(valid)
    spot: Any = whole
    while True:
        keys = list(spot) if isinstance(spot, dict) else list(range(len(spot)))
        if not keys:
            return whole
        key = draw(st.sampled_from(keys))
        if isinstance(spot[key], dict | list) and draw(st.booleans()):
            spot = spot[key]
            continue
        match draw(st.sampled_from(["change", "take out", "put in"])):
            case "change":
                spot[key] = draw(anything)
            case "take out":
                del spot[key]
            case _ if isinstance(spot, dict):
                spot[draw(st.text(max_size=12) | st.sampled_from(["kind", "otherwise", *common]))] = draw(anything)
            case _:
                spot.append(draw(anything))
        return whole


def read(value: Any) -> Decision | None:
    """The decision, or None when it is refused; refusals are one short printable line."""
    try:
        return from_json(value)
    except InvalidDecision as error:
        message = str(error)
        assert message.isprintable()
        assert len(message) < 600
        return None


def assert_clean(decision: Decision) -> None:
    """Nothing in it can break a line, a header or a terminal."""
    for name, value in to_json(decision).items():
        if name == "instructions":
            assert paragraphs(value) == value
        elif isinstance(value, str):
            assert one_line(value) == value
            value.encode()
        elif isinstance(value, list):
            assert all(one_line(one) == one for one in value)
    if decision.otherwise is not None:
        assert_clean(decision.otherwise)


@given(valid)
@settings(max_examples=60, deadline=None)
def test_what_the_schema_shows_is_taken_cleaned_and_stays_the_same(value: Any) -> None:
    SCHEMA.validate(value)
    decision = from_json(value)
    assert_clean(decision)
    assert check(decision) == decision
    assert from_json(json.loads(json.dumps(to_json(decision)))) == decision
    SCHEMA.validate(to_json(decision))


@given(mutated() | anything)
@settings(max_examples=150, deadline=None)
def test_what_is_taken_is_clean_and_the_schema_takes_it_too(value: Any) -> None:
    decision = read(value)
    if decision is not None:
        assert_clean(decision)
        SCHEMA.validate(value)


@given(st.binary(max_size=200) | mutated().map(lambda value: json.dumps(value).encode()))
@settings(max_examples=100, deadline=None)
def test_no_body_gets_past_the_reader_as_anything_but_a_decision_or_a_refusal(body: bytes) -> None:
    try:
        decision = parse(body)
    except InvalidDecision:
        return
    assert decision is None or isinstance(decision, Decision)


@given(st.text(), st.text(), st.text() | st.none(), st.dictionaries(st.text(), st.text(), max_size=3))
@settings(max_examples=100, deadline=None)
def test_what_is_posted_keeps_to_its_schema(
    caller: str, called: str, name: str | None, headers: dict[str, str]
) -> None:
    call = IncomingCall("c1", caller, called, "inbound", 1.0, name, headers=headers)
    body = json.loads(json.dumps(payload("call.incoming", call, 1.0)))
    CALL.validate(body)
    assert one_line(body["data"]["caller"]) == body["data"]["caller"]


@given(st.text(st.characters()))
@settings(max_examples=100, deadline=None)
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    assert one_line(one_line(text)) == one_line(text)
    assert paragraphs(paragraphs(text)) == paragraphs(text)
    assert "\n" not in one_line(text)
