"""A phone or a carrier in the virtual world, told what to do: it plays both good and bad behaviour.

It is a plain user agent on the same transaction layer, with a log of what it saw (`seen`), and switches for the
troubles that a scenario is about. It owns no policy: whatever is not switched on is done by the RFC.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pbxcore.sip import build, digest
from pbxcore.sip.dialog import Dialog
from pbxcore.sip.layer import Flow, Layer
from pbxcore.sip.message import Request, Response
from pbxcore.sip.transaction import ClientTransaction, ServerTransaction
from pbxcore.sip.uri import join_host
from tests.scenario.world import Node, World

SDP = (
    "v=0\r\no=- {session} 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n"
    "m=audio {port} RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\na={direction}\r\n"
)


@dataclass
class Manners:
    """How it takes a call. Times in seconds; `answer_after` None lets it ring for ever."""

    ring_after: float | None = 0.01
    answer_after: float | None = 0.05
    refuse_with: int | None = None
    refuse_headers: list[tuple[str, str]] = field(default_factory=list)
    early_media: bool = False
    early_tags: int = 1
    acknowledges: bool = True
    answers_without_sdp: bool = False
    silent: bool = False          # reads nothing, answers nothing
    holds_200_after_cancel: bool = False   # answers although it was cancelled
    answer_reinvite: bool = True           # False: rings and says nothing more
    refuse_reinvite: int | None = None
    answer_requests: int = 200             # other requests inside of a dialog


class Talk:
    """One dialog of a party."""

    def __init__(self, dialog: Dialog | None = None) -> None:
        self.dialog = dialog
        self.flow: Flow | None = None
        self.state = "new"
        self.status: int | None = None
        self.reason = ""
        self.invite: Request | None = None
        self.client: ClientTransaction | None = None
        self.server: ServerTransaction | None = None
        self.remote_sdp = b""
        self.acked = False
        self.provisionals: list[int] = []
        self.responses: list[Response] = []


class Party(Node):
    """A user agent at `address`; `user` is its number."""

    def __init__(self, world: World, address: tuple[str, int], user: str, *, transport: str = "UDP") -> None:
        super().__init__(world, address)
        self.layer = Layer(self, self.timers, world.clock, world.token)
        self.user = user
        self.transport = transport
        self.password = ""
        self.manners = Manners()
        self.talks: dict[tuple[str, str], Talk] = {}   # Call-ID and local tag
        self.seen: list[Request] = []
        self.answers: list[Response] = []
        self.registered = False
        self._nonces: dict[str, int] = {}
        self._retry: dict[str, Request] = {}

    # ---- words

    def sdp(self, direction: str = "sendrecv", port: int = 0) -> bytes:
        host = self.address[0]
        return SDP.format(session=1, host=host, port=port or self.address[1] + 10_000, direction=direction).encode()

    @property
    def contact(self) -> str:
        transport = "" if self.transport == "UDP" else f";transport={self.transport.lower()}"
        return f"<sip:{self.user}@{join_host(*self.address)}{transport}>"

    def _request(self, method: str, uri: str, to: str, headers: list[tuple[str, str]], body: bytes = b"") -> Request:
        host = self.address[0]
        rows = [
            ("Max-Forwards", "70"),
            ("From", f'"Party {self.user}" <sip:{self.user}@{host}>;tag={self.world.token()}'),
            ("To", to),
            ("Call-ID", self.world.token()),
            ("CSeq", f"1 {method}"),
            *([] if any(name == "Contact" for name, _ in headers) else [("Contact", self.contact)]),
            *headers,
        ]
        if body:
            rows.append(("Content-Type", "application/sdp"))
        return build.request(method, uri, rows, body)

    # ---- deeds

    def register(self, registrar: tuple[str, int], expires: int = 600) -> None:
        uri = f"sip:{join_host(registrar[0], None)}"
        to = f"<sip:{self.user}@{registrar[0]}>"
        request = self._request("REGISTER", uri, to, [("Expires", str(expires))])
        self.layer.request(request, self.flow_to(self.transport, *registrar), self)

    def call(self, number: str, via: tuple[str, int], *, late_offer: bool = False,
             headers: list[tuple[str, str]] | None = None) -> Talk:
        uri = f"sip:{number}@{join_host(*via)}"
        body = b"" if late_offer else self.sdp()
        invite = self._request("INVITE", uri, f"<{uri}>", headers or [], body)
        talk = Talk()
        talk.flow = self.flow_to(self.transport, *via)
        talk.invite = invite
        talk.state = "calling"
        self.talks[invite.call_id, invite.from_tag or ""] = talk
        talk.client = self.layer.request(invite, talk.flow, self)
        return talk

    def cancel(self, talk: Talk) -> None:
        if talk.client is not None:
            self.layer.cancel(talk.client)

    def send(self, talk: Talk, method: str, body: bytes = b"", headers: list[tuple[str, str]] | None = None
             ) -> ClientTransaction:
        assert talk.dialog is not None
        assert talk.flow is not None
        rows = list(headers or [])
        if body and not any(name == "Content-Type" for name, _ in rows):
            rows.append(("Content-Type", "application/sdp"))
        request = talk.dialog.request(method, body=body)
        for name, value in rows:
            request.replace(name, value)
        if method == "INVITE":
            talk.invite = request
        return self.layer.request(request, talk.flow, self)

    def bye(self, talk: Talk) -> None:
        if talk.dialog is not None and talk.state == "up":
            talk.state = "ended"
            self.send(talk, "BYE")

    def hold(self, talk: Talk, direction: str = "sendonly") -> ClientTransaction:
        return self.send(talk, "INVITE", self.sdp(direction))

    @property
    def last(self) -> Talk:
        return list(self.talks.values())[-1]

    def up(self) -> list[Talk]:
        return [talk for talk in self.talks.values() if talk.state == "up"]

    # ---- TransactionUser

    def on_request(self, tx: ServerTransaction, request: Request) -> None:
        if self.manners.silent:
            return
        self.seen.append(request)
        talk = self.talks.get((request.call_id, request.to_tag or ""))
        if request.to_tag is None and request.method == "INVITE":
            self._rings(tx, request)
        elif talk is None:
            status = 481 if request.to_tag else 200
            self.layer.respond(tx, build.response(request, status, to_tag=self.world.token()))
        elif request.method == "BYE":
            talk.state = "ended"
            self.layer.respond(tx, build.response(request, 200))
        elif request.method == "INVITE":
            self._offered(talk, tx, request)
        else:
            self.layer.respond(tx, build.response(request, self.manners.answer_requests))

    def _offered(self, talk: Talk, tx: ServerTransaction, request: Request) -> None:
        refusal = self.manners.refuse_reinvite
        if refusal is not None:
            self.layer.respond(tx, build.response(request, refusal))
        elif self.manners.answer_reinvite:
            talk.remote_sdp = request.body
            self._accept(talk, tx, request)
        else:
            self.layer.respond(tx, build.response(request, 100))   # an owner would be told of a CANCEL: none is

    def on_stray_ack(self, request: Request, flow: Flow) -> None:
        return

    def _rings(self, tx: ServerTransaction, request: Request) -> None:
        tag = self.world.token()
        talk = Talk(Dialog.uas(request, tag, contact=self.contact))
        talk.flow, talk.server, talk.invite, talk.remote_sdp = tx.flow, tx, request, request.body
        talk.state = "ringing"
        self.talks[request.call_id, tag] = talk
        tx.owner = self
        manners = self.manners
        if manners.refuse_with is not None:
            code = manners.refuse_with
            self.world.at(manners.answer_after or 0.0, lambda: self._refuse(talk, tx, request, code))
            return
        if manners.ring_after is not None:
            self.world.at(manners.ring_after, lambda: self._progress(talk, tx, request))
        if manners.answer_after is not None:
            self.world.at(manners.answer_after, lambda: self._accept(talk, tx, request))

    def _refuse(self, talk: Talk, tx: ServerTransaction, request: Request, status: int) -> None:
        if talk.state == "ringing" and talk.dialog is not None:
            talk.state = "ended"
            headers = self.manners.refuse_headers
            self.layer.respond(tx, build.response(request, status, to_tag=talk.dialog.local_tag, headers=headers))

    def _progress(self, talk: Talk, tx: ServerTransaction, request: Request) -> None:
        if talk.state != "ringing" or talk.dialog is None:
            return
        early = self.manners.early_media
        headers = [("Contact", self.contact)] + ([("Content-Type", "application/sdp")] if early else [])
        body = self.sdp() if early else b""
        status = 183 if early else 180
        tag = talk.dialog.local_tag
        self.layer.respond(tx, build.response(request, status, to_tag=tag, headers=headers, body=body))

    def _accept(self, talk: Talk, tx: ServerTransaction, request: Request) -> None:
        if talk.dialog is None or talk.state == "ended":
            return
        if talk.state == "cancelled" and not self.manners.holds_200_after_cancel:
            return
        talk.state = "up"
        talk.acked = False
        tx.owner = self
        headers = [("Contact", self.contact)]
        body = b"" if self.manners.answers_without_sdp else self.sdp()
        if body:
            headers.append(("Content-Type", "application/sdp"))
        tag = talk.dialog.local_tag
        self.layer.respond(tx, build.response(request, 200, to_tag=tag, headers=headers, body=body))

    # ---- ServerOwner

    def on_cancel(self, tx: ServerTransaction, cancel: Request) -> None:
        self.seen.append(cancel)
        for talk in self.talks.values():
            if talk.server is tx and talk.state == "ringing" and talk.dialog is not None and talk.invite is not None:
                talk.state = "cancelled"
                if not self.manners.holds_200_after_cancel:
                    tag = talk.dialog.local_tag
                    self.layer.respond(tx, build.response(talk.invite, 487, to_tag=tag))

    def on_ack(self, tx: ServerTransaction, ack: Request) -> None:
        talk = self.talks.get((ack.call_id, ack.to_tag or ""))
        if talk is not None:
            talk.acked = True
            if ack.body:
                talk.remote_sdp = ack.body

    def on_no_ack(self, tx: ServerTransaction) -> None:
        for talk in self.talks.values():
            if talk.server is tx:
                self.bye(talk)

    # ---- ClientOwner

    def on_response(self, tx: ClientTransaction, response: Response) -> None:
        self.answers.append(response)
        talk = self.talks.get((response.call_id, response.from_tag or ""))
        status = response.status
        if status in (401, 407) and self.password and tx.request is not None:
            self._with_password(tx.request, response, tx.flow, talk)
        elif talk is None:
            if response.cseq.method == "REGISTER" and status < 300:
                self.registered = bool(response.contacts)
        elif response.cseq.method == "INVITE":
            self._invite_answered(talk, tx, response)

    def _invite_answered(self, talk: Talk, tx: ClientTransaction, response: Response) -> None:
        status = response.status
        talk.responses.append(response)
        if status < 200:
            talk.provisionals.append(status)
            if response.body:
                talk.remote_sdp = response.body
            return
        talk.status, talk.reason = status, response.reason
        if status >= 300 or talk.invite is None or talk.flow is None:
            if talk.dialog is None:
                talk.state = "ended"
            return
        if talk.dialog is None:
            talk.dialog = Dialog.uac(talk.invite, response)
        else:
            talk.dialog.refresh(response)
        talk.state = "up" if talk.state != "ended" else talk.state
        talk.remote_sdp = response.body or talk.remote_sdp
        if self.manners.acknowledges:
            body = b"" if talk.invite.body or self.manners.answers_without_sdp else self.sdp()
            headers = [("Content-Type", "application/sdp")] if body else []
            ack = talk.dialog.ack(talk.invite, headers=headers, body=body)
            self.layer.acknowledge(tx, ack, talk.flow, response)

    def _with_password(self, request: Request, response: Response, flow: Flow, talk: Talk | None) -> None:
        challenges = response.values("www-authenticate")
        value = digest.respond(
            challenges, request.method, request.uri, self.user, self.password,
            token=self.world.token, body=request.body, nc_counter=self._nonces,
        )
        if value is None:
            return
        again = Request(request.method, request.uri, [f for f in request.fields if f[0] != "via"], request.body)
        again.replace("CSeq", f"{request.cseq.number + 1} {request.method}")
        again.replace("Authorization", value)
        client = self.layer.request(again, flow, self)
        if talk is not None:
            talk.invite, talk.client = again, client

    def on_timeout(self, tx: ClientTransaction) -> None:
        self._failed(tx, 408)

    def on_transport_error(self, tx: ClientTransaction | ServerTransaction) -> None:
        if isinstance(tx, ClientTransaction):
            self._failed(tx, 503)

    def _failed(self, tx: ClientTransaction, status: int) -> None:
        for talk in self.talks.values():
            if talk.client is tx:
                talk.state, talk.status = "ended", status
