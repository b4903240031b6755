"""A user agent for the simulation: RFC 3261's transactions and dialogs, as short as they get, with handles for trouble.

`Agent` is a phone or a carrier at one address, `Client` a request that it sent, `Served` one that it was sent,
`Session` a dialog with a person at the other end. By themselves they do everything by the RFC; what they do wrong, and
when, is said by deeds (`deeds`), which set the flags of a session and call its methods later.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.scenario.simulator import wire
from tests.scenario.simulator.network import Net
from tests.scenario.simulator.wire import Wire, reply, uri_of

if TYPE_CHECKING:
    from tests.scenario.simulator.people import Plan

T1, T2, T4, GIVE_UP = 0.5, 4.0, 5.0, 32.0
PROMPT = 10.0      # seconds from the answer to a CANCEL to that of its INVITE
Address = tuple[str, int]
Then = Callable[["Client", Wire | None], None]


class Client:
    """A request of ours until its final response; None is given to `then` when none came."""

    __slots__ = (
        "ack", "agent", "cancelled", "cancelled_at", "data", "finals", "head", "interval", "key", "lost", "method",
        "number", "remote", "replied", "reply", "session", "started", "state", "then", "uri", "via",
    )  # fmt: skip

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
        """Whether a copy of it may still be on its way."""
        return self.reply is None or self.agent.net.now - self.replied < T4 - 1.0

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
        """Two different answers. A challenge whose INVITE comes once more while the exchange drains may become a 503:
        neither is kept (8.2.7)."""
        if len(self.finals) < 2 or self.agent.people.forgotten(self.started):
            return False
        return len({tag for _, tag in self.finals}) > 1 or {status for status, _ in self.finals} != {401, 503}

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


class Agent:
    """A phone or a carrier. `people` is told of calls; it decides what is done with them."""

    def __init__(
        self, net: Net, people: Any, address: Address, user: str, *, exchange: Address, transport: str = "UDP",
        password: str = "", trunk: bool = False,
    ) -> None:  # fmt: skip
        self.net, self.people, self.address, self.user = net, people, address, user
        self.exchange, self.transport, self.password, self.trunk = exchange, transport, password, trunk
        self.heard_from = exchange
        self.rng: random.Random = net.chance["people"]
        self.alive = True
        self.moved = False
        self.trusted = trunk or bool(password)     # may make calls
        self.sessions: dict[tuple[str, str], Session] = {}
        self.clients: dict[str, Client] = {}
        self.served: dict[str, Served] = {}
        self.remembers = True          # signs at once with the challenge of last time
        self.challenge = ""            # the last one: a phone that remembers it needs no second round
        self.count = 0
        self.registered_until = 0.0
        self.register_id = self.token()
        self.register_number = 0
        net.peers[address] = self

    def token(self) -> str:
        return f"{self.rng.getrandbits(48):012x}"

    @property
    def contact(self) -> str:
        transport = "" if self.transport == "UDP" else f";transport={self.transport.lower()}"
        return f"sip:{self.user}@{self.address[0]}:{self.address[1]}{transport}"

    def wrong(self, what: str, call_id: str) -> None:
        """Something that no exchange may do."""
        self.people.wrong(self, what, call_id)

    def send(self, data: bytes, to: Address | None = None) -> None:
        if self.alive:
            self.net.send(self.transport, self.address, to or self.exchange, data)

    # ---- requests of ours

    def raw(
        self, method: str, uri: str, head: dict[str, str], number: int, body: bytes = b"", *,
        branch: str = "", remote: Address | None = None, extra: str = "", sent: bool = True,
    ) -> bytes:  # fmt: skip
        """One message without a transaction: ACK, and what is sent astray. `head` has From, To and Call-ID."""
        host, port = self.address
        branch = branch or f"z9hG4bK{self.token()}"
        rows = (
            f"{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{self.transport} {host}:{port};branch={branch};rport\r\n"
            f"Max-Forwards: 70\r\nFrom: {head['From']}\r\nTo: {head['To']}\r\nCall-ID: {head['Call-ID']}\r\n"
            f"CSeq: {number} {method}\r\n"
        )
        data = wire.written(rows + extra, body)
        if sent:
            self.send(data, remote)
        return data

    def perform(
        self, method: str, uri: str, head: dict[str, str], number: int, body: bytes = b"", *, extra: str = "",
        session: Session | None = None, then: Then | None = None, branch: str = "", remote: Address | None = None,
    ) -> Client:  # fmt: skip
        """A request with its transaction."""
        client = Client(self, method, uri, session, then)
        client.via = branch or f"z9hG4bK{self.token()}"
        client.head, client.number, client.remote = head, number, remote or self.exchange
        client.key = client.via + method
        client.data = self.raw(method, uri, head, number, body, branch=client.via, remote=remote, extra=extra)
        self.clients[client.key] = client
        if self.transport == "UDP":
            self.net.at(T1, client.again)
        else:
            self.net.at(GIVE_UP, client.again)
        return client

    def authorization(self, method: str, uri: str) -> str:
        """The row with credentials for the challenge that is remembered; empty without one."""
        if not self.challenge or not self.password:
            return ""
        self.count += 1
        value = wire.digest(self.challenge, method, uri, self.user, self.password, self.count, self.token())
        return f"Authorization: {value}\r\n"

    def challenged(self, response: Wire) -> bool:
        """Take a challenge; False when it is none that we can answer."""
        challenge = response.head.get("www-authenticate", "") or response.head.get("proxy-authenticate", "")
        if response.status not in (401, 407) or not challenge or not self.password:
            return False
        self.challenge, self.count = challenge, 0
        return True

    def write(self, number: str, tries: int = 3) -> None:
        """A text to somebody, outside of any call."""
        uri = f"sip:{number}@{self.exchange[0]}"
        who = f"<sip:{self.user}@{self.exchange[0]}>;tag={self.token()}"
        head = {"From": who, "To": f"<{uri}>", "Call-ID": self.token()}

        def then(client: Client, response: Wire | None) -> None:
            if response is not None and tries and self.challenged(response):
                self.write(number, tries - 1)

        self.perform("MESSAGE", uri, head, 1, extra=self.authorization("MESSAGE", uri), then=then)

    def register(self, expires: int = 600, contact: str | None = None, tries: int = 3) -> None:
        """At the exchange, for `expires` seconds; again with credentials when asked for them."""
        uri = f"sip:{self.exchange[0]}"
        self.register_number += 1
        who = f"<sip:{self.user}@{self.exchange[0]}>"
        head = {"From": f"{who};tag={self.token()}", "To": who, "Call-ID": self.register_id}
        contact = contact or f"<{self.contact}>"
        extra = f"Contact: {contact}\r\nExpires: {expires}\r\n" + self.authorization("REGISTER", uri)

        def then(client: Client, response: Wire | None) -> None:
            if response is None:
                return
            if response.status == 401 and tries and self.challenged(response):
                self.register(expires, contact, tries - 1)
            elif response.status == 200:
                self.registered_until = self.net.now + expires

        self.perform("REGISTER", uri, head, self.register_number, extra=extra, then=then)

    # ---- what arrives

    def stream_lost(self, other: Address) -> None:
        """The connection is gone: what waits for an answer fails (17.1.4), the next message makes a new one."""
        if self.transport != "UDP" and other == self.exchange:
            for client in list(self.clients.values()):
                if client.state in ("calling", "proceeding"):
                    client.lost = True
                    client.give_up()
            for session in list(self.sessions.values()):
                if session.state == "ringing":
                    session.over()
            if self.alive and self.registered_until > self.net.now:     # its binding went with the stream
                self.net.at(self.rng.uniform(0.1, 5.0), self.register)

    def receive(self, transport: str, source: Address, data: bytes) -> None:
        message = Wire(data)
        self.heard_from = source
        if message.status:
            client = self.clients.get(message.branch + message.method)
            if client is not None:
                client.answered(message)
            return
        if message.method == "ACK":
            self._acknowledged(message)
            return
        key = message.branch + message.method
        known = self.served.get(key)
        if known is not None:
            if known.data:
                self.send(known.data, source)
            return
        session = self.sessions.get((message.call_id, message.to_tag)) if message.to_tag else None
        served = self.served[key] = Served(self, message, session)
        if message.method == "CANCEL":
            self._cancelled(message, served)
        elif session is not None:
            session.requested(served)
        elif message.method == "INVITE" and not message.to_tag:
            session = Session.invited(self, served)
            self.people.invited(session, served)
        else:
            served.respond(481 if message.to_tag else 200, self.token())

    def _cancelled(self, cancel: Wire, served: Served) -> None:
        invite = self.served.get(cancel.branch + "INVITE")
        served.respond(200 if invite is not None else 481, self.token())
        if invite is not None and not invite.final and invite.session is not None:
            invite.session.cancelled(invite)

    def _acknowledged(self, ack: Wire) -> None:
        served = self.served.get(ack.branch + "INVITE")
        if served is not None:
            served.acked = True
            return
        session = self.sessions.get((ack.call_id, ack.to_tag))
        if session is not None:
            session.acknowledged(ack)


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
        self.local, self.remote, self.target = "", "", ""
        self.number = 0                        # CSeq of our last request
        self.server: Served | None = None      # the INVITE that we were sent
        self.accepted: list[Served] = []       # and every INVITE that we said 200 to
        self.client: Client | None = None      # the INVITE that we sent
        self.pending: Client | None = None     # a re-INVITE of ours
        self.version = 1
        self.held = False
        # how it behaves; deeds set these
        self.early_sdp = False
        self.late_offer = False                # its INVITE has no SDP
        self.ack_after: float | None = 0.0     # None: forgets the ACK
        self.hangs_up_at: float | None = None
        self.reinvite_status = 200             # what it says to re-INVITEs; 0: nothing
        self.reinvite_delay = 0.0
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
        extra = f"Contact: <{agent.contact}>\r\n{number}{self.extra}{signed}"
        body = b"" if self.late_offer else self.sdp()
        self.client = agent.perform(
            "INVITE", self.target, self._head(), self.number, body, extra=extra, session=self, then=self._answered
        )

    def cancel(self) -> None:
        """Give up the call, whatever state it is in."""
        if self.state == "up":
            self.bye()
        elif self.client is not None and self.role == "caller" and self.state == "calling":
            self.did("call: cancelled")
            self.client.cancel()

    def progressed(self, client: Client, response: Wire) -> None:
        if client is not self.client or response.status == 100:
            return
        self._learn(response)
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
        self._acknowledge(client, b"" if not self.late_offer else self.sdp())
        if ended or client.cancelled:
            self.did("race: 200 crossed the CANCEL")
            self.state = "up"
            self.bye()
            return
        self.go_up()

    def _again(self, response: Wire) -> bool:
        """With credentials, when it is a first challenge."""
        if self.number > 2 or self.state != "calling" or not self.agent.challenged(response):
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
        number = request.head.get("x-sim", "")
        plan = agent.people.plan_of(number)
        self = cls(agent, plan, "callee", request.call_id, tag or agent.token())
        self.server = served.session = None  # type: ignore[assignment]
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
            self.server.respond(status, self.tag, body)

    def answer(self) -> None:
        """Pick up."""
        if self.server is None or self.server.final or self.state != "ringing":
            return
        self.accepted.append(self.server)
        self.server.respond(200, self.tag, self.sdp())
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
            extra += f"Contact: <{self.agent.contact}>\r\n"
        return self.agent.perform(
            method, self.target, self._head(), self.number, body, extra=extra, session=self, then=then
        )

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
            elif response.status == 491 and tries:  # 14.1: the owner of the Call-ID waits longer
                self.did("race: 491")
                low, high = (2.1, 4.0) if self.role == "caller" else (0.0, 2.0)
                self.after(self.rng.uniform(low, high), lambda: self.reinvite(direction, late=late, tries=tries - 1))

        self.pending = self.request("INVITE", body, then)

    def requested(self, served: Served) -> None:
        """A request of the other side inside of the dialog."""
        method = served.request.method
        if method == "BYE":
            served.respond(200 if self.was_up or self.state != "ended" else 481)
            self.over()
        elif self.state == "ended":
            served.respond(481)
        elif method == "INVITE":
            if self.pending is not None:
                served.respond(491)
            elif self.reinvite_delay:
                self.after(self.reinvite_delay, self._offered, served)
            else:
                self._offered(served)
        else:
            served.respond(200)

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
        served.respond(status, body=self.sdp() if status == 200 else b"")
