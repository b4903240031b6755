"""A caller who waits is offered to somebody: a blind transfer whose transferor is the exchange itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pbxcore.call.connected import introduce, send
from pbxcore.call.leg import Leg
from pbxcore.call.outcome import Outcome
from pbxcore.call.retell import within
from pbxcore.call.router import Round
from pbxcore.call.through import answer_by_relay
from pbxcore.call.transfer import Transfer
from pbxcore.media.backend import MediaError
from pbxcore.sip import build
from pbxcore.sip.errors import SipError

if TYPE_CHECKING:
    from pbxcore.call.services.attendance import Attendance


class Offering(Transfer):
    """With `music` the caller goes on hearing it while it rings."""

    __slots__ = ("_attendance", "_music")

    def __init__(self, attendance: Attendance, *, music: bool) -> None:
        leaver: Leg = attendance.b
        super().__init__(attendance, leaver, leaver.party)
        self._attendance = attendance
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

    async def connect(self, comer: Leg, told: bytes) -> None:
        """Where the newcomer speaks just what the caller has been told of us, the relay joins them, and nobody needs to
        hear of it."""
        live, caller, attendance = self.live, self.stays, self._attendance
        if live.call.legs[caller.label].held or not within(comer.sdp, attendance.told):
            await super().connect(comer, told)
            return
        await self.quiet()
        try:
            await answer_by_relay(live, comer, caller, comer.sdp)
        except MediaError as error:
            live.exchange.media_refused(live.call.offered.call_id, error)
            raise SipError(488, build.REASONS[488]) from None
        introduce(live, comer, caller)
        if caller.identity:
            send(caller)

    def _ringback(self) -> None:
        if not self._music:
            super()._ringback()
