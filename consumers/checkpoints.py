"""The checkpoint of a consumer in its own database: one row per shard, moved by compare-and-set."""

import sqlalchemy as sa
from sqlalchemy import Connection
from stateset_client import Checkpoint, Move

from infra.kernel.position import Position
from infra.runtime.grpc.wire import position_to_wire
from infra.runtime.schema import TEXT

CHECKPOINTS = sa.Table(
    "checkpoints",
    sa.MetaData(),
    sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("log_epoch", TEXT, nullable=False),
    sa.Column("next_seq", sa.BigInteger, nullable=False),
    sa.Column("delivery_epoch", sa.BigInteger, nullable=False),
)
_MOVE = (
    sa.update(CHECKPOINTS)
    .where(
        CHECKPOINTS.c.shard == sa.bindparam("at_shard"),
        CHECKPOINTS.c.next_seq == sa.bindparam("from_seq"),
        CHECKPOINTS.c.delivery_epoch <= sa.bindparam("mine"),
    )
    .values(next_seq=sa.bindparam("to_seq"), delivery_epoch=sa.bindparam("mine"))
)


def load_checkpoint(connection: Connection) -> Checkpoint | None:
    """The checkpoint; none before the first."""
    rows = connection.execute(sa.select(CHECKPOINTS).order_by(CHECKPOINTS.c.shard)).all()
    if not rows:
        return None
    position = Position(log_epoch=rows[0].log_epoch, next_seq=tuple(row.next_seq for row in rows))
    return Checkpoint(position=position_to_wire(position), delivery_epoch=max(row.delivery_epoch for row in rows))


def create_checkpoint(connection: Connection, checkpoint: Checkpoint) -> None:
    """Stores the first checkpoint."""
    connection.execute(
        sa.insert(CHECKPOINTS),
        [
            {
                "shard": shard,
                "log_epoch": checkpoint.position.log_epoch,
                "next_seq": next_seq,
                "delivery_epoch": checkpoint.delivery_epoch,
            }
            for shard, next_seq in enumerate(checkpoint.position.next_seq)
        ],
    )


def move_checkpoint(connection: Connection, step: Move) -> bool:
    """Moves one shard from where the step begins; False when it is not there, or a newer reader has moved it."""
    moved = connection.execute(
        _MOVE,
        {"at_shard": step.shard, "from_seq": step.first_seq, "to_seq": step.next_seq, "mine": step.delivery_epoch},
    )
    return moved.rowcount == 1
