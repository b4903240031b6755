"""What every handler shares: the doors to the exchange and the CRM, the signed-in user, pages in his language.

`guarded` is the one place where sessions, roles and CSRF tokens are checked; every route but the few that `web.app`
names as open goes through it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import Any
from urllib.parse import quote

from jinja2 import Environment
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json, to_json
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from pbxcore.bus import Bus
from pbxcore.control import CrmBacklog, CrmDesk, CrmOutbox, DecisionRules, ExtensionState, Invalid, PbxControl
from pbxcore.hooks import CallSnapshot
from pbxcore.settings import Settings
from pbxcore.store import StoreUnavailable
from pbxcore.store.repo import Role, User
from pbxcore.store.tokens import key_of
from web.attempts import Attempts
from web.auth import ROLES, Passwords, TokenStore, UserStore, sees_all
from web.feed import Hub
from web.orders import Orders
from web.refused import Refused as Refused
from web.security import SAFE_METHODS
from web.sessions import Session, Sessions, TokenSession, password_mark
from web.view import parties
from web.words import LANGUAGES, Words, choose_language

Handler = Callable[[Request], Awaitable[Response]]
SESSION_COOKIE = "hookline_session"
FORM_COOKIE = "hookline_form"
LANGUAGE_COOKIE = "hookline_language"


@dataclass(slots=True)
class Panel:
    """One panel. `clock` is monotonic seconds, `wall` Unix time in seconds; `phones` is what all live pages share."""

    control: PbxControl
    desk: CrmDesk
    bus: Bus
    settings: Settings
    users: UserStore
    rules: DecisionRules
    sessions: Sessions
    attempts: Attempts
    passwords: Passwords
    hub: Hub
    pages: Environment
    orders: Orders
    clock: Callable[[], float]
    wall: Callable[[], float] = time.time
    outbox: CrmOutbox | None = None
    tokens: TokenStore | None = None
    failures: int = 0
    backlogs: Sequence[CrmBacklog] = ()     # as /metrics read them last
    phones: dict[tuple[str, bool], tuple[list[ExtensionState], str]] = field(default_factory=dict)

    def extension(self, number: str | None) -> ExtensionState | None:
        if not number:
            return None
        return next((e for e in self.control.extensions() if e.number == number), None)

    def visible_calls(self, user: User) -> list[CallSnapshot]:
        """Live calls that this user may see, newest first."""
        calls = [c for c in self.control.calls() if may_see(user, c)]
        calls.sort(key=lambda c: c.arrived_at, reverse=True)
        return calls


def may_see(user: User, call: CallSnapshot) -> bool:
    return sees_all(user) or (user.extension is not None and user.extension in parties(call))


def carries_calls(panel: Panel, user: User) -> bool:
    """Whether this user's own browser tells the CRM of his calls: first-party control, and it is said where the CRM
    is."""
    mine = panel.extension(user.extension) if panel.settings.crm.workstation_url else None
    return mine is not None and mine.crm_control == "first-party"


def panel_of(request: Request) -> Panel:
    panel = request.app.state.panel
    assert isinstance(panel, Panel)
    return panel


def user_of(request: Request) -> User:
    user = request.state.user
    assert isinstance(user, User)
    return user


def session_of(request: Request) -> Session:
    session = request.state.session
    assert isinstance(session, Session)
    return session


def words_of(request: Request) -> Words:
    """The visitor's language: his own choice, else his browser's, else the office's; English for programs."""
    if is_api(request):
        return Words("en")
    chosen = request.cookies.get(LANGUAGE_COOKIE, "")
    accepted = request.headers.get("accept-language", "")
    return Words(choose_language(chosen, accepted, panel_of(request).settings.office.language))


def is_api(request: Request) -> bool:
    return request.url.path.startswith("/api/")


def is_htmx(request: Request) -> bool:
    return request.headers.get("hx-request") == "true"


def secure(request: Request) -> bool:
    """Whether the browser speaks TLS to us or to the proxy before us."""
    return request.url.scheme == "https" or panel_of(request).settings.web.public_url.startswith("https:")


def cookie_name(request: Request, name: str) -> str:
    return f"__Host-{name}" if secure(request) else name


def set_cookie(request: Request, response: Response, name: str, value: str, max_age: int | None = None) -> None:
    response.set_cookie(
        cookie_name(request, name), value, max_age=max_age, httponly=True, samesite="strict", secure=secure(request)
    )


async def identify(request: Request, *, touch: bool = True) -> tuple[User, Session] | None:
    """Whose request this is. A user who is gone, or whose password changed, is nobody. Tokens are for the API."""
    panel = panel_of(request)
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and is_api(request):
        key = key_of(token.strip())
        program = None if panel.tokens is None else await panel.tokens.find(key)
        return None if program is None else (program, TokenSession(program.username, key, panel.clock()))
    session = panel.sessions.find(request.cookies.get(cookie_name(request, SESSION_COOKIE)), touch=touch)
    if session is None:
        return None
    user = await panel.users.find(session.username)
    if user is None or not compare_digest(password_mark(user), session.mark):
        panel.sessions.end(session)
        return None
    return user, session


