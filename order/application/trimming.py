"""Trims what is older than the log's retention, a few events at a time beside the commands."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from typing import Final

from prometheus_client import Counter, Gauge

from infra.kernel.position import PositionExpiredError
from infra.runtime.clock import Clock
from infra.runtime.database import DatabaseUnavailableError
from infra.runtime.lifespan import background
from infra.runtime.log import get_logger
from order.application.ports import Log
from order.application.relay_ports import Lease
from order.domain.errors import LogHoleError, StoreUnavailableError

BATCH_EVENTS_MAX: Final = 500  # some milliseconds of the database, for which the next group of commands waits
_IDLE_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 0.05  # between batches: 10,000 events a second, more than come in for long

TRIMMED: Final = Counter("stateset_order_log_trimmed_events_total", "Events forgotten as their retention was over.")
FAILED: Final = Counter("stateset_order_log_trims_failed_total", "Batches of trimming that the database did not take.")
KEPT: Final = Gauge("stateset_order_log_kept_events", "Events in the log.")
OLDEST_SECONDS: Final = Gauge(
    "stateset_order_log_oldest_event_age_seconds",
    "Age of the oldest event. Far above the retention: some reader's floor keeps it.",
)
UNREAD: Final = Gauge("stateset_order_log_floor_lag_events", "Events at or above the lowest floor of any reader.")
_log = get_logger(__name__)


class Trimming:
    """Keeps what is young enough, and what some reader has not confirmed yet."""

    def __init__(
        self, log: Log, lease: Lease, clock: Clock, *, retention_seconds: float, topics: Collection[str]
    ) -> None:
        """Does nothing yet.

        Args:
            log: What is trimmed.
            lease: Knows how far the topics are filled.
            clock: How old an event is.
            retention_seconds: For so long every event is kept; 0 for ever.
            topics: Those that this process fills: nothing is trimmed before something is known of each.
        """
        self._log = log
        self._lease = lease
        self._clock = clock
        self._retention_us = round(retention_seconds * 1e6)
        self._topics = topics

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Trims, and measures what is kept, while the context lasts."""
        async with background(self._run(), name="trimming"):
            yield

    async def once(self) -> int:
        """Trims one batch of each shard; returns how many events those were."""
        if not self._retention_us or not await self._topics_are_known():
            return 0
        before_us = self._clock.now_us() - self._retention_us
        trimmed = 0
        for shard in range(self._log.shards):
            batch = await self._log.trim(shard, before_us, BATCH_EVENTS_MAX)
            trimmed += batch
            TRIMMED.inc(batch)
            if batch:
                await asyncio.sleep(_PAUSE_SECONDS)
        return trimmed

    async def _topics_are_known(self) -> bool:
        if not self._topics:
            return True
        known = await self._lease.cursors()
        return all((topic, shard) in known for topic in self._topics for shard in range(self._log.shards))

    async def _run(self) -> None:
        while True:
            trimmed = 0
            try:
                trimmed = await self.once()
            except (StoreUnavailableError, DatabaseUnavailableError) as error:
                FAILED.inc()
                _log.warning("trimming failed, trying again later", error=str(error))
            if not trimmed:
                with suppress(StoreUnavailableError, PositionExpiredError):
                    await self._measure()
                await asyncio.sleep(_IDLE_SECONDS)

    async def _measure(self) -> None:
        heads, earliest = await self._log.heads(), await self._log.earliest()
        floors = await self._log.lowest_floors()
        now_us = oldest_us = self._clock.now_us()
        kept = unread = 0
        for shard, head in enumerate(heads):
            kept += head.next_seq - earliest[shard]
            floor = floors[shard]
            unread += 0 if floor is None else head.next_seq - max(floor, earliest[shard])
            if head.next_seq > earliest[shard]:
                with suppress(LogHoleError):  # of which whoever reads it tells
                    oldest = await self._log.read_events(shard, earliest[shard], 1)
                    oldest_us = min([oldest_us, *(event.record_time_us for event in oldest[:1])])
        KEPT.set(kept)
        UNREAD.set(unread)
        OLDEST_SECONDS.set((now_us - oldest_us) / 1e6)
