"""What a projection does with poison, whether the Sync Server or its fake is on the other side."""

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset.sync.v1 import sync_service_pb2 as sync
from stateset.sync.v1.sync_service_pb2_grpc import SyncServiceStub
from stateset_client import PoisonError, Projection, StreamLimits
from stateset_client.testing import FakeSync

from tests.harness.fake_sync_events import eventually, order_event
from tests.harness.stream_servers import SERVERS, Bed
from tests.harness.version_store import CutError, VersionStore, apply
from tests.harness.waiting import eventually_async

LIMITS = StreamLimits(unacked_events_max=100, batch_events_max=3, heartbeat_seconds=0.5)
NAME = "orders"


@pytest.fixture(params=sorted(SERVERS))
async def bed(request: pytest.FixtureRequest) -> AsyncIterator[Bed]:
    async with SERVERS[request.param]() as opened:
        yield opened


class Bench:
    """A projection over a store, and which orders it cannot process."""

    def __init__(self, address: str, path: Path, poison: set[str]) -> None:
        self.store = VersionStore(path)
        self.poison = poison
        self._address = address

    def apply(self, event: OrderEvent, session: sqlite3.Connection) -> None:
        if event.order_id in self.poison:
            raise PoisonError(f"{event.order_id} v{event.version}")
        apply(event, session)

    @asynccontextmanager
    async def running(self, limits: StreamLimits = LIMITS) -> AsyncIterator[asyncio.Task[None]]:
        projection = Projection(self._address, NAME, store=self.store, apply=self.apply, limits=limits)
        task = asyncio.create_task(projection.run(), name="projection")
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def has(self, truth: dict[str, int], task: asyncio.Task[None]) -> None:
        """Waits until everything is applied but for what is poison."""
        good = {order_id: version for order_id, version in truth.items() if order_id not in self.poison}
        await eventually(lambda: task.done() or self.store.content() == good)
        if task.done():
            await task


@asynccontextmanager
async def desk(address: str) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(address) as channel:
        yield SyncServiceStub(channel)


async def parked(stub: Any) -> list[tuple[str, int]]:  # noqa: ANN401 - gRPC's stub has no type
    reply = await stub.ListParked(sync.ListParkedRequest(subscription=NAME))
    return sorted((each.event.order_id, each.event.version) for each in reply.parked)


async def test_poison_is_parked_with_its_order_and_replay_goes_on_at_the_next_version(bed: Bed, tmp_path: Path) -> None:
    bench, truth = Bench(bed.address, tmp_path / "store.db", {"o-2"}), dict.fromkeys(["o-1", "o-2", "o-3"], 4)
    for _ in range(2):
        for order_id in truth:
            await bed.record(order_id)
    async with bench.running() as task, desk(bed.address) as stub:
        await eventually(lambda: task.done() or bench.store.content() == {"o-1": 2, "o-3": 2})
        for _ in range(2):
            for order_id in truth:
                await bed.record(order_id)
        await bench.has(truth, task)

        async def lie_there(*versions: int) -> bool:
            return await parked(stub) == [("o-2", version) for version in versions]

        await eventually_async(partial(lie_there, 1, 2, 3, 4))
        bench.poison.clear()
        await stub.ReplayParked(sync.ReplayParkedRequest(subscription=NAME, all=True))
        await bench.has(truth, task)
        await eventually_async(lie_there)
        await bed.record("o-2")
        await bench.has({**truth, "o-2": 5}, task)


@pytest.mark.parametrize("seed", range(4))
async def test_nothing_is_lost_or_applied_twice_though_the_projection_dies_around_poison_again_and_again(
    bed: Bed, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - a test that can be played again
    bench, truth = Bench(bed.address, tmp_path / "store.db", {"o-0", "o-3"}), dict[str, int]()

    async def traffic(commands: int) -> None:
        for _ in range(commands):
            order_id = f"o-{chance.randrange(8)}"
            truth[order_id] = truth.get(order_id, 0) + 1
            await bed.record(order_id)

    async with desk(bed.address) as stub:
        await traffic(20)
        for round_ in range(6):
            bench.store.cut_after = 1 + chance.randrange(4)
            async with bench.running() as task:
                while not task.done():
                    await traffic(1)
                    if round_ == 3:
                        await stub.ReplayParked(sync.ReplayParkedRequest(subscription=NAME, all=True))
                    await asyncio.wait([task], timeout=0.01)
            with pytest.raises(CutError):
                await task
        bench.store.cut_after = None
        async with bench.running() as task:
            await bench.has(truth, task)
            bench.poison.clear()
            await eventually_replayed(stub, bench, truth, task)


async def eventually_replayed(stub: Any, bench: Bench, truth: dict[str, int], task: asyncio.Task[None]) -> None:  # noqa: ANN401 - gRPC's stub has no type
    async with asyncio.timeout(20):
        while bench.store.content() != truth or await parked(stub):
            await stub.ReplayParked(sync.ReplayParkedRequest(subscription=NAME, all=True))
            done, _ = await asyncio.wait([task], timeout=0.05)
            if done:
                await task


async def test_nothing_is_lost_though_the_stream_breaks_while_poison_is_parked(tmp_path: Path) -> None:
    async with FakeSync.start(shards=2) as fake:
        bench, truth = Bench(fake.address, tmp_path / "store.db", {"o-1"}), dict[str, int]()
        async with bench.running() as task, desk(fake.address) as stub:
            for number in range(40):
                order_id = f"o-{number % 4}"
                truth[order_id] = truth.get(order_id, 0) + 1
                fake.append(order_event(order_id, truth[order_id], ()))
                if number % 5 == 0:
                    fake.disconnect()
                await asyncio.sleep(0)
            await bench.has(truth, task)
            bench.poison.clear()
            await eventually_replayed(stub, bench, truth, task)


async def test_without_acks_of_single_events_poison_ends_the_projection(bed: Bed, tmp_path: Path) -> None:
    await bed.record("o-1")
    bench = Bench(bed.address, tmp_path / "store.db", {"o-1"})
    async with bench.running(StreamLimits()) as task:
        with pytest.raises(PoisonError):
            await asyncio.wait_for(task, 20)
