"""The registrar (RFC 3261 section 10.3): which phones an extension rings at.

Bindings live in memory and are handed to a store that outlives the process; they are read back at start. A phone is
reached where its REGISTER came from, because that is the one address a NAT keeps open (RFC 3581, RFC 5626 section 3).
Authentication has happened before: `register` is given the extension that the credentials belong to. What a phone says
about its flows, its proxies and its instance is read in `outbound`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import Protocol

from pbxcore.call.keepalive import behind_nat
from pbxcore.call.outbound import FLOW_TIMER, check_first_hop, gruu, instance_of, path_of, reg_id_of, speaks
from pbxcore.profiles import PhoneProfile, is_plain, phone_of
from pbxcore.sip import build
from pbxcore.sip.errors import SipError
from pbxcore.sip.headers import NameAddr
from pbxcore.sip.layer import Flow
from pbxcore.sip.message import Request, Response
from pbxcore.sip.timers import Timers
from pbxcore.sip.uri import Uri, join_host

MAX_BINDINGS = 10
MAX_CONTACT = 512
SECURE = ("TLS", "WSS")
CONNECTED = ("TLS", "WS", "WSS")  # only the phone can open these: what a binding over them is worth ends with them


@dataclass(slots=True)
class Binding:
    """One phone of an extension. `contact` is the URI it gave, `remote` the address its REGISTER came from,
    `expires_at` and `since` are Unix time in seconds. `instance` and `reg_id` are RFC 5626's, `path` RFC 3327's: the
    Route of requests to it."""

    extension: str
    contact: str
    expires_at: float
    transport: str
    remote: tuple[str, int]
    call_id: str
    cseq: int
    user_agent: str = ""
    flow: Flow | None = None
    instance: str = ""
    reg_id: int = 0
    path: tuple[str, ...] = ()
    since: float = 0.0

    @property
    def name(self) -> str:
        """What tells it from the extension's other bindings: its Contact, and where a phone has several flows, those
        (no URI has a blank)."""
        return f"{self.contact} {self.instance} {self.reg_id}" if self.reg_id else self.contact


@dataclass(frozen=True, slots=True)
class Wanted:
    """One Contact of a REGISTER; `expires` in seconds, 0 to remove it."""

    uri: Uri
    expires: int
    instance: str = ""
    reg_id: int = 0


class BindingStore(Protocol):
    """Where bindings survive a restart, by extension and `Binding.name`. Neither call blocks."""

    def put_binding(self, binding: Binding) -> None: ...

    def drop_binding(self, extension: str, name: str) -> None: ...


class Watcher(Protocol):
    """Who wants to know of every single binding; `event` is a word of RFC 3680 section 4.7.1."""

    def binding_changed(self, binding: Binding, event: str) -> None: ...


class TooBrief(SipError):
    """423: `minimum` seconds go into Min-Expires."""

    def __init__(self, minimum: int) -> None:
        super().__init__(423, build.REASONS[423])
        self.minimum = minimum


FlowTo = Callable[[str, str, int], Flow]


class Registrar:
    """The location service. `wall` is Unix time, `clock` the timers' monotonic time, `changed` is told the extension
    whose bindings changed."""

    def __init__(
        self,
        timers: Timers,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        flow_to: FlowTo,
        store: BindingStore | None = None,
        changed: Callable[[str, int], None] | None = None,
    ) -> None:
        self._timers = timers
        self._clock = clock
        self._wall = wall
        self._flow_to = flow_to
        self._store = store
        self._changed = changed
        self._bindings: dict[str, list[Binding]] = {}
        self._armed: dict[str, float] = {}  # by extension, when the earliest of its timers is due
        self.profiles: Mapping[str, PhoneProfile] = {}   # by extension, where the office has set one
        self.makes: dict[tuple[str, str], PhoneProfile] = {}   # by extension and Request-URI: phones that are not plain
        self.watchers: list[Watcher] = []
        self.domain = ""  # of the GRUUs; empty: our address

    def restore(self, bindings: Iterable[Binding]) -> int:
        """Take bindings kept from an earlier run; those that have expired are dropped. Returns how many live."""
        count = 0
        for binding in bindings:
            if binding.expires_at <= self._wall() or binding.transport in CONNECTED:
                self._forget(binding)
                continue
            self._bindings.setdefault(binding.extension, []).append(binding)
            self._note_make(binding, self.profile(binding.extension, binding.user_agent))
            self._watch(binding)
            count += 1
        return count

    def profile(self, extension: str, user_agent: str) -> PhoneProfile:
        """What is known of a phone: by its extension's settings, else by what it calls itself."""
        return self.profiles.get(extension) or phone_of(user_agent)

    def caller(self, extension: str | None, request: Request) -> PhoneProfile | None:
        """The make of the phone that calls; None for one that needs nothing special, and for a trunk."""
        if extension is None or not self.makes:
            return None
        profile = self.profile(extension, request.first("user-agent") or "")
        return None if is_plain(profile) else profile

    def _note_make(self, binding: Binding, profile: PhoneProfile) -> None:
        if not is_plain(profile):
            self.makes[binding.extension, _request_uri(binding)] = profile

    def bindings(self, extension: str) -> list[Binding]:
        """The live bindings of an extension, the newest first."""
        now = self._wall()
        return [binding for binding in self._bindings.get(extension, ()) if binding.expires_at > now]

    def all(self) -> Iterator[Binding]:
        """Every binding there is, in no order."""
        for held in self._bindings.values():
            yield from held

    def flow_lost(self, flow: Flow) -> None:
        """A connection is gone: phones that only it led to are no longer registered (RFC 5626 section 5.3)."""
        if flow.transport not in CONNECTED:
            return
        for extension in {binding.extension for binding in self.all() if binding.flow is flow}:
            held = self._bindings[extension]
            for binding in [one for one in held if one.flow is flow]:
                held.remove(binding)
                self._forget(binding, "deactivated")
            if self._changed is not None:
                self._changed(extension, len(self.bindings(extension)))

    def flow(self, binding: Binding) -> Flow:
        """How to reach the phone: the connection it registered over, or a new one to where that came from."""
        flow = binding.flow
        if flow is None or flow.closed:
            host, port = binding.remote
            make = self.makes.get((binding.extension, _request_uri(binding)))
            if make is not None and make.reach == "contact":
                port = contact_port(binding.contact, host) or port
            flow = binding.flow = self._flow_to(binding.transport, host, port)
        return flow

    def register(self, request: Request, flow: Flow, extension: str, to_tag: str) -> Response:
        """The answer to an authenticated REGISTER. Raises SipError for one that must be refused whole."""
        if flow.transport not in SECURE and any(contact.uri.scheme == "sips" for contact in request.contacts):
            raise SipError(403, "A sips Contact Needs TLS")  # RFC 5630: every hop to it, and this one is not
        path = path_of(request)
        profile = self.profile(extension, request.first("user-agent") or "")
        wanted = self._requested(request, flow, extension, path, profile)
        outbound = False
        for each in wanted:
            self._apply(request, flow, extension, each, path, profile)
            outbound = outbound or bool(each.reg_id and each.expires)
        if wanted and self._changed is not None:
            self._changed(extension, len(self.bindings(extension)))
        headers = self._contacts(request, flow, extension, own=profile.register_contacts == "own")
        if path:
            headers += [("Path", value) for value in path]  # the phone may want to know its way (RFC 3327 section 5.3)
        if outbound:
            headers.append(("Require", "outbound"))
            if not path:  # an edge proxy says its own
                headers.append(("Flow-Timer", str(FLOW_TIMER)))
        return build.response(request, 200, to_tag=to_tag, headers=headers)

    def _contacts(self, request: Request, flow: Flow, extension: str, *, own: bool) -> list[tuple[str, str]]:
        """All bindings, each with what is left of it; with its GRUU for who knows what that is (RFC 5627 section
        5.3). `own`: only those of the phone that asks, for one that takes the first for its own."""
        now, host = self._wall(), self.domain or join_host(flow.local[0], None)
        with_gruu = speaks(request, "gruu")
        rows = []
        for binding in self.bindings(extension):
            if own and binding.call_id != request.call_id:
                continue
            text = f"<{binding.contact}>;expires={max(0, round(binding.expires_at - now))}"
            if binding.instance:
                text += f';+sip.instance="<{binding.instance}>"'
                if binding.reg_id:
                    text += f";reg-id={binding.reg_id}"
                if with_gruu:
                    text += f';pub-gruu="{gruu(extension, binding.instance, host)}"'
            rows.append(("Contact", text))
        return rows

    def _requested(
        self, request: Request, flow: Flow, extension: str, path: tuple[str, ...], profile: PhoneProfile
    ) -> list[Wanted]:
        """What the REGISTER asks, checked whole before anything is changed (10.3 steps 6 and 7)."""
        if request.contact_star:
            if request.expires != 0 or len(request.values("contact")) != 1:
                raise SipError(400, "Contact: * needs Expires: 0 and no other Contact")
            held = self._in_order(request, self.bindings(extension))
            return [Wanted(Uri.parse(binding.contact), 0, binding.instance, binding.reg_id) for binding in held]
        wanted: list[Wanted] = []
        outbound = speaks(request, "outbound")
        for contact in request.contacts:
            uri = contact.uri
            if uri.scheme not in ("sip", "sips") or len(str(uri)) > MAX_CONTACT or not uri.host:
                raise SipError(400, "Contact must be a SIP URI of at most 512 characters")
            expires = _expires(contact, request.expires, profile)
            if 0 < expires < profile.register_min_seconds:
                raise TooBrief(profile.register_min_seconds)
            instance = instance_of(contact)
            reg_id = reg_id_of(contact) if instance and outbound else 0
            if reg_id and expires:
                check_first_hop(request, path)
            wanted.append(Wanted(uri, min(expires, profile.register_max_seconds), instance, reg_id))
        self._in_order(request, [b for each in wanted if (b := self._find(extension, each)) is not None])
        new = [each for each in wanted if each.expires and self._find(extension, each) is None]
        room = MAX_BINDINGS - len(self.bindings(extension))
        if len(new) > room and len(new) > room + sum(
            len(self._ghosts(request, flow, extension, each, profile)) for each in new
        ):
            raise SipError(403, "Too Many Bindings")
        return wanted

    def _in_order(self, request: Request, bindings: list[Binding]) -> list[Binding]:
        """A REGISTER that arrives behind a newer one of the same Call-ID changes nothing (10.3 step 7)."""
        for binding in bindings:
            if binding.call_id == request.call_id and request.cseq.number < binding.cseq:
                raise SipError(500, "Out Of Order")
        return bindings

    def _find(self, extension: str, wanted: Wanted) -> Binding | None:
        """The binding that this Contact is about: that of the same flow of the same phone, else that of the same
        URI."""
        held = self._bindings.get(extension, ())
        if wanted.reg_id:
            for binding in held:
                if binding.reg_id == wanted.reg_id and binding.instance == wanted.instance:
                    return binding
        for binding in held:
            if (not wanted.reg_id or not binding.reg_id) and Uri.parse(binding.contact).equivalent(wanted.uri):
                return binding
        return None

    def _apply(
        self, request: Request, flow: Flow, extension: str, wanted: Wanted, path: tuple[str, ...], profile: PhoneProfile
    ) -> None:
        held = self._bindings.setdefault(extension, [])
        old = self._find(extension, wanted)
        if old is not None:
            held.remove(old)
        if not wanted.expires:
            if old is not None:
                self._forget(old, "unregistered")
            return
        for ghost in self._ghosts(request, flow, extension, wanted, profile):
            held.remove(ghost)
            self._forget(ghost, "deactivated")
        if old is not None:
            self._forget_make(old)
        now = self._wall()
        binding = Binding(
            extension,
            str(wanted.uri),
            now + wanted.expires,
            flow.transport,
            flow.remote,
            request.call_id,
            request.cseq.number,
            request.first("user-agent") or "",
            flow if flow.reliable or profile.reach == "source" else None,
            wanted.instance,
            wanted.reg_id,
            path,
            now if old is None else old.since,
        )
        held.insert(0, binding)
        if flow.transport == "UDP" and behind_nat(wanted.uri, flow.remote):
            _keep_narrow(flow, wanted.expires)
        self._note_make(binding, profile)
        self._watch(binding)
        if self._store is not None:
            if old is not None and old.name != binding.name:
                self._store.drop_binding(extension, old.name)
            self._store.put_binding(binding)
        for watcher in self.watchers:
            if old is not None and old.name != binding.name:
                watcher.binding_changed(old, "deactivated")
            watcher.binding_changed(binding, "registered" if old is None else "refreshed")

    def _ghosts(
        self, request: Request, flow: Flow, extension: str, wanted: Wanted, profile: PhoneProfile
    ) -> list[Binding]:
        """Bindings that the phone has left behind, by its profile: it took another port, and said nothing of the one
        before."""
        if profile.replaces == "contact" or wanted.reg_id or not wanted.expires:
            return []
        agent, found = request.first("user-agent") or "", []
        for binding in self._bindings.get(extension, ()):
            if binding.reg_id or (binding.call_id, binding.cseq) == (request.call_id, request.cseq.number):
                continue
            uri = Uri.parse(binding.contact)
            here = (uri.host, binding.remote[0], binding.user_agent) == (wanted.uri.host, flow.remote[0], agent)
            same = bool(wanted.instance) and binding.instance == wanted.instance
            if (same or (here and profile.replaces == "host")) and not uri.equivalent(wanted.uri):
                found.append(binding)
        return found

    def _forget_make(self, binding: Binding) -> None:
        key = binding.extension, _request_uri(binding)
        if key in self.makes and all(_request_uri(one) != key[1] for one in self._bindings.get(key[0], ())):
            del self.makes[key]

    def _forget(self, binding: Binding, event: str = "expired") -> None:
        self._forget_make(binding)
        if self._store is not None:
            self._store.drop_binding(binding.extension, binding.name)
        for watcher in self.watchers:
            watcher.binding_changed(binding, event)

    def _watch(self, binding: Binding) -> None:
        """Have a timer for the binding that runs out first: one an extension, however often its phones register."""
        at = self._clock() + binding.expires_at - self._wall()
        if at < self._armed.get(binding.extension, inf):
            self._armed[binding.extension] = at
            self._timers.start(at, self, binding.extension)

    def on_timer(self, name: str, now: float) -> None:
        """Some binding of this extension may have run out; one that was refreshed meanwhile stays."""
        if now < self._armed.get(name, inf):  # an earlier timer has taken this one's place
            return
        del self._armed[name]
        wall = self._wall() + 0.001
        held = self._bindings.get(name, [])
        gone = [binding for binding in held if binding.expires_at <= wall]
        for binding in gone:
            held.remove(binding)
            self._forget(binding)
        if held:
            self._watch(min(held, key=lambda binding: binding.expires_at))
        else:
            self._bindings.pop(name, None)
        if gone and self._changed is not None:
            self._changed(name, len(held))


