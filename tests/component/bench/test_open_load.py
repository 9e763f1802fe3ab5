"""A crowd that does not wait: it comes at its rate, and goes away unheard where every connection is full."""

import asyncio

import grpc

from tests.bench.grpc_call import CallTemplate
from tests.bench.http2_load import Tally
from tests.bench.open_load import OpenLoad
from tests.component.bench.test_http2_load import MESSAGE, METHOD, Context, serving


def run(address: str, *, per_second: int, seconds: float) -> tuple[Tally, int]:
    template = CallTemplate(address, METHOD, MESSAGE, deadline_seconds=10)
    with OpenLoad(template, address, per_second=per_second, connections=2) as load:
        return load.run(seconds), load.unheard


async def test_everybody_who_is_answered_is_counted_once() -> None:
    seen: list[bytes] = []

    async def odd_ones(request: bytes, context: Context) -> bytes:
        seen.append(request)
        if len(seen) % 2:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "come back later")
        return request

    async with serving(odd_ones) as (address, _):
        tally, unheard = await asyncio.to_thread(run, address, per_second=100, seconds=1)

    assert unheard == 0
    assert len(seen) == len(set(seen)) >= tally.replies + tally.errors
    assert abs(tally.replies - tally.errors) <= 1


async def test_who_finds_every_connection_full_goes_away_unheard() -> None:
    release = asyncio.Event()
    under_way = 0

    async def wait(request: bytes, _: Context) -> bytes:
        nonlocal under_way
        under_way += 1
        await release.wait()
        return request

    async with serving(wait) as (address, _):
        tally, unheard = await asyncio.to_thread(run, address, per_second=1_000, seconds=0.5)
        release.set()

    assert (tally.replies, under_way) == (0, 100)
    assert unheard > 0
