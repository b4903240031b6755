"""The one event bus: bounded queues; a slow reader is dropped and counted, the publisher never waits."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from pbxcore.events import Event

QUEUE_LIMIT = 1024


class Dropped(Exception):
    """This reader fell more than the queue's limit behind and was cut off; it must subscribe anew."""


class Subscription:
    """One reader's queue. Iterate it; close it (or leave its `with`) when done."""

    __slots__ = ("_bus", "_dropped", "_limit", "_queue", "_waiter")

    def __init__(self, bus: Bus, limit: int) -> None:
        self._bus = bus
        self._queue: deque[Event] = deque()
        self._limit = limit
        self._waiter: asyncio.Future[None] | None = None
        self._dropped = False

    def put(self, event: Event) -> bool:
        """Take one event; False when the reader is too far behind."""
        if len(self._queue) >= self._limit:
            self._dropped = True
            self._queue.clear()
        else:
            self._queue.append(event)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        return not self._dropped

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._bus.unsubscribe(self)

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        """The next event. Raises Dropped once, when events were lost."""
        while not self._queue:
            if self._dropped:
                raise Dropped
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._queue.popleft()


class Bus:
    """Publishes to every subscription at once. `wanted` is False while nobody listens: build no event then."""

    __slots__ = ("_listeners", "_subscriptions", "dropped_readers", "published", "wanted")

    def __init__(self) -> None:
        self._subscriptions: list[Subscription] = []
        self._listeners: list[Callable[[Event], None]] = []
        self.wanted = False
        self.published = 0
        self.dropped_readers = 0

    def subscribe(self, limit: int = QUEUE_LIMIT) -> Subscription:
        subscription = Subscription(self, limit)
        self._subscriptions.append(subscription)
        self.wanted = True
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)
            self._note_wanted()

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Have `listener` called with every event while it is published: for the exchange's own rooms, which are quick
        and never raise."""
        self._listeners = [*self._listeners, listener]  # a new one: it may be in the middle of publishing
        self.wanted = True

    def unlisten(self, listener: Callable[[Event], None]) -> None:
        self._listeners = [each for each in self._listeners if each != listener]
        self._note_wanted()

    def _note_wanted(self) -> None:
        self.wanted = bool(self._subscriptions or self._listeners)

    def publish(self, event: Event) -> None:
        self.published += 1
        for listener in self._listeners:
            listener(event)
        for subscription in [s for s in self._subscriptions if not s.put(event)]:
            self.dropped_readers += 1
            self.unsubscribe(subscription)
