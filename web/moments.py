"""Dates and times as people and programs write them, to Unix time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

from pbxcore.control import Invalid
from web.view import zone


def read_moment(field: str, said: float | str | None, timezone: str) -> float | None:
    """Unix seconds as they are, text by RFC 3339 (ISO 8601); without an offset it is the wall clock in `timezone`.

    A time that a change of the clocks skips is refused; of one that comes twice the first is taken. Raises Invalid.
    """
    if said is None or isinstance(said, float | int):
        return said
    text = said.strip()
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid(field, "moment.unread", said=said) from None
    if moment.tzinfo is None:
        moment = _on_the_wall(field, moment, zone(timezone))
    try:
        return moment.timestamp()
    except (OverflowError, ValueError):
        raise Invalid(field, "moment.far", said=said) from None


def _on_the_wall(field: str, moment: datetime, here: tzinfo) -> datetime:
    moment = moment.replace(tzinfo=here, fold=0)
    try:
        back = moment.astimezone(UTC).astimezone(here)
    except OverflowError:
        raise Invalid(field, "moment.far", said=f"{moment:%Y-%m-%d}") from None
    if back.replace(tzinfo=None) != moment.replace(tzinfo=None):
        before = (moment - timedelta(hours=1)).strftime("%H:%M")
        raise Invalid(field, "moment.skipped", clock=f"{moment:%H:%M}", before=before)
    return moment


def for_input(at: float | None, timezone: str) -> str:
    """For a form: `2026-11-23T14:30`, empty for none."""
    return "" if at is None else datetime.fromtimestamp(at, zone(timezone)).strftime("%Y-%m-%dT%H:%M")
