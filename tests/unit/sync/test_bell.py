"""What wakes one task."""

import asyncio

import pytest

from sync.application.bell import Bell


async def waiting(bell: Bell) -> asyncio.Task[None]:
    waiter = asyncio.create_task(bell.heard())
    await asyncio.sleep(0)
    return waiter


async def test_what_was_rung_before_anybody_waited_is_heard_once() -> None:
    bell = Bell()
    bell.ring()
    bell.ring()
    await bell.heard()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await bell.heard()


async def test_a_waiter_that_left_takes_no_ring_with_it() -> None:
    bell = Bell()
    left = await waiting(bell)
    left.cancel()
    bell.ring()
    await asyncio.gather(left, return_exceptions=True)
    await asyncio.wait_for(bell.heard(), 10)


async def test_a_waiter_wakes_at_the_first_ring() -> None:
    bell = Bell()
    waiter = await waiting(bell)
    bell.ring()
    bell.ring()
    await asyncio.wait_for(waiter, 10)


async def test_what_is_silenced_is_not_heard() -> None:
    bell = Bell()
    bell.ring()
    bell.silence()
    waiter = await waiting(bell)
    assert not waiter.done()
    bell.ring()
    await asyncio.wait_for(waiter, 10)
