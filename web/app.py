"""The panel as one ASGI application: its routes in one table, with who may use each.

Does not listen (`web.server` does) and imports nothing of the exchange but its doors.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from pbxcore.bus import Bus
from pbxcore.control import CrmDesk, CrmOutbox, DecisionRules, Invalid, NotFound, PbxControl
from pbxcore.settings import Settings
from pbxcore.store import StoreUnavailable
from pbxcore.store.repo import Role
from web import api, explained, metrics
from web import outbox as outbox_api
from web.attempts import Attempts
from web.auth import Passwords, TokenStore, UserStore
from web.decisions import in_words
from web.feed import Hub
from web.moments import for_input
from web.orders import Orders
from web.pages import (
    activities,
    calls,
    cards,
    contacts,
    files,
    home,
    instructions,
    rules,
    schedule,
    sign_in,
    traces,
    users,
    workstation,
)
from web.pages import outbox as outbox_page
from web.panel import (
    Panel,
    Refused,
    api_error,
    guarded,
    identify,
    invalid_words,
    is_api,
    is_htmx,
    page,
    panel_of,
    words_of,
)
from web.security import BodyLimit, SameOrigin, StrictHeaders
from web.sessions import Sessions
from web.view import dialable, duration, exact_moment, initials, iso_moment, milliseconds, moment, pretty_number
from web.words import Words

HERE = Path(__file__).parent
FILE_LIMIT = 20_000_000
FILE_PATHS = ("/contacts/import", "/api/v1/contacts/import")
YEAR_SECONDS = 365 * 24 * 3600


def create_app(
    *,
    control: PbxControl,
    desk: CrmDesk,
    bus: Bus,
    settings: Settings,
    users: UserStore,
    rules: DecisionRules,
    tokens: TokenStore | None = None,
    secret_key: bytes,
    clock: Callable[[], float],
    wall: Callable[[], float] = time.time,
    schemas: Mapping[str, Mapping[str, Any]] | None = None,
    collector: Collector | None = None,
    ready: Callable[[], bool] = lambda: True,
    outbox: CrmOutbox | None = None,
) -> Starlette:
    """The panel. `clock` is monotonic seconds, `wall` Unix time; `schemas` are served under /api/v1/schemas,
    `collector` adds the exchange's figures to /metrics, `ready` is asked by /readyz.

    Its event streams end when `app.state.panel.hub.close()` is called: `web.server` does it before it stops.
    """
    panel = Panel(
        control=control,
        desk=desk,
        bus=bus,
        settings=settings,
        users=users,
        rules=rules,
        tokens=tokens,
        sessions=Sessions(secret_key, clock),
        attempts=Attempts(clock),
        passwords=Passwords(),
        hub=Hub(bus, control),
        pages=environment(settings, wall),
        orders=Orders(clock),
        clock=clock,
        wall=wall,
        outbox=outbox,
    )
    panel.sessions.on_end = lambda session: panel.hub.end_session(session.id)
    middleware = [
        Middleware(StrictHeaders),
        Middleware(BodyLimit, words=words_of, larger=dict.fromkeys(FILE_PATHS, FILE_LIMIT)),
        Middleware(SameOrigin, words=words_of, public_url=settings.web.public_url),
    ]
    app = Starlette(routes=routes(), middleware=middleware, exception_handlers=error_handlers())
    app.state.panel = panel
    app.state.schemas = dict(schemas or {})
    app.state.metrics = metrics.registry(panel, collector)
    app.state.ready = ready
    return app


def error_handlers() -> dict[Any, Any]:
    """Who answers which error: a page, a line for htmx, or JSON under /api."""
    return {
        Refused: _refused,
        NotFound: _not_found,
        Invalid: _invalid,
        HTTPException: _http_error,
        StoreUnavailable: _unavailable,
        Exception: _broken,
    }


def routes() -> list[Route | Mount]:
    """Every address of the panel. What is not `guarded` is open to all, and is named in `OPEN`."""
    admin: tuple[Role, ...] = ("admin",)
    chiefs: tuple[Role, ...] = ("admin", "supervisor")
    return [
        Route("/", guarded(home.home)),
        Route("/live/feed", guarded(home.feed, touch=False)),
        Route("/live/calls/{call_id}/summary", guarded(home.write_summary), methods=["POST"]),
        Route("/live/calls/{call_id}/contact", guarded(home.store_caller), methods=["POST"]),
        Route("/live/calls/{call_id}/hangup", guarded(home.hang_up), methods=["POST"]),
        Route("/live/calls/{call_id}/transfer", guarded(home.transfer), methods=["POST"]),
        Route("/live/state", guarded(home.say_state), methods=["POST"]),
        Route("/calls", guarded(calls.listing)),
        Route("/calls/{call_id}", guarded(calls.view)),
        Route("/calls/{call_id}/trace", guarded(traces.view, admin)),
        Route("/calls/{call_id}/trace.pcap", guarded(traces.capture, admin)),
        Route("/contacts", guarded(contacts.listing), methods=["GET"]),
        Route("/contacts", guarded(contacts.save), methods=["POST"]),
        Route("/contacts/new", guarded(contacts.new)),
        Route("/contacts/files", guarded(files.show)),
        Route("/contacts/import", guarded(files.take_in, chiefs), methods=["POST"]),
        Route("/contacts/export.{suffix}", guarded(files.give_out, chiefs)),
        Route("/contacts/merge", guarded(files.merge, chiefs), methods=["POST"]),
        Route("/contacts/{contact_id}", guarded(contacts.view), methods=["GET"]),
        Route("/contacts/{contact_id}", guarded(contacts.save), methods=["POST"]),
        Route("/contacts/{contact_id}/edit", guarded(contacts.edit)),
        Route("/contacts/{contact_id}/delete", guarded(contacts.confirm_delete), methods=["GET"]),
        Route("/contacts/{contact_id}/delete", guarded(contacts.delete), methods=["POST"]),
        Route("/calls/{call_id}/follow-up", guarded(activities.follow_up), methods=["POST"]),
        Route("/activities", guarded(activities.listing)),
        Route("/instructions", guarded(instructions.listing), methods=["GET"]),
        Route("/instructions", guarded(instructions.save, chiefs), methods=["POST"]),
        Route("/instructions/{instruction_id}", guarded(instructions.edit, chiefs), methods=["GET"]),
        Route("/instructions/{instruction_id}", guarded(instructions.save, chiefs), methods=["POST"]),
        Route("/instructions/{instruction_id}/delete", guarded(instructions.delete, chiefs), methods=["POST"]),
        Route("/rules", guarded(rules.listing, admin), methods=["GET"]),
        Route("/rules", guarded(rules.save, admin), methods=["POST"]),
        Route("/rules/{place}/{deed:str}", guarded(rules.change, admin), methods=["POST"]),
        Route("/outbox", guarded(outbox_page.listing, chiefs)),
        Route("/outbox/retry", guarded(outbox_page.retry_parked, chiefs), methods=["POST"]),
        Route("/outbox/{entry_id}/retry", guarded(outbox_page.retry, chiefs), methods=["POST"]),
        Route("/schedule", guarded(schedule.listing), methods=["GET"]),
        Route("/schedule", guarded(schedule.save), methods=["POST"]),
        Route("/schedule/calendar", guarded(schedule.new_address), methods=["POST"]),
        Route("/schedule/{schedule_id}", guarded(schedule.save), methods=["POST"]),
        Route("/schedule/{schedule_id}/done", guarded(schedule.close), methods=["POST"]),
        Route("/schedule/{schedule_id}/cancel", guarded(schedule.close), methods=["POST"]),
        Route("/calendar/{token}.ics", schedule.feed),
        Route("/workstation", guarded(workstation.show)),
        Route("/users", guarded(users.listing, admin), methods=["GET"]),
        Route("/users", guarded(users.add, admin), methods=["POST"]),
        Route("/users/{username}/password", guarded(users.new_password_for, admin), methods=["POST"]),
        Route("/users/{username}/delete", guarded(users.remove, admin), methods=["POST"]),
        Route("/account", guarded(users.account), methods=["GET"]),
        Route("/account", guarded(users.change_password), methods=["POST"]),
        Route("/sign-out", guarded(sign_in.sign_out), methods=["POST"]),
        Route("/sign-in", sign_in.show, methods=["GET"]),
        Route("/sign-in", sign_in.sign_in, methods=["POST"]),
        Route("/language", sign_in.choose_language, methods=["POST"]),
        *api.routes(),
        *outbox_api.routes(),
        Route("/cards/{token}", cards.card),
        Route("/metrics", metrics.serve),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Mount("/static", CachedFiles(directory=HERE / "static"), name="static"),
    ]


OPEN = frozenset({
    "/sign-in", "/language", "/cards/{token}", "/calendar/{token}.ics", "/metrics", "/healthz", "/readyz", "/static",
})  # fmt: skip


class CachedFiles(StaticFiles):
    """Static files; their addresses change with their contents, so a browser may keep them."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        if response.status_code == 200:
            response.headers["Cache-Control"] = f"public, max-age={YEAR_SECONDS}, immutable"
        return response


