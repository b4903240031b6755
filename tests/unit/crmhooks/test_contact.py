"""What may be stored as a contact, and what is said about what may not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from crmhooks.contact import MAX_INSTRUCTIONS, MAX_NUMBERS, check
from pbxcore.control import ContactEntry, Invalid

ANN = ContactEntry("", "Ann")


def test_texts_are_cleaned_and_numbers_brought_to_e164() -> None:
    entry = ContactEntry(
        "7", "  Ann \t Lee\0", (" 212-555-0100 ", "", "+1 212 555 0100", "2125550111"), "ACME\nInc", " a@example.net ",
        " 101 ", ("vip", " ", "vip", "gold"), "one\r\ntwo", True,
    )  # fmt: skip
    assert check(entry, "US") == ContactEntry(
        "7", "Ann Lee", ("+12125550100", "+12125550111"), "ACME Inc", "a@example.net",
        "101", ("vip", "gold"), "one\ntwo", True,
    )  # fmt: skip


def test_a_company_alone_names_the_contact() -> None:
    assert check(ContactEntry("", " ", company="ACME"), "").name == "ACME"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "", "company": " "}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"company": "x" * 201}, "company"),
        ({"email": "not an address"}, "email"),
        ({"email": "a@b" + "c" * 200}, "email"),
        ({"owner": "1 0 1"}, "owner"),
        ({"owner": "<script>"}, "owner"),
        ({"instructions": "x" * (MAX_INSTRUCTIONS + 1)}, "instructions"),
        ({"numbers": ("101",)}, "numbers"),
        ({"numbers": ("anonymous",)}, "numbers"),
        ({"numbers": tuple(f"+1212555{n:04d}" for n in range(MAX_NUMBERS + 1))}, "numbers"),
        ({"tags": ("x" * 65,)}, "tags"),
        ({"tags": tuple(str(n) for n in range(51))}, "tags"),
    ],
)
def test_the_field_at_fault_is_named(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        check(replace(ANN, **changes), "US")
    assert refused.value.field == field
    assert str(refused.value)


def test_without_a_country_the_message_says_how_to_write_the_number() -> None:
    with pytest.raises(Invalid, match=r"office\.country"):
        check(replace(ANN, numbers=("2125550100",)), "")
    with pytest.raises(Invalid, match="no telephone number"):
        check(replace(ANN, numbers=("+12",)), "")
