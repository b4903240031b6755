"""A leg that the exchange opened (RFC 3261 section 12.1.2): its INVITE, as often as it takes, and what comes of it.

What a branch hears after the call has lost interest in it, it settles alone: a 2xx that crossed our CANCEL gets its ACK
and a BYE (13.2.2.4, 15).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pbxcore.call.leg import SDP_TYPE, Leg, LegHost
from pbxcore.call.redirect import Hop
from pbxcore.call.reliable import Acknowledger
from pbxcore.call.router import Target
from pbxcore.call.session_timer import SessionTimer, raised
from pbxcore.call.signal import RESPONSE, UNREACHED, Signal
from pbxcore.call.trunks import Trunk
from pbxcore.sip.dialog import Dialog
from pbxcore.sip.figures import State
from pbxcore.sip.layer import Flow
from pbxcore.sip.message import Field, Request, Response
from pbxcore.sip.transaction import ClientTransaction

if TYPE_CHECKING:
    from pbxcore.call.b2bua import LiveCall

CALLING = State.CALLING


class Branch(Leg):
    """A leg that the exchange opened. Several can ring; one is answered."""

    __slots__ = (
        "answered", "hops", "instead", "invite", "path", "provisional", "target", "tx", "unacknowledged", "unserved",
    )  # fmt: skip

    def __init__(
        self, host: LegHost, call: LiveCall, label: str, target: Target, flow: Flow, trunk: Trunk | None
    ) -> None:
        Leg.__init__(self, host, call, label, target.party, flow, trunk)
        self.target = target
        self.invite: Request | None = None
        self.tx: ClientTransaction | None = None
        self.path: tuple[str, ...] = ()  # of the binding: the Route of the INVITE (RFC 3327 section 5.3)
        self.answered = False
        self.provisional: Response | None = None  # the last thing that it said before its answer
        self.hops: tuple[Hop, ...] = ()  # redirections that led here
        self.instead: list[Target] = []  # where it can go when this does not do
        self.unacknowledged: Response | None = None
        self.unserved = False  # the carrier's server did not take the call: another one may

    def start(self, invite: Request, tag: str) -> None:
        """Send the INVITE."""
        self.invite = invite
        self.tx = self.host.layer.request(invite, self.flow, self)
        self._enter(invite.call_id, tag)
        if self.trunk is not None and self.trunk.profile.answer_seconds:
            layer = self.host.layer
            layer.timers.start(layer.clock() + self.trunk.profile.answer_seconds, self, "silence")

    def on_timer(self, name: str, now: float) -> None:
        """A carrier's server that has said nothing at all is given up before Timer B does (RFC 3263 section 4.3)."""
        tx = self.tx
        if tx is not None and self.call is not None and tx.state is CALLING:
            self.host.layer.cancel(tx)
            self.on_timeout(tx)

    def on_response(self, tx: ClientTransaction, response: Response) -> None:
        if tx is not self.tx:
            Leg.on_response(self, tx, response)
            return
        status = response.status
        if 200 <= status < 300:
            call, first = self.call, not self.answered
            self.answered = True
            if call is None or not first:
                self._hang_up_extra(tx, response)
            else:
                call.post(Signal(RESPONSE, self, None, None, tx, response))
            return
        call = self.call
        if call is None:
            if status >= 200:
                self.leave()
            return
        if status < 200:
            if "rseq" in response.first_lines:
                if self.early is None:
                    self.early = Acknowledger(self)
                if not self.early.take(response):
                    return
        elif self._tries_again(status, response):
            return
        self.provisional = response
        if status == 503 and self.trunk is not None:
            self.unserved = True
            self.trunk.unserved(self.flow, "it says 503 Service Unavailable", response)
        if status != 100:  # which says nothing to the call
            call.post(Signal(RESPONSE, self, None, None, tx, response))

    def _tries_again(self, status: int, response: Response) -> bool:
        """Whether the INVITE that was refused has been sent anew, with credentials or a longer session interval."""
        if self.invite is None:
            return False
        again: Request | None = None
        if status in (401, 407):
            again = self.with_credentials(self.invite, response)
        elif status == 422 and (rows := raised(self.invite, response)) is not None:
            again = _with_rows(self.invite, rows)
        if again is None:
            return False
        self._invite_again(again)
        return True

    def _invite_again(self, invite: Request) -> None:
        """The same INVITE with what it lacked; early dialogs of the first end with it."""
        self.invite = invite
        if self.early is not None:
            self.early.close()
            self.early = None
        self.tx = self.host.layer.request(invite, self.flow, self)

    def _settle(self, signal: Signal) -> None:
        trunk = self.trunk
        if trunk is not None and signal.kind is UNREACHED and signal.client is self.tx and self.call is not None:
            self.unserved = True
            trunk.unserved(self.flow, "no answer to INVITE")
        super()._settle(signal)
        if self.call is None:
            self.leave()

    def accept(self, response: Response) -> None:
        """This branch's 2xx is the call's answer: its dialog is confirmed."""
        invite = self.invite
        if invite is None:
            return
        dialog: Dialog | None = None
        if self.early is not None:
            dialog = self._early_of(response)
            self.early.close()
        self._join(dialog or Dialog.uac(invite, response))
        self.unacknowledged = response
        rows = response.first_lines
        if "allow" in rows:
            self.updates = "UPDATE" in rows["allow"]
        self.renames = "from-change" in rows.get("supported", "")
        if "session-expires" in rows:
            self.session = SessionTimer(self.host.session)
            self.session.answered(response, self.host.layer.clock())

    def _early_of(self, response: Response) -> Dialog | None:
        """The early dialog that this 2xx confirms: its numbers go on (RFC 3261 section 13.2.2.4)."""
        early = self.early.dialogs.get(response.to_tag or "") if self.early is not None else None
        if early is None:
            return None
        early.dialog.refresh(response)
        return early.dialog

    def dialog_with(self, tag: str | None) -> Dialog | None:
        early = self.early.dialogs.get(tag or "") if self.early is not None and self.dialog is None else None
        return self.dialog if early is None else early.dialog

    def acknowledge(self, response: Response, body: bytes = b"") -> None:
        """ACK a 2xx of the INVITE, with the answer when the 2xx brought the offer."""
        if self.dialog is None or self.invite is None or self.tx is None:
            return
        self.unacknowledged = None
        ack = self.dialog.ack(self.invite, body=body)
        if body:
            ack.fields.append(SDP_TYPE)
        self.host.layer.acknowledge(self.tx, ack, self._way(), response)

    def bye(self, fields: Sequence[Field] = ()) -> None:
        """As of any leg; an answer that has not been acknowledged yet is, before."""
        if self.unacknowledged is not None:
            self.acknowledge(self.unacknowledged)
        super().bye(fields)
        if self.tx is not None:  # what the INVITE's transaction still waits for, it can do without us
            self.host.layer.release(self.tx)

    def abandon(self, reason: str | None = None) -> None:
        """The call goes on without this branch."""
        self.call = None
        if self.tx is not None:
            self.host.layer.cancel(self.tx, reason=reason)

    def settle(self, tx: ClientTransaction, response: Response | None) -> None:
        """As of any leg; and what the INVITE came to."""
        if tx is not self.tx:
            super().settle(tx, response)
        elif response is not None and 200 <= response.status < 300:
            self._hang_up_extra(tx, response)
        elif response is None or response.status >= 200:
            self.leave()

    def _hang_up_extra(self, tx: ClientTransaction, response: Response) -> None:
        """A 2xx that nobody waits for: a phone answered while it was cancelled, or a second fork behind a proxy."""
        if self.invite is None:
            return
        extra = self._early_of(response) or Dialog.uac(self.invite, response)
        fork = Leg(self.host, None, self.label, self.party, self.flow, self.trunk)
        fork._join(extra)
        self.host.layer.acknowledge(tx, extra.ack(self.invite), fork._way(), response)
        fork.bye([("reason", f"Reason: {tx.reason}")] if tx.reason else ())
        if self.dialog is None:
            self.leave()


def _with_rows(invite: Request, rows: Sequence[Field]) -> Request:
    """The same INVITE once more, with these rows in the place of those of their names."""
    names = {key for key, _ in rows}
    kept = [field for field in invite.fields if field[0] != "via" and field[0] not in names]
    again = Request("INVITE", invite.uri, kept, invite.body)
    again.replace("CSeq", f"{invite.cseq.number + 1} INVITE")
    again.fields += rows
    return again
