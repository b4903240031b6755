"""The load's callee: a phone that rings and answers, with the memory a user agent server needs (RFC 3261 17.2, 13.3).

A retransmitted INVITE gets the same response again and is no second call; the 200 is sent again until its ACK comes
(13.3.1.4); a BYE for a call it does not have is answered 481. What was left open or unacknowledged is counted.
"""

from __future__ import annotations

import random

from bench import wire
from bench.audio import Audio
from bench.caller import AUDIO_ENDS_BEFORE, BURST
from bench.options import Figures, Options
from bench.wire import GIVE_UP, T1, T2
from pbxcore.sip import digest
from pbxcore.sip.message import Response, parse

USER = "101"
EXPIRES = 3600


class Leg:
    """One call at the phone."""

    __slots__ = ("acknowledged", "asked", "cseq", "due", "head", "last", "number", "offer", "open", "source", "wait")

    def __init__(self, number: int, cseq: int, head: bytes, source: tuple[str, int], offer: bytes) -> None:
        self.number = number
        self.cseq = cseq
        self.head = head
        self.source = source
        self.offer = offer
        self.last = b""
        self.open = True
        self.acknowledged = False
        self.asked = self.due = 0.0
        self.wait = T1


class Callee:
    """The phone, on one socket."""

    def __init__(self, options: Options, figures: Figures, rows: wire.Rows, audio: Audio | None) -> None:
        self.options = options
        self.figures = figures
        self.socket = wire.udp_socket(options.callee, options.callee_port)
        self.port = int(self.socket.getsockname()[1])
        self._rows = rows
        self._audio = audio
        self._legs: dict[bytes, Leg] = {}
        self._contact = f"Contact: <sip:{USER}@{options.callee}:{self.port}>\r\n".encode()
        sdp = wire.SDP.format(host=options.callee, port=audio.callee_port if audio else 40002).encode()
        self._answer_body = b"Content-Type: application/sdp\r\nContent-Length: %d\r\n\r\n%s" % (len(sdp), sdp)

    def read(self, now: float) -> None:
        """Take what has arrived, at most a burst."""
        receive = self.socket.recvfrom
        for _ in range(BURST):
            try:
                data, source = receive(wire.DATAGRAM)
            except BlockingIOError:
                return
            if data[:8] != b"SIP/2.0 ":
                self._asked(data, source, now)

    def _asked(self, data: bytes, source: tuple[str, int], now: float) -> None:
        method = data.split(b" ", 1)[0]
        key = wire.call_id(data)
        leg = self._legs.get(key)
        if method == b"INVITE":
            self._invited(key, leg, data, source, now)
        elif method == b"ACK":
            if leg is not None:
                self._acknowledged(leg, now)
        elif method == b"BYE":
            self._ended(leg, data, source)
        elif method == b"CANCEL":
            self._reply(b"200 OK" if leg else b"481 Call/Transaction Does Not Exist", data, source)
            if leg is not None and not leg.asked:
                leg.due, leg.open, leg.acknowledged = 0.0, False, True
                self.socket.sendto(b"SIP/2.0 487 Request Terminated\r\n%sContent-Length: 0\r\n\r\n" % leg.head, source)
        else:
            name = method.decode("latin-1")
            self.figures.unexpected[name] = self.figures.unexpected.get(name, 0) + 1
            self._reply(b"200 OK", data, source)

    def _reply(self, status: bytes, data: bytes, source: tuple[str, int]) -> None:
        self.socket.sendto(b"SIP/2.0 %s\r\n%sContent-Length: 0\r\n\r\n" % (status, wire.copied(data)), source)

    def _invited(self, key: bytes, leg: Leg | None, data: bytes, source: tuple[str, int], now: float) -> None:
        if leg is not None and wire.cseq(data) <= leg.cseq:
            self.figures.callee_repeated += 1
            self.socket.sendto(leg.last, source)
            return
        if leg is not None:
            self.figures.unexpected["re-INVITE"] = self.figures.unexpected.get("re-INVITE", 0) + 1
        else:
            self.figures.callee_calls += 1
        number = leg.number if leg else self.figures.callee_calls
        head = wire.copied(data, b";tag=c%d" % number)
        new = self._legs[key] = Leg(number, wire.cseq(data), head, source, data if self._audio else b"")
        if leg is None:
            new.last = b"SIP/2.0 180 Ringing\r\n%s%sContent-Length: 0\r\n\r\n" % (head, self._contact)
            self.socket.sendto(new.last, source)
        if leg is None and self.options.answer_after:
            self._rows.put(now + self.options.answer_after, new, self._answer)
        else:
            self._answer(new, now)

    def _answer(self, leg: Leg, now: float) -> None:
        leg.last = b"SIP/2.0 200 OK\r\n%s%s%s" % (leg.head, self._contact, self._answer_body)
        leg.head = b""
        leg.asked = now
        self.socket.sendto(leg.last, leg.source)
        self._rows.put(now + T1, leg, self._answer_again)

    def _answer_again(self, leg: Leg, now: float) -> None:
        if now >= leg.asked + GIVE_UP:
            return
        self.figures.callee_resent += 1
        self.socket.sendto(leg.last, leg.source)
        leg.wait = min(leg.wait * 2, T2)
        self._rows.put(now + leg.wait, leg, self._answer_again)

    def _acknowledged(self, leg: Leg, now: float) -> None:
        if leg.acknowledged:
            return
        leg.acknowledged = True
        leg.due = 0.0
        if self._audio is not None:
            until = now + self.options.hold - 2 * AUDIO_ENDS_BEFORE
            self._audio.callee_talks(leg.number, wire.media_address(leg.offer), now, until)
            leg.offer = b""

    def _ended(self, leg: Leg | None, data: bytes, source: tuple[str, int]) -> None:
        if leg is None:
            self._reply(b"481 Call/Transaction Does Not Exist", data, source)
            return
        if not leg.open:
            self.figures.callee_repeated += 1
        leg.open = False
        leg.due = 0.0
        self._reply(b"200 OK", data, source)

    def close(self) -> None:
        """Count what was left open."""
        for leg in self._legs.values():
            self.figures.callee_unacknowledged += not leg.acknowledged
            self.figures.callee_open += leg.open

    # ---- registration

    def register(self) -> None:
        """Bind the phone at the server, answering the challenge. Raises RuntimeError when it is refused."""
        options = self.options
        if not options.password:
            return
        uri = f"sip:{options.server[0]}"
        run = f"{random.getrandbits(32):08x}"
        credentials = ""
        for number in (1, 2):
            response = self._registered(uri, run, number, credentials)
            if response.status == 200:
                return
            if response.status != 401:
                break
            value = digest.respond(
                response.values("www-authenticate"), "REGISTER", uri, USER, options.password,
                token=lambda: f"{random.getrandbits(64):016x}", nc_counter={},
            )  # fmt: skip
            credentials = f"Authorization: {value}\r\n"
        raise RuntimeError(f"the callee could not register: {response.status} {response.reason}")

    def _registered(self, uri: str, run: str, number: int, credentials: str) -> Response:
        branch = f"z9hG4bKr{run}{number}"
        request = (
            f"REGISTER {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {self.options.callee}:{self.port};branch={branch};rport\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:{USER}@{self.options.server[0]}>;tag=r{run}\r\n"
            f"To: <sip:{USER}@{self.options.server[0]}>\r\nCall-ID: r{run}\r\nCSeq: {number} REGISTER\r\n"
            f"{self._contact.decode()}Expires: {EXPIRES}\r\n{credentials}Content-Length: 0\r\n\r\n"
        ).encode()
        self.socket.settimeout(T1)
        try:
            for _ in range(10):
                self.socket.sendto(request, self.options.server)
                try:
                    while True:
                        data = self.socket.recv(wire.DATAGRAM)
                        if data[:8] == b"SIP/2.0 " and branch.encode() in data and data[8:9] != b"1":
                            response = parse(data)
                            assert isinstance(response, Response)
                            return response
                except TimeoutError:
                    continue
        finally:
            self.socket.setblocking(False)
        raise RuntimeError("the callee could not register: no answer")
