"""What the desk remembers of calls: their cards while they live and a while after, and the last activities of a
number. In memory and bounded; the database has it all."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import replace

from pbxcore.control import ActivityEntry, Card
from pbxcore.hooks import CallSnapshot

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
        while ended and (ended[0][0] <= now or len(ended) > MAX_CARDS):
            self._cards.pop(ended.popleft()[1], None)
        if call_id in self._cards:
            ended.append((now + KEEP, call_id))


class Recent:
    """The last few activities of each number, newest first; the numbers heard of longest ago go first.

    A call that ended is kept as it is: `activity` is made of it when somebody asks.
    """

    def __init__(self, activity: Callable[[CallSnapshot], ActivityEntry]) -> None:
        self._activity = activity
        self._by_number: OrderedDict[str, tuple[ActivityEntry | CallSnapshot, ...]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_number)

    def of(self, number: str) -> tuple[ActivityEntry, ...]:
        known = self._by_number.get(number)
        if known is None:
            return ()
        made = tuple([self._activity(one) if isinstance(one, CallSnapshot) else one for one in known])
        self._by_number[number] = made
        return made

    def ended(self, number: str, call: CallSnapshot) -> None:
        """A call from or to this number ended. A summary that was written while it was up is kept."""
        known = self._by_number.get(number, ())
        for place, old in enumerate(known):
            if old.call_id == call.call_id:
                new = call if isinstance(old, CallSnapshot) else _newer(old, self._activity(call))
                self._by_number[number] = (*known[:place], new, *known[place + 1 :])
                return
        self._add(number, call)

    def put(self, entry: ActivityEntry) -> None:
        """An activity as it is stored now; it takes the place of the one of the same call."""
        known = self._by_number.get(entry.number, ())
        if any(old.call_id == entry.call_id for old in known):
            self._by_number[entry.number] = tuple([entry if old.call_id == entry.call_id else old for old in known])
        else:
            self._add(entry.number, entry)

    def forget_contact(self, contact_id: str) -> None:
        for number in list(self._by_number):
            activities = self.of(number)
            if any(entry.contact_id == contact_id for entry in activities):
                self._by_number[number] = tuple([_without_contact(entry, contact_id) for entry in activities])

    def _add(self, number: str, one: ActivityEntry | CallSnapshot) -> None:
        by_number = self._by_number
        by_number[number] = (one, *by_number.get(number, ())[: PER_NUMBER - 1])
        by_number.move_to_end(number)
        if len(by_number) > MAX_NUMBERS:
            by_number.popitem(last=False)


def _newer(old: ActivityEntry, new: ActivityEntry) -> ActivityEntry:
    """What the call says now, and what the agent said."""
    if old.state == "open":
        return replace(new, summary=old.summary)
    return replace(
        new, state=old.state, summary=old.summary, contact_id=old.contact_id, contact_name=old.contact_name,
        author=old.author, outcome=old.outcome, follow_up_at=old.follow_up_at, follow_up_note=old.follow_up_note,
        recording=old.recording,
    )  # fmt: skip


def _without_contact(entry: ActivityEntry, contact_id: str) -> ActivityEntry:
    return entry if entry.contact_id != contact_id else replace(entry, contact_id=None, contact_name="")
