"""Whether calls are let in: a server that is about to stop refuses them first, in words, and sees those inside out."""

import asyncio
from contextlib import suppress
from typing import Final

from infra.runtime.grpc.status import StoppingError

_QUIET_SECONDS: Final = 0.05  # callers who are told to wait wait for longer
_QUIET_SECONDS_MAX: Final = 1.0  # for those who do not


class Door:
    """Lets every call in until it is shut.

    gRPC itself has no word for whoever comes while it stops: the call is CANCELLED, as if its caller had wished it, and
    nobody takes that for a reason to try again (ADR 47).
    """

    def __init__(self) -> None:
        self._shut = False
        self._refused = 0
        self._working = 0
        self._ended = asyncio.Event()

    def enter(self) -> None:
        """To be called by every call before anything is done.

        Raises:
            StoppingError: The door is shut.
        """
        if self._shut:
            self._refused += 1
            raise StoppingError("stopping, nothing was done; try again")

    def begin(self) -> None:
        """A call has begun whose one reply is still to come. Streams end by themselves, and are not counted."""
        self._working += 1

    def end(self) -> None:
        """Such a call has its reply, or none to come."""
        self._working -= 1
        self._ended.set()

    async def shut(self) -> None:
        """Refuses whoever comes from now on; returns once nobody does, or after a second."""
        self._shut = True
        with suppress(TimeoutError):
            async with asyncio.timeout(_QUIET_SECONDS_MAX):
                before = -1
                while self._refused != before:
                    before = self._refused
                    await asyncio.sleep(_QUIET_SECONDS)

    async def emptied(self, within_seconds: float) -> None:
        """Returns once no reply is still to come, or when the time is up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_seconds):
                while self._working:
                    self._ended.clear()
                    await self._ended.wait()
