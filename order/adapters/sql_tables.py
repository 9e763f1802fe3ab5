"""The Order Service's tables."""

from typing import Final

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, Table

from infra.runtime.schema import TEXT

METADATA: Final = MetaData()

LOG: Final = Table(
    "log",
    METADATA,
    Column("log_epoch", TEXT, primary_key=True),
    Column("shards", Integer, nullable=False),
    Column("forgotten_epoch", BigInteger, nullable=False, server_default="0"),  # the highest of any reader
)
SHARD_HEADS: Final = Table(
    "shard_heads",
    METADATA,
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("next_seq", BigInteger, nullable=False),
    Column("earliest_seq", BigInteger, nullable=False),
    Column("record_time_us", BigInteger, nullable=False),
)
ORDERS: Final = Table(
    "orders",
    METADATA,
    Column("order_id", TEXT, primary_key=True),
    Column("customer_id", TEXT, nullable=False),
    Column("store_id", TEXT, nullable=False),
    Column("currency_code", TEXT, nullable=False),
    Column("state", TEXT, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("due_time_us", BigInteger),
    Column("body", LargeBinary, nullable=False),
    Column("place_time_us", BigInteger, nullable=False),
    Column("content", TEXT, nullable=False),
)
"""`content` is that of the order's own record, which has no row of its own; it changes only where data is erased."""
FILTERED: Final = {
    "order_id": ORDERS.c.order_id,
    "customer_id": ORDERS.c.customer_id,
    "store_id": ORDERS.c.store_id,
    "currency_code": ORDERS.c.currency_code,
    "state": ORDERS.c.state,
    "place_time": ORDERS.c.place_time_us,
}
"""What a filter of orders may speak of, by its name there."""
ORDER_EVENTS: Final = Table(
    "order_events",
    METADATA,
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("group_index", Integer, nullable=False),
    Column("group_size", Integer, nullable=False),
    Column("record_time_us", BigInteger, nullable=False),
    Column("order_id", TEXT, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
ORDER_RECORDS: Final = Table(
    "order_records",
    METADATA,
    Column("order_id", TEXT, primary_key=True),
    Column("kind", TEXT, primary_key=True),
    Column("record_id", TEXT, primary_key=True),
    Column("content", TEXT, nullable=False),
    Column("body", LargeBinary),
)
ORDER_PERSONAL: Final = Table(
    "order_personal",
    METADATA,
    Column("row_id", BigInteger, primary_key=True),
    Column("order_id", TEXT, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("order_personal_by_order", "order_id"),
)
"""An order has at most one row that begins with another byte than 0, as every encoded message does."""
IDEMPOTENCY: Final = Table(
    "idempotency",
    METADATA,
    Column("principal", TEXT, primary_key=True),
    Column("request_id", TEXT, primary_key=True),
    Column("method", TEXT, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("outcome", Integer, nullable=False),
    Column("reply", LargeBinary, nullable=False),
    Column("time_us", BigInteger, nullable=False),
    Index("idempotency_by_time", "time_us"),
)
LOG_SUBSCRIPTIONS: Final = Table(
    "log_subscriptions",
    METADATA,
    Column("name", TEXT, primary_key=True),
    Column("delivery_epoch", BigInteger, nullable=False),
)
LOG_FLOORS: Final = Table(
    "log_floors",
    METADATA,
    Column("name", TEXT, primary_key=True),
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("next_seq", BigInteger, nullable=False),
)
