"""How a phone of the office rings: the Alert-Info of its INVITE, in URNs that every make can read alike (RFC 7462).

The CRM's word comes first; without one the phone is told where the call comes from, or that its caller calls it urgent.
Only who is believed can say that (an extension, a trusted carrier). Never sent to a carrier. Pure.
"""

from __future__ import annotations

from pbxcore.hooks import Direction
from pbxcore.sip.headers import one_line
from pbxcore.sip.message import Field, Request

URGENT = ("urgent", "emergency")   # of Priority (RFC 3261 section 20.26)
WORDS = {
    "internal": "source:internal", "external": "source:external", "friend": "source:friend", "family": "source:family",
    "priority": "priority:high", "high": "priority:high", "low": "priority:low", "normal": "service:normal",
    "forward": "service:forward", "transfer": "service:recall:transfer", "short": "duration:short",
    "long": "duration:long",
}  # fmt: skip
"""What the CRM may say in one word, and its indication in RFC 7462 section 7."""


def _row(indication: str) -> Field:
    return "alert-info", f"Alert-Info: <urn:alert:{indication}>"


INTERNAL, EXTERNAL, PRIORITY = _row("source:internal"), _row("source:external"), _row("priority:high")
BY_ITSELF = frozenset((INTERNAL, EXTERNAL, PRIORITY))
"""What a phone is told when the CRM says nothing: a profile may not want it."""
BY_DIRECTION: dict[Direction, Field] = {"internal": INTERNAL, "inbound": EXTERNAL, "outbound": EXTERNAL}


def default(direction: Direction, invite: Request, *, believed: bool) -> Field:
    """The row of a call that the CRM says nothing about."""
    row = invite.first_lines.get("priority") if believed else None
    if row is not None and row.partition(":")[2].strip().lower() in URGENT:
        return PRIORITY
    return BY_DIRECTION[direction]


def said(alert_info: str) -> Field:
    """The row that the CRM's word makes: one of `WORDS`, a URN with or without brackets, or as it was said."""
    text = one_line(alert_info).strip()
    indication = WORDS.get(text.lower())
    if indication is not None:
        return _row(indication)
    if text.lower().startswith("urn:alert:"):
        text = f"<{text}>"
    return "alert-info", f"Alert-Info: {text}"
