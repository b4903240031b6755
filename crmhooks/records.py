"""What a call means to the CRM: its other party, its agent, its activity. Values in, values out; no database."""

from __future__ import annotations

from crmhooks.numbers import normalise
from pbxcore.control import ActivityEntry
from pbxcore.hooks import CallSnapshot, IncomingCall, LegSnapshot
from pbxcore.store.models import ActivityRow

TRUNK = "trunk:"


def other_party(call: CallSnapshot | IncomingCall) -> str:
    """The number on the far side: who called, or whom an extension called outside."""
    return call.called if call.direction == "outbound" else call.caller


def number_of(call: CallSnapshot | IncomingCall, country: str) -> str:
    """The other party in E.164, or as received when it is no telephone number."""
    text = other_party(call)
    number = normalise(text, country)
    return number.e164 if number is not None else text


def agent_of(call: CallSnapshot) -> str | None:
    """The extension whose call it is: it got the call last, dialled out, answered, rang last, or was called."""
    direction, legs = call.direction, call.legs
    rung: str | None = None
    got: LegSnapshot | None = None
    for leg in legs:
        if not leg.party.startswith(TRUNK):
            if leg.side == "b":
                rung = leg.party
            if leg.transferred_by is not None and (got is None or _later(leg, got)):
                got = leg
    if got is not None and direction != "internal":
        return got.party
    if direction == "outbound":
        return call.extension or _extension(legs[0].party if legs else None)
    return _extension(call.answered_by) or rung or (call.called if direction == "internal" else None)


def _later(leg: LegSnapshot, than: LegSnapshot) -> bool:
    return (leg.transferred_at or 0.0) > (than.transferred_at or 0.0)


def activity(row: ActivityRow, contact_name: str | None) -> ActivityEntry:
    return ActivityEntry(
        id=row.call_id,
        call_id=row.call_id,
        direction=row.direction,
        number=row.number,
        contact_id=row.contact_id,
        contact_name=contact_name or "",
        agent=row.agent,
        started_at=row.started_at,
        answered_at=row.answered_at,
        ended_at=row.ended_at,
        disposition=row.disposition,
        state="completed" if row.state == "completed" else "open",
        summary=row.summary,
        author=row.author,
        outcome=row.outcome or "",
        follow_up_at=row.follow_up_at,
        follow_up_note=row.follow_up_note or "",
        recording=row.recording or "",
    )


def activity_of(call: CallSnapshot, number: str, contact_id: str | None, contact_name: str) -> ActivityEntry:
    """The activity of a call before anybody wrote a summary, without asking the database."""
    return ActivityEntry(
        id=call.call_id,
        call_id=call.call_id,
        direction=call.direction,
        number=number,
        contact_id=contact_id,
        contact_name=contact_name,
        agent=agent_of(call),
        started_at=call.arrived_at,
        answered_at=call.answered_at,
        ended_at=call.ended_at,
        disposition=call.disposition.value,
        state="open",
    )


def _extension(party: str | None) -> str | None:
    return None if party is None or party.startswith(TRUNK) else party
