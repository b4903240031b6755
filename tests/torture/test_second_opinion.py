"""sipmessage, written by others, reads the same messages: where it can read a value, it must be our value.

It undoes %-escapes as it reads, in header parameters as well; ours are undone here, once, before they are compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import sipmessage

from pbxcore.sip.headers import NameAddr
from pbxcore.sip.message import Message, ParseError, check, parse
from pbxcore.sip.uri import Params, Uri, unescape
from tests.torture.corpus import EVERYTHING, Sample

# Where it reads and reads wrong.
THEIR_FAULTS = {
    ("intmeth", "to"): "keeps the backslash of an escaped character",
    ("esc01", "contact"): "takes a folded value for an empty one",
    ("longreq", "via"): "does not know a name with a blank before the colon",
}


def _params(params: Params) -> dict[str, str | None]:
    return {unescape(name).lower(): None if value is None else unescape(value) for name, value in params.items()}


def _lower(params: sipmessage.Parameters) -> dict[str, str | None]:
    return {name.lower(): value for name, value in params.items()}


def _bare(text: str | None) -> str | None:
    return None if text is None else unescape(text)


def _our_uri(uri: Uri) -> tuple[object, ...]:
    host = f"[{uri.host}]" if ":" in uri.host else uri.host
    return uri.scheme, _bare(uri.user), _bare(uri.password), host, uri.port, _params(uri.params)


def _their_uri(uri: sipmessage.URI) -> tuple[object, ...]:
    return uri.scheme, uri.user, uri.password, uri.host, uri.port, _lower(uri.parameters)


def _our_address(address: NameAddr) -> tuple[object, ...]:
    return address.display or "", _our_uri(address.uri), _params(address.params)


def _their_address(address: sipmessage.Address) -> tuple[object, ...]:
    return address.name, _their_uri(address.uri), _lower(address.parameters)


OURS: dict[str, Callable[[Message], object]] = {
    "via": lambda message: [(via.transport, via.host, via.port, _params(via.params)) for via in message.vias],
    "from": lambda message: _our_address(message.from_),
    "to": lambda message: _our_address(message.to),
    "cseq": lambda message: tuple(message.cseq),
    "call-id": lambda message: message.call_id,
    "contact": lambda message: [_our_address(contact) for contact in message.contacts],
}
THEIRS: dict[str, Callable[[Any], object]] = {
    "via": lambda message: [
        (via.transport, via.host.strip("[]"), via.port, _lower(via.parameters)) for via in message.via
    ],
    "from": lambda message: _their_address(message.from_address),
    "to": lambda message: _their_address(message.to_address),
    "cseq": lambda message: (message.cseq.sequence, message.cseq.method),
    "call-id": lambda message: message.call_id,
    "contact": lambda message: [_their_address(contact) for contact in message.contact],
}


def _agreed(sample: Sample) -> list[str]:
    """The headers that both could read, after comparing them."""
    try:
        ours = parse(sample.raw)
        check(ours)
        theirs = sipmessage.Message.parse(sample.raw)
    except (ParseError, ValueError):
        return []
    compared = []
    for key, theirs_of in THEIRS.items():
        try:
            value = theirs_of(theirs)
        except (ValueError, KeyError):  # it rejects folding, `Contact: *` and more
            continue
        if (sample.name.rpartition("/")[2].partition(".")[0], key) in THEIR_FAULTS:
            continue
        assert OURS[key](ours) == value, key
        compared.append(key)
    return compared


@pytest.mark.parametrize("sample", EVERYTHING, ids=str)
def test_both_read_the_same_values(sample: Sample) -> None:
    _agreed(sample)


def test_enough_is_compared() -> None:
    compared = Counter(key for sample in EVERYTHING for key in _agreed(sample))
    assert all(compared[key] >= 40 for key in THEIRS), compared
