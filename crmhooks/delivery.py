"""Bringing one CRM to what is known of one call: who it was with, its record, its end, its summary.

It does what is missing and nothing else, and may be broken off anywhere: done again, it goes on from there. Nothing
is stored here; how often and when is the outbox's affair.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from weakref import WeakValueDictionary

from crmhooks.connector import CrmActivity, CrmConnector, NewContact, TryAgain, Unreachable, own_id
from crmhooks.numbers import normalise
from crmhooks.outbox_rows import Job, Told
from crmhooks.text import one_line

OnUnknown = Literal["create", "ask", "ignore"]
LONGEST_SUBJECT = 200
LONGEST_NAME = 100
REMEMBERED = 1000     # numbers
REMEMBER = 60.0       # seconds, longer than any search lags behind
ENDED = "ended"       # the last stage of a call


@dataclass(slots=True)
class Progress:
    """How far a delivery came, also when it failed: the CRM's ids of the record and the contact."""

    record_id: str | None
    contact_id: str | None


class Later(Exception):
    """Nothing is wrong; it is to be told at `at`, Unix time."""

    def __init__(self, at: float) -> None:
        super().__init__(at)
        self.at = at


class Delivery:
    """One CRM. `clock` is monotonic seconds, `wall` Unix time. A CRM that is told but once waits `wrap_up` seconds
    after a call for its summary. Made on, and used from, one event loop."""

    def __init__(
        self,
        connector: CrmConnector,
        country: str,
        on_unknown: OnUnknown,
        clock: Callable[[], float],
        wall: Callable[[], float],
        wrap_up: float = 0.0,
    ) -> None:
        self._crm = connector
        self._country = country
        self._on_unknown = on_unknown
        self._clock = clock
        self._wall = wall
        self._wrap_up = wrap_up
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._known: dict[str, tuple[str, float]] = {}   # number -> its only contact, and until when that is believed
        self._doubtful: dict[str, float] = {}      # number -> when a search shows whether it was made after all

    async def deliver(self, job: Job, progress: Progress) -> str:
        """The digest of what the CRM knows now; empty when the call is no call of its own and has no record. Raises
        Later, and what the connector raises."""
        told = job.told
        if told is None:
            await self._take_back(job)
            return ""
        if "follow" not in self._crm.can:
            if told.ended_at is None:
                return job.sent
            summary_by = told.ended_at + self._wrap_up
            if told.answered_at is not None and not told.summary and self._wall() < summary_by:
                raise Later(summary_by)
        progress.contact_id = own_id(self._crm.name, told.contact_id) or job.contact_id or await self._contact(told)
        activity = activity_of(told, progress.contact_id)
        if "revise" not in self._crm.can:
            return await self._tell_stage(job, progress, activity)
        digest = digest_of(activity)
        if digest == job.sent:
            return digest
        fresh = False
        if progress.record_id is None and job.attempts:
            found = await self._crm.find_activity(told.call_id)
            progress.record_id = found[0].record_id if found else None
        if progress.record_id is None:
            progress.record_id = await self._crm.open_activity(activity)
            fresh = True
        if activity.ended_at is not None and activity.summary:
            await self._crm.complete_activity(progress.record_id, activity)
        elif not fresh:
            await self._crm.update_activity(progress.record_id, activity)
        return digest

    async def _tell_stage(self, job: Job, progress: Progress, activity: CrmActivity) -> str:
        """Each stage once: the stage is what it knows then. Whether an attempt that broke off got through nobody can
        ask, so it is told again."""
        stage = stage_of(activity)
        if job.sent not in (stage, ENDED):
            if progress.record_id is None:
                progress.record_id = await self._crm.open_activity(activity)
            elif "follow" in self._crm.can:
                await self._crm.update_activity(progress.record_id, activity)
            return stage
        return job.sent

    async def _take_back(self, job: Job) -> None:
        if "remove" not in self._crm.can:
            return
        if job.record_id is not None:
            await self._crm.remove_activity(job.record_id)
        if job.attempts and "list" in self._crm.can:
            for record in await self._crm.find_activity(job.call_id):
                await self._crm.remove_activity(record.record_id)

    async def _contact(self, told: Told) -> str | None:
        """The only contact with this number. Nobody for a number that several share, because nobody knows who of them
        it was: a hook or the agent may say so yet."""
        number = normalise(told.number, self._country)
        if number is None or "lookup" not in self._crm.can:
            return None
        e164 = number.e164
        async with self._locks.setdefault(e164, asyncio.Lock()):   # however many calls of his there are: one contact
            known, until = self._known.get(e164, ("", 0.0))
            if known and self._clock() < until:
                return known
            found = await self._crm.lookup(e164)
            if len(found) > 1:
                return None
            contact = own_id(self._crm.name, found[0].id) if found else None
            if not found and self._on_unknown == "create" and "create" in self._crm.can:
                contact = await self._make(e164, told)
            if contact is not None:
                self._remember(e164, contact)
            return contact

    async def _make(self, e164: str, told: Told) -> str:
        wait = self._doubtful.get(e164, 0.0) - self._clock()
        if wait > 0:
            raise TryAgain(f"it did not say whether it made the contact; a search shows it in {wait:.0f} s")
        name = one_line(told.name)[:LONGEST_NAME] or e164
        try:
            made = await self._crm.create_contact(NewContact(e164, name, told.agent))
        except (TryAgain, Unreachable):
            self._doubtful[e164] = self._clock() + self._crm.lag
            raise
        self._doubtful.pop(e164, None)
        return made

    def _remember(self, e164: str, contact: str) -> None:
        self._known.pop(e164, None)
        self._known[e164] = contact, self._clock() + REMEMBER
        if len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]


def activity_of(told: Told, contact_id: str | None) -> CrmActivity:
    outbound = told.direction == "outbound"
    whom = one_line(told.name) or told.number
    subject = f"Call {'to' if outbound else 'from'} {whom}" + (f" ({told.number})" if whom != told.number else "")
    return CrmActivity(
        external_id=told.call_id,
        direction="outbound" if outbound else "inbound",
        number=told.number,
        started_at=told.started_at,
        subject=subject[:LONGEST_SUBJECT],
        contact_id=contact_id,
        agent=told.agent,
        answered_at=told.answered_at,
        ended_at=told.ended_at,
        disposition=told.disposition,
        summary=told.summary,
        name=one_line(told.name),
        own_number=told.own_number,
    )


def stage_of(activity: CrmActivity) -> str:
    """How far a call has come, for a CRM that is told each stage once."""
    return ENDED if activity.ended_at is not None else "up"


def digest_of(activity: CrmActivity) -> str:
    return hashlib.blake2s(repr(activity).encode("utf-8", "replace"), digest_size=16).hexdigest()
