"""A user agent of the simulation: a phone or a carrier at one address. It keeps its transactions and its sessions, and
finds those that a message belongs to."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from tests.scenario.simulator import wire
from tests.scenario.simulator.network import Net
from tests.scenario.simulator.session import Session
from tests.scenario.simulator.texts import received
from tests.scenario.simulator.transactions import GIVE_UP, T1, Client, Served, Then
from tests.scenario.simulator.wire import Wire
from tests.scenario.world import Address

if TYPE_CHECKING:
    from tests.scenario.simulator.watching import Watch


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
        self.watches: dict[tuple[str, str], Watch] = {}
        self.text_status = 200         # what it says to texts; 0: nothing
        self.clients: dict[str, Client] = {}
        self.served: dict[str, Served] = {}
        self.updates = False           # takes UPDATE, and says so
        self.timers = False            # has heard of session timers
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

    @property
    def allow(self) -> str:
        return f"Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, MESSAGE, NOTIFY{', UPDATE' * self.updates}\r\n"

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
        elif message.method == "NOTIFY" and (message.call_id, message.to_tag) in self.watches:
            self.watches[message.call_id, message.to_tag].notified(served)
        elif message.method == "MESSAGE" and not message.to_tag:
            received(self, served)
        elif message.to_tag:
            served.respond(481)
        elif self.trunk:
            self.people.asked(self, served)
        else:
            served.respond(200, self.token())

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
