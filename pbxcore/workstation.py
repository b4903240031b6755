"""`hookline agent`: the first-party scheme. Signed in with the token of one extension, it hears of that extension's
calls only, and carries them from the workstation to the CRM's endpoint, posted and signed as a hook's are.

When it does not run, nobody tells the CRM of these calls: that is the scheme's own trade-off. It goes on where it
stopped when the line to the exchange breaks, as long as the exchange remembers.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import click
import httpx2
from pydantic import TypeAdapter

from crmhooks.connector import HookError
from crmhooks.connectors.http import HttpHook
from pbxcore.hooks import CallSnapshot, Decision, IncomingCall

RETRY_SECONDS = (1.0, 2.0, 5.0, 15.0)
SILENCE_SECONDS = 60.0      # the exchange pings more often than that
REMEMBERED = 500            # calls that were told of

_snapshot = TypeAdapter(CallSnapshot).validate_python


class NotAllowed(Exception):
    """The exchange does not take the token, or it is not one of an agent; the message says what to do."""


@dataclass
class Workstation:
    """One agent's: `base` is the panel's address. `say` prints a line."""

    client: httpx2.AsyncClient
    hook: HttpHook
    say: Callable[[str], None] = click.echo
    extension: str = ""
    _last: str = ""
    _told: dict[tuple[str, str], None] = field(default_factory=dict)

    async def run(self) -> None:
        """Until it is cancelled. Raises NotAllowed."""
        failures = 0
        while True:
            try:
                await self.sign_in()
                self.say(f"extension {self.extension}: waiting for calls")
                async for name, data in self.events():
                    failures = 0
                    await self.on_event(name, data)
            except (httpx2.HTTPError, OSError) as error:
                self.say(f"the exchange cannot be reached ({type(error).__name__}); trying again")
            await asyncio.sleep(RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)])
            failures += 1

    async def sign_in(self) -> None:
        answer = await self.client.get("/api/v1/me")
        if answer.status_code in (401, 403):
            raise NotAllowed("the exchange does not take this token; make one: hookline token NAME --extension 101")
        answer.raise_for_status()
        me = answer.json()
        if me["role"] != "agent" or not me["extension"]:
            raise NotAllowed("this token is not that of an agent; make one: hookline token NAME --extension 101")
        self.extension = me["extension"]

    async def events(self) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """What is sent (text/event-stream), by name; goes on after what was heard last."""
        headers = {"last-event-id": self._last} if self._last else {}
        async with self.client.stream("GET", "/api/v1/events", headers=headers, timeout=SILENCE_SECONDS) as stream:
            stream.raise_for_status()
            name, data = "", ""
            async for line in stream.aiter_lines():
                key, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if key == "event":
                    name = value
                elif key == "data":
                    data += value
                elif key == "id":
                    self._last = value
                elif not line:
                    if name and data:
                        yield name, json.loads(data)
                    name, data = "", ""

    async def on_event(self, name: str, data: dict[str, Any]) -> None:
        """Carry it to the CRM; each thing of a call once."""
        call_id = data.get("call_id", "")
        if name in ("Delivered", "Established") and data["party"] == self.extension:
            if self._first(call_id, "ringing"):     # a phone that answers by itself never rang
                await self._tell(call_id, "rings", self._rings)
            if name == "Established" and self._first(call_id, "answered"):
                await self._tell(call_id, "answered", self.hook.on_answered)
        elif name == "ConnectionCleared" and self._first(call_id, "ended"):
            await self._post("ended", self.hook.on_ended, _snapshot(data["call"]))
        elif name == "refresh":
            await self._missed({call["call_id"] for call in data["calls"]})

    async def _missed(self, live: set[str]) -> None:
        """Some events are lost: what rang here and is over by now is told of all the same."""
        for call_id in [call_id for call_id, what in self._told if what == "ringing" and call_id not in live]:
            if self._first(call_id, "ended"):
                await self._tell(call_id, "ended", self.hook.on_ended)

    def _first(self, call_id: str, what: str) -> bool:
        if (call_id, what) in self._told:
            return False
        self._told[call_id, what] = None
        if len(self._told) > REMEMBERED:
            del self._told[next(iter(self._told))]
        return True

    async def _tell(self, call_id: str, what: str, deed: Callable[[CallSnapshot], Any]) -> None:
        answer = await self.client.get(f"/api/v1/calls/{call_id}")
        if answer.status_code == 404:
            return      # over, and forgotten: its end is told
        answer.raise_for_status()
        await self._post(what, deed, _snapshot(answer.json()["call"]))

    async def _post(self, what: str, deed: Callable[[CallSnapshot], Any], call: CallSnapshot) -> None:
        try:
            decision: Decision | None = await deed(call)
        except HookError as error:
            self.say(f"{what}: {call.caller} -> {call.called}: the CRM was not told: {error}")
            return
        name = decision.display_name if decision is not None else None
        self.say(f"{what}: {call.caller} -> {call.called}" + (f": {name}" if name else ""))
        if decision is not None and decision.instructions:
            self.say(decision.instructions)

    async def _rings(self, call: CallSnapshot) -> Decision | None:
        """The look-up: the question that a third-party hook is asked. Where the call rings is settled already, and of
        the answer only who it is and what to do are shown."""
        asked = IncomingCall(
            call.call_id, call.caller, call.called, call.direction, call.arrived_at, call.caller_name, call.trunk,
            call.extension,
        )  # fmt: skip
        return await self.hook.on_incoming(asked)


async def work(base: str, token: str, hook: HttpHook) -> int:
    """Exit status 1 when the exchange does not want us."""
    headers = {"authorization": f"Bearer {token}"}
    try:
        async with httpx2.AsyncClient(base_url=base, headers=headers, trust_env=False) as client:
            await Workstation(client, hook).run()
    except NotAllowed as error:
        click.echo(f"hookline: {error}", err=True)
        return 1
    finally:
        await hook.close()
    return 0
