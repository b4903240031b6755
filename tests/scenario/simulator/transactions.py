"""RFC 3261's transactions as short as they get, for the simulated phones: `Client` is a request that one sent, `Served`
one that it was sent. Their timers are events of the world."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.scenario.simulator.wire import Wire, reply

if TYPE_CHECKING:
    from tests.scenario.simulator.agent import Agent
    from tests.scenario.simulator.session import Session
    from tests.scenario.world import Address

T1, T2, T4, GIVE_UP = 0.5, 4.0, 5.0, 32.0
PROMPT = 10.0      # seconds from the answer to a CANCEL to that of its INVITE
Then = Callable[["Client", Wire | None], None]


class Client:
    """A request of ours until its final response; None is given to `then` when none came."""

    __slots__ = (
        "ack", "agent", "cancelled", "cancelled_at", "data", "finals", "head", "interval", "key", "lost", "method",
        "number", "remote", "replied", "reply", "session", "started", "state", "then", "uri", "via",
    )  # fmt: skip

    data: bytes                # all of it, to be sent again
    head: dict[str, str]       # From, To and Call-ID
    key: str
    number: int                # of its CSeq
    remote: Address
    via: str                   # the branch

    def __init__(self, agent: Agent, method: str, uri: str, session: Session | None, then: Then | None) -> None:
        self.agent, self.method, self.uri, self.session, self.then = agent, method, uri, session, then
        self.state = "calling"            # proceeding, completed, given up
        self.finals: list[tuple[int, str]] = []
        self.interval = T1
        self.cancelled = False
        self.ack: bytes | None = None     # of a 2xx, sent again for every copy of it
        self.reply: Wire | None = None
        self.replied = 0.0
        self.cancelled_at = 0.0           # when the CANCEL was answered
        self.lost = False                 # its stream is gone
        self.started = agent.net.now

    def again(self) -> None:
        if self.state == "calling" or (self.state == "proceeding" and self.method != "INVITE"):
            if not self.agent.alive:
                return
            left = self.started + GIVE_UP - self.agent.net.now
            if left < 0.001:
                self.give_up()
                return
            self.agent.send(self.data, self.remote)
            self.interval = min(2 * self.interval, GIVE_UP if self.method == "INVITE" else T2)
            self.agent.net.at(min(self.interval, left), self.again)

    def give_up(self) -> None:
        if self.state in ("calling", "proceeding"):
            self.state = "given up"
            if self.then is not None:
                self.then(self, None)

    def fresh(self) -> bool:
        """Whether a copy of it may still be on its way: one that is sent now must arrive within T4 of the answer, for
        what was sent before that has arrived by then (17.1.1.2)."""
        net = self.agent.net
        return self.reply is None or net.now + net.weather.slowest < self.replied + T4

    def cancel(self) -> None:
        """Now, or when a provisional response has come (9.1)."""
        if self.cancelled or self.state not in ("calling", "proceeding"):
            return
        self.cancelled = True
        if self.state == "proceeding":
            self.send_cancel()

    def send_cancel(self) -> None:
        self.agent.perform(
            "CANCEL", self.uri, self.head, self.number, branch=self.via, remote=self.remote, then=self._cancelled
        )
        self.agent.net.at(GIVE_UP, self.give_up)

    def _contradicted(self) -> bool:
        """Two different answers. A challenge, or a no to wrong credentials, may become a 503 when its INVITE comes once
        more while the exchange drains: none of them is kept (8.2.7)."""
        if len(self.finals) < 2 or self.agent.people.forgotten(self.started):
            return False
        statuses = {status for status, _ in self.finals}
        return len({tag for _, tag in self.finals}) > 1 or statuses not in ({401, 503}, {403, 503})

    def _cancelled(self, _: Client, response: Wire | None) -> None:
        if response is not None and response.status == 200:
            self.cancelled_at = self.agent.net.now

    def _check_promptness(self, call_id: str) -> None:
        """Who is told that his call is cancelled is told so at once."""
        late = self.cancelled_at and self.agent.net.now - self.cancelled_at > PROMPT
        if late and not self.agent.net.lost[call_id, "final INVITE"] and not self.agent.people.forgotten(self.started):
            self.agent.wrong("a cancelled INVITE was answered late", call_id)

    def answered(self, response: Wire) -> None:
        status = response.status
        if status < 200:
            if self.state == "calling":
                self.state = "proceeding"
                if self.cancelled:
                    self.send_cancel()
            if self.state == "proceeding" and self.session is not None and self.method == "INVITE":
                self.session.progressed(self, response)
            return
        final = (status, response.to_tag)
        fresh = self.state != "completed"
        if final not in self.finals:
            self.finals.append(final)
            if self.method == "INVITE" and self._contradicted():
                self.agent.wrong(f"two final responses to one INVITE: {self.finals}", response.call_id)
        if self.method == "INVITE" and status >= 300:
            to = response.head.get("to", "")
            self.agent.raw("ACK", self.uri, {**self.head, "To": to}, self.number, branch=self.via, remote=self.remote)
        elif self.method == "INVITE" and self.ack is not None and not fresh:
            self.agent.send(self.ack, self.remote)
        if fresh:
            if self.session is not None and self is self.session.client:
                self._check_promptness(response.call_id)
            late = self.state == "given up"
            self.state, self.reply, self.replied = "completed", response, self.agent.net.now
            if self.then is not None and not (late and status >= 300):
                self.then(self, response)


class Served:
    """A request that we were sent, and our answer to it."""

    __slots__ = ("acked", "agent", "data", "final", "interval", "request", "session", "since", "source")

    def __init__(self, agent: Agent, request: Wire, session: Session | None) -> None:
        self.agent, self.request, self.session = agent, request, session
        self.source = agent.heard_from
        self.data = b""
        self.final = 0
        self.acked = False
        self.interval, self.since = T1, 0.0

    def respond(self, status: int, tag: str = "", body: bytes = b"", extra: str = "") -> None:
        """An answer; final ones to INVITE are sent again until their ACK comes."""
        agent = self.agent
        if not agent.alive:
            return
        contact = agent.contact if self.request.method == "INVITE" and status < 300 else ""
        self.data = reply(self.request, status, tag, contact, body, extra)
        agent.send(self.data, self.source)
        if status >= 200 and not self.final:
            self.final = status
            if self.request.method == "INVITE":
                self.since = agent.net.now
                if agent.transport == "UDP" or status < 300:
                    agent.net.at(T1, self.again)

    def again(self) -> None:
        agent = self.agent
        if self.acked or not agent.alive:
            return
        if agent.net.now - self.since >= GIVE_UP:
            if self.session is not None and self.final < 300:
                self.session.not_acknowledged(self)
            return
        agent.send(self.data, self.source)
        self.interval = min(2 * self.interval, T2)
        agent.net.at(self.interval, self.again)
