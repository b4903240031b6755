"""A caller who waits is offered to somebody: a blind transfer whose transferor is the exchange itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pbxcore.call.leg import Leg
from pbxcore.call.outcome import Outcome
from pbxcore.call.router import Round
from pbxcore.call.transfer import Transfer

if TYPE_CHECKING:
    from pbxcore.call.services.attendance import Attendance


class Offering(Transfer):
    """With `music` the caller goes on hearing it while it rings."""

    __slots__ = ("_music",)

    def __init__(self, attendance: Attendance, *, music: bool) -> None:
        leaver: Leg = attendance.b
        super().__init__(attendance, leaver, leaver.party)
        self._music = music
        self.gone = True   # nobody has to be told, or got back to

    async def to_those_of(self, steps: Sequence[Round]) -> Outcome | None:
        """What it came to; None when somebody took the call. Raises Over."""
        self._rings = self._sounds = False
        self._ringing = []
        self.begin()
        try:
            return await self._try(steps)
        finally:
            self._silence()
            for branch in self._ringing:
                self.live.drop(branch, 487)
            self._ringing.clear()
            self.cease()

    def _ringback(self) -> None:
        if not self._music:
            super()._ringback()
