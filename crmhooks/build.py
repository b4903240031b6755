"""Makes the embedded CRM and the runner from the settings.

Every mistake that can be found at start is found here, and named by its key.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, tzinfo
from importlib import import_module
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from crmhooks.connector import CardDesk, CrmConnector, Hook, InvalidHook, NumberLookup, Refused
from crmhooks.embedded.desk import EmbeddedCrm
from crmhooks.rulebook import RuleBook
from crmhooks.runner import Runner
from crmhooks.trail import Route, Trail
from pbxcore.bus import Bus
from pbxcore.control import Invalid
from pbxcore.hooks import CallSnapshot, Decision, IncomingCall
from pbxcore.settings import CrmHook, Settings
from pbxcore.settings_file.connectors import module_of
from pbxcore.store import Store
from pbxcore.store.sql import beside

if TYPE_CHECKING:
    from crmhooks.connectors.common import Tools


def build_crm(
    settings: Settings,
    store: Store,
    bus: Bus,
    *,
    clock: Callable[[], float] = time.time,
) -> EmbeddedCrm:
    """The embedded CRM of this office. `clock` is Unix time."""
    return EmbeddedCrm(
        store,
        bus,
        settings.office.country,
        clock=clock,
        zone=zone_of(settings.office.timezone),
        inbound={rule.number: rule.to for rule in settings.inbound},
        enters=settings.crm.on_unknown == "create",
    )


def zone_of(name: str) -> tzinfo:
    """A time zone of this machine; UTC when it does not know it."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def build_runner(
    settings: Settings,
    desk: CardDesk,
    bus: Bus,
    *,
    clock: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
    annotate: Callable[[str, str], None] | None = None,
    learned: Callable[[str, Decision], None] | None = None,
    crms: Sequence[CrmConnector] = (),
    route: Route | None = None,
    keep: Callable[[Trail], None] | None = None,
    rules: RuleBook | None = None,
    first_party: Callable[[CallSnapshot], bool] | None = None,
    owner_first: Callable[[IncomingCall], bool] = lambda call: True,
) -> Runner:
    """The runner with the hooks of the settings, in file order, and the connectors that were made of them. Raises
    InvalidHook.

    `clock` must be monotonic and `wall` Unix time, both in seconds; `annotate` is the
    journal's, `learned` and `route` the exchange's, `keep` the explain log's.
    """
    crm = settings.crm
    hooks = [
        (_hook(f"crm.hook[{index + 1}]", index, hook, wall), (hook.deadline_ms or crm.deadline_ms) / 1000)
        for index, hook in enumerate(crm.hook)
    ]
    timed = [
        (made, (section.deadline_ms or crm.deadline_ms) / 1000)
        for made, section in zip(crms, crm.connector, strict=True)
    ]
    asked: list[tuple[NumberLookup, float]] = [(made, deadline) for made, deadline in timed if "lookup" in made.can]
    # First of all, so that whoever shows the call to people hears of it while it rings, whatever a hook decides.
    hooks = [(made.announcer, deadline) for made, deadline in timed if made.announcer is not None] + hooks
    return Runner(
        desk,
        bus,
        hooks=hooks,
        connectors=asked,
        budget=crm.deadline_ms / 1000,
        country=settings.office.country,
        clock=clock,
        wall=wall,
        annotate=annotate,
        learned=learned,
        route=route,
        keep=keep,
        rules=rules,
        first_party=first_party,
        owner_first=owner_first if crm.owner_first == "always" else lambda call: False,
    )


def build_rules(
    settings: Settings,
    store: Store,
    *,
    wall: Callable[[], float] = time.time,
    present: Callable[[str], bool] = lambda extension: True,
) -> RuleBook:
    """The rules of the settings file and those kept in the database. `present(extension)` says whether somebody could
    answer there. Blocks: for the start. Raises InvalidHook, StoreUnavailable."""
    fixed = [rule.model_dump(exclude_defaults=True) for rule in settings.crm.rule]
    zone, country = zone_of(settings.office.timezone), settings.office.country
    try:
        book = RuleBook(fixed, store=store, country=country, zone=zone, wall=wall, present=present)
    except Invalid as error:
        place, _, name = error.field.partition(".")
        raise InvalidHook(f"crm.rule[{place}].{name}", str(error)) from None
    book.load()
    return book


def connector_names(settings: Settings) -> tuple[str, ...]:
    """What the CRMs of the settings are called, in file order."""
    return tuple(section.name or section.kind for section in settings.crm.connector)


def build_connectors(settings: Settings, tools: Tools | None = None) -> list[CrmConnector]:
    """The CRMs of the settings, in file order; nothing is asked of them yet. Raises InvalidHook."""
    if not settings.crm.connector:
        return []
    # Imported when used: an office without CRMs does not pay for an HTTP client.
    from crmhooks.connectors.common import Tools

    office = settings.office
    tools = tools or Tools(office.country, beside=beside(settings.database.url), zone=zone_of(office.timezone))
    made: list[CrmConnector] = []
    for index, section in enumerate(settings.crm.connector):
        module = import_module(f"crmhooks.connectors.{module_of(section.kind)}")   # the settings file knows the kinds
        try:
            made.append(module.make(section, tools))
        except Refused as error:
            raise InvalidHook(f"crm.connector[{index + 1}]", str(error)) from None
    return made


def _hook(key: str, index: int, hook: CrmHook, wall: Callable[[], float]) -> Hook:
    if hook.deadline_ms is not None and hook.deadline_ms < 1:
        raise InvalidHook(f"{key}.deadline_ms", "must be at least 1; leave it out for the whole of crm.deadline_ms")
    # Imported when used: an office without hooks does not pay for an HTTP client.
    if hook.kind == "http":
        from crmhooks.connectors.http import make

        if hook.target:
            raise InvalidHook(f"{key}.target", 'belongs to kind = "python"; an http hook has url and secret')
        if hook.reload:
            raise InvalidHook(f"{key}.reload", 'belongs to kind = "python"; an http hook is not loaded by us')
        return make(key, hook.name or f"http hook {index + 1}", hook.url, hook.secret.get_secret_value(), wall=wall)
    from crmhooks.connectors.python import load

    if hook.url or hook.secret.get_secret_value():
        raise InvalidHook(f"{key}.url", 'url and secret belong to kind = "http"; a python hook has target')
    return load(f"{key}.target", hook.name or hook.target, hook.target, reload=hook.reload)
