"""The registrar (RFC 3261 section 10.3): which phones an extension rings at.

Bindings live in memory and are handed to a store that outlives the process; they are read back at start. A phone is
reached where its REGISTER came from, because that is the one address a NAT keeps open (RFC 3581, RFC 5626 section 3).
Authentication has happened before: `register` is given the extension that the credentials belong to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Protocol

from pbxcore.profiles import PhoneProfile, phone
from pbxcore.sip import build
from pbxcore.sip.errors import SipError
from pbxcore.sip.headers import NameAddr
from pbxcore.sip.layer import Flow
from pbxcore.sip.message import Request, Response
from pbxcore.sip.timers import Timers
from pbxcore.sip.uri import Uri

MAX_BINDINGS = 10
MAX_CONTACT = 512


@dataclass(slots=True)
class Binding:
    """One phone of an extension. `contact` is the URI it gave, `remote` the address its REGISTER came from,
    `expires_at` is Unix time in seconds."""

    extension: str
    contact: str
    expires_at: float
    transport: str
    remote: tuple[str, int]
    call_id: str
    cseq: int
    user_agent: str = ""
    flow: Flow | None = None


class BindingStore(Protocol):
    """Where bindings survive a restart. Neither call blocks."""

    def put_binding(self, binding: Binding) -> None: ...

    def drop_binding(self, extension: str, contact: str) -> None: ...


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
        self.profiles: Mapping[str, PhoneProfile] = {}

    def restore(self, bindings: Iterable[Binding]) -> int:
        """Take bindings kept from an earlier run; those that have expired are dropped. Returns how many live."""
        count = 0
        for binding in bindings:
            if binding.expires_at <= self._wall():
                self._forget(binding)
                continue
            self._bindings.setdefault(binding.extension, []).append(binding)
            self._watch(binding)
            count += 1
        return count

    def bindings(self, extension: str) -> list[Binding]:
        """The live bindings of an extension, the newest first."""
        now = self._wall()
        return [binding for binding in self._bindings.get(extension, ()) if binding.expires_at > now]

    def flow(self, binding: Binding) -> Flow:
        """How to reach the phone: the connection it registered over, or a new one to where that came from."""
        flow = binding.flow
        if flow is None or flow.closed:
            flow = binding.flow = self._flow_to(binding.transport, *binding.remote)
        return flow

    def register(self, request: Request, flow: Flow, extension: str, to_tag: str) -> Response:
        """The answer to an authenticated REGISTER. Raises SipError for one that must be refused whole."""
        wanted = self._requested(request, flow, extension)
        for contact, expires in wanted:
            self._apply(request, flow, extension, contact, expires)
        if wanted and self._changed is not None:
            self._changed(extension, len(self.bindings(extension)))
        now = self._wall()
        headers = [
            ("Contact", f"<{binding.contact}>;expires={max(0, round(binding.expires_at - now))}")
            for binding in self.bindings(extension)
        ]
        return build.response(request, 200, to_tag=to_tag, headers=headers)

    def _requested(self, request: Request, flow: Flow, extension: str) -> list[tuple[Uri, int]]:
        """What the REGISTER asks, checked whole before anything is changed (10.3 steps 6 and 7)."""
        if request.contact_star:
            if request.expires != 0 or len(request.values("contact")) != 1:
                raise SipError(400, "Contact: * needs Expires: 0 and no other Contact")
            return [(Uri.parse(binding.contact), 0) for binding in self._in_order(request, self.bindings(extension))]
        wanted: list[tuple[Uri, int]] = []
        profile = self.profiles.get(extension) or phone("generic")
        for contact in request.contacts:
            uri = contact.uri
            if uri.scheme not in ("sip", "sips") or len(str(uri)) > MAX_CONTACT or not uri.host:
                raise SipError(400, "Contact must be a SIP URI of at most 512 characters")
            expires = _expires(contact, request.expires, profile)
            if 0 < expires < profile.register_min_seconds:
                raise TooBrief(profile.register_min_seconds)
            wanted.append((uri, min(expires, profile.register_max_seconds)))
        self._in_order(request, [b for uri, _ in wanted if (b := self._find(extension, uri)) is not None])
        new = [uri for uri, expires in wanted if expires and self._find(extension, uri) is None]
        if len(self.bindings(extension)) + len(new) > MAX_BINDINGS:
            raise SipError(403, "Too Many Bindings")
        return wanted

    def _in_order(self, request: Request, bindings: list[Binding]) -> list[Binding]:
        """A REGISTER that arrives behind a newer one of the same Call-ID changes nothing (10.3 step 7)."""
        for binding in bindings:
            if binding.call_id == request.call_id and request.cseq.number < binding.cseq:
                raise SipError(500, "Out Of Order")
        return bindings

    def _find(self, extension: str, uri: Uri) -> Binding | None:
        for binding in self._bindings.get(extension, ()):
            if Uri.parse(binding.contact).equivalent(uri):
                return binding
        return None

    def _apply(self, request: Request, flow: Flow, extension: str, contact: Uri, expires: int) -> None:
        held = self._bindings.setdefault(extension, [])
        old = self._find(extension, contact)
        if old is not None:
            held.remove(old)
        if not expires:
            if old is not None:
                self._forget(old)
            return
        binding = Binding(
            extension,
            str(contact),
            self._wall() + expires,
            flow.transport,
            flow.remote,
            request.call_id,
            request.cseq.number,
            request.first("user-agent") or "",
            flow,
        )
        held.insert(0, binding)
        self._watch(binding)
        if self._store is not None:
            self._store.put_binding(binding)

    def _forget(self, binding: Binding) -> None:
        if self._store is not None:
            self._store.drop_binding(binding.extension, binding.contact)

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


def _expires(contact: NameAddr, header: int | None, profile: PhoneProfile) -> int:
    """The Contact's own expires, else the header's, else the profile's (10.3 step 6); a malformed one is absent."""
    own = contact.params.get("expires")
    if own is not None and own.isascii() and own.isdigit():
        return min(int(own[:10]), profile.register_max_seconds)
    return profile.register_seconds if header is None else header
