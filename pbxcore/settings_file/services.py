"""Faults of [[ring_group]], [[queue]], [[ivr]], [mail] and of destinations, that their types do not show.

Works on the raw document and passes over what is missing or of the wrong type, as `exchange` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pbxcore.settings import Database
from pbxcore.settings_file.dialplan import Stored
from pbxcore.settings_file.values import (
    DIALED,
    NAME,
    PUNCTUATION,
    USER,
    Finding,
    Findings,
    Path,
    did_you_mean,
    is_host,
    ordinal,
    port_fault,
    rows,
    split_port,
    table,
    text,
    texts,
)

KINDS = {"ring_group": "group", "queue": "queue", "ivr": "ivr"}
PEOPLE = {"ring_group": "members", "queue": "agents"}
KEYS = "0123456789*#"
WORDS = ("again", "hangup")


def check(raw: Mapping[str, Any], stored: Stored | None) -> Findings:
    """`stored` as in `dialplan.check`."""
    office = _Names(raw, stored)
    yield from _mail(raw)
    numbers = {text(row, "number"): f"extension {text(row, 'number')}" for _, row in rows(raw, "extension")}
    for section, kind in KINDS.items():
        yield from _named(raw, section, kind, numbers)
        for index, row in rows(raw, section):
            path: Path = (section, index)
            for number in texts(row, PEOPLE.get(section, "")):
                if not office.has(number):
                    message = f'there is no extension "{number}"{did_you_mean(number, sorted(office.extensions))}'
                    yield Finding((*path, PEOPLE[section]), message, number)
            if row.get(PEOPLE.get(section, "")) == []:
                yield Finding((*path, PEOPLE[section]), "name at least one extension")
            yield from office.destination(text(row, "otherwise"), (*path, "otherwise"))
    for index, row in rows(raw, "ivr"):
        yield from _keys(row, ("ivr", index), office)
    for index, row in rows(raw, "inbound"):
        if ":" in text(row, "to"):
            yield from office.destination(text(row, "to"), ("inbound", index, "to"))
    for index, row in rows(raw, "extension"):
        address = text(row, "email")
        if address and (address.count("@") != 1 or " " in address):
            yield Finding(("extension", index, "email"), f'"{address}" is no mail address')


class _Names:
    """What a destination may name."""

    def __init__(self, raw: Mapping[str, Any], stored: Stored | None) -> None:
        self._raw = raw
        self._stored = stored
        self.extensions = {text(row, "number") for _, row in rows(raw, "extension")}
        self._names = {kind: [text(row, "name") for _, row in rows(raw, section)] for section, kind in KINDS.items()}
        self._names["voicemail"] = [
            text(row, "number") for _, row in rows(raw, "extension") if row.get("voicemail") is True
        ]

    def has(self, number: str) -> bool:
        if number not in self.extensions and self._stored is not None:
            self.extensions |= set(self._stored(text(table(self._raw, "database"), "url") or Database().url))
            self._stored = None
        return number in self.extensions

    def destination(self, to: str, path: Path, value: str | None = None) -> Findings:
        """A fault of `101`, `queue:sales`, `+15550100`; nothing for the empty one."""
        kind, colon, name = to.partition(":")
        if not to or kind == "play":
            return
        if not colon:
            if not self.has(to) and DIALED.fullmatch(PUNCTUATION.sub("", to)) is None:
                yield Finding(path, f'"{to}" is neither an extension nor a number', value)
        elif kind not in self._names:
            kinds = ", ".join(f'"{known}:"' for known in (*self._names, "play"))
            yield Finding(path, f'"{kind}:" leads nowhere; a destination is an extension, a number, or {kinds}', value)
        elif name not in self._names[kind]:
            hint = did_you_mean(name, self._names[kind])
            if kind == "voicemail" and name in self.extensions:
                hint = "; give that extension voicemail = true"
            yield Finding(path, f'there is no {kind} "{name}"{hint}', value)


def _named(raw: Mapping[str, Any], section: str, kind: str, numbers: dict[str, str]) -> Findings:
    """Names are there once in their section, numbers once in the office."""
    seen: dict[str, int] = {}
    for index, row in rows(raw, section):
        name, number = text(row, "name"), text(row, "number")
        if isinstance(row.get("name"), str) and NAME.fullmatch(name) is None:
            yield Finding((section, index, "name"), f'"{name}" is no name; use letters, digits, and . _ -')
        elif name in seen:
            message = f'{kind} "{name}" is there already, as the {ordinal(seen[name])} [[{section}]]'
            yield Finding((section, index, "name"), f"{message}; give this one another name")
        seen.setdefault(name, index)
        if not number:
            continue
        if USER.fullmatch(number) is None:
            message = f'"{number}" cannot be dialled; use digits, letters, and * . _ -'
            yield Finding((section, index, "number"), message)
        elif number in numbers:
            yield Finding((section, index, "number"), f"{number} is {numbers[number]} already; take another number")
        numbers.setdefault(number, f"{kind} {name}")


def _keys(row: Mapping[str, Any], path: Path, office: _Names) -> Findings:
    seen: set[str] = set()
    if row.get("say") == []:
        yield Finding((*path, "say"), "a menu that says nothing; name a prompt or write a sentence")
    for entry in texts(row, "keys"):
        key, equals, to = entry.partition("=")
        if not equals or len(key) != 1 or key not in KEYS or not to:
            yield Finding((*path, "keys"), f'"{entry}" is no key and its destination; write it like "1=101"', entry)
        elif key in seen:
            yield Finding((*path, "keys"), f"key {key} is there already; remove one", entry)
        elif to not in WORDS:
            yield from office.destination(to, (*path, "keys"), entry)
        seen.add(key)


def _mail(raw: Mapping[str, Any]) -> Findings:
    mail = table(raw, "mail")
    server = text(mail, "server")
    if not server:
        return
    host, port = split_port(server)
    if not is_host(host):
        yield Finding(("mail", "server"), f'"{server}" is no server; write it like "mail.example.net:587"')
    elif fault := port_fault(server, port):
        yield Finding(("mail", "server"), fault.replace(":5060", ":587"))
    if not text(mail, "sender"):
        yield Finding(("mail", "sender"), "mail needs a sender; write an address of yours")
    for key, other in (("username", "password"), ("password", "username")):
        if text(mail, key) and not mail.get(other):
            yield Finding(("mail", key), f"a {key} needs a {other} as well")
