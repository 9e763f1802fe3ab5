"""What callers and load balancers are told of a server's health, until its end."""

import asyncio
from contextlib import suppress
from typing import Any, Final

import grpc.aio
from grpc_health.v1 import health, health_pb2

_LAST_WORD_SECONDS: Final = 2.0  # for a watcher to take that it is over, should it be slow to


class Condition:
    """Something that callers may want to know of a server beside whether it serves: a health service of its own."""

    def __init__(self, name: str) -> None:
        """Does not hold until it is said to."""
        self.name = name
        self.holds = False
        self._changed = asyncio.Event()

    def set(self, *, holds: bool) -> None:
        """Says whether it holds now."""
        if holds is not self.holds:
            self.holds = holds
            self._changed.set()

    async def change(self) -> None:
        """Waits until it is no longer as it was."""
        await self._changed.wait()
        self._changed.clear()


class Health(health.aio.HealthServicer):
    """Ends watches when the server drains; its parent leaves them open, and the server would wait for them."""

    def __init__(self, draining: asyncio.Event) -> None:
        super().__init__()
        self._draining = draining

    async def Watch(  # noqa: N802 - as its parent has it
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        """The status now and whenever it changes, until the server drains and has said so."""
        told = _Told(context)
        work = super().Watch(request, told)  # type: ignore[arg-type]  # all it does with a context is to write
        watching = asyncio.create_task(work, name="health-watch")
        ending = asyncio.create_task(self._end(told), name="health-watch-end")
        try:
            await asyncio.wait((watching, ending), return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                await watching  # whatever ended it, ends the call
        finally:
            watching.cancel()
            ending.cancel()
            await asyncio.gather(watching, ending, return_exceptions=True)

    async def _end(self, told: "_Told") -> None:
        """Returns once the server drains and the watcher has been told."""
        await self._draining.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORD_SECONDS):
                await told.over.wait()


class _Told:
    """What a watcher of health has been told.

    Attributes:
        over: It has been told last that there is no service.
    """

    def __init__(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self._context = context
        self.over = asyncio.Event()

    async def write(self, reply: health_pb2.HealthCheckResponse) -> None:
        """As gRPC's context does."""
        await self._context.write(reply)
        if reply.status == health_pb2.HealthCheckResponse.SERVING:
            self.over.clear()
        else:
            self.over.set()


async def tell(condition: Condition, checks: Health) -> None:
    """Keeps the condition among what is checked, for ever."""
    while True:
        status = health_pb2.HealthCheckResponse
        await checks.set(condition.name, status.SERVING if condition.holds else status.NOT_SERVING)
        await condition.change()
