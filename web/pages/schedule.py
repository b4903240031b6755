"""Planned calls: the page, /api/v1/scheduled-calls, and the calendar feed, whose address is its secret."""

from __future__ import annotations

from typing import get_args

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pbxcore.control import Invalid, ScheduledCall, ScheduleState
from web.auth import sees_all
from web.bodies import ScheduledCallIn
from web.panel import (
    Refused,
    guarded,
    invalid_words,
    json_body,
    number_of,
    page,
    panel_of,
    read,
    reply,
    see_other,
    user_of,
)
from web.view import Names

PAGE_SIZE = 100
LIMIT = 200
OFFSET_LIMIT = 1_000_000
STATES = get_args(ScheduleState)


def api_routes() -> list[Route]:
    base = "/api/v1/scheduled-calls"
    one = base + "/{schedule_id}"
    return [
        Route(base, guarded(listed), methods=["GET"]),
        Route(base, guarded(plan), methods=["POST"]),
        Route(base + "/calendar", guarded(calendar_address), methods=["POST"]),
        Route(one, guarded(found), methods=["GET"]),
        Route(one, guarded(plan), methods=["PUT"]),
        Route(one, guarded(cancel), methods=["DELETE"]),
        Route(one + "/done", guarded(done), methods=["POST"]),
    ]


async def _own(request: Request) -> ScheduledCall:
    """The one of the path, when it is this user's. Raises NotFound, Refused."""
    user = user_of(request)
    call = await panel_of(request).desk.schedule.find(request.path_params["schedule_id"])
    if not sees_all(user) and call.agent != user.extension:
        raise Refused(403, "not_yours")
    return call


def _agent(request: Request, wanted: str) -> str:
    """Whose calls: an agent's own, a supervisor's as he likes. Raises Refused."""
    user = user_of(request)
    if sees_all(user):
        return wanted
    if user.extension is None or wanted not in ("", user.extension):
        raise Refused(403, "not_yours", "agent")
    return user.extension


# ---- for programs


async def listed(request: Request) -> Response:
    """The next first; `agent`, `state`, `open=true`."""
    query = request.query_params
    state = next((one for one in STATES if one == query.get("state")), None)
    calls = await panel_of(request).desk.schedule.list(
        agent=_agent(request, query.get("agent", "")) or None, state=state, open_only=query.get("open") == "true",
        limit=number_of(request, "limit", 50, LIMIT), offset=number_of(request, "offset", 0, OFFSET_LIMIT),
    )  # fmt: skip
    return reply({"scheduled_calls": calls})


async def found(request: Request) -> Response:
    return reply(await _own(request))


async def plan(request: Request) -> Response:
    """Plan a call, or move one that is planned."""
    panel, user = panel_of(request), user_of(request)
    schedule_id = request.path_params.get("schedule_id", "")
    if schedule_id:
        await _own(request)
    said = read(ScheduledCallIn, await json_body(request))
    agent = _agent(request, said.agent or user.extension or "")
    call = said.call(schedule_id, agent, panel.settings.office.timezone, user.extension or user.username)
    stored = await panel.desk.schedule.save(call)
    response = reply(stored, 200 if schedule_id else 201)
    response.headers["Location"] = f"/api/v1/scheduled-calls/{stored.id}"
    return response


async def cancel(request: Request) -> Response:
    await panel_of(request).desk.schedule.close_as((await _own(request)).id, "cancelled")
    return Response(status_code=204)


async def done(request: Request) -> Response:
    return reply(await panel_of(request).desk.schedule.close_as((await _own(request)).id, "done"))


async def calendar_address(request: Request) -> Response:
    """The address of one's calendar feed; `renew=true` makes the old one worthless."""
    renew = request.query_params.get("renew") == "true"
    return reply({"url": await _address(request, renew=renew)})


async def _address(request: Request, *, renew: bool = False) -> str:
    panel, user = panel_of(request), user_of(request)
    if user.extension is None:
        raise Refused(422, "no_calendar")
    token = await panel.desk.schedule.calendar_token(user.extension, renew=renew)
    base = panel.settings.web.public_url.rstrip("/") or f"{request.url.scheme}://{request.url.netloc}"
    return f"{base}/calendar/{token}.ics"


async def feed(request: Request) -> Response:
    """Open to who knows the address: calendars sign in nowhere."""
    data = await panel_of(request).desk.schedule.calendar(request.path_params["token"])
    return Response(data, media_type="text/calendar; charset=utf-8", headers={"Cache-Control": "private, no-store"})


# ---- for people


async def listing(request: Request) -> Response:
    return await _page(request)


async def save(request: Request) -> Response:
    panel, user = panel_of(request), user_of(request)
    schedule_id = request.path_params.get("schedule_id", "")
    before = await _own(request) if schedule_id else None
    fields = {name: str(value) for name, value in (await request.form()).items() if name != "csrf"}
    try:
        said = ScheduledCallIn(
            number=fields.get("number", ""), due_at=fields.get("due_at", ""), note=fields.get("note", ""),
            agent=_agent(request, fields.get("agent", "") or user.extension or ""),
            contact_id=before.contact_id if before is not None else None,
        )  # fmt: skip
        call = said.call(schedule_id, said.agent, panel.settings.office.timezone, user.extension or user.username)
        await panel.desk.schedule.save(call)
    except Invalid as error:
        errors = {error.field: invalid_words(request, error)}
        return await _page(request, 422, typed=fields, errors=errors, moving=schedule_id)
    return see_other(request, "/schedule", "stored")


async def close(request: Request) -> Response:
    state: ScheduleState = "done" if request.url.path.endswith("/done") else "cancelled"
    await panel_of(request).desk.schedule.close_as((await _own(request)).id, state)
    return see_other(request, "/schedule", "stored")


async def new_address(request: Request) -> Response:
    await _address(request, renew=True)
    return see_other(request, "/schedule", "stored")


async def _page(
    request: Request,
    status: int = 200,
    *,
    typed: dict[str, str] | None = None,
    errors: dict[str, str] | None = None,
    moving: str = "",
) -> Response:
    """`typed` and `errors` are of a call that could not be stored; `moving` is its id when it is planned already."""
    panel, user = panel_of(request), user_of(request)
    calls = []
    if sees_all(user) or user.extension:
        agent = None if sees_all(user) else user.extension
        calls = await panel.desk.schedule.list(agent=agent, open_only=True, limit=PAGE_SIZE)
    return page(
        request,
        "schedule.html",
        status,
        calls=calls,
        address=await _address(request) if user.extension else "",
        extensions=panel.control.extensions() if sees_all(user) else [],
        names=Names(panel.control.extensions(), panel.desk.lookup),
        typed=typed or {"number": request.query_params.get("number", "")[:64]},
        errors=errors or {},
        moving=moving,
        note=request.query_params.get("note", ""),
    )