def environment(settings: Settings, wall: Callable[[], float]) -> Environment:
    """The templates, with what they need to show numbers and times."""
    pages = Environment(
        loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, auto_reload=False
    )
    timezone = settings.office.timezone
    marks: dict[str, str] = {}

    def static(name: str) -> str:
        if name not in marks:
            marks[name] = hashlib.sha256((HERE / "static" / name).read_bytes()).hexdigest()[:10]
        return f"/static/{name}?{marks[name]}"

    def moment_here(words: Words, at: float | None) -> str:
        return moment(words, at, wall(), timezone)

    pages.globals.update(
        static=static,
        phone=pretty_number,
        dialable=dialable,
        duration=duration,
        ms=milliseconds,
        initials=initials,
        moment=moment_here,
        exact=lambda at: exact_moment(at, timezone),
        iso=lambda at: iso_moment(at, timezone),
        for_input=lambda at: for_input(at, timezone),
        decision=in_words,
        told_in=explained.in_words,
        source_in=explained.source_in_words,
    )
    return pages


async def healthz(request: Request) -> Response:
    return PlainTextResponse("ok\n")


async def readyz(request: Request) -> Response:
    ready = bool(request.app.state.ready())
    return PlainTextResponse("ready\n" if ready else "not ready\n", 200 if ready else 503)


