"""Asynchronous calls from plain code, such as a session's fixture, while a test's event loop may be running."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def call_async(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What the coroutine returns, run by a loop of its own on a thread of its own."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(make())).result()
