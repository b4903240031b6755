"""Sentences spoken by the real espeak-ng."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pbxcore.media import g711, tone
from pbxcore.media.prompts import Prompts
from tests.conftest import require_tool


@pytest.mark.parametrize(("language", "sentence"), [("en", "Your balance is {sum}"), ("ru", "Ваш баланс {sum}")])
def test_a_sentence_with_the_crms_data(tmp_path: Path, language: str, sentence: str) -> None:
    require_tool("espeak-ng")
    prompts = Prompts(tmp_path / "prompts", tmp_path / "cache", language)

    def spoken(total: str) -> bytes:
        [file] = asyncio.run(prompts.files(sentence, {"sum": total}))
        return g711.ulaw_decode(Path(file).read_bytes())

    short, long = spoken("1"), spoken("one hundred and twenty three thousand")
    assert tone.level(short) > 0.01
    assert 8000 < len(short) < len(long) < 16000 * 10
