"""Calling methods of Odoo's models: by JSON-2 (Odoo 19 and later), or by `execute_kw` over /jsonrpc, which all versions
up to 21 have. Each call is a transaction of its own there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from crmhooks.connector import Refused, TryAgain, Unreachable
from crmhooks.connectors.common import Tools, text
from crmhooks.connectors.site import Denied, Site, Unauthorised
from crmhooks.text import one_line
from pbxcore.settings import CrmConnector as Settings

# Names of Python's errors that stand for a request which will never do; of the rest, a lock is the likeliest.
FOR_GOOD = ("odoo.exceptions.", "builtins.", "werkzeug.exceptions.NotFound")
LONGEST_REASON = 300


class Missing(Refused):
    """The record is not there, or not any more."""


class Rpc(Protocol):
    async def call(
        self, model: str, method: str, named: Mapping[str, Any], ids: Sequence[int] | None = None, *,
        waiting: bool = False,
    ) -> Any:  # fmt: skip
        """What the method returns; with `waiting` it changes nothing, and somebody waits for it. Raises Missing,
        and the errors of `Site.ask`."""
        ...

    async def close(self) -> None: ...


class Json2:
    """`POST /json/2/<model>/<method>` with the key of an API user."""

    def __init__(self, settings: Settings, tools: Tools) -> None:
        headers = {"authorization": f"bearer {settings.api_key.get_secret_value()}"}
        if settings.database:
            headers["x-odoo-database"] = settings.database
        self._site = Site(
            settings.url.rstrip("/") + "/json/2", tools.wall, headers=headers,
            describe=lambda body: text(body, "message") if isinstance(body, dict) else "",
            timeout=tools.timeout, transport=tools.transport,
        )  # fmt: skip

    async def call(
        self, model: str, method: str, named: Mapping[str, Any], ids: Sequence[int] | None = None, *,
        waiting: bool = False,
    ) -> Any:  # fmt: skip
        body = dict(named) if ids is None else {"ids": list(ids), **named}
        try:
            answer = await self._site.ask("POST", f"{model}/{method}", json=body, question=waiting)
        except Denied as error:
            name = text(error.body, "name") if isinstance(error.body, dict) else ""
            if name.endswith("MissingError"):
                raise Missing(str(error)) from None
            raise
        return answer.body

    async def close(self) -> None:
        await self._site.close()


class ExecuteKw:
    """`POST /jsonrpc`: a login gives the number of the user, every call has it and the password again."""

    def __init__(self, settings: Settings, tools: Tools) -> None:
        self._database = settings.database
        self._username = settings.username
        self._password = settings.password.get_secret_value() or settings.api_key.get_secret_value()
        self._user = 0
        self._number = 0
        self._lock = asyncio.Lock()
        self._site = Site(settings.url, tools.wall, timeout=tools.timeout, transport=tools.transport)

    async def call(
        self, model: str, method: str, named: Mapping[str, Any], ids: Sequence[int] | None = None, *,
        waiting: bool = False,
    ) -> Any:  # fmt: skip
        user = await self._login()
        # It looks at the first argument of a `create` to know how to answer, so that one has no name.
        plain = [named["vals_list"]] if method == "create" else [list(ids)] if ids is not None else []
        rest = {} if method == "create" else dict(named)
        args = [self._database, user, self._password, model, method, plain, rest]
        return await self._ask("object", "execute_kw", args, question=waiting)

    async def close(self) -> None:
        await self._site.close()

    async def _login(self) -> int:
        async with self._lock:
            if not self._user:
                args = [self._database, self._username, self._password]
                found = await self._ask("common", "login", args, question=False)
                if found is False:
                    raise Unauthorised("does not take the username and password")
                self._user = number(found)
            return self._user

    async def _ask(self, service: str, method: str, args: list[Any], *, question: bool) -> Any:
        self._number += 1
        mine = self._number
        params = {"service": service, "method": method, "args": args}
        request = {"jsonrpc": "2.0", "method": "call", "id": mine, "params": params}
        body = (await self._site.ask("POST", "jsonrpc", json=request, question=question)).body
        if not isinstance(body, dict) or body.get("id") != mine:
            raise Unreachable("answered something else than what it was asked: is the url right?")
        if "error" in body:
            raise _fault(body["error"])
        return body.get("result")


def _fault(error: Any) -> Exception:
    data = error.get("data") if isinstance(error, dict) else None
    has = data if isinstance(data, dict) else {}
    name = text(has, "name")
    said = one_line((text(has, "message") or name or "an error without words")[:LONGEST_REASON])
    if name.endswith("AccessDenied"):
        return Unauthorised(f"answered: {said}")
    if name.endswith("MissingError"):
        return Missing(f"answered: {said}")
    return Refused(f"answered: {said}") if name.startswith(FOR_GOOD) else TryAgain(f"answered: {said}")


def number(value: Any) -> int:
    """An id. Raises Unreachable for what is none."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    raise Unreachable("its answer has no id: is the url right?")


def found(value: Any) -> list[Mapping[str, Any]]:
    """The rows of a `search_read`. Raises Unreachable for an answer of another shape."""
    if not isinstance(value, list):
        raise Unreachable("its answer is no list: is the url right?")
    return [row for row in value if isinstance(row, dict)]


def created(value: Any) -> int:
    """The id of the one record that was made."""
    return number(value[0] if isinstance(value, list) and len(value) == 1 else value)


def granted(value: Any) -> None:
    """`write` and `unlink` answer true. Another answer is none of theirs, such as the second half of an earlier one."""
    if value is not True:
        raise Unreachable("it did not say that it has done it")
