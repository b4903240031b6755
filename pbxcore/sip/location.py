"""Servers that a SIP name stands for, as values: whom to find, what was found, and the order of RFC 2782.

Who asks the DNS is `net.location` (RFC 3263). Sans I/O: the order is given its chance.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass

SECURE = ("TLS", "WSS")


@dataclass(frozen=True, slots=True)
class Question:
    """Whom to find: `port` and `transport` (None, empty) only where they are written down. `secure` is a sips URI."""

    host: str
    port: int | None = None
    transport: str = ""
    default_port: int = 5060
    secure: bool = False

    @property
    def usual_port(self) -> int:
        """RFC 3261 section 19.1.2; the secure transports are one above."""
        return self.default_port + 1 if self.transport in SECURE or self.secure else self.default_port


@dataclass(frozen=True, slots=True)
class Server:
    """One place to send to. `name` is what the certificate of a secure one has to show (RFC 5922)."""

    transport: str
    address: str
    port: int
    name: str = ""

    @property
    def at(self) -> tuple[str, int]:
        return self.address, self.port

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.transport.lower()}:{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Choice:
    """The servers of one host, with its place among the others."""

    servers: tuple[Server, ...]
    priority: int = 0
    weight: int = 0


@dataclass(frozen=True, slots=True)
class Located:
    """What was found, good for `seconds`."""

    choices: tuple[Choice, ...]
    seconds: float

    def order(self, chance: Callable[[], float]) -> list[Server]:
        """The servers in the order to try them; `chance` gives numbers from 0 up to 1."""
        ordered = self.choices if len(self.choices) == 1 else rfc2782(self.choices, chance)
        return [server for choice in ordered for server in choice.servers]

    @property
    def servers(self) -> frozenset[Server]:
        return frozenset(server for choice in self.choices for server in choice.servers)


def rfc2782(choices: Iterable[Choice], chance: Callable[[], float]) -> list[Choice]:
    """Lower priorities first; among equals a draw by weight, in which those of weight 0 have a small chance."""
    ordered: list[Choice] = []
    by_priority: dict[int, list[Choice]] = {}
    for choice in choices:
        by_priority.setdefault(choice.priority, []).append(choice)
    for priority in sorted(by_priority):
        left = sorted(by_priority[priority], key=lambda choice: choice.weight > 0)
        while len(left) > 1:
            drawn = int(chance() * (sum(choice.weight for choice in left) + 1))
            place = 0
            while drawn > left[place].weight:
                drawn -= left[place].weight
                place += 1
            ordered.append(left.pop(place))
        ordered += left
    return ordered


def numeric(question: Question) -> Located | None:
    """A host that is an address needs nobody to be asked (4.1, 4.2)."""
    try:
        address = str(ipaddress.ip_address(question.host.strip("[]")))
    except ValueError:
        return None
    transport = question.transport or ("TLS" if question.secure else "UDP")
    port = question.port or question.usual_port
    return Located((Choice((Server(transport, address, port, question.host),)),), float("inf"))
