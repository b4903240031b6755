"""Which calls the watched extensions are in, from the exchange's own events (RFC 4235 section 3.7).

Nothing is kept of extensions that nobody watches, and while nobody watches any, no event is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

import structlog

from pbxcore import events
from pbxcore.bus import Bus
from pbxcore.call.call import Call, Leg

if TYPE_CHECKING:
    from pbxcore.call.b2bua import LiveCall

log = structlog.get_logger("call")

State = Literal["trying", "early", "confirmed", "terminated"]
MAX_ENTRIES = 32  # calls of one extension that are told of


@dataclass(frozen=True, slots=True)
class Entry:
    """One dialog of a watched phone, as that phone sees it: `remote` is the other party's number, `local_tag` the
    phone's own; tags that are not known are empty. `since` is Unix time in seconds. One that stands for no call has no
    direction."""

    id: str
    direction: Literal["initiator", "recipient", ""]
    state: State
    since: float
    remote: str = ""
    remote_name: str = ""
    call_id: str = ""
    local_tag: str = ""
    remote_tag: str = ""
    held: bool = False
    event: str = ""
    code: int | None = None


class Listener(Protocol):
    """Told what changed, by the identifiers of the entries."""

    def __call__(self, extension: str, changed: Mapping[str, Entry], /) -> None: ...


@dataclass(slots=True)
class Watched:
    """`listeners` with the number of times each of them watches."""

    entries: dict[str, Entry] = field(default_factory=dict)
    listeners: dict[Listener, int] = field(default_factory=dict)


class CallWatch:
    """`live` are the calls under way, by their identifiers."""

    def __init__(self, bus: Bus, live: Mapping[str, LiveCall]) -> None:
        self._bus = bus
        self._live = live
        self._watched: dict[str, Watched] = {}

    def watch(self, extension: str, listener: Listener) -> None:
        if not self._watched:
            self._bus.listen(self.on_event)
        watched = self._watched.get(extension)
        if watched is None:
            watched = self._watched[extension] = Watched()
            for call_id in self._live:
                self._look(call_id, only=extension)
        watched.listeners[listener] = watched.listeners.get(listener, 0) + 1

    def unwatch(self, extension: str, listener: Listener) -> None:
        watched = self._watched[extension]
        watched.listeners[listener] -= 1
        if not watched.listeners[listener]:
            del watched.listeners[listener]
        if not watched.listeners:
            del self._watched[extension]
        if not self._watched:
            self._bus.unlisten(self.on_event)

    def entries(self, extension: str) -> Mapping[str, Entry]:
        watched = self._watched.get(extension)
        return {} if watched is None else watched.entries

    def on_event(self, event: events.Event) -> None:
        if not isinstance(event, events.CallEvent):
            return
        try:
            self._look(event.call_id, over=isinstance(event, events.ConnectionCleared))
        except Exception as error:  # a fault in what is shown of a call must not end it
            log.error("watchers were not told", call=event.call_id, exc_info=error)

    def _look(self, call_id: str, *, over: bool = False, only: str | None = None) -> None:
        """See how the legs of a call stand now, and tell what is new."""
        live = self._live.get(call_id)
        if live is None:
            return
        changed: dict[str, dict[str, Entry]] = {}
        for leg in list(live.call.legs.values()):
            watched = self._watched.get(leg.party)
            if watched is None or (only is not None and leg.party != only):
                continue
            entry = _entry(live, leg, over)
            if entry is not None and _take(watched.entries, entry):
                changed.setdefault(leg.party, {})[entry.id] = entry
        for extension, entries in changed.items():
            for listener in list(self._watched[extension].listeners):
                listener(extension, entries)


def _take(entries: dict[str, Entry], entry: Entry) -> bool:
    """Whether this is news."""
    held = entries.get(entry.id)
    if entry.state == "terminated":
        return entries.pop(entry.id, None) is not None
    if held == entry or (held is None and len(entries) >= MAX_ENTRIES):
        return False
    entries[entry.id] = entry
    return True


def _entry(live: LiveCall, leg: Leg, over: bool) -> Entry | None:
    """How a leg looks to its phone; None for one that has not rung yet."""
    call = live.call
    mine = leg.label == "a"
    state = _state(call, leg, over)
    if state is None:
        return None
    call_id, local_tag, remote_tag = _tags(live, leg.label)
    offered, decided = call.offered, call.decided
    name = "" if mine else (decided.display_name if decided else None) or offered.caller_name or ""
    ended = state == "terminated"
    return Entry(
        f"{offered.call_id}-{leg.label}",
        "initiator" if mine else "recipient",
        state,
        leg.started_at,
        offered.called if mine else offered.caller,
        name,
        call_id,
        local_tag,
        remote_tag,
        leg.held and not ended,
        _why(call, leg) if ended else "",
        leg.status if ended and (leg.status or 0) >= 300 else None,
    )


def _state(call: Call, leg: Leg, over: bool) -> State | None:
    if over or leg.ended_at is not None:
        return "terminated"
    if leg.answered_at is not None:
        return "confirmed"
    if leg.label == "a":
        return "trying" if call.ringing_at is None else "early"
    return None if leg.ringing_at is None else "early"


def _why(call: Call, leg: Leg) -> str:
    """The `event` of a terminated dialog (RFC 4235 section 3.7.1)."""
    if leg.answered_at is not None:
        released = call.released
        own = "caller" if leg.label == "a" else "callee"
        return "local-bye" if released is not None and released.by == own else "remote-bye"
    return "cancelled" if leg.status in (None, 487) else "rejected"


def _tags(live: LiveCall, label: str) -> tuple[str, str, str]:
    """Call-ID and tags, the phone's first: what its Replaces would say (RFC 3891)."""
    for leg in (live.a, *live.branches, *live.joined):
        if leg.label == label:
            call_id, ours = leg.key
            return call_id, leg.dialog.remote_tag if leg.dialog is not None else "", ours
    return "", "", ""
