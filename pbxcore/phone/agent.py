"""A phone: a user agent of RFC 3261 with one address of record, for the command line, the demo, the benches and tests.

It registers and keeps registered (section 10.2), places and takes calls (`pbxcore.phone.call`), answers OPTIONS and
MESSAGE (RFC 3428). Sans I/O: the flow to the registrar, the way to other hosts, the clock and the identifiers are
arguments. Several phones share a layer through `Phones`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pbxcore.phone.asking import Ask, Credentials
from pbxcore.phone.call import PhoneCall
from pbxcore.phone.listener import MediaEnd, PhoneListener
from pbxcore.phone.registration import Registration
from pbxcore.phone.wording import ALLOW, METHODS, USER_AGENT, sdp_of
from pbxcore.sip import build
from pbxcore.sip.dialog import key_of
from pbxcore.sip.errors import SipError
from pbxcore.sip.headers import NameAddr
from pbxcore.sip.layer import Flow, Layer
from pbxcore.sip.message import Request, Response
from pbxcore.sip.timers import Timers
from pbxcore.sip.transaction import ServerTransaction
from pbxcore.sip.uri import Uri, escape_user, join_host

Route = Callable[[str], Flow]


class Phones:
    """The transaction user of a layer with phones on it: gives every request to its dialog or to its phone."""

    def __init__(self) -> None:
        self.layer: Layer
        self.agents: dict[str, PhoneAgent] = {}
        self.calls: dict[str, PhoneCall] = {}
        self.fallback: PhoneAgent | None = None   # who gets what is for nobody

    def on_request(self, tx: ServerTransaction, request: Request) -> None:
        if request.to_tag is not None:
            call = self.calls.get(key_of(request))
            if call is not None:
                call.on_request(tx, request)
            else:
                self.layer.respond(tx, build.response(request, 481))
            return
        agent = self.agents.get(request.request_uri.username, self.fallback)
        if agent is None:
            self.layer.respond(tx, build.response(request, 404, to_tag=self.layer.token()))
        else:
            agent.on_request(tx, request)

    def on_stray_ack(self, request: Request, flow: Flow) -> None:
        """Of a call that is over: nothing waits for it."""


class PhoneAgent:
    """One phone. `aor` is its address of record (`sip:101@pbx.example.net`); `contact_user` the user part of its
    Contact, by which calls find it, so no two on one layer may share it.

    `registrar` gives an open flow to its registrar, through which all its calls go out; a phone without one asks
    `route` for a flow to any URI. Both raise SipError where there is no way. `media` makes the audio of a call.
    What it does with a call that comes: `reject_with` a status, or answer after `answer_after` seconds, or ring until
    told (None).
    """

    def __init__(
        self,
        phones: Phones,
        timers: Timers,
        clock: Callable[[], float],
        token: Callable[[], str],
        *,
        aor: str,
        listener: PhoneListener,
        media: Callable[[PhoneCall], MediaEnd],
        route: Route,
        registrar: Callable[[], Flow] | None = None,
        contact_user: str = "",
        password: str = "",
        username: str = "",
        display: str | None = None,
    ) -> None:
        self.phones = phones
        self.layer = phones.layer
        self.timers = timers
        self.clock = clock
        self.token = token
        self.aor = Uri.parse(aor)
        self.listener = listener
        self.media = media
        self.route = route
        self.registrar = registrar
        self.contact_user = contact_user or self.aor.username
        self.display = display
        self.credentials = Credentials(username or self.aor.username, password, token)
        self.answer_after: float | None = None
        self.reject_with: int | None = None
        self.max_calls = 0   # 0: as many as come; one more is answered 486
        self.calls: list[PhoneCall] = []
        self.registration = Registration(self)
        if self.contact_user in phones.agents:
            raise ValueError(f"a phone with the contact user {self.contact_user!r} is there already")
        phones.agents[self.contact_user] = self

    def close(self) -> None:
        """Takes the phone off its layer. Calls that are up are not ended by it: `hang_up` them before."""
        self.phones.agents.pop(self.contact_user, None)
        self.registration.stop()

    def register(self, seconds: int = 600) -> None:
        """Bind our Contact for so many seconds and refresh it before they are over."""
        self.registration.start(seconds)

    def unregister(self) -> None:
        self.registration.remove()

    def call(
        self,
        target: str,
        *,
        late_offer: bool = False,
        headers: Sequence[tuple[str, str]] = (),
    ) -> PhoneCall:
        """Place a call to a number, or to a SIP or tel URI. With `late_offer` the other side makes the offer.

        Raises SipError when there is no way to the target.
        """
        call = PhoneCall.outgoing(self, self.uri_of(target), late_offer=late_offer, headers=headers)
        call.send_invite()
        return call

    def uri_of(self, target: str) -> str:
        """A number or user name as a URI in our own domain; URIs stay as they are."""
        if target.lower().startswith(("sip:", "sips:", "tel:")):
            return target
        return str(Uri("sip", escape_user(target), self.aor.host, self.aor.port))

    def from_value(self, tag: str) -> str:
        return f"{NameAddr(self.aor, self.display)};tag={tag}"

    def contact(self, flow: Flow) -> str:
        """Our Contact as the peer at the end of `flow` reaches us."""
        host, port = flow.local
        transport = "" if flow.transport == "UDP" else f";transport={flow.transport.lower()}"
        return f"<sip:{escape_user(self.contact_user)}@{join_host(host, port)}{transport}>"

    def flow_for(self, uri: str) -> Flow:
        """The way for a request outside of dialogs: through the registrar's flow if there is one. Raises SipError."""
        return self.route(uri) if self.registrar is None else self.registrar()

    def on_request(self, tx: ServerTransaction, request: Request) -> None:
        """A request outside of dialogs."""
        method = request.method
        if request.require:
            headers = [("Unsupported", ", ".join(request.require))]
            self.respond(tx, 420, headers=headers)
        elif method == "INVITE":
            self._take(tx, request)
        elif method == "OPTIONS":
            self.respond(tx, 200, headers=[("Allow", ALLOW), ("Accept", "application/sdp")])
        elif method == "MESSAGE":
            self.respond(tx, 200)
            self.listener.on_message(self, request.from_.uri.username, request.body.decode("utf-8", "replace"))
        elif method in METHODS:
            self.respond(tx, 481)   # of a dialog, but without one
        else:
            self.respond(tx, 405, headers=[("Allow", ALLOW)])

    def respond(self, tx: ServerTransaction, status: int, *, headers: Sequence[tuple[str, str]] = ()) -> None:
        """A response without a body to a request outside of dialogs."""
        headers = [*headers, ("User-Agent", USER_AGENT)]
        self.layer.respond(tx, build.response(tx.request, status, to_tag=self.token(), headers=headers))

    def _take(self, tx: ServerTransaction, request: Request) -> None:
        if self.reject_with is not None:
            self.respond(tx, self.reject_with)
            return
        if self.max_calls and len(self.calls) >= self.max_calls:
            self.respond(tx, 486)
            return
        try:
            offer = sdp_of(request)
            call = PhoneCall.incoming(self, tx, request, offer)
        except SipError as error:
            self.respond(tx, error.status)
            return
        self.listener.on_incoming(call)
        call.apply_rules()

    def message(self, target: str, text: str, done: Callable[[int], None] | None = None) -> None:
        """Send a MESSAGE; `done` gets the status of its final response. Raises SipError when there is no way."""
        uri = self.uri_of(target)
        flow = self.flow_for(uri)
        call_id, tag = self.token(), self.token()
        sequence = iter(range(1, 10))

        def make(credentials: Sequence[tuple[str, str]]) -> Request:
            rows = [
                ("Max-Forwards", "70"),
                ("From", self.from_value(tag)),
                ("To", f"<{uri}>"),
                ("Call-ID", call_id),
                ("CSeq", f"{next(sequence)} MESSAGE"),
                ("User-Agent", USER_AGENT),
                *credentials,
                ("Content-Type", "text/plain;charset=UTF-8"),
            ]
            return build.request("MESSAGE", uri, rows, text.encode())

        def finished(status: int, reason: str, response: Response | None) -> None:
            if done is not None:
                done(status)

        Ask(self, make, flow, finished)
