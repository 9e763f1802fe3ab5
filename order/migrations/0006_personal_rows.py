"""Personal data in rows that are appended and overwritten in place, never moved or deleted: nothing of it is left over.

SQLite leaves copies of rows behind in pages that it has rearranged, however carefully it deletes.
"""

import sqlalchemy as sa
from alembic import op

from infra.runtime.schema import TEXT

revision = "order_0006"
down_revision = "order_0005"


def upgrade() -> None:
    op.rename_table("order_personal", "order_personal_before")
    op.create_table(
        "order_personal",
        sa.Column("row_id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("order_id", TEXT, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.execute("INSERT INTO order_personal (order_id, body) SELECT order_id, body FROM order_personal_before")
    op.create_index("order_personal_by_order", "order_personal", ["order_id"])
    op.drop_table("order_personal_before")
