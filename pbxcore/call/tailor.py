"""An INVITE as one make of phone wants it: what the switches of its profile change (`sip_profiles/_base.toml`).

Only requests to phones whose profile differs in one of these switches come by here. What is said stays what it is: who
calls, what is offered; how it is written is the phone's. Pure.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from pbxcore.call.passing import OWNED
from pbxcore.call.ringtone import BY_ITSELF
from pbxcore.profiles import PhoneProfile
from pbxcore.sip.headers import NameAddr, quote
from pbxcore.sip.message import Field, Request

OUR_CALL = "x-hookline-call"
RING = "<http://ring.invalid>"   # phones want an address there; nothing can be fetched from this one (RFC 2606)
COMPACT = {
    "from": "f", "to": "t", "call-id": "i", "contact": "m", "content-type": "c", "content-encoding": "e",
    "supported": "k", "subject": "s", "allow-events": "u", "event": "o", "refer-to": "r", "referred-by": "b",
}  # fmt: skip
"""RFC 3261 section 7.3.3 and the registry of header fields. Via and Content-Length are the transaction layer's."""

_WORD = re.compile(r"[\w.-]+\Z")
_URN = re.compile(r"<?urn:alert:(?:[\w-]+:)*([\w-]+)>?\Z", re.IGNORECASE)
_CYRILLIC = {
    "а": "a", "б": "b", "в": "v", "г": "g", "д": "d", "е": "e", "ё": "e", "ж": "zh", "з": "z", "и": "i", "й": "y",
    "к": "k", "л": "l", "м": "m", "н": "n", "о": "o", "п": "p", "р": "r", "с": "s", "т": "t", "у": "u", "ф": "f",
    "х": "kh", "ц": "ts", "ч": "ch", "ш": "sh", "щ": "shch", "ъ": "", "ы": "y", "ь": "", "э": "e", "ю": "yu",
    "я": "ya", "і": "i", "ї": "yi", "є": "ye", "ґ": "g", "ў": "u",
}  # fmt: skip


def tailored(invite: Request, profile: PhoneProfile, call_info: Sequence[Field] = ()) -> Request:
    """The INVITE for a phone of this profile; `call_info` is what it shows of the caller besides."""
    rows: list[Field] = []
    for row in invite.fields:
        key = row[0]
        if key == "from":
            rows += _caller(invite.from_, profile)
        elif (row in BY_ITSELF and not profile.alert_source) or (key == OUR_CALL and not profile.x_hookline_call):
            continue
        elif key == "alert-info" and profile.alert_info == "info":
            rows.append((key, f"Alert-Info: {_ringtone(row[1].partition(':')[2].strip())}"))
        elif key in OWNED or profile.foreign_headers:
            rows.append(row)
    rows += call_info
    if profile.compact:
        rows = [_compact(row) for row in rows]
    made = Request(invite.method, invite.uri, rows, offered(invite.body, profile))
    made.call_id, made.cseq, made.from_tag = invite.call_id, invite.cseq, invite.from_tag
    return made


def offered(sdp: bytes, profile: PhoneProfile) -> bytes:
    """An offer without the attributes that the phone is spared."""
    if not sdp or not profile.sdp_drop:
        return sdp
    spared = tuple(f"a={name}".encode() for name in profile.sdp_drop)
    lines = sdp.split(b"\n")
    return b"\n".join(line for line in lines if line.rstrip().partition(b":")[0] not in spared)


def written(name: str, uri: str, profile: PhoneProfile) -> str:
    """A name and a number as the phone can show them; nothing of the name can break out of its row."""
    if not name.isprintable():
        name = "".join(c for c in name if c.isprintable())
    if profile.display_ascii:
        name = in_ascii(name)
    if profile.display_characters:
        name = name[: profile.display_characters].strip()
    if profile.plus != "+" and uri.startswith("sip:+"):
        uri = f"sip:{profile.plus}{uri[5:]}"
    return f"{quote(name)} <{uri}>" if name else f"<{uri}>"


def _caller(caller: NameAddr, profile: PhoneProfile) -> list[Field]:
    """From, and where his number and name go besides."""
    shown = written(caller.display or "", str(caller.uri), profile)
    rows: list[Field] = [("from", f"From: {shown};tag={caller.tag}")]
    if profile.identity == "asserted":
        rows.append(("p-asserted-identity", f"P-Asserted-Identity: {shown}"))
    elif profile.identity == "remote-party":
        rows.append(("remote-party-id", f"Remote-Party-ID: {shown};party=calling;privacy=off;screen=yes"))
    return rows


def _ringtone(said: str) -> str:
    """A word, or what an alert URN ends in (RFC 7462), as a parameter; whatever else was said stays."""
    urn = _URN.match(said)
    word = urn[1] if urn else said
    return f"{RING};info={word}" if _WORD.match(word) else said


def _compact(row: Field) -> Field:
    key, line = row
    short = COMPACT.get(key)
    return row if short is None else (key, f"{short}:{line.partition(':')[2]}")


def in_ascii(name: str) -> str:
    """A name as a phone without Unicode can show it: accents go, Cyrillic is transliterated, the rest is left out."""
    text = "".join(_latin(character) for character in unicodedata.normalize("NFC", name))
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return " ".join(plain.split())


def _latin(character: str) -> str:
    small = _CYRILLIC.get(character.lower())
    if small is None:
        return {"ß": "ss", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "æ": "ae", "Æ": "Ae"}.get(character, character)
    return small if character.islower() else small.capitalize()
