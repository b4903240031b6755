"""`hookline reconcile`: is every call in every CRM, once? With `--mend` it is afterwards.

Beside a running exchange it compares and marks, and the exchange tells the CRMs; without one it tells them itself.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence

import click

from crmhooks.build import build_connectors, connector_names
from crmhooks.connector import CrmConnector, InvalidHook
from crmhooks.embedded.index import ContactIndex
from crmhooks.journal import Journal
from crmhooks.outbox import Outbox
from crmhooks.reconcile import Compared, compare
from crmhooks.reconcile import mend as mend_found
from pbxcore.office import first_party
from pbxcore.settings import Settings
from pbxcore.store import Store, StoreInUse, StoreUnavailable
from pbxcore.store import open as open_store
from pbxcore.store.repo import Extensions


async def reconcile(settings: Settings, since: float | None, *, mend: bool, as_json: bool) -> int:
    """Print the comparison; 0 when nothing is missing or doubled, 1 when something is, or nothing can be known."""
    try:
        connectors = build_connectors(settings)
        store, alone = _opened(settings)
    except (StoreUnavailable, InvalidHook) as error:
        click.echo(f"hookline: {error}", err=True)
        return 1
    store.start()
    try:
        own = first_party(settings, Extensions(store).load())
        found = await compare(store, connectors, since, time.time(), own)
        mended = mend and not all(one.good for one in found)
        if mended:
            await _mend(store, connectors, settings, found, own, alone=alone)
            found = await compare(store, connectors, since, time.time(), own)
    except StoreUnavailable as error:
        click.echo(f"hookline: {error}", err=True)
        return 1
    finally:
        for connector in connectors:
            await connector.close()
        await asyncio.shield(store.close())
    if as_json:
        click.echo(json.dumps({"crms": [_object(one) for one in found]}, ensure_ascii=False))
    else:
        for one in found:
            click.echo(_words(one))
        if mended and not alone:
            click.echo("What is missing is told again by the running exchange.")
    return 0 if all(one.good for one in found) else 1


def _opened(settings: Settings) -> tuple[Store, bool]:
    """The database, and whether no exchange runs on it: then what a crash left in the backlog is brought in first."""
    database, crms = settings.database, connector_names(settings)
    try:
        return open_store(database.url, database.durability, serving=True, crms=crms), True
    except StoreInUse:
        return open_store(database.url, database.durability, crms=crms), False


async def _mend(
    store: Store,
    connectors: Sequence[CrmConnector],
    settings: Settings,
    found: Sequence[Compared],
    own: frozenset[str],
    *,
    alone: bool,
) -> None:
    if alone:
        journal = Journal(store, ContactIndex(), settings.office.country)
        journal.first_party = own
        await journal.close_interrupted()
    await mend_found(store, connectors, found)
    if alone:
        outbox = Outbox(
            store, connectors, country=settings.office.country, on_unknown=settings.crm.on_unknown
        )
        for courier in outbox.couriers:
            await courier.empty()


def _object(one: Compared) -> dict[str, object]:
    return {
        "crm": one.crm,
        "calls": one.calls,
        "records": one.records,
        "missing": len(one.missing),
        "doubled": len(one.doubled),
        "without_call": one.strays,
        "waiting": one.waiting,
        "parked": one.parked,
        "fault": one.fault,
        "missing_calls": list(one.missing),
        "doubled_calls": list(one.doubled),
        "comparable": one.comparable,
        "told": one.told if not one.comparable else None,
        "unwanted": one.unwanted,
    }


def _words(one: Compared) -> str:
    if one.fault:
        return f"{one.crm}: {one.calls} calls; its records are not known: {one.fault}"
    more = [f"{count} {name}" for count, name in ((one.waiting, "waiting"), (one.parked, "parked")) if count]
    if one.comparable:
        said = f"{one.crm}: {one.calls} calls, {one.records} records"
        said += f", {len(one.missing)} missing, {len(one.doubled)} doubled"
    else:
        said = f"{one.crm}: {one.calls} calls, {one.told} told, {len(one.missing)} not told"
        more = [*([f"{one.unwanted} not wanted by it"] if one.unwanted else []), *more]
        more.append("it shows no records: what it kept can't be compared")
    if one.strays:
        more.append(f"{one.strays} records of calls that are not in this journal")
    lines = [said + (f" ({', '.join(more)})" if more else "")]
    lines += [f"  {'missing' if one.comparable else 'not told'}  {call_id}" for call_id in one.missing]
    lines += [f"  doubled  {call_id}" for call_id in one.doubled]
    return "\n".join(lines)
