"""Requests are kept as they came, not as hashes of their fields.

A hash cannot be turned back: what was asked before is answered again by its request id, whatever else a repeat says.
"""

import sqlalchemy as sa
from alembic import op

revision = "order_0008"
down_revision = "order_0007"

_NO_BYTES = {"sqlite": "x''", "postgresql": "''"}


def upgrade() -> None:
    nothing = sa.text(_NO_BYTES[op.get_bind().dialect.name])
    op.drop_column("idempotency", "fields")
    op.add_column("idempotency", sa.Column("content", sa.LargeBinary, nullable=False, server_default=nothing))
