"""Attack classes on SIP exchanges, each against the whole exchange: it stays well, its other calls are untouched.

Two that are about connections are tested where the sockets are: connection races in tests/wire/test_tcp.py and
test_tls.py, checks of certificates, origins and frames in tests/wire/test_tls.py and test_websocket.py.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import pytest

from pbxcore.sip import build
from pbxcore.sip.message import Request, Response, parse
from pbxcore.sip.transaction import ServerTransaction
from tests.scenario.office import CARRIER, EXCHANGE, PASSWORD, Office
from tests.scenario.party import Party, Talk
from tests.scenario.test_blind_transfer import Switchboard
from tests.scenario.world import Address, VirtualFlow
from tests.torture.corpus import EVERYTHING

STRANGER = ("127.0.0.9", 5060)
HOST = EXCHANGE[0]


def tell(office: Office, data: bytes, source: Address = STRANGER, *, seconds: float = 0.5) -> list[Response]:
    """Send these octets from there; the responses that came back to that address."""
    count = len(office.world.wire)
    office.node.receive("UDP", source, data)
    office.world.run(seconds)
    back = [parse(sent) for _, _, to, sent in office.world.wire[count:] if to == source]
    return [message for message in back if isinstance(message, Response)]


def finals(responses: list[Response]) -> set[int]:
    return {response.status for response in responses if response.status >= 200}


def invite(office: Office, body: bytes, source: Address = CARRIER, *, content: str = "application/sdp",
           extra: str = "", method: str = "INVITE") -> bytes:
    """A request as the carrier sends it."""
    token = office.world.token()
    head = (
        f"{method} sip:+15550100@{HOST} SIP/2.0\r\nVia: SIP/2.0/UDP {source[0]}:{source[1]};branch=z9hG4bK{token}\r\n"
        f"From: <sip:+15557777@{source[0]}>;tag={token}\r\nTo: <sip:+15550100@{HOST}>\r\nCall-ID: {token}\r\n"
        f"CSeq: 1 {method}\r\nContact: <sip:+15557777@{source[0]}:{source[1]}>\r\nMax-Forwards: 70\r\n{extra}"
        f"Content-Type: {content}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def on_the_way(office: Office, method: bytes, change: Callable[[bytes], bytes]) -> None:
    """Requests of this method to the exchange are changed before they reach it; empty ones never do."""
    transmit = office.world.transmit

    def changed(flow: VirtualFlow, data: bytes) -> None:
        if flow.remote == EXCHANGE and data.startswith(method):
            data = change(data)
        if data:
            transmit(flow, data)

    office.world.transmit = changed  # type: ignore[method-assign]


def well(office: Office) -> None:
    """The next OPTIONS is answered, and nothing failed inside."""
    answers = tell(office, invite(office, b"", STRANGER, method="OPTIONS"), seconds=0.1)
    assert finals(answers) == {200}, office.world.ladder()
    assert office.exchange.counters.faults == 0


def talking(office: Office) -> tuple[Party, Talk]:
    """A call that stands while the attack goes on."""
    office.phone("101")
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    return carrier, talk


class TestParserCrash:
    """1: a header that crashes or overruns the parser."""

    def test_every_known_message(self) -> None:
        office = Office()
        for sample in EVERYTHING:
            tell(office, sample.raw, seconds=0.0)
        well(office)

    def test_fifty_thousand_mutations(self) -> None:
        office = Office()
        office.world.wire = type("Nothing", (list,), {"append": lambda *_: None})()
        noise = random.Random(20)
        samples = [sample.raw for sample in EVERYTHING if len(sample.raw) < 4000]
        for number in range(50_000):
            data = bytearray(noise.choice(samples))
            for _ in range(1 + noise.randrange(5)):
                place = noise.randrange(len(data) + 1)
                data[place:place + noise.randrange(4)] = noise.randbytes(noise.randrange(4))
            office.node.receive("UDP", STRANGER, bytes(data))
            if number % 5000 == 0:
                office.world.run(40.0)
        office.world.wire = []
        well(office)


def _sdp(*lines: str) -> bytes:
    host = CARRIER[0]
    return "\r\n".join(["v=0", f"o=- 1 1 IN IP4 {host}", "s=-", f"c=IN IP4 {host}", "t=0 0", *lines, ""]).encode()


class TestBodies:
    """2: bodies that crash, over-read or stop everything."""

    @pytest.mark.parametrize(
        "body",
        [
            pytest.param(_sdp("m=audio 65536 RTP/AVP 0"), id="port too high"),
            pytest.param(_sdp("m=audio -1 RTP/AVP 0"), id="port below nothing"),
            pytest.param(_sdp("m=audio 99999999999999999999 RTP/AVP 0"), id="endless port"),
            pytest.param(_sdp("m=audio 0 RTP/AVP 0"), id="no port"),
            pytest.param(_sdp("m=audio 4000/9999999 RTP/AVP 0"), id="many ports"),
            pytest.param(_sdp("m=audio 4000 RTP/AVP"), id="no format"),
            pytest.param(_sdp("m=audio 4000 RTP/AVP 0 " + "9" * 400), id="endless format"),
            pytest.param(_sdp("m=audio 4000 RTP/AVP 0", "a=ptime:0", "a=ptime:-20", "a=maxptime:x"), id="ptime"),
            pytest.param(_sdp("m=audio 4000 RTP/AVP 96", "a=fmtp:", "a=fmtp:96", "a=rtpmap:96 /0/"), id="fmtp"),
            pytest.param(_sdp(*["m=audio 4000 RTP/AVP 0"] * 2500), id="2,500 lines"),
            pytest.param(b"v=0\r\n" * 9000, id="one line again and again"),
            pytest.param(b"\x00" * 20_000, id="zeros"),
            pytest.param(b"m=", id="cut off"),
        ],
    )  # fmt: skip
    def test_sdp(self, body: bytes) -> None:
        office = Office()
        carrier, talk = talking(office)
        for status in finals(tell(office, invite(office, body), CARRIER, seconds=5.0)):
            assert status in (200, 400, 488), (status, office.world.ladder())
        well(office)
        assert talk.state == "up"
        carrier.bye(talk)

    def test_each_line_of_an_sdp_broken(self) -> None:
        office = Office()
        carrier, talk = talking(office)
        noise = random.Random(2)
        rubbish = [b"", b"=", b" ", b"\xff" * 50, b"-1", b"9" * 30, b"/", b":"]
        whole = carrier.sdp()
        for _ in range(300):
            lines = whole.split(b"\r\n")
            place = noise.randrange(len(lines))
            line = bytearray(lines[place])
            cut = noise.randrange(len(line) + 1)
            line[cut:cut + noise.randrange(9)] = noise.choice(rubbish)
            lines[place] = bytes(line)
            tell(office, invite(office, b"\r\n".join(lines)), CARRIER, seconds=0.05)
        well(office)
        assert talk.state == "up"

    @pytest.mark.parametrize("parameter", [";boundary=x", "", ';boundary=""'])
    def test_a_multipart_without_end(self, parameter: str) -> None:
        office = Office()
        carrier, talk = talking(office)
        body = b"--x\r\nContent-Type: application/sdp\r\n\r\n" + carrier.sdp() + b"--x\r\n" * 500
        request = invite(office, body, content=f"multipart/mixed{parameter}")
        assert finals(tell(office, request, CARRIER, seconds=5.0)) <= {200, 400, 415, 488}
        well(office)
        assert talk.state == "up"

    def test_a_giant_message_waiting_indication(self) -> None:
        office = Office()
        _, talk = talking(office)
        body = b"Messages-Waiting: yes\r\nVoice-Message: " + b"9" * 60_000 + b"\r\n"
        request = invite(office, body, method="NOTIFY", content="application/simple-message-summary",
                         extra="Event: message-summary\r\nSubscription-State: active\r\n")
        assert finals(tell(office, request, CARRIER)) <= {400, 413, 481, 489, 513}
        well(office)
        assert talk.state == "up"


METHODS = (
    "INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "INFO", "MESSAGE", "UPDATE", "PRACK", "REFER", "SUBSCRIBE", "NOTIFY",
    "PUBLISH", "REGISTER", "DANCE",
)  # fmt: skip


class TestOddStates:
    """4: every method in every state of a dialog has an answer that RFC 3261 knows, and the call has one end."""

    @pytest.mark.parametrize("state", ["early", "confirmed", "terminating", "gone"])
    @pytest.mark.parametrize("method", METHODS)
    def test_any_method_in_any_state(self, method: str, state: str) -> None:
        office = Office()
        desk = office.phone("101")
        desk.manners.answer_after = None if state == "early" else 0.05
        carrier = office.carrier()
        talk = carrier.call("+15550100", EXCHANGE)
        office.world.run(0.5)
        tag = talk.responses[-1].to_tag
        assert talk.invite is not None
        if state == "terminating":
            desk.manners.silent = True
            carrier.bye(talk)
            office.world.run(0.005)
        elif state == "gone":
            carrier.bye(talk)
            office.world.run(40.0)
        old = talk.invite
        rows = [
            ("Via", f"SIP/2.0/UDP {CARRIER[0]}:{CARRIER[1]};branch=z9hG4bKodd"), ("Max-Forwards", "70"),
            ("From", old.first("from") or ""), ("To", f"{old.first('to')};tag={tag}"), ("Call-ID", old.call_id),
            ("CSeq", f"50 {method}"), ("Contact", carrier.contact), ("RAck", "1 1 INVITE"), ("Event", "dialog"),
            ("Subscription-State", "active"), ("Refer-To", f"<sip:102@{HOST}>"),
        ]
        answers = tell(office, build.request(method, f"sip:{HOST}", rows, b"").to_bytes(), CARRIER, seconds=3.0)
        seen = {answer.status for answer in answers if answer.cseq.number == 50 and answer.status >= 200}
        allowed = {200, 202, 400, 403, 405, 415, 481, 488, 489, 491, 500, 501}
        assert seen <= allowed, (seen, office.world.ladder())
        assert seen or method in ("ACK", "INVITE"), office.world.ladder()
        if state == "gone" and method != "ACK":
            assert seen <= {481, 405, 501, 403}, seen
        desk.manners.silent = False
        for live in list(office.exchange.live):
            office.exchange.hang_up(live)
        office.world.run(40.0)
        assert office.exchange.counters.faults == 0
        assert [record.state.value for record in office.records()] == ["ended"]


def _challenge(office: Office, method: str = "INVITE") -> str:
    answers = tell(office, invite(office, _sdp("m=audio 4000 RTP/AVP 0"), STRANGER, method=method), seconds=0.1)
    [challenge] = [answer for answer in answers if answer.status == 401]
    match = re.search(r'nonce="([^"]+)"', challenge.values("www-authenticate")[0])
    assert match is not None
    return match[1]


OURS = 'Digest username="101", realm="hookline", nonce="{n}"'


class TestAuthorizationAbuse:
    """5: credentials that are missing, strange, doubled, empty, giant or somebody else's: 40x, and no call."""

    @pytest.mark.parametrize(
        "rows",
        [
            pytest.param([], id="missing"),
            pytest.param([OURS.replace("hookline", "elsewhere") + ', uri="sip:x", response="0"'], id="other realm"),
            pytest.param(["Basic MTAxOnB3"], id="other scheme"),
            pytest.param(["Digest"], id="nothing in it"),
            pytest.param(["Digest ,,,"], id="commas"),
            pytest.param(['Digest realm="hookline", nonce="{n}", uri="sip:x", response="00"'], id="no username"),
            pytest.param(['Digest username="", realm="hookline", nonce="{n}", response=""'], id="empty"),
            pytest.param([OURS + ', nc=zz, qop=auth, response="0"'], id="no count"),
            pytest.param([OURS.replace("{n}", "9" * 50_000)], id="giant"),
            pytest.param([OURS + f', response="{"0" * 32}"'] * 2, id="two"),
            pytest.param(['Digest username="101\\"", realm="hookline", nonce="\\', ], id="quote without end"),
            pytest.param(["\x00Digest \xff"], id="octets"),
        ],
    )  # fmt: skip
    def test_strange_credentials(self, rows: list[str]) -> None:
        office = Office()
        nonce = _challenge(office)
        extra = "".join(f"Authorization: {row.replace('{n}', nonce)}\r\n" for row in rows)
        answers = tell(office, invite(office, _sdp("m=audio 4000 RTP/AVP 0"), STRANGER, extra=extra), seconds=2.0)
        assert finals(answers) <= {400, 401, 403, 413, 513}, office.world.ladder()
        assert finals(answers)
        assert not office.records()
        well(office)

    def test_the_nonce_of_another_user(self) -> None:
        """A nonce is given to an address: a right password over a nonce that was given elsewhere opens nothing."""
        office = Office()
        phone = Party(office.world, ("127.0.0.1", 10_101), "101")
        phone.password = PASSWORD
        stolen: list[bytes] = []

        def steal(data: bytes) -> bytes:
            if b"\r\nAuthorization:" not in data:
                return data
            stolen.append(data)
            return b""

        on_the_way(office, b"REGISTER", steal)
        phone.register(EXCHANGE)
        office.world.run(1.0)
        answers = tell(office, stolen[0], STRANGER, seconds=2.0)
        assert finals(answers) == {401}, office.world.ladder()
        assert not office.exchange.registrar.bindings("101")
        assert finals(tell(office, stolen[0], phone.address, seconds=2.0)) == {200}, office.world.ladder()


