"""The load generator against real gRPC servers: what it says was answered was answered, and nothing is lost on it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc.aio
import pytest

from infra.runtime.grpc.server import OPTIONS
from tests.bench.grpc_call import NUMBER, CallTemplate
from tests.bench.http2_load import Load, Tally

METHOD = "/bench.Echo/Call"
MESSAGE = f"caller-{NUMBER}-of-{NUMBER}".encode()

Context = grpc.aio.ServicerContext[bytes, bytes]
Handler = Callable[[bytes, Context], Awaitable[bytes]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[tuple[str, grpc.aio.Server]]:
    server = grpc.aio.server(options=OPTIONS)
    call: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(handler)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", {"Call": call}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}", server
    finally:
        await server.stop(None)


def load_for(address: str, *, seconds: float, callers: int = 10, message: bytes = MESSAGE) -> tuple[Tally, Tally]:
    """What ended while the callers called, and what ended after they had stopped."""
    with Load(
        CallTemplate(address, METHOD, message, deadline_seconds=10), address, callers=callers, connections=3
    ) as load:
        return load.run(seconds), load.finish(5)


async def test_every_call_reaches_the_server_once_and_every_answer_is_counted() -> None:
    seen: list[bytes] = []

    async def echo(request: bytes, _: Context) -> bytes:
        seen.append(request)
        return request

    async with serving(echo) as (address, _):
        running, finishing = await asyncio.to_thread(load_for, address, seconds=0.3)

    assert running.replies > 10
    assert (running.errors, finishing.errors) == (0, 0)
    assert running.replies + finishing.replies == len(seen)
    numbers = range(len(seen))
    assert sorted(seen) == [f"caller-{number:012x}-of-{number:012x}".encode() for number in numbers]


async def test_as_many_calls_are_under_way_as_there_are_callers() -> None:
    release = asyncio.Event()
    under_way = 0

    async def wait(_request: bytes, _: Context) -> bytes:
        nonlocal under_way
        under_way += 1
        if under_way == 100:
            release.set()
        await release.wait()
        return b"done"

    async with serving(wait) as (address, _):
        running, finishing = await asyncio.to_thread(load_for, address, seconds=0.5, callers=100)

    assert running.replies + finishing.replies >= 100
    assert running.errors + finishing.errors == 0


async def test_replies_of_many_frames_are_read_to_their_end() -> None:
    async def answer(_request: bytes, _: Context) -> bytes:
        return b"x" * 500_000

    async with serving(answer) as (address, _):
        running, finishing = await asyncio.to_thread(load_for, address, seconds=0.3)

    assert running.replies > 0
    assert running.errors + finishing.errors == 0


async def test_refused_calls_are_errors() -> None:
    async def refuse(_request: bytes, context: Context) -> bytes:
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "come back later")
        raise AssertionError

    async with serving(refuse) as (address, _):
        running, _ = await asyncio.to_thread(load_for, address, seconds=0.2)

    assert running.replies == 0
    assert running.errors > 0
    assert "grpc-status\\x018" in running.first_error
    assert "come back later" in running.first_error


async def test_an_unknown_method_is_an_error() -> None:
    async def echo(request: bytes, _: Context) -> bytes:
        return request

    async with serving(echo) as (address, _):
        template = CallTemplate(address, "/bench.Echo/Missing", MESSAGE, deadline_seconds=10)
        with Load(template, address, callers=1, connections=1) as load:
            running = await asyncio.to_thread(load.run, 0.2)

    assert running.replies == 0
    assert running.errors > 0


async def test_calls_without_an_answer_are_errors() -> None:
    stuck = asyncio.Event()

    async def wait(_request: bytes, _: Context) -> bytes:
        await stuck.wait()
        return b""

    async with serving(wait) as (address, _):
        template = CallTemplate(address, METHOD, MESSAGE, deadline_seconds=10)
        with Load(template, address, callers=10, connections=3) as load:
            running = await asyncio.to_thread(load.run, 0.1)
            finishing = await asyncio.to_thread(load.finish, 0.1)
        stuck.set()

    assert (running.replies, running.errors) == (0, 0)
    assert (finishing.replies, finishing.errors) == (0, 10)
    assert "no answer within 0.1 s" in finishing.first_error


async def test_a_server_that_stops_leaves_errors_not_a_hang() -> None:
    async def echo(request: bytes, _: Context) -> bytes:
        return request

    async with serving(echo) as (address, server):
        template = CallTemplate(address, METHOD, MESSAGE, deadline_seconds=10)
        with Load(template, address, callers=10, connections=3) as load:
            started = await asyncio.to_thread(load.run, 0.1)
            stopping = asyncio.create_task(server.stop(None))
            running = await asyncio.to_thread(load.run, 5)
            again = await asyncio.to_thread(load.run, 1)
            await stopping

    assert started.errors == 0
    assert running.errors >= 3
    assert running.seconds < 5
    assert "GOAWAY" in running.first_error or "closed" in running.first_error
    assert (again.replies, again.errors) == (0, 0)


def test_more_callers_than_a_connection_may_have_streams_are_refused() -> None:
    template = CallTemplate("127.0.0.1:1", METHOD, MESSAGE, deadline_seconds=10)
    with pytest.raises(ValueError, match="101 callers on one connection"):
        Load(template, "127.0.0.1:1", callers=101, connections=1)


def test_a_request_that_does_not_fit_one_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit one frame"):
        CallTemplate("127.0.0.1:1", METHOD, b"x" * 16_384, deadline_seconds=10)
