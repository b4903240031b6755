"""Reliable provisionals (RFC 3262) of a simulated phone, sent or acknowledged, and what goes wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.scenario.simulator.transactions import GIVE_UP, T1, Served
from tests.scenario.simulator.wire import Wire

if TYPE_CHECKING:
    from tests.scenario.simulator.session import Session

MANNERS = ("at once", "late", "never", "twice", "wrongly")


class Early:
    """What a session knows of its INVITE before the answer. `manner` is how it acknowledges, None: it has never heard
    of PRACK."""

    __slots__ = (
        "_acknowledged", "_interval", "_rseq", "_sent", "_since", "agreed", "manner", "mute", "session", "then",
    )  # fmt: skip

    def __init__(self, session: Session) -> None:
        self.session = session
        self.manner: str | None = None
        self.mute = False                        # does not answer PRACK
        self.agreed = False                      # offer and answer have been exchanged
        self.then: list[Callable[[], None]] = []     # when our provisional is acknowledged
        self._acknowledged = 0                   # the last RSeq that was
        self._rseq = 0
        self._sent: bytes | None = None          # ours that waits for its PRACK
        self._since = 0.0
        self._interval = T1

    # ---- as the caller

    def progressed(self, response: Wire) -> None:
        rseq = response.head.get("rseq", "")
        session = self.session
        if not rseq or session.client is None:
            return
        if self.manner is None:
            session.agent.wrong("a reliable provisional to one who knows none", session.call_id)
            return
        number = int(rseq)
        if number <= self._acknowledged:
            return          # once more: its PRACK is under way
        if self._acknowledged and number != self._acknowledged + 1:
            return
        if response.to_tag != session.remote.partition(";tag=")[2].partition(";")[0]:
            return
        self._acknowledged = number
        if self.manner == "never":
            session.did("early: no PRACK is sent")
        elif self.manner == "late":
            session.after(session.rng.uniform(0.1, 8.0), self._prack, rseq, response)
        else:
            self._prack(rseq, response)

    def _prack(self, rseq: str, response: Wire) -> None:
        session = self.session
        if session.state != "calling" or session.client is None:
            return
        body = b""
        if response.body and session.late_offer and not self.agreed:
            body = session.sdp()
        self.agreed = self.agreed or bool(response.body)
        if self.manner == "wrongly":
            session.request("PRACK", extra=f"RAck: {int(rseq) + 7} {session.client.number} INVITE\r\n")
        row = f"RAck: {rseq} {session.client.number} INVITE\r\n"
        session.request("PRACK", body, extra=row)
        session.did("early: PRACK")
        if self.manner == "twice":
            session.after(session.rng.uniform(0.0, 0.5), session.request, "PRACK", b"", None, row)

    # ---- as the one who is called

    def tell(self, status: int = 183, *, sdp: bool = True) -> bool:
        """A provisional that is to be acknowledged; False when the exchange does not know how, or owes one yet."""
        session = self.session
        server = session.server
        if server is None or server.final or session.state != "ringing" or self._sent is not None:
            return False
        if "100rel" not in server.request.head.get("supported", "") + server.request.head.get("require", ""):
            return False
        self._rseq = self._rseq + 1 if self._rseq else session.rng.randint(1, 9999)
        row = f"Require: 100rel\r\nRSeq: {self._rseq}\r\n"
        server.respond(status, session.tag, session.sdp() if sdp else b"", row + session.agent.allow)
        self._sent, self._since, self._interval = server.data, session.agent.net.now, T1
        session.after(T1, self._again)
        session.did("early: reliable provisional")
        return True

    def _again(self) -> None:
        session, server = self.session, self.session.server
        if self._sent is None or server is None or server.final or session.state != "ringing":
            return
        if session.agent.net.now - self._since >= GIVE_UP:
            self._sent = None
            session.did("early: no PRACK came")
            session.refuse(504)
            return
        session.agent.send(self._sent, server.source)
        self._interval *= 2
        session.after(self._interval, self._again)

    def pracked(self, served: Served) -> None:
        """A PRACK of the exchange."""
        session, server = self.session, self.session.server
        wanted = f"{self._rseq} {server.request.number} INVITE" if server is not None else ""
        if self.mute:
            session.did("early: PRACK is not answered")
            return
        if not self._rseq:
            session.agent.wrong("a PRACK for nothing", session.call_id)
        if self._sent is None or served.request.head.get("rack", "") != wanted:
            served.respond(481)
            return
        self._sent = None
        self.agreed = True
        served.respond(200)
        waiting, self.then = self.then, []
        for what in waiting:
            what()

    def over(self) -> None:
        self._sent = None
