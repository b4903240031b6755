"""Where the servers of a SIP name are: RFC 3263 section 4.

A name leads by NAPTR to a transport, by SRV to hosts with priorities and weights, by A and AAAA to addresses; a numeric
host or a port that is written down bypasses the steps before it. `locate` is given what asks the DNS and never touches
a socket. Not here: caching, refreshing, and what becomes of a server that does
not answer (4.3), which is for whoever sends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pbxcore.sip.location import SECURE, Choice, Located, Question, Server, numeric

Kind = Literal["NAPTR", "SRV", "A", "AAAA"]

MOST_SRV = 16          # records of one answer that are followed: a hostile zone has a thousand
MOST_ADDRESSES = 8     # of one host
MOST_SERVERS = 32
BRIEFLY = 30.0         # seconds that an answer is believed of which a part could not be had

# RFC 3263 section 4.1, RFC 7118 section 8: what the service field of a NAPTR record says.
SERVICES = {
    "SIP+D2U": "UDP", "SIP+D2T": "TCP", "SIPS+D2T": "TLS", "SIP+D2W": "WS", "SIPS+D2W": "WSS",
}  # fmt: skip
_SRV = {"UDP": "_sip._udp", "TCP": "_sip._tcp", "TLS": "_sips._tcp", "WS": "_sip._ws", "WSS": "_sips._ws"}


@dataclass(frozen=True, slots=True)
class Naptr:
    """A NAPTR record (RFC 3403 section 4)."""

    order: int
    preference: int
    flags: str
    service: str
    replacement: str


@dataclass(frozen=True, slots=True)
class Srv:
    """An SRV record (RFC 2782)."""

    priority: int
    weight: int
    port: int
    target: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the DNS says: records (addresses are text), none when there are none; believed for so many seconds."""

    rows: tuple[Naptr | Srv | str, ...]
    seconds: float


class Unavailable(Exception):
    """The DNS did not answer, or answered that it cannot tell."""


class NotFound(Exception):
    """The DNS says that there is no such server; the sentence is for people. `seconds` is how long that is believed."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


Ask = Callable[[str, Kind], Awaitable[Answer]]


async def locate(
    question: Question,
    ask: Ask,
    *,
    transports: Sequence[str] = ("UDP", "TCP"),
    kinds: Sequence[Kind] = ("A", "AAAA"),
    usable: Callable[[str], bool] = lambda address: True,
) -> Located:
    """Find the servers. `transports` are ours, the preferred first, `kinds` the families of addresses that we reach,
    `usable` has the last word on an address. Raises NotFound, Unavailable."""
    found = numeric(question)
    if found is not None:
        return found
    return await _Search(question, ask, transports, kinds, usable).run()


class _Search:
    """One look-up; it keeps how long its answers live, and whether a part of them is missing."""

    def __init__(
        self,
        question: Question,
        ask: Ask,
        transports: Sequence[str],
        kinds: Sequence[Kind],
        usable: Callable[[str], bool],
    ) -> None:
        self._question = question
        self._ask = ask
        self._transports = [t for t in transports if t in SECURE] if question.secure else list(transports)
        self._kinds = kinds
        self._usable = usable
        self._seconds = 86_400.0
        self._failed: Unavailable | None = None

    async def run(self) -> Located:
        question = self._question
        if question.port is not None:
            transport = question.transport or ("TLS" if question.secure else "UDP")
            choices = await self._plain(transport, question.port)
        else:
            choices = await self._by_service()
        if choices:
            return Located(tuple(choices), self._seconds if self._failed is None else min(self._seconds, BRIEFLY))
        if self._failed is not None:
            raise self._failed
        raise NotFound(f"the DNS has no address for {question.host}", self._seconds)

    async def _by_service(self) -> list[Choice]:
        question = self._question
        if question.transport:
            rows = await self._srv(f"{_SRV[question.transport]}.{question.host}")
            if rows:
                return await self._follow(rows, question.transport)
            return await self._plain(question.transport, question.usual_port)
        for transport, name in await self._naptr():
            rows = await self._srv(name)
            if rows:
                return await self._follow(rows, transport)
        for transport in self._transports:
            rows = await self._srv(f"{_SRV[transport]}.{question.host}")
            if rows:
                return await self._follow(rows, transport)
        return await self._plain("TLS" if question.secure else "UDP", question.usual_port)

    async def _rows(self, name: str, kind: Kind) -> tuple[Naptr | Srv | str, ...]:
        try:
            answer = await self._ask(name, kind)
        except Unavailable as error:
            self._failed = error
            return ()
        self._seconds = min(self._seconds, answer.seconds)
        return answer.rows

    async def _naptr(self) -> list[tuple[str, str]]:
        """Transports that both sides have, with the name of their SRV records, in the order of the domain (4.1)."""
        rows = [row for row in await self._rows(self._question.host, "NAPTR") if isinstance(row, Naptr)]
        usable = []
        for row in sorted(rows, key=lambda row: (row.order, row.preference)):
            transport = SERVICES.get(row.service.upper())
            if transport in self._transports and row.flags.lower() == "s":
                usable.append((transport, row.replacement))
        return usable[:MOST_SRV]

    async def _srv(self, name: str) -> list[Srv]:
        """A target of `.` says that the service is decidedly not there (RFC 2782)."""
        rows = [row for row in await self._rows(name, "SRV") if isinstance(row, Srv)]
        rows = [row for row in rows if row.target not in ("", ".") and 0 < row.port < 65536]
        return sorted(rows, key=lambda row: row.priority)[:MOST_SRV]

    async def _follow(self, rows: Sequence[Srv], transport: str) -> list[Choice]:
        found = await asyncio.gather(*(self._addresses(row.target) for row in rows))
        choices, room = [], MOST_SERVERS
        for row, addresses in zip(rows, found, strict=True):
            servers = tuple(Server(transport, address, row.port, self._question.host) for address in addresses[:room])
            room -= len(servers)
            if servers:
                choices.append(Choice(servers, row.priority, row.weight))
        return choices

    async def _plain(self, transport: str, port: int) -> list[Choice]:
        host = self._question.host
        addresses = await self._addresses(host)
        return [Choice(tuple(Server(transport, address, port, host) for address in addresses))] if addresses else []

    async def _addresses(self, host: str) -> list[str]:
        """IPv4 first: an office whose IPv6 leads nowhere is more common than the opposite."""
        direct = numeric(Question(host))
        if direct is not None:  # a target must be a name, and some zones have addresses all the same
            return [host] if self._usable(host) else []
        found = await asyncio.gather(*(self._rows(host, kind) for kind in self._kinds))
        rows = [row for rows in found for row in rows if isinstance(row, str) and self._usable(row)]
        return list(dict.fromkeys(rows))[:MOST_ADDRESSES]
