"""What an event package is to the notifier (RFC 6665 section 5), and how a request for one is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Protocol

from pbxcore.sip import build
from pbxcore.sip.errors import SipError


class Refused(SipError):
    """A SUBSCRIBE or PUBLISH that is answered with this status and these headers."""

    def __init__(self, status: int, reason: str | None = None, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(status, reason or build.REASONS[status])
        self.headers = list(headers)


class Watching(Protocol):
    """A subscription, as far as a package sees it. `entity` is the resource as the watcher spelled it, a SIP URI;
    `version` counts the documents from 0; `whole` asks for all there is, else `pending` is what changed since."""

    resource: str
    watcher: str
    entity: str
    version: int
    whole: bool
    pending: dict[str, object]


class Changed(Protocol):
    """How a package tells of a change: `parts` is what changed, by its key in the package."""

    def __call__(self, package: str, resource: str, parts: Mapping[str, object], /) -> None: ...


class Package(Protocol):
    """`gap` is the least number of seconds between two notifications of a subscription, `expires` the lifetime of one
    that asks for none."""

    name: str
    content_type: str
    gap: float
    expires: int

    def may_watch(self, watcher: str, resource: str) -> None:
        """Raises Refused when this extension may not watch, or there is nothing of this name."""
        ...

    def begin(self, resource: str) -> None:
        """One more subscription to this resource."""
        ...

    def end(self, resource: str) -> None:
        """One subscription less."""
        ...

    def document(self, watching: Watching) -> bytes:
        """The body of the next notification."""
        ...


def text(value: str) -> str:
    """Text of a stranger inside of XML, in an element or in a quoted attribute."""
    return escape("".join(c for c in value if c.isprintable()))