async def _answer(request: Request, status: int, code: str, message: str, field: str | None = None) -> Response:
    """An error in the form that its asker can read."""
    if is_api(request):
        return api_error(status, code, message, field)
    if is_htmx(request):
        return PlainTextResponse(message, status)
    who = await identify(request, touch=False)
    if who is None:
        return PlainTextResponse(f"{message}\n", status)
    request.state.user, request.state.session = who
    return page(request, "error.html", status, code=status, message=message)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    message = words_of(request)(f"error.{error.code}", **error.values)
    return await _answer(request, error.status, error.code, message, error.field)


async def _not_found(request: Request, error: Exception) -> Response:
    return await _answer(request, 404, "404", str(error) if is_api(request) else words_of(request)("error.404"))


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, Invalid)
    return await _answer(request, 422, error.code, invalid_words(request, error), error.field)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = words_of(request)
    code = str(error.status_code) if f"error.{error.status_code}" in words else "400"
    answer = await _answer(request, error.status_code, code, words(f"error.{code}"))
    for name, value in (error.headers or {}).items():
        answer.headers[name] = value
    return answer


async def _unavailable(request: Request, error: Exception) -> Response:
    """The database is away. Calls go on without it, pages cannot: not even the user can be looked up."""
    return _failed(request, 503)


async def _broken(request: Request, error: Exception) -> Response:
    """Starlette raises the error on after this answer, so that it reaches the server's log."""
    return _failed(request, 500)


def _failed(request: Request, status: int) -> Response:
    panel_of(request).failures += 1
    message = words_of(request)(f"error.{status}")
    return api_error(status, str(status), message) if is_api(request) else PlainTextResponse(f"{message}\n", status)
