"""Brings events out of the parking place back to the open stream that holds their shard."""

import asyncio
from contextlib import suppress
from typing import Final

from sync.application.ports import Parking
from sync.application.stream import Stream

_POLL_SECONDS: Final = 1.0  # another server may have been asked
_REPLAYING_MAX: Final = 64  # events brought back at a time; the next ones once some of them are finished or wait…
_HELD_MAX: Final = 256  # … and no more than these, which are in memory, and read again each second


class Redeliveries:
    """Looks into the parking places of open streams."""

    def __init__(self, parking: Parking) -> None:
        self._parking = parking

    async def serve(self, stream: Stream) -> None:
        """Serves a stream for as long as it is open; asks for nothing while nothing is parked."""
        seen = (-1, -1)
        unfinished = True
        while (key := stream.key) is not None and (deliveries := stream.session.deliveries) is not None:
            if deliveries.parked:
                now = (await self._parking.revision(key), deliveries.parkings)
                if now != seen or unfinished:
                    unfinished = await self._look(stream)
                    seen = now
            with suppress(TimeoutError):
                async with asyncio.timeout(_POLL_SECONDS):
                    await stream.parking_changed.heard()

    async def _look(self, stream: Stream) -> bool:
        """Tells the stream what is in its parking place; whether it has to be looked into again."""
        deliveries, key = stream.session.deliveries, stream.key
        if deliveries is None or key is None or deliveries.parking:
            return True
        before = deliveries.parkings
        now = asyncio.get_running_loop().time()
        replaying_max = min(_REPLAYING_MAX + deliveries.replayed_later(now), _HELD_MAX) if deliveries.remembers else 0
        view = await self._parking.view(key, stream.session.selection.shards, replaying_max=replaying_max)
        if deliveries.parking or deliveries.parkings != before:
            return True  # the view is of a moment that is over
        deliveries.remark(view.marks, now)
        deliveries.replay(view.replaying, now)
        stream.news()
        return bool(view.replaying)
