"""Which header rows go through the exchange from one leg to the other.

A B2BUA (RFC 7092) is the end of both dialogs: what names a dialog, a hop, a credential, a capability or an identity is
its own on each leg. Everything else goes through as it came, byte for byte.
"""

from __future__ import annotations

from pbxcore.sip.message import Field, Message

OWNED = frozenset(
    (
        # the message and its hops
        "via", "max-forwards", "route", "record-route", "path", "service-route", "content-length", "mime-version",
        "content-type",
        # the dialog
        "from", "to", "call-id", "cseq", "contact", "replaces", "target-dialog", "in-reply-to", "expires",
        # credentials
        "authorization", "proxy-authorization", "www-authenticate", "proxy-authenticate", "authentication-info",
        "identity", "identity-info",
        # capabilities and what hangs on them: each leg has its own
        "supported", "require", "proxy-require", "unsupported", "allow", "allow-events", "accept", "rseq", "rack",
        "session-expires", "min-se", "event", "subscription-state", "refer-to", "refer-sub", "referred-by",
        "sip-etag", "sip-if-match", "min-expires",
        # identity: asserted on the leg by whoever is trusted there
        "p-asserted-identity", "p-preferred-identity", "remote-party-id", "privacy", "diversion", "history-info",
        "p-called-party-id", "p-access-network-info", "p-charging-vector",
        # what makes a phone do things: only the exchange may say it
        "alert-info", "call-info", "answer-mode", "priv-answer-mode", "x-hookline-call",
        # the product
        "user-agent", "server", "organization", "timestamp", "warning", "retry-after", "date",
    )
)  # fmt: skip


def passed(message: Message) -> list[Field]:
    """The rows that go through."""
    return [field for field in message.fields if field[0] not in OWNED]


def passed_back(message: Message) -> list[Field]:
    """The rows of a response that go through: Warning and Retry-After tell the caller why."""
    return [field for field in message.fields if field[0] not in OWNED or field[0] in ("warning", "retry-after")]
