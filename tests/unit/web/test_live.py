"""What the live page shows to whom, event by event."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

from pbxcore.control import ActivityEntry, Card
from pbxcore.events import CardFound, TransferBegan, Transferred
from pbxcore.hooks import CallState, LegSnapshot
from pbxcore.store import StoreUnavailable
from tests.unit.web.fakes import World
from web.feed import Cursor
from web.live import BESIDE, LivePage
from web.panel import Panel
from web.words import Words


class Watcher:
    """A user's open page: `see()` is what the stream sends for what happened since."""

    def __init__(self, world: World, username: str, *, beside: bool = False, language: str = "en") -> None:
        self.panel: Panel = world.app().state.panel
        user = world.users.rows[username]
        more = {"regions": BESIDE} if beside else {}
        self.page = LivePage(self.panel, user, Words(language), "token", **more)
        self.cursor: Cursor = self.panel.hub.join(username)

    async def see(self) -> str:
        for _ in range(3):
            await asyncio.sleep(0)
        entries = await self.cursor.next(0.01)
        assert entries is not None
        return await self.page.apply(entries)


def region(html: str, name: str) -> str:
    found = re.search(rf'<hx-partial hx-target="#{name}" hx-swap="innerMorph">(.*?)</hx-partial>', html, re.DOTALL)
    return found.group(1) if found else ""


async def test_the_card_pops_while_the_phone_rings() -> None:
    world = World()
    world.desk.add(
        "Elena Petrova",
        "+14155550100",
        company="Petrova & Sons",
        tags=("gold",),
        owner="101",
        vip=True,
        instructions="Speaks Russian.",
    )
    anna = Watcher(world, "anna")
    call = world.ring("+14155550100", "101")
    card = region(await anna.see(), "cards")
    for words in (
        "Elena Petrova",
        "+1 415-555-0100",
        "Petrova &amp; Sons",
        "gold",
        "VIP",
        "Speaks Russian.",
        "Incoming call",
        "Owner: Anna Weber (101)",
        f'id="card-{call}"',
        'data-kind="known"',
    ):
        assert words in card, words
    assert "<textarea" not in card


async def test_a_transferred_call_brings_its_card_while_the_phone_rings() -> None:
    """The call talks already, to a colleague: for the one who is rung it rings, and afterwards it is his."""
    world = World()
    world.desk.add("Elena Petrova", "+14155550100", instructions="Speaks Russian.")
    call_id = world.ring("+14155550100", "101")
    world.answer(call_id)
    anna, boris = Watcher(world, "anna"), Watcher(world, "boris")
    assert "Elena Petrova" not in region(await boris.see(), "cards")
    call = world.control.live[call_id]
    rung = LegSnapshot("102", "b", "ringing", "102", 5.0, 5.5)
    world.control.live[call_id] = replace(call, legs=(*call.legs, rung))
    world.publish(TransferBegan(5.0, call_id, "102"))
    card = region(await boris.see(), "cards")
    assert "Elena Petrova" in card
    assert "Speaks Russian." in card
    assert 'data-phase="ringing"' in card or "ringing" in card.lower()
    first = replace(call.legs[1], state="ended", ended_at=6.0)
    taken = replace(rung, state="answered", answered_at=6.0, transferred_by="101", transferred_at=6.0)
    world.control.live[call_id] = replace(call, legs=(call.legs[0], first, taken), answered_by="102")
    world.publish(Transferred(6.0, call_id, "102", "101", "101"))
    assert "Elena Petrova" in region(await boris.see(), "cards")
    assert "Elena Petrova" not in region(await anna.see(), "cards")
    world.end(call_id)
    assert "Elena Petrova" not in region(await anna.see(), "cards")
    assert "Elena Petrova" in region(await boris.see(), "cards")  # it wants his two lines


async def test_the_card_is_announced_to_screen_readers_once() -> None:
    world = World()
    world.desk.add("Elena", "+14155550100", vip=True)
    anna = Watcher(world, "anna")
    call = world.ring("+14155550100", "101")
    assert "Incoming call: Elena, VIP" in region(await anna.see(), "announce")
    world.found(call)
    assert region(await anna.see(), "announce") == ""


async def test_an_agent_sees_nothing_of_others_calls() -> None:
    world = World()
    world.desk.add("Elena", "+14155550100")
    boris = Watcher(world, "boris")
    world.ring("+14155550100", "101")
    seen = await boris.see()
    assert "Elena" not in seen
    assert region(seen, "cards") == ""
    assert region(seen, "calls") == ""


