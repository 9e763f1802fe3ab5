"""The first tables: holdings and balances, the orders that they add up, and how far they got."""

import sqlalchemy as sa
from alembic import op

from infra.runtime.schema import TEXT

revision = "portfolio_0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "holdings",
        sa.Column("customer_id", TEXT, primary_key=True),
        sa.Column("product_id", TEXT, primary_key=True),
        sa.Column("currency_code", TEXT, primary_key=True),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("open_quantity", sa.BigInteger, nullable=False),
        sa.Column("cost", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "balances",
        sa.Column("customer_id", TEXT, primary_key=True),
        sa.Column("currency_code", TEXT, primary_key=True),
        sa.Column("spent", sa.BigInteger, nullable=False),
        sa.Column("committed", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "contributions",
        sa.Column("order_id", TEXT, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("content", TEXT, nullable=False),
    )
    op.create_table(
        "checkpoints",
        sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("log_epoch", TEXT, nullable=False),
        sa.Column("next_seq", sa.BigInteger, nullable=False),
        sa.Column("delivery_epoch", sa.BigInteger, nullable=False),
    )
