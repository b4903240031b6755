"""`hookline token`: makes, lists and takes back the tokens of programs, beside a running exchange or without one."""

from __future__ import annotations

import asyncio
import time
from typing import cast

import click

from pbxcore.control import Invalid, NotFound
from pbxcore.settings import Settings
from pbxcore.store import StoreUnavailable
from pbxcore.store import open as open_store
from pbxcore.store.repo import Role
from pbxcore.store.tokens import ApiTokens


async def tokens(settings: Settings, name: str, role: str, extension: str, remove: bool) -> int:
    """Exit status 1 for what cannot be done; the reason is on standard error."""
    try:
        store = open_store(settings.database.url, settings.database.durability)
    except StoreUnavailable as error:
        click.echo(f"hookline: {error}", err=True)
        return 1
    store.start()
    kept = ApiTokens(store)
    try:
        if not name:
            for one in await kept.all():
                click.echo(f"{one.name}  {one.role}" + (f"  {one.extension}" if one.extension else ""))
        elif remove:
            await kept.drop(name)
        else:
            click.echo(await kept.make(name, cast(Role, role), extension or None, time.time()))
    except (Invalid, NotFound, StoreUnavailable) as error:
        click.echo(f"hookline: {error}", err=True)
        return 1
    finally:
        await asyncio.shield(store.close())
    return 0
