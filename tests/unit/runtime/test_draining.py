"""Waits of a process that is about to leave."""

import asyncio

import pytest
from stateset.common.v1 import position_pb2

from consumers.runner import Frontier
from infra.runtime.clock import ManualClock
from infra.runtime.grpc.draining import Draining
from infra.runtime.grpc.status import StoppingError


async def wait_for(event: asyncio.Event, draining: Draining, seconds: float = 60) -> None:
    async with draining.waiting(), asyncio.timeout(seconds):
        await event.wait()


@pytest.mark.parametrize("first", [True, False])
async def test_a_wait_ends_whether_it_began_before_or_after_the_announcement(*, first: bool) -> None:
    draining = Draining()
    if first:
        draining.set()
    else:
        asyncio.get_running_loop().call_soon(draining.set)
    with pytest.raises(StoppingError):
        await wait_for(asyncio.Event(), draining)
    draining.set()
    assert draining.is_set()


async def test_what_is_on_its_way_is_still_taken() -> None:
    draining, event = Draining(), asyncio.Event()
    draining.set()
    asyncio.get_running_loop().call_soon(event.set)
    await wait_for(event, draining)


async def test_a_wait_has_its_own_end_as_well() -> None:
    with pytest.raises(TimeoutError):
        await wait_for(asyncio.Event(), Draining(), seconds=0)


async def test_a_consumer_that_stops_says_so_to_who_waits_for_a_position() -> None:
    draining = Draining()
    draining.set()
    with pytest.raises(StoppingError):
        await Frontier(ManualClock(), draining).reach(position_pb2.Position(next_seq=[2]), 60)
