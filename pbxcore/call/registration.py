"""Registering with a carrier: RFC 3261 section 10.2, the back-off of RFC 5626 section 4.5, Service-Route of RFC 3608.

One binding a trunk, at one of its servers: refreshed before it expires, made anew when our address or the connection
has changed, moved to the next server when the one that holds it is silent. What a carrier says is answered (401, 407,
423) or believed (403, Retry-After). Sans I/O: the clock, chance and identifiers come in; the transaction layer sends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pbxcore.call.leg import ALLOW, contact_of
from pbxcore.call.servers import Key
from pbxcore.call.trunks import Trunk, retry_after
from pbxcore.sip import build
from pbxcore.sip.errors import SipError
from pbxcore.sip.layer import Flow, Layer
from pbxcore.sip.location import Server
from pbxcore.sip.message import Field, Request, Response
from pbxcore.sip.timers import Timers
from pbxcore.sip.transaction import ClientTransaction
from pbxcore.sip.uri import escape_user

FIRST_PAUSE, LONGEST_PAUSE = 15.0, 300.0   # seconds before the first and between the latest tries after failures
REFUSED_PAUSE = 600.0       # after a refusal that trying again will hardly change: carriers block who hammers
LONGEST_RETRY_AFTER = 3600.0
MOST_SECONDS = 86_400       # a Min-Expires beyond this is not believed
SILENCE_SECONDS = 8.0       # five datagrams over UDP; then another server is asked, if there is one, before Timer F
LOOK_SECONDS = 10.0         # between two looks at our address and the connection
TRY_ANOTHER = frozenset({408, 480, 500, 502, 503, 504})


class State(StrEnum):
    """Where a registration stands; what it is called in logs, in the panel and in /metrics."""

    OFF = "off"
    TRYING = "trying"
    REGISTERED = "registered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Tools:
    """What a trunk's errands work with. `chance` gives numbers from 0 up to 1."""

    layer: Layer
    timers: Timers
    clock: Callable[[], float]
    token: Callable[[], str]
    chance: Callable[[], float]


