"""The few statements that the writer runs, made once a database, bound by position.

They are plain text because a row must cost no more than its binding, and because SQLite and PostgreSQL spell
`ON CONFLICT` the same: only the placeholder differs. JSON columns are bound as text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.engine import Dialect

from pbxcore.store.models import Table

THE_AGENTS = ("state", "summary", "author", "settled", "completed_at")  # of an activity, not the call's to write

Scalar = str | int | float | bool | None
Row = tuple[Scalar, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Statement:
    """What one row does to one table. `name` is what a spilled row is found again by; `columns` are bound in order.

    `many` may hold the same for several rows at once, as `(number of rows, SQL)`, most rows first; the first `key`
    columns must then differ from row to row.
    """

    name: str
    sql: str
    columns: tuple[str, ...]
    key: int = 0
    many: tuple[tuple[int, str], ...] = field(default=(), repr=False)


def upsert(
    dialect: Dialect,
    table: str,
    key: Sequence[str],
    columns: Sequence[str],
    *,
    constants: Mapping[str, str] | None = None,
    keep: Mapping[str, str] | None = None,
) -> Statement:
    """INSERT that replaces `columns` where the key is there already.

    `constants` maps a column to SQL that is inserted and never updated. `keep` maps a column to the SQL of its new
    value, where that is not just what came: the old row goes by the table's name, the new one by `excluded`.
    """
    if tuple(columns[: len(key)]) != tuple(key):
        raise ValueError(f"{table}: the key comes first")
    mark = _mark(dialect)
    constants = constants or {}
    keep = keep or {}
    changes = [f"{name} = {keep.get(name, f'excluded.{name}')}" for name in columns if name not in key]
    values = f"({', '.join([*(mark for _ in columns), *constants.values()])})"
    head = f"INSERT INTO {table} ({', '.join([*columns, *constants])}) VALUES "  # noqa: S608 - our own names
    tail = f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {', '.join(changes)}"
    return Statement(
        f"{table}.put",
        head + values + tail,
        tuple(columns),
        len(key),
        tuple((rows, head + ", ".join([values] * rows) + tail) for rows in (64, 16, 4)),
    )


def delete(dialect: Dialect, table: str, key: Sequence[str]) -> Statement:
    """DELETE of one row by its key."""
    mark = _mark(dialect)
    where = " AND ".join(f"{name} = {mark}" for name in key)
    return Statement(f"{table}.drop", f"DELETE FROM {table} WHERE {where}", tuple(key))  # noqa: S608 - our own names


def update(dialect: Dialect, table: str, column: str, key: str, *, unless: str = "") -> Statement:
    """UPDATE of one column of one row, unless a boolean column of it is true. Binds the value, then the key."""
    mark = _mark(dialect)
    guard = f" AND NOT {unless}" if unless else ""
    sql = f"UPDATE {table} SET {column} = {mark} WHERE {key} = {mark}{guard}"  # noqa: S608 - our own names
    return Statement(f"{table}.{column}", sql, (column, key))


def run(cursor: Any, statement: Statement, rows: Sequence[Row]) -> None:
    """Execute for all rows, on the driver's own cursor, several rows a step where the statement can.

    Each step of SQLite gives the interpreter's lock away and has to win it back from the event loop.
    """
    start = 0
    for size, sql in statement.many:
        while len(rows) - start >= size:
            cursor.execute(sql, flatten(rows[start : start + size]))
            start += size
    for row in rows[start:]:
        cursor.execute(statement.sql, row)


def flatten(rows: Iterable[Row]) -> list[Scalar]:
    return [value for row in rows for value in row]


def clean(text: str) -> str:
    """Text that every database stores: no NUL and no lone surrogates, which a hostile SIP message may hold."""
    if text.isascii():
        return text if "\0" not in text else text.replace("\0", "\ufffd")
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")


def clean_or_none(text: str | None) -> str | None:
    return None if text is None else clean(text)


def _mark(dialect: Dialect) -> str:
    return "%s" if dialect.paramstyle == "format" else "?"


def known(dialect: Dialect) -> dict[str, Statement]:
    """Every statement of the writer by its name, `table.put`, `table.drop` or `table.column`."""
    settled = "CASE WHEN activities.settled THEN activities.contact_id ELSE {} END"
    found = (
        upsert(dialect, "calls", ["call_id"], columns("calls")),
        update(dialect, "calls", "contact_id", "call_id"),
        upsert(
            dialect,
            "activities",
            ["call_id"],
            [name for name in columns("activities") if name not in THE_AGENTS],
            constants={"state": "'open'", "summary": "''", "settled": "false"},
            keep={"contact_id": settled.format("coalesce(excluded.contact_id, activities.contact_id)")},
        ),
        update(dialect, "activities", "contact_id", "call_id", unless="settled"),
        upsert(dialect, "bindings", ["aor", "contact"], columns("bindings")),
        delete(dialect, "bindings", ["aor", "contact"]),
    )
    return {statement.name: statement for statement in found}


def columns(table: str) -> list[str]:
    return [column.name for column in Table.metadata.tables[table].columns]
