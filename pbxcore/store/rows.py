"""How calls and bindings look in the backlog and in their tables: packed, as rows, and read back.

The order of a row's values is the order of the columns in `models`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from operator import itemgetter
from typing import Any, cast

from pbxcore.hooks import CallSnapshot, CallState, Disposition, LegSnapshot, StreamStats
from pbxcore.store.models import CallRow
from pbxcore.store.statements import Row, Statement, clean

Packed = tuple[Any, ...]            # plain values and tuples of them: what `marshal` takes
Group = dict[str, list[Packed]]     # plan -> packed values, in the order in which they came

OF_A_CALL = 28      # values of a call; one more follows where its agent's workstation carries it to the CRM
RECENT, FAR = 2.0**30, 2.0**40

STATES = {state: state.value for state in CallState}                    # plain strings, which drivers bind faster
DISPOSITIONS = {disposition: disposition.value for disposition in Disposition}
BEFORE_AN_ANSWER = frozenset(
    state.value for state in (CallState.ARRIVED, CallState.ROUTING, CallState.DIALING, CallState.RINGING)
)
_json = json.JSONEncoder(separators=(",", ":")).encode
_quote = json.encoder.encode_basestring_ascii
_texts_of_call = itemgetter(0, 3, 4, 6, 7, 8, 9, 10, 11, 16, 19, 22, 26, 27)    # of what `pack_call` makes


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """How values of one kind become rows. Of two values whose packed forms begin with the same `key` items the later
    is enough.

    `encode` runs on a thread of the store when the database is written: it gives one row a statement, None where that
    statement has nothing to do.
    """

    name: str
    key: int
    statements: tuple[Statement, ...]
    encode: Callable[[Any], Sequence[Row | None]]


def known_plans(statements: Mapping[str, Statement], crms: Sequence[str] = ()) -> dict[str, Plan]:
    """Every plan by its name, in the order in which they are written: a row before changes to it. A call leaves a row
    in the outbox for each of `crms`."""
    calls = [statements["calls.put"], statements["activities.put"]]
    if crms:
        calls += [*[statements["outbox.put"]] * len(crms), statements["outbox.touch"]]
    merged = (statements["calls.drop"], statements["activities.drop"], statements["outbox.touch"])
    contacts = (statements["calls.contact_id"], statements["activities.contact_id"], statements["outbox.touch"])
    bindings = (statements["bindings.put"], statements["bindings.drop"])
    texts = (statements["texts.put"], statements["texts.drop"])
    explained = (statements["explained.put"],)
    plans = (
        Plan("calls", 1, tuple(calls), partial(_call_and_outbox_rows, tuple(crms)) if crms else _call_rows),
        Plan("contacts", 1, contacts, _contact_rows),
        Plan("merged", 1, merged, _merged_rows),
        Plan("bindings", 2, bindings, _binding_rows),
        Plan("texts", 1, texts, _text_rows),
        Plan("explained", 1, explained, _explained_rows),
    )
    return {plan.name: plan for plan in plans}


def merge(groups: Iterable[Group], plans: Mapping[str, Plan]) -> list[tuple[Plan, list[Packed]]]:
    """The latest value of every key, in the order of the plans."""
    latest: dict[str, dict[Packed, Packed]] = {}
    for group in groups:
        for name, values in group.items():
            of_plan, key = latest.setdefault(name, {}), plans[name].key
            for value in values:
                of_plan[value[:key]] = value
    return [(plan, list(latest[name].values())) for name, plan in plans.items() if name in latest]


def pack_call(
    call: CallSnapshot, number: str, contact_id: str | None, agent: str | None, *, first_party: bool = False
) -> Packed:
    """A call and what its activity says besides: the other party's number, its contact and its agent. One that the
    agent's workstation carries to the CRM (`first_party`) has one more value."""
    packed = (
        call.call_id,
        STATES[call.state],
        call.direction,
        call.caller,
        call.called,
        call.arrived_at,
        call.caller_name,
        call.display_name,
        call.trunk,
        call.extension,
        contact_id,
        call.instructions,
        call.tags,
        call.ringing_at,
        call.answered_at,
        call.ended_at,
        call.answered_by,
        DISPOSITIONS[call.disposition],
        call.status,
        call.reason,
        call.hung_up_by,
        tuple([
            (
                leg.party, leg.side, leg.state, leg.number, leg.started_at,
                leg.ringing_at, leg.answered_at, leg.ended_at, leg.status,
            ) if leg.transferred_by is None and leg.cause is None else (
                leg.party, leg.side, leg.state, leg.number, leg.started_at, leg.ringing_at, leg.answered_at,
                leg.ended_at, leg.status, leg.transferred_by, leg.transferred_at, leg.cause,
            )
            for leg in call.legs
        ]),
        call.decided_by,
        call.lookup_ms,
        None if call.from_a is None else _stats(call.from_a),
        None if call.from_b is None else _stats(call.from_b),
        number,
        agent,
    )  # fmt: skip
    return (*packed, True) if first_party else packed


