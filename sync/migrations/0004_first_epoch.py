"""Which opening of a subscription was its first.

Revision ID: sync_0004
"""

import sqlalchemy as sa
from alembic import op

revision = "sync_0004"
down_revision = "sync_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # 1 is no later than the first opening of any that is there, or that an older server makes meanwhile.
    op.add_column("subscriptions", sa.Column("first_epoch", sa.BigInteger, nullable=False, server_default="1"))
