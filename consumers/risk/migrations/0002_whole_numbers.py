"""Sums do not end at 2^63."""

import sqlalchemy as sa
from alembic import op

from infra.runtime.sql_numbers import WholeNumber, refuse_inexact

revision = "risk_0002"
down_revision = "risk_0001"


def upgrade() -> None:
    refuse_inexact(op.get_bind(), "exposures", "open_notional", "filled_amount")
    with op.batch_alter_table("exposures") as table:
        table.alter_column("open_notional", type_=WholeNumber(), existing_type=sa.BigInteger(), existing_nullable=False)
        table.alter_column("filled_amount", type_=WholeNumber(), existing_type=sa.BigInteger(), existing_nullable=False)
