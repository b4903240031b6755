"""What the desk remembers of calls: their cards while they live and a while after, and the last activities of a
number. In memory and bounded; the database has it all."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import replace

from pbxcore.control import ActivityEntry, Card

KEEP = 900.0          # seconds that a card outlives its call
MAX_CARDS = 20_000
MAX_NUMBERS = 5_000
PER_NUMBER = 5


class Cards:
    """Cards by call id. The oldest go first when there are too many."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._cards: OrderedDict[str, Card] = OrderedDict()
        self._ended: deque[tuple[float, str]] = deque()

    def __len__(self) -> int:
        return len(self._cards)

    def put(self, card: Card) -> None:
        self._cards[card.call_id] = card
        if len(self._cards) > MAX_CARDS:
            self._cards.popitem(last=False)

    def get(self, call_id: str) -> Card | None:
        return self._cards.get(call_id)

    def ended(self, call_id: str) -> None:
        """The call is over: its card goes in a while."""
        now = self._clock()
        ended = self._ended
        while ended and ended[0][0] <= now:
            self._cards.pop(ended.popleft()[1], None)
        if call_id in self._cards:
            ended.append((now + KEEP, call_id))


class Recent:
    """The last few activities of each number, newest first; the numbers heard of longest ago go first."""

    def __init__(self) -> None:
        self._by_number: OrderedDict[str, tuple[ActivityEntry, ...]] = OrderedDict()

    def of(self, number: str) -> tuple[ActivityEntry, ...]:
        return self._by_number.get(number, ())

    def put(self, activity: ActivityEntry) -> None:
        """Add, or replace the one of the same call; a summary that was written while it was up is kept."""
        number = activity.number
        known = self._by_number.get(number, ())
        if any(other.call_id == activity.call_id for other in known):
            self._by_number[number] = tuple([_newer(old, activity) for old in known])
            return
        self._by_number[number] = (activity, *known[: PER_NUMBER - 1])
        self._by_number.move_to_end(number)
        if len(self._by_number) > MAX_NUMBERS:
            self._by_number.popitem(last=False)

    def forget_contact(self, contact_id: str) -> None:
        for number, activities in self._by_number.items():
            if any(activity.contact_id == contact_id for activity in activities):
                self._by_number[number] = tuple([_without_contact(activity, contact_id) for activity in activities])


def _newer(old: ActivityEntry, new: ActivityEntry) -> ActivityEntry:
    if old.call_id != new.call_id:
        return old
    if old.state == "open" or new.state == "completed":
        return new
    return replace(
        new, state=old.state, summary=old.summary, contact_id=old.contact_id, contact_name=old.contact_name
    )


def _without_contact(activity: ActivityEntry, contact_id: str) -> ActivityEntry:
    return activity if activity.contact_id != contact_id else replace(activity, contact_id=None, contact_name="")
