"""What only Zammad does: it hears of a call while it rings, refuses whom its agents have blocked, and keeps the caller
log of the calls that it was told of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from crmhooks.build import build_runner
from crmhooks.connector import CrmConnector, HookError, Unreachable
from crmhooks.connectors.push import Push
from crmhooks.embedded.desk import EmbeddedCrm
from pbxcore.bus import Bus
from pbxcore.hooks import Decision, Dial, IncomingCall, Reject
from pbxcore.settings import Crm, Settings
from pbxcore.settings import CrmConnector as Section
from pbxcore.store import open as open_store
from tests.contract.fakes.zammad import Fake
from tests.contract.test_connectors import NUMBER, OVER, TALK

RINGS = IncomingCall("call-1", NUMBER, "+12025550100", "inbound", TALK.started_at, trunk="carrier")
OURS = replace(TALK, own_number="+12025550100")


async def rung(crm: CrmConnector, call: IncomingCall = RINGS) -> Decision | None:
    assert crm.announcer is not None
    return await crm.announcer.on_incoming(call)


def events(fake: Fake) -> list[str]:
    return [told["event"] for told in fake.events]


async def test_it_hears_of_a_call_while_it_rings_and_of_each_stage_once(crm: CrmConnector, fake: Fake) -> None:
    assert await rung(crm) is None
    assert fake.events == [
        {"event": "newCall", "callId": "call-1", "direction": "in", "from": "12025550123", "to": "12025550100"}
    ]
    record_id = await crm.open_activity(OURS)
    await crm.update_activity(record_id, replace(OVER, own_number=OURS.own_number))
    assert events(fake) == ["newCall", "answer", "hangup"]
    base = {name: fake.events[0][name] for name in ("callId", "direction", "from", "to")}
    user = {"user": fake.user, "answeringNumber": fake.user}
    assert fake.events[1] == {"event": "answer", **base, **user}
    assert fake.events[2] == {"event": "hangup", **base, "answeringNumber": fake.user, "cause": "normalClearing"}


async def test_a_call_to_outside_says_who_of_us_made_it(crm: CrmConnector, fake: Fake) -> None:
    call = IncomingCall("call-1", "101", NUMBER, "outbound", TALK.started_at, extension="101")
    await rung(crm, call)
    await crm.open_activity(replace(OVER, direction="outbound", own_number="101"))
    told = fake.events[0]
    assert (told["direction"], told["from"], told["to"], told["user"]) == ("out", "101", "12025550123", fake.user)
    assert all("answeringNumber" not in one for one in fake.events)


@pytest.mark.parametrize(("disposition", "cause"), [
    ("no_answer", "noAnswer"), ("busy", "busy"), ("cancelled", "cancel"), ("rejected", "noAnswer"),
    ("failed", "congestion"), ("interrupted", "congestion"),
])  # fmt: skip
async def test_why_nobody_answered(crm: CrmConnector, fake: Fake, disposition: str, cause: str) -> None:
    await crm.open_activity(replace(OVER, answered_at=None, disposition=disposition))
    assert events(fake) == ["newCall", "hangup"]
    assert fake.log["call-1"]["comment"] == cause


async def test_a_withheld_number_has_its_word(crm: CrmConnector, fake: Fake) -> None:
    await rung(crm, replace(RINGS, caller=""))
    assert fake.events[0]["from"] == "anonymous"


async def test_whom_its_agents_have_blocked_is_refused_and_the_call_is_over_there_too(
    crm: CrmConnector, fake: Fake
) -> None:
    fake.blocked.add("12025550123")
    assert await rung(crm) == Reject(486, "Busy Here")
    await crm.open_activity(replace(OVER, answered_at=None, disposition="rejected"))
    assert fake.log["call-1"]["state"] == "hangup"


async def test_another_caller_id_is_the_carriers_affair(crm: CrmConnector, fake: Fake) -> None:
    fake.caller_ids["12025550123"] = "12025550199"
    call = IncomingCall("call-1", "101", NUMBER, "outbound", TALK.started_at, extension="101")
    assert await rung(crm, call) is None


@pytest.mark.parametrize(("answer", "decision"), [
    ({"action": "dial", "number": "442079460123"}, Dial("+442079460123")),
    ({"action": "reject"}, Reject()),
    ({"action": "dial", "number": "1;phone-context=x"}, HookError),
    ({"action": "play"}, HookError),
])  # fmt: skip
async def test_what_it_may_ask_for(
    crm: CrmConnector, monkeypatch: pytest.MonkeyPatch, answer: Any, decision: Any
) -> None:
    assert isinstance(crm, Push)

    async def post(fields: object) -> Any:
        return answer

    monkeypatch.setattr(crm, "_post", post)
    if decision is HookError:
        with pytest.raises(HookError):
            await rung(crm)
    else:
        assert await rung(crm) == decision


async def test_after_a_restart_it_is_told_again_and_takes_it_for_the_same_call(crm: CrmConnector, fake: Fake) -> None:
    fake.log["call-1"] = {"direction": "in", "state": "newCall", "comment": "", "user": ""}
    await crm.open_activity(OURS)
    assert fake.log["call-1"]["state"] == "answer"


async def test_a_call_that_became_a_part_of_another_does_not_go_on_ringing_there(crm: CrmConnector, fake: Fake) -> None:
    await crm.remove_activity(await crm.open_activity(OURS))
    assert fake.events[-1] == {
        "event": "hangup", "callId": "call-1", "direction": "in", "from": "12025550123", "to": "12025550100",
        "cause": "forwarded",
    }  # fmt: skip


async def test_cti_that_is_switched_off_parks_no_call(crm: CrmConnector, fake: Fake) -> None:
    fake.enabled = False
    with pytest.raises(Unreachable, match="Feature is disabled"):
        await crm.open_activity(OVER)


async def test_calls_of_colleagues_and_those_that_there_are_not_are_no_affair_of_it(
    crm: CrmConnector, fake: Fake
) -> None:
    assert await rung(crm, replace(RINGS, direction="internal")) is None
    assert await rung(crm, replace(RINGS, call_id="explain-17.5")) is None
    assert fake.events == []


async def test_the_exchange_asks_it_before_the_phone_rings_and_looks_nobody_up(fake: Fake, tmp_path: Any) -> None:
    """As the runner is made of the settings: it decides, and is none of those who are asked who calls."""
    from crmhooks.build import build_connectors

    section = Section.model_validate(fake.settings() | {"deadline_ms": 5000})
    settings = Settings(crm=Crm(deadline_ms=5000, connector=(section,)))
    [crm] = build_connectors(settings)
    store = open_store(f"sqlite:///{tmp_path}/office.db")
    runner = build_runner(settings, EmbeddedCrm(store, Bus(), "US"), Bus(), crms=[crm])
    fake.blocked.add("12025550123")
    assert await runner.on_incoming(RINGS) == Reject(486, "Busy Here")
    assert [state.name for state in runner.states()] == ["zammad"]
    await runner.close()
    await crm.open_activity(OVER)      # the outbox still tells what there is to tell
    await crm.close()
    await store.close()
