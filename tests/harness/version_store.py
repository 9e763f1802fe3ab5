"""A projection's store for tests: the version of each order in SQLite, and a process that dies when it is told to."""

import sqlite3
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from stateset.common.v1.position_pb2 import Position
from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset.stream.v1.stream_pb2 import SnapshotStart
from stateset_client import Checkpoint, Move


class CutError(Exception):
    """The process dies here."""


class VersionStore:
    """Orders and their versions, the checkpoint and the place in the snapshot, in one SQLite file."""

    def __init__(self, path: Path) -> None:
        self.database = sqlite3.connect(path, isolation_level=None)
        self.database.executescript(
            """
            CREATE TABLE IF NOT EXISTS orders (order_id TEXT PRIMARY KEY, version INT, applied INT);
            CREATE TABLE IF NOT EXISTS checkpoint (shard INT PRIMARY KEY, next_seq INT, epoch INT, log TEXT);
            CREATE TABLE IF NOT EXISTS place (place BLOB);
            """
        )
        self.cut_after: int | None = None

    async def load(self) -> Checkpoint | None:
        rows = self.database.execute("SELECT next_seq, epoch, log FROM checkpoint ORDER BY shard").fetchall()
        if not rows:
            return None
        position = Position(log_epoch=rows[0][2], next_seq=[row[0] for row in rows])
        return Checkpoint(position=position, delivery_epoch=max(row[1] for row in rows))

    async def load_place(self) -> SnapshotStart | None:
        row = self.database.execute("SELECT place FROM place").fetchone()
        return None if row is None else SnapshotStart.FromString(row[0])

    async def transact(self, work: Callable[[sqlite3.Connection], None]) -> None:
        self.database.execute("BEGIN IMMEDIATE")
        try:
            work(self.database)
            self._die_in_time()
        except BaseException:
            self.database.execute("ROLLBACK")
            raise
        self.database.execute("COMMIT")

    def _die_in_time(self) -> None:
        if self.cut_after is not None:
            self.cut_after -= 1
            if self.cut_after < 0:
                raise CutError

    def create(self, session: sqlite3.Connection, checkpoint: Checkpoint) -> None:
        for shard, seq in enumerate(checkpoint.position.next_seq):
            row = (shard, seq, checkpoint.delivery_epoch, checkpoint.position.log_epoch)
            session.execute("INSERT INTO checkpoint VALUES (?, ?, ?, ?)", row)

    def move(self, session: sqlite3.Connection, step: Move) -> bool:
        return (
            session.execute(
                "UPDATE checkpoint SET next_seq = ?, epoch = ? WHERE shard = ? AND next_seq = ? AND epoch <= ?",
                (step.next_seq, step.delivery_epoch, step.shard, step.first_seq, step.delivery_epoch),
            ).rowcount
            == 1
        )

    def move_place(
        self, session: sqlite3.Connection, before: SnapshotStart | None, after: SnapshotStart | None
    ) -> bool:
        if session.execute("SELECT place FROM place").fetchone() != (before and (before.SerializeToString(),)):
            return False
        session.execute("DELETE FROM place")
        if after is not None:
            session.execute("INSERT INTO place VALUES (?)", (after.SerializeToString(),))
        return True

    def versions(self, session: sqlite3.Connection, order_ids: Collection[str]) -> Mapping[str, int]:
        found = dict(session.execute("SELECT order_id, version FROM orders"))
        return {order_id: found[order_id] for order_id in order_ids if order_id in found}

    def content(self) -> dict[str, int]:
        return dict(self.database.execute("SELECT order_id, version FROM orders"))


def apply(event: OrderEvent, session: sqlite3.Connection) -> None:
    session.execute(
        "INSERT INTO orders VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET version = excluded.version",
        (event.order_id, event.version),
    )
