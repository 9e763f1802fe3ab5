"""The first tables: exposures, the orders that they add up, and how far they got."""

import sqlalchemy as sa
from alembic import op

from infra.runtime.schema import TEXT

revision = "risk_0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "exposures",
        sa.Column("customer_id", TEXT, primary_key=True),
        sa.Column("currency_code", TEXT, primary_key=True),
        sa.Column("open_notional", sa.BigInteger, nullable=False),
        sa.Column("filled_amount", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "orders",
        sa.Column("order_id", TEXT, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("customer_id", TEXT, nullable=False),
        sa.Column("currency_code", TEXT, nullable=False),
        sa.Column("open_notional", sa.BigInteger, nullable=False),
        sa.Column("filled_amount", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "checkpoints",
        sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("log_epoch", TEXT, nullable=False),
        sa.Column("next_seq", sa.BigInteger, nullable=False),
        sa.Column("delivery_epoch", sa.BigInteger, nullable=False),
    )
