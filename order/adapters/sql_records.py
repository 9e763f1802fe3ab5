"""Reads of what an order's records stand for, and of the orders whose time has come."""

from typing import Any

from sqlalchemy import Select, select

from infra.runtime.database import Database
from order.adapters.sql_tables import ORDER_RECORDS, ORDERS
from order.adapters.wire_records import history_from_bytes
from order.domain.records import History, RecordKey


class SqlRecords:
    """See `Records`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read_record(self, key: RecordKey) -> History | None:
        """See `Records.read_record`. No id has U+0000 in it, and PostgreSQL cannot be asked for one."""
        if "\0" in "".join(key):
            return None
        order_id, kind, record_id = key
        query = select(ORDER_RECORDS.c.body).where(
            ORDER_RECORDS.c.order_id == order_id, ORDER_RECORDS.c.kind == kind, ORDER_RECORDS.c.record_id == record_id
        )
        body = await self._database.read(lambda connection: connection.execute(query).scalar_one_or_none())
        return history_from_bytes(kind, body) if body else None

    async def list_records(self, order_id: str, kind: str, after: str, records_max: int) -> list[History]:
        """See `Records.list_records`."""
        query = (
            select(ORDER_RECORDS.c.body)
            .where(
                ORDER_RECORDS.c.order_id == order_id,
                ORDER_RECORDS.c.kind == kind,
                ORDER_RECORDS.c.record_id > after,
                ORDER_RECORDS.c.body.is_not(None),
            )
            .order_by(ORDER_RECORDS.c.record_id)
            .limit(records_max)
        )
        bodies = await self._database.read(lambda connection: connection.execute(query).scalars().all())
        return [history_from_bytes(kind, body) for body in bodies]


def due_query(time_us: int, orders_max: int, skip: int = 0) -> Select[Any]:
    """See `Log.due_orders`."""
    key = (ORDERS.c.due_time_us, ORDERS.c.order_id)
    due = select(ORDERS.c.order_id).where(ORDERS.c.due_time_us <= time_us).order_by(*key)
    return due.limit(orders_max).offset(skip)
