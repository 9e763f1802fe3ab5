"""Who publishes the log on the bus, and how far each topic is filled."""

import sqlalchemy as sa
from alembic import op

from infra.runtime.schema import TEXT

revision = "order_0002"
down_revision = "order_0001"


def upgrade() -> None:
    lease = op.create_table(
        "relay_lease",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("holder", TEXT, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("expire_time_us", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(lease, [{"name": "relay", "holder": "", "epoch": 0, "expire_time_us": 0}])
    op.create_table(
        "relay_cursors",
        sa.Column("topic", TEXT, primary_key=True),
        sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("topic_id", TEXT, nullable=False),
        sa.Column("next_seq", sa.BigInteger, nullable=False),
    )
