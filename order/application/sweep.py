"""Forgets request ids whose time is over, a few at a time beside the commands."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from prometheus_client import Counter

from infra.runtime.clock import Clock
from infra.runtime.lifespan import background
from infra.runtime.log import get_logger
from order.application.ports import Log
from order.domain.errors import StoreUnavailableError

RETENTION_SECONDS: Final = 7 * 86_400  # longer than any caller retries; ids of orders and records count for ever
BATCH_REPLIES_MAX: Final = 500  # some milliseconds of the database, for which the next group of commands waits
_IDLE_SECONDS: Final = 10.0
_PAUSE_SECONDS: Final = 0.05  # between full batches: 10,000 a second, more than ever come in

SWEPT = Counter("stateset_order_replies_swept_total", "Stored replies forgotten as their retention was over.")
FAILED = Counter("stateset_order_sweeps_failed_total", "Batches of the sweep that the database did not take.")
_log = get_logger(__name__)


class Sweep:
    """Keeps the stored replies of the last seven days and forgets older ones."""

    def __init__(self, log: Log, clock: Clock) -> None:
        self._log = log
        self._clock = clock

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Sweeps while the context lasts."""
        async with background(self._run(), name="sweep"):
            yield

    async def once(self) -> int:
        """Forgets one batch; returns how many replies those were."""
        before_us = self._clock.now_us() - RETENTION_SECONDS * 1_000_000
        swept = await self._log.forget_replies(before_us, BATCH_REPLIES_MAX)
        SWEPT.inc(swept)
        return swept

    async def _run(self) -> None:
        while True:
            swept = 0
            try:
                swept = await self.once()
            except StoreUnavailableError as error:
                FAILED.inc()
                _log.warning("sweep failed, trying again later", error=str(error))
            await asyncio.sleep(_PAUSE_SECONDS if swept == BATCH_REPLIES_MAX else _IDLE_SECONDS)
