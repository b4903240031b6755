"""The SIP ladder of a call as a picture and as a list of its messages; secrets are masked before they get here.

Measures of the picture are in SVG units: what is computed here, the template only writes down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from pbxcore.control import NotFound, Trace, TraceStep
from web.panel import page, panel_of

LEFT = 165      # the first lifeline; times stand before it
COLUMN = 230    # from lifeline to lifeline
TOP = 64        # under the names
ROW = 34        # from arrow to arrow
HEAD = 7        # half the height of an arrow's head
MOST = 500      # arrows of one picture


@dataclass(frozen=True, slots=True)
class Column:
    """A lifeline: `kind` is "us" for the exchange."""

    x: int
    name: str
    address: str
    kind: str


@dataclass(frozen=True, slots=True)
class Arrow:
    """One message: from `x1` to `x2` at `y`; `head` are the points of its arrow head, `offset` seconds."""

    number: int
    x1: int
    x2: int
    y: int
    head: str
    offset: float
    source: str
    target: str
    step: TraceStep

    @property
    def middle(self) -> int:
        return (self.x1 + self.x2) // 2


@dataclass(frozen=True, slots=True)
class Picture:
    width: int
    height: int
    columns: tuple[Column, ...]
    arrows: tuple[Arrow, ...]
    missing: int = 0    # arrows that are not drawn


def picture(trace: Trace, us: str) -> Picture:
    """Who called in on the left, the exchange (`us`), whom it called on the right."""
    callers = sum(1 for party in trace.parties if party.side == "a")
    places = [place + (place >= callers) for place in range(len(trace.parties))]
    columns = [Column(0, "", "", "")] * (len(places) + 1)
    columns[callers] = Column(_x(callers), us, trace.steps[0].local, "us")
    for place, party in zip(places, trace.parties, strict=True):
        address = f"{party.transport.lower()}:{party.address}"
        columns[place] = Column(_x(place), party.name, address, "caller" if party.side == "a" else "called")
    shown = trace.steps[:MOST]
    began = shown[0].at
    arrows = [
        _arrow(number, step, columns[callers], columns[places[step.party]], began)
        for number, step in enumerate(shown)
    ]
    return Picture(
        _x(len(columns) - 1) + LEFT,
        TOP + ROW * (len(shown) + 1),
        tuple(columns),
        tuple(arrows),
        len(trace.steps) - len(shown),
    )


def _x(place: int) -> int:
    return LEFT + place * COLUMN


def _arrow(number: int, step: TraceStep, us: Column, peer: Column, began: float) -> Arrow:
    source, target = (us, peer) if step.out else (peer, us)
    y = TOP + ROW * (number + 1)
    back = -1 if target.x > source.x else 1
    points: Sequence[tuple[int, int]] = (
        (target.x, y), (target.x + back * 2 * HEAD, y - HEAD), (target.x + back * 2 * HEAD, y + HEAD),
    )  # fmt: skip
    head = " ".join(f"{x},{y}" for x, y in points)
    return Arrow(number, source.x, target.x, y, head, step.at - began, source.name, target.name, step)


async def view(request: Request) -> Response:
    """The page; a call of which nothing is remembered any more says so."""
    call_id = request.path_params["call_id"]
    panel = panel_of(request)
    try:
        trace = panel.control.trace(call_id)
    except NotFound:
        return page(request, "calls/trace.html", 404, call_id=call_id, picture=None)
    return page(request, "calls/trace.html", call_id=call_id, picture=picture(trace, panel.settings.office.name))


async def capture(request: Request) -> Response:
    """The same for Wireshark."""
    data = panel_of(request).control.trace_capture(request.path_params["call_id"])
    headers = {"Content-Disposition": 'attachment; filename="call.pcap"'}
    return Response(data, media_type="application/vnd.tcpdump.pcap", headers=headers)
