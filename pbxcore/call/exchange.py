"""The exchange: what becomes of each request that reaches it (RFC 3261 section 8.2).

The transaction layer hands every new request to `on_request`. One inside of a dialog goes to its leg; an INVITE that
passes admission (source, credentials, limits, headers) becomes a `LiveCall`; the rest is answered here. Who may call:
trunks by address, extensions by digest. Nothing else gets further than a challenge.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import structlog

from pbxcore.bus import Bus
from pbxcore.call import pickup
from pbxcore.call.abilities import ALL, KNOWN, Declined, asking, check, enlist
from pbxcore.call.b2bua import LiveCall
from pbxcore.call.body import sdp_in
from pbxcore.call.cards import Cards
from pbxcore.call.connected import found_late
from pbxcore.call.ending import Endings
from pbxcore.call.identity import called_digits, dialed
from pbxcore.call.incoming import incoming
from pbxcore.call.leg import ALLOW, Leg
from pbxcore.call.message import MessageRelay
from pbxcore.call.outbound import EXTENSIONS, instance_in
from pbxcore.call.registrar import Registrar, TooBrief, one_a_phone
from pbxcore.call.router import DialPlan, Target
from pbxcore.call.servers import Key
from pbxcore.call.services.agents import Agents
from pbxcore.call.services.sounds import Silence, Sounds
from pbxcore.call.services.states import LAMP_STATES, AgentStates
from pbxcore.call.services.voicemail import UNTOLD, Mailroom, NoMail
from pbxcore.call.session_timer import Wanted
from pbxcore.call.signal import Kind, Notice, Signal
from pbxcore.call.subscriptions.package import Refused
from pbxcore.call.subscriptions.service import EventService
from pbxcore.call.texts import Texts
from pbxcore.call.trunks import SECURE, Trunk, Trunks
from pbxcore.control import AgentState
from pbxcore.events import AgentStateChanged
from pbxcore.hooks import CallHooks, CallJournal, CallSnapshot, Decision, StreamStats
from pbxcore.media.backend import MediaBackend
from pbxcore.net.pressure import Pressure
from pbxcore.settings import Sip
from pbxcore.sip import build
from pbxcore.sip.digest import Authenticator, Challenge, Granted, Secret
from pbxcore.sip.errors import SipError
from pbxcore.sip.layer import Flow, Layer, stateless_tag
from pbxcore.sip.message import Request
from pbxcore.sip.timers import Timers
from pbxcore.sip.transaction import ServerTransaction

log = structlog.get_logger("call")

FlowTo = Callable[[str, str, int], Flow]
Way = tuple[Flow, str, Trunk | None, tuple[str, ...]]

METHODS = frozenset({"REGISTER", "SUBSCRIBE", "NOTIFY", "PUBLISH", "REFER", "UPDATE", "PRACK", "INFO", "BYE"})
IN_DIALOG_ONLY = frozenset({"BYE", "INFO", "UPDATE", "PRACK", "NOTIFY"})
EXTENDED = frozenset({"supported", "require", "session-expires", "allow"})
REMEMBERED_DIALOGS = 5000
RETRY_AFTER = [("Retry-After", "5")]
RETRY_SOON = [("Retry-After", "1")]  # who honours it sends nothing at all meanwhile (21.5.4)


@dataclass(slots=True)
class Counters:
    """Numbers since start, for /metrics."""

    calls: int = 0
    answered: int = 0
    refused_overload: int = 0
    refused_behind: int = 0  # of these: because messages had waited too long
    faults: int = 0
    journal_late: int = 0
    media_refused: int = 0


@dataclass(frozen=True, slots=True)
class Doors:
    """What the exchange works with: each is a protocol that somebody else keeps."""

    hooks: CallHooks
    journal: CallJournal
    media: MediaBackend
    bus: Bus


class Exchange:
    """The transaction user. `clock` is monotonic seconds, `wall` Unix time, `token` fresh random text."""

    def __init__(
        self,
        doors: Doors,
        timers: Timers,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        token: Callable[[], str],
        flow_to: FlowTo,
        registrar: Registrar,
        authenticator: Authenticator,
        settings: Sip | None = None,
        pressure: Pressure | None = None,
        crm_seconds: float = 0.3,
        wrap_up_seconds: float = 0.0,
        lamp_states: Collection[AgentState] = LAMP_STATES["wrap-up"],
    ) -> None:
        self.hooks = doors.hooks
        self.journal = doors.journal
        self.media = doors.media
        self.bus = doors.bus
        self.timers = timers
        self.clock = clock
        self.wall = wall
        self.token = token
        self.flow_to = flow_to
        self.registrar = registrar
        self.crm_seconds = crm_seconds
        self.layer = Layer(self, timers, clock, token)
        self.counters = Counters()
        self.dialogs: dict[tuple[str, str], Leg] = {}
        self.live: dict[str, LiveCall] = {}
        self.trail: deque[tuple[str, str]] = deque(maxlen=REMEMBERED_DIALOGS)  # our call id, Call-ID of one dialog
        self.dial_plan = DialPlan()
        self.trunks = Trunks()
        self.secrets: Mapping[str, Secret] = {}
        settings = settings or Sip()
        self.domain = settings.domain
        self.realm = settings.domain or "hookline"
        self.session = Wanted(settings.session_seconds, settings.session_min_seconds)
        self.asking = asking(self.session)
        self.follow_redirects = settings.follow_redirects
        self.draining = False
        self.pressure = pressure or Pressure()
        self._authenticator = authenticator
        self._max_calls = settings.max_calls
        self._max_rate = settings.max_calls_per_second
        self._second = 0
        self._in_second = 0
        self.endings = Endings(self)
        self.cards = Cards(clock, token)
        self.states = AgentStates(
            timers, clock, wrap_up_seconds, self._agent_changed, lambda party: party in self.dial_plan.extensions
        )
        self.lamp_states = lamp_states
        self.agents = Agents(self, self.states.ready)
        self.sounds: Sounds = Silence()
        self.mailroom: Mailroom = NoMail()
        self.recordings: dict[str, Callable[[float], None]] = {}   # call id -> what to do when its recording is whole
        self.events = EventService(self)
        self.texts = Texts(self.layer, timers, registrar, clock=clock, wall=wall, domain=self.domain)
        registrar.domain = self.domain
        registrar.watchers.append(self.texts)

    def _agent_changed(self, extension: str, state: str) -> None:
        if self.bus.wanted:
            self.bus.publish(AgentStateChanged(self.wall(), extension, state))
        self.events.agent_changed(extension)

    # ---- TransactionUser

    def on_request(self, tx: ServerTransaction, request: Request) -> None:
        try:
            self._dispatch(tx, request)
        except BadExtension as error:
            self._answer(tx, request, 420, headers=[("Unsupported", error.names)])
        except (Refused, Declined) as error:
            self._answer(tx, request, error.status, error.reason, error.headers)
        except SipError as error:
            headers = [("Accept", "application/sdp")] if error.status == 415 else []
            self._answer(tx, request, error.status, error.reason, headers)

    def on_stray_ack(self, request: Request, flow: Flow) -> None:
        """An ACK that belongs to nothing asks for nothing."""

    def _dispatch(self, tx: ServerTransaction, request: Request) -> None:
        method, tag = request.method, request.to_tag
        if tag is not None:
            leg = self.dialogs.get((request.call_id, tag))
            if leg is not None:
                if method != "BYE":  # which ends a call whatever it requires
                    _check_required(request, KNOWN)
                leg.on_request(tx, request)
            elif method == "SUBSCRIBE" and (request.call_id, tag) in self.events.notifier:
                self._subscribe_or_publish(tx, request)
            elif method == "INVITE" or method in METHODS or method in ("OPTIONS", "MESSAGE"):
                self._turn_away(tx, request, 481)
            else:
                self._turn_away(tx, request, 501, [("Allow", ALLOW)])
        elif method == "INVITE":
            self._invite(tx, request)
        elif method == "REGISTER":
            self._register(tx, request)
        elif method == "OPTIONS":
            self._check_headers(request, tx.flow)
            if self.takes_calls():  # what an INVITE would be told (11.2): balancers ask this way
                allowed = ("Allow-Events", self.events.notifier.allow_events)
                options = ("Supported", ALL)
                accepted = ("Accept", "application/sdp")
                self._answer(tx, request, 200, headers=[("Allow", ALLOW), allowed, options, accepted])
            else:
                self._turn_away(tx, request, 503, self._retry_after())
        elif method == "MESSAGE":
            self._message(tx, request)
        elif method == "SUBSCRIBE" or method == "PUBLISH":
            self._subscribe_or_publish(tx, request)
        elif method in IN_DIALOG_ONLY:
            self._turn_away(tx, request, 481)
        else:
            self._turn_away(tx, request, 405 if method in METHODS else 501, [("Allow", ALLOW)])

    def _answer(
        self,
        tx: ServerTransaction,
        request: Request,
        status: int,
        reason: str | None = None,
        headers: list[tuple[str, str]] | tuple[()] = (),
    ) -> None:
        response = build.response(request, status, reason, to_tag=self.token(), headers=headers)
        self.layer.respond(tx, response)

    def _turn_away(
        self, tx: ServerTransaction, request: Request, status: int, headers: Sequence[tuple[str, str]] = ()
    ) -> None:
        """Answer without keeping anything (8.2.7): strangers get no retransmissions and no memory."""
        response = build.response(request, status, to_tag=stateless_tag(request), headers=headers)
        self.layer.refuse(tx, response)

    # ---- admission

    def _check_headers(self, request: Request, flow: Flow, known: frozenset[str] = frozenset()) -> None:
        """What a UAS refuses before it looks further (8.2.2): extensions, hops, and its own requests come back."""
        _check_required(request, known)
        sent_by = request.sent_by
        if (sent_by.host, sent_by.port or 5060) == flow.local:
            raise SipError(482, build.REASONS[482])

    def _authenticate(self, tx: ServerTransaction, request: Request) -> str | None:
        """The extension whose credentials the request carries; otherwise it has been answered."""
        source = tx.flow.remote[0]
        outcome = self._authenticator.check(request, source, self.realm, self.secrets.get)
        if isinstance(outcome, Granted):
            return outcome.username
        if isinstance(outcome, Challenge):
            headers = self._authenticator.challenge(request, source, self.realm, stale=outcome.stale)
            self._turn_away(tx, request, 401, headers)
        else:
            self._turn_away(tx, request, 403)
        return None

    def _register(self, tx: ServerTransaction, request: Request) -> None:
        if request.to.uri.scheme not in ("sip", "sips"):
            raise SipError(400, "To must be a SIP URI")
        self._check_headers(request, tx.flow, EXTENSIONS)
        extension = self._authenticate(tx, request)
        if extension is None:
            return
        if request.to.uri.username != extension:
            raise SipError(403, build.REASONS[403])
        try:
            response = self.registrar.register(request, tx.flow, extension, self.token())
        except TooBrief as error:
            self._answer(tx, request, 423, headers=[("Min-Expires", str(error.minimum))])
            return
        self.layer.respond(tx, response)

    def _subscribe_or_publish(self, tx: ServerTransaction, request: Request) -> None:
        self._check_headers(request, tx.flow)
        extension = self._authenticate(tx, request)
        if extension is not None:
            self.events.on_request(tx, request, extension)

    def _message(self, tx: ServerTransaction, request: Request) -> None:
        self._check_headers(request, tx.flow)
        sender = self._authenticate(tx, request)
        if sender is None:
            return
        try:
            found = self.ways(Target(request.request_uri.username), tx.flow, sender, request.uri)
        except SipError as error:
            if error.status != 480:
                raise
            found = []  # one of the office, and no phone: the text may wait
        ways = [(flow, uri, path) for flow, uri, _, path in found]
        MessageRelay(
            self.layer, tx, request, sender, self.domain, lambda then: self.texts.keep(request, sender, then)
        ).start(ways)

    def _invite(self, tx: ServerTransaction, request: Request) -> None:
        rows = request.first_lines
        # One with Replaces (RFC 3891) is a part of a call that we have.
        if not self.takes_calls() and "replaces" not in rows and not self._is_urgent(request):
            self._overloaded(tx, request)
            return
        self._check_headers(request, tx.flow, KNOWN)
        trunk = self.trunks.by_source(tx.flow.remote[0])
        if trunk is not None and trunk.twins:
            plan = self.dial_plan
            trunk = self.trunks.meant(request, tx.flow.remote[0], lambda one: called_digits(one, request, plan))
        extension = None if trunk is not None else self._authenticate(tx, request)
        if trunk is None and extension is None:
            return
        # Only what may call is counted: strangers shall not use it up.
        if not self._rate_allows() and not self._is_urgent(request):
            self._overloaded(tx, request)
            return
        if request.max_forwards == 0:
            raise SipError(483, build.REASONS[483])
        if request.request_uri.scheme not in ("sip", "sips", "tel"):
            raise SipError(416, build.REASONS[416])
        if request.uri[:5] == "sips:" and tx.flow.transport not in SECURE:  # RFC 3261 section 26.2.2: every hop
            raise SipError(403, build.REASONS[403])
        if "contact" not in rows and request.from_tag is not None:  # a caller of RFC 2543 has neither
            raise SipError(400, "INVITE without a Contact")
        if trunk is not None and trunk.full():
            self._answer(tx, request, 503, headers=RETRY_AFTER)
            return
        if "replaces" in rows:
            pickup.admit(self, tx, request, extension)
            return
        offer = sdp_in(request)
        make = self.registrar.caller(extension, request) if trunk is None else None
        profile = trunk.profile if trunk is not None else make
        extended = not EXTENDED.isdisjoint(rows)
        if extended or (profile is not None and profile.reliable == "demand"):
            check(request, profile, self.session)
        offered = incoming(self, request, trunk, extension)
        self.counters.calls += 1
        call = LiveCall(self, offered, tx, request, offer, trunk)
        call.a.make = make
        if extended:
            enlist(call.a, request, self.session)
        self.live[offered.call_id] = call
        call.start()

    def _overloaded(self, tx: ServerTransaction, request: Request) -> None:
        self.counters.refused_overload += 1
        self.counters.refused_behind += self.pressure.behind
        self._turn_away(tx, request, 503, self._retry_after())

    def _retry_after(self) -> list[tuple[str, str]]:
        return RETRY_SOON if self.pressure.behind and not self.draining else RETRY_AFTER

    def _is_urgent(self, request: Request) -> bool:
        """Whether it is for help, should it come from a phone of ours: that is let in however much is going on."""
        emergency = self.dial_plan.emergency
        return bool(emergency) and request.request_uri.username in emergency

    def takes_calls(self) -> bool:
        return not (self.draining or self.pressure.behind) and len(self.live) < self._max_calls

    def _rate_allows(self) -> bool:
        second = int(self.clock())
        if second != self._second:
            self._second, self._in_second = second, 0
        self._in_second += 1
        return self._in_second <= self._max_rate

    # ---- for calls

    def ways(
        self, target: Target, caller: Flow, extension: str | None, uri: str = "", tried: Collection[Key] = ()
    ) -> list[Way]:
        """How to reach a target: flow, Request-URI, trunk and Route of each branch. Raises SipError when there is no
        way.

        A phone that calls its own extension does not ring itself; `extension` is the caller's. `uri` is what was
        called: a GRUU (RFC 5627) means one of the phones. `tried` are servers of a trunk that are passed over.
        """
        if target.trunk is not None:
            trunk = self.trunks.get(target.trunk)
            if trunk is None or (trunk.full() and not target.urgent):
                raise SipError(503, build.REASONS[503])
            return [(trunk.flow(tried), trunk.uri(dialed(trunk, target.number)), trunk, trunk.route)]
        found: list[Way] = []
        own = target.number == extension
        bindings = self.registrar.bindings(target.number)
        if len(bindings) > 1 or ";gr=" in uri:
            bindings = one_a_phone(bindings, instance_in(uri, target.number))
        if uri[:5] == "sips:":  # by TLS to the last hop, or not at all (RFC 5630 section 5.3)
            bindings = [binding for binding in bindings if binding.transport in SECURE]
        for binding in bindings:
            if own and (binding.transport, binding.remote) == (caller.transport, caller.remote):
                continue
            try:
                flow = self.registrar.flow(binding)
            except SipError:  # no way to this phone does not mean: to none
                continue
            # Headers in a Contact never become headers of ours, and a Request-URI has none (19.1.1).
            found.append((flow, binding.contact.partition("?")[0], None, binding.path))
        if not found:
            known = target.number in self.dial_plan.extensions
            raise SipError(480, build.REASONS[480]) if known else SipError(404, build.REASONS[404])
        return found

    def fault(self, call_id: str, error: Exception) -> None:
        """A fault of ours in a call's coroutine: the call is ended cleanly, the log has the traceback."""
        self.counters.faults += 1
        log.error("call ended by a fault", call=call_id, exc_info=error)

    def media_refused(self, call_id: str, error: Exception) -> None:
        self.counters.media_refused += 1
        log.warning("the relay refused", call=call_id, reason=str(error))

    def merged(self, snapshot: CallSnapshot) -> None:
        """A call has become a part of another: it ends, and that one has the record."""
        self.live.pop(snapshot.call_id, None)
        self.journal.merge(snapshot)
        self.hooks.on_ended(snapshot)
        self.media.delete(snapshot.call_id)

    # ---- MediaListener

    def media_timed_out(self, call_id: str) -> None:
        self._media_gone(call_id, "No RTP")

    def media_played(self, call_id: str, number: int) -> None:
        if (live := self.live.get(call_id)) is not None:
            live.post(Notice(Kind.PLAYED, number=number))

    def media_digit(self, call_id: str, digit: str) -> None:
        if (live := self.live.get(call_id)) is not None:
            live.post(Notice(Kind.DIGIT, text=digit))

    def media_recorded(self, call_id: str, seconds: float) -> None:
        keep = self.recordings.pop(call_id, None)
        if keep is not None:
            keep(seconds)
        if (live := self.live.get(call_id)) is not None:
            live.post(Notice(Kind.RECORDED, number=int(seconds * 1000)))

    def media_lost(self, call_id: str) -> None:
        if call_id in self.recordings:   # what was written is there; how long it is nobody has told
            self.media_recorded(call_id, UNTOLD)
        self.endings.uncounted(call_id)
        self._media_gone(call_id, "The relay is gone")

    def media_deleted(self, call_id: str, from_a: StreamStats, from_b: StreamStats) -> None:
        self.endings.counted(call_id, from_a, from_b)

    def _media_gone(self, call_id: str, why: str) -> None:
        live = self.live.get(call_id)
        if live is not None and not live.unrelayed:
            live.post(Notice(Kind.MEDIA_LOST, text=why))

    # ---- for the office

    def found_late(self, call_id: str, decision: Decision) -> None:
        """The CRM knows more of a call than when it was asked."""
        live = self.live.get(call_id)
        if live is not None:
            found_late(live, decision)

    def hang_up(self, call_id: str) -> bool:
        """End a call; False when there is none of this identifier."""
        live = self.live.get(call_id)
        if live is None:
            return False
        live.post(Signal(Kind.HANG_UP))
        return True


class BadExtension(SipError):
    """420: the request requires what nobody here knows; `names` goes into Unsupported."""

    def __init__(self, names: str) -> None:
        super().__init__(420, build.REASONS[420])
        self.names = names


def _check_required(request: Request, known: frozenset[str] = frozenset()) -> None:
    rows = request.first_lines
    if "require" in rows or "proxy-require" in rows:
        wanted = ", ".join([option for option in request.require if option.lower() not in known])
        wanted = ", ".join(filter(None, (wanted, *request.proxy_require)))
        if wanted:
            raise BadExtension(wanted)
