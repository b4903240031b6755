"""`hookline import` and `hookline export`: contacts from a file and into a file.

Beside a running exchange, too: it takes over what has changed within seconds.
"""

from __future__ import annotations

import asyncio
import csv
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path

import click
from pydantic_core import to_json

from crmhooks.build import build_crm
from crmhooks.embedded.desk import EmbeddedCrm
from pbxcore.bus import Bus
from pbxcore.control import CardFile, ImportReport, Invalid
from pbxcore.settings import Settings
from pbxcore.store import StoreUnavailable
from pbxcore.store import open as open_store


async def take_in(settings: Settings, file: Path, *, merge_all: bool, rejects: Path | None, as_json: bool) -> int:
    """0 when all of it was good, 1 when something was refused or nothing could be read."""
    try:
        data = await asyncio.to_thread(file.read_bytes)
        kind: CardFile = "vcard" if b"BEGIN:VCARD" in data[:4096].upper() else "csv"
        async with _crm(settings) as crm:
            report = await crm.port.take_in(data, kind, merge_all=merge_all)
        if rejects is not None:
            await asyncio.to_thread(_write_rejects, rejects, report)
    except (StoreUnavailable, Invalid, OSError) as error:
        click.echo(f"hookline: {file}: {error}", err=True)
        return 1
    if as_json:
        click.echo(to_json(asdict(report)).decode())
    else:
        _print(report)
    return 1 if report.faults else 0


async def give_out(settings: Settings, file: Path) -> int:
    kind: CardFile = "vcard" if file.suffix.lower() in (".vcf", ".vcard") else "csv"
    try:
        async with _crm(settings) as crm:
            data = await crm.port.give_out(kind)
        await asyncio.to_thread(file.write_bytes, data)
    except (StoreUnavailable, OSError) as error:
        click.echo(f"hookline: {file}: {error}", err=True)
        return 1
    return 0


@asynccontextmanager
async def _crm(settings: Settings) -> AsyncIterator[EmbeddedCrm]:
    store = open_store(settings.database.url, settings.database.durability)
    store.start()
    try:
        crm = build_crm(settings, store, Bus())
        crm.load()
        yield crm
    finally:
        await asyncio.shield(store.close())


def _write_rejects(path: Path, report: ImportReport) -> None:
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(("line", "reason", "text"))
        writer.writerows((one.line, one.reason, one.text) for one in report.faults)


def _print(report: ImportReport) -> None:
    click.echo(
        f"{report.created} new, {report.merged} merged, {report.same} unchanged, {len(report.faults)} not imported"
    )
    for fault in report.faults:
        click.echo(f"line {fault.line}: {fault.reason}")
    for one in report.duplicates:
        click.echo(f"{one.number} is shared by {', '.join(contact.name for contact in one.contacts)}")
