"""What the agent is told of a call, by number, prefix, segment, called number or time of day: in memory.

The most specific instruction wins: one for the very number; then what the contact's own entry says; then the longest
prefix; then one for a tag of the contact; then one for the number or queue that was called; then one for the time of
day; then one for every call. Of two alike the one with more of these conditions wins, and at last the older one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, tzinfo

from sqlmodel import Session, col, select

from crmhooks.numbers import normalise
from crmhooks.text import one_line, paragraphs
from pbxcore.control import ContactEntry, Instruction, Invalid, NotFound
from pbxcore.hooks import IncomingCall
from pbxcore.store import Store
from pbxcore.store.models import InstructionRow

MAX_TEXT = 4000
MAX_CALLED = 64
DAY = 24 * 60
SPELLED = re.compile(r"[\s().\-/]")
PREFIX = re.compile(r"\+\d{1,14}\Z", re.ASCII)
DAYS = re.compile(r"[1-7]*\Z", re.ASCII)

Rank = tuple[bool, int, bool, bool, bool]


class Book:
    """All instructions, found by their most specific condition.

    `inbound` is the dial plan's: number of ours -> what it leads to, so that an instruction may name either.
    """

    def __init__(
        self,
        store: Store,
        country: str,
        zone: tzinfo,
        inbound: Mapping[str, str],
        clock: Callable[[], float],
        token: Callable[[], str],
    ) -> None:
        self._store = store
        self._country = country
        self._zone = zone
        self._inbound = {_called(number, country): _leads_to(to) for number, to in inbound.items()}
        self._clock = clock
        self._token = token
        self._rules: dict[str, Instruction] = {}          # in the order they were made
        self._by_number: dict[str, list[Instruction]] = {}
        self._by_prefix: dict[str, list[Instruction]] = {}
        self._by_tag: dict[str, list[Instruction]] = {}
        self._by_called: dict[str, list[Instruction]] = {}
        self._others: list[Instruction] = []
        self._longest = 0

    def __len__(self) -> int:
        return len(self._rules)

    def load(self) -> None:
        """Blocks: for the start."""
        self._rules = {one.id: one for one in self._store.ask_now(_all)}
        self._index()

    def all(self) -> list[Instruction]:
        return sorted(self._rules.values(), key=rank, reverse=True)

    # -- beside the call

    def find(self, call: IncomingCall, number: str | None, contacts: Iterable[ContactEntry], own: str) -> str:
        """What to show of this call. `number` is its other party in E.164, None for what is none; `own` what the
        contacts' own entries say."""
        best: Instruction | None = None
        best_rank: Rank | None = None
        for rule in self._candidates(call, number, contacts):
            its = rank(rule)
            if (best_rank is None or its > best_rank) and self._in_time(rule, call.received_at):
                best, best_rank = rule, its
        if best is None or (own and not best.number):
            return own
        return best.text

    def _candidates(
        self, call: IncomingCall, number: str | None, contacts: Iterable[ContactEntry]
    ) -> Iterable[Instruction]:
        tags = {tag.casefold() for contact in contacts for tag in _tags(contact)}
        called = self._names_of(call)
        found = [*self._others]
        for name in called:
            found += self._by_called.get(name, ())
        for tag in sorted(tags):
            found += self._by_tag.get(tag, ())
        if number is not None:
            for length in range(2, min(self._longest, len(number)) + 1):
                found += self._by_prefix.get(number[:length], ())
            found += self._by_number.get(number, ())
        for rule in found:
            if rule.number and rule.number != number:
                continue
            if rule.prefix and not (number or "").startswith(rule.prefix):
                continue
            if (rule.tag and rule.tag.casefold() not in tags) or (rule.called and rule.called not in called):
                continue
            yield rule

    def _names_of(self, call: IncomingCall) -> tuple[str, ...]:
        """What was called: the number, and what it leads to. Nobody calls a number of ours by dialling out."""
        if call.direction == "outbound":
            return ()
        number = _called(call.called, self._country)
        to = self._inbound.get(number) or self._inbound.get("*")
        return (number,) if to is None or call.direction == "internal" else (number, to)

    def _in_time(self, rule: Instruction, at: float) -> bool:
        """Whether it is that time in the office. A span over midnight belongs to the day on which it begins."""
        if rule.begins is None and not rule.days:
            return True
        here = datetime.fromtimestamp(at, self._zone)
        day, minute = here.isoweekday(), here.hour * 60 + here.minute
        begins, ends = rule.begins or 0, DAY if rule.ends is None else rule.ends
        if begins < ends:
            inside = begins <= minute < ends
        else:
            inside = minute >= begins or minute < ends
            if minute < ends:
                day = (day - 2) % 7 + 1
        return inside and (not rule.days or str(day) in rule.days)

    # -- changes

    async def save(self, instruction: Instruction) -> Instruction:
        """Create (no id) or change. Raises Invalid, NotFound; StoreUnavailable when the database is gone."""
        checked = self._checked(instruction)
        fresh = "" if checked.id else self._token()
        now = self._clock()

        def job(session: Session) -> Instruction:
            row = session.get(InstructionRow, checked.id) if checked.id else None
            if row is None and checked.id:
                raise NotFound(f"no instruction {checked.id}")
            row = row or InstructionRow(id=fresh, text="", created_at=now)
            for name in ("text", "number", "prefix", "tag", "called", "days", "begins", "ends"):
                setattr(row, name, getattr(checked, name))
            session.add(row)
            return replace(checked, id=row.id)

        def then(stored: Instruction) -> None:
            self._rules[stored.id] = stored
            self._index()

        return await self._store.change(job, then)

    async def delete(self, instruction_id: str) -> None:
        """Raises NotFound, StoreUnavailable."""

        def job(session: Session) -> None:
            row = session.get(InstructionRow, instruction_id)
            if row is None:
                raise NotFound(f"no instruction {instruction_id}")
            session.delete(row)

        def then(_: None) -> None:
            self._rules.pop(instruction_id, None)
            self._index()

        await self._store.change(job, then)

    def _checked(self, said: Instruction) -> Instruction:
        text = paragraphs(said.text)
        if not text or len(text) > MAX_TEXT:
            raise Invalid("text", "instruction.text", most=MAX_TEXT)
        number = one_line(said.number)
        if number:
            found = normalise(number, self._country)
            if found is None:
                raise Invalid("number", "number.unread", said=said.number)
            number = found.e164
        prefix = SPELLED.sub("", one_line(said.prefix))
        if prefix and not PREFIX.match(prefix):
            raise Invalid("prefix", "instruction.prefix", said=said.prefix)
        tag, called = one_line(said.tag), _leads_to(_called(one_line(said.called), self._country))
        if len(tag) > MAX_CALLED or len(called) > MAX_CALLED:
            raise Invalid("tag" if len(tag) > MAX_CALLED else "called", "text.long", most=MAX_CALLED)
        days = "".join(sorted(set(said.days)))
        if not DAYS.match(days):
            raise Invalid("days", "instruction.days", said=said.days)
        times = (said.begins, said.ends)
        if (said.begins is None) != (said.ends is None) or any(t is not None and not 0 <= t <= DAY for t in times):
            raise Invalid("begins", "instruction.times")
        if said.begins is not None and said.begins == said.ends:
            raise Invalid("ends", "instruction.at_once")
        return replace(
            said, text=text, number=number, prefix=prefix, tag=tag, called=called, days="" if len(days) == 7 else days
        )

    def _index(self) -> None:
        self._by_number, self._by_prefix, self._by_tag, self._by_called, self._others = {}, {}, {}, {}, []
        for rule in self._rules.values():
            if rule.number:
                self._by_number.setdefault(rule.number, []).append(rule)
            elif rule.prefix:
                self._by_prefix.setdefault(rule.prefix, []).append(rule)
            elif rule.tag:
                self._by_tag.setdefault(rule.tag.casefold(), []).append(rule)
            elif rule.called:
                self._by_called.setdefault(rule.called, []).append(rule)
            else:
                self._others.append(rule)
        self._longest = max(map(len, self._by_prefix), default=0)


def rank(rule: Instruction) -> Rank:
    """How specific it is: number, length of the prefix, segment, called number, time."""
    timed = bool(rule.days) or rule.begins is not None
    return bool(rule.number), len(rule.prefix), bool(rule.tag), bool(rule.called), timed


def _tags(contact: ContactEntry) -> tuple[str, ...]:
    return (*contact.tags, "vip") if contact.vip else contact.tags


def _called(text: str, country: str) -> str:
    number = normalise(text, country)
    return text if number is None else number.e164


def _leads_to(target: str) -> str:
    """`queue:sales` as it is, and an extension without anything before it."""
    return target.removeprefix("extension:")


def _all(session: Session) -> list[Instruction]:
    query = select(InstructionRow).order_by(col(InstructionRow.created_at), col(InstructionRow.id))
    return [
        Instruction(row.id, row.text, row.number, row.prefix, row.tag, row.called, row.days, row.begins, row.ends)
        for row in session.exec(query)
    ]
