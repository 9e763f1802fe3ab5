"""Serves streams what the ring does not hold: orders first, if they asked for them, then older events of the log."""

import asyncio
from contextlib import aclosing
from typing import Final

from infra.runtime.log import get_logger
from sync.application.metrics import CATCH_UPS
from sync.application.ports import EventSource
from sync.application.snapshots import Snapshots
from sync.application.stream import Stream
from sync.domain.errors import LogHoleError

_HOLE_PAUSE_SECONDS: Final = 1.0
_log = get_logger(__name__)


class CatchUp:
    """Readers of the log, lent to one stream after the other."""

    def __init__(self, source: EventSource, snapshots: Snapshots, *, readers_max: int) -> None:
        self._source = source
        self._snapshots = snapshots
        self._readers = asyncio.Semaphore(readers_max)

    async def serve(self, stream: Stream) -> None:
        """Feeds the stream from the source whenever the ring no longer holds what comes next."""
        await self._snapshots.serve(stream)
        while True:
            shards = await stream.hungry()
            async with self._readers:
                CATCH_UPS.inc()
                try:
                    await self._feed(stream, shards)
                except LogHoleError as hole:
                    _log.error("a number is missing", reason="LOG_HOLE", shard=hole.shard, expected=hole.expected)
                    await asyncio.sleep(_HOLE_PAUSE_SECONDS)

    async def _feed(self, stream: Stream, shards: tuple[int, ...]) -> None:
        start, wanted = stream.session.position, frozenset(shards)
        passed: set[int] = set()  # a shard that the ring served for a while is somewhere else by now
        async with aclosing(self._source.read(start, shards)) as batches:
            async for batch in batches:
                if batch.shard not in stream.session.missing():
                    passed.add(batch.shard)
                elif batch.shard in passed or not await stream.eat(batch):
                    return
                if wanted.isdisjoint(stream.session.missing()):  # the ring may have left it behind in others meanwhile
                    return
