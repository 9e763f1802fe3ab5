"""A load of orders whose service is killed under it, and the same load sent once more by somebody else."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from stateset.order.v1.log_service_pb2 import GetDigestRequest, GetLogHeadRequest
from stateset.order.v1.order_service_pb2 import PlaceOrderRequest
from stateset_client import Ingested, OrderClient

from tests.harness.orders import place_request
from tests.harness.ports import free_address
from tests.harness.postgres import fresh_database
from tests.harness.sync_process import running

ORDERS = 5_000
KILLED_AT = 4_500
PATIENCE_SECONDS = 60.0  # a service that was killed is started again, on a crowded machine


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/order.db"
        return
    async with fresh_database(request.getfixturevalue("postgres_server")) as url:
        yield url


def load(kill: Callable[[], None] | None = None) -> Iterator[PlaceOrderRequest]:
    """The orders; in the midst of them, when the first have been answered and others are under way, the blow."""
    for number in range(ORDERS):
        if number == KILLED_AT and kill is not None:
            kill()
        yield place_request(1, 2, order_id=f"o-{number}", request_id=f"request-o-{number}")


async def ingested(client: OrderClient, orders: Iterator[PlaceOrderRequest]) -> list[Ingested]:
    return [each async for each in client.ingest_orders(orders, timeout_seconds=PATIENCE_SECONDS)]


async def test_a_load_survives_kill_9_and_whoever_sends_it_again_gets_the_same_answers(
    tmp_path: Path, database: str
) -> None:
    address = free_address()
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(OrderClient.connect(address))
        async with running("order", tmp_path, address, database=database) as process:
            loading = asyncio.create_task(ingested(client, load(process.kill)))
            await process.wait()
        await stack.enter_async_context(running("order", tmp_path, address, database=database))
        first = await loading
        again = await ingested(client, load())
        assert {each.error for each in (*first, *again)} == {None}
        assert all(each.replayed for each in again)
        assert [(each.order_id, each.version) for each in again] == [(f"o-{n}", 1) for n in range(ORDERS)]
        assert [(each.order_id, each.version) for each in first] == [(f"o-{n}", 1) for n in range(ORDERS)]
        heads = await client.get_log_head(GetLogHeadRequest())
        assert sum(shard.next_seq - 1 for shard in heads.shards) == ORDERS
        assert (await client.get_digest(GetDigestRequest())).digest.count == ORDERS
