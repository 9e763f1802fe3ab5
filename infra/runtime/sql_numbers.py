"""Whole numbers without an end, which every database adds up exactly."""

import sqlite3
from decimal import Decimal
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection, Dialect, text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.functions import GenericFunction

from infra.runtime.lifespan import StartupError

_EXACT_SUM: Final = "exact_sum"


class WholeNumber(sa.TypeDecorator[int]):
    """NUMERIC on PostgreSQL. SQLite's numbers end at 2^63, where they become inexact ones: there it is its digits.

    The sum of two columns is exact; there is no other arithmetic, and no order but that of equal numbers.
    """

    impl = sa.Text
    cache_ok = True

    class comparator_factory(sa.TypeDecorator.Comparator[int]):  # noqa: N801 - SQLAlchemy's name
        """What may be done with such columns."""

        def __add__(self, other: ColumnElement[int]) -> ColumnElement[int]:
            return _ExactSum(self.expr, other)

    def load_dialect_impl(self, dialect: Dialect) -> sa.types.TypeEngine[Any]:
        """See `TypeDecorator`, as for what follows."""
        return dialect.type_descriptor(sa.Numeric() if dialect.name == "postgresql" else sa.Text())

    def process_bind_param(self, value: int | None, dialect: Dialect) -> Any:  # noqa: ANN401 - what the driver takes
        """To the database."""
        return None if value is None else Decimal(value) if dialect.name == "postgresql" else str(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> int | None:  # noqa: ANN401, ARG002 - its signature
        """From the database."""
        return None if value is None else int(value)


def add_functions(connection: sqlite3.Connection) -> None:
    """Gives SQLite what it lacks."""
    connection.create_function(_EXACT_SUM, 2, lambda one, other: str(int(one) + int(other)), deterministic=True)


def refuse_inexact(connection: Connection, table: str, *columns: str) -> None:
    """Refuses columns of ordinary numbers that are to become `WholeNumber`s, where SQLite has lost digits of one.

    Raises:
        StartupError: Nobody can tell which number it was.
    """
    if connection.dialect.name != "sqlite":
        return
    for column in columns:
        lost = text(f"SELECT 1 FROM {table} WHERE typeof({column}) = 'real' LIMIT 1")  # noqa: S608 - a migration's own names
        if connection.scalar(lost):
            raise StartupError(
                f"{connection.engine.url.database} has lost digits of {column} in {table}, which an earlier version "
                "added up beyond 64 bits: move it away, or name a new file with --database, to fold the log anew"
            )


class _ExactSum(GenericFunction[int]):
    name = _EXACT_SUM
    type = WholeNumber()
    inherit_cache = True


@compiles(_ExactSum, "postgresql")
def _add(element: _ExactSum, compiler: Any, **options: Any) -> str:  # noqa: ANN401 - SQLAlchemy has no types for it
    return " + ".join(compiler.process(term, **options) for term in element.clauses)
