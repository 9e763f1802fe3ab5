"""Sums do not end at 2^63."""

import sqlalchemy as sa
from alembic import op

from infra.runtime.sql_numbers import WholeNumber, refuse_inexact

revision = "portfolio_0002"
down_revision = "portfolio_0001"


def upgrade() -> None:
    refuse_inexact(op.get_bind(), "holdings", "quantity", "open_quantity", "cost")
    refuse_inexact(op.get_bind(), "balances", "spent", "committed")
    with op.batch_alter_table("holdings") as table:
        table.alter_column("quantity", type_=WholeNumber(), existing_type=sa.BigInteger(), existing_nullable=False)
        table.alter_column("open_quantity", type_=WholeNumber(), existing_type=sa.BigInteger(), existing_nullable=False)
        table.alter_column("cost", type_=WholeNumber(), existing_type=sa.BigInteger(), existing_nullable=False)
    with op.batch_alter_table("balances") as table:
        table.alter_column("spent", type_=WholeNumber(), existing_type=sa.BigInteger(), existing_nullable=False)
        table.alter_column("committed", type_=WholeNumber(), existing_type=sa.BigInteger(), existing_nullable=False)
