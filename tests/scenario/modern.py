"""A party that knows the extensions: reliable provisionals (RFC 3262), UPDATE (RFC 3311), session timers (RFC 4028).

Like `Party` it owns no policy: it says what it is told to say of itself, and its switches make it behave badly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pbxcore.sip import build
from pbxcore.sip.dialog import Dialog
from pbxcore.sip.message import Request, Response
from pbxcore.sip.transaction import ClientTransaction, ServerTransaction
from tests.scenario.office import CARRIER, EXCHANGE, PASSWORD, Office
from tests.scenario.party import Party, Talk
from tests.scenario.world import World

ALLOW = ("Allow", "INVITE, ACK, CANCEL, BYE, PRACK, UPDATE, OPTIONS, INFO")
SUPPORTED = ("Supported", "100rel, timer")


@dataclass
class Ways:
    """What it knows, and how it fails. `answer_rows` go onto its 2xx, `answer_sdp` False: the 2xx has none."""

    pracks: bool = True
    reliable: bool = False                 # its provisionals, when it is called
    statuses: tuple[int, ...] = (183,)     # which it sends, one after the other has been acknowledged
    sdp_in: int = 0                        # the number of the one that brings SDP; -1: none
    allows: tuple[str, str] | None = ALLOW
    answer_rows: list[tuple[str, str]] = field(default_factory=list)
    answer_sdp: bool = True
    update_status: int = 200
    invite_status: int = 200
    rseq: int = 100
    mute: bool = False                     # does not answer requests inside of the call any more
    answers_unpracked: bool = False        # its 200 does not wait for the PRACKs


class Modern(Party):
    def __init__(self, world: World, address: tuple[str, int], user: str, *, transport: str = "UDP") -> None:
        super().__init__(world, address, user, transport=transport)
        self.ways = Ways()
        self.rseqs: list[int] = []              # what came reliably, in the order of its acceptance
        self.early: dict[str, Dialog] = {}      # by Call-ID, of calls that it makes
        self.pracked: list[Request] = []
        self._sent: tuple[ServerTransaction, Response, Callable[[], None]] | None = None

    # ---- as caller

    def on_response(self, tx: ClientTransaction, response: Response) -> None:
        if response.status < 200 and "rseq" in response and tx.request is not None:
            number = int(response.first("rseq") or "0")
            if not self.ways.pracks:
                self.answers.append(response)
                return
            if number in self.rseqs:
                return
            self.rseqs.append(number)
            self._prack(tx, response, number)
        super().on_response(tx, response)

    def _prack(self, tx: ClientTransaction, response: Response, number: int) -> None:
        call_id = response.call_id
        dialog = self.early.get(call_id)
        if dialog is None:
            dialog = self.early[call_id] = Dialog.uac(tx.request, response)
        body = self.sdp() if response.body and not tx.request.body else b""
        rows = [("RAck", f"{number} {response.cseq}")]
        if body:
            rows.append(("Content-Type", "application/sdp"))
        prack = dialog.request("PRACK", headers=rows, body=body)
        self.layer.request(prack, tx.flow, self)
        talk = self.talks[call_id, response.from_tag or ""]
        talk.dialog = dialog

    # ---- as callee

    def on_request(self, tx: ServerTransaction, request: Request) -> None:
        talk = self.talks.get((request.call_id, request.to_tag or ""))
        if self.ways.mute and talk is not None:
            self.seen.append(request)
            return
        if request.method == "PRACK" and talk is not None:
            self.seen.append(request)
            self._pracked(talk, tx, request)
        elif request.method in ("UPDATE", "INVITE") and talk is not None and request.to_tag is not None:
            self.seen.append(request)
            self._refreshed(talk, tx, request)
        else:
            super().on_request(tx, request)

    def _refreshed(self, talk: Talk, tx: ServerTransaction, request: Request) -> None:
        status = self.ways.update_status if request.method == "UPDATE" else self.ways.invite_status
        body = self.sdp() if status == 200 and (request.body or request.method == "INVITE") else b""
        headers = [("Contact", self.contact), *self._own_rows(), *self.ways.answer_rows]
        if body:
            headers.append(("Content-Type", "application/sdp"))
            talk.remote_sdp = request.body
        if talk.dialog is not None and status == 200:
            talk.dialog.refresh(request)
        tx.owner = self
        self.layer.respond(tx, build.response(request, status, headers=headers, body=body))

    def _own_rows(self) -> list[tuple[str, str]]:
        return [self.ways.allows] if self.ways.allows else []

    def _pracked(self, talk: Talk, tx: ServerTransaction, prack: Request) -> None:
        sent = self._sent
        if sent is None or prack.first("rack") != f"{sent[1].first('rseq')} {sent[1].cseq}":
            self.layer.respond(tx, build.response(prack, 481))
            return
        self._sent = None
        self.pracked.append(prack)
        if prack.body:
            talk.remote_sdp = prack.body
        self.layer.respond(tx, build.response(prack, 200))
        sent[2]()

    def _progress(self, talk: Talk, tx: ServerTransaction, request: Request) -> None:
        if self.ways.reliable:
            self._next_reliable(talk, tx, request, 0)
        else:
            super()._progress(talk, tx, request)

    def _next_reliable(self, talk: Talk, tx: ServerTransaction, request: Request, place: int) -> None:
        if talk.state != "ringing" or talk.dialog is None or place >= len(self.ways.statuses):
            return
        body = self.sdp() if place == self.ways.sdp_in else b""
        headers = [("Contact", self.contact), ("Require", "100rel"), ("RSeq", str(self.ways.rseq + place))]
        headers += self._own_rows()
        if body:
            headers.append(("Content-Type", "application/sdp"))
        tag = talk.dialog.local_tag
        status = self.ways.statuses[place]
        response = build.response(request, status, to_tag=tag, headers=headers, body=body)
        self._sent = (tx, response, lambda: self._next_reliable(talk, tx, request, place + 1))
        self._again(response, tx, 0.5, talk)

    def _again(self, response: Response, tx: ServerTransaction, interval: float, talk: Talk) -> None:
        if self._sent is None or self._sent[1] is not response or talk.state != "ringing" or interval > 33:
            return
        self.layer.respond(tx, response)
        self.world.at(interval, lambda: self._again(response, tx, 2 * interval, talk))

    def _accept(self, talk: Talk, tx: ServerTransaction, request: Request) -> None:
        if request.to_tag is not None or talk.dialog is None or talk.state in ("ended", "cancelled"):
            super()._accept(talk, tx, request)
            return
        if self._sent is not None and not self.ways.answers_unpracked:
            self.world.at(0.05, lambda: self._accept(talk, tx, request))
            return
        talk.state, talk.acked, tx.owner = "up", False, self
        body = self.sdp() if self.ways.answer_sdp else b""
        headers = [("Contact", self.contact), *self._own_rows(), *self.ways.answer_rows]
        if body:
            headers.append(("Content-Type", "application/sdp"))
        self.layer.respond(tx, build.response(request, 200, to_tag=talk.dialog.local_tag, headers=headers, body=body))

    # ---- for assertions

    def got(self, method: str) -> list[Request]:
        return [request for request in self.seen if request.method == method]

    def said(self, method: str) -> list[int]:
        """The final answers to its requests of this method."""
        return [r.status for r in self.answers if r.cseq.method == method and r.status >= 200]


def modern_carrier(office: Office) -> Modern:
    return Modern(office.world, CARRIER, "+15557777")


def modern_phone(office: Office, number: str, port: int = 0) -> Modern:
    phone = Modern(office.world, ("127.0.0.1", port or 10_000 + int(number)), number)
    phone.password = PASSWORD
    phone.register(EXCHANGE)
    assert office.world.until(lambda: phone.registered), office.world.ladder()
    return phone