def one_a_phone(bindings: Iterable[Binding], instance: str = "") -> list[Binding]:
    """The bindings to ring: of a phone with several flows the one that was used last and is still open, because a
    second one would ring it twice (RFC 5626 section 7). With the `instance` of a GRUU that phone alone."""
    chosen: list[Binding] = []
    flows: dict[str, int] = {}
    for binding in bindings:
        if instance and binding.instance != instance:
            continue
        if not binding.reg_id:
            chosen.append(binding)
            continue
        at = flows.setdefault(binding.instance, len(chosen))
        if at == len(chosen):
            chosen.append(binding)
        elif _closed(chosen[at]) and not _closed(binding):
            chosen[at] = binding
    return chosen


def contact_port(contact: str, host: str) -> int | None:
    """The port of a Contact that names this address; None when it names another (a NAT is between)."""
    uri = Uri.parse(contact)
    return (uri.port or 5060) if uri.host == host else None


def _request_uri(binding: Binding) -> str:
    """What requests to the phone name. Headers in a Contact never become headers of ours, and a Request-URI has none
    (19.1.1)."""
    return binding.contact.partition("?")[0]


def _keep_narrow(flow: Flow, seconds: float) -> None:
    """No TCP leads through this phone's NAT: not for large requests either (RFC 3261 section 18.1.1)."""
    tell: Callable[[float], None] | None = getattr(flow, "keep_narrow", None)
    if tell is not None:
        tell(seconds)


def _closed(binding: Binding) -> bool:
    """A connection that the phone opened and that is gone: nobody can open it but the phone."""
    return binding.flow is not None and binding.flow.closed


def _expires(contact: NameAddr, header: int | None, profile: PhoneProfile) -> int:
    """The Contact's own expires, else the header's, else the profile's (10.3 step 6); a malformed one is absent."""
    own = contact.params.get("expires")
    if own is not None and own.isascii() and own.isdigit():
        return min(int(own[:10]), profile.register_max_seconds)
    return profile.register_seconds if header is None else header
