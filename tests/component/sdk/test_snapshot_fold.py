"""A projection that starts from a snapshot: every order and every later event once, whatever dies in between."""

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from stateset.order.v1.order_pb2 import Order
from stateset.stream.v1.stream_pb2 import SnapshotStart
from stateset_client import FencedError, Projection, SnapshotFold, StreamLimits
from stateset_client.testing import FakeSync

from tests.harness.fake_sync_events import eventually, order_event
from tests.harness.version_store import CutError, VersionStore, apply

LIMITS = StreamLimits(credit_events=4, batch_events_max=3, heartbeat_seconds=0.5)


def take_over(order: Order, session: sqlite3.Connection) -> None:
    session.execute("INSERT INTO orders VALUES (?, ?, 0)", (order.order_id, order.version))  # fails if it is there


def projection_of(sync: FakeSync, store: VersionStore) -> Projection[sqlite3.Connection]:
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
        store = VersionStore(tmp_path / "store.db")
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
        store = VersionStore(tmp_path / "store.db")
        projection = projection_of(sync, store)
        store.load_place = no_place  # type: ignore[method-assign]  # as it was before the other one began
        store.move_place(store.database, None, SnapshotStart(after_order_id="o-0"))
        with pytest.raises(FencedError):
            async with asyncio.timeout(20):
                await projection.run()
        assert store.content() == {}


async def no_place() -> None:
    return None
