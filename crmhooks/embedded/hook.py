"""What the embedded CRM itself would do with a call, from its card: pure, and made from memory.

A known customer with an owner rings at his owner's desk first; everybody known is shown by name. The name is for
our own phones: on an outbound call the phone that rings is the customer's, and is told nothing from the CRM.
"""

from __future__ import annotations

from crmhooks.text import one_line
from pbxcore.control import Card, ContactEntry
from pbxcore.hooks import Decision, IncomingCall, Proceed, Ring

OWNER_RINGS = 20.0   # seconds, before the dial plan's own targets ring
LONGEST_NAME = 128
NAMES_SHOWN = 2


def decide(call: IncomingCall, card: Card | None) -> Decision | None:
    """None when the CRM knows nobody and has no instructions for this call."""
    if card is None or not (card.contacts or card.instructions):
        return None
    instructions = card.instructions or None
    name = shown_name(card.contacts) if call.direction != "outbound" else None
    if len(card.contacts) != 1:
        return Proceed(display_name=name, instructions=instructions)
    contact = card.contacts[0]
    proceed = Proceed(
        display_name=name,
        instructions=instructions,
        contact_id=contact.id or None,
        tags=_tags(contact),
    )
    if contact.owner is None or call.direction != "inbound":
        return proceed
    return Ring(
        (contact.owner,),
        timeout=OWNER_RINGS,
        display_name=proceed.display_name,
        instructions=instructions,
        contact_id=proceed.contact_id,
        tags=proceed.tags,
        otherwise=proceed,
    )


def shown_name(contacts: tuple[ContactEntry, ...]) -> str | None:
    """One name, or what to show for a number that several share."""
    if not contacts:
        return None
    if len(contacts) > NAMES_SHOWN:
        return f"{len(contacts)} contacts"
    name = " / ".join(one_line(contact.name) for contact in contacts)
    return (name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…") or None


def _tags(contact: ContactEntry) -> tuple[str, ...]:
    return (*contact.tags, "vip") if contact.vip and "vip" not in contact.tags else contact.tags
