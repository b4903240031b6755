"""Activities: what still needs its summary, what is overdue, what is to be followed up; and the follow-up of one."""

from __future__ import annotations

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from pbxcore.control import ActivityChange, Invalid
from web.auth import sees_all
from web.live import may_write
from web.moments import read_moment
from web.pages.calls import find_call, show_call
from web.panel import Refused, invalid_words, number_of, page, panel_of, see_other, user_of
from web.view import Names

PAGE_SIZE = 50
OFFSET_LIMIT = 1_000_000
VIEWS = ("open", "overdue", "follow_up", "all")


async def listing(request: Request) -> Response:
    panel, user = panel_of(request), user_of(request)
    chosen = request.query_params.get("show", "open")
    view = chosen if chosen in VIEWS else "open"
    offset = number_of(request, "offset", 0, OFFSET_LIMIT)
    extensions = panel.control.extensions()
    agent = request.query_params.get("agent", "")[:32] if sees_all(user) else user.extension or ""
    found = []
    if sees_all(user) or agent:
        found = await panel.desk.activities(
            agent=agent or None, open_only=view == "open", overdue=view == "overdue", follow_up=view == "follow_up",
            limit=PAGE_SIZE + 1, offset=offset,
        )  # fmt: skip
    return page(
        request,
        "activities/list.html",
        activities=found[:PAGE_SIZE],
        views=VIEWS,
        view=view,
        agent=agent,
        extensions=extensions,
        names=Names(extensions, panel.desk.lookup),
        offset=offset,
        more=len(found) > PAGE_SIZE,
        size=PAGE_SIZE,
    )


def read_change(fields: FormData, timezone: str) -> ActivityChange:
    """What was typed of a call besides its summary; a form without these fields says nothing. Raises Invalid."""
    change = ActivityChange()
    if "outcome" in fields:
        change["outcome"] = str(fields["outcome"])
    if "follow_up_at" in fields:
        change["follow_up_at"] = read_moment("follow_up_at", str(fields["follow_up_at"]), timezone)
        change["follow_up_note"] = str(fields.get("follow_up_note", "")) if change["follow_up_at"] else ""
    return change


def typed_of(fields: FormData) -> dict[str, str]:
    """The same as it was typed, for a form that is shown again."""
    return {name: str(fields[name]) for name in ("outcome", "follow_up_at", "follow_up_note") if name in fields}


async def follow_up(request: Request) -> Response:
    """Outcome and follow-up from the page of the call."""
    panel, call_id = panel_of(request), request.path_params["call_id"]
    if not await may_write(panel, user_of(request), call_id):
        raise Refused(403, "not_yours")
    fields = await request.form()
    try:
        await panel.desk.change_activity(call_id, read_change(fields, panel.settings.office.timezone))
    except Invalid as error:
        refused = {error.field: invalid_words(request, error)}
        return await show_call(request, await find_call(request), refused=refused, typed=typed_of(fields))
    return see_other(request, f"/calls/{call_id}", "stored")
