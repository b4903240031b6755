"""Provisional responses that arrive for certain (RFC 3262), on either leg alone.

`Reliably` sends them to a caller: one at a time, so that none overtakes another, each again and again until its PRACK
comes, and for 64*T1 at most. `Acknowledger` takes them from a branch in their order and sends the PRACKs, in as many
early dialogs as there are forks behind it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from pbxcore.call.body import sdp_or_nothing
from pbxcore.call.signal import Kind, Signal
from pbxcore.sip.dialog import Dialog
from pbxcore.sip.message import Field, Request, Response
from pbxcore.sip.transaction import ClientTransaction

if TYPE_CHECKING:
    from pbxcore.call.branch import Branch
    from pbxcore.call.leg import CallerLeg

MAX_WAITING = 8
MAX_EARLY = 16  # dialogs of one INVITE
HIGHEST = 0x7FFFFFFF  # section 7.1: the first RSeq is 2**31 - 1 at most
REQUIRED: Field = ("require", "Require: 100rel")


class Reliably:
    """What the caller is told before the end, so that he tells us that he has it (section 3)."""

    __slots__ = (
        "_again_at", "_ends_at", "_expected", "_interval", "_leg", "_queue", "_rseq", "_sent", "agreed", "always",
        "told",
    )  # fmt: skip

    def __init__(self, leg: CallerLeg, *, always: bool) -> None:
        self._leg: CallerLeg | None = leg
        self.always = always  # else those alone that carry a session description
        self.told = b""  # the session description that was sent this way
        self.agreed = False  # and that has arrived
        self._rseq = int(leg.host.layer.token()[:7], 16) + 1
        self._sent: Response | None = None
        self._expected = ""  # the RAck that answers it
        self._queue: deque[Response] = deque()
        self._interval = self._again_at = self._ends_at = 0.0

    @property
    def owing(self) -> bool:
        """Whether a session description has yet to arrive: no 2xx before that (section 3)."""
        return bool(self.told) and not self.agreed

    def send(self, response: Response) -> None:
        """Send it once those before it have arrived. What only says again that it rings gives way to what is newer."""
        if response.body:
            self.told = response.body
        if len(self._queue) >= MAX_WAITING:
            bare = next((waiting for waiting in self._queue if not waiting.body), None)
            if bare is None:
                return
            self._queue.remove(bare)
        self._queue.append(response)
        if self._sent is None:
            self._next()

    def _next(self) -> None:
        leg = self._leg
        if leg is None or not self._queue:
            return
        layer = leg.host.layer
        response = self._sent = self._queue.popleft()
        response.fields += (REQUIRED, ("rseq", f"RSeq: {self._rseq}"))
        self._expected = f"{self._rseq} {leg.invite.cseq.number} INVITE"
        now = layer.clock()
        self._interval = layer.t1
        self._again_at = now + layer.t1
        self._ends_at = now + 64 * layer.t1
        layer.timers.start(self._again_at, self, "again")
        if leg.tx is not None:
            layer.respond(leg.tx, response)

    def on_timer(self, name: str, now: float) -> None:
        leg, sent = self._leg, self._sent
        if leg is None or sent is None or now < self._again_at or leg.tx is None:
            return
        layer = leg.host.layer
        if now >= self._ends_at:
            self.stop()
            if leg.call is not None:
                leg.call.post(Signal(Kind.NO_PRACK, leg))
            return
        layer.respond(leg.tx, sent)
        self._interval *= 2
        self._again_at = min(now + self._interval, self._ends_at)
        layer.timers.start(self._again_at, self, "again")

    def acknowledged(self, prack: Request) -> bool:
        """Whether this PRACK is for what we wait for, or waited for until the call was answered; what comes next is
        sent then."""
        if not self._expected or " ".join((prack.first("rack") or "").split()) != self._expected:
            return False
        self._expected = ""
        sent, self._sent = self._sent, None
        if sent is None:
            return True
        self._rseq += 1
        self.agreed = self.agreed or bool(sent.body)
        self._next()
        return True

    def stop(self) -> None:
        """The call has its final answer, or none will come: nothing is sent again."""
        self._sent = None
        self._leg = None
        self._queue.clear()


class Early:
    """An early dialog that a branch has told us of; `rseq` is 0 until it has done so reliably."""

    __slots__ = ("agreed", "dialog", "rseq")

    def __init__(self, dialog: Dialog, rseq: int) -> None:
        self.dialog = dialog
        self.rseq = rseq
        self.agreed = False  # offer and answer have been exchanged in it


class Acknowledger:
    """Takes what a branch sends reliably (section 4). It owns the PRACKs."""

    __slots__ = ("_branch", "dialogs")

    def __init__(self, branch: Branch) -> None:
        self._branch: Branch | None = branch
        self.dialogs: dict[str, Early] = {}  # by To tag

    def take(self, response: Response) -> bool:
        """Whether the call shall see this response: not what has come before, nor what is ahead of its time. It is
        acknowledged at once, unless it brings an offer: then `prack` brings the answer."""
        branch = self._branch
        rseq, tag = _number(response.first("rseq")), response.to_tag
        if branch is None or branch.invite is None or not rseq or not tag:
            return True  # as any other provisional
        early = self.dialogs.get(tag)
        if early is None:
            if len(self.dialogs) >= MAX_EARLY:
                return False
            early = self.dialogs[tag] = Early(Dialog.uac(branch.invite, response), rseq)
        elif early.rseq and rseq != early.rseq + 1:
            return False
        else:
            early.rseq = rseq
        sdp = bool(sdp_or_nothing(response))
        if sdp and not branch.invite.body and not early.agreed:
            return True
        early.agreed = early.agreed or sdp
        branch.updates = "UPDATE" in response.first_lines.get("allow", "") or branch.updates
        self.prack(response)
        return True

    def prack(self, response: Response, body: bytes = b"") -> None:
        """Acknowledge it; `body` is the answer to its offer."""
        branch, early = self._branch, self.dialogs.get(response.to_tag or "")
        if branch is None or early is None:
            return
        if body:
            early.agreed = True
        rack = f"{_number(response.first('rseq'))} {response.cseq}"
        prack = early.dialog.request("PRACK", headers=[("RAck", rack)], body=body)
        if body:
            prack.fields.append(("content-type", "Content-Type: application/sdp"))
        branch.host.layer.request(prack, branch.way_for(early.dialog), self)

    def dialog_of(self, response: Response) -> Dialog | None:
        """The early dialog that a provisional has made, reliable or not."""
        branch, tag = self._branch, response.to_tag
        if branch is None or branch.invite is None or not tag:
            return None
        early = self.dialogs.get(tag)
        if early is None and len(self.dialogs) < MAX_EARLY:
            early = self.dialogs[tag] = Early(Dialog.uac(branch.invite, response), 0)
        return early.dialog if early is not None else None

    def close(self) -> None:
        self._branch = None
        self.dialogs.clear()

    # ---- ClientOwner, of the PRACKs: what comes of one changes nothing, its sender goes on until he has it

    def on_response(self, tx: ClientTransaction, response: Response) -> None:
        branch = self._branch
        if branch is None or response.status not in (401, 407):
            return
        early = self.dialogs.get(tx.request.to_tag or "")
        again = branch.with_credentials(tx.request, response) if early is not None else None
        if early is not None and again is not None:
            branch.host.layer.request(again, branch.way_for(early.dialog), self)

    def on_timeout(self, tx: ClientTransaction) -> None:
        return

    def on_transport_error(self, tx: ClientTransaction) -> None:
        return


def _number(text: str | None) -> int:
    """An RSeq, 0 when it is none."""
    text = text or ""
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 11 else 0
    return number if number <= 0xFFFFFFFF else 0
