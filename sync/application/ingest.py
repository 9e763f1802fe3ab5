"""From the log into the read model, and from there into the ring: each event once, in order, with no gap."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from infra.kernel.position import LogEpochChangedError, Position, PositionAheadError, PositionError
from infra.runtime.clock import Clock
from infra.runtime.database import DatabaseUnavailableError
from infra.runtime.lifespan import StartupError
from infra.runtime.log import get_logger
from sync.application.freshness import Freshness
from sync.application.judgment import refuse_ahead
from sync.application.metrics import ARRIVED_SECONDS, HOLES, HOP_SECONDS, INGESTED, NEXT_SEQ, REPEATED, RING_BYTES
from sync.application.ports import EventSource, ReadModel, SourceUnavailableError
from sync.domain.errors import LogHoleError
from sync.domain.log import Batch, OrderRow
from sync.domain.ring import Ring

_QUEUED_MAX: Final = 64  # batches that wait for the read model; the source's credit bounds their bytes
_TRANSACTION_EVENTS_MAX: Final = 2_000  # a few dozen milliseconds of writing; more only delays those who wait
_STORE_PAUSE_SECONDS: Final = 0.2
_HOLE_PAUSE_SECONDS: Final = 1.0  # a source that leaves out numbers is not asked again at full speed
_ADVICE: Final = "name another file with --database to build it anew, or the right log with --order-address"
_log = get_logger(__name__)


class Ingest:
    """The one reader of the log. `run` lasts as long as the server."""

    def __init__(
        self,
        source: EventSource,
        read_model: ReadModel,
        ring: Ring,
        freshness: Freshness,
        *,
        clock: Clock,
        wake: Callable[[], None],
    ) -> None:
        self._source = source
        self._read_model = read_model
        self._ring = ring
        self._freshness = freshness
        self._clock = clock
        self._wake = wake
        self._received = freshness.position
        self._arrived: asyncio.Queue[Batch] = asyncio.Queue(_QUEUED_MAX)

    async def run(self) -> None:
        """Receives and stores, at the same time, until it is canceled.

        Raises:
            StartupError: The source refuses the read model's position: no trying again can help.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._receive(), name="ingest-receive")
            tasks.create_task(self._store(), name="ingest-store")

    async def _receive(self) -> None:
        while True:
            try:
                async with aclosing(self._source.follow(self._received)) as arrivals:
                    async for arrival in arrivals:
                        await self._take(arrival)
            except LogHoleError as hole:
                HOLES.inc()
                _log.error(
                    "a number is missing", reason="LOG_HOLE", shard=hole.shard, expected=hole.expected, got=hole.got
                )
                await asyncio.sleep(_HOLE_PAUSE_SECONDS)
            except PositionAheadError:
                await self._judge()
            except PositionError as error:
                raise StartupError(f"the read model cannot go on from where it stands: {error}; {_ADVICE}") from error

    async def _judge(self) -> None:
        """Ends the server if it is so; else it was said by one who had not heard of the latest commits."""
        try:
            await refuse_ahead(self._read_model, self._source, self._received)
        except (SourceUnavailableError, DatabaseUnavailableError) as error:
            _log.warning("whether the log was set back cannot be told yet", error=str(error))
        await asyncio.sleep(_HOLE_PAUSE_SECONDS)

    async def _take(self, arrival: Sequence[Batch]) -> None:
        for batch in arrival:
            news = proved(batch, self._received)
            if news is not None:
                self._received = self._received.moved({batch.shard: news.last_seq + 1})
                ARRIVED_SECONDS.observe(self._age_seconds(news))
                await self._arrived.put(news)

    async def _store(self) -> None:
        while True:
            batches = [await self._arrived.get()]
            events = len(batches[0].events)
            while events < _TRANSACTION_EVENTS_MAX and not self._arrived.empty():
                batches.append(self._arrived.get_nowait())
                events += len(batches[-1].events)
            await self._apply(batches)

    async def _apply(self, batches: Sequence[Batch]) -> None:
        moves = {batch.shard: batch.last_seq + 1 for batch in batches}
        position = self._freshness.position.moved(moves)
        await self._stored(last_versions(batches), position)
        self._ring.append(batches)
        self._freshness.move(position)
        self._wake()
        self._measure(batches, moves)

    async def _stored(self, orders: Sequence[OrderRow], position: Position) -> None:
        """Stores as soon as the database can: nobody is told of an event that is not in the read model."""
        while True:
            try:
                return await self._read_model.apply(orders, position)
            except DatabaseUnavailableError as error:
                _log.warning("the read model cannot be written", error=str(error))
                await asyncio.sleep(_STORE_PAUSE_SECONDS)

    def _measure(self, batches: Sequence[Batch], moves: dict[int, int]) -> None:
        for batch in batches:
            INGESTED.inc(len(batch.events))
            HOP_SECONDS.observe(self._age_seconds(batch))
        for shard, next_seq in moves.items():
            NEXT_SEQ.labels(str(shard)).set(next_seq)
        RING_BYTES.set(self._ring.size)

    def _age_seconds(self, batch: Batch) -> float:
        """Time since the first of its events was recorded."""
        return max(0, self._clock.now_us() - batch.events[0].record_time_us) / 1e6


def proved(batch: Batch, received: Position) -> Batch | None:
    """What of the batch is new after `received`, proved to leave nothing out; none if nothing is.

    Raises:
        LogEpochChangedError: An event is of another log.
        LogHoleError: A number is missing.
    """
    expected = received.next_seq[batch.shard]
    repeated = 0
    for event in batch.events:
        if event.log_epoch != received.log_epoch:
            raise LogEpochChangedError(received.log_epoch, event.log_epoch)
        if event.seq < expected:
            repeated += 1
        elif event.seq > expected:
            raise LogHoleError(batch.shard, expected, event.seq)
        else:
            expected += 1
    if repeated:
        REPEATED.inc(repeated)
    if batch.last_seq >= expected:
        raise LogHoleError(batch.shard, expected, batch.last_seq + 1)
    news = batch.events[repeated:]
    return replace(batch, first_seq=news[0].seq, events=news) if news else None


def last_versions(batches: Iterable[Batch]) -> list[OrderRow]:
    """Each order once, as the last of its events left it."""
    return list({event.order.order_id: event.order for batch in batches for event in batch.events}.values())
