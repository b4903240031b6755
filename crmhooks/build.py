"""Makes the runner from the settings. Every mistake that can be found at start is found here, and named by its key."""

from __future__ import annotations

import time
from collections.abc import Callable

from crmhooks.connector import CardDesk, Hook, InvalidHook
from crmhooks.runner import Runner
from pbxcore.bus import Bus
from pbxcore.hooks import Decision
from pbxcore.settings import CrmHook, Settings


def build_runner(
    settings: Settings,
    desk: CardDesk,
    bus: Bus,
    *,
    clock: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
    annotate: Callable[[str, str], None] | None = None,
    learned: Callable[[str, Decision], None] | None = None,
) -> Runner:
    """The runner with the hooks of the settings, in file order. Raises InvalidHook.

    `clock` must be monotonic and `wall` Unix time, both in seconds; `annotate` is the
    journal's, `learned` the exchange's.
    """
    crm = settings.crm
    hooks = [
        (_hook(f"crm.hook[{index + 1}]", index, hook, wall), (hook.deadline_ms or crm.deadline_ms) / 1000)
        for index, hook in enumerate(crm.hook)
    ]
    return Runner(
        desk,
        bus,
        hooks=hooks,
        budget=crm.deadline_ms / 1000,
        country=settings.office.country,
        clock=clock,
        wall=wall,
        annotate=annotate,
        learned=learned,
    )


def _hook(key: str, index: int, hook: CrmHook, wall: Callable[[], float]) -> Hook:
    if hook.deadline_ms is not None and hook.deadline_ms < 1:
        raise InvalidHook(f"{key}.deadline_ms", "must be at least 1; leave it out for the whole of crm.deadline_ms")
    # Imported when used: an office without hooks does not pay for an HTTP client.
    if hook.kind == "http":
        from crmhooks.connectors.http import make

        if hook.target:
            raise InvalidHook(f"{key}.target", 'belongs to kind = "python"; an http hook has url and secret')
        return make(key, hook.name or f"http hook {index + 1}", hook.url, hook.secret.get_secret_value(), wall=wall)
    from crmhooks.connectors.python import load

    if hook.url or hook.secret.get_secret_value():
        raise InvalidHook(f"{key}.url", 'url and secret belong to kind = "http"; a python hook has target')
    return load(f"{key}.target", hook.name or hook.target, hook.target)
