"""Which header rows go through the exchange from one leg to the other.

A B2BUA (RFC 7092) is the end of both dialogs: what names a dialog, a hop, a credential, a capability or an identity is
its own on each leg. Everything else goes through as it came, byte for byte.
"""

from __future__ import annotations

from pbxcore.sip.message import Field, Message

OWNED = frozenset(
    (
        # the message and its hops
        "via", "max-forwards", "max-breadth", "route", "record-route", "path", "service-route", "flow-timer",
        # the body: it has been read, and comes out of the relay another one
        "content-length", "content-type", "content-encoding", "mime-version",
        # the dialog
        "from", "to", "call-id", "cseq", "contact", "replaces", "join", "target-dialog", "in-reply-to", "expires",
        # credentials
        "authorization", "proxy-authorization", "www-authenticate", "proxy-authenticate", "authentication-info",
        "proxy-authentication-info", "identity", "identity-info", "security-client", "security-server",
        "security-verify",
        # capabilities and what hangs on them: each leg has its own
        "supported", "require", "proxy-require", "unsupported", "allow", "allow-events", "accept", "accept-encoding",
        "recv-info", "rseq", "rack", "session-expires", "min-se", "event", "subscription-state", "refer-to",
        "refer-sub", "referred-by", "sip-etag", "sip-if-match", "min-expires",
        # identity, and what else is said inside of a domain of trust (RFC 3324): asserted by whoever is trusted there
        "p-asserted-identity", "p-preferred-identity", "remote-party-id", "privacy", "diversion", "history-info",
        "p-access-network-info", "p-answer-state", "p-asserted-service", "p-associated-uri", "p-called-party-id",
        "p-charging-function-addresses", "p-charging-vector", "p-dcs-billing-info", "p-dcs-laes", "p-dcs-osps",
        "p-dcs-redirect", "p-dcs-trace-party-id", "p-early-media", "p-media-authorization", "p-preferred-service",
        "p-private-network-indication", "p-profile-key", "p-refused-uri-list", "p-served-user", "p-user-database",
        "p-visited-network-id",
        # what makes a phone do things: only the exchange may say it
        "alert-info", "call-info", "answer-mode", "priv-answer-mode", "x-hookline-call",
        # the product
        "user-agent", "server", "organization", "timestamp", "warning", "retry-after", "date",
    )
)  # fmt: skip


_NEVER_BACK = OWNED - {"warning", "retry-after"}


def passed(message: Message) -> list[Field]:
    """The rows that go through."""
    if OWNED.issuperset(message.first_lines):  # as with most requests inside of a dialog
        return []
    return [field for field in message.fields if field[0] not in OWNED]


def passed_back(message: Message) -> list[Field]:
    """The rows of a response that go through: Warning and Retry-After tell the caller why."""
    if _NEVER_BACK.issuperset(message.first_lines):
        return []
    return [field for field in message.fields if field[0] not in _NEVER_BACK]


def with_body(message: Message, fields: list[Field]) -> list[Field]:
    """The rows, and what says of which kind the body is."""
    return fields + [row for row in message.fields if row[0] in ("content-type", "content-encoding", "mime-version")]
