"""The load's caller: a carrier that offers calls whether the server keeps up or not.

Latency counts from the moment a call was meant to be sent, so a load that is late adds to it and does not hide it.
INVITE and BYE are sent again as RFC 3261 section 17.1 has it: INVITE until something is heard, its intervals doubling;
BYE until its final response, the intervals doubling up to T2. Every final response other than a 2xx gets its ACK, every
retransmitted 2xx gets it again. A call that does not end well counts as failed, with the reason.
"""

from __future__ import annotations

import random
import time

from bench import wire
from bench.audio import Audio
from bench.options import Figures, Options
from bench.wire import GIVE_UP, T1, T2

BURST = 64
GIVEN_UP = "given up on"
AUDIO_ENDS_BEFORE = 0.1     # seconds before the hang-up: what is on its way then still arrives


class Call:
    """One call. Times are seconds of `time.perf_counter`; 0 is never."""

    __slots__ = (
        "ack", "answered", "asked", "counted", "due", "ended", "last", "meant", "number", "reason", "ringing", "sent",
        "state", "wait",
    )  # fmt: skip

    def __init__(self, number: int, meant: float, counted: bool) -> None:
        self.number = number
        self.meant = meant
        self.counted = counted
        self.state = "INVITE"       # INVITE, up, BYE, done, failed
        self.asked = self.sent = self.ringing = self.answered = self.ended = self.due = 0.0
        self.wait = T1
        self.last = self.ack = b""
        self.reason = ""            # why it failed


