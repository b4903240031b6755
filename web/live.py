"""The live page as one user sees it: which cards are up, which calls run, what still needs his two lines.

`LivePage` folds events into what to show and renders the regions that changed; the page morphs them in place. It does
not decide when (`web.feed` does) nor whom a call belongs to (`web.view.parties`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from markupsafe import Markup

from pbxcore.control import ActivityEntry, Card, ContactEntry, NotFound
from pbxcore.events import (
    AgentStateChanged,
    CallEvent,
    CardHandedOver,
    ConnectionCleared,
    Failed,
    RegistrationChanged,
    SummaryWritten,
    TransferBegan,
)
from pbxcore.hooks import CallSnapshot
from pbxcore.store import StoreUnavailable
from pbxcore.store.repo import User
from web.auth import sees_all
from web.feed import Entry
from web.panel import Panel, may_see, render
from web.view import Names, Row, is_caller, other_number, own_leg, parties, phase, pretty_number
from web.words import Words

ROWS_LIMIT = 100
OPEN_LIMIT = 20
RECENT_LIMIT = 5
HANDED_SECONDS = 10.0   # a card that was handed over stays so long without a ring
REGIONS = ("cards", "calls", "summaries", "phones", "announce")  # the live page's
BESIDE = ("toast",)  # every other page's: who is calling


@dataclass(frozen=True, slots=True)
class CardView:
    """One card: the call, its phase for this user, and what the CRM said about the other party.

    `kind`: `looking` while the look-up is on its way, `known`, `shared` (several contacts: the agent chooses),
    `unknown` (offer to store the number) or `colleague`.
    """

    call: CallSnapshot
    phase: str
    kind: Literal["looking", "known", "shared", "unknown", "colleague"]
    name: str
    number: str
    outgoing: bool
    contacts: tuple[ContactEntry, ...] = ()
    instructions: str = ""
    tags: tuple[str, ...] = ()
    vip: bool = False
    owner: str = ""
    recent: tuple[ActivityEntry, ...] = ()
    activity: ActivityEntry | None = None

    @property
    def notes(self) -> str:
        """What was noted so far of a call whose summary is still to come."""
        return self.activity.summary if self.activity is not None and self.activity.state == "open" else ""

    @property
    def who(self) -> str:
        """Whoever it may be; empty when the number is withheld and nobody is known."""
        return self.name or ", ".join(contact.name for contact in self.contacts) or pretty_number(self.number)

    @property
    def wants_summary(self) -> bool:
        return self.kind != "colleague" and self.phase in ("talking", "held", "ended")


def card_kind(contacts: tuple[ContactEntry, ...]) -> Literal["known", "shared", "unknown"]:
    return "unknown" if not contacts else "known" if len(contacts) == 1 else "shared"


async def activities(
    panel: Panel,
    *,
    agent: str | None = None,
    contact_id: str | None = None,
    call_id: str | None = None,
    open_only: bool = False,
    limit: int,
) -> list[ActivityEntry]:
    """The desk's activities; none while the database is away: the card pops all the same."""
    try:
        return await panel.desk.activities(
            agent=agent, contact_id=contact_id, call_id=call_id, open_only=open_only, limit=limit
        )
    except StoreUnavailable:
        return []


async def find_card(panel: Panel, call: CallSnapshot, number: str, extension: str) -> Card | None:
    """What to show about the other party; None while the exchange's own look-up is still on its way.

    The page of a first-party extension asks the desk itself; there the exchange asked nobody.
    """
    mine = panel.extension(extension)
    if mine is None or mine.crm_control == "third-party":
        card = panel.desk.card(call.call_id)
        if card is None or card.contacts:
            return card
        stored_since = panel.desk.lookup(card.number)
        return replace(card, contacts=stored_since) if stored_since else card
    contacts = panel.desk.lookup(number)
    recent: list[ActivityEntry] = []
    if len(contacts) == 1:
        recent = await activities(panel, contact_id=contacts[0].id, limit=RECENT_LIMIT)
    instructions = "\n".join(dict.fromkeys(c.instructions for c in contacts if c.instructions))
    return Card(call.call_id, number, contacts, instructions, tuple(recent))


