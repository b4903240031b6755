"""Planned calls as a calendar (RFC 5545), each in the time zone in which it was said."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from icalendar import Alarm, Calendar, Event

from crmhooks.text import one_line
from pbxcore.control import ScheduledCall

LONG = timedelta(minutes=15)
BEFORE = timedelta(minutes=-5)


def feed(calls: Iterable[ScheduledCall], now: float) -> bytes:
    """`now` is Unix time."""
    calendar = Calendar()
    calendar.add("prodid", "-//Hookline//Scheduled calls//EN")
    calendar.add("version", "2.0")
    calendar.add("x-wr-calname", "Hookline")
    for call in calls:
        calendar.add_component(_event(call, now))
    calendar.add_missing_timezones()
    data: bytes = calendar.to_ical()
    return data


def _event(call: ScheduledCall, now: float) -> Event:
    event = Event()
    who = one_line(call.contact_name) or call.number
    event.add("uid", f"{call.id}@hookline")
    event.add("dtstamp", datetime.fromtimestamp(int(now), UTC))
    event.add("dtstart", datetime.fromtimestamp(call.due_at, ZoneInfo(call.timezone)).replace(microsecond=0))
    event.add("duration", LONG)
    event.add("summary", f"☎ {who}" if call.state != "missed" else f"☎ {who} (missed)")
    event.add("description", "\n".join(filter(None, (call.number, call.note, call.reason))))
    event.add("url", f"tel:{call.number}")
    event.add("status", "CONFIRMED")
    alarm = Alarm()
    alarm.add("action", "DISPLAY")
    alarm.add("description", who)
    alarm.add("trigger", BEFORE)
    event.add_component(alarm)
    return event
