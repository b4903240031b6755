"""Decisions by rules, without code: a table of conditions and what to do, looked through from above; the first row that
fits decides. Those of the settings file come first and stay; the panel's own are kept in the database.

Everything is in memory, and rules are made ready when they change, so that a call pays for comparing only. What is
asked of the contact is what the embedded CRM knows at once: nobody is waited for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from typing import Any

from crmhooks.decisions import from_json
from crmhooks.numbers import normalise
from crmhooks.rules import InvalidDecision
from crmhooks.text import one_line
from pbxcore.control import Card, ContactEntry, Invalid, RuleEntry
from pbxcore.explained import decides
from pbxcore.hooks import Decision, IncomingCall, Ring
from pbxcore.store import Store
from pbxcore.store.repo import Secrets

MOST_RULES = 200
KEY = "crm.rules"            # of the panel's rules in the table of single values
OWNER = "owner"              # a target: the extension of the contact's owner
WITHHELD = "withheld"
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS = re.compile(r"([01]?\d|2[0-4]):([0-5]\d)-([01]?\d|2[0-4]):([0-5]\d)")
_PATTERN = re.compile(r"\+?[0-9]+\*?|[0-9*#]+|[A-Za-z0-9._-]+\*?")
_TEXTS = ("name", "direction", "trunk", "tag", "days", "hours")
_FLAGS = ("known", "vip", "owner_present")
_LISTS = ("caller", "called")
_DIRECTIONS = ("", "inbound", "outbound", "internal")


@dataclass(frozen=True, slots=True)
class Numbers:
    """Whole numbers and beginnings of numbers; empty fits all."""

    whole: frozenset[str] = frozenset()
    beginnings: tuple[str, ...] = ()
    withheld: bool = False

    def fits(self, number: str, as_received: str) -> bool:
        if number in self.whole or as_received in self.whole:
            return True
        if self.beginnings and (number.startswith(self.beginnings) or as_received.startswith(self.beginnings)):
            return True
        return self.withheld and not any(character.isdigit() for character in as_received)


@dataclass(frozen=True, slots=True)
class Rule:
    """One row, ready to be compared. Fields that are None or empty fit every call; `begins` and `ends` are minutes of
    the day, the end not among them, and may span midnight."""

    name: str
    decision: Decision
    caller: Numbers | None = None
    called: Numbers | None = None
    direction: str = ""
    trunk: str = ""
    tag: str = ""
    known: bool | None = None
    vip: bool | None = None
    owner_present: bool | None = None
    days: frozenset[int] = frozenset()     # ISO weekdays
    begins: int | None = None
    ends: int = 0
    owned: bool = False                    # its targets name the contact's owner

    @property
    def timed(self) -> bool:
        return bool(self.days) or self.begins is not None


@dataclass(slots=True)
class _Facts:
    """What rules compare, found out once a call and only as far as somebody asks."""

    caller: str
    called: str
    contact: ContactEntry | None
    now: datetime | None = None
    tags: frozenset[str] = field(default_factory=frozenset)


class RuleBook:
    """The rules of an office. `present(extension)` says whether somebody could answer there; `wall` is Unix time.

    `match` is called beside calls, everything else by the panel; all on the event loop.
    """

    def __init__(
        self,
        fixed: Sequence[Mapping[str, Any]] = (),
        *,
        store: Store | None = None,
        country: str = "",
        zone: tzinfo = UTC,
        wall: Callable[[], float] = lambda: 0.0,
        present: Callable[[str], bool] = lambda extension: True,
    ) -> None:
        """Raises Invalid for a rule of the file, its field such as `2.then.targets` (rules count from 1)."""
        self._secrets = None if store is None else Secrets(store)
        self._country = country
        self._zone = zone
        self._wall = wall
        self._present = present
        self._fixed = [dict(one) for one in fixed]
        self._own: list[dict[str, Any]] = []
        self._ready = self._made(self._fixed)
        self._fixed_ready = list(self._ready)

    def load(self) -> None:
        """Take the panel's rules. Blocks: for the start. One that this version does not take is left out."""
        text = None if self._secrets is None else self._secrets.get(KEY)
        found: list[dict[str, Any]] = json.loads(text) if text else []
        self._own = []
        for one in found:
            try:
                self._made([one])
            except Invalid:
                continue
            self._own.append(one)
        self._ready = [*self._fixed_ready, *self._made(self._own)]

    def __len__(self) -> int:
        return len(self._ready)

    # -- beside the call

    def match(self, call: IncomingCall, card: Card) -> tuple[str, Decision] | None:
        """The name and the decision of the first rule that fits."""
        facts = self._facts(call, card)
        for rule in self._ready:
            if self._fits(rule, call, facts):
                return rule.name, _for_owner(rule, facts.contact)
        return None

    def _facts(self, call: IncomingCall, card: Card) -> _Facts:
        outward = call.direction == "outbound"
        contact = card.contacts[0] if len(card.contacts) == 1 else None
        return _Facts(
            call.caller if outward else card.number,
            card.number if outward else self._e164(call.called),
            contact,
            tags=frozenset(contact.tags) if contact is not None else frozenset(),
        )

    def _fits(self, rule: Rule, call: IncomingCall, facts: _Facts) -> bool:
        contact = facts.contact
        if rule.direction and rule.direction != call.direction:
            return False
        if rule.caller is not None and not rule.caller.fits(facts.caller, call.caller):
            return False
        if rule.called is not None and not rule.called.fits(facts.called, call.called):
            return False
        if rule.trunk and rule.trunk != call.trunk:
            return False
        if rule.known is not None and rule.known != (contact is not None):
            return False
        if rule.vip is not None and rule.vip != (contact is not None and contact.vip):
            return False
        if rule.tag and rule.tag not in facts.tags:
            return False
        owner = contact.owner if contact is not None else None
        if rule.owned and owner is None:
            return False
        if rule.owner_present is not None and rule.owner_present != (owner is not None and self._present(owner)):
            return False
        return not rule.timed or self._is_now(rule, facts)

    def _is_now(self, rule: Rule, facts: _Facts) -> bool:
        if facts.now is None:
            facts.now = datetime.fromtimestamp(self._wall(), self._zone)
        day, minute = facts.now.isoweekday(), facts.now.hour * 60 + facts.now.minute
        if rule.begins is None:
            return day in rule.days
        if rule.begins < rule.ends:
            inside = rule.begins <= minute < rule.ends
        else:  # over midnight: its second part belongs to the day that it began on
            inside = minute >= rule.begins or minute < rule.ends
            day = day if minute >= rule.begins else (day - 2) % 7 + 1
        return inside and (not rule.days or day in rule.days)

    def _e164(self, number: str) -> str:
        found = normalise(number, self._country)
        return number if found is None else found.e164

    # -- the panel

    def all(self) -> list[RuleEntry]:
        """In the order in which they are looked through."""
        fixed = len(self._fixed)
        rows = zip([*self._fixed, *self._own], self._ready, strict=True)
        return [RuleEntry(one, decides(ready.decision), at < fixed) for at, (one, ready) in enumerate(rows)]

    async def replace(self, rules: Sequence[Mapping[str, Any]]) -> None:
        """Make these the panel's rules, in this order. Raises Invalid, StoreUnavailable; nothing is changed then."""
        own = [dict(one) for one in rules]
        made = self._made(own)
        if self._secrets is not None:
            await self._secrets.put(KEY, json.dumps(own, ensure_ascii=False))
        self._own = own
        self._ready = [*self._fixed_ready, *made]

    def _made(self, rules: Sequence[Mapping[str, Any]]) -> list[Rule]:
        if len(rules) > MOST_RULES:
            raise Invalid("rules", "rule.many", count=len(rules), most=MOST_RULES)
        return [self._rule(one, place) for place, one in enumerate(rules, 1)]

    def _rule(self, row: Mapping[str, Any], place: int) -> Rule:
        for name in row:
            if name not in (*_TEXTS, *_FLAGS, *_LISTS, "then"):
                raise Invalid(f"{place}.{name}", "rule.condition", name=name)
        for name in _TEXTS:
            if not isinstance(row.get(name, ""), str) or len(row.get(name, "")) > 128:
                raise Invalid(f"{place}.{name}", "rule.text")
        for name in _FLAGS:
            if row.get(name) not in (None, True, False):
                raise Invalid(f"{place}.{name}", "rule.flag")
        if row.get("direction", "") not in _DIRECTIONS:
            raise Invalid(f"{place}.direction", "rule.direction")
        try:
            decision = from_json(row.get("then"))
        except InvalidDecision as error:
            where = f"{place}.then.{error.field}" if error.field else f"{place}.then"
            raise Invalid(where, error.code, **error.values) from None
        begins, ends = _hours(row.get("hours", ""), place)
        return Rule(
            name=one_line(row.get("name", "")) or f"rule {place}",
            decision=decision,
            caller=self._numbers(row.get("caller"), f"{place}.caller"),
            called=self._numbers(row.get("called"), f"{place}.called"),
            direction=row.get("direction", ""),
            trunk=row.get("trunk", ""),
            tag=row.get("tag", ""),
            known=row.get("known"),
            vip=row.get("vip"),
            owner_present=row.get("owner_present"),
            days=_days(row.get("days", ""), place),
            begins=begins,
            ends=ends,
            owned=_names_owner(decision),
        )

    def _numbers(self, patterns: Any, where: str) -> Numbers | None:
        if patterns is None or patterns == () or patterns == []:
            return None
        if isinstance(patterns, str) or not isinstance(patterns, list | tuple) or len(patterns) > 1000:
            raise Invalid(where, "rule.numbers")
        whole: set[str] = set()
        beginnings: list[str] = []
        for pattern in patterns:
            text = pattern.translate(str.maketrans("", "", " ()./-")) if isinstance(pattern, str) else ""
            if not _PATTERN.fullmatch(text):
                raise Invalid(where, "rule.number", said=pattern)
            if text.endswith("*") and text[:-1].lstrip("+").isdigit():
                beginnings.append(text[:-1])
            else:
                whole |= {text, self._e164(text)}
        return Numbers(frozenset(whole - {WITHHELD}), tuple(beginnings), WITHHELD in whole)


