"""A projection that starts from a snapshot: every order and every later event once, whatever dies in between."""

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from stateset.common.v1.position_pb2 import Position
from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset.order.v1.order_pb2 import Order
from stateset.stream.v1.stream_pb2 import SnapshotStart
from stateset_client import Checkpoint, FencedError, Move, Projection, SnapshotFold, StreamLimits
from stateset_client.testing import FakeSync

from tests.harness.fake_sync_events import eventually, order_event

LIMITS = StreamLimits(credit_events=4, batch_events_max=3, heartbeat_seconds=0.5)


class CutError(Exception):
    """The process dies here."""


class Store:
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


def take_over(order: Order, session: sqlite3.Connection) -> None:
    session.execute("INSERT INTO orders VALUES (?, ?, 0)", (order.order_id, order.version))  # fails if it is there


def apply(event: OrderEvent, session: sqlite3.Connection) -> None:
    session.execute(
        "INSERT INTO orders VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET version = excluded.version",
        (event.order_id, event.version),
    )


def projection_of(sync: FakeSync, store: Store) -> Projection[sqlite3.Connection]:
    return Projection(
        sync.address, "orders", store=store, apply=apply, snapshot=SnapshotFold(store, take_over), limits=LIMITS
    )


@asynccontextmanager
async def running(projection: Projection[sqlite3.Connection]) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(projection.run(), name="projection")
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("seed", range(6))
async def test_a_projection_from_a_snapshot_agrees_with_the_log_though_it_dies_again_and_again(
    tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - a test that can be played again
    truth: dict[str, int] = {}
    async with FakeSync.start(shards=3) as sync:

        def traffic(commands: int) -> None:
            for _ in range(commands):
                order_id = f"o-{chance.randrange(20):02}"
                truth[order_id] = truth.get(order_id, 0) + 1
                sync.append(order_event(order_id, truth[order_id], ()))

        traffic(60)
        store = Store(tmp_path / "store.db")
        for _ in range(8):
            store.cut_after = chance.randrange(4)
            async with running(projection_of(sync, store)) as task:
                while not task.done():
                    traffic(1)
                    await asyncio.wait([task], timeout=0.01)
            with pytest.raises(CutError):
                await task
        store.cut_after = None
        traffic(5)
        async with running(projection_of(sync, store)):
            await eventually(lambda: store.content() == truth)
    assert await store.load_place() is None
    assert any(spec.start.HasField("snapshot") and spec.start.snapshot.after_order_id for spec in sync.opens)


async def test_a_store_that_another_process_fills_is_left_to_it(tmp_path: Path) -> None:
    async with FakeSync.start(shards=3) as sync:
        sync.append(order_event("o-1", 1, ()))
        store = Store(tmp_path / "store.db")
        projection = projection_of(sync, store)
        store.load_place = no_place  # type: ignore[method-assign]  # as it was before the other one began
        store.move_place(store.database, None, SnapshotStart(after_order_id="o-0"))
        with pytest.raises(FencedError):
            async with asyncio.timeout(20):
                await projection.run()
        assert store.content() == {}


async def no_place() -> None:
    return None
