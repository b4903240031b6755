"""One line of JSON for every call, for whoever wants statistics of his own (`python -m bench setup --raw FILE`)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from bench.caller import Call


def lines(calls: Iterable[Call], *, server: str, began: float, start: float) -> Iterator[str]:
    """Lines of `calls`, which were to begin at `start` (`time.perf_counter`), at Unix time `began`.

    `meant`, `sent`, `ringing`, `answered` and `ended` are seconds since then, null for never; `counted` is false of the
    warm-up; `reason` is empty when the call went well. `server` and `began` tell runs apart."""
    for call in calls:
        yield json.dumps(
            {
                "server": server,
                "began": round(began, 3),
                "call": call.number,
                "counted": call.counted,
                "meant": round(call.meant - start, 6),
                **{
                    name: round(at - start, 6) if at else None
                    for name, at in (
                        ("sent", call.sent), ("ringing", call.ringing), ("answered", call.answered),
                        ("ended", call.ended),
                    )
                },
                "reason": call.reason,
            }
        )  # fmt: skip
