"""What a hook's or a connector's answer adds to the agent's card, and what the card adds to a decision. Pure."""

from __future__ import annotations

from dataclasses import replace

from pbxcore.control import Card, ContactEntry
from pbxcore.hooks import Decision


def enriched(card: Card, decision: Decision, *, late: bool) -> Card | None:
    """The card with what the decision says about the caller; None when it says nothing new.

    Contacts that the card has stay: a decision can pick one of them by its id, or name a stranger. A stranger's
    entry has no id of its own, because the desk does not keep him.
    """
    contacts = card.contacts
    picked = tuple(contact for contact in contacts if contact.id and contact.id == decision.contact_id)
    if picked:
        contacts = picked
    elif not contacts and (decision.display_name or decision.contact_id):
        name = decision.display_name or decision.contact_id or ""
        contacts = (ContactEntry("", name, (card.number,), tags=decision.tags),)
    instructions = decision.instructions or card.instructions
    if contacts == card.contacts and instructions == card.instructions:
        return None
    return replace(card, contacts=contacts, instructions=instructions, late=late)


def with_contacts(card: Card, contacts: tuple[ContactEntry, ...], *, late: bool) -> Card | None:
    """The card with whom a connector found; None when the card knows somebody already, or nobody was found."""
    if card.contacts or not contacts:
        return None
    return replace(card, contacts=contacts, instructions=card.instructions or instructions_of(contacts), late=late)


def instructions_of(contacts: tuple[ContactEntry, ...]) -> str:
    """One contact's own; of several, each one's behind its name, because nobody knows yet who calls."""
    if len(contacts) == 1:
        return contacts[0].instructions
    return "\n".join(f"{entry.name}: {entry.instructions}" for entry in contacts if entry.instructions)


def completed(decision: Decision, own: Decision | None) -> Decision:
    """A hook's decision with the name, contact and instructions it left out taken from the embedded CRM's own.

    What is done `otherwise` is about the same caller, and inherits the three in the same way.
    """
    if own is not None:
        decision = _filled(decision, own)
    if decision.otherwise is not None:
        otherwise = completed(decision.otherwise, decision)
        if otherwise is not decision.otherwise:
            decision = replace(decision, otherwise=otherwise)
    return decision


def _filled(decision: Decision, source: Decision) -> Decision:
    name = decision.display_name or source.display_name
    contact = decision.contact_id or source.contact_id
    instructions = decision.instructions or source.instructions
    if (name, contact, instructions) == (decision.display_name, decision.contact_id, decision.instructions):
        return decision
    return replace(decision, display_name=name, contact_id=contact, instructions=instructions)
