"""`hookline trace`: the ladder of a live or recent call, as the running exchange remembers it."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import click

from pbxcore.inquiry import Refused, Unreachable, ask, socket_beside
from pbxcore.settings import Settings
from pbxcore.store.sql import beside

WIDTH = 26           # of a column, from lifeline to lifeline: three of them fit into 80 characters
CLOCK = WIDTH // 2   # where the first lifeline is; the time stands before it
US = "Hookline"


async def trace(
    settings: Settings, call: str, last: int, *, follow: bool = False, whole: bool = False, as_json: bool = False,
    pcap: Path | None = None,
) -> int:  # fmt: skip
    """Ask the running exchange and print; 0, or 1 when it is not there or remembers nothing of the call."""
    path = socket_beside(beside(settings.database.url))
    question: dict[str, Any] = {"follow": True} if follow else {"call": call, "last": last}
    if pcap is not None:
        question["capture"] = True
    try:
        async with aclosing(ask(path, question)) as answers:
            async for answer in answers:
                _show(answer, as_json=as_json, whole=whole, pcap=pcap)
    except (Unreachable, Refused) as error:
        click.echo(f"hookline: {error}", err=True)
        return 1
    except OSError as error:
        click.echo(f"hookline: {pcap}: {error.strerror}", err=True)
        return 1
    return 0


def _show(answer: dict[str, Any], *, as_json: bool, whole: bool, pcap: Path | None) -> None:
    if pcap is not None:
        pcap.write_bytes(base64.b64decode(answer["capture"]))
    elif as_json:
        click.echo(json.dumps(answer, ensure_ascii=False))
    elif "steps" in answer:
        click.echo(ladder(answer["call_id"], answer["parties"], answer["steps"], whole=whole))
    else:
        click.echo(line(answer))


def line(step: dict[str, Any]) -> str:
    """One message of a following trace."""
    arrow = "->" if step["out"] else "<-"
    peer = f"{step['transport'].lower()}:{step['remote']}"
    return f"{_clock(step['at'])}  {arrow} {peer:<28} {step['text']}"


def ladder(
    call_id: str, parties: Sequence[dict[str, Any]], steps: Sequence[dict[str, Any]], *, whole: bool = False
) -> str:
    """The ladder as text: who called in on the left, the exchange, whom it called on the right. Times are seconds from
    the first message; what was sent again has a star. `whole` adds every message."""
    if not steps:
        return f"Call {call_id}: no messages"
    callers = sum(1 for party in parties if party["side"] == "a")
    places = [place + (place >= callers) for place in range(len(parties))]   # the exchange stands between the sides
    columns = len(parties) + 1
    began = steps[0]["at"]
    names = [""] * columns
    addresses = [""] * columns
    names[callers], addresses[callers] = US, steps[0]["local"]
    for place, party in zip(places, parties, strict=True):
        names[place] = party["name"]
        addresses[place] = f"{party['transport'].lower()}:{party['address']}"
    lines = [f"Call {call_id}, {_date(began)}", "", _row(names), _row(addresses), _lifelines(columns)]
    for step in steps:
        here, there = callers, places[step["party"]]
        source, target = (here, there) if step["out"] else (there, here)
        offset = f"{step['at'] - began:{CLOCK - 2}.3f}  "
        lines.append(offset + _arrow(columns, source, target, step["text"] + (" *" if step["again"] else "")))
        if whole:
            lines += ["", *("    " + text for text in step["message"].splitlines()), ""]
    lines.append(_lifelines(columns))
    if any(step["again"] for step in steps):
        lines.append("* sent again")
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    """Cells centred upon the lifelines."""
    return "".join(cell[: WIDTH - 1].center(WIDTH) for cell in cells).rstrip()


def _lifelines(columns: int) -> str:
    return " " * CLOCK + ("|" + " " * (WIDTH - 1)) * (columns - 1) + "|"


def _arrow(columns: int, source: int, target: int, text: str) -> str:
    left, right = min(source, target) * WIDTH, max(source, target) * WIDTH
    cells = list(("|" + " " * (WIDTH - 1)) * (columns - 1) + "|")
    room = right - left - 3
    label = f" {text} " if len(text) + 2 <= room else f" {text[: room - 3]}… "
    shaft = label.center(room, "-")
    cells[left + 1 : right] = f"-{shaft}>" if target > source else f"<{shaft}-"
    return "".join(cells)


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at)) + f".{int(at % 1 * 1000):03d}"


def _date(at: float) -> str:
    return time.strftime("%Y-%m-%d ", time.localtime(at)) + _clock(at)
