"""Sums do not end at 2^63."""

import sqlalchemy as sa
from alembic import op

from infra.runtime.sql_numbers import WholeNumber, refuse_inexact

revision = "analytics_0002"
down_revision = "analytics_0001"


def upgrade() -> None:
    refuse_inexact(op.get_bind(), "placings", "gross_value")
    with op.batch_alter_table("placings") as table:
        table.alter_column("gross_value", type_=WholeNumber(), existing_type=sa.BigInteger(), existing_nullable=False)
