"""What the embedded CRM itself would do with a call, from its card: pure, and made from memory.

A known customer with an owner rings at his owner's desk first; everybody known is shown by name. The name is for
our own phones: on an outbound call the phone that rings is the customer's, and is told nothing from the CRM.
"""

from __future__ import annotations

from collections.abc import Callable

from crmhooks.text import one_line
from pbxcore.control import Card, ContactEntry
from pbxcore.hooks import Decision, Direction, IncomingCall, Proceed, Ring

OWNER_RINGS = 20.0   # seconds, before the dial plan's own targets ring
LONGEST_NAME = 128
NAMES_SHOWN = 2
MOST_KEPT = 4096     # numbers


class Own:
    """`decide`, which makes a decision once for each number: it is the same in every call from it for as long as the
    same people have it. Not kept are those that ring an owner: `owner_first` has a say in each.
    """

    def __init__(self, owner_first: Callable[[IncomingCall], bool]) -> None:
        self._owner_first = owner_first
        self._kept: dict[str, tuple[tuple[ContactEntry, ...], str, Direction, Decision]] = {}

    def decide(self, call: IncomingCall, card: Card) -> Decision | None:
        contacts, instructions, direction = card.contacts, card.instructions, call.direction
        if not (contacts or instructions):
            return None
        kept = self._kept.get(card.number)
        # A change of a contact makes another tuple of them (`index`): to be the same one is to be unchanged.
        if kept is not None and kept[0] is contacts and kept[1] == instructions and kept[2] == direction:
            return kept[3]
        if len(contacts) == 1 and contacts[0].owner is not None:
            return decide(call, card, owner_first=self._owner_first(call))
        decision = decide(call, card)
        if decision is not None:
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            self._kept[card.number] = contacts, instructions, direction, decision
        return decision


def decide(call: IncomingCall, card: Card | None, *, owner_first: bool = True) -> Decision | None:
    """None when the CRM knows nobody and has no instructions for this call. Without `owner_first` it rings where the
    dial plan says."""
    if card is None or not (card.contacts or card.instructions):
        return None
    instructions = card.instructions or None
    name = shown_name(card.contacts) if call.direction != "outbound" else None
    if len(card.contacts) != 1:
        return Proceed(display_name=name, instructions=instructions)
    contact = card.contacts[0]
    contact_id, tags = contact.id or None, _tags(contact)
    proceed = Proceed(display_name=name, instructions=instructions, contact_id=contact_id, tags=tags)
    if contact.owner is None or call.direction != "inbound" or not owner_first:
        return proceed
    return Ring(
        (contact.owner,),
        timeout=OWNER_RINGS,
        display_name=name,
        instructions=instructions,
        contact_id=contact_id,
        tags=tags,
        otherwise=proceed,
    )


def shown_name(contacts: tuple[ContactEntry, ...]) -> str | None:
    """One name, or what to show for a number that several share."""
    if not contacts or (len(contacts) == 1 and contacts[0].name in contacts[0].numbers):   # a number is no name
        return None
    if len(contacts) > NAMES_SHOWN:
        return f"{len(contacts)} contacts"
    name = one_line(contacts[0].name)
    if len(contacts) > 1:
        name = " / ".join([name, *[one_line(contact.name) for contact in contacts[1:]]])
    return (name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…") or None


def _tags(contact: ContactEntry) -> tuple[str, ...]:
    return (*contact.tags, "vip") if contact.vip and "vip" not in contact.tags else contact.tags