class TestWithoutAuthentication:
    """6: nothing but OPTIONS goes anywhere without credentials."""

    @pytest.mark.parametrize("method", METHODS)
    def test_a_stranger(self, method: str) -> None:
        office = Office()
        desk = office.phone("101")
        extra = "Event: dialog\r\nRefer-To: <sip:102@x>\r\nSubscription-State: active\r\nRAck: 1 1 INVITE\r\n"
        answers = finals(tell(office, invite(office, b"", STRANGER, method=method, extra=extra), seconds=2.0))
        assert answers <= ({200} if method == "OPTIONS" else {401, 403, 405, 407, 481, 489, 501}), office.world.ladder()
        assert answers or method == "ACK"
        assert not desk.seen
        assert not office.records()


class Fisher(Party):
    """Answers requests inside of a call with a challenge in the carrier's name."""

    def on_request(self, tx: ServerTransaction, request: Request) -> None:
        if request.to_tag is not None and request.method in ("BYE", "INVITE", "INFO"):
            self.seen.append(request)
            header = ("WWW-Authenticate" if request.method == "BYE" else "Proxy-Authenticate",
                      'Digest realm="127.0.0.2", nonce="bait", algorithm=MD5, qop="auth"')
            self.layer.respond(tx, build.response(request, 401 if request.method == "BYE" else 407, headers=[header]))
        else:
            super().on_request(tx, request)


