"""When to try again, and how long to wait first."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import grpc
import grpc.aio

from stateset_client.errors import StateSetError, UnavailableError, error_of

Reply = TypeVar("Reply")

_FIRST_SECONDS: Final = 0.1
_LONGEST_SECONDS: Final = 2.0  # a service that is back is noticed within this
_PASSING: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})


class Backoff:
    """Exponential waits with full jitter, so that a crowd that fell together does not return together."""

    def __init__(self) -> None:
        self._failures = 0

    def reset(self) -> None:
        """The last try came through."""
        self._failures = 0

    def next_seconds(self, told_seconds: float | None = None) -> float:
        """How long to wait after one more failure: what the peer said at least, where it said something."""
        ceiling = min(_LONGEST_SECONDS, _FIRST_SECONDS * 2 ** min(self._failures, 10))
        self._failures += 1
        return (told_seconds or 0.0) + random.uniform(0, ceiling)  # noqa: S311 - jitter needs no secrecy


def may_retry(error: StateSetError) -> bool:
    """Whether the contract allows to repeat what ended like this.

    Nobody here cancels a call that it still waits for: CANCELLED is what gRPC says for a server that stops.
    """
    return error.code in _PASSING or error.retry_after_seconds is not None


async def retrying(attempt: Callable[[float], Awaitable[Reply]], budget_seconds: float) -> Reply:
    """The reply of the first try that gets one.

    Args:
        attempt: One try; its argument is the time that is left for it, in seconds.
        budget_seconds: For all tries and the waits between them.

    Raises:
        StateSetError: What the last try ended with: one that may not be repeated, or the budget is spent.
    """
    deadline = time.monotonic() + budget_seconds
    backoff = Backoff()
    while True:
        try:
            return await attempt(max(0.0, deadline - time.monotonic()))
        except (grpc.aio.AioRpcError, StateSetError, asyncio.CancelledError) as failure:
            error = _told(failure)
            wait_seconds = backoff.next_seconds(error.retry_after_seconds)
            if not may_retry(error) or time.monotonic() + wait_seconds >= deadline:
                raise error from failure
        await asyncio.sleep(wait_seconds)


def _told(failure: BaseException) -> StateSetError:
    """The error that a try has ended with.

    Where a server ends a call while its requests are still being sent, gRPC may forget how, and cancel the call itself.

    Raises:
        CancelledError: It was not gRPC that cancelled.
    """
    if isinstance(failure, grpc.aio.AioRpcError):
        return error_of(failure)
    if isinstance(failure, StateSetError):
        return failure
    task = asyncio.current_task()
    if task is None or task.cancelling():
        raise failure
    return UnavailableError("the call ended while it was being sent", code=grpc.StatusCode.UNAVAILABLE)
