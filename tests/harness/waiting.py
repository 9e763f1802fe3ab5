"""Waiting for a condition, for so long and no longer."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

T = TypeVar("T")


async def eventually(check: Callable[[], T], *, within_seconds: float = 20.0) -> T:
    """The first true answer of `check`, asked again and again; fails when the time is up."""
    for pause in _pauses(within_seconds):
        if answer := check():
            return answer
        await asyncio.sleep(pause)
    raise TimeoutError(f"{check} did not become true within {within_seconds} s")


async def eventually_async(check: Callable[[], Awaitable[T]], *, within_seconds: float = 20.0) -> T:
    """As `eventually`, for a condition that has to be asked for."""
    async with asyncio.timeout(within_seconds):
        for pause in _pauses(within_seconds):
            if answer := await check():
                return answer
            await asyncio.sleep(pause)
    raise TimeoutError(f"{check} did not become true within {within_seconds} s")


def _pauses(within_seconds: float) -> Iterator[float]:
    """Short ones at first: what takes long need not be asked often, and asking takes the machine from who is asked."""
    deadline, pause = time.monotonic() + within_seconds, 0.004
    while time.monotonic() < deadline:
        yield pause
        pause = min(1.2 * pause, 0.05)
    yield 0.0  # a last look: it may be the machine that took so long
