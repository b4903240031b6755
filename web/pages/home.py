"""The live page: its stream of fragments, and what is done on it (write a summary, store a caller, hang up)."""

from __future__ import annotations

from collections.abc import AsyncIterator

from markupsafe import Markup
from sse_starlette import ServerSentEvent
from starlette.requests import Request
from starlette.responses import Response

from pbxcore.control import AGENT_STATES, ContactEntry, Invalid, NotFound
from web.auth import sees_all
from web.feed import Entry, Stream, follow
from web.handing import hand_over
from web.live import BESIDE, REGIONS, LivePage, may_write, view_card
from web.pages.activities import read_change, typed_of
from web.pages.calls import find_call, show_call
from web.panel import (
    Refused,
    fragment,
    invalid_words,
    is_htmx,
    may_see,
    page,
    panel_of,
    see_other,
    session_of,
    still_signed_in,
    user_of,
    words_of,
)
from web.view import own_leg, parties

GATHER_SECONDS = 0.12  # events that come closer together than this are shown at once
SHARE = 20  # pages that see all calls never take more than one part in so many of the process's time
PAUSE_LIMIT = 2.0


async def home(request: Request) -> Response:
    live = LivePage(panel_of(request), user_of(request), words_of(request), session_of(request).csrf)
    note = request.query_params.get("note", "")
    return page(request, "live.html", regions=await live.start(), states=AGENT_STATES, note=note)


async def feed(request: Request) -> Response:
    """The page's stream: HTML partials. One too many closes the oldest, whose page offers to take over again."""
    panel, user, session = panel_of(request), user_of(request), session_of(request)
    panel.hub.make_room(user.username)
    regions = BESIDE if request.query_params.get("view") == "beside" else REGIONS
    live = LivePage(panel, user, words_of(request), session.csrf, regions)
    cursor = panel.hub.join(user.username, session.id, request.headers.get("last-event-id", ""), user.extension)

    async def show(entries: list[Entry] | None) -> AsyncIterator[ServerSentEvent]:
        html = await (live.everything() if entries is None else live.apply(entries))
        if html:
            yield ServerSentEvent(data=html, id=cursor.id)

    async def alive() -> bool:
        return await still_signed_in(panel, user, session)

    def pause() -> float:
        if not sees_all(user):
            return GATHER_SECONDS
        return min(PAUSE_LIMIT, max(GATHER_SECONDS, SHARE * live.cost * len(panel.hub)))

    return Stream(follow(cursor, alive, show, pause))


async def _card(request: Request, call_id: str) -> str:
    """The card as it looks now, when the call is this user's; nothing otherwise."""
    panel, extension = panel_of(request), user_of(request).extension
    try:
        call = panel.control.call(call_id)
    except NotFound:
        records = await panel.desk.history(call_id=call_id, limit=1)
        if not records:
            return ""
        call = records[0]
    if extension is None or extension not in parties(call):
        return ""
    return fragment(request, "live/card.html", card=await view_card(panel, call, extension))


async def write_summary(request: Request) -> Response:
    """Store the two lines; the card of a call that goes on stays up and shows them."""
    panel, user = panel_of(request), user_of(request)
    call_id = request.path_params["call_id"]
    fields = await request.form()
    text = str(fields.get("summary", ""))
    contact_id = str(fields.get("contact_id", "")) or None
    if not await may_write(panel, user, call_id):
        raise Refused(403, "not_yours")
    try:
        change = read_change(fields, panel.settings.office.timezone)
        await panel.desk.write_summary(call_id, text, user.extension or user.username, contact_id, change)
        panel.control.summary_written(call_id)
    except Invalid as error:
        why = invalid_words(request, error)
        if error.field not in ("summary", "contact_id"):
            return await show_call(
                request, await find_call(request), text=text, contact_id=contact_id, refused={error.field: why},
                typed=typed_of(fields),
            )  # fmt: skip
        if is_htmx(request):
            return page(
                request, "live/summary_form.html", 422, call_id=call_id, text=text, error=why, contact_id=contact_id
            )
        return await show_call(
            request, await find_call(request), text=text, error=why, contact_id=contact_id, typed=typed_of(fields)
        )
    if not is_htmx(request):
        return see_other(request, f"/calls/{call_id}", "summary")
    live = any(call.call_id == call_id and own_leg(call, user.extension) for call in panel.control.calls())
    card = await _card(request, call_id) if live else ""
    return page(request, "live/written.html", call_id=call_id, card=Markup(card))  # noqa: S704 - rendered with autoescape


async def store_caller(request: Request) -> Response:
    """Make a contact of an unknown caller, from his card."""
    panel = panel_of(request)
    call_id = request.path_params["call_id"]
    fields = await request.form()
    entry = ContactEntry(
        id="",
        name=str(fields.get("name", "")),
        numbers=tuple(n for n in (str(fields.get("number", "")).strip(),) if n),
        company=str(fields.get("company", "")),
        vip=fields.get("vip") == "on",
        owner=user_of(request).extension,
    )
    try:
        stored = await panel.desk.save_contact(entry)
    except Invalid as error:
        errors = {error.field: invalid_words(request, error)}
        return page(request, "live/caller_form.html", 422, call_id=call_id, entry=entry, errors=errors)
    if not is_htmx(request):
        return see_other(request, f"/contacts/{stored.id}", "stored")
    card = Markup(await _card(request, call_id))  # noqa: S704 - rendered with autoescape
    return page(request, "live/stored.html", call_id=call_id, contact=stored, card=card)


async def transfer(request: Request) -> Response:
    """Give one's call to a colleague or a number, with its card and what was noted of it so far."""
    panel, user = panel_of(request), user_of(request)
    call = panel.control.call(request.path_params["call_id"])
    if own_leg(call, user.extension) is None:
        raise Refused(403, "not_yours")
    fields = await request.form()
    to = str(fields.get("to", "")).strip()
    try:
        await hand_over(panel, call, to, user.extension, str(fields.get("summary", "")))
    except Invalid as error:
        if is_htmx(request):
            why = invalid_words(request, error)
            return page(request, "live/transfer_form.html", 422, call_id=call.call_id, to=to, error=why)
        raise
    if not is_htmx(request):
        return see_other(request, "/", "transferred")
    return page(request, "live/transferred.html", call_id=call.call_id)


async def say_state(request: Request) -> Response:
    """The agent says what he is; the list of phones shows it."""
    panel, user = panel_of(request), user_of(request)
    said = (await request.form()).get("state")
    state = next((one for one in AGENT_STATES if one == said), None)
    if user.extension is None or state is None:
        raise Refused(422, "invalid", "state")
    panel.control.agent_says(user.extension, state)
    return Response(status_code=204) if is_htmx(request) else see_other(request, "/")


async def hang_up(request: Request) -> Response:
    panel, call_id = panel_of(request), request.path_params["call_id"]
    call = panel.control.call(call_id)
    if not may_see(user_of(request), call):
        raise Refused(403, "not_yours")
    panel.control.hang_up(call_id)
    return Response(status_code=204) if is_htmx(request) else see_other(request, "/")
