"""Analytics in SQL: figures by day, and which stages each order has reached."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from consumers.analytics.model import (
    NOWHERE,
    Change,
    Day,
    DayKey,
    Funnel,
    FunnelKey,
    Placing,
    PlacingKey,
    Stage,
    Step,
    Transition,
    TransitionKey,
)
from consumers.store import Store
from consumers.tables import add_rows, find_rows, put_rows
from infra.runtime.database import Database
from infra.runtime.schema import TEXT
from infra.runtime.sql_numbers import WholeNumber

_METADATA: Final = sa.MetaData()
DAYS: Final = sa.Table(
    "days",
    _METADATA,
    sa.Column("day", TEXT, primary_key=True),
    *(sa.Column(name, sa.BigInteger, nullable=False) for name in Day._fields),
)
TRANSITIONS: Final = sa.Table(
    "transitions",
    _METADATA,
    sa.Column("day", TEXT, primary_key=True),
    sa.Column("previous_state", TEXT, primary_key=True),
    sa.Column("state", TEXT, primary_key=True),
    *(sa.Column(name, sa.BigInteger, nullable=False) for name in Transition._fields),
)
PLACINGS: Final = sa.Table(
    "placings",
    _METADATA,
    sa.Column("day", TEXT, primary_key=True),
    sa.Column("currency_code", TEXT, primary_key=True),
    sa.Column("orders", sa.BigInteger, nullable=False),
    sa.Column("gross_value", WholeNumber, nullable=False),
)
FUNNELS: Final = sa.Table(
    "funnels",
    _METADATA,
    sa.Column("day", TEXT, primary_key=True),
    *(sa.Column(name, sa.BigInteger, nullable=False) for name in Funnel._fields),
)
ORDERS: Final = sa.Table(
    "orders",
    _METADATA,
    sa.Column("order_id", TEXT, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("reached", sa.Integer, nullable=False),
)
Entry = tuple[DayKey, Day] | tuple[TransitionKey, Transition] | tuple[PlacingKey, Placing] | tuple[FunnelKey, Funnel]


class AnalyticsSession:
    """One transaction's work: the orders' stages are read at once, figures counted in memory, and written at once.

    Args:
        connection: In a transaction of its own; `flush` before it is committed.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._reached: dict[str, Stage] = {}
        self._versions: dict[str, int] = {}
        self._change = Change()

    def versions(self, order_ids: Collection[str]) -> Mapping[str, int]:
        """Reads in which stages the orders have reached, and tells their versions."""
        versions = {}
        for row in find_rows(self.connection, ORDERS, order_ids):
            versions[row.order_id] = row.version
            self._reached[row.order_id] = Stage(row.reached)
        return versions

    def apply(self, order_id: str, version: int, step: Step) -> None:
        """One more event of the order. What it had reached must have been read in by `versions`."""
        self._reached[order_id] = self._change.add(step, self._reached.get(order_id, NOWHERE))
        self._versions[order_id] = version

    def flush(self) -> None:
        """Writes what was applied."""
        change = self._change
        add_rows(self.connection, DAYS, [(*key, *value) for key, value in change.days.items()])
        add_rows(self.connection, TRANSITIONS, [(*key, *value) for key, value in change.transitions.items()])
        add_rows(self.connection, PLACINGS, [(*key, *value) for key, value in change.placings.items()])
        add_rows(self.connection, FUNNELS, [(*key, *value) for key, value in change.funnels.items()])
        orders = [(order_id, version, int(self._reached[order_id])) for order_id, version in self._versions.items()]
        put_rows(self.connection, ORDERS, orders)


class AnalyticsStore(Store[AnalyticsSession]):
    """Analytics' database as a projection sees it."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, AnalyticsSession)


def read_funnel(connection: Connection, first_day: str, last_day: str) -> Funnel:
    """The funnel of the orders that were placed from `first_day` to `last_day`, both included."""
    totals = [
        sa.cast(sa.func.coalesce(sa.func.sum(FUNNELS.c[name]), 0), sa.BigInteger)  # PostgreSQL adds up to a decimal
        for name in Funnel._fields
    ]
    return Funnel._make(connection.execute(sa.select(*totals).where(in_window(FUNNELS, first_day, last_day))).one())


def in_window(table: sa.Table, first_day: str, last_day: str) -> sa.ColumnElement[bool]:
    """The condition that holds for the rows of these days, both included."""
    return sa.and_(table.c.day >= first_day, table.c.day <= last_day)


def to_day(row: Row[Any]) -> tuple[DayKey, Day]:
    """A row of `DAYS`."""
    return DayKey._make(row[:1]), Day._make(row[1:])


def to_transition(row: Row[Any]) -> tuple[TransitionKey, Transition]:
    """A row of `TRANSITIONS`."""
    return TransitionKey._make(row[:3]), Transition._make(row[3:])


def to_placing(row: Row[Any]) -> tuple[PlacingKey, Placing]:
    """A row of `PLACINGS`."""
    return PlacingKey._make(row[:2]), Placing._make(row[2:])


def to_funnel(row: Row[Any]) -> tuple[FunnelKey, Funnel]:
    """A row of `FUNNELS`."""
    return FunnelKey._make(row[:1]), Funnel._make(row[1:])


def read_entries(connection: Connection) -> Iterator[Entry]:
    """Every figure, in no particular order."""
    yield from map(to_day, connection.execute(sa.select(DAYS)))
    yield from map(to_transition, connection.execute(sa.select(TRANSITIONS)))
    yield from map(to_placing, connection.execute(sa.select(PLACINGS)))
    yield from map(to_funnel, connection.execute(sa.select(FUNNELS)))