class Caller:
    """All calls of one run, on one socket."""

    def __init__(self, options: Options, figures: Figures, rows: wire.Rows, audio: Audio | None) -> None:
        self.options = options
        self.figures = figures
        self.live = 0
        self.last_end = 0.0
        self.socket = wire.udp_socket(options.caller, options.caller_port)
        self._rows = rows
        self._audio = audio
        self.calls: list[Call] = []
        self._run = run = f"{random.getrandbits(32):08x}"
        self.branches = wire.Branches(run)
        host, port = self.socket.getsockname()
        to = f"{options.server[0]}:{options.server[1]}"
        via = f"Via: SIP/2.0/UDP {host}:{port};branch={self.branches.prefix}"
        sdp = wire.SDP.format(host=host, port=audio.caller_port if audio else 40000)
        target = f"sip:{options.number}@{to}"
        common = f"From: \"Load\" <sip:%s@{host}>;tag={run}%d\r\nCall-ID: %d-{run}\r\nMax-Forwards: 70\r\n"
        self._invite = (
            f"INVITE {target} SIP/2.0\r\n{via}i%d;rport\r\n{common}To: <{target}>\r\nCSeq: 1 INVITE\r\n"
            f"Contact: <sip:load@{host}:{port}>\r\nContent-Type: application/sdp\r\n"
            f"Content-Length: {len(sdp)}\r\n\r\n{sdp}"
        ).encode()
        self._refused = (
            f"ACK {target} SIP/2.0\r\n{via}i%d;rport\r\n{common}To: %s\r\nCSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n"
        ).encode()
        self._ack, self._bye = (
            f"{method} %s SIP/2.0\r\n{via}{mark}%d;rport\r\n%s{common}To: %s\r\n"
            f"CSeq: {number} {method}\r\nContent-Length: 0\r\n\r\n".encode()
            for method, mark, number in (("ACK", "a", 1), ("BYE", "b", 2))
        )

    def place(self, meant: float, now: float, counted: bool) -> None:
        """Send the next INVITE."""
        number = len(self.calls)
        call = Call(number, meant, counted)
        self.calls.append(call)
        call.sent = now
        self.live += 1
        call.last = self._invite % (number, self._user(number), number, number)
        self._ask(call, now)

    def _user(self, number: int) -> bytes:
        return b"+1202555%04d" % (number % self.options.callers)

    def _ask(self, call: Call, now: float) -> None:
        call.asked = now
        call.wait = T1
        self.socket.sendto(call.last, self.options.server)
        self._rows.put(now + T1, call, self._again)

    def _again(self, call: Call, now: float) -> None:
        if now >= call.asked + GIVE_UP:     # the very sum that the row was put with: differences round otherwise
            self._end(call, now, f"no end of {call.state}")
            return
        self.figures.resent += 1
        self.socket.sendto(call.last, self.options.server)
        call.wait *= 2
        if call.state == "BYE":
            call.wait = min(call.wait, T2)
        self._rows.put(min(now + call.wait, call.asked + GIVE_UP), call, self._again)

    def give_up(self, now: float) -> None:
        """Whatever still lives has failed."""
        for call in self.calls:
            if not call.ended:
                self._end(call, now, GIVEN_UP)

    def _late(self, call: Call, now: float) -> None:
        self._end(call, now, f"no end of {call.state}")

    # ---- what is heard

    def read(self) -> None:
        """Take what has arrived, at most a burst, so that arrivals and the callee get their turn."""
        clock, receive = time.perf_counter, self.socket.recvfrom
        for _ in range(BURST):
            try:
                data, source = receive(wire.DATAGRAM)
            except BlockingIOError:
                return
            now = clock()
            if data[:8] != b"SIP/2.0 ":
                self._asked_for(data, source, now)
                continue
            found = self.branches.find(data)
            if found is None or found[1] >= len(self.calls):
                self.figures.stray += 1
                continue
            self._heard(found[0], self.calls[found[1]], int(data[8:11]), data, now)

    def _heard(self, kind: bytes, call: Call, status: int, data: bytes, now: float) -> None:
        if kind == b"i":
            if call.state == "INVITE":
                self._on_invite(call, status, data, now)
            elif status >= 200 and call.ack:
                self.figures.repeated += 1
                self.socket.sendto(call.ack, self.options.server)
        elif kind == b"b" and call.state == "BYE" and status >= 200:
            self._end(call, now, "" if status < 300 else f"BYE {status}")

    def _on_invite(self, call: Call, status: int, data: bytes, now: float) -> None:
        if status < 200:
            if status > 100 and not call.ringing:
                call.ringing = now
            self._rows.put(call.asked + GIVE_UP, call, self._late)
            return
        n, user, callee = call.number, self._user(call.number), wire.to(data)
        if status >= 300:
            call.ack = self._refused % (n, user, n, n, callee)
            self.socket.sendto(call.ack, self.options.server)
            self._end(call, now, str(status))
            return
        call.answered = now
        call.state = "up"
        target, routes = wire.contact(data), wire.routes(data)
        call.ack = self._ack % (target, n, routes, user, n, n, callee)
        call.last = self._bye % (target, n, routes, user, n, n, callee)
        self.socket.sendto(call.ack, self.options.server)
        hold = self.options.hold
        if not hold:
            self._hang_up(call, now)
            return
        self._rows.put(now + hold, call, self._hang_up)
        if self._audio is not None:
            self._audio.caller_talks(n, wire.media_address(data), now, now + hold - AUDIO_ENDS_BEFORE)

    def _hang_up(self, call: Call, now: float) -> None:
        call.state = "BYE"
        self._ask(call, now)

    def _asked_for(self, data: bytes, source: tuple[str, int], now: float) -> None:
        """A request from the server: a BYE ends its call, and that is a failure. Exchanges probe their carriers by
        OPTIONS; anything else is unasked for."""
        method = data.split(b" ", 1)[0].decode("latin-1")
        if method != "ACK":
            reply = b"SIP/2.0 200 OK\r\n" + wire.copied(data) + b"Content-Length: 0\r\n\r\n"
            self.socket.sendto(reply, source)
        number = wire.call_id(data).partition(b"-")[0]
        if method == "BYE" and number.isdigit() and int(number) < len(self.calls):
            call = self.calls[int(number)]
            if call.state in ("INVITE", "up", "BYE"):
                self._end(call, now, "ended by the server")
            return
        if method != "OPTIONS":
            self.figures.unexpected[method] = self.figures.unexpected.get(method, 0) + 1

    def _end(self, call: Call, now: float, why: str) -> None:
        """The call is over; `why` is empty when it went well."""
        figures = self.figures
        self.live -= 1
        self.last_end = call.ended = now
        call.reason = why
        call.due = 0.0
        call.last = b""
        call.state = "failed" if why else "done"
        if why:
            figures.failed += 1
            figures.reasons[why] = figures.reasons.get(why, 0) + 1
            return
        figures.ok += 1
        if not call.ringing:
            figures.without_ringing += 1
        if call.counted:
            figures.counted_ok += 1
            apart = call.number % 10 == self.options.apart
            if call.ringing:
                (figures.apart_ms if apart else figures.ringing_ms).append((call.ringing - call.meant) * 1000)
            if not apart:
                figures.answered_ms.append((call.answered - call.meant) * 1000)
