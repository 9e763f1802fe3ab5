"""Waiting for a condition, for so long and no longer."""

import asyncio
from collections.abc import Awaitable, Callable


async def eventually(holds: Callable[[], bool], *, within_seconds: float = 20) -> None:
    """Returns once the condition holds.

    Raises:
        TimeoutError: It did not in time.
    """
    async with asyncio.timeout(within_seconds):
        while not holds():  # noqa: ASYNC110 - the condition is anybody's, it tells nobody when it changes
            await asyncio.sleep(0.005)


async def eventually_async(holds: Callable[[], Awaitable[bool]], *, within_seconds: float = 20) -> None:
    """As `eventually`, for a condition that has to be asked for.

    Raises:
        TimeoutError: It did not in time.
    """
    async with asyncio.timeout(within_seconds):
        while not await holds():  # noqa: ASYNC110 - what is asked cannot tell by itself
            await asyncio.sleep(0.02)
