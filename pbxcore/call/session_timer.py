"""Session timers (RFC 4028): what one leg has agreed with its peer, and when something is due.

Each leg is negotiated alone. Whoever is the refresher sends a re-INVITE or an UPDATE at half of the interval; a session
that nobody has refreshed ends a little before its interval does (section 10). Pure: the clock is an argument; who sends
is `refresher`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from pbxcore.call.outbound import speaks
from pbxcore.sip.message import Field, Message, Request, Response

SHORTEST = 90  # seconds: no Min-SE is lower (section 5), and this is what a message without one means
LONGEST = 24 * 3600
MARGIN = 32  # seconds before the end at which a session without a refresh is given up (section 10), a third at most
AGAIN = 5.0  # seconds until a refresh that was refused for now is tried again
OPTION = "timer"
REQUIRED: Field = ("require", "Require: timer")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the office asks for, in seconds. `interval` 0: for nothing; what peers ask for is done all the same."""

    interval: int = 1800
    minimum: int = SHORTEST


def session_expires(message: Message) -> tuple[int, str] | None:
    """The interval and who refreshes ("uac", "uas", or empty); None when there is none that can be read."""
    if "session-expires" not in message:
        return None
    value, *params = (message.first("session-expires") or "").split(";")
    interval = _seconds(value)
    if interval is None:
        return None
    who = ""
    for param in params:
        name, _, said = param.partition("=")
        if name.strip().lower() == "refresher" and said.strip().lower() in ("uac", "uas"):
            who = said.strip().lower()
    return interval, who


def min_se(message: Message) -> int:
    """The lowest interval that the sender, or a proxy behind it, takes."""
    if "min-se" not in message:
        return SHORTEST
    found = _seconds((message.first("min-se") or "").partition(";")[0])
    return max(SHORTEST, found or 0)


def too_small(request: Request, minimum: int) -> bool:
    """Whether it is to be answered 422 with our Min-SE: only those who know what that is get one (section 9)."""
    found = session_expires(request)
    return found is not None and found[0] < minimum and speaks(request, OPTION)


def _seconds(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


class SessionTimer:
    """The timer of one leg. `interval` 0: none runs. Times are monotonic seconds."""

    __slots__ = ("expires_at", "floor", "interval", "ours", "refresh_at")

    def __init__(self, wanted: Wanted) -> None:
        self.interval = 0
        self.ours = False  # whether we are the refresher
        self.floor = wanted.minimum  # the largest Min-SE that we have been told
        self.refresh_at = inf
        self.expires_at = inf

    @property
    def due(self) -> float:
        """When `refresher` must look at it next."""
        return min(self.refresh_at, self.expires_at)

    def answer(self, request: Request, wanted: Wanted, now: float) -> list[Field]:
        """We answer this request 2xx: what the answer says of the timer (section 9, table 2)."""
        found = session_expires(request)
        knows = speaks(request, OPTION)
        if found is None:
            if not knows or not wanted.interval:
                self.stop()
                return []
            found = max(self.interval or wanted.interval, min_se(request), self.floor), "uas"
        interval, who = found
        if not knows:
            who = "uas"
        interval = max(interval, self.floor)  # what comes from one who cannot be told 422
        self._run(interval, now, ours=who == "uas")
        rows: list[Field] = [_row(interval, who or "uac")]
        if who != "uas":
            rows.append(REQUIRED)
        return rows

    def ask(self) -> list[Field]:
        """We send a request that refreshes the session: what it says of the timer (section 7.4)."""
        if not self.interval:
            return []
        rows: list[Field] = [_row(self.interval, "uac" if self.ours else "uas")]
        if self.floor > SHORTEST:
            rows.append(("min-se", f"Min-SE: {self.floor}"))
        return rows

    def answered(self, response: Response, now: float) -> None:
        """A request of ours was answered 2xx (section 7.2): without a Session-Expires there is no timer."""
        found = session_expires(response)
        if found is None or found[0] == 0:
            self.stop()
            return
        self._run(max(found[0], self.floor), now, ours=found[1] != "uas")

    def refused(self, response: Response) -> bool:
        """A request of ours was answered 422: whether it may be sent again, asking for what is right (section 7.3)."""
        lowest = min_se(response)
        if lowest > LONGEST or lowest <= min(self.floor, self.interval):
            return False
        self.floor = max(self.floor, lowest)
        self.interval = max(self.interval, lowest)
        return True

    def try_again(self, now: float) -> None:
        """A refresh did not go through, and the session has not ended yet."""
        self.refresh_at = now + AGAIN

    def refreshing(self) -> None:
        """A refresh of ours is under way."""
        self.refresh_at = inf

    def stop(self) -> None:
        self.interval = 0
        self.refresh_at = self.expires_at = inf

    def _run(self, interval: int, now: float, *, ours: bool) -> None:
        self.interval = interval
        self.ours = ours
        self.refresh_at = now + interval / 2 if ours else inf
        self.expires_at = now + interval - min(MARGIN, interval / 3)


def _row(interval: int, who: str) -> Field:
    return "session-expires", f"Session-Expires: {interval};refresher={who}"


def raised(invite: Request, response: Response) -> tuple[Field, Field] | None:
    """An INVITE of ours was answered 422: the Session-Expires and the Min-SE of the next try, None when there is to be
    none."""
    lowest = min_se(response)
    before = session_expires(invite)
    if before is None or lowest > LONGEST or lowest <= min_se(invite):
        return None
    interval = max(lowest, before[0])
    return ("session-expires", f"Session-Expires: {interval}"), ("min-se", f"Min-SE: {lowest}")
