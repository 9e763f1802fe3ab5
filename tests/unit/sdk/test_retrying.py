"""What the client makes of a call that ends without a status."""

import asyncio

import pytest
from stateset_client import UnavailableError
from stateset_client.retry import retrying


async def test_a_call_that_grpc_itself_has_cancelled_is_tried_again() -> None:
    tries = 0

    async def attempt(_: float) -> str:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise asyncio.CancelledError
        return "the reply"

    assert await retrying(attempt, 60) == "the reply"


async def test_one_that_is_cancelled_until_the_budget_is_spent_is_unavailable() -> None:
    async def attempt(_: float) -> None:
        raise asyncio.CancelledError

    with pytest.raises(UnavailableError, match=r"^UNAVAILABLE: "):
        await retrying(attempt, 0)


async def test_a_caller_that_cancels_is_not_held_up() -> None:
    tries = 0

    async def attempt(_: float) -> None:
        nonlocal tries
        tries += 1
        await asyncio.Event().wait()

    task = asyncio.create_task(retrying(attempt, 60))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert tries == 1
