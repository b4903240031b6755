"""The session timer of a simulated phone (RFC 4028): what it asks for and grants, and whether it keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.scenario.simulator.wire import Wire

if TYPE_CHECKING:
    from tests.scenario.simulator.session import Session

GRACE = 10.0     # seconds behind the end of an interval, for what is still on its way


class Timer:
    """Of one session. `asks` is the interval that its INVITEs name, `lazy`: it never refreshes, `knows`: it has heard
    of session timers at all."""

    __slots__ = ("_life", "_refreshed", "asks", "interval", "knows", "lazy", "least", "mine", "session", "who")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.knows = session.agent.timers
        self.asks = 0
        self.least = 90
        self.who = ""              # who is to refresh, when it says so itself
        self.lazy = False
        self.interval = 0
        self.mine = False
        self._life = 0
        self._refreshed = 0.0

    @property
    def wish(self) -> str:
        """The rows of a request that may refresh the session."""
        tags = ["timer"] * self.knows + ["100rel"] * (self.session.early.manner is not None)
        rows = f"Supported: {', '.join(tags)}\r\n" if tags else ""
        interval = (self.interval or self.asks) if self.knows else 0
        if not interval:
            return rows
        who = self.who
        if self.interval:
            who = "uac" if self.mine else "uas"
        rows += f"Session-Expires: {interval}{';refresher=' + who if who else ''}\r\n"
        return rows + (f"Min-SE: {self.least}\r\n" if self.least > 90 else "")

    def refused(self, response: Wire) -> bool:
        """Whether a 422 may be answered with another try."""
        least = response.head.get("min-se", "")
        if response.status != 422 or not least.isdigit() or int(least) <= self.asks:
            return False
        self.asks = int(least)
        self.session.did("timer: 422")
        return True

    def answer(self, request: Wire) -> str:
        """The rows of a 2xx to this request."""
        said = request.head.get("session-expires", "")
        if not self.knows or not said:
            self.interval = 0
            self._life += 1
            return ""
        value, _, param = said.partition(";")
        who = param.partition("refresher=")[2] or self.who or self.session.rng.choice(("uac", "uas"))
        if "timer" not in request.head.get("supported", ""):
            who = "uas"
        self._run(int(value), mine=who == "uas")
        return f"Session-Expires: {value};refresher={who}\r\n" + ("Require: timer\r\n" if who == "uac" else "")

    def agreed(self, response: Wire) -> None:
        """A 2xx to a request of ours."""
        said = response.head.get("session-expires", "")
        if not self.knows or not said:
            self.interval = 0
            self._life += 1
            return
        value, _, param = said.partition(";")
        self._run(int(value), mine=param.partition("refresher=")[2] != "uas")

    def _run(self, interval: int, *, mine: bool) -> None:
        session = self.session
        self.interval, self.mine = interval, mine
        self._life += 1
        self._refreshed = session.agent.net.now
        if mine:
            session.after(interval / 2, self._refresh, self._life)
        session.after(interval + GRACE, self._expired, self._life)

    def _refresh(self, life: int) -> None:
        session = self.session
        if life != self._life or session.state != "up":
            return
        if self.lazy:
            session.did("timer: is not refreshed")
            return
        session.did("timer: refreshed")
        if session.agent.updates and session.rng.random() < 0.5:
            session.update()
        else:
            session.reinvite("sendonly" if session.held else "sendrecv")
        session.after(5.0, self._refresh, life)     # until it has gone through

    def _expired(self, life: int) -> None:
        """The interval is over and nobody has refreshed: the call is, too (section 10)."""
        session = self.session
        if life != self._life or session.state != "up":
            return
        session.did("timer: expired")
        people = session.agent.people
        excused = session.agent.moved or people.forgotten(session.began) or people.touched(session)
        if not self.mine and not excused:
            session.agent.wrong("nobody refreshed the session", session.call_id)
        elif self.mine and self.lazy and not excused:
            session.agent.wrong("a session that nobody refreshed goes on", session.call_id)
        session.bye()
