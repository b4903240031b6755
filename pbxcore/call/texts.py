"""Texts that wait for their phone (RFC 3428 section 8: store and forward).

A text to an extension none of whose phones can be reached is kept, and delivered one after the other when one of them
registers. How many are kept is bounded by receiver, by sender and together; they expire, and they outlive the process.
Only extensions of the office send texts, so a stranger makes nothing grow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Protocol

from pbxcore.call.message import UNREACHED, PhoneWay, text_to
from pbxcore.call.outcome import Outcome
from pbxcore.call.registrar import Binding, Registrar, one_a_phone
from pbxcore.sip import build
from pbxcore.sip.errors import SipError
from pbxcore.sip.headers import one_line
from pbxcore.sip.layer import Layer
from pbxcore.sip.message import Request, Response
from pbxcore.sip.timers import Timers
from pbxcore.sip.transaction import ClientTransaction

MAX_OF_RECEIVER = 50
MAX_OF_SENDER = 200
MAX_TEXTS = 5_000
MAX_BYTES = 16_384
LIFETIME = 7 * 86_400       # seconds, when the sender names no shorter one
BREATH = 0.5                # seconds after a REGISTER: its answer goes first
FLEETING = ("application/im-iscomposing+xml",)  # of no use later (RFC 3994)


@dataclass(frozen=True, slots=True)
class Text:
    """One text that waits. Times are Unix seconds."""

    id: str
    receiver: str
    sender: str
    content_type: str
    body: bytes
    sent_at: float
    expires_at: float


class TextStore(Protocol):
    """Where texts survive a restart. Neither call blocks."""

    def put_text(self, text: Text, then: Callable[[], None]) -> bool:
        """True when the text is durable already; otherwise `then` is called once it is."""
        ...

    def drop_text(self, text_id: str) -> None: ...


class NoTextStore:
    """Texts live as long as the process."""

    def put_text(self, text: Text, then: Callable[[], None]) -> bool:
        return True

    def drop_text(self, text_id: str) -> None:
        return


class Texts:
    """The texts that wait, by receiver and in the order in which they came. `wall` is Unix time, `domain` that of our
    URIs."""

    def __init__(
        self, layer: Layer, timers: Timers, registrar: Registrar, *, clock: Callable[[], float],
        wall: Callable[[], float], domain: str = "", store: TextStore | None = None,
    ) -> None:  # fmt: skip
        self._layer = layer
        self._timers = timers
        self._registrar = registrar
        self._clock = clock
        self._wall = wall
        self._domain = domain
        self.store: TextStore = store or NoTextStore()
        self._waiting: dict[str, dict[str, Text]] = {}
        self._sent: dict[str, int] = {}  # how many wait, by sender
        self._count = 0
        self._delivering: set[str] = set()
        self._due: set[str] = set()

    def __len__(self) -> int:
        return self._count

    def waiting(self, receiver: str) -> list[Text]:
        return list(self._waiting.get(receiver, {}).values())

    def restore(self, texts: Iterable[Text]) -> None:
        """Take texts kept from an earlier run, in any order."""
        for text in sorted(texts, key=lambda text: text.sent_at):
            if text.expires_at > self._wall():
                self._put(text)

    def keep(self, request: Request, sender: str, then: Callable[[], None]) -> Callable[[], None] | None:
        """Keep this MESSAGE, and call `then` when it is durable; what is returned takes it back. None when it is not
        kept: too long, too many, of no use later."""
        receiver = request.request_uri.username
        now, asked = self._wall(), request.expires
        self._expire(receiver)
        if (
            len(request.body) > MAX_BYTES
            or asked == 0
            or request.content_type in FLEETING
            or len(self._waiting.get(receiver, ())) >= MAX_OF_RECEIVER
            or self._sent.get(sender, 0) >= MAX_OF_SENDER
            or not self._room()
        ):
            return None
        lifetime = LIFETIME if asked is None else min(asked, LIFETIME)
        kind = one_line(request.first("content-type") or "text/plain")[:256]
        text = Text(self._layer.token(), receiver, sender, kind, request.body, now, now + lifetime)
        self._put(text)
        if self.store.put_text(text, then):
            then()
        return lambda: self._drop(text)

    def binding_changed(self, binding: Binding, event: str) -> None:
        """A phone has registered: what waits for it follows (`registrar.Watcher`)."""
        receiver = binding.extension
        if event in ("registered", "refreshed") and receiver in self._waiting and receiver not in self._due:
            self._due.add(receiver)
            self._timers.start(self._clock() + BREATH, self, receiver)

    def on_timer(self, name: str, now: float) -> None:
        self._due.discard(name)
        if name not in self._delivering:
            self.deliver(name)

    def deliver(self, receiver: str) -> None:
        """Send the oldest text to every phone that is there; the next follows when one of them has taken it."""
        self._delivering.discard(receiver)
        self._expire(receiver)
        held = self._waiting.get(receiver)
        if not held:
            return
        ways: list[PhoneWay] = []
        for binding in one_a_phone(self._registrar.bindings(receiver)):
            try:
                ways.append((self._registrar.flow(binding), binding.contact.partition("?")[0], binding.path))
            except SipError:  # no way to this phone: others may have one
                continue
        if ways:
            self._delivering.add(receiver)
            Delivery(self, self._layer, next(iter(held.values())), self._domain).start(ways)

    def delivered(self, text: Text, outcome: Outcome) -> None:
        """What came of it. A phone that does not take texts is not asked again; one that is gone is, when it is
        back."""
        self._delivering.discard(text.receiver)
        status = outcome.status
        if status < 300 or (400 <= status < 500 and status not in UNREACHED) or status >= 600:
            self._drop(text)
            self.deliver(text.receiver)

    def _put(self, text: Text) -> None:
        self._waiting.setdefault(text.receiver, {})[text.id] = text
        self._sent[text.sender] = self._sent.get(text.sender, 0) + 1
        self._count += 1

    def _drop(self, text: Text) -> None:
        held = self._waiting.get(text.receiver, {})
        if held.pop(text.id, None) is None:
            return
        if not held:
            del self._waiting[text.receiver]
        self._count -= 1
        self._sent[text.sender] -= 1
        if not self._sent[text.sender]:
            del self._sent[text.sender]
        self.store.drop_text(text.id)

    def _expire(self, receiver: str) -> None:
        now = self._wall()
        for text in self.waiting(receiver):
            if text.expires_at <= now:
                self._drop(text)

    def _room(self) -> bool:
        """Whether one more may be kept; those that have expired make room."""
        if self._count >= MAX_TEXTS:
            for receiver in list(self._waiting):
                self._expire(receiver)
        return self._count < MAX_TEXTS


class Delivery:
    """The owner of the copies of one text: told when all have come to something."""

    __slots__ = ("_best", "_domain", "_layer", "_text", "_texts", "_waiting")

    def __init__(self, texts: Texts, layer: Layer, text: Text, domain: str) -> None:
        self._texts = texts
        self._layer = layer
        self._text = text
        self._domain = domain
        self._waiting = 0
        self._best: Outcome | None = None

    def start(self, ways: list[PhoneWay]) -> None:
        text = self._text
        sent = format_datetime(datetime.fromtimestamp(text.sent_at, UTC), usegmt=True)
        self._waiting = len(ways)
        for way in ways:
            copy = text_to(self._layer, way, text.sender, text.receiver, self._domain)
            copy.add("Date", sent)  # when it was written (RFC 3428 section 8)
            copy.add("Content-Type", text.content_type)
            copy.body = text.body
            self._layer.request(copy, way[0], self)

    def on_response(self, tx: ClientTransaction, response: Response) -> None:
        if response.status >= 200:
            self._take(Outcome.of(response))

    def on_timeout(self, tx: ClientTransaction) -> None:
        self._take(Outcome(408, build.REASONS[408]))

    def on_transport_error(self, tx: ClientTransaction) -> None:
        self._take(Outcome(480, build.REASONS[480]))

    def _take(self, outcome: Outcome) -> None:
        """One 2xx settles it at once; else the worst excuse counts as: it has not been there."""
        self._waiting -= 1
        best = self._best
        if best is not None and best.status < 300:
            return
        if best is None or outcome.status < 300 or outcome.status in UNREACHED:
            self._best = best = outcome
        if best.status < 300 or self._waiting == 0:
            self._texts.delivered(self._text, best)
