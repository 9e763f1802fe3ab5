"""The timer that closes orders whose time has come."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from prometheus_client import Counter

from infra.runtime.clock import Clock
from infra.runtime.grpc.status import DeadlineTooShortError
from infra.runtime.ids import uuid7
from infra.runtime.lifespan import background
from infra.runtime.log import get_logger
from order.application.ports import Log, Submission
from order.application.writer import Writer
from order.domain.commands import ExpireOrder
from order.domain.errors import LogHoleError, OverloadedError, StoreUnavailableError

PRINCIPAL: Final = "expiry"
"""Who the events of an expiry name as their actor."""

EXPIRED = Counter("stateset_order_expired_total", "Orders that the timer has closed.")
_ORDERS_MAX: Final = 64  # at a time, so that a thousand that are due together do not delay the callers' commands
_LOOK_SECONDS: Final = 0.5  # between two looks: one indexed read
_EXPIRE_SECONDS: Final = 10.0  # for one round; what is left over is due again at the next look
_WAITING: Final = (StoreUnavailableError, LogHoleError, OverloadedError, DeadlineTooShortError, TimeoutError)
_log = get_logger(__name__)


class Expiry:
    """Looks for due orders and expires each by a command of its own.

    Several processes may do so at once, and an order may change between the look and the command: the model decides,
    and what it refuses was not due any more.
    """

    def __init__(self, log: Log, writer: Writer, clock: Clock) -> None:
        self._log = log
        self._writer = writer
        self._clock = clock

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Expires orders while the context lasts."""
        async with background(self._run(), name="expiry"):
            yield

    async def _run(self) -> None:
        waiting = 0
        while True:
            found = failed = 0
            try:
                found, failed = await self._expire_due(waiting)
            except _WAITING as error:
                _log.warning("orders that are due wait", error=str(error))
            waiting = waiting + failed if found == _ORDERS_MAX else 0
            if found < _ORDERS_MAX or failed:
                await asyncio.sleep(_LOOK_SECONDS)

    async def _expire_due(self, waiting: int) -> tuple[int, int]:
        """Expires the orders that are due, or as many as are taken at a time.

        Args:
            waiting: How many of those that have been due for longest are passed over: they could not be expired just
                now, such as those of a shard that takes no commands, and nobody else's are to wait for them.

        Returns:
            How many were tried, and of how many that failed.
        """
        now_us = self._clock.now_us()
        due = await self._log.due_orders(now_us, _ORDERS_MAX, waiting)
        async with asyncio.timeout(_EXPIRE_SECONDS):
            tries = (self._writer.submit(self._submission(each, now_us)) for each in due)
            outcomes = await asyncio.gather(*tries, return_exceptions=True)
        replies = [each for each in outcomes if not isinstance(each, BaseException)]
        EXPIRED.inc(sum(not reply.refused for reply in replies))
        for error in {str(each): each for each in outcomes if isinstance(each, BaseException)}.values():
            if not isinstance(error, _WAITING):
                raise error
            _log.warning("orders that are due wait", error=str(error))
        return len(due), len(due) - len(replies)

    def _submission(self, order_id: str, now_us: int) -> Submission:
        return Submission(
            method=ExpireOrder.__name__,
            command=ExpireOrder(order_id=order_id, time_us=now_us),
            principal=PRINCIPAL,
            request_id=uuid7(now_us),
            content=b"",
            deadline=self._clock.monotonic() + _EXPIRE_SECONDS,
        )