def test_digest_leak_to_the_callee() -> None:
    """9: a phone that challenges our requests in the name of a trunk gets no answer made with the trunk's password."""
    office = Office()
    fisher = Fisher(office.world, ("127.0.0.1", 10_101), "101")
    fisher.password = PASSWORD
    fisher.register(EXCHANGE)
    assert office.world.until(lambda: fisher.registered)
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    carrier.hold(talk)
    office.world.run(2.0)
    carrier.bye(talk)
    office.world.run(5.0)
    assert {request.method for request in fisher.seen} >= {"INVITE", "BYE"}
    for request in fisher.seen:
        assert request.first("authorization") is None
        assert request.first("proxy-authorization") is None
    office.assert_nothing_left()


def test_a_thousand_refers_are_bounded() -> None:
    """12: REFERs without number start no calls without number. (Out of dialog, to oneself, to the outside, with method
    or headers in the URI, Replaces of somebody else's dialog: test_blind_transfer.py, test_attended_transfer.py.)"""
    office = Switchboard()
    caller, mine = office.inbound()
    office.second.manners.answer_after = None
    worst = 0
    for _ in range(1000):
        office.desk.send(mine, "REFER", headers=[("Refer-To", f"<sip:102@{HOST}>")])
        office.world.run(0.01)
        worst = max(worst, office.exchange.layer.client_count())
    rings = [request for request in office.second.seen if request.method == "INVITE"]
    assert len(rings) <= 2, len(rings)
    assert worst < 100
    office.outside.bye(caller)
    office.assert_nothing_left()


