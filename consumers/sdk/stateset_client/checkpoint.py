"""Where a reader keeps its place: with its effects, in its own database."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from stateset.common.v1.position_pb2 import Position

Session = TypeVar("Session")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A position that was made durable with its effects, and the opening of the subscription that reached it."""

    position: Position
    delivery_epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One shard's step from one checkpoint to the next; of no length where a newer reader claims the shard."""

    shard: int
    first_seq: int
    next_seq: int
    delivery_epoch: int


class CheckpointStore(Protocol[Session]):
    """The reader's own database. A session is whatever its transactions are written through.

    `transact` runs its work to the end or not at all; the three functions below it are called within such work only,
    on the thread that runs it.
    """

    async def load(self) -> Checkpoint | None:
        """The checkpoint; none before the first `create`."""

    async def transact(self, work: Callable[[Session], None]) -> None:
        """Runs `work` in one transaction: commits when it returns, rolls back when it raises, and raises that."""

    def create(self, session: Session, checkpoint: Checkpoint) -> None:
        """Stores the first checkpoint."""

    def move(self, session: Session, step: Move) -> bool:
        """Compare-and-set of one shard: whether exactly one row was changed.

        `UPDATE … SET next_seq = :next_seq, delivery_epoch = :delivery_epoch
        WHERE shard = :shard AND next_seq = :first_seq AND delivery_epoch <= :delivery_epoch`
        """

    def versions(self, session: Session, order_ids: Collection[str]) -> Mapping[str, int]:
        """The version at which each of the orders was applied last; orders that never were are left out."""