async def view_card(panel: Panel, call: CallSnapshot, extension: str, *, handed: bool = False) -> CardView:
    """The card of a call on the page of one of its extensions; `handed` to whoever is to be rung for it."""
    now = phase(call)
    mine = own_leg(call, extension)
    if handed and mine is None:
        now = "ringing"
    if mine is not None and (now == "setup" or (mine.state in ("calling", "ringing") and mine.side == "b")):
        now = "ringing"  # a call that is transferred to him talks already, to somebody else
    outgoing = is_caller(call, extension)
    view = CardView(
        call=call,
        phase=now,
        kind="looking",
        name="" if outgoing else call.display_name or call.caller_name or "",
        number=other_number(call, extension),
        outgoing=outgoing,
        instructions=call.instructions or "",
        tags=call.tags,
    )
    if call.direction == "internal":
        name = Names(panel.control.extensions()).of(view.number) or view.name
        return replace(view, kind="colleague", name=name)
    if call.answered_at is not None or now == "ended":
        found = await activities(panel, call_id=call.call_id, limit=1)
        view = replace(view, activity=found[0] if found else None)
    card = await find_card(panel, call, view.number, extension)
    return view if card is None else with_card(panel, view, card)


def with_card(panel: Panel, view: CardView, card: Card) -> CardView:
    """The view with what the CRM said."""
    contacts = card.contacts
    one = contacts[0] if len(contacts) == 1 else None
    tags = dict.fromkeys((*view.tags, *(one.tags if one else ())))
    return replace(
        view,
        kind=card_kind(contacts),
        name=one.name if one else "" if contacts else view.name,
        number=card.number,
        contacts=contacts,
        instructions=_for_the_call(card) or view.instructions,
        tags=tuple(tags),
        vip=any(contact.vip for contact in contacts),
        owner=Names(panel.control.extensions()).party(one.owner) if one else "",
        recent=tuple(a for a in card.recent if a.call_id != view.call.call_id)[:RECENT_LIMIT],
    )


def _for_the_call(card: Card) -> str:
    """The card's instructions, unless they only repeat those of several contacts: theirs stand beside their names."""
    if len(card.contacts) < 2:
        return card.instructions
    said = [(contact.name, contact.instructions) for contact in card.contacts if contact.instructions]
    repeated = ("\n".join(text for _, text in said), "\n".join(f"{name}: {text}" for name, text in said))
    return "" if card.instructions in repeated else card.instructions


def concerns(user: User, entry: Entry) -> bool:
    """Whether an event is about a call of this user's own extension."""
    if user.extension is None:
        return False
    return user.extension in entry.parties or getattr(entry.event, "author", None) == user.extension


