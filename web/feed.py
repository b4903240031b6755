"""Server-sent events: one reader of the bus feeds every open stream through a bounded ring.

An event gets the id `EPOCH.NUMBER`. A reconnect with Last-Event-ID goes on where it stopped while the ring still holds
that place; otherwise, and when the bus cut the reader off (Dropped, a new epoch begins), the stream is told to refresh.
Nobody reads the bus while no page is open: the exchange builds no events then.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType

from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import SendTimeoutError
from starlette.types import Receive, Scope, Send

from pbxcore.bus import Bus, Dropped, Subscription
from pbxcore.control import NotFound, PbxControl
from pbxcore.events import CallEvent, CardHandedOver, ConnectionCleared, Event, Failed
from pbxcore.hooks import CallSnapshot
from web.view import parties

RING_SIZE = 2048
LINGER_SECONDS = 60.0
PING_SECONDS = 15.0
SEND_TIMEOUT_SECONDS = 20.0
STREAMS_PER_USER = 4  # a browser opens at most six connections to one host: two are left for everything else
REMEMBERED_CALLS = 4096


class Entry:
    """One event in the ring, with those whose call it is about."""

    __slots__ = ("event", "number", "parties")

    def __init__(self, number: int, event: Event, owners: frozenset[str]) -> None:
        self.number = number
        self.event = event
        self.parties = owners


class Hub:
    """Reads the bus on behalf of all streams and keeps the last `ring` events."""

    def __init__(self, bus: Bus, control: PbxControl, *, ring: int = RING_SIZE, linger: float = LINGER_SECONDS) -> None:
        self._bus = bus
        self._control = control
        self._ring: deque[Entry] = deque(maxlen=ring)
        self._linger = linger
        self._epoch = ""
        self._next = 1
        self._cursors: set[Cursor] = set()
        self._owners: OrderedDict[str, frozenset[str]] = OrderedDict()
        self._pump: asyncio.Task[None] | None = None
        self._subscription: Subscription | None = None
        self._idle: asyncio.TimerHandle | None = None
        self.refreshes = 0
        self._shown = asyncio.Event()     # somebody has shown something; a new one then

    def __len__(self) -> int:
        return len(self._cursors)

    def join(
        self, user: str, session: str = "", last_id: str = "", extension: str | None = None, *, firm: bool = False
    ) -> Cursor:
        """A place in the stream for one reader: after `last_id` when that is still known, else at the end. A `firm`
        one does not give way to a newer page."""
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if self._pump is None or self._pump.done():
            self._begin()
            self._subscription = self._bus.subscribe()  # here, not in the task: what happens before its turn counts
            self._pump = asyncio.get_running_loop().create_task(self._read(self._subscription), name="panel-feed")
        place = self._place(last_id)
        at = self._next if place is None else place
        cursor = Cursor(self, user, session, at, extension, resumed=place is not None)
        cursor.firm = firm
        self._cursors.add(cursor)
        return cursor

    def leave(self, cursor: Cursor) -> None:
        self._cursors.discard(cursor)
        self.has_shown()
        if not self._cursors and self._pump is not None and self._idle is None:
            self._idle = asyncio.get_running_loop().call_later(self._linger, self._rest)

    async def tell(self, event: CallEvent, extension: str, seconds: float) -> None:
        """Give an event to the streams alone, and wait until all those of this extension have shown it: at most
        `seconds`, and not at all where nobody looks."""
        if not self._cursors:
            return
        self._take(event)
        number = self._next
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while any(cursor.shown < number for cursor in self._cursors if cursor.extension == extension):
                    await self._shown.wait()

    def has_shown(self) -> None:
        self._shown.set()
        self._shown = asyncio.Event()

    def of_user(self, user: str) -> list[Cursor]:
        """This user's open streams, the oldest first."""
        return sorted((c for c in self._cursors if c.user == user), key=lambda c: c.opened)

    def make_room(self, user: str) -> None:
        """One more page of this user's is to be live: the oldest gives way where there are too many."""
        streams = self.of_user(user)
        pages = [cursor for cursor in streams if not cursor.firm]
        for oldest in pages[: max(0, len(streams) - STREAMS_PER_USER + 1)]:
            oldest.end("superseded")

    def end_session(self, session: str) -> None:
        for cursor in list(self._cursors):
            if cursor.session == session:
                cursor.end("signed-out")

    def close(self) -> None:
        """End every stream: the panel stops."""
        for cursor in list(self._cursors):
            cursor.end("stopping")
        self._rest()

    def after(self, position: int) -> list[Entry] | None:
        """The events from `position` on; None when the ring no longer holds them all."""
        behind = self._next - position
        if behind <= 0:
            return []
        if behind > len(self._ring):
            return None
        return [self._ring[i] for i in range(len(self._ring) - behind, len(self._ring))]

    def name(self, number: int) -> str:
        return f"{self._epoch}.{number}"

    @property
    def end(self) -> int:
        return self._next

    def _rest(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if self._pump is not None:
            self._pump.cancel()
            self._pump = None
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None

    def _begin(self) -> None:
        self._epoch = secrets.token_hex(4)
        self._ring.clear()
        self._next = 1

    def _place(self, last_id: str) -> int | None:
        epoch, _, number = last_id.partition(".")
        if epoch != self._epoch or not number.isdecimal() or len(number) > 18:
            return None
        position = int(number) + 1
        return position if position <= self._next and self.after(position) is not None else None

    async def _read(self, subscription: Subscription) -> None:
        while True:
            try:
                async for event in subscription:
                    self._take(event)
            except Dropped:
                self._subscription = subscription = self._bus.subscribe()
                self._begin()
                self.refreshes += 1
                for cursor in self._cursors:
                    cursor.lost()

    def _take(self, event: Event) -> None:
        owners = self._owners_of(event) if isinstance(event, CallEvent) else frozenset()
        self._ring.append(Entry(self._next, event, owners))
        self._next += 1
        for cursor in self._cursors:
            cursor.wake()

    def _owners_of(self, event: CallEvent) -> frozenset[str]:
        """Whose call this is; remembered past the call's end, for the events that come late."""
        call: CallSnapshot | None = None
        if isinstance(event, ConnectionCleared):
            call = event.call
        else:
            try:
                call = self._control.call(event.call_id)
            except NotFound:
                return self._owners.get(event.call_id, frozenset())
        owners = parties(call)
        if isinstance(event, CardHandedOver | Failed):     # who has no leg of it, not yet or not any more
            owners |= {event.party}
        self._owners[event.call_id] = owners
        self._owners.move_to_end(event.call_id)
        if len(self._owners) > REMEMBERED_CALLS:
            self._owners.popitem(last=False)
        return owners


class Cursor:
    """One stream's place. Use it in a `with`."""

    _count = 0

    def __init__(
        self, hub: Hub, user: str, session: str, position: int, extension: str | None, *, resumed: bool
    ) -> None:
        Cursor._count += 1
        self.opened = Cursor._count
        self.user = user
        self.session = session
        self.extension = extension
        self.resumed = resumed
        self.shown = position       # what is before this has gone to its reader
        self.ended: str | None = None
        self.firm = False
        self._hub = hub
        self._position = position
        self._lost = False
        self._ready = asyncio.Event()
        if position < hub.end:
            self._ready.set()

    def __enter__(self) -> Cursor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hub.leave(self)

    @property
    def id(self) -> str:
        """The id of the last event that was taken here: where a reconnect goes on."""
        return self._hub.name(self._position - 1)

    def wake(self) -> None:
        self._ready.set()

    def done(self) -> None:
        """All that was taken has gone to the reader."""
        self.shown = self._position
        self._hub.has_shown()

    def lost(self) -> None:
        self._lost = True
        self._position = self._hub.end
        self._ready.set()

    def end(self, reason: str) -> None:
        """Make the stream end; its last event is named `reason`."""
        self.ended = self.ended or reason
        self._ready.set()

    async def next(self, seconds: float) -> list[Entry] | None:
        """What happened since the last call: waits for something, at most `seconds` (then an empty list).

        None: events were lost, show everything anew.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._ready.wait()
        except TimeoutError:
            if not self._ready.is_set():
                return []
        self._ready.clear()
        entries = None if self._lost else self._hub.after(self._position)
        self._lost = False
        self._position = self._hub.end
        return entries


class Stream(EventSourceResponse):
    """An event stream that ends with its generator, and quietly when its reader has stopped reading.

    The library's own watch for a server's signal handler is replaced: signals belong to the exchange, which closes the
    hub, and a task that polls twice a second for the life of the process is not wanted.
    """

    def __init__(self, events: AsyncIterator[ServerSentEvent]) -> None:
        super().__init__(events, ping=0, sep="\n", send_timeout=SEND_TIMEOUT_SECONDS)

    async def _listen_for_exit_signal_with_grace(self) -> None:
        await asyncio.get_running_loop().create_future()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except SendTimeoutError:
            return


async def follow(
    cursor: Cursor,
    alive: Callable[[], Awaitable[bool]],
    show: Callable[[list[Entry] | None], AsyncIterator[ServerSentEvent]],
    pause: Callable[[], float] = lambda: 0.0,
) -> AsyncIterator[ServerSentEvent]:
    """Drive one stream: `show` makes events of what happened (None: of everything), `pause` is how long to gather
    before the next look, `alive` says whether its reader is still signed in; it is asked every
    `PING_SECONDS`."""
    time = asyncio.get_running_loop().time
    checked = time()
    with cursor:
        yield ServerSentEvent(event="ping", data="", retry=1000)
        if not cursor.resumed:
            async for message in show(None):
                yield message
            cursor.done()
        while cursor.ended is None:
            entries = await cursor.next(PING_SECONDS)
            if cursor.ended is not None:
                break
            if time() - checked >= PING_SECONDS:
                checked = time()
                if not await alive():
                    cursor.end("signed-out")
                    break
            if entries == []:
                yield ServerSentEvent(event="ping", data="")
                continue
            async for message in show(entries):
                yield message
            cursor.done()
            if (wait := pause()) > 0:
                await asyncio.sleep(wait)
        yield ServerSentEvent(event=cursor.ended, data="")
