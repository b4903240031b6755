"""The load: an open-loop caller and the phones that answer, in one process of its own (`python -m bench.load`).

The caller sends from a carrier's address, the callee is a phone. Messages are templates with a few places filled in,
answered by looking at a few bytes, so that the generator costs a fraction of what it measures. Arrivals follow the
clock whether the server keeps up or not, and latency counts from the moment a call was meant to be sent. INVITE and BYE
are sent again as RFC 3261 section 17.1 has it (T1 0.5 s); a call without its end after 32 s has failed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import selectors
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass, field

from pbxcore.sip import digest
from pbxcore.sip.message import Response, parse

T1, T2 = 0.5, 4.0
GIVE_UP = 32.0
BURST = 64
CALLEE = "101"
SDP = (
    "v=0\r\no=load 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0 8 101\r\n"
    "a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n"
    "a=ptime:20\r\na=sendrecv\r\n"
)


Answer = tuple[float, bytes, tuple[str, int]]


@dataclass
class Options:
    """Where to, how much. `rate` is calls a second, times are seconds."""

    server: tuple[str, int]
    caller: str = "127.0.0.2"
    caller_port: int = 5060
    callee: str = "127.0.0.1"
    callee_port: int = 0
    number: str = "+12025550100"
    callers: int = 1000
    rate: float = 100.0
    seconds: float = 10.0
    warm_up: float = 1.0
    hold: float = 0.0
    answer_after: float = 0.0
    password: str = ""


@dataclass
class Figures:
    """What came of it. Latencies in milliseconds, only of calls after the warm-up."""

    offered: int = 0
    ok: int = 0
    failed: int = 0
    retransmissions: int = 0
    extra_200: int = 0
    callee_calls: int = 0
    callee_byes: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    ringing_ms: list[float] = field(default_factory=list)
    answer_ms: list[float] = field(default_factory=list)
    sent_at: list[float] = field(default_factory=list)
    late_ms: float = 0.0
    elapsed: float = 0.0


class Call:
    """One call of the caller."""

    __slots__ = ("again", "answered", "counted", "due", "fields", "last", "meant", "number", "ringing", "state", "to")

    def __init__(self, number: int, meant: float, counted: bool) -> None:
        self.number = number
        self.meant = meant
        self.counted = counted
        self.state = "invite"
        self.ringing = self.answered = 0.0
        self.to = ""
        self.fields = b""
        self.last = b""
        self.again = T1
        self.due = 0.0


class Load:
    """Caller and callee on one selector."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.figures = Figures()
        self.calls: dict[str, Call] = {}
        self.byes: deque[tuple[float, Call]] = deque()
        self.answers: deque[Answer] = deque()
        self.resend: deque[tuple[float, Call]] = deque()
        self.caller = _socket(options.caller, options.caller_port)
        self.callee = _socket(options.callee, options.callee_port)
        host, port = self.caller.getsockname()
        to = f"{options.server[0]}:{options.server[1]}"
        self._from = f"{host}:{port}"
        self._run = f"{random.getrandbits(32):08x}"
        sdp = SDP.format(host=host, port=40000)
        self._invite = (
            f"INVITE sip:{options.number}@{to} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {self._from};branch=z9hG4bK{self._run}-%d;rport\r\nMax-Forwards: 70\r\n"
            f"From: \"Load\" <sip:%s@{host}>;tag={self._run}%d\r\nTo: <sip:{options.number}@{to}>\r\n"
            f"Call-ID: %d-{self._run}\r\nCSeq: 1 INVITE\r\nContact: <sip:load@{self._from}>\r\n"
            f"Content-Type: application/sdp\r\nContent-Length: {len(sdp)}\r\n\r\n{sdp}"
        )
        self._ack = self._in_dialog("ACK", 1, "a", host, to)
        self._bye = self._in_dialog("BYE", 2, "b", host, to)
        self._answer_sdp = SDP.format(host=options.callee, port=40002).encode()
        self._contact = b"Contact: <sip:%s@%s:%d>\r\n" % (
            CALLEE.encode(), options.callee.encode(), self.callee.getsockname()[1],
        )  # fmt: skip

    def _in_dialog(self, method: str, number: int, mark: str, host: str, to: str) -> str:
        return (
            f"{method} %s SIP/2.0\r\nVia: SIP/2.0/UDP {self._from};branch=z9hG4bK{self._run}-%d{mark};rport\r\n"
            f"Max-Forwards: 70\r\nFrom: \"Load\" <sip:%s@{host}>;tag={self._run}%d\r\nTo: %s\r\n"
            f"Call-ID: %d-{self._run}\r\nCSeq: {number} {method}\r\nContent-Length: 0\r\n\r\n"
        )

    def _user(self, number: int) -> str:
        return f"+1202555{number % self.options.callers:04d}"

    # ---- the callee

    def register(self) -> None:
        """Bind the callee's phone, answering the challenge. Raises RuntimeError when it is refused."""
        options, sock = self.options, self.callee
        if not options.password:
            return
        host, port = sock.getsockname()
        uri = f"sip:{options.server[0]}"
        credentials = ""
        for number in (1, 2):
            sock.sendto(
                (
                    f"REGISTER {uri} SIP/2.0\r\n"
                    f"Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bKr{self._run}{number};rport\r\n"
                    f"Max-Forwards: 70\r\nFrom: <sip:{CALLEE}@{options.server[0]}>;tag=r{self._run}\r\n"
                    f"To: <sip:{CALLEE}@{options.server[0]}>\r\nCall-ID: r{self._run}\r\nCSeq: {number} REGISTER\r\n"
                    f"Contact: <sip:{CALLEE}@{host}:{port}>\r\nExpires: 3600\r\n{credentials}Content-Length: 0\r\n\r\n"
                ).encode(),
                options.server,
            )
            sock.settimeout(5.0)
            response = parse(sock.recv(65535))
            if not isinstance(response, Response):
                continue
            if response.status == 200:
                sock.setblocking(False)
                return
            value = digest.respond(
                response.values("www-authenticate"), "REGISTER", uri, CALLEE, options.password,
                token=lambda: f"{random.getrandbits(64):016x}", nc_counter={},
            )  # fmt: skip
            credentials = f"Authorization: {value}\r\n"
        raise RuntimeError("the callee could not register")

    def _callee_reads(self, now: float) -> None:
        for _ in range(BURST):
            try:
                data, source = self.callee.recvfrom(65535)
            except BlockingIOError:
                return
            if data[:7] == b"INVITE ":
                self.figures.callee_calls += 1
                head = _copied(data, b";tag=c%d" % self.figures.callee_calls)
                ringing = b"SIP/2.0 180 Ringing\r\n" + head + self._contact + b"Content-Length: 0\r\n\r\n"
                self.callee.sendto(ringing, source)
                row = (now + self.options.answer_after, head, source)
                if self.options.answer_after:
                    self.answers.append(row)
                else:
                    self._answer(row)
            elif data[:4] == b"BYE ":
                self.figures.callee_byes += 1
                self.callee.sendto(b"SIP/2.0 200 OK\r\n" + _copied(data, b"") + b"Content-Length: 0\r\n\r\n", source)

    def _answer(self, row: Answer) -> None:
        sdp = self._answer_sdp
        self.callee.sendto(
            b"SIP/2.0 200 OK\r\n%s%sContent-Type: application/sdp\r\nContent-Length: %d\r\n\r\n%s"
            % (row[1], self._contact, len(sdp), sdp),
            row[2],
        )

    # ---- the caller

    def _caller_reads(self, now: float) -> None:
        for _ in range(BURST):
            try:
                data = self.caller.recv(65535)
            except BlockingIOError:
                return
            now = time.perf_counter()
            if data[:8] != b"SIP/2.0 ":
                self._answer_stray(data)
                continue
            number = _number(data)
            call = self.calls.get(number)
            if call is not None:
                self._heard(call, number, int(data[8:11]), data, now)

    def _answer_stray(self, data: bytes) -> None:
        """The server ends a call (BYE) or asks how we are: 200."""
        if data[:4] != b"ACK ":
            self.caller.sendto(
                b"SIP/2.0 200 OK\r\n" + _copied(data, b"") + b"Content-Length: 0\r\n\r\n", self.options.server
            )

    def _heard(self, call: Call, number: str, status: int, data: bytes, now: float) -> None:
        if call.state == "invite":
            if status < 200:
                call.again = GIVE_UP
                if status > 100 and not call.ringing:
                    call.ringing = now
                return
            if status < 300:
                call.answered = now
                self._acknowledge(call, data)
                call.state = "up"
                if self.options.hold:
                    self.byes.append((now + self.options.hold, call))
                else:
                    self._hang_up(call, now)
                return
            self._fail(call, number, str(status))
        elif b" INVITE\r\n" in data:
            if status == 200:
                self.figures.extra_200 += 1
                self.caller.sendto(call.fields, self.options.server)
        elif call.state == "bye" and status >= 200:
            self._done(call, number, now)

    def _acknowledge(self, call: Call, data: bytes) -> None:
        text = data.decode("latin-1")
        call.to = _line(text, "\r\nTo:")
        contact = _line(text, "\r\nContact:")
        contact = contact[contact.find("<") + 1 : contact.find(">")]
        n = call.number
        ack = self._ack % (contact, n, self._user(n), n, call.to, n)
        call.fields = ack.encode("latin-1")
        call.last = (self._bye % (contact, n, self._user(n), n, call.to, n)).encode("latin-1")
        self.caller.sendto(call.fields, self.options.server)

    def _hang_up(self, call: Call, now: float) -> None:
        call.state = "bye"
        call.again = T1
        call.due = now + T1
        self.caller.sendto(call.last, self.options.server)
        self.resend.append((call.due, call))

    def _done(self, call: Call, number: str, now: float) -> None:
        del self.calls[number]
        call.state = "done"
        self.figures.ok += 1
        if call.counted:
            if call.ringing:
                self.figures.ringing_ms.append((call.ringing - call.meant) * 1000)
            self.figures.answer_ms.append((call.answered - call.meant) * 1000)
            self.figures.sent_at.append(call.meant)

    def _fail(self, call: Call, number: str, why: str) -> None:
        self.calls.pop(number, None)
        call.state = "failed"
        self.figures.failed += 1
        self.figures.statuses[why] = self.figures.statuses.get(why, 0) + 1

    def _send_again(self, now: float) -> None:
        while self.resend and self.resend[0][0] <= now:
            _, call = self.resend.popleft()
            if call.state not in ("invite", "bye") or call.due > now:
                continue
            if now - call.meant > GIVE_UP:
                self._fail(call, str(call.number), f"no end of {call.state}")
                continue
            if call.again < GIVE_UP:
                self.figures.retransmissions += 1
                self.caller.sendto(call.last, self.options.server)
                call.again = min(call.again * 2, T2)
            call.due = now + min(call.again, T2)
            self.resend.append((call.due, call))

    # ---- the run

    def run(self) -> Figures:
        """Offer the load, wait for the last call, give the figures."""
        options, figures = self.options, self.figures
        selector = selectors.DefaultSelector()
        selector.register(self.caller, selectors.EVENT_READ, self._caller_reads)
        selector.register(self.callee, selectors.EVENT_READ, self._callee_reads)
        clock = time.perf_counter
        total = int(options.rate * (options.seconds + options.warm_up))
        warm = int(options.rate * options.warm_up)
        start = clock() + 0.05
        made = 0
        while made < total or self.calls:
            now = clock()
            while made < total and (meant := start + made / options.rate) <= now:
                self._place(made, meant, made >= warm)
                figures.late_ms = max(figures.late_ms, (now - meant) * 1000)
                made += 1
            while self.byes and self.byes[0][0] <= now:
                self._hang_up(self.byes.popleft()[1], now)
            while self.answers and self.answers[0][0] <= now:
                self._answer(self.answers.popleft())
            self._send_again(now)
            for key, _ in selector.select(self._patience(start, made, total, clock())):
                key.data(clock())
        figures.elapsed = clock() - start
        figures.offered = made
        return figures

    def _patience(self, start: float, made: int, total: int, now: float) -> float:
        """Seconds to wait for a packet: until the next thing that is due."""
        due = [now + 0.25]
        if made < total:
            due.append(start + made / self.options.rate)
        if self.byes:
            due.append(self.byes[0][0])
        if self.answers:
            due.append(self.answers[0][0])
        return max(0.0, min(due) - now)

    def _place(self, number: int, meant: float, counted: bool) -> None:
        call = Call(number, meant, counted)
        call.last = (self._invite % (number, self._user(number), number, number)).encode("latin-1")
        call.due = meant + T1
        self.calls[str(number)] = call
        self.resend.append((call.due, call))
        self.caller.sendto(call.last, self.options.server)


