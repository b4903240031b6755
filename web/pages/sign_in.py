"""Signing in and out, and the choice of language."""

from __future__ import annotations

import math

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from web.auth import Overloaded
from web.panel import (
    FORM_COOKIE,
    LANGUAGE_COOKIE,
    SESSION_COOKIE,
    Refused,
    cookie_name,
    identify,
    page,
    panel_of,
    see_other,
    session_of,
    set_cookie,
    words_of,
)
from web.words import CATALOGUES

YEAR_SECONDS = 365 * 24 * 3600
NAME_LIMIT = 200
PASSWORD_LIMIT = 1024


def local_path(text: str) -> str:
    """Where to go after signing in: a path of this panel, never another site's."""
    good = text.startswith("/") and not text.startswith(("//", "/\\", "/api/", "/sign-")) and text.isprintable()
    return text if good else "/"


def _form(request: Request, status: int = 200, *, error: str = "", username: str = "", wait: float = 0) -> Response:
    panel = panel_of(request)
    token = panel.sessions.new_form_token()
    back = local_path(request.query_params.get("next", "/"))
    response = page(request, "sign_in.html", status, token=token, error=error, username=username, next=back)
    set_cookie(request, response, FORM_COOKIE, token)
    if wait:
        response.headers["Retry-After"] = str(math.ceil(wait))
    return response


async def show(request: Request) -> Response:
    if await identify(request) is not None:
        return RedirectResponse("/", 303)
    return _form(request)


async def sign_in(request: Request) -> Response:
    """One answer for a wrong name and a wrong password, after the same work."""
    panel, words = panel_of(request), words_of(request)
    fields = await request.form()
    username = str(fields.get("username", "")).strip().casefold()[:NAME_LIMIT]
    password = str(fields.get("password", ""))[:PASSWORD_LIMIT]
    token = request.cookies.get(cookie_name(request, FORM_COOKIE))
    if not panel.sessions.good_form_token(token, str(fields.get("token", ""))):
        return _form(request, 403, error=words("sign_in.expired"), username=username)
    address = request.client.host if request.client else ""
    wait = panel.attempts.wait(address, username)
    if wait > 0:
        minutes = words.count("minutes", math.ceil(wait / 60))
        return _form(request, 429, error=words("sign_in.wait", minutes=minutes), username=username, wait=wait)
    panel.attempts.tried(address, username)
    user = await panel.users.find(username)
    try:
        right = await panel.passwords.check(user, password)
    except Overloaded:
        panel.attempts.forgive(address, username)
        return _form(request, 503, error=words("error.busy"), username=username, wait=5)
    if user is None or not right:
        return _form(request, 401, error=words("sign_in.wrong"), username=username)
    panel.attempts.succeeded(address, username)
    old = panel.sessions.find(request.cookies.get(cookie_name(request, SESSION_COOKIE)))
    if old is not None:
        panel.sessions.end(old)
    _, cookie = panel.sessions.start(user)
    response = RedirectResponse(local_path(str(fields.get("next", "/"))), 303)
    set_cookie(request, response, SESSION_COOKIE, cookie)
    return response


async def sign_out(request: Request) -> Response:
    panel_of(request).sessions.end(session_of(request))
    response = RedirectResponse("/sign-in", 303)
    set_cookie(request, response, SESSION_COOKIE, "", max_age=0)
    return response


async def choose_language(request: Request) -> Response:
    """Open to all: the sign-in page has the choice too. Changes nothing but a cookie of the visitor's own."""
    fields = await request.form()
    language = str(fields.get("language", ""))
    if language not in CATALOGUES:
        raise Refused(422, "invalid", "language")
    back = str(fields.get("next", "/"))
    response = see_other(request, "/sign-in" if back.startswith("/sign-in") else local_path(back))
    set_cookie(request, response, LANGUAGE_COOKIE, language, max_age=YEAR_SECONDS)
    return response
