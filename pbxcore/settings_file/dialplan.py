"""Faults of [[extension]], [[trunk]], [[inbound]] and [[outbound]] that their types do not show.

Works on the raw document and passes over what is missing or of the wrong type, as `exchange` does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import phonenumbers

from pbxcore import profiles
from pbxcore.certificates import authorities_fault
from pbxcore.settings import Database
from pbxcore.settings_file.values import (
    DIALED,
    NAME,
    PUNCTUATION,
    USER,
    Finding,
    Findings,
    Path,
    did_you_mean,
    is_network,
    normal_number,
    number_fault,
    ordinal,
    rows,
    server_fault,
    table,
    text,
    texts,
)

Stored = Callable[[str], Collection[str]]


def check(raw: Mapping[str, Any], stored: Stored | None) -> Findings:
    """`stored` gives the extensions kept in the database of a URL; it is asked only when
    something points to an extension that the document does not have."""
    yield from _extensions(raw)
    yield from _trunks(raw)
    yield from _inbound(raw, stored)
    yield from _outbound(raw)


def _extensions(raw: Mapping[str, Any]) -> Findings:
    seen: dict[str, int] = {}
    for index, row in rows(raw, "extension"):
        path: Path = ("extension", index)
        number, password = text(row, "number"), row.get("password")
        if isinstance(row.get("number"), str) and USER.fullmatch(number) is None:
            yield Finding((*path, "number"), f'"{number}" cannot be dialled; use digits, letters, and * . _ -')
        elif number in seen:
            message = f"extension {number} is there already, as the {ordinal(seen[number])} [[extension]]"
            yield Finding((*path, "number"), f"{message}; give this one another number")
        seen.setdefault(number, index)
        caller_id = text(row, "caller_id")
        if caller_id and DIALED.fullmatch(PUNCTUATION.sub("", caller_id)) is None:
            yield Finding((*path, "caller_id"), f'"{caller_id}" is no number; write it like "+15550100"')
        if password == "":
            yield Finding((*path, "password"), "an empty password lets everybody in; write one")
        elif number and password == number:
            yield Finding((*path, "password"), "scanners try the number as password first; write another")
        yield from _profile(row, path, "phones")


def _profile(row: Mapping[str, Any], path: Path, kind: profiles.Kind) -> Findings:
    name = row.get("profile")
    if not isinstance(name, str) or (not name and kind == "phones"):
        return
    if name not in profiles.names(kind):
        hint = did_you_mean(name, profiles.names(kind))
        yield Finding((*path, "profile"), f'there is no profile "{name}" in sip_profiles/{kind}{hint}')
        return
    try:
        _ = profiles.phone(name) if kind == "phones" else profiles.trunk(name)
    except profiles.BadProfile as fault:
        yield Finding((*path, "profile"), str(fault))


def _trunks(raw: Mapping[str, Any]) -> Findings:
    seen: dict[str, int] = {}
    for index, row in rows(raw, "trunk"):
        path: Path = ("trunk", index)
        name = text(row, "name")
        if isinstance(row.get("name"), str) and NAME.fullmatch(name) is None:
            yield Finding((*path, "name"), f'"{name}" is no name for a trunk; use letters, digits, and . _ -')
        elif name in seen:
            message = f'trunk "{name}" is there already, as the {ordinal(seen[name])} [[trunk]]'
            yield Finding((*path, "name"), f"{message}; give this one another name")
        seen.setdefault(name, index)
        for key in ("server", "outbound_proxy"):
            fault = server_fault(row[key]) if isinstance(row.get(key), str) and (key == "server" or row[key]) else None
            if fault:
                yield Finding((*path, key), fault)
        for server in texts(row, "backup_servers"):
            fault = server_fault(server)
            if fault:
                yield Finding((*path, "backup_servers"), fault, server)
        if row.get("register") is True and not text(row, "username"):
            yield Finding((*path, "register"), "a trunk that registers needs a username")
        if text(row, "auth_username") and not text(row, "username"):
            yield Finding((*path, "auth_username"), "a trunk with an auth_username needs a username as well")
        for number in texts(row, "numbers"):
            fault = number_fault(number, text(table(raw, "office"), "country"))
            if fault:
                yield Finding((*path, "numbers"), fault, number)
        authorities = text(row, "tls_ca")
        wrong = authorities_fault(authorities) if authorities else None
        if wrong:
            yield Finding((*path, "tls_ca"), wrong)
        for key, other in (("username", "password"), ("password", "username")):
            if text(row, key) and not row.get(other):
                yield Finding((*path, key), f"a trunk with a {key} needs a {other} as well")
        for source in texts(row, "accept_from"):
            if not is_network(source):
                message = f'"{source}" is no IP address; write "192.0.2.1" or a network such as "192.0.2.0/24"'
                yield Finding((*path, "accept_from"), message, source)
        caller_id = text(row, "caller_id")
        if caller_id and DIALED.fullmatch(PUNCTUATION.sub("", caller_id)) is None:
            yield Finding((*path, "caller_id"), f'"{caller_id}" is no number; write it like "+15550100"')
        yield from _profile(row, path, "trunks")


def _inbound(raw: Mapping[str, Any], stored: Stored | None) -> Findings:
    country = text(table(raw, "office"), "country")
    country = country if country.upper() in phonenumbers.SUPPORTED_REGIONS else ""
    has_country = bool(text(table(raw, "office"), "country"))
    extensions = {text(row, "number") for _, row in rows(raw, "extension")}
    seen: dict[str, int] = {}
    for index, row in rows(raw, "inbound"):
        path: Path = ("inbound", index)
        number, to = row.get("number"), row.get("to")
        if isinstance(number, str):
            fault = number_fault(number, "any" if has_country else "")
            key = normal_number(number, country)
            if fault is None and key in seen:
                fault = f"{number} is there already, in the {ordinal(seen[key])} [[inbound]]; remove one"
            seen.setdefault(key, index)
            if fault:
                yield Finding((*path, "number"), fault)
        if isinstance(to, str) and ":" not in to and to not in extensions:
            if stored is not None:
                extensions |= set(stored(text(table(raw, "database"), "url") or Database().url))
                stored = None
            if to not in extensions:
                hint = did_you_mean(to, sorted(extensions)) or "; add an [[extension]] with that number"
                yield Finding((*path, "to"), f'there is no extension "{to}"{hint}')


def _outbound(raw: Mapping[str, Any]) -> Findings:
    names = [text(row, "name") for _, row in rows(raw, "trunk") if text(row, "name")]
    seen: dict[str, int] = {}
    for index, row in rows(raw, "outbound"):
        path: Path = ("outbound", index)
        if row.get("trunks") == []:
            yield Finding((*path, "trunks"), "name at least one trunk")
        for name in texts(row, "trunks"):
            if name not in names:
                hint = did_you_mean(name, names) or "; add a [[trunk]] with that name"
                yield Finding((*path, "trunks"), f'there is no trunk "{name}"{hint}', name)
        for key in ("prefix", "prepend"):
            if isinstance(row.get(key), str) and DIALED.fullmatch(row[key]) is None:
                yield Finding((*path, key), f'"{row[key]}" cannot be dialled; use digits, *, # and a leading +')
        prefix = row.get("prefix", "")
        if isinstance(prefix, str):
            if prefix in seen:
                message = f'prefix "{prefix}" is there already, in the {ordinal(seen[prefix])} [[outbound]]'
                yield Finding((*path, "prefix"), f"{message}; put all trunks into one, in the order to try them")
            seen.setdefault(prefix, index)
