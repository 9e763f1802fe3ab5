"""When a parked event that was answered with RETRY comes again.

Revision ID: sync_0005
"""

import sqlalchemy as sa
from alembic import op

revision = "sync_0005"
down_revision = "sync_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("due_us", "delay_us"):
        op.add_column("parked_events", sa.Column(name, sa.BigInteger, nullable=False, server_default="0"))
