"""What only receivers of sipgate.io's push do: they say where they want to hear of the answer and the end, and decide
in XML."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from crmhooks.connector import CrmConnector, HookError, Refused, Unreachable
from pbxcore.hooks import Decision, Dial, IncomingCall, Proceed, Reject
from tests.contract.connecting import made
from tests.contract.fakes.sipgate import Fake
from tests.contract.test_connectors import NUMBER, OVER, TALK

RINGS = IncomingCall("call-1", NUMBER, "+12025550100", "inbound", TALK.started_at, trunk="carrier")
OURS, DONE = (replace(one, own_number="+12025550100") for one in (TALK, OVER))


async def rung(crm: CrmConnector, call: IncomingCall = RINGS) -> Decision | None:
    assert crm.announcer is not None
    return await crm.announcer.on_incoming(call)


async def test_it_hears_of_the_call_where_it_wants_to(crm: CrmConnector, fake: Fake) -> None:
    assert await rung(crm) is None
    await crm.update_activity(await crm.open_activity(OURS), DONE)
    assert fake.asked == [("POST", "/push"), ("POST", "/later/answer"), ("POST", "/later/hangup")]
    base = {"callId": "call-1", "direction": "in", "from": "12025550123", "to": "12025550100"}
    assert fake.events == [
        {"event": "newCall", **base},
        {"event": "answer", **base, "user": fake.user, "answeringNumber": fake.user},
        {"event": "hangup", **base, "answeringNumber": fake.user, "cause": "normalClearing"},
    ]


async def test_where_it_wants_to_hear_outlives_a_restart(crm: CrmConnector, fake: Fake) -> None:
    record_id = await crm.open_activity(OURS)
    again = made(fake.settings())
    await again.update_activity(record_id, DONE)
    assert fake.log["call-1"]["state"] == "hangup"
    await again.close()


async def test_what_it_does_not_want_to_hear_it_is_not_told(crm: CrmConnector, fake: Fake) -> None:
    fake.wants = ("onHangup",)
    await crm.open_activity(DONE)
    assert [told["event"] for told in fake.events] == ["newCall", "hangup"]


async def test_who_of_us_calls(crm: CrmConnector, fake: Fake) -> None:
    await rung(crm, IncomingCall("call-1", "101", NUMBER, "outbound", TALK.started_at, extension="101"))
    assert (fake.events[0]["direction"], fake.events[0]["user[]"]) == ("out", fake.user)


async def test_nobody_else_is_told_of_the_call(crm: CrmConnector, fake: Fake) -> None:
    fake.elsewhere = "http://127.0.0.2:9"
    with pytest.raises(Refused, match="at another address than its url"):
        await crm.open_activity(OURS)


@pytest.mark.parametrize(("action", "decision"), [
    ("<Reject/>", Reject()),
    ('<Reject reason="busy"/>', Reject(486, "Busy Here")),
    ("<Hangup/>", Reject()),
    ("<Dial><Number>442079460123</Number></Dial>", Dial("+442079460123", otherwise=Proceed())),
    ("<Dial><Number>442079460123</Number><Number>+442079460124</Number></Dial>",
     Dial("+442079460123", otherwise=Dial("+442079460124", otherwise=Proceed()))),
    ("<Dial><Voicemail/></Dial>", HookError),
    ("<Play><Url>https://example.net/a.wav</Url></Play>", HookError),
    ("<Dial><Number>sip:x@example.net</Number></Dial>", HookError),
])  # fmt: skip
async def test_what_it_may_decide(crm: CrmConnector, fake: Fake, action: str, decision: Any) -> None:
    fake.action = action
    if decision is HookError:
        with pytest.raises(HookError):
            await rung(crm)
    else:
        assert await rung(crm) == decision


async def test_what_is_no_response_is_no_decision(
    crm: CrmConnector, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.action = "<a"
    with pytest.raises(Unreachable, match="instead of XML"):
        await rung(crm)
