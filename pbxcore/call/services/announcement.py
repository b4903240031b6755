"""An announcement: it is played, and that is all."""

from __future__ import annotations

from collections.abc import Sequence

from pbxcore.call.router import Step
from pbxcore.call.services.attendance import Attendance
from pbxcore.call.services.entries import Attend
from pbxcore.call.services.sounds import spoken


async def serve(attendance: Attendance, step: Attend) -> Sequence[Step]:
    await attendance.hear_out(await spoken(attendance, [step.name], step.variables))
    return ()
