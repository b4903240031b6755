"""/api/v1/outbox: what waits for the CRMs, and why. For administrators and supervisors."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pbxcore.control import NotFound, OutboxEntry
from pbxcore.store.repo import Role
from web.api import LIMIT, OFFSET_LIMIT
from web.panel import Refused, guarded, number_of, panel_of, reply

STATES = ("waiting", "sent", "parked")


def routes() -> list[Route]:
    who: tuple[Role, ...] = ("admin", "supervisor")
    return [
        Route("/api/v1/outbox", guarded(entries, who)),
        Route("/api/v1/outbox/retry", guarded(retry_parked, who), methods=["POST"]),
        Route("/api/v1/outbox/{entry_id}/retry", guarded(retry, who), methods=["POST"]),
    ]


async def entries(request: Request) -> Response:
    """Newest first; without `state` those that wait or are parked. `connector` keeps those of one CRM."""
    outbox, query = panel_of(request).outbox, request.query_params
    state = query.get("state") or None
    if state is not None and state not in STATES:
        raise Refused(422, "outbox_state", "state", states=", ".join(STATES))
    limit, offset = number_of(request, "limit", 50, LIMIT), number_of(request, "offset", 0, OFFSET_LIMIT)
    connector = query.get("connector") or None
    if outbox is None:
        return reply({"outbox": []})
    return reply(
        {"outbox": await outbox.entries(state=state, connector=connector, limit=limit, offset=offset)}
    )


async def retry(request: Request) -> Response:
    """Let an entry be told now, a parked one too."""
    return reply(await told_now(request))


async def told_now(request: Request) -> OutboxEntry:
    """Let the entry of the address be told now. Raises NotFound."""
    outbox, entry_id = panel_of(request).outbox, request.path_params["entry_id"]
    if outbox is None or not entry_id.isdecimal() or len(entry_id) > 18:
        raise NotFound(f"no entry {entry_id[:20]} in the outbox")
    return await outbox.retry(int(entry_id))


async def retry_parked(request: Request) -> Response:
    """Let all that is parked be told now; `connector` keeps to one CRM."""
    outbox = panel_of(request).outbox
    connector = request.query_params.get("connector") or None
    return reply({"retried": 0 if outbox is None else await outbox.retry_parked(connector)})
