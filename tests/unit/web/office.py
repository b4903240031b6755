"""The panel with the CRM that ships behind it, and browsers, all on the test's own event loop."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
from starlette.applications import Starlette

from crmhooks.build import build_crm
from crmhooks.embedded.desk import EmbeddedCrm
from pbxcore import store as stores
from pbxcore.settings import Settings
from tests.unit.web.conftest import CSRF, HIDDEN
from tests.unit.web.fakes import PASSWORD, World


class Surfer:
    """A browser that has signed in."""

    def __init__(self, client: httpx2.AsyncClient, csrf: str) -> None:
        self.client = client
        self.csrf = csrf

    async def get(self, path: str) -> Any:
        return await self.client.get(path)

    async def post(self, path: str, fields: dict[str, Any] | None = None, **more: Any) -> Any:
        return await self.client.post(path, data={"csrf": self.csrf, **(fields or {})}, **more)

    async def send(self, method: str, path: str, json: Any = None, **headers: str) -> Any:
        return await self.client.request(method, path, json=json, headers={"X-CSRF-Token": self.csrf, **headers})


class RealOffice:
    """`world` has the exchange, which is a fake; `crm` is real."""

    def __init__(self, world: World, crm: EmbeddedCrm, app: Starlette) -> None:
        self.world = world
        self.crm = crm
        self.app = app
        self.clients: list[httpx2.AsyncClient] = []

    def stranger(self) -> httpx2.AsyncClient:
        client = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=self.app),
            base_url="http://testserver",
            headers={"Accept-Language": "en"},
        )
        self.clients.append(client)
        return client

    async def sign_in(self, username: str) -> Surfer:
        client = self.stranger()
        token = HIDDEN.search((await client.get("/sign-in")).text)
        assert token is not None
        fields = {"username": username, "password": PASSWORD, "token": token.group(1), "next": "/"}
        assert (await client.post("/sign-in", data=fields)).status_code == 303
        found = CSRF.search((await client.get("/account")).text)
        assert found is not None
        return Surfer(client, re.sub(r"\\u002d", "-", found.group(1)))


@asynccontextmanager
async def real_office(directory: Path, **crm: Any) -> AsyncIterator[RealOffice]:
    settings = Settings.model_validate(
        {
            "office": {"country": "US", "timezone": "Europe/Berlin"},
            "inbound": [{"number": "+12025550100", "to": "101"}],
            "crm": crm,
        }
    )
    store = stores.open(f"sqlite:///{directory}/office.db", serving=True)
    store.start()
    world = World()
    desk = build_crm(settings, store, world.bus, clock=world.wall)
    desk.load()
    world.desk = desk  # type: ignore[assignment]  # the real one
    office = RealOffice(world, desk, world.app(settings=settings))
    try:
        yield office
    finally:
        for client in office.clients:
            await client.aclose()
        await desk.close()
        await store.close()
