"""Whom a phone of the office speaks to, told when that has changed: connected identity (RFC 4916, RFC 3325).

A name that the CRM found late, or another party after a transfer, goes out as P-Asserted-Identity (or as the profile
has it) in an UPDATE of its own where the phone takes UPDATE (RFC 3311; in an early dialog too), and in every later
request of ours that refreshes the dialog. A phone without UPDATE learns it with the next re-INVITE; none is sent for
this. From stays as the dialog began, unless the phone knows `from-change` (RFC 4916 section 4.4.1). Carriers are told
nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pbxcore import profiles
from pbxcore.call import inputs
from pbxcore.call.branch import Branch
from pbxcore.call.cards import Caller, call_info
from pbxcore.call.identity import ANONYMOUS
from pbxcore.call.leg import ALLOWED, CallerLeg, Leg
from pbxcore.call.reliable import Acknowledger
from pbxcore.call.tailor import written
from pbxcore.hooks import Decision, Proceed
from pbxcore.sip.message import Field, Response
from pbxcore.sip.transaction import ClientTransaction
from pbxcore.sip.uri import escape_user, join_host

if TYPE_CHECKING:
    from pbxcore.call.b2bua import LiveCall
    from pbxcore.call.exchange import Exchange
    from pbxcore.call.invite import InviteMaker
    from pbxcore.profiles import PhoneProfile

NO_UPDATE = frozenset({405, 501})


class Update:
    """An UPDATE of ours without an offer: what comes of it changes nothing in the call. `early`: it went out before the
    answer, and has refreshed no session."""

    __slots__ = ("_early", "_leg")

    def __init__(self, leg: Leg, *, early: bool) -> None:
        self._leg = leg
        self._early = early

    def on_response(self, tx: ClientTransaction, response: Response) -> None:
        leg = self._leg
        if 200 <= response.status < 300:
            if not self._early and leg.call is not None:
                leg.accepted(response)
        elif response.status in NO_UPDATE:
            leg.updates = False

    def on_timeout(self, tx: ClientTransaction) -> None:
        return

    def on_transport_error(self, tx: ClientTransaction) -> None:
        return


def found_late(live: LiveCall, decision: Decision) -> None:
    """The CRM knows now who the caller of this call is: phones that ring, or that he talks to, are told."""
    name, before = decision.display_name, live.call.decided
    if not name or (before is not None and name == before.display_name) or live.call.offered.direction == "outbound":
        return
    maker = live.maker
    known = maker.decision or Proceed()
    maker.decision = replace(
        known, display_name=name, instructions=decision.instructions or known.instructions,
        contact_id=decision.contact_id or known.contact_id,
    )  # fmt: skip
    live.apply(inputs.Named(live.exchange.wall(), name))
    caller = Caller(live.call.offered.caller, name, maker.decision.instructions or "")
    conversation = live.conversation
    if conversation is None:
        for branch in live.branches:
            if branch.call is live:
                tell(live.exchange, branch, caller)
    elif conversation.a is live.a:
        tell(live.exchange, conversation.b, caller)
    elif conversation.b is live.a:
        tell(live.exchange, conversation.a, caller)


def introduce(live: LiveCall, party: Leg, leg: Leg) -> None:
    """`party` is whom this leg speaks to from now on: its next re-INVITE says so."""
    if leg.trunk is None:
        _become(live.exchange, leg, _known(live, party))


def tell(exchange: Exchange, leg: Leg, caller: Caller) -> None:
    """Have this phone show the caller: at once where it takes UPDATE, else when it is next re-INVITEd."""
    if leg.trunk is not None:
        return
    _become(exchange, leg, caller)
    if leg.identity:
        send(leg)


def send(leg: Leg) -> None:
    """UPDATE with the identity that this leg is to know, if that can be; else it stays `untold`, until the phone's 2xx
    says more of it."""
    dialog, early = leg.dialog, False
    leg.untold = False
    if isinstance(leg, Branch) and (dialog is None or leg.unacknowledged is not None):
        rang = leg.provisional
        leg.untold = True
        if dialog is not None or rang is None or "UPDATE" not in rang.first_lines.get("allow", ""):
            return
        leg.early = leg.early or Acknowledger(leg)
        dialog, early = leg.early.dialog_of(rang), True
        if dialog is None:
            return
        leg.untold = False
    elif not leg.updates:
        return
    if dialog is None or leg.ending:
        return
    request = dialog.request("UPDATE")
    request.fields += (*leg.identity, ALLOWED) if early else leg.refreshing_rows()
    leg.host.layer.request(request, leg.way_for(dialog), Update(leg, early=early))


def shown(exchange: Exchange, maker: InviteMaker, profile: PhoneProfile, notes: str = "") -> list[Field]:
    """What this make of phone shows of the caller besides his name; notes of a colleague go before the CRM's words."""
    offered, decision = maker.offered, maker.decision
    name = (decision.display_name if decision is not None else None) or offered.caller_name or ""
    reason = notes or (decision.instructions if decision is not None else None) or ""
    return call_info(Caller(offered.caller, name, reason), profile, exchange.cards)


def _known(live: LiveCall, party: Leg) -> Caller:
    """What there is to say of a party: the extension's name, or the CRM's for whoever called from outside."""
    record = live.call.legs.get(party.label)
    if record is None:
        return Caller(party.party)
    entry = live.exchange.dial_plan.extensions.get(record.party) if party.trunk is None else None
    if entry is not None:
        return Caller(record.number if party is live.a else entry.number, entry.name)
    decided = live.call.decided
    if party is live.a:
        name = (decided.display_name if decided is not None else None) or live.call.offered.caller_name
        return Caller(record.number, name or "", (decided.instructions if decided is not None else None) or "")
    return Caller(record.number)


def _become(exchange: Exchange, leg: Leg, caller: Caller) -> None:
    """Have the leg know whom it speaks to."""
    profile: PhoneProfile = leg.make or profiles.phone("generic")
    if profile.connected == "none":
        return
    host = exchange.domain or join_host(leg.flow.local[0], None)
    address = written(caller.name, f"sip:{escape_user(caller.number or ANONYMOUS)}@{host}", profile)
    if leg.renames and leg.dialog is not None:
        leg.dialog.local = f"{address};tag={leg.dialog.local_tag}"
    if profile.connected == "asserted":
        row = "p-asserted-identity", f"P-Asserted-Identity: {address}"
    else:
        party = "called" if isinstance(leg, CallerLeg) else "calling"
        row = "remote-party-id", f"Remote-Party-ID: {address};party={party};privacy=off;screen=yes"
    leg.identity = (row, *call_info(caller, profile, exchange.cards))
