"""Reading values out of a raw document, and saying what is wrong with one: addresses, ports, numbers, names."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import phonenumbers

TRANSPORTS = {"udp": 5060, "tcp": 5060, "tls": 5061, "ws": 80, "wss": 443}   # with the port of an address without one
TRUNK_TRANSPORTS = ("udp", "tcp", "tls")
SHORTEST_NATIONAL = 7   # fewer digits are a short number of the trunk's own, and stay as they are

Path = tuple[str | int, ...]

USER = re.compile(r"[A-Za-z0-9*_.-]+")
NAME = re.compile(r"[A-Za-z0-9_.-]+")
DIALED = re.compile(r"\+?[0-9*#]*")
PUNCTUATION = re.compile(r"[\s()./-]+")
_HOST = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault: where it is, and in one sentence what it is and how it is mended. `value` is the element at fault
    when `path` is a list."""

    path: Path
    message: str
    value: object = None


Findings = Iterator[Finding]


def did_you_mean(word: str, known: Collection[str]) -> str:
    """`; did you mean "x"?`, `; there is "x", "y"`, or nothing."""
    close = get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    if close:
        return f'; did you mean "{close[0]}"?'
    return f"; there is {', '.join(quoted(known))}" if 0 < len(known) <= 12 else ""


def quoted(words: Collection[str]) -> list[str]:
    return [f'"{word}"' for word in words]


def table(raw: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = raw.get(name)
    return found if isinstance(found, dict) else {}


def rows(raw: Mapping[str, Any], name: str) -> list[tuple[int, dict[str, Any]]]:
    found = raw.get(name)
    return [(i, row) for i, row in enumerate(found) if isinstance(row, dict)] if isinstance(found, list) else []


def text(section: Mapping[str, Any], key: str) -> str:
    found = section.get(key)
    return found if isinstance(found, str) else ""


def texts(section: Mapping[str, Any], key: str) -> list[str]:
    found = section.get(key)
    return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []


def listen_fault(spec: str) -> str | None:
    """What is wrong with a listening address of `sip.listen`; without a port it is the transport's own."""
    transport, _, address = spec.partition(":")
    transport = transport.lower()
    if transport not in TRANSPORTS:
        looks_bare = transport.replace(".", "").isdigit() or transport.startswith("[")
        said = f'"{spec}" names no transport' if looks_bare else f'transport "{transport}:" is not known'
        return f"{said}; the transports are {_list(TRANSPORTS)}"
    host, port = split_port(address)
    if not is_address(host) or (address.startswith("[") and "]" not in address):
        usual = TRANSPORTS[transport]
        return f'"{spec}" has no IP address; write it like "{transport}:0.0.0.0:{usual}" or "{transport}:[::]:{usual}"'
    return None if port is None else port_fault(spec, port)


def full_listen(spec: str) -> str:
    """A listening address without fault, with its port."""
    transport, _, address = spec.partition(":")
    port = "" if split_port(address)[1] is not None else f":{TRANSPORTS[transport.lower()]}"
    return f"{transport.lower()}:{address}{port}"


def _list(transports: Collection[str]) -> str:
    *others, last = (f"{name}:" for name in transports)
    return f"{', '.join(others)} and {last}"


def split_port(address: str) -> tuple[str, str | None]:
    """`127.0.0.1:5060`, `[::1]:5060`, `pbx.example.net` as host (no brackets) and port (None when there is none)."""
    if address.startswith("["):
        host, _, rest = address[1:].partition("]")
        return host, rest[1:] if rest.startswith(":") else None
    host, colon, port = address.partition(":")
    return host, port if colon else None


def port_fault(spec: str, port: str | None) -> str | None:
    if port is None:
        return f'"{spec}" has no port; add one, such as :5060'
    if not port.isdecimal() or int(port) > 65535:
        return f'"{port}" in "{spec}" is no port; a port is a number up to 65535'
    return None


def is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_host(host: str) -> bool:
    return is_address(host) or _HOST.fullmatch(host) is not None


def ordinal(index: int) -> str:
    """`1st` for index 0."""
    number = index + 1
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in (11, 12, 13) else "th"
    return f"{number}{ending}"


def server_fault(server: str) -> str | None:
    """What is wrong with a trunk's `server`."""
    if server.startswith(("sip:", "sips:")):
        return f'write the server without {server.partition(":")[0]}:, like "sip.example.net" or "tcp:192.0.2.1:5060"'
    if is_address(server):
        return None   # an IPv6 address needs brackets only when a port follows
    transport, colon, rest = server.partition(":")
    transport, address = transport.lower(), server
    if colon and transport in TRUNK_TRANSPORTS:
        address = rest
    elif colon and transport in ("ws", "wss", "sctp"):
        return f'no carrier is reached by "{transport}:"; the transports are {_list(TRUNK_TRANSPORTS)}'
    host, port = split_port(address)
    if not is_host(host):
        return f'"{server}" is no server; write it like "sip.example.net", "192.0.2.1:5060" or "tcp:192.0.2.1:5060"'
    return None if port is None else port_fault(server, port)


def is_network(source: str) -> bool:
    try:
        ipaddress.ip_network(source, strict=False)
    except ValueError:
        return False
    return True


def network_fault(text: str) -> tuple[str | None, ipaddress.IPv4Network | ipaddress.IPv6Network | None]:
    """What is wrong with a network in CIDR notation (RFC 4632), or the network."""
    try:
        return None, ipaddress.ip_network(text)
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return f'"{text}" is no network; write it like "192.168.1.0/24" or "fd12:3456:789a::/48"', None
    return f'"{text}" is an address with the length of its network; write the network, "{meant}"', None


def number_fault(number: str, country: str) -> str | None:
    """What is wrong with a number of a trunk."""
    plain = PUNCTUATION.sub("", number)
    if number == "*" or (plain and not any(c.isdigit() for c in plain) and USER.fullmatch(plain)):
        return None
    if DIALED.fullmatch(plain) is None:
        mend = 'write it like "+15550100", or "*" for every other'
        return None if USER.fullmatch(number) else f'"{number}" is no number; {mend}'
    if plain.startswith("+"):
        return None if 7 <= len(plain) - 1 <= 15 else f'"{number}" is no number; with + there are 7 to 15 digits'
    if not plain:
        return 'an empty number matches nothing; write "*" for every other number'
    if len(plain) >= SHORTEST_NATIONAL and not country:
        return f'[office] country is needed to read {number}; set it, or write the number with + and the country code'
    return None


def normal_number(number: str, country: str) -> str:
    """A number of a trunk in E.164 where it can be read so, and as it is where not (short and foreign ones)."""
    plain = PUNCTUATION.sub("", number)
    if DIALED.fullmatch(plain) is None:
        return number
    if plain.startswith("+") or len(plain) < SHORTEST_NATIONAL or not country:
        return plain
    try:
        parsed = phonenumbers.parse(plain, country.upper())
    except phonenumbers.NumberParseException:
        return plain
    valid = phonenumbers.is_possible_number(parsed)
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164) if valid else plain