async def still_signed_in(panel: Panel, user: User, session: Session) -> bool:
    """Whether a stream may go on: its session lives and the user is what he was when it began."""
    by_token = isinstance(session, TokenSession)
    if not by_token and not panel.sessions.alive(session):
        return False
    try:
        if by_token:
            return panel.tokens is not None and await panel.tokens.find(session.mark) == user
        found = await panel.users.find(user.username)
    except StoreUnavailable:
        return True
    if found is None or (found.role, found.extension) != (user.role, user.extension):
        return False
    return compare_digest(password_mark(found), session.mark)


def guarded(handler: Handler, roles: Iterable[Role] = ROLES, *, touch: bool = True) -> Handler:
    """The handler behind sign-in: only these roles, and no write without the session's CSRF token."""
    allowed = frozenset(roles)

    async def check(request: Request) -> Response:
        who = await identify(request, touch=touch)
        if who is None:
            return _to_sign_in(request)
        request.state.user, request.state.session = who
        if who[0].role not in allowed:
            raise Refused(403, "role")
        if request.method not in SAFE_METHODS and not isinstance(who[1], TokenSession):
            await _check_csrf(request, who[1])
        return await handler(request)

    return check


async def _check_csrf(request: Request, session: Session) -> None:
    token = request.headers.get("x-csrf-token")
    if token is None and not is_api(request):
        field = (await request.form()).get("csrf")
        token = field if isinstance(field, str) else None
    if token is None or not compare_digest(token.encode(), session.csrf.encode()):
        raise Refused(403, "csrf")


def _to_sign_in(request: Request) -> Response:
    if is_api(request):
        return api_error(401, "sign_in", words_of(request)("error.sign_in"))
    if is_htmx(request):
        return Response(status_code=401, headers={"HX-Redirect": "/sign-in"})
    back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    where = "/sign-in" if back == "/" or request.method != "GET" else f"/sign-in?next={quote(back, safe='')}"
    return RedirectResponse(where, 303)


def api_error(status: int, code: str, message: str, field: str | None = None) -> Response:
    return JSONResponse({"error": {"field": field, "message": message, "code": code}}, status)


def page(request: Request, name: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A whole page, or a fragment of one, in the visitor's language."""
    return HTMLResponse(fragment(request, name, **values), status)


def fragment(request: Request, name: str, **values: Any) -> str:
    panel = panel_of(request)
    user = getattr(request.state, "user", None)
    session = getattr(request.state, "session", None)
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return render(panel, words_of(request), user, name, csrf=session.csrf if session else "", here=here, **values)


def render(panel: Panel, words: Words, user: User | None, name: str, **values: Any) -> str:
    values.setdefault("csrf", "")
    return panel.pages.get_template(name).render(
        t=words, user=user, office=panel.settings.office, now=panel.wall(), languages=LANGUAGES,
        offers_to_store=panel.settings.crm.on_unknown != "ignore", connected=bool(panel.settings.crm.connector),
        at_work=lambda: user is not None and carries_calls(panel, user), **values,
    )


def see_other(request: Request, where: str, note: str = "") -> Response:
    """On to another page after a write; `note` is the key of a word of confirmation shown there."""
    target = f"{where}{'&' if '?' in where else '?'}note={note}" if note else where
    if is_htmx(request):
        return Response(status_code=204, headers={"HX-Redirect": target})
    return RedirectResponse(target, 303)


def invalid_words(request: Request, error: Invalid) -> str:
    """What is wrong with a value, in the visitor's language."""
    return words_of(request)(f"fault.{error.code}", **error.values)


async def json_body(request: Request) -> dict[str, Any]:
    """The JSON object that was sent. Raises Refused."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise Refused(415, "no_json_type")
    try:
        body = from_json(await request.body(), allow_inf_nan=False)
    except ValueError as error:
        raise Refused(400, "no_json", why=error) from None
    if not isinstance(body, dict):
        raise Refused(400, "no_object")
    return body


def number_of(request: Request, name: str, default: int, most: int) -> int:
    """A number from the query, between 0 and `most`. Raises Refused."""
    text = request.query_params.get(name, "")
    if not text:
        return default
    if not text.isdecimal() or len(text) > 9:
        raise Refused(422, "whole_number", name, name=name, most=most)
    return min(int(text), most)


def reply(value: Any, status: int = 200) -> Response:
    """JSON of anything the doors hand out: frozen dataclasses, enumerations, tuples."""
    return Response(to_json(value), status, media_type="application/json")


def read(model: type[BaseModel], body: dict[str, Any]) -> Any:
    """The body as this model. Raises Refused for the first field at fault."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise Refused(422, "body", ".".join(map(str, first["loc"])), why=first["msg"]) from None
