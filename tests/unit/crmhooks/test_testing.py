"""The pytest plugin for the hooks of an office: what its users write, run by pytest itself."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

OFFICE = """
import time
from pbxcore.hooks import Proceed, Reject, Ring

class Desk:
    ended = []
    async def on_incoming(self, call):
        if call.caller == "+12025550123":
            return Ring(("101",), timeout=15, display_name="Anna Ivanova (VIP)", otherwise=Proceed())
        if call.caller == "+12025550124":
            return "ring 101"
        if call.caller == "+12025550125":
            return 1 / 0
    async def on_ended(self, call):
        if call.caller == "+12025550126":
            raise RuntimeError("no disk")
        self.ended.append(call.disposition)

class Slow:
    def on_incoming(self, call):
        time.sleep(0.2)
        return Reject()
"""

TESTS = """
import asyncio
import pytest
from office import Desk, Slow
from pbxcore.control import ContactEntry
from pbxcore.hooks import Ring

def test_a_vip_rings_at_anna(ask_hook):
    told = ask_hook(Desk(), caller="+12025550123")
    assert told.decision == Ring(("101",), timeout=15, display_name="Anna Ivanova (VIP)",
                                 otherwise=told.decision.otherwise)
    assert told.in_time
    assert told.outcomes == ["hook: ring 101"]

def test_no_opinion(ask_hook):
    told = ask_hook("office:Desk")
    assert told.decision is None and told.outcomes == ["hook: no opinion"]

def test_a_contact_is_on_the_card_and_is_no_decision_of_the_hook(ask_hook):
    told = ask_hook(Desk, caller="(202) 555-0177", contacts=[ContactEntry("1", "Boris", ("+12025550177",))])
    assert told.card.contacts[0].name == "Boris"
    assert told.decision is None

def test_a_lie_and_a_fault(ask_hook, hookline_call):
    told = ask_hook(Desk(), call=hookline_call(caller="+12025550124"))
    assert told.decision is None and "on_incoming returned str" in told.outcomes[0]
    assert "ZeroDivisionError" in ask_hook(Desk(), caller="+12025550125").outcomes[0]

def test_late(ask_hook):
    told = ask_hook(Slow(), deadline_ms=20)
    assert told.decision is None and not told.in_time and told.outcomes[0].startswith("hook: late")

def test_the_end(ask_hook):
    desk = Desk()
    ask_hook(desk, ends="answered")
    ask_hook(desk, ends="cancelled")
    assert desk.ended == ["answered", "cancelled"]
    with pytest.raises(AssertionError, match="no disk"):
        ask_hook(desk, caller="+12025550126", ends="answered")

def test_inside_of_a_running_loop(ask_hook):
    async def main():
        return ask_hook(Desk(), caller="+12025550123").decision
    assert asyncio.run(main()).targets == ("101",)
"""


def test_the_fixtures(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    pytester.makepyfile(office=OFFICE, test_office=TESTS)
    pytester.syspathinsert()
    pytester.runpytest_inprocess("-p", "no:hookline", "-p", "crmhooks.testing").assert_outcomes(passed=7)


def test_they_are_listed_for_whoever_asks_pytest(pytester: pytest.Pytester) -> None:
    shown = pytester.runpytest_inprocess("-p", "no:hookline", "-p", "crmhooks.testing", "--fixtures")
    shown.stdout.fnmatch_lines(["*ask_hook*crmhooks/testing.py*", "*Asks a hook:*"])
