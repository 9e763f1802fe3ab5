"""That a process is about to leave: what works goes on, what only waits for others is told so."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from infra.runtime.grpc.status import StoppingError

_ON_ITS_WAY_SECONDS: Final = 0.2  # what is waited for may be about to come: the rest of an upload, the last commit

Request = TypeVar("Request")


class Draining(asyncio.Event):
    """Is set once the process is about to leave."""

    def __init__(self) -> None:
        super().__init__()
        self._waits: set[asyncio.Timeout] = set()
        self._over_at: float | None = None

    def set(self) -> None:
        """Says that the process is about to leave."""
        if self.is_set():
            return
        super().set()
        self._over_at = asyncio.get_running_loop().time() + _ON_ITS_WAY_SECONDS
        for wait in self._waits:
            wait.reschedule(self._over_at)

    @asynccontextmanager
    async def waiting(self) -> AsyncIterator[None]:
        """Around a wait for what others may bring, or never: no such wait outlives the announcement for long.

        Raises:
            StoppingError: The process is about to leave, and it has not come.
        """
        try:
            async with asyncio.timeout_at(self._over_at) as wait:
                self._waits.add(wait)
                try:
                    yield
                finally:
                    self._waits.discard(wait)
        except TimeoutError as error:
            if not wait.expired():
                raise
            raise StoppingError("stopping; try again") from error

    async def heard(self, requests: AsyncIterator[Request]) -> AsyncIterator[Request]:
        """What a caller says, message after message.

        Raises:
            StoppingError: The process is about to leave, and the caller has not come to its end.
        """
        requests = aiter(requests)
        while True:
            async with self.waiting():
                request = await anext(requests, None)
            if request is None:
                return
            yield request
