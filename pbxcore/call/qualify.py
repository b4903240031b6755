"""Whether a trunk's servers are there: OPTIONS (RFC 3261 section 11) to each of them, now and then.

Any answer but 503 says that it is, 404 and 405 as well. One that misses a probe is asked again soon, and one that has
missed several in a row is down until it answers. Sans I/O, as `registration`.
"""

from __future__ import annotations

from pbxcore.call.leg import contact_of
from pbxcore.call.registration import Tools
from pbxcore.call.servers import Key
from pbxcore.call.trunks import Trunk
from pbxcore.sip import build
from pbxcore.sip.errors import SipError
from pbxcore.sip.location import Server
from pbxcore.sip.message import Response
from pbxcore.sip.transaction import ClientTransaction
from pbxcore.sip.uri import escape_user, join_host

ANSWER_SECONDS = 8.0     # five datagrams over UDP (17.1.2.2); whoever needs longer is not fit for calls


class Probes:
    """The probes of one trunk; what they find is told to its `servers`."""

    def __init__(self, trunk: Trunk, tools: Tools) -> None:
        self._trunk = trunk
        self._tools = tools
        self._out: dict[ClientTransaction, tuple[Server, float]] = {}   # and until when an answer counts
        self._next: dict[Key, float] = {}    # when each is asked again
        self._running = False
        self._tick = 0.0

    def start(self) -> None:
        """No effect for a carrier that wants no OPTIONS (`options_seconds = 0`)."""
        if self._trunk.profile.options_seconds and not self._running:
            self._running = True
            self._run(self._tools.clock())

    def stop(self) -> None:
        self._running = False

    def on_timer(self, name: str, now: float) -> None:
        if self._running and now >= self._tick:
            self._run(now)

    def _run(self, now: float) -> None:
        profile = self._trunk.profile
        for tx, (server, until) in list(self._out.items()):
            if now >= until:
                del self._out[tx]
                self._missed(server, "no answer to OPTIONS", now)
        asked = {(server.transport, server.at) for server, _ in self._out.values()}
        servers = self._trunk.servers.all()
        known = {(server.transport, server.at) for server in servers}
        self._next = {key: at for key, at in self._next.items() if key in known}
        for server in servers:
            key = server.transport, server.at
            if key not in asked and self._next.get(key, now) <= now:
                # Not all at once, and no two offices in step.
                self._next[key] = now + profile.options_seconds * (0.9 + 0.2 * self._tools.chance())
                self._ask(server, now)
        self._tick = now + profile.options_retry_seconds
        self._tools.timers.start(self._tick, self, "probe")

    def _ask(self, server: Server, now: float) -> None:
        trunk, tools = self._trunk, self._tools
        try:
            flow = trunk.flow_of(server)
        except SipError as error:
            self._missed(server, str(error), now)
            return
        user = escape_user(trunk.username or "hookline")
        rows = [
            ("Max-Forwards", "70"),
            ("From", f"<sip:{user}@{join_host(flow.local[0], None)}>;tag={tools.token()}"),
            ("To", f"<sip:{trunk.authority}>"),
            ("Call-ID", tools.token()),
            ("CSeq", "1 OPTIONS"),
            ("Contact", contact_of(user, flow)),
            ("Accept", "application/sdp"),
            ("User-Agent", "Hookline"),
        ]
        if trunk.proxy:
            rows.insert(0, ("Route", trunk.proxy))
        request = build.request("OPTIONS", f"sip:{trunk.authority}", rows)
        tx = tools.layer.request(request, flow, self)
        self._out[tx] = server, now + ANSWER_SECONDS

    def _missed(self, server: Server, reason: str, now: float) -> None:
        key = server.transport, server.at
        self._next[key] = min(self._next.get(key, now), now + self._trunk.profile.options_retry_seconds)
        self._trunk.servers.missed(key, f"{server}: {reason}")

    # ---- ClientOwner

    def on_response(self, tx: ClientTransaction, response: Response) -> None:
        if response.status < 200:
            return
        found = self._out.pop(tx, None)
        if response.status == 503:
            if found is not None:
                self._missed(found[0], "it says 503 Service Unavailable", self._tools.clock())
        else:   # late is better than never
            self._trunk.servers.heard((tx.flow.transport, tx.flow.remote))

    def on_timeout(self, tx: ClientTransaction) -> None:
        found = self._out.pop(tx, None)
        if found is not None:
            self._missed(found[0], "no answer to OPTIONS", self._tools.clock())

    def on_transport_error(self, tx: ClientTransaction) -> None:
        found = self._out.pop(tx, None)
        if found is not None:
            self._missed(found[0], "no connection", self._tools.clock())