async def test_a_supervisor_sees_every_call_but_no_card_pops() -> None:
    world = World()
    world.desk.add("Elena", "+14155550100")
    boss = Watcher(world, "super")
    call = world.ring("+14155550100", "101")
    seen = await boss.see()
    assert f'id="call-{call}"' in region(seen, "calls")
    assert "<article" not in seen


async def test_unknown_caller_is_offered_as_a_new_contact_with_his_number() -> None:
    world = World()
    anna = Watcher(world, "anna")
    world.ring("+14155550123", "101", caller_name="J. SMITH")
    card = region(await anna.see(), "cards")
    assert 'data-kind="unknown"' in card
    assert 'value="+14155550123"' in card
    assert 'value="J. SMITH"' in card
    assert "New contact" in card


async def test_a_caller_without_a_number_is_not_offered_with_one() -> None:
    world = World()
    anna = Watcher(world, "anna")
    call = world.ring("anonymous", "101")
    card = region(await anna.see(), "cards")
    assert f'id="caller-number-{call}" name="number" type="tel" value=""' in card


async def test_contacts_that_share_a_number_are_all_shown_to_choose_from() -> None:
    world = World()
    world.desk.add("Reception", "+14155550177")
    world.desk.add("Dr. Haddad", "+14155550177", instructions="Lab order.", vip=True)
    anna = Watcher(world, "anna")
    call = world.ring("+14155550177", "101")
    card = region(await anna.see(), "cards")
    assert 'data-kind="shared"' in card
    assert card.count('type="radio"') == 2
    assert f'form="summary-{call}"' in card
    assert "2 contacts share this number" in card
    assert "Lab order." in card


async def test_instructions_of_those_who_share_a_number_stand_beside_their_names_alone() -> None:
    world = World()
    world.desk.add("Reception", "+14155550177", instructions="Ask for the name.")
    world.desk.add("Dr. Haddad", "+14155550177", instructions="Lab order.")
    anna = Watcher(world, "anna")
    call = world.ring("+14155550177", "101", late=True)
    card = Card(call, "+14155550177", world.desk.lookup("+14155550177"), "")
    html = ""
    for text, shown in (
        ("Ask for the name.\nLab order.", False),
        ("Reception: Ask for the name.\nDr. Haddad: Lab order.", False),
        ("The shop is closed today.", True),
    ):
        world.desk.cards[call] = replace(card, instructions=text)
        world.publish(CardFound(0.0, call, True))
        html = region(await anna.see(), "cards") or html
        assert ('class="instructions"' in html) is shown, text
        assert html.count("Lab order.") == 1


async def test_a_withheld_number_is_said_to_be_withheld() -> None:
    world = World()
    anna = Watcher(world, "anna")
    world.ring("", "101", late=True)
    seen = await anna.see()
    assert "Number withheld" in region(seen, "cards")
    assert "Incoming call: Number withheld" in region(seen, "announce")
    assert "Number withheld" in region(seen, "calls")


async def test_look_up_on_its_way_shows_the_number_and_the_late_card_fills_in() -> None:
    world = World()
    world.desk.add("Elena", "+14155550100", instructions="Be quick.")
    anna = Watcher(world, "anna")
    call = world.ring("+14155550100", "101", late=True)
    first = region(await anna.see(), "cards")
    assert 'data-kind="looking"' in first
    assert "+1 415-555-0100" in first
    world.found(call, late=True)
    second = region(await anna.see(), "cards")
    assert 'data-kind="known"' in second
    assert "Be quick." in second
    assert f'id="card-{call}"' in second


async def test_first_party_extension_looks_up_for_itself() -> None:
    world = World()
    elena = world.desk.add("Elena", "+14155550100", instructions="Renewal.")
    world.desk.acts["old"] = ActivityEntry(
        "a1",
        "old",
        "inbound",
        "+14155550100",
        elena.id,
        "Elena",
        "102",
        1.0,
        2.0,
        3.0,
        "answered",
        "completed",
        "Sent.",
    )
    boris = Watcher(world, "boris")
    world.desk.lookups.clear()
    call = world.ring("+14155550100", "102", known=False, late=True)
    assert world.desk.card(call) is None
    card = region(await boris.see(), "cards")
    assert 'data-kind="known"' in card
    assert "Renewal." in card
    assert "Sent." in card
    assert "+14155550100" in world.desk.lookups


