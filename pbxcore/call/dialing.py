"""Branches are dialed: what the relay makes of the offer, and the INVITE with all that its leg is to know."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from pbxcore.call.abilities import asking_of
from pbxcore.call.branch import Branch
from pbxcore.call.connected import shown
from pbxcore.call.identity import dialed
from pbxcore.call.inputs import LegDialed
from pbxcore.call.outcome import Outcome
from pbxcore.call.redirect import Hop, marks
from pbxcore.call.router import Round
from pbxcore.call.servers import Key
from pbxcore.call.tailor import tailored
from pbxcore.call.through import offer_by_relay
from pbxcore.media.backend import MediaError
from pbxcore.sip import build
from pbxcore.sip.errors import SipError
from pbxcore.sip.message import Field

if TYPE_CHECKING:
    from pbxcore.call.b2bua import LiveCall


async def dial(
    live: LiveCall, step: Round, tried: Collection[Key] = (), hops: tuple[Hop, ...] = ()
) -> list[Branch]:
    """One branch for each phone of each extension, one for each trunk, at none of its servers that are `tried`; those
    that ring, or may. The call's record comes after their INVITEs: nobody waits for it."""
    exchange, offered = live.exchange, live.call.offered
    targets = step.targets
    ringing: list[Branch] = []
    for target in targets:
        try:
            found = exchange.ways(target, live.a.flow, offered.extension, live.a.invite.uri, tried)
            alone = len(found) == len(targets) == 1
            for flow, uri, trunk, path in found:
                branch = Branch(exchange, live, live.next_label(), target, flow, trunk)
                branch.path = path
                if hops:
                    branch.hops = hops
                live.branches.append(branch)
                body = live.offer
                if body:
                    body = await offer_by_relay(live, live.a, branch, body)
                    if trunk is not None and trunk.full() and not target.urgent:  # another call may have been quicker
                        raise SipError(503, build.REASONS[503])
                _invite(live, branch, uri, body, alone=alone)
                ringing.append(branch)
        except SipError as error:
            live.note(Outcome(error.status, error.reason))
        except MediaError as error:
            exchange.media_refused(offered.call_id, error)
            live.note(Outcome(error.status, build.REASONS[error.status]))
    live.write_down()
    for branch in ringing:
        live.apply(LegDialed(exchange.wall(), branch.label, branch.party, branch.target.number))
    return ringing


def _invite(live: LiveCall, branch: Branch, uri: str, body: bytes, *, alone: bool) -> None:
    """Send the INVITE of a branch to `uri`; `alone`: nobody else is rung beside it."""
    exchange = live.exchange
    tag = exchange.token()
    made = live.maker.make(branch, uri, tag, exchange, body)
    branch.make = make = exchange.registrar.makes.get((branch.target.number, uri))
    if make is None and branch.trunk is None and body:
        made.fields += exchange.asking
    else:
        reliable = bool(body) or (live.a.reliable is not None and alone)
        made.fields += asking_of(branch, exchange.session, reliable=reliable)
    if branch.hops:
        made.fields += _told(live, branch)
    if make is not None:
        made = tailored(made, make, shown(exchange, live.maker, make))
    branch.start(made, tag)


def _told(live: LiveCall, branch: Branch) -> list[Field]:
    """What the INVITE says of the way. A carrier is told numbers that it knows, and no names; of a call that came in
    from outside `identity` has told it already."""
    trunk = branch.trunk
    host = live.exchange.domain or branch.flow.local[0]
    if trunk is None:
        number, before = branch.target.number, live.maker.last_index
        return marks(branch.hops, number, host, ("diversion", "history-info"), before)
    if trunk.profile.diversion == "none" or live.call.offered.direction == "inbound":
        return []
    known: list[Hop] = []
    for one in branch.hops:
        entry = live.exchange.dial_plan.extensions.get(one.number)
        number = (entry.caller_id if entry is not None else one.number) or trunk.caller_id
        if number:
            known.append(Hop(dialed(trunk, number), "", one.status, one.reason))
    return marks(known, dialed(trunk, branch.target.number), host, (trunk.profile.diversion,)) if known else []
