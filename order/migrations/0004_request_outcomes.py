"""A request id may be fenced, not only answered; and it is forgotten by its time."""

from alembic import op

revision = "order_0004"
down_revision = "order_0003"


def upgrade() -> None:
    op.execute("ALTER TABLE idempotency RENAME COLUMN refused TO outcome")
    op.create_index("idempotency_by_time", "idempotency", ["time_us"])
