"""Reads snapshots for streams, a bounded number of chunks at once: each is one short transaction."""

import asyncio

from sync.application.metrics import SNAPSHOT_ORDERS
from sync.application.ports import ReadModel
from sync.application.stream import Stream


class Snapshots:
    """Readers of the read model, lent to one stream for one chunk at a time."""

    def __init__(self, read_model: ReadModel, *, readers_max: int) -> None:
        self._read_model = read_model
        self._readers = asyncio.Semaphore(readers_max)

    async def serve(self, stream: Stream) -> None:
        """Feeds the stream until its snapshot is over; returns at once where it has none."""
        while (wanted := await stream.wants_orders()) is not None:
            async with self._readers:
                chunk = await self._read_model.chunk(wanted)
            SNAPSHOT_ORDERS.inc(len(chunk.orders))
            stream.take_orders(chunk)
