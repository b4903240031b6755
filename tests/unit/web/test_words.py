"""The two languages."""

from __future__ import annotations

import re
from pathlib import Path
from string import Formatter

import pytest

import web
from web.words import CATALOGUES, Words, choose_language, plural_form

ROOT = Path(web.__file__).parent
USED = re.compile(r"""\b(?:t|words)\(\s*["']([a-z_.0-9]+)["']\s*[,)]""")
COUNTED = re.compile(r"""\.count\(\s*["']([a-z_.]+)["']""")
BUILT = re.compile(r"""\b(?:t|words)\(\s*f?["']([a-z_]+\.)(?:["'] ~|\{)""")


def sources() -> str:
    files = [*ROOT.rglob("*.html"), *ROOT.rglob("*.py")]
    return "\n".join(path.read_text(encoding="utf-8") for path in files if path.parent.name != "words")


def test_both_catalogues_have_the_same_keys_and_values() -> None:
    english, russian = CATALOGUES["en"], CATALOGUES["ru"]
    assert english.keys() == russian.keys()
    for key in english:
        fields = [{name for _, name, _, _ in Formatter().parse(words[key]) if name} for words in (english, russian)]
        assert fields[0] == fields[1], key
        assert english[key].strip(), key
        assert russian[key].strip(), key


def test_russian_is_russian() -> None:
    same = {key for key, text in CATALOGUES["ru"].items() if text == CATALOGUES["en"][key]}
    assert same <= {"contact.vip"}


def test_every_key_that_pages_use_exists() -> None:
    text = sources()
    used = set(USED.findall(text))
    assert len(used) > 100
    assert used <= CATALOGUES["en"].keys(), used - CATALOGUES["en"].keys()
    for key in set(COUNTED.findall(text)):
        assert {f"{key}.{form}" for form in ("one", "few", "many")} <= CATALOGUES["en"].keys(), key


def test_every_key_is_used() -> None:
    text = sources()
    literal = set(re.findall(r"""["']([a-z_]+(?:\.[a-z_0-9]+)+)["']""", text))
    literal |= {f"{key}.{form}" for key in COUNTED.findall(text) for form in ("one", "few", "many")}
    built = tuple(
        {
            *BUILT.findall(text),
            *re.findall(r"""["']([a-z_.]+\.)["'] ~""", text),
            "error.",
            "note.",
            "month.",
            "card.state.",
            "explain.",
            "fault.",
            "workstation.say.",
        }
    )
    idle = {key for key in CATALOGUES["en"] if key not in literal and not key.startswith(built)}
    assert idle == set()


def test_values_are_put_in() -> None:
    assert Words("en")("nav.extension", number="101") == "extension 101"
    assert "101" in Words("ru")("nav.extension", number="101")


def test_a_key_that_is_missing_is_an_error() -> None:
    with pytest.raises(KeyError):
        Words("en")("no.such.key")


@pytest.mark.parametrize(
    ("number", "form"),
    [(1, "one"), (2, "few"), (5, "many"), (11, "many"), (12, "many"), (21, "one"), (22, "few"), (0, "many")],
)
def test_russian_plurals(number: int, form: str) -> None:
    assert plural_form("ru", number) == form


def test_english_plurals() -> None:
    assert Words("en").count("users.count", 1) == "1 user"
    assert Words("en").count("users.count", 3) == "3 users"


@pytest.mark.parametrize(
    ("chosen", "accepted", "office", "language"),
    [
        ("ru", "en", "en", "ru"),
        ("", "ru-RU,ru;q=0.9,en;q=0.8", "en", "ru"),
        ("", "en-GB,ru;q=0.5", "ru", "en"),
        ("", "de,fr;q=0.9", "ru", "ru"),
        ("", "de, ru;q=0.3, en;q=0.7", "ru", "en"),
        ("xx", "", "en", "en"),
        ("", "ru;q=nonsense,en;q=0.1", "ru", "en"),
        ("", "," * 5000, "en", "en"),
    ],
)
def test_language_is_the_users_then_the_browsers_then_the_offices(
    chosen: str, accepted: str, office: str, language: str
) -> None:
    assert choose_language(chosen, accepted, office) == language
