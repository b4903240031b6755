"""What phones publish of themselves (RFC 3903): one document each, under an entity tag, until it expires.

A phone that lost its tag publishes anew, and the oldest of too many gives way; those that it forgot expire. Nothing
outlives the process: a phone that refreshes what is not known any more is told 412 and publishes anew (section 6).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from pbxcore.call.subscriptions import pidf
from pbxcore.call.subscriptions.package import Refused
from pbxcore.call.subscriptions.pidf import Document
from pbxcore.sip import build
from pbxcore.sip.message import Request, Response
from pbxcore.sip.timers import Timers

DEFAULT_EXPIRES = 3600
MIN_EXPIRES = 60
MAX_EXPIRES = 7200
MAX_OF_EXTENSION = 8
MAX_TAG = 64


@dataclass(frozen=True, slots=True)
class Publication:
    """`expires_at` is monotonic seconds."""

    document: Document
    expires_at: float


class Publications:
    """By extension, the oldest first. `changed` is told the extension."""

    def __init__(
        self, timers: Timers, clock: Callable[[], float], token: Callable[[], str], changed: Callable[[str], None]
    ) -> None:
        self._timers = timers
        self._clock = clock
        self._token = token
        self._changed = changed
        self._held: dict[str, dict[str, Publication]] = {}
        self._armed: dict[str, float] = {}  # by extension, when the earliest of its timers is due

    def documents(self, extension: str) -> list[Document]:
        """What its phones say now, the newest first."""
        now = self._clock()
        held = self._held.get(extension, {}).values()
        return [publication.document for publication in held if publication.expires_at > now][::-1]

    def publish(self, request: Request, extension: str) -> Response:
        """The answer to an authenticated PUBLISH of this extension (section 6). Raises Refused, SipError."""
        held = self._held.setdefault(extension, {})
        try:
            tag = self._entity(request, held)
            seconds = _lifetime(request)
            document = self._document(request, held.get(tag) if tag else None)
        finally:
            if not held:
                del self._held[extension]
        old = held.pop(tag, None) if tag else None
        fresh = self._token()
        if seconds:
            while len(held) >= MAX_OF_EXTENSION:
                del held[next(iter(held))]
            held[fresh] = Publication(document, self._clock() + seconds)
            self._held[extension] = held
            self._watch(extension)
        elif not held:
            self._held.pop(extension, None)
        if not seconds or old is None or old.document != document:
            self._changed(extension)
        return build.response(
            request, 200, to_tag=self._token(), headers=[("SIP-ETag", fresh), ("Expires", str(seconds))]
        )

    def _entity(self, request: Request, held: dict[str, Publication]) -> str:
        """The tag that the request is about; empty for a publication that is new."""
        tags = request.values("sip-if-match")
        if not tags:
            return ""
        if len(tags) > 1 or len(tags[0]) > MAX_TAG:
            raise Refused(400, "One SIP-If-Match")
        publication = held.get(tags[0])
        if publication is None or publication.expires_at <= self._clock():
            raise Refused(412)
        return tags[0]

    @staticmethod
    def _document(request: Request, old: Publication | None) -> Document:
        if not request.body:
            if old is None:
                if request.expires == 0:  # nothing of nothing
                    return Document()
                raise Refused(400, "PUBLISH without a body")
            return old.document
        if request.content_type != pidf.CONTENT_TYPE:
            raise Refused(415, headers=[("Accept", pidf.CONTENT_TYPE)])
        if "content-encoding" in request and (request.first("content-encoding") or "").lower() != "identity":
            raise Refused(415, headers=[("Accept-Encoding", "identity")])
        return pidf.parse(request.body)

    def _watch(self, extension: str) -> None:
        """Have a timer for the publication that runs out first."""
        at = min(publication.expires_at for publication in self._held[extension].values())
        if at < self._armed.get(extension, inf):
            self._armed[extension] = at
            self._timers.start(at, self, extension)

    def on_timer(self, name: str, now: float) -> None:
        if now < self._armed.get(name, inf):  # an earlier timer has taken this one's place
            return
        del self._armed[name]
        held = self._held.get(name, {})
        gone = [tag for tag, publication in held.items() if publication.expires_at <= now + 0.001]
        for tag in gone:
            del held[tag]
        if held:
            self._watch(name)
        else:
            self._held.pop(name, None)
        if gone:
            self._changed(name)


def _lifetime(request: Request) -> int:
    wanted = DEFAULT_EXPIRES if request.expires is None else request.expires
    if 0 < wanted < MIN_EXPIRES:
        raise Refused(423, headers=[("Min-Expires", str(MIN_EXPIRES))])
    return min(wanted, MAX_EXPIRES)