class TestSmuggling:
    """13: names of headers and callers dressed so that a filter misses them."""

    @pytest.mark.parametrize(
        "row",
        [
            "P-Asserted-Identity : <sip:boss@x>", "P-Asserted-Identity\t: <sip:boss@x>",
            "p-ASSERTED-identity: <sip:boss@x>", "P-Asserted-Identity:\r\n <sip:boss@x>",
            "P-Asserted-Identity: <sip:boss@x>\r\nP-Asserted-Identity: <sip:boss@x>",
            "X-Hookline-Call: boss", "X-HOOKLINE-CALL : boss",
        ],
    )  # fmt: skip
    def test_a_header_that_is_not_believed_from_a_phone(self, row: str) -> None:
        office = Office()
        caller, called = office.phone("102"), office.phone("101")
        on_the_way(office, b"INVITE", lambda data: data.replace(b"\r\nContact:", f"\r\n{row}\r\nContact:".encode(), 1))
        talk = caller.call("101", EXCHANGE)
        assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
        assert any(row.encode() in data for _, source, _, data in office.world.wire if source == caller.address)
        assert called.seen
        for request in called.seen:
            assert b"boss" not in request.to_bytes()
        assert all("boss" not in (call.caller_name or "") + call.caller for call in office.hooks.asked)

    @pytest.mark.parametrize("bad", ["\x1b[31m", "\u202e", "\u2066", "\x00", "\x07", "\x7f"])
    def test_signs_that_move_the_cursor_or_the_eye(self, bad: str) -> None:
        office = Office()
        office.phone("101")
        carrier = office.carrier()
        request = carrier._request("INVITE", f"sip:+15550100@{HOST}", f"<sip:+15550100@{HOST}>", [], carrier.sdp())
        request.replace("From", f'"Eve{bad}Mallory" <sip:+15557777@127.0.0.2>;tag=t')
        carrier.layer.request(request, carrier.flow_to("UDP", *EXCHANGE), carrier)
        office.world.run(1.0)
        assert bad not in (office.hooks.asked[0].caller_name or "")
        assert all(bad not in (record.caller_name or "") for record in office.journal.written)


