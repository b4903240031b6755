"""Requests of our own inside of an answered call: refreshes of the sessions, and offers that could not be made before.

RFC 4028 section 10: at half of its interval a session is refreshed by UPDATE where the peer takes it, else by a
re-INVITE that offers once more what the other side says. A session that nobody has refreshed ends the call. An offer of
ours that crosses one of theirs is made again a little later (RFC 3261 section 14.1).
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from pbxcore.call.leg import CallerLeg, Leg
from pbxcore.call.signal import Signal
from pbxcore.sip.message import Response
from pbxcore.sip.transaction import ClientTransaction

if TYPE_CHECKING:
    from pbxcore.call.conversation import Conversation

NOT_KNOWN = frozenset({405, 501})
GONE = frozenset({408, 481})
EXPIRED = "Session Timer Expired"
LATER = 1.0  # seconds until an offer that could not be made is made again


class Refresher:
    """Of one conversation. `due` is when `act` is to be called, in monotonic seconds."""

    __slots__ = ("_again_at", "_refreshes", "_renew", "_talk")

    def __init__(self, talk: Conversation, renew: set[str]) -> None:
        self._talk = talk
        self._renew = renew  # labels of legs that are to be told anew what the other side says
        self._again_at = 0.0 if renew else inf
        self._refreshes: dict[ClientTransaction, Leg] = {}  # UPDATEs without a body

    @property
    def due(self) -> float:
        due = self._again_at
        for leg in (self._talk.a, self._talk.b):
            if leg.session is not None:
                due = min(due, leg.session.due)
        return due

    async def act(self, now: float) -> None:
        talk = self._talk
        for leg in (talk.a, talk.b):
            timer = leg.session
            if timer is None or leg.ending:
                continue
            if now >= timer.expires_at:
                talk.end(408, EXPIRED)
                return
            if now >= timer.refresh_at:
                timer.refreshing()
                await self._refresh(leg)
        if now >= self._again_at:
            self._again_at = inf
            for leg in (talk.a, talk.b):
                if leg.label in self._renew:
                    await self._renewed(leg)

    async def _refresh(self, leg: Leg) -> None:
        if leg.updates:
            self._refreshes[leg.send("UPDATE")] = leg
        else:
            self._renew.add(leg.label)
            await self._renewed(leg)

    async def _renewed(self, leg: Leg) -> None:
        """The other side's description goes to this one as an offer of ours; when that can't be just now, later."""
        if await self._talk.offer_again(leg):
            self._renew.discard(leg.label)
        else:
            self.again(leg)

    def again(self, leg: Leg) -> None:
        """An offer of ours was in the way of another."""
        self._renew.add(leg.label)
        exchange = self._talk.live.exchange
        chance = int(exchange.token()[:4], 16) / 0x10000
        # 14.1: who has made the Call-ID waits from 2.1 to 4 seconds, the other one up to 2
        self._again_at = exchange.clock() + (LATER + chance if isinstance(leg, CallerLeg) else 2.1 + 1.9 * chance)

    def not_taken(self, leg: Leg, response: Response) -> None:
        """An offer of ours was refused."""
        exchange = self._talk.live.exchange
        if response.status in NOT_KNOWN and leg.updates:
            leg.updates = False
            self._renew.add(leg.label)
            self._again_at = exchange.clock()
        elif response.status == 491:
            self.again(leg)
        else:
            self.refused(leg, response, exchange.clock())

    def owns(self, client: ClientTransaction) -> bool:
        return client in self._refreshes

    def resent(self, old: ClientTransaction, new: ClientTransaction) -> None:
        if old in self._refreshes:
            self._refreshes[new] = self._refreshes.pop(old)

    async def response(self, signal: Signal) -> None:
        """What came of an UPDATE that refreshes."""
        leg = self._refreshes.pop(signal.client) if signal.client is not None else None
        if leg is None:
            return
        response, now = signal.response, self._talk.live.exchange.clock()
        if response is None or response.status in GONE:
            self._talk.end(408, "The other side is gone")
        elif response.status < 300:
            leg.accepted(response)
        elif response.status in NOT_KNOWN:
            leg.updates = False
            await self._refresh(leg)
        else:
            self.refused(leg, response, now)

    def refused(self, leg: Leg, response: Response, now: float) -> None:
        """A refresh was refused for now: there is time for another until the session ends."""
        timer = leg.session
        if timer is None or not timer.interval:
            return
        if response.status == 422 and timer.refused(response):
            timer.refresh_at = now
        else:
            timer.try_again(now)
