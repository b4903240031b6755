"""Queues, menus and mailboxes of a whole exchange, with phones that hear and speak."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pbxcore.attending import CannotAttend
from pbxcore.mailroom import FileMailroom
from pbxcore.media import tone, wav
from tests.wire.shell import until
from tests.wire.test_app import HIGH, LOW, rows, running, settings

MUSIC, WELCOME = 600, 800


@pytest.fixture
def office(tmp_path: Path) -> dict[str, Any]:
    """Settings of an office with a queue 601, a menu 602 and a mailbox of 102."""
    prompts = tmp_path / "prompts"
    prompts.mkdir()
    (prompts / "music.wav").write_bytes(wav.encode(tone.sine(MUSIC, 1.0)))
    (prompts / "welcome.wav").write_bytes(wav.encode(tone.sine(WELCOME, 1.0)))
    return {
        "media": {"prompts": str(prompts), "recordings": str(tmp_path / "recordings")},
        "extension": [
            {"number": number, "name": f"Desk {number}", "password": f"secret {number}", "voicemail": number == "102"}
            for number in ("101", "102")
        ],
        "queue": [{"name": "sales", "number": "601", "agents": ["102"], "announce_seconds": 0}],
        "ivr": [{"name": "main", "number": "602", "say": ["welcome"], "keys": ["1=102", "2=voicemail:102"]}],
    }


async def test_a_caller_waits_with_music_until_an_agent_is_there(tmp_path: Path, office: dict[str, Any]) -> None:
    async with running(settings(tmp_path, **office)) as running_office:
        one, two = running_office.one, running_office.two
        two.agent.answer_after = 1
        call = await one.dial("601")
        hears = one.audio(call)
        await until(lambda: hears.share(MUSIC, 0.3) > 0.95)
        incoming = (await two.wait("incoming")).call
        assert incoming is not None
        assert incoming.number == "101"
        await two.wait("answered")
        heard = two.audio(incoming)
        await until(lambda: hears.share(LOW, 0.3) > 0.95 and heard.share(HIGH, 0.3) > 0.95)
        await two.hang_up(incoming)
        await one.wait("ended")
        await until(lambda: running_office.app.exchange.media.ports_in_use() == 0)
    [record] = rows(tmp_path, "select disposition, called, answered_by from calls")
    assert record == ("answered", "601", "102")
    [activity] = rows(tmp_path, "select agent from activities")
    assert activity == ("102",)


async def test_a_key_leads_out_of_the_menu(tmp_path: Path, office: dict[str, Any]) -> None:
    async with running(settings(tmp_path, **office)) as running_office:
        one, two = running_office.one, running_office.two
        call = await one.dial("602")
        hears = one.audio(call)
        await until(lambda: hears.share(WELCOME, 0.3) > 0.95)
        one.audio(call).press("1")
        await two.wait("answered")
        await until(lambda: hears.share(LOW, 0.3) > 0.95)
        await one.hang_up(call)
        await two.wait("ended")


async def test_a_message_is_left_and_the_lamp_shines(tmp_path: Path, office: dict[str, Any]) -> None:
    async with running(settings(tmp_path, **office)) as running_office:
        one, mailboxes = running_office.one, running_office.app.exchange.events.mailboxes
        call = await one.dial("602")
        one.audio(call).press("2")
        hears = one.audio(call)
        await until(lambda: hears.share(1000.0, 0.2) > 0.9, 8.0)    # the tone
        await asyncio.sleep(1.5)
        await one.hang_up(call)
        await until(lambda: mailboxes.counts("102").new == 1)
    [file] = sorted((tmp_path / "recordings" / "voicemail" / "102" / "new").glob("*.wav"))
    pcm = wav.read(file)
    assert 1.0 < len(pcm) / 16000 < 3.0
    assert tone.share(pcm[-8000:], HIGH) > 0.95
    [call_id] = rows(tmp_path, "select call_id from calls")[0]
    assert file.stem == call_id


async def test_the_mailroom_is_waited_for_at_the_end(
    tmp_path: Path, office: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, close = [], FileMailroom.close

    async def noted(mailroom: FileMailroom) -> None:
        await close(mailroom)
        closed.append(mailroom)

    monkeypatch.setattr(FileMailroom, "close", noted)
    async with running(settings(tmp_path, **office)) as running_office:
        mailroom = running_office.app.exchange.mailroom
    assert closed == [mailroom]


async def test_a_directory_that_cannot_be_used(tmp_path: Path, office: dict[str, Any]) -> None:
    (tmp_path / "recordings").write_text("a file")
    with pytest.raises(CannotAttend, match=r"media\.recordings"):
        async with running(settings(tmp_path, **office)):
            pass
