"""What lists are sorted by, and the indexes that make a page cost the same however many orders there are."""

from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op
from stateset.order.v1 import order_pb2

from infra.runtime.grpc.wire import timestamp_from_wire
from infra.runtime.schema import TEXT

revision = "order_0003"
down_revision = "order_0002"

_BATCH = 1000
_ORDERS = sa.table("orders", sa.column("order_id", TEXT), sa.column("body"), sa.column("place_time_us"))


def upgrade() -> None:
    op.add_column("orders", sa.Column("place_time_us", sa.BigInteger, nullable=False, server_default="0"))
    connection = op.get_bind()
    fill = (
        sa.update(_ORDERS)
        .where(_ORDERS.c.order_id == sa.bindparam("key"))
        .values(place_time_us=sa.bindparam("time_us", type_=sa.BigInteger))
    )
    for rows in _batches(connection):
        connection.execute(fill, [{"key": order_id, "time_us": _place_time_us(body)} for order_id, body in rows])
    op.create_index("orders_by_time", "orders", ["place_time_us", "order_id"])
    op.create_index("orders_by_customer", "orders", ["customer_id", "place_time_us", "order_id"])
    op.create_index("orders_by_state", "orders", ["state", "place_time_us", "order_id"])
    op.create_index("order_events_by_order", "order_events", ["order_id", "seq"])


def _batches(connection: sa.Connection) -> Iterator[list[tuple[str, bytes]]]:
    """Every order and its body, a few at a time."""
    page = sa.select(_ORDERS.c.order_id, _ORDERS.c.body).order_by(_ORDERS.c.order_id).limit(_BATCH)
    rows = connection.execute(page).all()
    while rows:
        yield [(order_id, body) for order_id, body in rows]
        rows = connection.execute(page.where(_ORDERS.c.order_id > rows[-1][0])).all()


def _place_time_us(body: bytes) -> int:
    return timestamp_from_wire(order_pb2.Order.FromString(body).place_time)
