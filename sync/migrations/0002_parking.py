"""What is done above a floor, and the parking place.

Revision ID: sync_0002
"""

import sqlalchemy as sa
from alembic import op

from infra.runtime.schema import TEXT

revision = "sync_0002"
down_revision = "sync_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("subscriptions", sa.Column("parking_revision", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("subscription_floors", sa.Column("above", TEXT, nullable=False, server_default="[]"))
    op.create_table(
        "parked_events",
        sa.Column("principal", TEXT, primary_key=True),
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("order_id", TEXT, nullable=False),
        sa.Column("chunk", sa.LargeBinary, nullable=False),
        sa.Column("whole_order", sa.Boolean, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("parked_time_us", sa.BigInteger, nullable=False),
        sa.Column("replaying", sa.Boolean, nullable=False),
        sa.ForeignKeyConstraint(["principal", "name"], ["subscriptions.principal", "subscriptions.name"]),
    )
