"""What was asked for calls that have ended, kept for good: one row a call, written behind the call and only where
somebody else than our own memory was asked. The call's record itself tells the rest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlmodel import Session, col, select

from crmhooks.decisions import from_json, to_json
from crmhooks.rules import InvalidDecision
from crmhooks.trail import Route, Trail
from pbxcore.explained import ENGLISH, step
from pbxcore.hooks import Decision, ExplainStep
from pbxcore.store import Store
from pbxcore.store.models import ExplainedRow
from pbxcore.store.rows import Packed
from pbxcore.store.statements import clean


class ExplainLog:
    """`keep` returns at once; the words are made on the writer's thread. `route` as the runner's."""

    def __init__(self, store: Store, route: Route | None = None) -> None:
        self._store = store
        self._plan = store.plans["explained"]
        self._route = route

    def keep(self, trail: Trail) -> None:
        self._store.writer.put(self._plan, trail.call_id, trail, self._pack)

    async def find(self, call_id: str) -> tuple[ExplainStep, ...]:
        """Empty for a call of which nothing was kept. Raises StoreUnavailable."""
        await self._store.settle()

        def query(session: Session) -> list[Any]:
            row = session.exec(select(ExplainedRow).where(col(ExplainedRow.call_id) == clean(call_id))).one_or_none()
            return [] if row is None else row.steps

        return tuple([_read(one) for one in await self._store.ask(query)])

    def _pack(self, trail: Trail) -> Packed:
        return trail.call_id, json.dumps([_written(one) for one in trail.steps(self._route)], separators=(",", ":"))


def _written(one: ExplainStep) -> dict[str, Any]:
    row: dict[str, Any] = {"source": one.source, "ms": round(one.elapsed_ms, 3)}
    row["said"] = [[code, dict(values)] if values else [code] for code, values in one.said]
    if one.decision is not None:
        row["decision"] = to_json(one.decision)
    return row


def _read(row: Mapping[str, Any]) -> ExplainStep:
    said = tuple([(code, dict(*values)) for code, *values in row["said"] if code in ENGLISH])
    decision: Decision | None = None
    if "decision" in row:
        try:
            decision = from_json(row["decision"])
        except InvalidDecision:  # of another version of this program
            decision = None
    return step(row["source"], said, row["ms"], decision)
