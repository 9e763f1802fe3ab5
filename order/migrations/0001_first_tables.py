"""The first tables: orders, their log, and who asked for what."""

import sqlalchemy as sa
from alembic import op

from infra.runtime.schema import TEXT

revision = "order_0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "log",
        sa.Column("log_epoch", TEXT, primary_key=True),
        sa.Column("shards", sa.Integer, nullable=False),
    )
    op.create_table(
        "shard_heads",
        sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("next_seq", sa.BigInteger, nullable=False),
        sa.Column("earliest_seq", sa.BigInteger, nullable=False),
        sa.Column("record_time_us", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "orders",
        sa.Column("order_id", TEXT, primary_key=True),
        sa.Column("customer_id", TEXT, nullable=False),
        sa.Column("store_id", TEXT, nullable=False),
        sa.Column("currency_code", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "order_events",
        sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("group_index", sa.Integer, nullable=False),
        sa.Column("group_size", sa.Integer, nullable=False),
        sa.Column("record_time_us", sa.BigInteger, nullable=False),
        sa.Column("order_id", TEXT, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "order_records",
        sa.Column("order_id", TEXT, primary_key=True),
        sa.Column("kind", TEXT, primary_key=True),
        sa.Column("record_id", TEXT, primary_key=True),
        sa.Column("content", TEXT, nullable=False),
    )
    op.create_table(
        "order_personal",
        sa.Column("order_id", TEXT, primary_key=True),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "idempotency",
        sa.Column("principal", TEXT, primary_key=True),
        sa.Column("request_id", TEXT, primary_key=True),
        sa.Column("method", TEXT, nullable=False),
        sa.Column("fields", TEXT, nullable=False),
        sa.Column("refused", sa.Integer, nullable=False),
        sa.Column("reply", sa.LargeBinary, nullable=False),
        sa.Column("time_us", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "log_subscriptions",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("delivery_epoch", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "log_floors",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("next_seq", sa.BigInteger, nullable=False),
    )
