"""Users of the panel: an administrator adds and removes them and sets passwords anew; everybody changes his own.

A password that the panel makes is shown once, on the page that answers the form, and is kept nowhere.
"""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import Response

from pbxcore.control import Invalid, NotFound
from web.auth import ROLES, Overloaded, new_password
from web.panel import Refused, page, panel_of, see_other, session_of, user_of, words_of
from web.sessions import password_mark

USERNAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,62}")
PASSWORD_LEAST, PASSWORD_MOST = 10, 1024


async def listing(request: Request) -> Response:
    return await _page(request)


async def add(request: Request) -> Response:
    panel, words = panel_of(request), words_of(request)
    fields = await request.form()
    username = str(fields.get("username", "")).strip().casefold()
    role = next((r for r in ROLES if r == fields.get("role")), None)
    extension = str(fields.get("extension", "")) or None
    typed = {"username": username, "role": str(fields.get("role", "")), "extension": extension or ""}
    errors: dict[str, str] = {}
    if not USERNAME.fullmatch(username):
        errors["username"] = words("users.bad_username")
    if extension is not None and panel.extension(extension) is None:
        errors["extension"] = words("users.no_extension", number=extension)
    if errors or role is None:
        return await _page(request, 422, errors=errors or {"role": words("error.invalid")}, typed=typed)
    password = new_password()
    try:
        await panel.users.create(username, await panel.passwords.hash(password), role, extension, panel.wall())
    except Invalid as error:
        return await _page(request, 422, errors={error.field: words("users.taken")}, typed=typed)
    return await _page(request, 201, made={"username": username, "password": password})


async def new_password_for(request: Request) -> Response:
    panel = panel_of(request)
    username = request.path_params["username"]
    password = new_password()
    user = await panel.users.change(username, password=await panel.passwords.hash(password))
    if user.username == user_of(request).username:
        session_of(request).mark = password_mark(user)
    return await _page(request, made={"username": user.username, "password": password})


async def remove(request: Request) -> Response:
    panel, username = panel_of(request), request.path_params["username"]
    if username == user_of(request).username:
        raise Refused(422, "not_yourself")
    await panel.users.delete(username)
    return see_other(request, "/users", "removed")


async def account(request: Request) -> Response:
    return page(request, "account.html", errors={}, note=request.query_params.get("note", ""))


async def change_password(request: Request) -> Response:
    """Needs the old one, so that an unattended page is not enough; ends the user's other sessions."""
    panel, words, user = panel_of(request), words_of(request), user_of(request)
    fields = await request.form()
    old, new = str(fields.get("old", "")), str(fields.get("new", ""))
    errors: dict[str, str] = {}
    if not await _is_own(request, old):
        errors["old"] = words("account.wrong")
    elif not PASSWORD_LEAST <= len(new) <= PASSWORD_MOST:
        errors["new"] = words("account.short", n=PASSWORD_LEAST)
    elif new != str(fields.get("again", "")):
        errors["again"] = words("account.differs")
    if errors:
        return page(request, "account.html", 422, errors=errors, note="")
    try:
        changed = await panel.users.change(user.username, password=await panel.passwords.hash(new))
    except NotFound:
        raise Refused(404, "404") from None
    session_of(request).mark = password_mark(changed)
    return see_other(request, "/account", "password")


async def _is_own(request: Request, password: str) -> bool:
    """Whether this is the user's password; guessing is limited as it is at the door. Raises Refused."""
    panel, user = panel_of(request), user_of(request)
    address = request.client.host if request.client else ""
    if panel.attempts.wait(address, user.username) > 0:
        return False
    panel.attempts.tried(address, user.username)
    try:
        right = await panel.passwords.check(user, password[:PASSWORD_MOST])
    except Overloaded:
        panel.attempts.forgive(address, user.username)
        raise Refused(503, "busy") from None
    if right:
        panel.attempts.succeeded(address, user.username)
    return right


async def _page(
    request: Request,
    status: int = 200,
    *,
    errors: dict[str, str] | None = None,
    typed: dict[str, str] | None = None,
    made: dict[str, str] | None = None,
) -> Response:
    panel = panel_of(request)
    return page(
        request,
        "users.html",
        status,
        users=await panel.users.all(),
        roles=ROLES,
        extensions=panel.control.extensions(),
        errors=errors or {},
        typed=typed or {"role": "agent"},
        made=made,
        note=request.query_params.get("note", ""),
    )
