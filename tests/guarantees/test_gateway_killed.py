"""Streams over HTTP while the Sync Server is killed: what each reader saw is every event, once, in sequence.

`make test` kills it 5 times, `make test-guarantees` 50 times.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import grpc.aio
import httpx
import pytest
from stateset.order.v1 import order_service_pb2_grpc
from websockets.exceptions import ConnectionClosed

from tests.harness.gateway_streams import Seen, read_events, read_socket
from tests.harness.orders import place_request
from tests.harness.ports import free_address
from tests.harness.sync_process import connected, running
from tests.harness.waiting import eventually

_KILLS = int(os.environ.get("FAULTS", "5"))
_ORDERS_PER_KILL = 40
_BROKEN = (httpx.HTTPError, OSError, ConnectionClosed, TimeoutError)

Read = Callable[[httpx.AsyncClient, Seen, int], Awaitable[None]]


@pytest.mark.timeout(60 + 40 * _KILLS)
async def test_no_event_is_lost_or_repeated_over_http_whoever_is_killed(tmp_path: Path) -> None:
    order, sync, http = (free_address() for _ in range(3))
    options = ("--order-address", order, "--http-address", http)
    seen = [Seen(), Seen(), Seen()]
    total = _KILLS * _ORDERS_PER_KILL
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(running("order", tmp_path, order))
        channel = await stack.enter_async_context(connected(order))
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=f"http://{http}", timeout=20))
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        readers: list[Read] = [read_events, read_socket, read_events]
        for read, mine in zip(readers, seen, strict=True):
            tasks.create_task(_follow(client, read, mine, total))
        for kill in range(_KILLS):
            async with running("sync", tmp_path, sync, *options) as process:
                placing = tasks.create_task(_place(channel))
                # In the middle of what this life brings, before its end has been sent.
                reached = kill * _ORDERS_PER_KILL + _ORDERS_PER_KILL // 4
                await eventually(lambda reached=reached: min(mine.count for mine in seen) >= reached, within_seconds=60)  # type: ignore[misc]
                process.kill()
                await process.wait()
                await placing
        async with running("sync", tmp_path, sync, *options):
            await eventually(lambda: min(mine.count for mine in seen) >= total, within_seconds=60)
    for mine in seen:
        assert mine.count == total
        mine.check()


async def _follow(client: httpx.AsyncClient, read: Read, seen: Seen, count: int) -> None:
    """Reads on whenever the server is there, from the place that the last event named."""
    while seen.count < count:
        try:
            await read(client, seen, count)
        except _BROKEN:
            await asyncio.sleep(0.05)


async def _place(channel: grpc.aio.Channel) -> None:
    stub = order_service_pb2_grpc.OrderServiceStub(channel)
    for _ in range(_ORDERS_PER_KILL):
        await stub.PlaceOrder(place_request(1), timeout=20)
