"""A reader that is forgotten and comes again begins above every delivery epoch that was ever forgotten.

One number for all names: streams of a forgotten reader stay fenced, and nothing grows with the names that were.
"""

import sqlalchemy as sa
from alembic import op

revision = "order_0009"
down_revision = "order_0008"


def upgrade() -> None:
    op.add_column("log", sa.Column("forgotten_epoch", sa.BigInteger, nullable=False, server_default="0"))