class LivePage:
    """What one open live page shows. Not shared: every stream has its own."""

    def __init__(self, panel: Panel, user: User, words: Words, csrf: str, regions: tuple[str, ...] = REGIONS) -> None:
        self._panel = panel
        self._user = user
        self._words = words
        self._csrf = csrf
        self._shown = regions
        self._ended: dict[str, CallSnapshot] = {}
        self._up: set[str] = set()
        self._listed: set[str] = set()
        self._handed: dict[str, float] = {}     # calls that this user is to be rung for, and since when
        self._sent: dict[str, str] = {}
        self.cost = 0.0

    async def start(self) -> dict[str, Markup]:
        """The regions as the page is first delivered."""
        return {name: Markup(html) for name, html in (await self._render(self._shown)).items()}  # noqa: S704 - rendered with autoescape

    async def everything(self) -> str:
        """All regions as partials, whatever was sent before."""
        self._sent.clear()
        return self._partials(await self._render(self._shown))

    async def apply(self, entries: Iterable[Entry]) -> str:
        """Take in what happened; partials of the regions that look different now, or nothing."""
        changed: set[str] = set()
        for entry in entries:
            changed.update(self._take(entry))
        return self._partials(await self._render([name for name in self._shown if name in changed]))

    def _partials(self, regions: dict[str, str]) -> str:
        fresh = {name: html for name, html in regions.items() if self._sent.get(name) != html}
        self._sent.update(fresh)
        return "".join(
            f'<hx-partial hx-target="#{name}" hx-swap="innerMorph">{html}</hx-partial>' for name, html in fresh.items()
        )

    def _take(self, entry: Entry) -> tuple[str, ...]:
        event = entry.event
        if isinstance(event, RegistrationChanged | AgentStateChanged):
            return ("phones",)
        if not isinstance(event, CallEvent):
            return ()
        mine = concerns(self._user, entry)
        self._take_handed(event)
        if isinstance(event, SummaryWritten):
            self._ended.pop(event.call_id, None)
            return ("cards", "summaries") if mine or sees_all(self._user) or event.call_id in self._listed else ()
        if isinstance(event, ConnectionCleared) and mine:
            if self._was_mine(event.call):
                self._ended[event.call_id] = event.call
            self._up.discard(event.call_id)
            return ("cards", "calls", "summaries", "phones", "announce", "toast")
        if mine:
            return ("cards", "calls", "phones", "announce", "toast")
        return ("calls", "phones") if sees_all(self._user) else ("phones",)

    def _take_handed(self, event: CallEvent) -> None:
        """From the card that is handed over until the phone rings, or does not."""
        if isinstance(event, CardHandedOver) and event.party == self._user.extension:
            self._handed[event.call_id] = self._panel.clock()
        elif isinstance(event, TransferBegan | Failed | ConnectionCleared):
            self._handed.pop(event.call_id, None)

    def _was_mine(self, call: CallSnapshot) -> bool:
        """Whether this user spoke in the call, so that it wants his two lines."""
        me = self._user.extension
        given_away = any(leg.transferred_by == me for leg in call.legs) and call.answered_by != me
        spoke = me is not None and not given_away and (call.answered_by == me or is_caller(call, me))
        return spoke and call.answered_at is not None and call.direction != "internal"

    async def _render(self, regions: Sequence[str]) -> dict[str, str]:
        """HTML by region. `cost` says then how long this kept the event loop busy, without waits for the database."""
        wanted = set(regions)
        values: dict[str, Any] = {}
        if wanted & {"cards", "summaries", "announce", "toast"}:
            values["cards"] = await self._cards()
            values["ringing"] = [card for card in values["cards"] if card.phase == "ringing"]
        if "summaries" in wanted:
            values["open"] = await self._open(values["cards"])
            values["names"] = Names(self._panel.control.extensions())
        began = self._panel.clock()
        if "calls" in wanted:
            values |= self._calls()
        rendered = {name: self._phones() if name == "phones" else self._region(name, values) for name in regions}
        self.cost = self._panel.clock() - began
        return rendered

    def _region(self, name: str, values: dict[str, Any]) -> str:
        return render(self._panel, self._words, self._user, f"live/{name}.html", csrf=self._csrf, **values)

    def _phones(self) -> str:
        """The extensions' states: alike for all agents, so rendered once for all pages of a language."""
        states = self._panel.control.extensions()
        key = (self._words.language, sees_all(self._user))
        kept = self._panel.phones.get(key)
        if kept is None or kept[0] != states:
            kept = (states, self._region("phones", {"phones": states, "devices": sees_all(self._user)}))
            self._panel.phones[key] = kept
        return kept[1]

    async def _cards(self) -> list[CardView]:
        me = self._user.extension
        if me is None:
            return []
        late = self._panel.clock() - HANDED_SECONDS
        handed = {call_id for call_id, since in self._handed.items() if since > late}
        mine = [
            c for c in self._panel.control.calls()
            if own_leg(c, me) is not None or c.call_id in handed or self._calling(c, me)
        ]  # fmt: skip
        mine.sort(key=lambda c: c.arrived_at)
        self._up = {c.call_id for c in mine}
        ended = [c for c in self._ended.values() if c.call_id not in self._up]
        views = [
            await view_card(self._panel, call, me, handed=call.call_id in handed) for call in (*mine, *reversed(ended))
        ]
        for view in views:
            if view.phase == "ended" and view.activity is not None and view.activity.state == "completed":
                self._ended.pop(view.call.call_id, None)
        return [v for v in views if v.call.call_id in self._up or v.call.call_id in self._ended]

    def _calling(self, call: CallSnapshot, me: str) -> bool:
        """His own call, before any phone of his is in it; one that he has given away is not his any more."""
        given_away = any(leg.party == me for leg in call.legs)
        return call.extension == me and phase(call) != "ended" and call.direction != "inbound" and not given_away

    def _calls(self) -> dict[str, list[Row] | int]:
        calls = self._panel.visible_calls(self._user)
        names = Names(self._panel.control.extensions(), self._panel.desk.lookup)
        return {"rows": [names.row(call) for call in calls[:ROWS_LIMIT]], "more": max(0, len(calls) - ROWS_LIMIT)}

    async def _open(self, cards: list[CardView]) -> list[ActivityEntry]:
        """Open activities of calls that are over and have no card up; everybody's for a supervisor without phone."""
        me = self._user.extension
        if me is None and not sees_all(self._user):
            return []
        found = await activities(self._panel, agent=me, open_only=True, limit=OPEN_LIMIT)
        up = {card.call.call_id for card in cards}
        waiting = [a for a in found if a.ended_at is not None and a.call_id not in up]
        self._listed = {a.call_id for a in waiting}
        return waiting


async def may_write(panel: Panel, user: User, call_id: str) -> bool:
    """Whether this user may write the summary of a call: his own, or any for a supervisor. Raises NotFound."""
    try:
        return may_see(user, panel.control.call(call_id))
    except NotFound:
        pass
    found = await panel.desk.activities(call_id=call_id, limit=1)
    if found:
        return sees_all(user) or (user.extension is not None and found[0].agent == user.extension)
    records = await panel.desk.history(call_id=call_id, limit=1)
    if not records:
        raise NotFound(f"There is no call {call_id}.")
    return sees_all(user) or user.extension in parties(records[0])
