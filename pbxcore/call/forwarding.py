"""A branch was answered 3xx: who rings now in its place, and what he is told of the way (`redirect` has the rules).

A chain of redirections has an end, and so has their number in one call; what leads back to where the call has been ends
as a loop (482), what the dial plan has no way to as nobody there (480).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pbxcore.call.branch import Branch
from pbxcore.call.identity import dialed
from pbxcore.call.outcome import Outcome
from pbxcore.call.redirect import MOST, MOST_BRANCHES, Hop, hop, marks, targets
from pbxcore.call.router import Round, Target
from pbxcore.sip import build
from pbxcore.sip.message import Field, Response

if TYPE_CHECKING:
    from pbxcore.call.b2bua import LiveCall


async def follow(live: LiveCall, branch: Branch, response: Response, ringing: list[Branch]) -> list[Branch]:
    """Who rings now because of this 3xx; `ringing` are the others that do."""
    plan, legs = live.exchange.dial_plan, live.call.legs
    hosts = [live.exchange.domain, branch.flow.local[0], branch.flow.remote[0]]
    if branch.trunk is not None:
        hosts.append(branch.trunk.host)
    found = targets(response, branch.target, hosts, plan)
    been = {other.target for other in live.branches}
    fresh = [target for target in found if target not in been]
    far = len(branch.hops) >= MOST or sum(bool(other.hops) for other in live.branches) >= MOST_BRANCHES
    live.let_go(branch, response.status)
    if fresh and not far:
        live.forwarded()
        entry = plan.extensions.get(branch.target.number)
        name = entry.name if entry is not None and branch.trunk is None else ""
        rang = legs[branch.label].ringing_at is not None
        hops = (*branch.hops, hop(response, branch.target.number, name, rang=rang))
        return await instead(live, fresh, hops, trouble=True)
    if not any(other.target in found for other in ringing):
        status = 482 if found else 480
        live.note(Outcome(status, build.REASONS[status]))
    return []


async def instead(live: LiveCall, places: list[Target], hops: tuple[Hop, ...], *, trouble: bool) -> list[Branch]:
    """The first of these that can be rung; another trunk only where the one before had trouble."""
    rest = list(places)
    while rest and (trouble or rest[0].trunk is None):
        ringing = await live.dial(Round((rest.pop(0),)), (), hops)
        if ringing:
            ringing[0].instead = rest
            return ringing
    return []


def told(live: LiveCall, branch: Branch) -> list[Field]:
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
