"""A dialog of a simulated phone, and the person in it.

By itself a session does everything by the RFC; what it does wrong, and when, is said by deeds (`deeds`), which set its
flags and call its methods later.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.scenario.simulator import wire
from tests.scenario.simulator.early import Early
from tests.scenario.simulator.referral import Referral
from tests.scenario.simulator.timer import Timer
from tests.scenario.simulator.transactions import Client, Served, Then
from tests.scenario.simulator.wire import Wire, uri_of

if TYPE_CHECKING:
    from tests.scenario.simulator.agent import Agent
    from tests.scenario.simulator.people import Plan


class Session:
    """One dialog and the person in it. `plan` is the simulated call that it belongs to.

    States: new, calling, ringing, up, ended. `up` means that somebody here believes he is talking.
    """

    def __init__(self, agent: Agent, plan: Plan | None, role: str, call_id: str, tag: str) -> None:
        self.agent, self.plan, self.role, self.call_id, self.tag = agent, plan, role, call_id, tag
        self.rng = agent.rng
        self.state = "new"
        self.began = self.since = agent.net.now
        self.was_up = False
        self.died = False                      # its phone lost power in the middle of it
        self.local, self.remote, self.target = "", "", ""
        self.number = 0                        # CSeq of our last request
        self.server: Served | None = None      # the INVITE that we were sent
        self.accepted: list[Served] = []       # and every INVITE that we said 200 to
        self.client: Client | None = None      # the INVITE that we sent
        self.pending: Client | None = None     # a re-INVITE of ours
        self.version = 1
        self.held = False
        self.early = Early(self)
        self.timer = Timer(self)
        self.referrals: list[Referral] = []
        # how it behaves; deeds set these
        self.early_sdp = False
        self.late_offer = False                # its INVITE has no SDP
        self.ack_after: float | None = 0.0     # None: forgets the ACK
        self.hangs_up_at: float | None = None
        self.reinvite_status = 200             # what it says to re-INVITEs; 0: nothing
        self.reinvite_delay = 0.0
        self.notify_status = 200               # what it says to how its REFERs go; 0: nothing
        self.answers_cancel_by = "487"         # or "200": it had been answered; or "": says no more
        self.forked = False                    # its INVITE goes out by two ways: whichever is first is the call
        self.extra = ""                        # rows of its INVITE
        self.on_provisional: Callable[[Session], None] | None = None
        self.on_up: list[Callable[[Session], None]] = []
        agent.sessions[call_id, tag] = self

    # ---- for deeds

    def after(self, seconds: float, what: Callable[..., object], *arguments: Any) -> None:
        """Do something later, if the session is not over by then."""
        self.agent.net.at(seconds, self._later, what, arguments)

    def _later(self, what: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        if self.state != "ended" and self.agent.alive:
            what(*arguments)

    def did(self, what: str) -> None:
        """Count a deed that has come to pass."""
        self.agent.net.done[what] += 1

    def sdp(self, direction: str = "sendrecv") -> bytes:
        host, port = self.agent.address
        return wire.sdp(host, 10_000 + port % 1000 * 2, self.version, direction)

    # ---- a call of ours

    def call(self, number: str) -> None:
        """Send the INVITE."""
        agent = self.agent
        host = agent.exchange[0]
        self.target = f"sip:{number}@{host}"
        who = f"sip:{agent.user}@{host if agent.password else agent.address[0]}"
        self.local = f'"Phone {agent.user}" <{who}>;tag={self.tag}'
        self.remote = f"<{self.target}>"
        self.state = "calling"
        self._invite()

    def _head(self) -> dict[str, str]:
        return {"From": self.local, "To": self.remote, "Call-ID": self.call_id}

    def _invite(self, again: bool = False) -> None:
        agent = self.agent
        self.number += 1
        number = f"X-Sim: {self.plan.number}\r\n" if self.plan is not None else ""
        signed = agent.authorization("INVITE", self.target) if again or agent.remembers else ""
        extra = f"Contact: <{agent.contact}>\r\n{agent.allow}{number}{self.extra}{self.timer.wish}{signed}"
        body = b"" if self.late_offer else self.sdp()
        self.client = agent.perform(
            "INVITE", self.target, self._head(), self.number, body, extra=extra, session=self, then=self._answered
        )

    def cancel(self) -> None:
        """Give up the call, whatever state it is in."""
        if self.state == "up":
            self.bye()
        elif self.client is not None and self.role != "callee" and self.state == "calling":
            self.did("call: cancelled")
            self.client.cancel()

    def progressed(self, client: Client, response: Wire) -> None:
        if client is not self.client or response.status == 100:
            return
        self._learn(response)
        self.early.progressed(response)
        if self.on_provisional is not None:
            then, self.on_provisional = self.on_provisional, None
            then(self)

    def _learn(self, message: Wire) -> None:
        """The tag and the address of the other side, from a response."""
        if message.to_tag:
            self.remote = message.head["to"]
        self.target = uri_of(message.head.get("contact", "")) or self.target

    def _answered(self, client: Client, response: Wire | None) -> None:
        if response is None:
            self.over()
            return
        status = response.status
        if status >= 300:
            if client is self.client and not client.cancelled and client.session is self and self._again(response):
                return
            self.over()
            return
        self._learn(response)
        ended = self.state == "ended"
        self._acknowledge(client, self.sdp() if self.late_offer and not self.early.agreed else b"")
        self.timer.agreed(response)
        if ended or client.cancelled:
            self.did("race: 200 crossed the CANCEL")
            self.state = "up"
            self.bye()
            return
        self.go_up()

    def _again(self, response: Wire) -> bool:
        """With credentials, when it is a first challenge."""
        if self.number > 3 or self.state != "calling":
            return False
        if not self.timer.refused(response) and not self.agent.challenged(response):
            return False
        self.target = uri_of(self.remote) or self.target
        self._invite(again=True)
        return True

    def _acknowledge(self, client: Client, body: bytes) -> None:
        ack = self.agent.raw("ACK", self.target, self._head(), client.number, body, sent=False)
        if self.ack_after is None:
            return
        if self.ack_after:
            self.agent.net.at(self.ack_after, self._send_ack, client, ack)
        else:
            self._send_ack(client, ack)

    def _send_ack(self, client: Client, ack: bytes) -> None:
        client.ack = ack
        self.agent.send(ack)

    # ---- a call to us

    @classmethod
    def invited(cls, agent: Agent, served: Served, tag: str = "") -> Session:
        request = served.request
        plan = agent.people.plan_of(request.head.get("x-sim", ""), request.call_id)
        self = cls(agent, plan, "callee", request.call_id, tag or agent.token())
        self.server = served.session = None
        self.server, served.session = served, self
        self.local = f"{request.head.get('to', '')};tag={self.tag}"
        self.remote = request.head.get("from", "")
        self.target = uri_of(request.head.get("contact", ""))
        self.state = "ringing"
        self.late_offer = not request.body
        return self

    def ring(self, status: int = 180) -> None:
        if self.server is not None and not self.server.final:
            body = self.sdp() if status == 183 and not self.late_offer else b""
            self.server.respond(status, self.tag, body, self.agent.allow)

    def answer(self) -> None:
        """Pick up."""
        if self.server is None or self.server.final or self.state != "ringing":
            return
        self.accepted.append(self.server)
        self.early.over()
        body = b"" if self.late_offer and self.early.agreed else self.sdp()
        self.server.respond(200, self.tag, body, self.agent.allow + self.timer.answer(self.server.request))
        self.go_up()

    def refuse(self, status: int, extra: str = "") -> None:
        if self.server is None or self.server.final or self.state != "ringing":
            return
        self.server.respond(status, self.tag, extra=extra)
        self.over()

    def cancelled(self, served: Served) -> None:
        if self.state != "ringing":
            return
        if self.answers_cancel_by == "200":
            self.did("race: 200 to the CANCEL, 200 to the INVITE")
            self.answer()
            return
        if self.answers_cancel_by == "487":
            served.respond(487, self.tag)
        self.over()

    def acknowledged(self, ack: Wire) -> None:
        for served in self.accepted:
            if served.request.number == ack.number:
                served.acked = True

    def not_acknowledged(self, served: Served) -> None:
        """64*T1 without an ACK: the session is ended with BYE (13.3.1.4)."""
        if self.state == "up":
            self.did("call: no ACK came")
            self.bye()

    # ---- talking

    def go_up(self) -> None:
        if self.state in ("up", "ended"):
            return
        self.state, self.was_up, self.since = "up", True, self.agent.net.now
        self.agent.people.went_up(self)
        waiting, self.on_up = self.on_up, []
        for what in waiting:
            what(self)

    def request(self, method: str, body: bytes = b"", then: Then | None = None, extra: str = "") -> Client:
        """A request inside of the dialog."""
        self.number += 1
        if method == "INVITE":
            extra += f"Contact: <{self.agent.contact}>\r\n{self.agent.allow}{self.timer.wish}"
        return self.agent.perform(
            method, self.target, self._head(), self.number, body, extra=extra, session=self, then=then
        )

    def refer(self, to: str, extra: str = "", *, silent: bool = False, joins: bool = False) -> Referral:
        """Ask the exchange to put somebody else in this one's place: `to` is the value of Refer-To."""
        referral = Referral(self, silent=silent, joins=joins)
        self.referrals.append(referral)
        extra = f"Refer-To: {to}\r\n{'Refer-Sub: false' + chr(13) + chr(10) if silent else ''}{extra}"
        referral.client = self.request("REFER", then=referral.answered, extra=extra)
        return referral

    def update(self, direction: str = "", tries: int = 3) -> None:
        """An UPDATE; with a direction it offers (RFC 3311)."""
        if self.state not in ("up", "calling") or self.pending is not None:
            return
        if direction:
            self.version += 1

        def then(client: Client, response: Wire | None) -> None:
            self.pending = None
            if self.state != "up":
                return
            if response is None or response.status in (408, 481):
                self.did("talk: UPDATE found nobody")
                self.bye()
            elif response.status < 300:
                self.timer.agreed(response)
            elif response.status == 491 and tries:
                self.did("race: 491")
                self.after(self.rng.uniform(0.0, 4.0), self.update, direction, tries - 1)

        client = self.request(
            "UPDATE", self.sdp(direction) if direction else b"", then,
            f"Contact: <{self.agent.contact}>\r\n{self.agent.allow}{self.timer.wish}",
        )  # fmt: skip
        self.pending = client if direction else None

    def bye(self) -> None:
        """Hang up: the person is gone at once, whatever comes of it."""
        if self.state not in ("up", "calling"):
            return
        self.over()
        self.request("BYE", then=self._gone)

    def _gone(self, bye: Client, response: Wire | None) -> None:
        """Nobody answered the BYE: whoever is left in the call will notice the silence."""
        if response is None and self.plan is not None:
            self.agent.people.unanswered(self, bye)

    def over(self) -> None:
        if self.state != "ended":
            self.state, self.since = "ended", self.agent.net.now

    def reinvite(self, direction: str = "sendrecv", *, late: bool = False, tries: int = 3) -> None:
        """Offer again: hold, resume, another address."""
        if self.state != "up" or self.pending is not None:
            return
        self.version += 1
        body = b"" if late else self.sdp(direction)

        def then(client: Client, response: Wire | None) -> None:
            self.pending = None
            if self.state != "up":
                if response is not None and response.status < 300:
                    self._acknowledge(client, self.sdp() if late else b"")
                return
            if response is None or response.status in (408, 481):
                self.did("talk: re-INVITE found nobody")
                self.bye()
            elif response.status < 300:
                self.target = uri_of(response.head.get("contact", "")) or self.target
                self.held = direction == "sendonly"
                self._acknowledge(client, self.sdp() if late else b"")
                self.timer.agreed(response)
            elif response.status == 491 and tries:  # 14.1: the owner of the Call-ID waits longer
                self.did("race: 491")
                low, high = (2.1, 4.0) if self.role != "callee" else (0.0, 2.0)
                self.after(self.rng.uniform(low, high), lambda: self.reinvite(direction, late=late, tries=tries - 1))

        self.pending = self.request("INVITE", body, then)

    def requested(self, served: Served) -> None:
        """A request of the other side inside of the dialog."""
        method = served.request.method
        if method == "BYE":
            served.respond(200 if self.was_up or self.state != "ended" else 481)
            self.over()
        elif method == "NOTIFY":
            self._notified(served)
        elif self.state == "ended":
            served.respond(481)
        elif method == "PRACK":
            self.early.pracked(served)
        elif method == "UPDATE":
            self._updated(served)
        elif method == "INVITE":
            if self.pending is not None:
                served.respond(491)
            elif self.reinvite_delay:
                self.after(self.reinvite_delay, self._offered, served)
            else:
                self._offered(served)
        else:
            served.respond(200)

    def _notified(self, served: Served) -> None:
        """How a REFER goes; the subscription may outlive the call (RFC 5057 section 4)."""
        for referral in self.referrals:
            if referral.is_meant(served.request):
                referral.notified(served, self.notify_status)
                return
        self.agent.wrong("a NOTIFY that nobody asked for", self.call_id)
        served.respond(481)

    def _updated(self, served: Served) -> None:
        request = served.request
        if not self.agent.updates:
            self.agent.wrong("an UPDATE to a phone that takes none", self.call_id)
        if request.body and self.pending is not None:
            served.respond(491)
        elif request.body and self.reinvite_status not in (0, 200):
            served.respond(self.reinvite_status)
        else:
            self.version += bool(request.body)
            extra = f"Contact: <{self.agent.contact}>\r\n{self.agent.allow}{self.timer.answer(request)}"
            served.respond(200, body=self.sdp() if request.body else b"", extra=extra)

    def _offered(self, served: Served) -> None:
        status = self.reinvite_status
        if not status:
            served.respond(100)
            return
        if status == 200:
            self.target = uri_of(served.request.head.get("contact", "")) or self.target
            served.session = self
            self.accepted.append(served)
            self.version += 1
        extra = self.agent.allow + self.timer.answer(served.request) if status == 200 else ""
        served.respond(status, body=self.sdp() if status == 200 else b"", extra=extra)
