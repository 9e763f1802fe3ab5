"""Reads of orders and of their histories in SQL."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from sqlite3 import Cursor
from typing import Any, Final

from sqlalchemy import Connection, LargeBinary, Select, and_, func, select, tuple_
from sqlalchemy.util import await_only

from infra.kernel.filter import Term
from infra.runtime.database import Database
from infra.runtime.sql_filter import to_sql
from order.adapters.sql_tables import FILTERED, ORDER_EVENTS, ORDER_PERSONAL, ORDERS
from order.application.ports import LoggedEvent
from order.application.read_ports import OrderKey, StoredOrder

_KEY: Final = (ORDERS.c.place_time_us, ORDERS.c.order_id)
_STORED: Final = select(
    ORDERS.c.order_id, ORDERS.c.place_time_us, ORDERS.c.body, func.coalesce(ORDER_PERSONAL.c.body, b"")
).outerjoin(
    ORDER_PERSONAL,
    and_(
        ORDER_PERSONAL.c.order_id == ORDERS.c.order_id,
        func.substr(ORDER_PERSONAL.c.body, 1, 1, type_=LargeBinary) != b"\0",
    ),
)
_EVENT: Final = select(*(ORDER_EVENTS.c[name] for name in LoggedEvent._fields))


class SqlOrders:
    """See `Orders`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find_orders(self, order_ids: Collection[str]) -> dict[str, StoredOrder]:
        """See `Orders.find_orders`. No order has U+0000 in its id, and PostgreSQL cannot be asked for one."""
        wanted = [order_id for order_id in order_ids if "\0" not in order_id]
        rows = await self._database.read(lambda connection: _FIND[connection.dialect.name](connection, wanted))
        return {row[0]: StoredOrder(*row) for row in rows}

    async def list_orders(self, term: Term, after: OrderKey | None, orders_max: int) -> list[StoredOrder]:
        """See `Orders.list_orders`."""
        query = page_query(term, after, orders_max)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [StoredOrder(*row) for row in rows]

    async def list_order_events(self, order_id: str, after_seq: int, events_max: int) -> list[LoggedEvent]:
        """See `Orders.list_order_events`."""
        query = history_query(order_id, after_seq, events_max)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [LoggedEvent(*row) for row in rows]


def page_query(term: Term, after: OrderKey | None, orders_max: int) -> Select[Any]:
    """A page of a list."""
    query = _STORED.where(to_sql(term, FILTERED)).order_by(*(part.desc() for part in _KEY)).limit(orders_max)
    return query if after is None else query.where(tuple_(*_KEY) < tuple_(*after))


def history_query(order_id: str, after_seq: int, events_max: int) -> Select[Any]:
    """A page of an order's events."""
    of_order = _EVENT.where(ORDER_EVENTS.c.order_id == order_id, ORDER_EVENTS.c.seq > after_seq)
    return of_order.order_by(ORDER_EVENTS.c.seq).limit(events_max)


# The hottest read has no Core in it: the same statement in each driver's own way.
_FIND_SQL: Final = """
    SELECT orders.order_id, orders.place_time_us, orders.body, coalesce(order_personal.body, {empty})
    FROM orders LEFT JOIN order_personal
      ON order_personal.order_id = orders.order_id AND substr(order_personal.body, 1, 1) <> {erased}
    WHERE orders.order_id = {ids}
"""
_FIND_SQLITE: Final = _FIND_SQL.format(empty="x''", erased="x'00'", ids="?")
_FIND_POSTGRESQL: Final = _FIND_SQL.format(empty="''::bytea", erased="'\\x00'::bytea", ids="ANY($1::text[])")


def _find_sqlite(connection: Connection, order_ids: Sequence[str]) -> list[Sequence[Any]]:
    cursor: Cursor = connection.connection.cursor()  # type: ignore[assignment]
    return [row for order_id in order_ids for row in cursor.execute(_FIND_SQLITE, (order_id,))]


def _find_postgresql(connection: Connection, order_ids: Sequence[str]) -> Iterable[Sequence[Any]]:
    driver: Any = connection.connection.driver_connection
    rows: Iterable[Sequence[Any]] = await_only(driver.fetch(_FIND_POSTGRESQL, order_ids))
    return rows


_FIND: Final[Mapping[str, Callable[[Connection, Sequence[str]], Iterable[Sequence[Any]]]]] = {
    "sqlite": _find_sqlite,
    "postgresql": _find_postgresql,
}
"""By the name of SQLAlchemy's dialect."""
