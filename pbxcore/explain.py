"""`hookline explain`: the look-up, the hooks and the dial plan for one number, without ringing anybody."""

from __future__ import annotations

import asyncio
import json

import click

from crmhooks.build import build_connectors, build_crm, build_rules, build_runner
from crmhooks.connector import InvalidHook
from crmhooks.decisions import to_json
from crmhooks.runner import Explanation
from pbxcore import office
from pbxcore.bus import Bus
from pbxcore.call.explained import route
from pbxcore.call.router import asks_crm, owner_may_ring
from pbxcore.hooks import ExplainStep, IncomingCall
from pbxcore.settings import Settings
from pbxcore.store import Store, StoreUnavailable
from pbxcore.store import open as open_store
from pbxcore.store.repo import Extensions


async def explain(settings: Settings, number: str, called: str, as_json: bool) -> int:
    """Print what would happen to a call from `number` to `called`; 0, or 1 when the CRM cannot be opened."""
    try:
        store = open_store(settings.database.url, settings.database.durability)
    except StoreUnavailable as error:
        click.echo(f"hookline: {error}", err=True)
        return 1
    try:
        return await _explain(store, settings, number, called, as_json)
    except InvalidHook as error:
        click.echo(f"hookline: {error}", err=True)
        return 1
    finally:
        await asyncio.shield(store.close())


async def _explain(store: Store, settings: Settings, number: str, called: str, as_json: bool) -> int:
    bus = Bus()
    crm = build_crm(settings, store, bus)
    crm.load()
    connectors = build_connectors(settings)
    dial_plan = office.build(settings, Extensions(store).load(), "").dial_plan
    runner = build_runner(
        settings, crm, bus, crms=connectors, rules=build_rules(settings, store),
        owner_first=lambda call: owner_may_ring(call, dial_plan),
    )  # fmt: skip
    called = called or next((rule.number for rule in settings.inbound if rule.number != "*"), "")
    inside = number in dial_plan.extensions or called in dial_plan.extensions
    call = IncomingCall("explain", number, called, "internal" if inside else "inbound", 0.0)
    asked = asks_crm(call, dial_plan)
    told = await runner.explain_number(number, called) if asked else Explanation((), None, ())
    steps = route(call, told.decision, dial_plan)
    if as_json:
        click.echo(json.dumps(_object(asked, told, steps), ensure_ascii=False))
    else:
        _print(number, called, asked, told, steps)
    await runner.close()
    for connector in connectors:
        await connector.close()
    return 0


def _object(asked: bool, told: Explanation, steps: tuple[ExplainStep, ...]) -> dict[str, object]:
    return {
        "asked": asked,
        "contacts": [{"id": c.id, "name": c.name, "numbers": list(c.numbers)} for c in told.contacts],
        "steps": [{"source": s.source, "outcome": s.outcome, "ms": round(s.elapsed_ms, 3)} for s in told.steps],
        "decision": to_json(told.decision) if told.decision else None,
        "route": [step.outcome for step in steps],
    }


def _print(number: str, called: str, asked: bool, told: Explanation, steps: tuple[ExplainStep, ...]) -> None:
    click.echo(f"A call from {number}" + (f" to {called}" if called else ""))
    if not asked:
        click.echo("  the extension is under first-party control: nobody is asked before it rings")
    for contact in told.contacts:
        click.echo(f"  contact  {contact.name}" + (f", owner {contact.owner}" if contact.owner else ""))
    for step in told.steps:
        click.echo(f"  {step.elapsed_ms:8.2f} ms  {step.source}: {step.outcome}")
    for place, taken in enumerate(steps):
        click.echo(f"  {'then ' if place else 'so   '}{taken.outcome}")
