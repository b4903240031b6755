"""/api/v1: the same things for programs, as JSON. Errors are `{"error": {"field", "message", "code"}}`, in English.

Browsers come with their session's cookie, and with its CSRF token in X-CSRF-Token for every write.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic_core import to_json
from sse_starlette import ServerSentEvent
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pbxcore.events import CallEvent, Event
from pbxcore.store.repo import User
from web import crm_api
from web.auth import sees_all
from web.bodies import AgentStateIn, ContactIn, RulesIn, SummaryIn, TransferIn
from web.feed import STREAMS_PER_USER, Entry, Stream, follow
from web.handing import hand_over
from web.live import concerns, may_write
from web.openapi import document
from web.pages.calls import find_call
from web.pages.contacts import may_delete
from web.panel import (
    Refused,
    guarded,
    json_body,
    may_see,
    number_of,
    panel_of,
    read,
    reply,
    session_of,
    still_signed_in,
    user_of,
)
from web.view import own_leg, parties

LIMIT = 200
OFFSET_LIMIT = 10_000_000


def routes() -> list[Route]:
    one = "/api/v1/contacts/{contact_id}"
    return [
        Route("/api/v1/calls", guarded(calls), methods=["GET"]),
        Route("/api/v1/calls/{call_id}", guarded(call)),
        Route("/api/v1/calls/{call_id}/trace", guarded(trace, ("admin",))),
        Route("/api/v1/calls/{call_id}/hangup", guarded(hang_up), methods=["POST"]),
        Route("/api/v1/calls/{call_id}/transfer", guarded(transfer), methods=["POST"]),
        Route("/api/v1/calls/{call_id}/summary", guarded(write_summary), methods=["POST", "PUT"]),
        Route("/api/v1/contacts", guarded(contacts), methods=["GET"]),
        Route("/api/v1/contacts", guarded(create_contact), methods=["POST"]),
        Route("/api/v1/contacts/lookup", guarded(lookup), methods=["GET"]),
        *crm_api.routes(),
        Route(one, guarded(contact), methods=["GET"]),
        Route(one, guarded(change_contact), methods=["PUT"]),
        Route(one, guarded(delete_contact), methods=["DELETE"]),
        Route("/api/v1/activities", guarded(activities)),
        Route("/api/v1/events", guarded(events, touch=False)),
        Route("/api/v1/agents/{number}/state", guarded(agent_state), methods=["GET"]),
        Route("/api/v1/agents/{number}/state", guarded(say_agent_state), methods=["PUT"]),
        Route("/api/v1/me", guarded(me)),
        Route("/api/v1/extensions", guarded(extensions)),
        Route("/api/v1/trunks", guarded(trunks)),
        Route("/api/v1/rules", guarded(rules, ("admin",)), methods=["GET"]),
        Route("/api/v1/rules", guarded(replace_rules, ("admin",)), methods=["PUT"]),
        Route("/api/v1/openapi.json", guarded(openapi)),
        Route("/api/v1/schemas", guarded(schemas)),
        Route("/api/v1/schemas/{name}", guarded(schema)),
    ]


async def calls(request: Request) -> Response:
    """Live calls; with `live=false` call records, newest first (`party`, `limit`, `offset`)."""
    panel, user = panel_of(request), user_of(request)
    if request.query_params.get("live", "true") != "false":
        return reply({"calls": panel.visible_calls(user)})
    party = request.query_params.get("party") or None
    if not sees_all(user):
        if user.extension is None:
            return reply({"calls": []})
        if party not in (None, user.extension):
            raise Refused(403, "own_calls", "party")
        party = user.extension
    limit, offset = number_of(request, "limit", 50, LIMIT), number_of(request, "offset", 0, OFFSET_LIMIT)
    return reply({"calls": await panel.desk.history(party=party, limit=limit, offset=offset)})


async def call(request: Request) -> Response:
    """One call, live or on record, with what was asked for it."""
    found = await find_call(request)
    return reply({"call": found, "explain": await panel_of(request).control.explain(found)})


async def trace(request: Request) -> Response:
    """The SIP ladder of a live or recent call, secrets masked."""
    return reply(panel_of(request).control.trace(request.path_params["call_id"]))


async def hang_up(request: Request) -> Response:
    panel = panel_of(request)
    found = panel.control.call(request.path_params["call_id"])
    if not may_see(user_of(request), found):
        raise Refused(403, "not_yours")
    panel.control.hang_up(found.call_id)
    return Response(status_code=204)


async def transfer(request: Request) -> Response:
    """First-party control: an agent gives away his own place in a call. Third-party: a supervisor anybody's. The card
    and the notes are on the target's page before his phone rings."""
    panel, user = panel_of(request), user_of(request)
    found = panel.control.call(request.path_params["call_id"])
    wanted = read(TransferIn, await json_body(request))
    party = wanted.party
    if not sees_all(user):
        if own_leg(found, user.extension) is None:
            raise Refused(403, "not_yours")
        if party not in (None, user.extension):
            raise Refused(403, "own_transfers", "party")
        party = user.extension
    await hand_over(panel, found, wanted.to, party, wanted.notes)
    return Response(status_code=202)


async def write_summary(request: Request) -> Response:
    panel, user = panel_of(request), user_of(request)
    call_id = request.path_params["call_id"]
    if not await may_write(panel, user, call_id):
        raise Refused(403, "not_yours")
    written = read(SummaryIn, await json_body(request))
    author = user.extension or user.username
    change = written.change(panel.settings.office.timezone)
    done = await panel.desk.write_summary(call_id, written.summary, author, written.contact_id, change)
    panel.control.summary_written(call_id)
    return reply(done)


