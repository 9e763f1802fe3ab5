"""What records stand for, and when orders have to be expired."""

import sqlalchemy as sa
from alembic import op

revision = "order_0005"
down_revision = "order_0004"


def upgrade() -> None:
    op.add_column("order_records", sa.Column("body", sa.LargeBinary))
    op.add_column("orders", sa.Column("due_time_us", sa.BigInteger))
    expires = sa.text("due_time_us IS NOT NULL")
    op.create_index("orders_due", "orders", ["due_time_us", "order_id"], postgresql_where=expires, sqlite_where=expires)
