"""A consumer's database as a projection sees it: effect and checkpoint of a run of events in one transaction."""

from collections.abc import Callable, Collection, Mapping
from typing import Generic, Protocol, TypeVar

from sqlalchemy import Connection
from stateset_client import Checkpoint, Move

from consumers.checkpoints import create_checkpoint, load_checkpoint, move_checkpoint
from infra.runtime.database import Database


class FoldSession(Protocol):
    """One transaction's work: what the orders had is read at once, changed in memory, and written at once."""

    @property
    def connection(self) -> Connection:
        """In a transaction of its own."""

    def versions(self, order_ids: Collection[str]) -> Mapping[str, int]:
        """Reads in what these orders had, and tells their versions; those without a row are left out."""

    def flush(self) -> None:
        """Writes what was applied; called once, right before the commit."""


Session = TypeVar("Session", bound=FoldSession)


class Store(Generic[Session]):
    """A `CheckpointStore` over a consumer's own database.

    Args:
        database: Holds the consumer's tables, the checkpoint's among them.
        session: Begins a transaction's work.
    """

    def __init__(self, database: Database, session: Callable[[Connection], Session]) -> None:
        self._database = database
        self._session = session

    async def load(self) -> Checkpoint | None:
        """See `CheckpointStore.load`."""
        return await self._database.read(load_checkpoint)

    async def transact(self, work: Callable[[Session], None]) -> None:
        """See `CheckpointStore.transact`."""

        def run(connection: Connection) -> None:
            session = self._session(connection)
            work(session)
            session.flush()

        await self._database.write(run)

    def create(self, session: Session, checkpoint: Checkpoint) -> None:
        """See `CheckpointStore.create`."""
        create_checkpoint(session.connection, checkpoint)

    def move(self, session: Session, step: Move) -> bool:
        """See `CheckpointStore.move`."""
        return move_checkpoint(session.connection, step)

    def versions(self, session: Session, order_ids: Collection[str]) -> Mapping[str, int]:
        """See `CheckpointStore.versions`."""
        return session.versions(order_ids)
