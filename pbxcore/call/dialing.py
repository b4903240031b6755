"""A branch is dialed: what the relay makes of the offer, and the INVITE with all that its leg is to know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pbxcore.call import inputs
from pbxcore.call.abilities import asking_of
from pbxcore.call.branch import Branch
from pbxcore.call.connected import shown
from pbxcore.call.forwarding import told
from pbxcore.call.tailor import tailored
from pbxcore.call.through import offer_by_relay
from pbxcore.sip import build
from pbxcore.sip.errors import SipError

if TYPE_CHECKING:
    from pbxcore.call.b2bua import LiveCall


async def invite(live: LiveCall, branch: Branch, uri: str, *, alone: bool) -> None:
    """Send the INVITE of a branch to `uri`; `alone`: nobody else is rung beside it. Raises SipError, MediaError."""
    exchange, offer = live.exchange, live.offer
    body = b""
    if offer:
        body = await offer_by_relay(live, live.a, branch, offer)
        full = branch.trunk is not None and branch.trunk.full()
        if full and not branch.target.urgent:  # another call may have been quicker meanwhile
            raise SipError(503, build.REASONS[503])
    tag = exchange.token()
    made = live.maker.make(branch, uri, tag, exchange, body)
    branch.make = make = exchange.registrar.makes.get((branch.target.number, uri))
    if make is None and branch.trunk is None and offer:
        made.fields += exchange.asking
    else:
        reliable = bool(offer) or (live.a.reliable is not None and alone)
        made.fields += asking_of(branch, exchange.session, reliable=reliable)
    if branch.hops:
        made.fields += told(live, branch)
    if make is not None:
        made = tailored(made, make, shown(exchange, live.maker, make))
    live.apply(inputs.LegDialed(exchange.wall(), branch.label, branch.party, branch.target.number))
    branch.start(made, tag)