async def contacts(request: Request) -> Response:
    limit, offset = number_of(request, "limit", 50, LIMIT), number_of(request, "offset", 0, OFFSET_LIMIT)
    search = request.query_params.get("search", "")[:200]
    return reply({"contacts": await panel_of(request).desk.contacts(search, limit, offset)})


async def lookup(request: Request) -> Response:
    number = request.query_params.get("number", "")
    if not number or len(number) > 128:
        raise Refused(422, "no_number", "number")
    return reply({"contacts": panel_of(request).desk.lookup(number)})


async def create_contact(request: Request) -> Response:
    entry = read(ContactIn, await json_body(request)).entry("")
    stored = await panel_of(request).desk.save_contact(entry)
    response = reply(stored, 201)
    response.headers["Location"] = f"/api/v1/contacts/{stored.id}"
    return response


async def contact(request: Request) -> Response:
    return reply(await panel_of(request).desk.contact(request.path_params["contact_id"]))


async def change_contact(request: Request) -> Response:
    entry = read(ContactIn, await json_body(request)).entry(request.path_params["contact_id"])
    return reply(await panel_of(request).desk.save_contact(entry))


async def delete_contact(request: Request) -> Response:
    panel = panel_of(request)
    found = await panel.desk.contact(request.path_params["contact_id"])
    if not may_delete(user_of(request), found):
        raise Refused(403, "others_contact")
    await panel.desk.delete_contact(found.id)
    return Response(status_code=204)


async def activities(request: Request) -> Response:
    """Newest first; filters `agent`, `contact_id`, `call_id`, `open=true`, `overdue=true`, `follow_up=true`. An agent
    gets his own."""
    panel, user = panel_of(request), user_of(request)
    query = request.query_params
    agent = query.get("agent") or None
    if not sees_all(user):
        if user.extension is None:
            return reply({"activities": []})
        if agent not in (None, user.extension):
            raise Refused(403, "own_activities", "agent")
        agent = user.extension
    found = await panel.desk.activities(
        agent=agent,
        contact_id=query.get("contact_id") or None,
        call_id=query.get("call_id") or None,
        open_only=query.get("open") == "true",
        overdue=query.get("overdue") == "true",
        follow_up=query.get("follow_up") == "true",
        limit=number_of(request, "limit", 50, LIMIT),
        offset=number_of(request, "offset", 0, OFFSET_LIMIT),
    )
    return reply({"activities": found})


async def agent_state(request: Request) -> Response:
    found = panel_of(request).extension(request.path_params["number"])
    if found is None:
        raise Refused(404, "no_extension")
    return reply({"number": found.number, "state": found.state})


async def say_agent_state(request: Request) -> Response:
    """An agent says his own, a supervisor anybody's."""
    user, number = user_of(request), request.path_params["number"]
    if not sees_all(user) and user.extension != number:
        raise Refused(403, "own_state")
    wanted = read(AgentStateIn, await json_body(request))
    panel_of(request).control.agent_says(number, wanted.state)
    return await agent_state(request)


async def me(request: Request) -> Response:
    """Who is signed in."""
    user = user_of(request)
    return reply({"username": user.username, "role": user.role, "extension": user.extension})


async def extensions(request: Request) -> Response:
    return reply({"extensions": panel_of(request).control.extensions()})


async def trunks(request: Request) -> Response:
    return reply({"trunks": panel_of(request).control.trunks()})


async def rules(request: Request) -> Response:
    """The rules in the order in which they are looked through."""
    return reply({"rules": panel_of(request).rules.all()})


async def replace_rules(request: Request) -> Response:
    """Make these the panel's rules; those of the settings file stay before them."""
    wanted = read(RulesIn, await json_body(request))
    await panel_of(request).rules.replace(wanted.rules)
    return await rules(request)


async def openapi(request: Request) -> Response:
    return JSONResponse(document())


async def schemas(request: Request) -> Response:
    return reply({"schemas": {name: f"/api/v1/schemas/{name}" for name in request.app.state.schemas}})


async def schema(request: Request) -> Response:
    found = request.app.state.schemas.get(request.path_params["name"].removesuffix(".json"))
    if found is None:
        raise Refused(404, "no_schema")
    return Response(to_json(found), media_type="application/schema+json")


def may_hear(user: User, entry: Entry) -> bool:
    return not isinstance(entry.event, CallEvent) or sees_all(user) or concerns(user, entry)


def event_fields(event: Event) -> dict[str, Any]:
    return {field.name: getattr(event, field.name) for field in fields(event)} if is_dataclass(event) else {}


async def events(request: Request) -> Response:
    """Events as they happen, named as CSTA names them. `refresh` says that some were missed: ask for the calls anew.
    `own=true`: of calls of one's own extension alone."""
    panel, user, session = panel_of(request), user_of(request), session_of(request)
    own = request.query_params.get("own") == "true"
    if len(panel.hub.of_user(user.username)) >= STREAMS_PER_USER:
        raise Refused(429, "streams", most=STREAMS_PER_USER)
    last_id = request.headers.get("last-event-id", "")
    cursor = panel.hub.join(user.username, session.id, last_id, user.extension, firm=own)

    async def show(entries: list[Entry] | None) -> AsyncIterator[ServerSentEvent]:
        if entries is None:
            visible = [call for call in panel.visible_calls(user) if not own or user.extension in parties(call)]
            yield ServerSentEvent(event="refresh", id=cursor.id, data=to_json({"calls": visible}).decode())
            return
        for entry in entries:
            if concerns(user, entry) if own else may_hear(user, entry):
                name = type(entry.event).__name__
                body = to_json(event_fields(entry.event)).decode()
                yield ServerSentEvent(event=name, id=panel.hub.name(entry.number), data=body)

    async def alive() -> bool:
        return await still_signed_in(panel, user, session)

    return Stream(follow(cursor, alive, show))
