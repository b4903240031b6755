"""A menu of keys (DTMF), which may read aloud what the CRM has sent with the call."""

from __future__ import annotations

from collections.abc import Sequence

from pbxcore.call.router import Step, lead
from pbxcore.call.services.attendance import Attendance
from pbxcore.call.services.entries import Attend
from pbxcore.call.services.sounds import WRONG_KEY, spoken

AGAIN = "again"     # a key that repeats the menu
HANG_UP = "hangup"


async def serve(attendance: Attendance, step: Attend) -> Sequence[Step]:
    """Where the key leads; after so many tries in vain, where the menu says."""
    live = attendance.live
    plan = live.exchange.dial_plan
    menu = plan.menus[step.name]
    said = await spoken(attendance, menu.say, step.variables)
    wrong = await spoken(attendance, [WRONG_KEY], {})
    tries = 0
    while tries < menu.tries:
        key = await attendance.key(said, menu.seconds)
        to = menu.keys.get(key)
        if to == HANG_UP:
            return ()
        if to is not None and to != AGAIN:
            return lead(to, plan, step.variables)
        tries += 1
        if key and to is None:
            await attendance.hear_out(wrong)
    return lead(menu.otherwise, plan, step.variables) if menu.otherwise else ()