class TestLoops:
    """19: what leads back to where it came from has an end within ten hops."""

    def _forward(self, phone: Party, to: str) -> None:
        phone.manners.refuse_with = 302
        phone.manners.refuse_headers = [("Contact", f"<sip:{to}@{HOST}>")]
        phone.manners.answer_after = 0.01

    def test_two_phones_that_forward_to_each_other(self) -> None:
        office = Office()
        one, two = office.phone("101"), office.phone("102")
        self._forward(one, "102")
        self._forward(two, "101")
        carrier = office.carrier()
        talk = carrier.call("+15550100", EXCHANGE)
        office.world.run(60.0)
        assert talk.status in (302, 480, 482, 483, 486), office.world.ladder()
        assert sum(request.method == "INVITE" for party in (one, two) for request in party.seen) <= 10
        office.assert_nothing_left()

    @pytest.mark.parametrize("hops", [255, 300, 0, 1])
    def test_a_route_that_leads_back_to_us(self, hops: int) -> None:
        office = Office()
        desk = office.phone("101")
        route = f"Route: <sip:{HOST}:{EXCHANGE[1]};lr>, <sip:{HOST}:{EXCHANGE[1]};lr>\r\n"
        data = invite(office, _sdp("m=audio 4000 RTP/AVP 0"), extra=route)
        data = data.replace(b"-Forwards: 70", b"-Forwards: %d" % hops)
        tell(office, data, CARRIER, seconds=2.0)
        sent_to_itself = [data for _, source, to, data in office.world.wire if source == to == EXCHANGE]
        assert not sent_to_itself
        assert sum(request.method == "INVITE" for request in desk.seen) <= 1
        well(office)
