"""Activities narrowed down, and what an agent may say of one besides its summary. Queries and values; no database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlmodel import col

from crmhooks.text import one_line, paragraphs
from pbxcore.control import ActivityChange, Invalid
from pbxcore.store.models import ActivityRow
from pbxcore.store.statements import clean

SUMMARY_SECONDS = 3600.0     # after a call; a summary that comes later is overdue
MAX_SUMMARY = 10_000
MAX_OUTCOME = 100
MAX_NOTE = 1000
MAX_REFERENCE = 1000
LATEST = 32_503_680_000.0    # the year 3000


def narrowed(
    query: Any,
    now: float,
    *,
    agent: str | None = None,
    contact_id: str | None = None,
    call_id: str | None = None,
    open_only: bool = False,
    overdue: bool = False,
    follow_up: bool = False,
) -> Any:
    """The query (of activities) with these filters, in its order: the newest first, or the next follow-up."""
    at = col(ActivityRow.follow_up_at)
    query = query.order_by(at, col(ActivityRow.id)) if follow_up else query.order_by(col(ActivityRow.id).desc())
    if agent is not None:
        query = query.where(col(ActivityRow.agent) == agent)
    if contact_id is not None:
        query = query.where(col(ActivityRow.contact_id) == contact_id)
    if call_id is not None:
        query = query.where(col(ActivityRow.call_id) == clean(call_id))
    if open_only:
        query = query.where(col(ActivityRow.state) == "open")
    if follow_up:
        query = query.where(at.is_not(None))
    if overdue:
        silent = sa.and_(col(ActivityRow.state) == "open", col(ActivityRow.ended_at) <= now - SUMMARY_SECONDS)
        query = query.where(sa.or_(silent, at <= now))
    return query


def change_of(change: ActivityChange) -> Callable[[ActivityRow], None]:
    """What it does to a row. Raises Invalid."""
    values: dict[str, Any] = {}
    if "outcome" in change:
        values["outcome"] = _short("outcome", one_line(change["outcome"]), MAX_OUTCOME)
    if "follow_up_at" in change:
        at = change["follow_up_at"]
        if at is not None and not 0 < at <= LATEST:
            raise Invalid("follow_up_at", "call.follow_up")
        values["follow_up_at"] = at
    if "follow_up_note" in change:
        values["follow_up_note"] = _short("follow_up_note", paragraphs(change["follow_up_note"]), MAX_NOTE)
    if "recording" in change:
        values["recording"] = _short("recording", one_line(change["recording"]), MAX_REFERENCE)
    notes = _short("notes", paragraphs(change.get("notes", "")), MAX_SUMMARY)

    def apply(row: ActivityRow) -> None:
        if notes is not None and row.state == "completed":     # nobody's finished words are written over
            row.summary = f"{row.summary}\n{notes}"[:MAX_SUMMARY]
        elif notes is not None:
            row.summary = notes
        for name, value in values.items():
            setattr(row, name, value)

    return apply


def _short(field: str, text: str, most: int) -> str | None:
    if len(text) > most:
        raise Invalid(field, "text.long", most=most)
    return text or None
