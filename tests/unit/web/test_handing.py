"""A transfer from the CRM: the card and the notes are on the target's page before his phone is rung."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sse_starlette import ServerSentEvent

from pbxcore.control import Invalid, NotFound
from pbxcore.events import Failed
from pbxcore.hooks import LegSnapshot
from tests.unit.web.fakes import World
from tests.unit.web.office import real_office
from web import handing
from web.feed import Entry, follow
from web.handing import hand_over
from web.live import LivePage
from web.panel import Panel
from web.words import Words


class Page:
    """Somebody's open live page: `sent` is what his browser was sent, with whether the transfer was ordered by then."""

    def __init__(self, panel: Panel, world: World, username: str) -> None:
        user = world.users.rows[username]
        self.world = world
        self.live = LivePage(panel, user, Words("en"), "token")
        self.cursor = panel.hub.join(username, extension=user.extension)
        self.reads = asyncio.Event()
        self.reads.set()
        self.sent: list[tuple[str, bool]] = []
        self.task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        async def show(entries: list[Entry] | None) -> AsyncIterator[ServerSentEvent]:
            html = await (self.live.everything() if entries is None else self.live.apply(entries))
            if html:
                yield ServerSentEvent(data=html)

        async def alive() -> bool:
            return True

        async for event in follow(self.cursor, alive, show):
            await self.reads.wait()
            if event.data:
                self.sent.append((str(event.data), bool(self.world.control.transferred)))

    async def close(self) -> None:
        self.cursor.end("closed")
        self.reads.set()
        await self.task

    def shows(self) -> list[bool]:
        """For each time that the card was there to be seen: whether the transfer was ordered by then."""
        return [ordered for html, ordered in self.sent if "Elena Petrova" in html]


async def talking() -> tuple[World, Panel, str]:
    world = World()
    world.desk.add("Elena Petrova", "+14155550100", instructions="Speaks Russian.")
    panel: Panel = world.app().state.panel
    call_id = world.ring("+14155550100", "101")
    world.answer(call_id)
    return world, panel, call_id


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_the_card_and_the_notes_are_shown_before_the_phone_is_rung() -> None:
    world, panel, call_id = await talking()
    boris = Page(panel, world, "boris")
    await settled()
    assert boris.shows() == []
    await hand_over(panel, world.control.call(call_id), "102", "101", "Wants a refund.")
    assert world.control.transferred == [(call_id, "102", "101")]
    assert world.control.noted == ["Wants a refund."]
    assert boris.shows() == [False]
    html = boris.sent[-1][0]
    assert "Speaks Russian." in html
    assert "Noted so far:</strong> Wants a refund." in html
    assert 'class="card ringing' in html
    assert "Incoming call: Elena Petrova" in html
    await boris.close()