def _call_rows(packed: Packed) -> tuple[Row, Row]:
    """The rows of `calls` and `activities`."""
    packed = packed[:OF_A_CALL]
    legs_in_json, tags_in_json = _legs(packed[21]), _json(packed[12]) if packed[12] else "[]"
    texts = "".join(filter(None, _texts_of_call(packed)))
    # What no database may take is not ASCII, or NUL, and either is escaped in JSON: all texts are looked at in one go.
    if not texts.isascii() or "\0" in texts or "\\u" in legs_in_json or "\\u" in tags_in_json:
        packed = _cleaned(packed)
        legs_in_json, tags_in_json = _legs(packed[21]), _json(packed[12])
    (
        call_id, state, direction, caller, called, arrived_at, caller_name, display_name, trunk, extension, contact_id,
        instructions, _, ringing_at, answered_at, ended_at, answered_by, disposition, status, reason, hung_up_by,
        legs, decided_by, lookup_ms, from_a, from_b, number, agent,
    ) = packed  # fmt: skip
    parties = " ".join(dict.fromkeys([leg[0] for leg in legs]))
    call = (
        call_id, state, direction, caller, called, arrived_at, caller_name, display_name, trunk, extension,
        contact_id, instructions, tags_in_json,
        ringing_at, answered_at, ended_at, answered_by, disposition, status, reason,
        hung_up_by, legs_in_json, decided_by, lookup_ms, from_a, from_b, f" {parties} ",
    )  # fmt: skip
    activity = (
        call_id, direction, number, contact_id, agent, arrived_at, answered_at, ended_at, disposition,
    )  # fmt: skip
    return call, activity


def _cleaned(values: Packed) -> Packed:
    return tuple([
        clean(value) if isinstance(value, str) else _cleaned(value) if isinstance(value, tuple) else value
        for value in values
    ])  # fmt: skip


def _call_and_outbox_rows(crms: tuple[str, ...], packed: Packed) -> Sequence[Row | None]:
    """The same, and a row of the outbox a CRM once somebody answered or the call is over. Colleagues among themselves
    are no CRM's affair. A call that a workstation carries leaves no new rows, but a CRM that was told of it before it
    came to this agent hears how it goes on."""
    call, activity = _call_rows(packed)
    none = [None] * len(crms)
    if packed[2] == "internal" or packed[1] in BEFORE_AN_ANSWER:
        return (call, activity, *none, None)
    if len(packed) > OF_A_CALL:
        return (call, activity, *none, (call[0],))
    return (call, activity, *[(call[0], crm, packed[5]) for crm in crms], None)


def _contact_rows(packed: Packed) -> Sequence[Row | None]:
    """Whose call it is: (call id, contact id)."""
    row = clean(packed[1]), clean(packed[0])
    return row, row, row[1:]


def _merged_rows(packed: Packed) -> Sequence[Row | None]:
    """A call whose record another one has: (call id,). What an agent wrote about it stays."""
    row = (clean(packed[0]),)
    return row, row, row


def _binding_rows(packed: Packed) -> Sequence[Row | None]:
    """All columns of a binding, or only its key when it is gone."""
    values = tuple(clean(value) if isinstance(value, str) else value for value in packed)
    if len(values) == 2:
        return None, values
    return (*values[:-1], json.dumps([clean(value) for value in values[-1]])), None


def _text_rows(packed: Packed) -> Sequence[Row | None]:
    """All columns of a text, or only its key when it is gone."""
    values = tuple(clean(value) if isinstance(value, str) else value for value in packed)
    return (None, values) if len(values) == 1 else (values, None)


def _explained_rows(packed: Packed) -> tuple[Row]:
    """What was asked for a call: (call id, JSON)."""
    return ((clean(packed[0]), clean(packed[1])),)


def call_snapshot(row: CallRow) -> CallSnapshot:
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


def _legs(legs: tuple[Packed, ...]) -> str:
    """The legs in JSON, by hand."""
    return f"[{','.join([_leg(leg) for leg in legs])}]"


def _leg(leg: Packed) -> str:
    party, side, state, number, started_at, ringing_at, answered_at, ended_at, status = leg[:9]
    more = ""
    if len(leg) > 9:
        by, at, cause = leg[9:]
        if by is not None:
            more = f',"transferred_by":{_quote(by)},"transferred_at":{_seconds(at)}'
        if cause is not None:
            more += f',"cause":{cause}'
    return (
        f'{{"party":{_quote(party)},"side":"{side}","state":"{state}","number":{_quote(number)},'
        f'"started_at":{_seconds(started_at)},"ringing_at":{_seconds(ringing_at)},'
        f'"answered_at":{_seconds(answered_at)},"ended_at":{_seconds(ended_at)},'
        f'"status":{"null" if status is None else status}{more}}}'
    )


@lru_cache(maxsize=256)
def _seconds(at: float | None) -> str:
    """A time in JSON. The legs of a call share most of theirs, and each is written but once.

    To find the shortest text of a float is slow. From 2^30 seconds on (the year 2004) two floats are 2^-22 apart or
    more, so seven decimals tell them from each other.
    """
    if at is None:
        return "null"
    return f"{at:.7f}" if RECENT <= at < FAR else repr(at)


def _stats(stats: StreamStats) -> str:
    return (
        f'{{"packets":{stats.packets},"octets":{stats.octets},"lost":{stats.lost},"jitter_ms":{stats.jitter_ms!r}}}'
    )
