"""The contact index: everybody with a number, never just the first; one who is only close, when he is the only one."""

from __future__ import annotations

import random

import pytest

from crmhooks.embedded.index import ContactIndex
from pbxcore.control import ContactEntry


def entry(contact_id: str, *numbers: str, name: str = "") -> ContactEntry:
    return ContactEntry(contact_id, name or contact_id, numbers)


def ids(index: ContactIndex, e164: str) -> list[str]:
    return [found.id for found in index.find(e164)]


def test_a_shared_number_finds_all_in_the_order_they_came() -> None:
    index = ContactIndex([entry("a", "+12125550100"), entry("b", "+12125550100", "+12125550101")])
    assert ids(index, "+12125550100") == ["a", "b"]
    assert ids(index, "+12125550101") == ["b"]
    assert ids(index, "+12125550199") == []


def test_changes_move_numbers() -> None:
    index = ContactIndex([entry("a", "+12125550100"), entry("b", "+12125550100")])
    index.put(entry("a", "+12125550111", name="new"))
    assert ids(index, "+12125550100") == ["b"]
    assert [found.name for found in index.find("+12125550111")] == ["new"]
    index.put(entry("b", "+12125550100", name="renamed"))
    assert [found.name for found in index.find("+12125550100")] == ["renamed"]
    index.drop("b")
    index.drop("b")
    assert ids(index, "+12125550100") == []
    assert len(index) == 1
    assert index.get("a") is not None
    assert index.get("b") is None


@pytest.mark.parametrize(
    ("stored", "calls"),
    [
        ("+15550100", "+12125550100"),
        ("+12125550100", "+15550100"),
        ("+5491123456789", "+541123456789"),
        ("+541123456789", "+5491123456789"),
    ],
)
def test_a_number_that_differs_in_its_beginning_only_is_found(stored: str, calls: str) -> None:
    assert ids(ContactIndex([entry("a", stored)]), calls) == ["a"]


@pytest.mark.parametrize(
    ("stored", "calls"),
    [
        ("+12125550100", "+13125550100"),      # the same local number in another area
        ("+4930123456", "+4940123456"),
        ("+12125550100", "+442125550100"),     # in another country
        ("+4930123456", "+49301234567"),       # one digit more at the end
        ("+12125550100", "anonymous"),
        ("+12125550100", ""),
        ("+12125550100", "0100"),
    ],
)
def test_somebody_else_is_not_taken_for_a_contact(stored: str, calls: str) -> None:
    assert ids(ContactIndex([entry("a", stored)]), calls) == []


def test_close_to_two_contacts_is_close_to_none() -> None:
    index = ContactIndex([entry("a", "+12125550100"), entry("b", "+13125550100")])
    assert ids(index, "+15550100") == []
    index.drop("b")
    assert ids(index, "+15550100") == ["a"]


def test_two_numbers_of_one_contact_are_still_one_contact() -> None:
    index = ContactIndex([entry("a", "+12125550100", "+13125550100")])
    assert ids(index, "+15550100") == ["a"]


def test_exact_wins_over_close() -> None:
    index = ContactIndex([entry("a", "+15550100"), entry("b", "+12125550100")])
    assert ids(index, "+12125550100") == ["b"]
    assert ids(index, "+15550100") == ["a"]


def test_any_order_of_changes_ends_as_the_index_made_from_what_is_left() -> None:
    rng = random.Random(7)
    numbers = [f"+1212555{n:04d}" for n in range(6)] + ["+15550001", "+13125550002"]
    for _ in range(50):
        index = ContactIndex()
        left: dict[str, ContactEntry] = {}
        for _ in range(40):
            contact_id = rng.choice("abcdef")
            if rng.random() < 0.3:
                index.drop(contact_id)
                left.pop(contact_id, None)
            else:
                made = entry(contact_id, *rng.sample(numbers, rng.randint(0, 4)))
                index.put(made)
                left[contact_id] = made
        fresh = ContactIndex(left.values())
        for number in [*numbers, "+12125550002", "+15550000"]:
            assert sorted(ids(index, number)) == sorted(ids(fresh, number)), number
        assert index._by_number.keys() == fresh._by_number.keys()
        assert {k: set(v) for k, v in index._by_tail.items()} == {k: set(v) for k, v in fresh._by_tail.items()}
