"""The few statements that write rows, made once a database, bound by position.

They are plain text because a row must cost no more than its binding, and because SQLite and PostgreSQL spell
`ON CONFLICT` the same: only the placeholder differs. JSON columns are bound as text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from sqlalchemy.engine import Dialect

from pbxcore.store.models import Table

# Columns of an activity that are not the call's.
OF_THE_AGENT = (
    "state", "summary", "author", "settled", "completed_at", "outcome", "follow_up_at", "follow_up_note", "recording",
)  # fmt: skip
# Rows a statement. SQLite gives the interpreter's lock away for each and has to win it back from the event loop;
# psycopg sends single rows in a pipeline, four times cheaper than one long statement.
# What a change of its call makes of a row of the outbox. One that is being tried again and again keeps its time.
CHANGED = {
    "version": "outbox.version + 1",
    "state": "'waiting'",
    "due_at": "CASE WHEN outbox.state = 'waiting' THEN outbox.due_at ELSE 0 END",
}
AT_ONCE: dict[str, tuple[int, ...]] = {"sqlite": (64, 16, 4), "postgresql": ()}

Scalar = str | int | float | bool | None
Row = tuple[Scalar, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Statement:
    """What one row does to one table.

    `many` holds the same for several rows at once, as (number of rows, SQL), most rows first; their keys must differ.
    """

    name: str
    sql: str
    columns: tuple[str, ...]
    many: tuple[tuple[int, str], ...] = ()


def known(dialect: Dialect) -> dict[str, Statement]:
    """Every statement by its name: `table.put`, `table.drop` or `table.column`."""
    contact = (
        "CASE WHEN activities.settled THEN activities.contact_id "
        "ELSE coalesce(excluded.contact_id, activities.contact_id) END"
    )
    found = (
        upsert(
            dialect,
            "calls",
            1,
            columns("calls"),
            keep={"contact_id": "coalesce(excluded.contact_id, calls.contact_id)"},
        ),
        update(dialect, "calls", "contact_id", "call_id"),
        delete(dialect, "calls", ("call_id",)),
        delete(dialect, "activities", ("call_id",), unless="summary <> ''"),
        upsert(
            dialect,
            "activities",
            1,
            [name for name in columns("activities") if name not in OF_THE_AGENT],
            constants={"state": "'open'", "summary": "''", "settled": "false"},
            keep={"contact_id": contact},
        ),
        update(dialect, "activities", "contact_id", "call_id", unless="settled"),
        upsert(
            dialect,
            "outbox",
            2,
            ("call_id", "connector", "called_at"),
            constants={"version": "1", "state": "'waiting'", "due_at": "0", "attempts": "0", "sent": "''",
                       "reason": "''"},
            keep={"called_at": "outbox.called_at"},
            changes=CHANGED,
        ),
        touch(dialect),
        upsert(dialect, "bindings", 2, columns("bindings")),
        delete(dialect, "bindings", columns("bindings")[:2]),
        upsert(dialect, "texts", 1, columns("texts")),
        delete(dialect, "texts", columns("texts")[:1]),
        upsert(dialect, "explained", 1, columns("explained")),
    )
    return {statement.name: statement for statement in found}


def columns(table: str) -> list[str]:
    """The columns that are bound, in order; `id` counts itself."""
    return [column.name for column in Table.metadata.tables[table].columns if column.name != "id"]


def upsert(
    dialect: Dialect,
    table: str,
    key: int,
    columns: Sequence[str],
    *,
    constants: Mapping[str, str] | None = None,
    keep: Mapping[str, str] | None = None,
    changes: Mapping[str, str] | None = None,
) -> Statement:
    """INSERT that replaces the row whose first `key` columns are the same.

    `constants` maps a column to SQL that is inserted and never updated, but for what `changes` says. `keep` maps a
    column to the SQL of its new value, where that is not just what came: the old row goes by the table's name, the new
    one by `excluded`.
    """
    mark = _mark(dialect)
    constants = constants or {}
    keep = keep or {}
    updates = [f"{name} = {keep.get(name, f'excluded.{name}')}" for name in columns[key:]]
    updates += [f"{name} = {value}" for name, value in (changes or {}).items()]
    values = f"({', '.join([*(mark for _ in columns), *constants.values()])})"
    head = f"INSERT INTO {table} ({', '.join([*columns, *constants])}) VALUES "  # noqa: S608 - our own names
    tail = f" ON CONFLICT ({', '.join(columns[:key])}) DO UPDATE SET {', '.join(updates)}"
    many = tuple((rows, head + ", ".join([values] * rows) + tail) for rows in AT_ONCE[dialect.name])
    return Statement(f"{table}.put", head + values + tail, tuple(columns), many)


def touch(dialect: Dialect) -> Statement:
    """UPDATE of the outbox's rows of one call: something about it changed."""
    changes = ", ".join(f"{name} = {value}" for name, value in CHANGED.items())
    sql = f"UPDATE outbox SET {changes} WHERE call_id = {_mark(dialect)}"  # noqa: S608 - our own names
    return Statement("outbox.touch", sql, ("call_id",))


def delete(dialect: Dialect, table: str, key: Sequence[str], *, unless: str = "") -> Statement:
    """DELETE of one row by its key, unless this is true of it."""
    where = " AND ".join(f"{name} = {_mark(dialect)}" for name in key)
    where += f" AND NOT ({unless})" if unless else ""
    sql = f"DELETE FROM {table} WHERE {where}"  # noqa: S608 - our own names
    return Statement(f"{table}.drop", sql, tuple(key))


def update(dialect: Dialect, table: str, column: str, key: str, *, unless: str = "") -> Statement:
    """UPDATE of one column of one row, unless a boolean column of it is true. Binds the value, then the key."""
    mark = _mark(dialect)
    guard = f" AND NOT {unless}" if unless else ""
    sql = f"UPDATE {table} SET {column} = {mark} WHERE {key} = {mark}{guard}"  # noqa: S608 - our own names
    return Statement(f"{table}.{column}", sql, (column, key))


def run(cursor: Any, statement: Statement, rows: Sequence[Row]) -> None:
    """Execute for all rows, on the driver's own cursor."""
    start = 0
    for size, sql in statement.many:
        while len(rows) - start >= size:
            cursor.execute(sql, tuple(chain.from_iterable(rows[start : start + size])))
            start += size
    if start < len(rows):
        cursor.executemany(statement.sql, rows[start:])


def clean(text: str) -> str:
    """Text that every database stores: no NUL and no lone surrogates, which a hostile SIP message may hold."""
    if text.isascii():
        return text if "\0" not in text else text.replace("\0", "\ufffd")
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")


def _mark(dialect: Dialect) -> str:
    return "%s" if dialect.paramstyle == "format" else "?"
