"""Decisions by rules without code."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from crmhooks.build import build_rules
from crmhooks.connector import InvalidHook
from crmhooks.explained import ExplainLog
from crmhooks.rulebook import MOST_RULES, RuleBook
from crmhooks.runner import Runner
from pbxcore.bus import Bus
from pbxcore.control import Card, ContactEntry, Invalid
from pbxcore.hooks import Decision, IncomingCall, Proceed, Reject, Ring
from pbxcore.settings import Settings
from pbxcore.store import open as open_store
from tests.unit.crmhooks.virtual import ANNA, Desk, FakeHook, after, ended, incoming, sent_once

VIP = replace(ANNA, vip=True)
RING: dict[str, Any] = {"kind": "ring", "targets": ["102"]}
CALL = IncomingCall("c1", "+12025550100", "+12025550199", "inbound", 0.0, trunk="city")


def card(*contacts: ContactEntry, number: str = "+12025550100") -> Card:
    return Card("c1", number, contacts, "")


def decide(
    rule: dict[str, Any], call: IncomingCall = CALL, *contacts: ContactEntry, at: str = "", **more: Any
) -> Decision | None:
    wall = datetime.fromisoformat(at or "2026-11-23T12:00").replace(tzinfo=UTC).timestamp()   # a Monday
    book = RuleBook([{"then": RING} | rule], country="US", wall=lambda: wall, **more)
    found = book.match(call, card(*contacts, number=call.called if call.direction == "outbound" else call.caller))
    return None if found is None else found[1]


@pytest.mark.parametrize(
    ("rule", "fits"),
    [
        ({}, True),
        ({"caller": ["+12025550100"]}, True),
        ({"caller": ["(202) 555-0100"]}, True),
        ({"caller": ["+1202*"]}, True),
        ({"caller": ["+1203*", "+12025550101"]}, False),
        ({"caller": ["withheld"]}, False),
        ({"called": ["202-555-0199"]}, True),
        ({"called": ["101"]}, False),
        ({"direction": "inbound"}, True),
        ({"direction": "internal"}, False),
        ({"trunk": "city"}, True),
        ({"trunk": "other"}, False),
        ({"known": True}, True),
        ({"known": False}, False),
        ({"vip": True}, True),
        ({"vip": False}, False),
        ({"tag": "gold"}, True),
        ({"tag": "silver"}, False),
        ({"owner_present": True}, True),
        ({"owner_present": False}, False),
        ({"caller": ["+1202*"], "tag": "gold", "vip": True, "trunk": "city", "days": "mon"}, True),
        ({"caller": ["+1202*"], "tag": "gold", "vip": True, "trunk": "city", "days": "tue"}, False),
    ],
)
def test_each_condition(rule: dict[str, Any], fits: bool) -> None:
    assert (decide(rule, CALL, VIP) is not None) == fits


def test_a_stranger_a_shared_number_and_one_that_is_withheld() -> None:
    assert decide({"known": False})
    assert decide({"vip": False})
    assert not decide({"vip": True})
    assert not decide({"known": True}, CALL, ANNA, replace(ANNA, id="2"))   # nobody knows yet which of them it is
    withheld = replace(CALL, caller="anonymous")
    assert decide({"caller": ["withheld"]}, withheld)
    assert not decide({"owner_present": True}, withheld)
    assert not decide({"owner_present": True}, CALL, VIP, present=lambda extension: False)


def test_calls_out_are_told_by_whom_they_are_for() -> None:
    out = replace(CALL, caller="101", called="+19005550100", direction="outbound", trunk=None)
    assert decide({"called": ["+1900*"], "caller": ["101"]}, out)
    assert not decide({"called": ["+1900*"]}, replace(out, called="+12025550100"))


@pytest.mark.parametrize(
    ("rule", "at", "fits"),
    [
        ({"hours": "09:00-18:00"}, "2026-11-23T09:00", True),
        ({"hours": "09:00-18:00"}, "2026-11-23T18:00", False),
        ({"hours": "9:00 - 24:00"}, "2026-11-23T23:59", True),
        ({"hours": "22:00-06:00"}, "2026-11-23T23:00", True),
        ({"hours": "22:00-06:00"}, "2026-11-23T05:59", True),
        ({"hours": "22:00-06:00"}, "2026-11-23T06:00", False),
        ({"hours": "22:00-06:00", "days": "fri"}, "2026-11-28T05:00", True),    # Saturday morning of Friday's night
        ({"hours": "22:00-06:00", "days": "fri"}, "2026-11-27T05:00", False),
        ({"hours": "22:00-06:00", "days": "sun"}, "2026-11-23T05:00", True),
        ({"days": "mon-fri"}, "2026-11-28T12:00", False),
        ({"days": "sat-mon"}, "2026-11-23T12:00", True),
        ({"days": "sat-mon"}, "2026-11-24T12:00", False),
        ({"days": "Mon, wed"}, "2026-11-25T12:00", True),
    ],
)
def test_the_time(rule: dict[str, Any], at: str, fits: bool) -> None:
    assert (decide(rule, at=at) is not None) == fits


def test_the_time_is_the_offices() -> None:
    assert decide({"hours": "15:00-16:00"}, at="2026-11-23T12:30", zone=ZoneInfo("Europe/Moscow"))


def test_the_owner_rings_and_whoever_has_none_does_not_fit() -> None:
    rule = {"then": {"kind": "ring", "targets": ["owner"], "otherwise": {"kind": "ring", "targets": ["owner", "102"]}}}
    assert decide(rule, CALL, VIP) == Ring(("101",), otherwise=Ring(("101", "102")))
    assert decide(rule, CALL, replace(VIP, owner=None)) is None
    assert decide({"then": {"kind": "ring", "targets": ["owner", "102"]}}) == Ring(("102",))


def test_the_first_that_fits_decides() -> None:
    book = RuleBook([{"name": "a", "tag": "x", "then": RING}, {"name": "b", "then": RING}, {"name": "c", "then": RING}])
    found = book.match(CALL, card())
    assert found is not None
    assert found[0] == "b"


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ({"then": {"kind": "explode"}}, "2.then.kind"),
        ({"then": {"kind": "ring", "targets": []}}, "2.then.targets"),
        ({"then": "ring"}, "2.then"),
        ({"then": None}, "2.then"),
        ({"hours": "9-18"}, "2.hours"),
        ({"hours": "09:00-09:00"}, "2.hours"),
        ({"hours": "00:00-24:30"}, "2.hours"),
        ({"days": "weekend"}, "2.days"),
        ({"days": 5}, "2.days"),
        ({"caller": "+1"}, "2.caller"),
        ({"caller": ["<script>"]}, "2.caller"),
        ({"caller": [1]}, "2.caller"),
        ({"vip": "yes"}, "2.vip"),
        ({"direction": "in"}, "2.direction"),
        ({"colour": "red"}, "2.colour"),
        ({"name": "x" * 200}, "2.name"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(rule: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        RuleBook([{"then": RING}, {"then": RING} | rule])
    assert caught.value.field == field


async def test_the_panels_rules_come_after_those_of_the_file_and_stay(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/x.db")
    store.start()
    settings = Settings.model_validate({"crm": {"rule": [{"name": "file", "tag": "gold", "then": RING}]}})
    book = build_rules(settings, store)
    await book.replace([{"name": "mine", "then": {"kind": "proceed"}}])
    with pytest.raises(Invalid, match="none"):
        await book.replace([{"then": {"kind": "explode"}}])
    with pytest.raises(Invalid, match="too many"):
        await book.replace([{"then": RING}] * (MOST_RULES + 1))
    for one in (book, build_rules(settings, store)):
        assert [(entry.fields["name"], entry.fixed) for entry in one.all()] == [("file", True), ("mine", False)]
        assert one.match(CALL, card()) == ("mine", Proceed())
        assert one.match(CALL, card(ANNA)) == ("file", Ring(("102",)))
    await store.close()


async def test_a_rule_of_the_file_that_cannot_work_is_found_at_start(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/x.db")
    store.start()
    settings = Settings.model_validate({"crm": {"rule": [{"then": {"kind": "ring"}}]}})
    with pytest.raises(InvalidHook) as caught:
        build_rules(settings, store)
    assert caught.value.key == "crm.rule[1].then.targets"
    await store.close()


# -- in the runner


def test_a_rule_decides_before_any_hook_and_from_memory() -> None:
    book = RuleBook([{"name": "Gold", "tag": "gold", "then": {"kind": "reject", "status": 480}}], country="US")
    hook = FakeHook(incoming=after(0, Ring(("109",))))
    runner = Runner(Desk(ANNA), Bus(), hooks=[(hook, 1.0)], country="US", rules=book)
    decision = sent_once(runner.on_incoming(incoming()))   # no loop runs here: nothing can be waited for
    assert isinstance(decision, Reject)
    assert hook.asked == []
    assert runner.decided_by("c1") == "rules"
    assert [f"{step.source}: {step.outcome}" for step in runner.explain("c1")] == ["rules: rule Gold: reject 480"]


def test_where_no_rule_fits_the_embedded_crm_goes_on_and_says_so() -> None:
    book = RuleBook([{"tag": "silver", "then": RING}])
    runner = Runner(Desk(ANNA), Bus(), country="US", rules=book)
    decision = sent_once(runner.on_incoming(incoming()))
    assert isinstance(decision, Ring)
    assert decision.targets == ("101",)
    assert [step.outcome for step in runner.explain("c1")] == ["none of 1 rules fits", "knows Anna Ivanova: ring 101"]


def test_a_rules_decision_has_the_contacts_name_and_instructions() -> None:
    runner = Runner(Desk(ANNA), Bus(), country="US", rules=RuleBook([{"then": RING}]))
    decision = sent_once(runner.on_incoming(incoming()))
    assert decision == Ring(("102",), display_name="Anna Ivanova", instructions="Speak slowly.", contact_id="1")


async def test_only_a_rule_that_decided_is_kept_for_good(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/x.db")
    store.start()
    log = ExplainLog(store)
    runner = Runner(Desk(ANNA), Bus(), country="US", rules=RuleBook([{"tag": "gold", "then": RING}]), keep=log.keep)
    for call_id, number in (("c1", "+12025550100"), ("c2", "+12025550177")):
        await runner.on_incoming(incoming(call_id, number))
        runner.on_ended(ended(call_id))
    assert [step.source for step in await log.find("c1")] == ["rules"]
    assert await log.find("c2") == ()
    await store.close()
