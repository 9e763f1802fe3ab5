"""Load at a rate: as many calls as it says, none of them lost, and no more at once than the server takes."""

import asyncio

import grpc
import pytest

from tests.bench.grpc_call import CallTemplate
from tests.bench.paced_load import PacedLoad
from tests.bench.processes import BenchError
from tests.component.bench.test_http2_load import MESSAGE, METHOD, Context, serving


def run(address: str, *, per_second: int, calls: int, stall_seconds: float = 10) -> float:
    template = CallTemplate(address, METHOD, MESSAGE, deadline_seconds=10)
    with PacedLoad(template, address, per_second=per_second) as load:
        return load.run(calls, stall_seconds=stall_seconds)


async def test_calls_come_at_the_rate_and_each_is_answered_once() -> None:
    seen: list[bytes] = []

    async def echo(request: bytes, _: Context) -> bytes:
        seen.append(request)
        return request

    async with serving(echo) as (address, _):
        took = await asyncio.to_thread(run, address, per_second=200, calls=100)

    assert took >= 0.5
    assert len(seen) == len(set(seen)) == 100


async def test_a_server_that_falls_behind_is_not_called_beyond_its_streams() -> None:
    release = asyncio.Event()
    under_way = 0

    async def wait(request: bytes, _: Context) -> bytes:
        nonlocal under_way
        under_way += 1
        await release.wait()
        return request

    async with serving(wait) as (address, _):
        with pytest.raises(BenchError, match="1000 calls of 1000 are not answered, none for"):
            await asyncio.to_thread(run, address, per_second=10_000, calls=1_000, stall_seconds=0.5)
        release.set()

    assert under_way == 50


async def test_a_refused_call_is_an_error() -> None:
    async def refuse(_request: bytes, context: Context) -> bytes:
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "come back later")
        raise AssertionError

    async with serving(refuse) as (address, _):
        with pytest.raises(BenchError, match="come back later"):
            await asyncio.to_thread(run, address, per_second=100, calls=100)


async def test_a_server_that_stops_is_an_error() -> None:
    called = asyncio.Event()

    async def echo(request: bytes, _: Context) -> bytes:
        called.set()
        return request

    async with serving(echo) as (address, server):
        running = asyncio.create_task(asyncio.to_thread(run, address, per_second=100, calls=1_000))
        await called.wait()
        await server.stop(None)
        with pytest.raises(BenchError, match="the connection broke"):
            await running
