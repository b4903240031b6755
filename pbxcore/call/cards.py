"""Who calls, as a card on the phone's display: Call-Info with a jCard and a reason for the call (RFC 9796, RFC 7095).

The card is in the INVITE itself (a data URI, RFC 2397), or the phone fetches it from the panel at an address that
nobody can guess and that is gone after two minutes. Only phones whose profile shows such things are told; what the CRM
has to say to whoever answers goes there only where the profile says so, too. Text of the CRM is data everywhere: JSON
in base64, or a quoted string. No pictures (`icon`), and no signature (`integrity`): the phone trusts its exchange.
"""

from __future__ import annotations

import base64
import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from pbxcore.call.identity import HIDDEN, NAMELESS
from pbxcore.profiles import PhoneProfile
from pbxcore.sip.headers import quote
from pbxcore.sip.message import Field

MEDIA_TYPE = "application/vcard+json"   # RFC 7095 section 5.1
LIFETIME = 120.0        # seconds that a card can be fetched
MOST_CARDS = 5000
LONGEST_NAME = 128      # characters
LONGEST_REASON = 160    # of what is shown beside the name: displays have no more room, and datagrams neither
NO_CARD = "data:,"      # a URI has to be there, and there is nothing to fetch


@dataclass(frozen=True, slots=True)
class Caller:
    """What is known of him. `reason` is for whoever answers."""

    number: str
    name: str = ""
    reason: str = ""


class Cards:
    """The cards that can be fetched now. `clock` is monotonic seconds, `token` fresh random text of 64 bits at least;
    `base` is the panel's address as phones see it, and empty when it has none."""

    def __init__(self, clock: Callable[[], float], token: Callable[[], str], base: str = "") -> None:
        self.base = base
        self._clock = clock
        self._token = token
        self._cards: dict[str, bytes] = {}
        self._ages: deque[tuple[float, str]] = deque()

    def __len__(self) -> int:
        return len(self._cards)

    def put(self, card: bytes) -> str:
        """Where it can be fetched from now on; empty when the panel cannot be reached by phones."""
        if not self.base:
            return ""
        now = self._clock()
        self._forget(now)
        token = self._token()
        self._cards[token] = card
        self._ages.append((now + LIFETIME, token))
        return f"{self.base.rstrip('/')}/cards/{token}"

    def get(self, token: str) -> bytes | None:
        self._forget(self._clock())
        return self._cards.get(token)

    def _forget(self, now: float) -> None:
        while self._ages and (self._ages[0][0] <= now or len(self._ages) >= MOST_CARDS):
            del self._cards[self._ages.popleft()[1]]


def jcard(caller: Caller) -> bytes:
    """RFC 7095: his name and number. The name is required (RFC 6350 section 6.2.1)."""
    number = "" if caller.number.lower() in HIDDEN else _plain(caller.number)
    name = _plain(caller.name)[:LONGEST_NAME] or number or NAMELESS
    properties: list[list[object]] = [["version", {}, "text", "4.0"], ["fn", {}, "text", name]]
    if number:
        properties.append(["tel", {}, "uri", f"tel:{number}"])
    return json.dumps(["vcard", properties], ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def call_info(caller: Caller, profile: PhoneProfile, cards: Cards) -> list[Field]:
    """The row for a phone of this profile; none when it shows nothing of the kind, or nothing is known."""
    uri = ""
    if profile.caller_card != "none" and (caller.name or caller.number):
        card = jcard(caller)
        if profile.caller_card == "url":
            uri = cards.put(card)
        else:
            uri = f"data:{MEDIA_TYPE};base64,{base64.b64encode(card).decode()}"
    reason = _plain(caller.reason)[:LONGEST_REASON] if profile.call_reason else ""
    if not uri and not reason:
        return []
    row = f"Call-Info: <{uri or NO_CARD}>;purpose=jcard"
    return [("call-info", f"{row};call-reason={quote(reason)}" if reason else row)]


def _plain(text: str) -> str:
    """In one line, without control characters and marks that turn the writing direction."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())