class Registration:
    """The binding of one trunk at its carrier. `told` is called after every change of `state` or `reason`."""

    def __init__(self, trunk: Trunk, tools: Tools, told: Callable[[], None]) -> None:
        self.trunk = trunk
        self.state = State.OFF
        self.reason = ""             # why it failed, in words
        self.granted = 0             # seconds, as the carrier granted them last
        self.at: Key | None = None   # the server that holds the binding
        self.service_route: tuple[str, ...] = ()   # rows of Route for requests of ours (RFC 3608)
        self._tools = tools
        self._told = told
        self._call_id = tools.token()
        self._tag = tools.token()
        self._sequence = 0
        self._seconds = trunk.profile.register_seconds
        self._wanted = False         # False: the binding is to go, or there shall be none
        self._expires_at = 0.0
        self._failures = 0
        self._tried: set[Key] = set()
        self._nonces: set[str] = set()     # challenges answered in this try
        self._pause = 0.0            # the longest Retry-After of this round
        self._tx: ClientTransaction | None = None
        self._sent_at = 0.0
        self._flow: Flow | None = None
        self._server: Server | None = None
        self._contact = ""           # as it is registered
        self._due = 0.0              # when the next try is; a timer that fires earlier is stale
        self._kept_alive_at = 0.0

    # ---- what is wanted

    def start(self) -> None:
        self._wanted = True
        self._look_again()
        self._begin()

    def stop(self) -> None:
        """Take the binding back (10.2.2), once; nothing is tried again."""
        self._wanted = False
        self._due = 0.0
        held, server = self.at, self._server
        if held is None or server is None or self._flow is None:
            return
        self.at = None
        self._become(State.OFF)
        if not self._flow.closed:
            self._send(self._flow, server, [])

    def again(self) -> None:
        """Something has changed (servers, our address): register now, without waiting for the next time."""
        if self._wanted and self._tx is None:
            self._begin()

    @property
    def busy(self) -> bool:
        """Whether an answer is waited for."""
        return self._tx is not None

    # ---- timers

    def on_timer(self, name: str, now: float) -> None:
        if not self._wanted:
            return
        if name == "look":
            self._look(now)
            self._look_again()
        elif name == "silence":
            self._heard_nothing(now)
        elif name == "due" and self._due and now >= self._due and self._tx is None:
            self._begin()

    def _begin_at(self, at: float) -> None:
        self._due = at
        self._tools.timers.start(at, self, "due")

    def _look_again(self) -> None:
        self._tools.timers.start(self._tools.clock() + LOOK_SECONDS, self, "look")

    def _look(self, now: float) -> None:
        """The binding holds only as long as our address and, where there is one, the connection (RFC 5626 4.2)."""
        if self.at is None or self._flow is None or self._server is None:
            return
        if now >= self._expires_at:
            self._lost("the registration has expired")
        if self._tx is not None:
            return
        moved = self._our_contact(self._way(self._server)) != self._contact
        if moved or self._flow.closed or not self.trunk.servers.has(self.at):
            self._begin()
        else:
            self._keep_alive(self._flow, now)

    def _way(self, server: Server) -> Flow | None:
        try:
            return self.trunk.flow_of(server)
        except SipError:
            return None

    def _our_contact(self, flow: Flow | None) -> str:
        return contact_of(escape_user(self.trunk.username), flow) if flow is not None else ""

    def _keep_alive(self, flow: Flow, now: float) -> None:
        """An empty datagram, so that a NAT keeps the way back open; connections keep themselves alive."""
        seconds = self.trunk.profile.keepalive_seconds
        if seconds and not flow.reliable and now - self._kept_alive_at >= seconds - LOOK_SECONDS / 2:
            self._kept_alive_at = now
            flow.send(b"\r\n\r\n")

    # ---- one round of tries

    def _begin(self) -> None:
        self._due = 0.0
        self._tried.clear()
        self._pause = 0.0
        self._next("")

    def _next(self, reason: str) -> None:
        """Ask the next server; without one left wait."""
        self._nonces.clear()
        tools, trunk = self._tools, self.trunk
        for server in self._candidates():
            self._tried.add((server.transport, server.at))
            try:
                flow = trunk.flow_of(server)
            except SipError as error:
                reason = str(error)
                continue
            if self.at is None and self.state is State.OFF:
                self._become(State.TRYING)
            self._send(flow, server, [])
            return
        if not trunk.servers.known and not trunk.problem:   # the names are being looked up; who does it will tell
            self._become(State.TRYING)
            self._begin_at(tools.clock() + FIRST_PAUSE)
            return
        if not reason and self._tried:
            reason = "no server can be reached"
        self._failed(reason or trunk.problem or trunk.servers.reason or "no server is known", tools.clock())

    def _candidates(self) -> list[Server]:
        """The server that holds the binding first, unless it is avoided: then in the usual order."""
        tools = self._tools
        order = self.trunk.servers.order(tools.chance, tools.clock(), self._tried)
        if not self._tried and self.at is not None:
            order.sort(key=lambda server: (server.transport, server.at) != self.at)
        return order

    def _send(self, flow: Flow, server: Server, credentials: Sequence[Field]) -> None:
        trunk = self.trunk
        self._sequence += 1
        seconds = self._seconds if self._wanted else 0
        contact = self._our_contact(flow)
        aor = f"<sip:{escape_user(trunk.username)}@{trunk.authority}>"
        rows = [
            ("Max-Forwards", "70"),
            ("From", f"{aor};tag={self._tag}"),
            ("To", aor),
            ("Call-ID", self._call_id),
            ("CSeq", f"{self._sequence} REGISTER"),
            ("Contact", f"{contact};expires={seconds}"),
            ("Expires", str(seconds)),
            ("Allow", ALLOW),
            ("Supported", "path"),
            ("User-Agent", "Hookline"),
        ]
        if trunk.proxy:
            rows.insert(0, ("Route", trunk.proxy))
        request = build.request("REGISTER", f"sip:{trunk.authority}", rows)
        request.fields += credentials
        self._flow, self._server, self._contact = flow, server, contact
        tools = self._tools
        self._sent_at = tools.clock()
        self._tx = tools.layer.request(request, flow, self)
        if self._wanted:
            tools.timers.start(self._sent_at + SILENCE_SECONDS, self, "silence")

    def _heard_nothing(self, now: float) -> None:
        tx, tools = self._tx, self._tools
        if tx is None or now < self._sent_at + SILENCE_SECONDS:
            return
        if self.trunk.servers.order(tools.chance, now, self._tried):
            self._unserved(tx, "no answer to REGISTER")

    # ---- what the layer tells (ClientOwner)

    def on_response(self, tx: ClientTransaction, response: Response) -> None:
        if response.status < 200 or tx is not self._tx:
            return
        request = tx.request
        self._tx = None
        if response.status != 503:
            self.trunk.servers.heard((tx.flow.transport, tx.flow.remote))
        if response.status in (401, 407) and self._answered(request, response, tx.flow):
            return
        if self._wanted:
            self._outcome(response)

    def on_timeout(self, tx: ClientTransaction) -> None:
        self._unserved(tx, "no answer to REGISTER")

    def on_transport_error(self, tx: ClientTransaction) -> None:
        self._unserved(tx, "no connection")

    def _unserved(self, tx: ClientTransaction, reason: str) -> None:
        if tx is self._tx:
            self._tx = None
            self.trunk.unserved(tx.flow, reason)
            if self._wanted:
                self._next(reason)

    def _answered(self, request: Request, response: Response, flow: Flow) -> bool:
        """Whether the challenge was answered: each once, and a second one only when it has a new nonce because the old
        one was stale, or is that of a second server (22.3)."""
        row = self.trunk.authorize(request, response)
        stale = "stale=true" in "".join(response.values("www-authenticate")).replace('"', "").lower()
        if row is None or (row[0] in request and not stale) or len(self._nonces) >= 3 or self._server is None:
            return False
        self._nonces.add(row[1])
        kept = [field for field in request.fields if field[0] in ("authorization", "proxy-authorization")]
        self._send(flow, self._server, [*(field for field in kept if field[0] != row[0]), row])
        return True

    def _outcome(self, response: Response) -> None:
        status, now = response.status, self._tools.clock()
        said = f"{status} {response.reason}".strip()
        if status < 300:
            self._registered(response, now)
        elif status == 423 and self._longer(response):
            if self._server is not None and self._flow is not None:
                self._nonces.clear()
                self._send(self._flow, self._server, [])
        elif status in TRY_ANOTHER:
            pause = min(retry_after(response), LONGEST_RETRY_AFTER)
            self._pause = max(self._pause, pause)
            if self._flow is not None:
                self.trunk.unserved(self._flow, f"the server says {said}", response)
            self._next(f"the server says {said}")
        elif status in (401, 403, 407):
            self._refused(f"the carrier does not take the username and password ({said})", response, now)
        elif status == 404:
            self._refused(f"the carrier does not know this username ({said})", response, now)
        else:
            self._refused(f"the carrier says {said}", response, now)

    def _longer(self, response: Response) -> bool:
        """A 423 says what the carrier wants at least (10.2.8)."""
        text = (response.first("min-expires") or "").strip()
        if not (text.isascii() and text.isdecimal() and len(text) < 7):
            return False
        if not self._seconds < int(text) <= MOST_SECONDS:
            return False
        self._seconds = int(text)
        return True

    def _registered(self, response: Response, now: float) -> None:
        seconds = self._own_expiry(response)
        if seconds <= 0:
            self._refused("the carrier has taken no binding of ours", response, now)
            return
        self.granted = seconds
        self._failures = 0
        self._expires_at = now + seconds
        if self._server is not None:
            self.at = self._server.transport, self._server.at
        self.service_route = tuple(response.values("service-route")) if self.trunk.profile.service_route else ()
        # Early enough for a try or two (10.2.4), and not all offices of a carrier at once.
        early = min(seconds / 2, 32.0 + self._tools.chance() * 0.1 * seconds)
        self._begin_at(now + seconds - early)
        self._kept_alive_at = now
        self._become(State.REGISTERED)

    def _own_expiry(self, response: Response) -> int:
        """What was granted to our Contact among those that the carrier lists (10.2.4); carriers that rewrite it behind
        a NAT are met."""
        found = []
        for contact in response.contacts:
            text = contact.params.get("expires") or ""
            seconds = int(text) if text.isascii() and text.isdecimal() and len(text) < 8 else None
            if f"<{contact.uri}>" == self._contact and seconds is not None:
                return seconds
            if contact.uri.username == self.trunk.username and seconds is not None:
                found.append(seconds)
        if found:
            return max(found)
        return response.expires if response.expires is not None else self._seconds

    # ---- when it fails

    def _refused(self, reason: str, response: Response, now: float) -> None:
        pause = max(REFUSED_PAUSE, min(retry_after(response), LONGEST_RETRY_AFTER))
        self._lost(reason)
        self._begin_at(now + pause * (0.9 + 0.2 * self._tools.chance()))

    def _failed(self, reason: str, now: float) -> None:
        """Nobody took it. RFC 5626 section 4.5: twice the pause after each failure, up to a bound, and of that a share
        by chance, so that a carrier that comes back is not met by all at once."""
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._failures, 10))
        self._failures += 1
        at = now + max(self._pause, pause * (0.5 + 0.5 * self._tools.chance()))
        if self.at is not None and now < self._expires_at:   # the binding still holds: this was only its refresh
            self._begin_at(min(at, self._expires_at))
            self._become(State.REGISTERED, reason)
            return
        self._lost(reason)
        self._begin_at(at)

    def _lost(self, reason: str) -> None:
        self.at = None
        self.service_route = ()
        self._become(State.FAILED, reason)

    def _become(self, state: State, reason: str = "") -> None:
        if (state, reason) != (self.state, self.reason):
            self.state, self.reason = state, reason
            self._told()
