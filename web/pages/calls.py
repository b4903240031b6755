"""Call history and the page of one call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from pbxcore.control import NotFound
from pbxcore.hooks import CallSnapshot, Disposition
from web.auth import sees_all
from web.panel import Panel, Refused, may_see, number_of, page, panel_of, user_of
from web.view import Names, other_number, parties

PAGE_SIZE = 50
BATCH = 200
SCAN_LIMIT = 2000  # records looked at for one page of filtered history
OFFSET_LIMIT = 10_000_000
DIRECTIONS = ("inbound", "outbound", "internal")
OUTCOMES = tuple(d.value for d in Disposition if d is not Disposition.OPEN)


@dataclass(frozen=True, slots=True)
class Filter:
    """What is looked for in the history; empty fields match everything."""

    q: str = ""
    direction: str = ""
    outcome: str = ""
    party: str = ""

    def matches(self, call: CallSnapshot) -> bool:
        if self.direction and call.direction != self.direction:
            return False
        if self.outcome and call.disposition != self.outcome:
            return False
        return not self.q or self._found_in(call)

    def _found_in(self, call: CallSnapshot) -> bool:
        text = self.q.casefold()
        digits = "".join(c for c in self.q if c.isdigit())
        names = (call.display_name, call.caller_name, *call.tags)
        if any(text in name.casefold() for name in names if name):
            return True
        return bool(digits) and any(digits in number for number in (call.caller, call.called))

    @property
    def scans(self) -> bool:
        """Whether records have to be looked at one by one: the journal itself keeps only parties apart."""
        return bool(self.q or self.direction or self.outcome)

    def query(self) -> str:
        names = ("q", "direction", "outcome", "party")
        return urlencode({name: getattr(self, name) for name in names if getattr(self, name)})


async def search(
    panel: Panel, party: str | None, wanted: Callable[[CallSnapshot], bool], offset: int, size: int
) -> tuple[list[CallSnapshot], int | None]:
    """Up to `size` records from `offset` on, and the offset at which the next page begins (None: there is none)."""
    found: list[CallSnapshot] = []
    for start in range(offset, offset + SCAN_LIMIT, BATCH):
        batch = await panel.desk.history(party=party, limit=BATCH, offset=start)
        for position, call in enumerate(batch):
            if len(found) == size:
                return found, start + position
            if wanted(call):
                found.append(call)
        if len(batch) < BATCH:
            return found, None
    return found, offset + SCAN_LIMIT


def read_filter(request: Request) -> Filter:
    def of(name: str, values: tuple[str, ...]) -> str:
        value = request.query_params.get(name, "")
        return value if value in values else ""

    query = request.query_params
    return Filter(
        query.get("q", "").strip()[:100],
        of("direction", DIRECTIONS),
        of("outcome", OUTCOMES),
        query.get("party", "")[:32],
    )


async def listing(request: Request) -> Response:
    panel, user = panel_of(request), user_of(request)
    wanted = read_filter(request)
    offset = number_of(request, "offset", 0, OFFSET_LIMIT)
    extensions = panel.control.extensions()
    if sees_all(user):
        calls, following = await search(panel, wanted.party or None, wanted.matches, offset, PAGE_SIZE)
    elif user.extension:
        calls, following = await search(panel, user.extension, wanted.matches, offset, PAGE_SIZE)
    else:
        calls, following = [], None
    names = Names(extensions, panel.desk.lookup)
    return page(
        request,
        "calls/list.html",
        rows=[names.row(call) for call in calls],
        filter=wanted,
        offset=offset,
        following=following,
        extensions=extensions,
        directions=DIRECTIONS,
        outcomes=OUTCOMES,
    )


async def find_call(request: Request) -> CallSnapshot:
    """The call of the path, live or on record. Raises NotFound, Refused (somebody else's)."""
    panel = panel_of(request)
    call_id = request.path_params["call_id"]
    try:
        call = panel.control.call(call_id)
    except NotFound:
        records = await panel.desk.history(call_id=call_id, limit=1)
        if not records:
            raise
        call = records[0]
    if not may_see(user_of(request), call):
        raise Refused(403, "not_yours")
    return call


async def view(request: Request) -> Response:
    return await show_call(request, await find_call(request))


async def show_call(
    request: Request,
    call: CallSnapshot,
    *,
    text: str = "",
    error: str = "",
    contact_id: str | None = None,
    refused: dict[str, str] | None = None,
    typed: dict[str, str] | None = None,
) -> Response:
    """The page of a call; `text`, `contact_id` and `error` are a summary that could not be stored, `refused` what else
    of it could not, by field; `typed` is what was written there."""
    panel, user = panel_of(request), user_of(request)
    activities = await panel.desk.activities(call_id=call.call_id, limit=1)
    names = Names(panel.control.extensions(), panel.desk.lookup)
    mine = user.extension if user.extension in parties(call) else None
    number = other_number(call, mine)
    contacts = panel.desk.lookup(number) if call.direction != "internal" else ()
    return page(
        request,
        "calls/view.html",
        422 if error or refused else 200,
        refused=refused or {},
        typed=typed or {},
        text=text,
        error=error,
        contact_id=contact_id,
        call=call,
        row=names.row(call),
        names=names,
        contacts=contacts,
        number=number,
        steps=await panel.control.explain(call),
        activity=activities[0] if activities else None,
        note=request.query_params.get("note", ""),
    )
