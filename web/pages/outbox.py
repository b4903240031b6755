"""What waits for the CRMs and what they refused, with the reasons; administrators and supervisors let it go again."""

from __future__ import annotations

from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from web.api import OFFSET_LIMIT
from web.outbox import told_now
from web.panel import number_of, page, panel_of, see_other

SIZE = 50
VIEWS = ("open", "waiting", "parked")


async def listing(request: Request) -> Response:
    """`show` is one of VIEWS, `crm` keeps the entries of one CRM; newest first."""
    outbox, query = panel_of(request).outbox, request.query_params
    view = query.get("show", "")
    view = view if view in VIEWS else "open"
    crm, offset = query.get("crm", ""), number_of(request, "offset", 0, OFFSET_LIMIT)
    found = []
    if outbox is not None:
        state = None if view == "open" else view
        found = await outbox.entries(state=state, connector=crm or None, limit=SIZE + 1, offset=offset)
    return page(
        request,
        "outbox.html",
        entries=found[:SIZE],
        crms=[] if outbox is None else await outbox.backlogs(),
        views=VIEWS,
        view=view,
        crm=crm,
        offset=offset,
        size=SIZE,
        more=len(found) > SIZE,
        note=query.get("note", ""),
    )


async def retry(request: Request) -> Response:
    """One entry."""
    await told_now(request)
    return see_other(request, _back(request), "retried")


async def retry_parked(request: Request) -> Response:
    """All that is parked, of the CRM that is shown or of all."""
    outbox = panel_of(request).outbox
    if outbox is not None:
        await outbox.retry_parked(request.query_params.get("crm") or None)
    return see_other(request, _back(request), "retried")


def _back(request: Request) -> str:
    """The list as it was."""
    kept = {name: request.query_params[name] for name in ("show", "crm") if request.query_params.get(name)}
    return f"/outbox?{urlencode(kept)}" if kept else "/outbox"
