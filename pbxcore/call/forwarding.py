"""A branch was answered 3xx: who rings now in its place (`redirect` has the rules).

A chain of redirections has an end, and so has their number in one call; what leads back to where the call has been ends
as a loop (482), what the dial plan has no way to as nobody there (480).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pbxcore.call.branch import Branch
from pbxcore.call.dialing import dial
from pbxcore.call.outcome import Outcome
from pbxcore.call.redirect import MOST, MOST_BRANCHES, Hop, hop, targets
from pbxcore.call.router import Round, Target
from pbxcore.sip import build
from pbxcore.sip.message import Response

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
        ringing = await dial(live, Round((rest.pop(0),)), (), hops)
        if ringing:
            ringing[0].instead = rest
            return ringing
    return []
