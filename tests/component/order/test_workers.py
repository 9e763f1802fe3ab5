"""Two Order Services on one PostgreSQL: one log, and every answer as from a single process."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest
from stateset.common.v1.position_pb2 import Position
from stateset.order.v1.log_service_pb2 import GetLogHeadRequest
from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset.order.v1.order_pb2 import Hold
from stateset.order.v1.order_service_pb2 import GetOrderRequest, HoldOrderRequest, ReleaseOrderHoldRequest
from stateset_client import EARLIEST, ORDER_LOG, EventStream, OrderClient
from stateset_client.channel import open_stream_channel as own_channel

from tests.harness.order_workers import OrderWorkers, clients_of, order_workers
from tests.harness.orders import place_request
from tests.harness.postgres import fresh_database

SHARDS = 3
ORDERS = [f"o-{number}" for number in range(12)]
ROUNDS = 25
CLIENTS = 6
KEPT = 10  # commands of a client before the blow, of the 2 × ROUNDS that it sends


@pytest.fixture
async def database(postgres_server: str) -> AsyncIterator[str]:
    async with fresh_database(postgres_server) as url:
        yield url


@pytest.fixture
async def workers(tmp_path: Path, database: str) -> AsyncIterator[OrderWorkers]:
    async with order_workers(tmp_path, database, "--shards", str(SHARDS)) as running:
        yield running


async def place_all(client: OrderClient) -> None:
    for order_id in ORDERS:
        await client.place_order(place_request(1, order_id=order_id))


async def hold_and_release(client: OrderClient, seed: int, after_command: Callable[[], None] = lambda: None) -> int:
    """Puts holds on orders that everybody else works on, too, and takes them off again; how many commands that were."""
    chance = random.Random(seed)  # noqa: S311 - which orders, not a secret
    for number in range(ROUNDS):
        order_id, hold_id = chance.choice(ORDERS), f"h-{seed}-{number}"
        held = HoldOrderRequest(order_id=order_id, hold=Hold(hold_id=hold_id, reason_code="CHECK"))
        before = (await client.hold_order(held, timeout_seconds=60)).order.version
        after_command()
        released = ReleaseOrderHoldRequest(order_id=order_id, hold_id=hold_id)
        assert (await client.release_order_hold(released, timeout_seconds=60)).order.version > before
        after_command()
    return 2 * ROUNDS


async def log_of(address: str, events: int) -> list[OrderEvent]:
    """What a reader at the address is given, by shard and seq; more than so many events would come later."""
    read: list[OrderEvent] = []
    async with asyncio.timeout(60), EventStream(address, start=EARLIEST, source=ORDER_LOG) as stream:
        async for batch in stream:
            read += batch.events
            if len(read) >= events:
                break
    return sorted(read, key=lambda event: (event.shard, event.seq))


def is_whole(log: Sequence[OrderEvent]) -> bool:
    """Whether seqs are dense by shard, and versions by order."""
    seqs: dict[int, list[int]] = {}
    versions: dict[str, list[int]] = {}
    for event in log:
        seqs.setdefault(event.shard, []).append(event.seq)
        versions.setdefault(event.order_id, []).append(event.version)
    return all(each == list(range(1, len(each) + 1)) for each in (*seqs.values(), *versions.values()))


async def deadlocks(database: str) -> int:
    connection = await asyncpg.connect(database)
    try:
        found: int = await connection.fetchval(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        )
    finally:
        await connection.close()
    return found


async def test_commands_that_cross_on_both_workers_make_one_log_without_a_deadlock(
    workers: OrderWorkers, database: str
) -> None:
    async with clients_of(workers) as clients:
        await place_all(clients[0])
        live = [asyncio.create_task(log_of(each.address, len(ORDERS) + CLIENTS * 2 * ROUNDS)) for each in workers.each]
        sent = await asyncio.gather(*(hold_and_release(clients[n % 2], seed=n) for n in range(CLIENTS)))
        ours, theirs = await asyncio.gather(*live)
        assert len(ours) == len(ORDERS) + sum(sent)
        assert is_whole(ours)
        assert ours == theirs
        heads = await clients[1].get_log_head(GetLogHeadRequest())
        assert sum(shard.next_seq - 1 for shard in heads.shards) == len(ours)
    assert await deadlocks(database) == 0


async def test_the_same_command_on_both_workers_at_once_has_one_effect_and_one_answer(workers: OrderWorkers) -> None:
    async with clients_of(workers) as clients:
        for number in range(20):
            request = place_request(2, order_id=f"twin-{number}", request_id=f"request-twin-{number}")
            first, second = await asyncio.gather(*(client.place_order(request) for client in clients))
            assert first == second
            assert first.order.version == 1


async def test_what_one_worker_has_acknowledged_the_other_one_reads_at_once(workers: OrderWorkers) -> None:
    async with clients_of(workers) as clients:
        for number in range(30):
            writer, reader = clients[number % 2], clients[1 - number % 2]
            placed = await writer.place_order(place_request(1, order_id=f"r-{number}"))
            asked = GetOrderRequest(order_id=f"r-{number}")
            assert (await reader.get_order(asked)).order == placed.order
            asked.min_position.CopyFrom(placed.position)
            assert (await reader.get_order(asked)).order == placed.order


async def test_a_stream_may_move_to_a_worker_with_a_position_of_the_other(workers: OrderWorkers) -> None:
    async with clients_of(workers) as [client, _]:
        for number in range(10):
            placed = await client.place_order(place_request(1, order_id=f"m-{number}"))
            start = Position(
                log_epoch=placed.position.log_epoch, next_seq=[max(1, n) for n in placed.position.next_seq]
            )
            async with EventStream(workers.each[1].address, start=start, source=ORDER_LOG) as stream:
                async with asyncio.timeout(20):
                    assert (await stream.opened()).position == start


async def test_a_worker_that_is_killed_under_load_costs_its_clients_a_retry_and_nothing_else(
    workers: OrderWorkers, database: str
) -> None:
    answered = 0

    def count() -> None:
        nonlocal answered
        answered += 1
        if answered == KEPT * CLIENTS:
            workers.each[0].process.kill()

    async with AsyncExitStack() as stack:
        # A connection each, dealt out by the system: some of them to the one that is going to die.
        clients = [OrderClient(await stack.enter_async_context(own_channel(workers.address))) for _ in range(CLIENTS)]
        await place_all(clients[0])
        sent = await asyncio.gather(*(hold_and_release(client, n, count) for n, client in enumerate(clients)))
        log = await log_of(workers.each[1].address, len(ORDERS) + sum(sent))
    assert len(log) == len(ORDERS) + sum(sent)
    assert is_whole(log)
    assert await deadlocks(database) == 0