async def test_no_page_is_waited_for_that_is_not_open_nor_long_for_one_that_stands_still(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, panel, call_id = await talking()
    await hand_over(panel, world.control.call(call_id), "102", "101")
    boris = Page(panel, world, "boris")
    await settled()
    boris.reads.clear()
    monkeypatch.setattr(handing, "PATIENCE", 0.01)
    await hand_over(panel, world.control.call(call_id), "102", "101")
    assert len(world.control.transferred) == 2
    assert boris.shows() == []
    left = asyncio.create_task(panel.hub.tell(Failed(1.0, call_id, "102", 480), "102", 60.0))
    await settled()
    await boris.close()              # whoever has gone is not waited for
    await left


async def test_a_page_of_nobody_who_is_rung_is_not_waited_for_and_shows_nothing() -> None:
    world, panel, call_id = await talking()
    boris = Page(panel, world, "boris")
    await settled()
    boris.reads.clear()
    await hand_over(panel, world.control.call(call_id), "103", "101")
    await hand_over(panel, world.control.call(call_id), "+12025550199", "101")     # nobody of the office
    assert len(world.control.transferred) == 2
    await boris.close()
    assert boris.shows() == []


async def test_the_card_goes_when_the_phone_cannot_be_rung() -> None:
    world, panel, call_id = await talking()
    boris = Page(panel, world, "boris")
    await settled()
    world.control.goes_already = True
    with pytest.raises(Invalid):
        await hand_over(panel, world.control.call(call_id), "102", "101")
    await settled()
    assert boris.shows() == [False]
    assert 'hx-target="#cards"' in boris.sent[-1][0]
    assert "card-call" not in boris.sent[-1][0]
    with pytest.raises(Invalid):
        await hand_over(panel, world.control.call(call_id), "", "101")
    with pytest.raises(NotFound):
        await hand_over(panel, replace(world.control.call(call_id), call_id="none"), "102", "101")
    await boris.close()


async def test_one_that_was_never_rung_does_not_stay_for_ever() -> None:
    world, panel, call_id = await talking()
    now = 100.0
    panel.clock = lambda: now
    boris = Page(panel, world, "boris")
    await settled()
    await hand_over(panel, world.control.call(call_id), "102", "101")
    assert len(boris.shows()) == 1
    now += 11.0
    other = world.ring("+14155550123", "102")
    await settled()
    assert f'id="card-{other}"' in boris.sent[-1][0]
    assert len(boris.shows()) == 1
    await boris.close()


async def test_whoever_takes_the_call_goes_on_with_the_notes() -> None:
    world, panel, call_id = await talking()
    await hand_over(panel, world.control.call(call_id), "102", "101", "Wants a refund.")
    call = world.control.call(call_id)
    gone = replace(call.legs[1], state="ended", ended_at=6.0)
    taken = LegSnapshot("102", "b", "answered", "102", 5.0, 5.5, 6.0, transferred_by="101", transferred_at=6.0)
    world.control.live[call_id] = replace(call, legs=(call.legs[0], gone, taken), answered_by="102")
    boris = Page(panel, world, "boris")
    await settled()
    assert ">Wants a refund.</textarea>" in boris.sent[-1][0]
    assert "Noted so far" not in boris.sent[-1][0]
    await boris.close()


def test_through_the_api(world: World, browse: Any) -> None:
    call_id = world.ring("+14155550100", "101")
    world.answer(call_id)
    way = f"/api/v1/calls/{call_id}/transfer"
    assert browse("anna").send("POST", way, {"to": "103", "notes": " Wants a refund. "}).status_code == 202
    assert world.desk.acts[call_id].summary == " Wants a refund. "
    assert world.desk.acts[call_id].state == "open"
    colleague = world.ring("102", "101", direction="internal")
    world.answer(colleague)
    way = f"/api/v1/calls/{colleague}/transfer"
    assert browse("anna").send("POST", way, {"to": "103", "notes": "About lunch."}).status_code == 202
    assert world.control.noted == [" Wants a refund. ", "About lunch."]


def test_from_the_card(world: World, browse: Any) -> None:
    call_id = world.ring("+14155550100", "101")
    world.answer(call_id)
    anna, way = browse("anna"), f"/live/calls/{call_id}/transfer"
    assert f'id="transfer-{call_id}"' in anna.get("/").text
    assert browse("boris").post(way, {"to": "103"}).status_code == 403
    assert anna.post(way, {"to": " "}).status_code == 422
    refused = anna.client.post(way, data={"csrf": anna.csrf, "to": ""}, headers={"HX-Request": "true"})
    assert refused.status_code == 422
    assert "Nobody is reached at this number:" in refused.text
    assert anna.post(way, {"to": " 103 ", "summary": "Wants a refund."}).status_code == 303
    told = anna.client.post(way, data={"csrf": anna.csrf, "to": "103"}, headers={"HX-Request": "true"})
    assert f'data-written="{call_id}"' in told.text
    assert world.control.transferred == [(call_id, "103", "101")] * 2
    assert world.control.noted == ["Wants a refund.", ""]


async def test_notes_in_the_crm_that_ships(tmp_path: Path) -> None:
    """They are the summary so far: the activity stays open, and no CRM is told that it is complete."""
    async with real_office(tmp_path) as office:
        call_id = office.world.ring("+14155550100", "101", late=True)
        call = replace(office.world.control.call(call_id), answered_at=2.0, answered_by="101")
        office.world.control.live[call_id] = call
        office.crm.journal.write(call)
        anna = await office.sign_in("anna")
        way = f"/api/v1/calls/{call_id}/transfer"
        assert (await anna.send("POST", way, {"to": "102", "notes": "Wants a\nrefund."})).status_code == 202
        [entry] = await office.crm.activities(call_id=call_id)
        assert (entry.state, entry.summary, entry.author) == ("open", "Wants a\nrefund.", None)
        assert [one.call_id for one in await office.crm.activities(open_only=True)] == [call_id]
        answer = await anna.send("POST", way, {"to": "102", "notes": "x" * 10_001})
        assert (answer.status_code, answer.json()["error"]["field"]) == (422, "notes")
        assert len(office.world.control.transferred) == 1
        await office.crm.write_summary(call_id, "Refunded.", "102")
        await anna.send("PATCH", f"/api/v1/activities/{call_id}", {"notes": "And thanked."})
        [entry] = await office.crm.activities(call_id=call_id)
        assert (entry.state, entry.summary) == ("completed", "Refunded.\nAnd thanked.")
