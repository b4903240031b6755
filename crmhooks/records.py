"""A call as rows and back: the call record, and the embedded CRM's activity. Values in, values out; no database.

The order of a row's values is the order of the columns in `pbxcore.store.models`.
"""

from __future__ import annotations

import json
from typing import Any, cast

from crmhooks.numbers import normalise
from pbxcore.control import ActivityEntry
from pbxcore.hooks import CallSnapshot, CallState, Disposition, IncomingCall, LegSnapshot, StreamStats
from pbxcore.store.models import ActivityRow, CallRow
from pbxcore.store.statements import Row, clean, clean_or_none

TRUNK = "trunk:"
STATES = {state: state.value for state in CallState}                    # plain strings, which drivers bind faster
DISPOSITIONS = {disposition: disposition.value for disposition in Disposition}
_json = json.JSONEncoder(separators=(",", ":")).encode
_quote = json.encoder.encode_basestring_ascii


def other_party(call: CallSnapshot | IncomingCall) -> str:
    """The number on the far side: who called, or whom an extension called outside."""
    return call.called if call.direction == "outbound" else call.caller


def number_of(call: CallSnapshot | IncomingCall, country: str) -> str:
    """The other party in E.164, or as received when it is no telephone number."""
    text = other_party(call)
    number = normalise(text, country)
    return number.e164 if number is not None else text


def agent_of(call: CallSnapshot) -> str | None:
    """The extension whose call it is: it dialled out, or answered, or rang last, or was called."""
    if call.direction == "outbound":
        return call.extension or _extension(call.legs[0].party if call.legs else None)
    answered = _extension(call.answered_by)
    if answered is not None:
        return answered
    rung = [leg.party for leg in call.legs if leg.side == "b" and not leg.party.startswith(TRUNK)]
    if rung:
        return rung[-1]
    return call.called if call.direction == "internal" else None


def call_row(call: CallSnapshot, contact_id: str | None) -> Row:
    legs = call.legs
    return (
        clean(call.call_id),
        STATES[call.state],
        call.direction,
        clean(call.caller),
        clean(call.called),
        call.arrived_at,
        clean_or_none(call.caller_name),
        clean_or_none(call.display_name),
        call.trunk,
        call.extension,
        clean_or_none(contact_id),
        clean_or_none(call.instructions),
        _json([clean(tag) for tag in call.tags]) if call.tags else "[]",
        call.ringing_at,
        call.answered_at,
        call.ended_at,
        call.answered_by,
        DISPOSITIONS[call.disposition],
        call.status,
        clean_or_none(call.reason),
        call.hung_up_by,
        _legs(legs),
        clean_or_none(call.decided_by),
        call.lookup_ms,
        _stats(call.from_a),
        _stats(call.from_b),
        clean(f" {' '.join(dict.fromkeys([leg.party for leg in legs]))} "),
    )


def activity_row(call: CallSnapshot, number: str, contact_id: str | None) -> Row:
    return (
        clean(call.call_id),
        call.direction,
        clean(number),
        clean_or_none(contact_id),
        clean_or_none(agent_of(call)),
        call.arrived_at,
        call.answered_at,
        call.ended_at,
        DISPOSITIONS[call.disposition],
    )


def snapshot(row: CallRow) -> CallSnapshot:
    return CallSnapshot(
        call_id=row.call_id,
        state=CallState(row.state),
        direction=cast(Any, row.direction),
        caller=row.caller,
        called=row.called,
        arrived_at=row.arrived_at,
        caller_name=row.caller_name,
        display_name=row.display_name,
        trunk=row.trunk,
        extension=row.extension,
        contact_id=row.contact_id,
        instructions=row.instructions,
        tags=tuple(row.tags),
        ringing_at=row.ringing_at,
        answered_at=row.answered_at,
        ended_at=row.ended_at,
        answered_by=row.answered_by,
        disposition=Disposition(row.disposition),
        status=row.status,
        reason=row.reason,
        hung_up_by=cast(Any, row.hung_up_by),
        legs=tuple(LegSnapshot(**leg) for leg in row.legs),
        decided_by=row.decided_by,
        lookup_ms=row.lookup_ms,
        from_a=None if row.from_a is None else StreamStats(**row.from_a),
        from_b=None if row.from_b is None else StreamStats(**row.from_b),
    )


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


def _legs(legs: tuple[LegSnapshot, ...]) -> str:
    """The legs in JSON; by hand, because this is half of what writing a call costs."""
    return f"[{','.join([_leg(leg) for leg in legs])}]"


def _leg(leg: LegSnapshot) -> str:
    return (
        f'{{"party":{_quote(clean(leg.party))},"side":"{leg.side}","state":"{leg.state}",'
        f'"number":{_quote(clean(leg.number))},"started_at":{leg.started_at!r},"ringing_at":{_value(leg.ringing_at)},'
        f'"answered_at":{_value(leg.answered_at)},"ended_at":{_value(leg.ended_at)},"status":{_value(leg.status)}}}'
    )


def _value(value: float | None) -> str:
    return "null" if value is None else repr(value)


def _stats(stats: StreamStats | None) -> str | None:
    if stats is None:
        return None
    return (
        f'{{"packets":{stats.packets},"octets":{stats.octets},"lost":{stats.lost},"jitter_ms":{stats.jitter_ms!r}}}'
    )
