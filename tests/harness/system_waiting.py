"""Waiting for a condition, never for a time."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(check: Callable[[], T], *, within_seconds: float = 20.0) -> T:
    """The first true answer of `check`, asked again and again; fails when the time is up."""
    deadline = time.monotonic() + within_seconds
    while True:
        answer = check()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"{check} did not become true within {within_seconds} s"
        await asyncio.sleep(0.01)
