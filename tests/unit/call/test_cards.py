"""Call-Info: the card and the reason, and where a card can be fetched."""

from __future__ import annotations

import base64
import json
import re

import pytest

from pbxcore import profiles
from pbxcore.call.cards import LIFETIME, LONGEST_REASON, MOST_CARDS, Caller, Cards, call_info, jcard
from pbxcore.profiles import PhoneProfile
from pbxcore.sip.headers import unquote
from tests.unit.call.fakes import Counting

ANNA = Caller("+15557777", "Anna", "Ask about the printer")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def cards(base: str = "https://pbx.example.net/") -> Cards:
    return Cards(Clock(), Counting(), base)


def phone(**switches: object) -> PhoneProfile:
    return PhoneProfile.model_validate(profiles.phone("generic").model_dump() | switches)


def value(caller: Caller, *, store: Cards | None = None, **switches: object) -> str:
    rows = call_info(caller, phone(**switches), cards() if store is None else store)
    assert len(rows) == 1
    key, row = rows[0]
    assert key == "call-info"
    assert "\r" not in row
    assert "\n" not in row
    return row.removeprefix("Call-Info: ")


def read(value: str) -> list[list[object]]:
    found = re.match(r"<data:application/vcard\+json;base64,([A-Za-z0-9+/=]+)>;purpose=jcard", value)
    assert found, value
    kind, properties = json.loads(base64.b64decode(found[1]))
    assert kind == "vcard"
    return list(properties)


def test_a_plain_phone_is_told_nothing() -> None:
    assert call_info(ANNA, phone(), cards()) == []


def test_a_card_in_the_invite_itself() -> None:
    assert read(value(ANNA, caller_card="data")) == [
        ["version", {}, "text", "4.0"], ["fn", {}, "text", "Anna"], ["tel", {}, "uri", "tel:+15557777"],
    ]  # fmt: skip


def test_what_the_crm_says_to_the_one_who_answers_goes_only_where_it_is_shown() -> None:
    assert "printer" not in value(ANNA, caller_card="data")
    assert b"printer" not in jcard(ANNA)
    assert value(ANNA, caller_card="data", call_reason=True).endswith(';call-reason="Ask about the printer"')
    assert value(ANNA, call_reason=True) == '<data:,>;purpose=jcard;call-reason="Ask about the printer"'
    assert call_info(Caller("+1", "Anna"), phone(call_reason=True), cards()) == []


def test_a_hidden_number_is_on_no_card() -> None:
    card = jcard(Caller("anonymous", ""))
    assert b"tel" not in card
    assert b"Anonymous" in card


@pytest.mark.parametrize(
    "text",
    ['x"\r\nVia: evil', 'a";purpose=icon', "\\", '\\"', "a>;x=<b", "\x00\x1b[1m", "\u202eevil", "two\nlines", "é 日本"],
)
def test_text_of_the_crm_is_data(text: str) -> None:
    """Smuggling by a name or by instructions: what comes out again is the text, and nothing else is in the row."""
    row = value(Caller("+1", text, text), caller_card="data", call_reason=True)
    plain = "".join(c for c in " ".join(text.split()) if c.isprintable())
    assert read(row)[1] == ["fn", {}, "text", plain]
    head, quoted = row.split(";call-reason=", 1)
    assert unquote(quoted) == plain
    assert re.fullmatch(r'"(?:[^"\\]|\\.)*"', quoted)
    assert head.count(";") == 2   # of the data URI, and the purpose


def test_a_long_text_is_cut() -> None:
    row = value(Caller("+1", "n" * 5000, "r" * 5000), caller_card="data", call_reason=True)
    assert len(row) < 600
    assert "r" * LONGEST_REASON in row


def test_a_card_is_fetched_from_the_panel_for_two_minutes() -> None:
    clock = Clock()
    store = Cards(clock, Counting(), "https://pbx.example.net/")
    row = value(ANNA, store=store, caller_card="url")
    found = re.fullmatch(r"<https://pbx\.example\.net/cards/(\w+)>;purpose=jcard", row)
    assert found
    assert store.get(found[1]) == jcard(ANNA)
    assert store.get("guess") is None
    clock.now += LIFETIME
    assert store.get(found[1]) is None
    assert len(store) == 0


def test_without_an_address_of_the_panel_there_is_no_card_to_fetch() -> None:
    store = cards("")
    assert call_info(ANNA, phone(caller_card="url"), store) == []
    assert len(store) == 0


def test_cards_do_not_pile_up() -> None:
    store = cards()
    for _ in range(MOST_CARDS + 50):
        store.put(b"{}")
    assert len(store) == MOST_CARDS
