"""The read model, its position, and the durable subscriptions.

Revision ID: sync_0001
"""

import sqlalchemy as sa
from alembic import op

from infra.runtime.schema import TEXT

revision = "sync_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
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
    op.create_index("orders_by_customer", "orders", ["customer_id", "order_id"])
    op.create_table(
        "read_model",
        sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("log_epoch", TEXT, nullable=False),
        sa.Column("next_seq", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "subscriptions",
        sa.Column("principal", TEXT, primary_key=True),
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("log_epoch", TEXT, nullable=False),
        sa.Column("filter", TEXT, nullable=False),
        sa.Column("filter_hash", sa.LargeBinary, nullable=False),
        sa.Column("delivery_epoch", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "subscription_floors",
        sa.Column("principal", TEXT, primary_key=True),
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("next_seq", sa.BigInteger, nullable=False),
        sa.Column("delivery_epoch", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["principal", "name"], ["subscriptions.principal", "subscriptions.name"]),
    )
