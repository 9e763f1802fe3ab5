"""Very many orders, written by the database itself."""

from typing import Final

from sqlalchemy import Connection, text

from infra.runtime.database import Database
from order.adapters.wire_order import order_to_wire
from tests.harness.orders import carry_out, place

ID_PREFIX: Final = "0199b1c0-0000-7000-9000-"
_ID_BYTES: Final = 36
_CHUNK: Final = 25_000  # written in one transaction, well within the time that a statement has
_INSERT: Final = {
    "sqlite": """
        INSERT INTO orders (order_id, customer_id, store_id, currency_code, state, version, body, place_time_us)
        WITH RECURSIVE
            numbers (n) AS (SELECT :first UNION ALL SELECT n + 1 FROM numbers WHERE n < :last),
            named (n, order_id) AS (SELECT n, :prefix || printf('%012x', n) FROM numbers)
        SELECT order_id, 'customer-' || n % :customers, 'store-1', 'USD',
            CASE n % 10 WHEN 0 THEN 'PENDING' ELSE 'DELIVERED' END, 1,
            CAST(:head || order_id || :rest AS BLOB), n * 1000000
        FROM named
    """,
    "postgresql": """
        INSERT INTO orders (order_id, customer_id, store_id, currency_code, state, version, body, place_time_us)
        SELECT order_id, 'customer-' || n % CAST(:customers AS BIGINT), 'store-1', 'USD',
            CASE n % 10 WHEN 0 THEN 'PENDING' ELSE 'DELIVERED' END, 1,
            CAST(:head AS BYTEA) || convert_to(order_id, 'UTF8') || CAST(:rest AS BYTEA), n * 1000000
        FROM generate_series(CAST(:first AS BIGINT), CAST(:last AS BIGINT)) AS n,
            LATERAL (SELECT CAST(:prefix AS TEXT) || lpad(to_hex(n), 12, '0') AS order_id) AS named
    """,
}


async def write_orders(database: Database, count: int, *, customers: int) -> None:
    """Adds so many three-line orders, one placed each second, the customers taking turns; a tenth are pending."""
    body = order_to_wire(carry_out(place(1, 2, 3, order_id="x" * _ID_BYTES))).SerializeToString()
    head, rest = body[:2], body[2 + _ID_BYTES :]
    for first in range(0, count, _CHUNK):
        chunk = {"first": first, "last": min(first + _CHUNK, count) - 1}

        def work(connection: Connection, chunk: dict[str, int] = chunk) -> None:
            values = {**chunk, "customers": customers, "prefix": ID_PREFIX, "head": head, "rest": rest}
            connection.execute(text(_INSERT[connection.dialect.name]), values)

        await database.write(work)
    await database.write(lambda connection: connection.execute(text("ANALYZE")))
