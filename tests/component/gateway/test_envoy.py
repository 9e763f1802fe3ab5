"""Envoy, as infra/deploy/envoy.yaml has it, in front of the whole system, and of several Sync Servers."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc.aio
import httpx
from google.protobuf.message import Message
from stateset.order.v1 import order_service_pb2_grpc
from stateset.stream.v1 import stream_pb2
from stateset.sync.v1 import sync_service_pb2, sync_service_pb2_grpc

from tests.harness.envoy import running_envoy
from tests.harness.gateway import running_system
from tests.harness.gateway_golden import GOLDEN, wrong_answers
from tests.harness.gateway_streams import Seen, read_events, read_socket
from tests.harness.order_service import order_service
from tests.harness.orders import place_request
from tests.harness.ports import free_address
from tests.harness.sync_client import Client
from tests.harness.sync_process import connected, running
from tests.harness.waiting import eventually_async

GET_ORDER = "/stateset.sync.v1.SyncService/GetOrder"
GRPC_WEB = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}


@asynccontextmanager
async def behind_envoy(folder: Path) -> AsyncIterator[tuple[str, httpx.AsyncClient]]:
    """The whole system behind Envoy: where that is, and an HTTP client of it."""
    async with AsyncExitStack() as stack:
        system = await stack.enter_async_context(running_system(folder))
        services = {**{name: [address] for name, address in system.grpc.items()}, "http": [system.http_address]}
        envoy = await stack.enter_async_context(running_envoy(folder, services))
        yield envoy, await stack.enter_async_context(httpx.AsyncClient(base_url=f"http://{envoy}", timeout=30))


async def grpc_web(http: httpx.AsyncClient, path: str, request: Message) -> tuple[bytes, str]:
    """The reply to a call, and its status, which the last frame of the body says: browsers read no trailers."""
    body = request.SerializeToString()
    answer = await http.post(path, content=struct.pack(">BI", 0, len(body)) + body, headers=GRPC_WEB)
    reply, said = b"", answer.content
    while said:
        kind, size = struct.unpack(">BI", said[:5])
        frame, said = said[5 : 5 + size], said[5 + size :]
        if kind:
            trailers = dict(line.split(":", 1) for line in frame.decode().split("\r\n") if line)
            return reply, trailers["grpc-status"]
        reply = frame
    return reply, answer.headers["grpc-status"]


async def test_every_rpc_answers_its_golden_request_through_envoy(tmp_path: Path) -> None:
    async with behind_envoy(tmp_path) as (_, http):
        assert await wrong_answers(http, GOLDEN) == []


async def test_each_kind_of_caller_is_served(tmp_path: Path) -> None:
    async with behind_envoy(tmp_path) as (envoy, http), connected(envoy) as channel:
        orders = order_service_pb2_grpc.OrderServiceStub(channel)
        for _ in range(5):
            placed = await orders.PlaceOrder(place_request(1), timeout=20)
        for read in (read_events, read_socket):
            seen = Seen()
            await read(http, seen, 5)
            seen.check()
        await Client(channel).stream_events(stream_pb2.Open()).until_events(5)
        asked = sync_service_pb2.GetOrderRequest(order_id=placed.order.order_id, min_position=placed.position)
        reply, status = await grpc_web(http, GET_ORDER, asked)
        assert (sync_service_pb2.GetOrderResponse.FromString(reply).order.version, status) == (1, "0")
        _, status = await grpc_web(http, GET_ORDER, sync_service_pb2.GetOrderRequest(order_id="none"))
        assert status == str(grpc.StatusCode.NOT_FOUND.value[0])
        assert (await http.get("/docs")).status_code == 200


async def test_calls_go_to_whichever_sync_server_is_there(tmp_path: Path) -> None:
    one, other = free_address(), free_address()
    async with order_service(tmp_path) as order, AsyncExitStack() as stack:

        async def started(address: str) -> asyncio.subprocess.Process:
            name = address.rpartition(":")[2]
            folder = tmp_path / name
            folder.mkdir(exist_ok=True)
            options = ("--name", name, "--order-address", order.address)
            process = await stack.enter_async_context(running("sync", folder, address, *options))
            await stack.enter_async_context(connected(address))
            return process

        first, second = await started(one), await started(other)
        envoy = await stack.enter_async_context(running_envoy(tmp_path, {"sync": [one, other]}))
        channel = await stack.enter_async_context(connected(envoy))
        await killed(first)
        await is_served(channel)
        await started(one)
        await killed(second)
        await is_served(channel)


async def killed(process: asyncio.subprocess.Process) -> None:
    process.kill()
    await process.wait()


async def is_served(channel: grpc.aio.Channel) -> None:
    """Call after call, once Envoy has noticed."""
    digest = sync_service_pb2_grpc.SyncServiceStub(channel).GetDigest

    async def answers() -> bool:
        try:
            await digest(sync_service_pb2.GetDigestRequest(), timeout=20)
        except grpc.aio.AioRpcError:
            return False
        return True

    async def steadily() -> bool:
        return all([await answers() for _ in range(20)])

    await eventually_async(steadily, within_seconds=120)
