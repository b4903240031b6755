"""What was ordered under an Idempotency-Key: asked for again, it is answered again and done once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from web.refused import Refused

KEPT_SECONDS = 24 * 3600.0
MAX_KEPT = 10_000
MAX_KEY = 255

Order = tuple[str, ...]


class Orders:
    """Answers by user and key. `clock` is monotonic seconds; a restart forgets them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: OrderedDict[tuple[str, str], tuple[float, Order, str]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def once(self, user: str, key: str, order: Order, do: Callable[[], str]) -> str:
        """The answer of `do`, which is not asked again for the same key; without a key it always is. Raises Refused for
        a key that another order has, and what `do` raises, of which nothing is kept."""
        if not key:
            return do()
        if len(key) > MAX_KEY:
            raise Refused(422, "long_key", "Idempotency-Key", most=MAX_KEY)
        now, kept = self._clock(), self._kept
        while kept and (next(iter(kept.values()))[0] <= now or len(kept) >= MAX_KEPT):
            kept.popitem(last=False)
        found = kept.get((user, key))
        if found is None:
            answer = do()
            kept[user, key] = (now + KEPT_SECONDS, order, answer)
            return answer
        if found[1] != order:
            raise Refused(422, "used_key", "Idempotency-Key")
        return found[2]
