"""A DNS server on loopback: it serves what a test writes into `zone`, over UDP and TCP, and can be slow, silent or
broken. Messages are made by dnspython, sockets are real."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from tests.ports import free_port

SOA = "ns.test. admin.test. 1 3600 600 86400 {minimum}"


class NameServer:
    """`zone` maps (name, kind) to rows as in a zone file; names with no row at all do not exist."""

    def __init__(self, zone: dict[tuple[str, str], list[str]] | None = None, *, seconds: int = 60) -> None:
        self.zone = dict(zone or {})
        self.seconds = seconds          # TTL of every record
        self.minimum = 30               # of the SOA: how long a negative answer lives
        self.delay = 0.0
        self.silent = False
        self.rcode = dns.rcode.NOERROR
        self.truncates = False          # over UDP
        self.garbage = b""              # sent in place of an answer
        self.asked: list[tuple[str, str]] = []
        self.over_tcp = 0
        self.address = ("127.0.0.1", free_port())   # the same for both
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None

    async def __aenter__(self) -> NameServer:
        loop = asyncio.get_running_loop()
        self._udp, _ = await loop.create_datagram_endpoint(lambda: _Udp(self), local_addr=self.address)
        self._tcp = await asyncio.start_server(self._connected, *self.address)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._udp is not None:
            self._udp.close()
        if self._tcp is not None:
            self._tcp.close()
            await self._tcp.wait_closed()

    def answer(self, data: bytes, *, tcp: bool = False) -> bytes | None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name, kind = question.name.to_text().rstrip(".").lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        if self.silent:
            return None
        if self.garbage:
            return self.garbage
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA
        response.set_rcode(self.rcode)
        if self.rcode == dns.rcode.NOERROR:
            self._fill(response, name, kind)
        if self.truncates and not tcp:
            response.answer.clear()
            response.flags |= dns.flags.TC
        return response.to_wire()

    def _fill(self, response: dns.message.Message, name: str, kind: str) -> None:
        for _ in range(8):
            alias = self.zone.get((name, "CNAME"))
            if alias is None:
                break
            response.answer.append(dns.rrset.from_text(name + ".", self.seconds, "IN", "CNAME", *alias))
            name = alias[0].rstrip(".").lower()
        rows = self.zone.get((name, kind))
        if rows:
            response.answer.append(dns.rrset.from_text(name + ".", self.seconds, "IN", kind, *rows))
            return
        if not any(known == name for known, _ in self.zone):
            response.set_rcode(dns.rcode.NXDOMAIN)
        soa = SOA.format(minimum=self.minimum)
        response.authority.append(dns.rrset.from_text("test.", self.minimum, "IN", "SOA", soa))

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = int.from_bytes(await reader.readexactly(2), "big")
        self.over_tcp += 1
        answer = self.answer(await reader.readexactly(length), tcp=True)
        if answer is not None:
            writer.write(len(answer).to_bytes(2, "big") + answer)
            await writer.drain()
        writer.close()


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, server: NameServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        answer = self._server.answer(data)
        if answer is not None:
            asyncio.get_running_loop().call_later(self._server.delay, self._send, answer, address)

    def _send(self, data: bytes, address: tuple[str, int]) -> None:
        if not self._transport.is_closing():
            self._transport.sendto(data, address)
