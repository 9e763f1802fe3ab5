"""The first tables: figures by day, the orders whose events they count, and how far they got."""

import sqlalchemy as sa
from alembic import op

from infra.runtime.schema import TEXT

revision = "analytics_0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "days",
        sa.Column("day", TEXT, primary_key=True),
        sa.Column("events", sa.BigInteger, nullable=False),
        sa.Column("orders_placed", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "transitions",
        sa.Column("day", TEXT, primary_key=True),
        sa.Column("previous_state", TEXT, primary_key=True),
        sa.Column("state", TEXT, primary_key=True),
        sa.Column("events", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "placings",
        sa.Column("day", TEXT, primary_key=True),
        sa.Column("currency_code", TEXT, primary_key=True),
        sa.Column("orders", sa.BigInteger, nullable=False),
        sa.Column("gross_value", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "funnels",
        sa.Column("day", TEXT, primary_key=True),
        sa.Column("placed", sa.BigInteger, nullable=False),
        sa.Column("accepted", sa.BigInteger, nullable=False),
        sa.Column("filled", sa.BigInteger, nullable=False),
        sa.Column("shipped", sa.BigInteger, nullable=False),
        sa.Column("delivered", sa.BigInteger, nullable=False),
        sa.Column("canceled", sa.BigInteger, nullable=False),
        sa.Column("rejected", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "orders",
        sa.Column("order_id", TEXT, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("reached", sa.Integer, nullable=False),
    )
    op.create_table(
        "checkpoints",
        sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("log_epoch", TEXT, nullable=False),
        sa.Column("next_seq", sa.BigInteger, nullable=False),
        sa.Column("delivery_epoch", sa.BigInteger, nullable=False),
    )