def _socket(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.bind((host, port))
    sock.setblocking(False)
    return sock


def _copied(data: bytes, to_tag: bytes) -> bytes:
    """The header rows that every response copies (8.2.6.2)."""
    rows = []
    for row in data.split(b"\r\n\r\n", 1)[0].split(b"\r\n")[1:]:
        name = row[:4].lower()
        if name in (b"via:", b"from", b"call", b"cseq"):
            rows.append(row)
        elif name[:3] == b"to:":
            rows.append(row + to_tag if b";tag=" not in row else row)
    return b"\r\n".join(rows) + b"\r\n"


def _number(data: bytes) -> str:
    """The call's number: what stands before the dash in our Call-ID."""
    at = data.find(b"\r\nCall-ID:")
    return data[at + 10 : data.find(b"-", at + 10)].strip().decode("latin-1")


def _line(text: str, name: str) -> str:
    at = text.find(name)
    return text[at + len(name) : text.find("\r\n", at + 2)].strip()


def main(argv: list[str]) -> int:
    """Run the load that the arguments (JSON of Options) describe and print the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument("options", help="JSON object of options")
    parser.add_argument("--cpu", type=int, help="run on this CPU alone")
    arguments = parser.parse_args(argv)
    if arguments.cpu is not None:
        os.sched_setaffinity(0, {arguments.cpu})
    given = json.loads(arguments.options)
    given["server"] = tuple(given["server"])
    load = Load(Options(**given))
    load.register()
    print(json.dumps(load.run().__dict__))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
