"""A customer's CRM behind a hook, with moods: quick, slow, wrong, dead; it changes them in the middle of a run.

It is asked by the real runner, with its budget, its breakers and its tasks, in virtual time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crmhooks.connector import HookError, Question
from pbxcore.control import ContactEntry
from pbxcore.hooks import CallSnapshot, Decision, Dial, IncomingCall, Proceed, Redirect, Reject, Ring
from tests.scenario.simulator.network import Net

FOR_HELP = ("911", "112")
MOODS = ("quick", "slow", "wrong", "dead", "mixed")


class Crm:
    """One CRM. `mood` is changed by the run."""

    answers: frozenset[Question] = frozenset(("on_incoming", "on_answered", "on_ended", "lookup"))

    def __init__(self, net: Net, name: str) -> None:
        self.net, self.name = net, name
        self.mood = "quick"
        self.rng = net.chance["crm"]
        self.told: list[str] = []
        self.asked_for_help: list[str] = []     # calls that no CRM may be asked about

    async def _think(self) -> str:
        """However long that takes; what comes of it."""
        mood = self.rng.choice(MOODS[:4]) if self.mood == "mixed" else self.mood
        if mood != "quick":
            self.net.done[f"crm: {mood}"] += 1
        if mood == "dead":
            await self.net.loop.sleep(3600.0)
        elif mood == "slow":
            await self.net.loop.sleep(self.rng.uniform(0.2, 3.0))
        elif self.rng.random() < 0.7:
            await self.net.loop.sleep(self.rng.uniform(0.0, 0.08))
        if mood == "wrong" and self.rng.random() < 0.5:
            raise self.rng.choice((HookError("500 Internal Server Error"), ValueError("no JSON"), KeyError("targets")))
        return mood

    async def on_incoming(self, call: IncomingCall) -> Decision | None:
        if call.extension is not None and call.called.endswith(FOR_HELP):
            self.asked_for_help.append(call.call_id)
        mood = await self._think()
        rng = self.rng
        if mood == "wrong":
            lie: Decision | None = rng.choice(WRONG)
            return lie
        return rng.choice(RIGHT) if rng.random() < 0.4 else None

    async def lookup(self, number: str) -> Sequence[ContactEntry]:
        mood = await self._think()
        if mood == "wrong":
            lie: Sequence[ContactEntry] = self.rng.choice(LIES)
            return lie
        return [ContactEntry("x1", "Somebody Else", (number,))] if self.rng.random() < 0.5 else []

    async def on_answered(self, call: CallSnapshot) -> None:
        await self._think()

    async def on_ended(self, call: CallSnapshot) -> None:
        await self._think()
        self.told.append(call.call_id)

    async def close(self) -> None:
        return


RIGHT: tuple[Decision, ...] = (
    Proceed(display_name="Ada Lovelace", instructions="Speak slowly"),
    Ring(targets=("101", "102"), timeout=8.0),
    Ring(targets=("103", "104", "105"), strategy="in_order", timeout=4.0),
    Ring(targets=("102",), timeout=5.0, otherwise=Ring(targets=("103",), timeout=20.0)),
    Reject(status=486, reason="Busy Here"),
    Redirect(uri="sip:911@192.0.2.1"),
    Dial(number="15557000", trunk="carrier"),
)
LIES: tuple[Any, ...] = ("nobody", 7, [None], [{"name": "Ada"}])
WRONG: tuple[Any, ...] = (
    Ring(targets=("999", "none"), timeout=-1.0),
    Ring(targets=(), timeout=float("nan")),
    Reject(status=200, reason="OK\r\nX-Evil: 1"),
    Redirect(uri="not an address"),
    Dial(number="", trunk="nowhere"),
    Proceed(display_name='"><\r\nX-Evil: 1', alert_info="<http://x>\r\nX-Evil: 1"),
)
