"""Secrets taken out of a SIP message before it is shown: what proves a password, and keys of the media.

Masked are the response of a digest (RFC 7616 section 3.4: with it a password can be guessed at leisure), credentials of
other schemes, passwords in URIs (RFC 3261 section 19.1.1), SDES keys (RFC 4568), `k=` and `a=key-mgmt` (RFC 4566, RFC
4567), and ICE passwords (RFC 8839). It is done on the bytes, whatever the parser would say to them, and rather once
too often: a message that nobody can read must not give its secrets away either.
"""

from __future__ import annotations

import re

MASK = b"***"
HIDDEN_BODY = b"(a compressed body, not shown)"

_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_RESPONSE = re.compile(
    rb'\b((?:response|rspauth)\s*=\s*)(?:"(?:[^"\\\r\n]|\\.|\r?\n[ \t])*"?|[^\s,;]+)', re.IGNORECASE
)
_OTHER_SCHEME = re.compile(
    rb"^((?:proxy-)?authorization[ \t]*:\s*+)(?!digest\b)[^\r\n]*(?:\r?\n[ \t][^\r\n]*)*", re.IGNORECASE | re.MULTILINE
)
_URI_PASSWORD = re.compile(rb"(sips?:[^@:;<>\s]{0,256}+:)[^@<>\s]{1,1024}+@", re.IGNORECASE)
_ENCODED = re.compile(rb"^(?:content-encoding|e)[ \t]*:\s*(?!identity\b)\S", re.IGNORECASE | re.MULTILINE)
_KEYS = (
    (b"inline:", re.compile(rb"(inline:)[^\s;|]+", re.IGNORECASE)),
    (b"ice-pwd:", re.compile(rb"(a=ice-pwd:)[^\r\n]*", re.IGNORECASE)),
    (b"key-mgmt:", re.compile(rb"(a=key-mgmt:)[^\r\n]*", re.IGNORECASE)),
    (b"k=", re.compile(rb"((?:^|[\r\n])[ \t]*k=)[^\r\n]*", re.IGNORECASE)),
)
"""Each with what must be in a message for it, in small letters: that is looked for first, and found seldom."""


def masked(message: bytes) -> bytes:
    """The message without its secrets; its Content-Length is what it was."""
    lower = message.lower()
    end = _END.search(message)
    head, body = (message, b"") if end is None else (message[: end.end()], message[end.end() :])
    if b"response" in lower or b"rspauth" in lower:
        head = _RESPONSE.sub(rb"\1" + MASK, head)
    if b"authorization" in lower:
        head = _OTHER_SCHEME.sub(rb"\1" + MASK, head)
    if b"@" in head:
        head = _URI_PASSWORD.sub(rb"\1" + MASK + b"@", head)
    if body and (b"content-encoding" in lower or b"\ne" in lower) and _ENCODED.search(head):
        body = HIDDEN_BODY
    whole = head + body
    for word, pattern in _KEYS:
        if word in lower:
            whole = pattern.sub(rb"\1" + MASK, whole)
    return whole
