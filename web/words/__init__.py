"""The panel's words in English and Russian: a catalogue a language, the same keys in each."""

from __future__ import annotations

from typing import Any

from pbxcore.faults import ENGLISH as ENGLISH_FAULTS
from web.words.en import WORDS as ENGLISH
from web.words.en_crm import WORDS as ENGLISH_CRM
from web.words.ru import WORDS as RUSSIAN
from web.words.ru_crm import WORDS as RUSSIAN_CRM
from web.words.ru_faults import WORDS as RUSSIAN_FAULTS

CATALOGUES: dict[str, dict[str, str]] = {
    "en": ENGLISH | ENGLISH_CRM | {f"fault.{code}": text for code, text in ENGLISH_FAULTS.items()},
    "ru": RUSSIAN | RUSSIAN_CRM | {f"fault.{code}": text for code, text in RUSSIAN_FAULTS.items()},
}
LANGUAGES: dict[str, str] = {"en": "English", "ru": "Русский"}


class Words:
    """Looks words up in one language: `words("call.from", name="Anna")`."""

    __slots__ = ("_catalogue", "language")

    def __init__(self, language: str) -> None:
        self.language = language
        self._catalogue = CATALOGUES[language]

    def __call__(self, key: str, **values: Any) -> str:
        """The words for a key. Raises KeyError for one that no catalogue has: that is a bug, not a user's error."""
        text = self._catalogue[key]
        return text.format(**values) if values else text

    def __contains__(self, key: str) -> bool:
        return key in self._catalogue

    def count(self, key: str, number: int) -> str:
        """A number with its noun in the right form: keys `KEY.one`, `KEY.few` (Russian), `KEY.many`."""
        return self(f"{key}.{plural_form(self.language, number)}", n=number)


def plural_form(language: str, number: int) -> str:
    """The plural category of the Unicode CLDR for a whole number."""
    if language != "ru":
        return "one" if number == 1 else "many"
    if number % 10 == 1 and number % 100 != 11:
        return "one"
    if number % 10 in (2, 3, 4) and number % 100 not in (12, 13, 14):
        return "few"
    return "many"


def choose_language(chosen: str, accepted: str, office: str) -> str:
    """What the user chose, else the best of his Accept-Language (RFC 9110 section 12.5.4), else the office's."""
    if chosen in CATALOGUES:
        return chosen
    best, best_weight = office, 0.0
    for part in accepted.split(",")[:20]:
        tag, _, parameter = part.partition(";")
        language = tag.strip().lower().partition("-")[0]
        name, _, value = parameter.strip().partition("=")
        try:
            weight = float(value) if name.strip() == "q" else 1.0
        except ValueError:
            continue
        if language in CATALOGUES and weight > best_weight:
            best, best_weight = language, weight
    return best
