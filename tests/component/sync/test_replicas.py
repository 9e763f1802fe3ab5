"""Two Sync Servers as processes of their own, on one PostgreSQL database or with a database each."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from stateset.common.v1.position_pb2 import Position
from stateset.stream.v1 import stream_pb2
from stateset.sync.v1 import sync_service_pb2
from stateset_client import EARLIEST, EventStream, Subscription

from tests.component.sync.test_process import place
from tests.harness.ports import free_address
from tests.harness.postgres import fresh_database
from tests.harness.sync_client import PLENTY, Client, Stream
from tests.harness.sync_process import connected, running
from tests.harness.waiting import eventually_async

ORDERS = 300
KILL_AFTER = 100
SECONDS = 60


@pytest.fixture
async def shared(postgres_server: str) -> AsyncIterator[str]:
    async with fresh_database(postgres_server) as url:
        yield url


@asynccontextmanager
async def ordering(folder: Path) -> AsyncIterator[str]:
    """An Order Service; its address."""
    address = free_address()
    async with running("order", folder, address), connected(address):
        yield address


@asynccontextmanager
async def replica(
    folder: Path, order_address: str, name: str, database: str
) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """A Sync Server on the database, or on a file of its own if that is empty."""
    address = free_address()
    database = database or f"sqlite:///{folder}/{name}.db"
    options = ("--order-address", order_address, "--name", name)
    async with running("sync", folder, address, *options, database=database) as process, connected(address):
        yield address, process


async def named(client: Client) -> Stream:
    start = stream_pb2.Start(point=stream_pb2.START_POINT_STORED)
    return await client.subscribe(stream_pb2.Open(subscription="s-1", start=start, credit=PLENTY))


async def ack(stream: Stream, ack_id: str) -> stream_pb2.AckResult:
    through = Position()
    through.CopyFrom(stream.frames[0].opened.position)
    for shard, next_seq in stream.next_seqs.items():
        through.next_seq[shard] = next_seq
    await stream.say(ack=stream_pb2.Ack(ack_id=ack_id, through=through))
    result: stream_pb2.AckResult = await stream.until("ack_result")
    return result


async def test_a_subscriber_that_moves_to_another_replica_fences_its_old_stream(tmp_path: Path, shared: str) -> None:
    async with AsyncExitStack() as stack:
        order_address = await stack.enter_async_context(ordering(tmp_path))
        orders = await stack.enter_async_context(connected(order_address))
        streams = []
        await place(orders, 0, 10)
        for name in ("sync-a", "sync-b"):
            address, _ = await stack.enter_async_context(replica(tmp_path, order_address, name, shared))
            stream = await named(Client(await stack.enter_async_context(connected(address))))
            await stream.until_events(10)
            streams.append(stream)
        older, newer = streams
        assert newer.frames[0].opened.delivery_epoch == older.frames[0].opened.delivery_epoch + 1
        fenced = await ack(older, "a-1")
        assert fenced.status == stream_pb2.ACK_STATUS_FENCED
        assert set(fenced.floor.next_seq) == {1}
        assert (await ack(newer, "a-2")).status == stream_pb2.ACK_STATUS_COMMITTED


async def test_a_subscriber_of_a_replica_that_is_killed_goes_on_at_another_and_repeats_only_what_was_not_acked(
    tmp_path: Path, shared: str
) -> None:
    async with AsyncExitStack() as stack:
        order_address = await stack.enter_async_context(ordering(tmp_path))
        orders = await stack.enter_async_context(connected(order_address))
        first, process = await stack.enter_async_context(replica(tmp_path, order_address, "sync", shared))
        second, _ = await stack.enter_async_context(replica(tmp_path, order_address, "sync", shared))
        placing = asyncio.create_task(place(orders, 0, ORDERS), name="placing")
        stack.callback(placing.cancel)
        seen: list[tuple[int, int]] = []
        floors: dict[int, int] = {}

        async with asyncio.timeout(SECONDS), Subscription(first, "s-1") as subscription:
            while len(seen) < KILL_AFTER:
                batch = await anext(subscription)
                seen += [(event.shard, event.seq) for event in batch.events]
                floors = dict(enumerate((await subscription.ack(batch.position)).floor.next_seq))
            process.kill()
        again: list[tuple[int, int]] = []
        async with asyncio.timeout(SECONDS), Subscription(second, "s-1") as subscription:
            while len({*seen, *again}) < ORDERS:
                batch = await anext(subscription)
                again += [(event.shard, event.seq) for event in batch.events]
                await subscription.ack(batch.position)
        await placing
        await process.wait()

        assert [each for each in again if each[1] < floors[each[0]]] == []
        assert len(again) == len(set(again))
        whole = sorted({*seen, *again})
        assert whole == [(shard, seq) for shard, last in dict(whole).items() for seq in range(1, last + 1)]


@pytest.mark.parametrize("databases", ["one", "one each"])
async def test_a_reader_that_keeps_its_place_moves_between_replicas_without_a_loss_or_a_repetition(
    databases: str, tmp_path: Path, shared: str
) -> None:
    database = shared if databases == "one" else ""
    async with AsyncExitStack() as stack:
        order_address = await stack.enter_async_context(ordering(tmp_path))
        orders = await stack.enter_async_context(connected(order_address))
        addresses = []
        for name in ("sync-a", "sync-b"):
            address, process = await stack.enter_async_context(replica(tmp_path, order_address, name, database))
            addresses.append((address, process))
        placing = asyncio.create_task(place(orders, 0, ORDERS), name="placing")
        stack.callback(placing.cancel)
        seen: list[tuple[int, int]] = []
        position: Position | stream_pb2.Start = EARLIEST
        for address, process in addresses:
            goal = KILL_AFTER if process is addresses[0][1] else ORDERS
            async with asyncio.timeout(SECONDS), EventStream(address, start=position) as stream:
                while len(seen) < goal:
                    batch = await anext(stream)
                    seen += [(event.shard, event.seq) for event in batch.events]
                    position = batch.position
                if goal < ORDERS:
                    process.kill()
        await placing
        assert len(seen) == len(set(seen)) == ORDERS
        for shard in {shard for shard, _ in seen}:
            seqs = [seq for each, seq in seen if each == shard]
            assert seqs == list(range(1, len(seqs) + 1))


async def test_replicas_on_one_database_serve_the_same_orders(tmp_path: Path, shared: str) -> None:
    async with AsyncExitStack() as stack:
        order_address = await stack.enter_async_context(ordering(tmp_path))
        orders = await stack.enter_async_context(connected(order_address))
        clients = []
        for name in ("sync", "sync"):
            address, _ = await stack.enter_async_context(replica(tmp_path, order_address, name, shared))
            clients.append(Client(await stack.enter_async_context(connected(address))))
        await place(orders, 0, 50)

        async def agree() -> bool:
            replies = [await client.stub.GetDigest(sync_service_pb2.GetDigestRequest()) for client in clients]
            return all(reply.digest.count == 50 for reply in replies) and replies[0].digest == replies[1].digest

        await eventually_async(agree)
