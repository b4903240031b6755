"""Why a call or a branch of it ended (RFC 3326): what is read from Reason rows, and what is said in our own."""

from __future__ import annotations

from pbxcore.sip.headers import quote, split
from pbxcore.sip.message import Field, Message

ELSEWHERE = 'SIP;cause=200;text="Call completed elsewhere"'
"""To the losers of a fork: they show no missed call."""


def reasons(message: Message) -> str | None:
    """Its Reason, as it goes on to the other side."""
    return ", ".join(message.values("reason")) or None if "reason" in message.first_lines else None


def q850(message: Message) -> int | None:
    """The cause of ITU-T Q.850 that a carrier gives, 1 to 127."""
    if "reason" not in message.first_lines:
        return None
    for value in message.values("reason"):
        protocol, *params = split(value, ";")
        if protocol.strip().upper() != "Q.850":
            continue
        for param in params:
            name, _, said = param.partition("=")
            said = said.strip()
            if name.strip().lower() == "cause" and said.isascii() and said.isdigit() and len(said) < 4:
                return int(said) if 0 < int(said) < 128 else None
    return None


def row(status: int, text: str) -> Field:
    """Why we end a call."""
    return "reason", f"Reason: SIP;cause={status};text={quote(text)}"