async def test_a_contact_stored_during_the_call_is_on_the_card_at_the_next_look() -> None:
    world = World()
    anna = Watcher(world, "anna")
    call = world.ring("+14155550123", "101")
    await anna.see()
    world.desk.add("Newcomer", "+14155550123")
    world.answer(call)
    assert "Newcomer" in region(await anna.see(), "cards")


async def test_recent_calls_are_on_the_card() -> None:
    world = World()
    elena = world.desk.add("Elena", "+14155550100")
    world.desk.acts["old"] = ActivityEntry(
        "a1",
        "old",
        "inbound",
        "+14155550100",
        elena.id,
        "Elena",
        "101",
        1.0,
        2.0,
        3.0,
        "answered",
        "completed",
        "Sent.",
    )
    anna = Watcher(world, "anna")
    world.ring("+14155550100", "101")
    assert "Sent." in region(await anna.see(), "cards")


async def test_answered_wants_the_summary_and_keeps_it_after_the_end_until_written() -> None:
    world = World()
    world.desk.add("Elena", "+14155550100")
    anna = Watcher(world, "anna")
    call = world.ring("+14155550100", "101")
    world.answer(call)
    card = region(await anna.see(), "cards")
    assert f'id="summary-{call}"' in card
    assert "Talking" in card
    world.hold(call)
    assert "On hold" in region(await anna.see(), "cards")
    world.end(call)
    seen = await anna.see()
    assert "Call ended" in region(seen, "cards")
    assert f'id="summary-{call}"' in region(seen, "cards")
    assert call not in region(seen, "summaries"), "it has its card: not twice"
    await world.desk.write_summary(call, "Renewed.", "101")
    seen = await anna.see()
    assert call not in seen


async def test_written_while_the_call_goes_on_it_is_shown_instead_of_the_form() -> None:
    world = World()
    world.desk.add("Elena", "+14155550100")
    anna = Watcher(world, "anna")
    call = world.ring("+14155550100", "101")
    world.answer(call)
    await anna.see()
    await world.desk.write_summary(call, "Renewed.", "101")
    card = region(await anna.see(), "cards")
    assert "Renewed." in card
    assert "<textarea" not in card
    world.end(call)
    assert call not in region(await anna.see(), "cards")


async def test_a_call_that_nobody_answered_leaves_no_card() -> None:
    world = World()
    anna = Watcher(world, "anna")
    call = world.ring("+14155550123", "101")
    await anna.see()
    world.end(call)
    assert call not in region(await anna.see(), "cards")


async def test_answered_by_a_colleague_the_card_goes() -> None:
    world = World()
    anna = Watcher(world, "anna")
    call = world.ring("+14155550123", "101")
    assert call in region(await anna.see(), "cards")
    live = world.control.live[call]
    legs = (live.legs[0], replace(live.legs[1], state="ended"), LegSnapshot("103", "b", "ringing", "103", 0.0))
    world.control.live[call] = replace(live, legs=legs)
    world.answer(call, "103")
    live = world.control.live[call]
    world.control.live[call] = replace(live, legs=(live.legs[0], replace(live.legs[1], state="ended"), live.legs[2]))
    assert call not in region(await anna.see(), "cards")
    world.end(call)
    assert call not in region(await anna.see(), "cards"), "she did not speak: no summary is hers"


async def test_a_colleagues_call_shows_his_name_and_wants_no_summary() -> None:
    world = World()
    anna = Watcher(world, "anna")
    call = world.ring("102", "101", direction="internal")
    card = region(await anna.see(), "cards")
    assert 'data-kind="colleague"' in card
    assert "Boris Ivanov" in card
    world.answer(call)
    assert "<textarea" not in region(await anna.see(), "cards")


async def test_an_outgoing_call_has_the_card_of_the_one_who_is_called() -> None:
    world = World()
    world.desk.add("Elena", "+14155550100")
    boris = Watcher(world, "boris")
    call = world.ring("102", "+14155550100", direction="outbound", late=True)
    card = region(await boris.see(), "cards")
    assert "Elena" in card
    assert "Calling" in card
    assert f'id="card-{call}"' in card


