"""Telling a receiver of calls event by event: newCall, answer, hangup, in the words that sipgate.io's push API began
and Zammad's generic CTI interface took over.

A receiver is told when a call begins to ring, within the budget of the hooks, and what it answers may decide about the
call. What it did not hear then the outbox tells it when the call is answered or over. The id of the call goes along as
`callId`, so what is told twice is about the same call. It shows no records, and has no place for a summary.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import parse_qsl, urlencode

from crmhooks.connector import Ability, CrmActivity, HookError, Question
from crmhooks.connectors.common import Receiver, Tools
from crmhooks.decisions import from_json
from crmhooks.numbers import normalise
from crmhooks.rules import InvalidDecision
from pbxcore.control import ContactEntry
from pbxcore.hooks import CallSnapshot, Decision, IncomingCall, Reject
from pbxcore.settings import CrmConnector

Said = Mapping[str, str]

REMEMBERED = 5000       # calls that were announced and have not been told of by the outbox
WITHHELD = "anonymous"
IN_VAIN = "explain-"    # what ids begin with of calls that there are not: `hookline explain` asks about them
CAUSES = {
    "answered": "normalClearing",
    "no_answer": "noAnswer",
    "busy": "busy",
    "cancelled": "cancel",
    "rejected": "noAnswer",       # "rejected the call (e.g. through a DND setting)"
    "failed": "congestion",
}


BUSY = Reject(486, "Busy Here")


def dialled(number: str, otherwise: Decision | None = None) -> Decision:
    """The decision to send a call to this number, digits with the country's code. Raises HookError for what is none."""
    try:
        return replace(from_json({"kind": "dial", "number": f"+{number.lstrip('+')}"}), otherwise=otherwise)
    except InvalidDecision as error:
        raise HookError(f"wrong answer: {error}") from None


class Push(Receiver):
    """One receiver. A record's id is what every event about its call says, and what the receiver said to the first."""

    can: frozenset[Ability] = frozenset(("follow", "remove"))

    def __init__(self, settings: CrmConnector, tools: Tools) -> None:
        super().__init__(settings, tools)
        self.announcer = Announcer(self)
        self._announced: dict[str, Said] = {}

    async def announce(self, call: IncomingCall) -> Decision | None:
        """Tell of a call that is about to ring; what the receiver decides. Raises CrmError and HookError."""
        outbound = call.direction == "outbound"
        other, own = (call.called, call.caller) if outbound else (call.caller, call.called)
        said, decision = await self._new_call(self._base(call.call_id, other, own, outbound=outbound), call.extension)
        self._announced[call.call_id] = said
        if len(self._announced) > REMEMBERED:
            del self._announced[next(iter(self._announced))]
        return decision

    async def open_activity(self, activity: CrmActivity) -> str:
        base = self._event(activity)
        said = self._announced.get(activity.external_id)
        if said is None:
            said, _ = await self._new_call(base, activity.agent)
        if activity.answered_at is not None:
            await self._tell("answer", {**base, **self._answering(activity)}, said)
        if activity.ended_at is not None:
            await self._over(activity, said)
        self._announced.pop(activity.external_id, None)
        return urlencode({**base, **said})

    async def update_activity(self, record_id: str, activity: CrmActivity) -> None:
        if activity.ended_at is not None:
            await self._over(activity, dict(parse_qsl(record_id)))

    async def complete_activity(self, record_id: str, activity: CrmActivity) -> None:
        await self.update_activity(record_id, activity)

    async def remove_activity(self, record_id: str) -> None:
        """A call that became a part of another one is over."""
        known = dict(parse_qsl(record_id))
        base = {name: known.get(name, "") for name in ("callId", "direction", "from", "to")}
        await self._tell("hangup", {**base, "cause": "forwarded"}, known)

    async def _over(self, activity: CrmActivity, said: Said) -> None:
        cause = CAUSES.get(activity.disposition, "normalClearing" if activity.answered_at is not None else "congestion")
        fields = {**self._event(activity), **self._answering(activity), "cause": cause}
        fields.pop("user", None)       # of answer alone
        await self._tell("hangup", fields, said)

    def _event(self, activity: CrmActivity) -> dict[str, str]:
        outbound = activity.direction == "outbound"
        return self._base(activity.external_id, activity.number, activity.own_number, outbound=outbound)

    def _base(self, call_id: str, other: str, own: str, *, outbound: bool) -> dict[str, str]:
        caller, called = (own, other) if outbound else (other, own)
        return {
            "callId": call_id,
            "direction": "out" if outbound else "in",
            "from": self._number(caller) or WITHHELD,
            "to": self._number(called),
        }

    def _answering(self, activity: CrmActivity) -> dict[str, str]:
        """Who of us has it; of a call that he made himself he is no answering party."""
        if activity.agent is None or activity.answered_at is None or activity.direction == "outbound":
            return {}
        user = self._users.id_of(activity.agent) or activity.agent
        return {"user": user, "answeringNumber": user}

    def _number(self, text: str) -> str:
        """As these interfaces write numbers: digits with the country's code, no plus."""
        number = normalise(text, self._country)
        return text if number is None else number.e164[1:]

    @abstractmethod
    async def _new_call(self, base: Mapping[str, str], agent: str | None) -> tuple[Said, Decision | None]:
        """Post newCall: what the receiver said that later events need, and its decision."""

    @abstractmethod
    async def _tell(self, event: str, fields: Mapping[str, str], said: Said) -> None:
        """Post another event; nothing where the receiver said that it does not want it."""


class Announcer:
    """A receiver as the runner asks it: a hook that is told of calls before they ring."""

    answers: frozenset[Question] = frozenset(("on_incoming",))

    def __init__(self, push: Push) -> None:
        self.name = push.name
        self._push = push

    async def lookup(self, number: str) -> Sequence[ContactEntry]:
        return ()

    async def on_incoming(self, call: IncomingCall) -> Decision | None:
        if call.direction == "internal" or call.call_id.startswith(IN_VAIN):
            return None
        return await self._push.announce(call)

    async def on_answered(self, call: CallSnapshot) -> None: ...

    async def on_ended(self, call: CallSnapshot) -> None: ...

    async def close(self) -> None:
        """The connector is closed when the outbox is."""
