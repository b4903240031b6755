"""The `message-summary` package (RFC 3842): the lamp that says that there are messages.

Whoever keeps the messages says how many there are with `Mailboxes.set`. A box is named as its extension, and only that
one watches it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pbxcore.call.subscriptions.package import Changed, Refused, Watching


@dataclass(frozen=True, slots=True)
class Counts:
    """How many voice messages a box holds; the urgent ones are among them."""

    new: int = 0
    old: int = 0
    urgent_new: int = 0
    urgent_old: int = 0


EMPTY = Counts()


class Mailboxes:
    """The package, and the door for the voice mail."""

    name = "message-summary"
    content_type = "application/simple-message-summary"
    gap = 1.0        # section 3.10
    expires = 3600   # section 3.4

    def __init__(self, extensions: Callable[[], Mapping[str, object]], changed: Changed) -> None:
        self._extensions = extensions
        self._tell = changed
        self._counts: dict[str, Counts] = {}

    def set(self, box: str, counts: Counts) -> None:
        """What the box holds now; its watchers are told when that is news."""
        if self._counts.get(box, EMPTY) == counts:
            return
        if counts == EMPTY:
            del self._counts[box]
        else:
            self._counts[box] = counts
        self._tell(self.name, box, {})

    def counts(self, box: str) -> Counts:
        return self._counts.get(box, EMPTY)

    def may_watch(self, watcher: str, resource: str) -> None:
        if resource != watcher:
            raise Refused(403 if resource in self._extensions() else 404)

    def begin(self, resource: str) -> None:
        """Boxes are counted whether they are watched or not."""

    def end(self, resource: str) -> None:
        """As `begin`."""

    def document(self, watching: Watching) -> bytes:
        held = self.counts(watching.resource)
        return (
            f"Messages-Waiting: {'yes' if held.new else 'no'}\r\n"
            f"Message-Account: {watching.entity}\r\n"
            f"Voice-Message: {held.new}/{held.old} ({held.urgent_new}/{held.urgent_old})\r\n"
        ).encode()