async def test_open_summaries_are_listed_until_written() -> None:
    world = World()
    world.desk.add("Elena", "+14155550100")
    call = world.ring("+14155550100", "101")
    world.answer(call)
    world.end(call)
    anna, boris, boss = Watcher(world, "anna"), Watcher(world, "boris"), Watcher(world, "super")
    assert f'id="open-{call}"' in region(await anna.page.everything(), "summaries")
    assert call not in await boris.page.everything()
    boss_sees = region(await boss.page.everything(), "summaries")
    assert f'id="open-{call}"' in boss_sees
    assert "Anna Weber (101)" in boss_sees
    await world.desk.write_summary(call, "Done.", "101")
    assert "All written" in region(await anna.see(), "summaries")


async def test_the_database_away_the_card_pops_all_the_same() -> None:
    world = World()
    world.desk.add("Elena", "+14155550100")
    anna = Watcher(world, "anna")

    async def away(**_: object) -> list[ActivityEntry]:
        raise StoreUnavailable("gone")

    world.desk.activities = away  # type: ignore[assignment]  # a desk whose database is away
    call = world.ring("+14155550100", "101")
    assert "Elena" in region(await anna.see(), "cards")
    world.answer(call)
    assert f'id="summary-{call}"' in region(await anna.see(), "cards")


async def test_nothing_new_is_not_sent_again() -> None:
    world = World()
    anna = Watcher(world, "anna")
    await anna.page.everything()
    world.registered("101", 1)
    await anna.see()
    world.registered("101", 1)
    assert await anna.see() == ""


async def test_phones_show_registration_and_busy() -> None:
    world = World()
    anna = Watcher(world, "anna")
    seen = region(await anna.page.everything(), "phones")
    assert 'id="phone-103" class="away"' in seen
    assert "Snom" not in seen, "devices are the supervisor's affair"
    assert "Snom D785" in region(await Watcher(world, "super").page.everything(), "phones")
    call = world.ring("+14155550100", "103")
    world.answer(call, "103")
    assert 'id="phone-103" class="busy"' in region(await anna.see(), "phones")
    world.registered("103", 2)
    world.end(call)
    assert 'id="phone-103" class="free"' in region(await anna.see(), "phones")


async def test_other_pages_show_who_is_calling() -> None:
    world = World()
    world.desk.add("Elena", "+14155550100")
    anna, boris = Watcher(world, "anna", beside=True), Watcher(world, "boris", beside=True)
    call = world.ring("+14155550100", "101")
    seen = await anna.see()
    assert f'href="/#card-{call}"' in region(seen, "toast")
    assert region(seen, "cards") == ""
    assert await boris.see() == ""
    world.answer(call)
    assert "Elena" not in region(await anna.see(), "toast")


async def test_russian_page_is_russian() -> None:
    world = World()
    anna = Watcher(world, "anna", language="ru")
    world.ring("+14155550123", "101")
    card = region(await anna.see(), "cards")
    assert "Входящий звонок" in card
    assert "Неизвестный номер" in card


async def test_hostile_names_stay_text() -> None:
    world = World()
    evil = '<script>alert(1)</script>"\'><img src=x onerror=1>{{731*907}}${731*907}\n<hx-partial hx-target="body">'
    world.desk.add(evil, "+14155550100", company=evil, tags=(evil,), instructions=evil)
    anna = Watcher(world, "anna")
    world.ring("+14155550100", "101", caller_name=evil)
    world.ring("'; DROP TABLE--<b>", "101", caller_name=evil)
    seen = await anna.see()
    assert "<script" not in seen
    assert "<img" not in seen
    assert "<b>" not in seen
    assert str(731 * 907) not in seen
    assert seen.count("<hx-partial") == len(re.findall(r'<hx-partial hx-target="#\w+" hx-swap="innerMorph">', seen))


async def test_a_thousand_calls_are_shown_in_part() -> None:
    world = World()
    for i in range(150):
        world.ring(f"+1415555{i:04}", "103")
    boss = Watcher(world, "super")
    calls = region(await boss.page.everything(), "calls")
    assert calls.count("<tr id=") == 100
    assert "and 50 more" in calls


async def test_releasing_call_is_no_card() -> None:
    world = World()
    anna = Watcher(world, "anna")
    call = world.ring("101", "+14155550100", direction="outbound", late=True)
    await anna.see()
    live = world.control.live[call]
    world.control.live[call] = replace(
        live, state=CallState.RELEASING, legs=tuple(replace(leg, state="ended") for leg in live.legs)
    )
    world.registered("101", 1)
    assert "<article" not in region(await anna.page.everything(), "cards")
