"""The delivery epochs that deleted subscriptions had are not given again.

Revision ID: sync_0003
"""

import sqlalchemy as sa
from alembic import op

revision = "sync_0003"
down_revision = "sync_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    retired = op.create_table("retired_epoch", sa.Column("delivery_epoch", sa.BigInteger, nullable=False))
    op.bulk_insert(retired, [{"delivery_epoch": 0}])
