"""What the consumers' statements have in common, in the SQL that every database understands."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from operator import itemgetter
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection, Row
from sqlalchemy.dialects import postgresql, sqlite

_LOOKUP_MAX: Final = 500  # keys in one IN list: far below any database's limit on parameters
_INSERTS: Final[Mapping[str, Callable[[sa.Table], Any]]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def add_rows(connection: Connection, table: sa.Table, rows: Sequence[Sequence[object]]) -> None:
    """Adds each row's amounts to those that are there under its key; each key once."""
    _upsert(connection, table, rows, lambda old, new: old + new)


def put_rows(connection: Connection, table: sa.Table, rows: Sequence[Sequence[object]]) -> None:
    """Writes each row over the one that is there under its key; each key once."""
    _upsert(connection, table, rows, lambda _old, new: new)


def find_rows(connection: Connection, table: sa.Table, keys: Collection[str]) -> Iterator[Row[Any]]:
    """The rows that have one of the keys, of a table whose key is one column."""
    (column,) = table.primary_key.columns
    remaining = iter(keys)
    while chunk := list(islice(remaining, _LOOKUP_MAX)):
        yield from connection.execute(sa.select(table).where(column.in_(chunk)))


def find_row(connection: Connection, table: sa.Table, key: Sequence[str]) -> Row[Any] | None:
    """The row under the key, if there is one."""
    same = (column == part for column, part in zip(table.primary_key.columns, key, strict=True))
    return connection.execute(sa.select(table).where(*same)).one_or_none()


def read_page(
    connection: Connection,
    table: sa.Table,
    condition: sa.ColumnElement[bool],
    after: Sequence[str] | None,
    count: int,
) -> Sequence[Row[Any]]:
    """Rows under the condition, by key, from right behind the key `after`."""
    key = list(table.primary_key.columns)
    page = sa.select(table).where(condition).order_by(*key).limit(count)
    if after is not None:
        page = page.where(sa.tuple_(*key) > sa.tuple_(*map(sa.literal, after)))
    return connection.execute(page).all()


def _upsert(
    connection: Connection,
    table: sa.Table,
    rows: Sequence[Sequence[object]],
    merge: Callable[[Any, Any], Any],
) -> None:
    if not rows:
        return
    insert = _INSERTS[connection.dialect.name](table)
    statement = insert.on_conflict_do_update(
        index_elements=list(table.primary_key.columns),
        set_={
            column.name: merge(column, insert.excluded[column.name])
            for column in table.columns
            if not column.primary_key
        },
    )
    names, keys = [column.name for column in table.columns], len(table.primary_key.columns)
    # In one sequence for everybody: one who takes over from another writes the same rows at the same time.
    ordered = sorted(rows, key=itemgetter(slice(keys)))
    connection.execute(statement, [dict(zip(names, row, strict=True)) for row in ordered])