def _days(text: str, place: int) -> frozenset[int]:
    """`mon-fri,sun` as ISO weekdays."""
    found: set[int] = set()
    for part in filter(None, (part.strip().lower() for part in text.split(","))):
        first, _, last = part.partition("-")
        if first not in DAYS or (last or first) not in DAYS:
            raise Invalid(f"{place}.days", "rule.days", said=part)
        begin, end = DAYS.index(first), DAYS.index(last or first)
        found |= {at % 7 + 1 for at in range(begin, end + 1 if begin <= end else end + 8)}
    return frozenset(found)


def _hours(text: str, place: int) -> tuple[int | None, int]:
    """`09:00-18:00` as minutes of the day."""
    if not text.strip():
        return None, 0
    match = _HOURS.fullmatch(text.replace(" ", ""))
    if match is None:
        raise Invalid(f"{place}.hours", "rule.hours", said=text)
    begins, ends = int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])
    if max(begins, ends) > 1440 or begins == ends:
        raise Invalid(f"{place}.hours", "rule.hours_none", said=text)
    return begins, ends


def _names_owner(decision: Decision | None) -> bool:
    return isinstance(decision, Ring) and decision.targets == (OWNER,)


def _for_owner(rule: Rule, contact: ContactEntry | None) -> Decision:
    """The decision with the owner's extension in the place of `owner`."""
    owner = contact.owner if contact is not None else None
    return _with_owner(rule.decision, owner)


def _with_owner(decision: Decision, owner: str | None) -> Decision:
    if decision.otherwise is not None:
        decision = replace(decision, otherwise=_with_owner(decision.otherwise, owner))
    if isinstance(decision, Ring) and OWNER in decision.targets:
        targets = [owner if target == OWNER else target for target in decision.targets]
        decision = replace(decision, targets=tuple(target for target in targets if target is not None))
    return decision
