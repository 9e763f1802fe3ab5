"""Where the log begins and ends, as this server knows it."""

from infra.runtime.clock import Clock
from sync.application.freshness import Freshness
from sync.application.ports import EventSource
from sync.domain.lag import Horizon
from sync.domain.ring import Ring


class Horizons:
    """Joins the log's head, as it was last read, with the events that have come since."""

    def __init__(self, source: EventSource, ring: Ring, freshness: Freshness, clock: Clock) -> None:
        self._source = source
        self._ring = ring
        self._freshness = freshness
        self._clock = clock

    def known(self) -> Horizon:
        """The log as it is known here now."""
        here, head = self._ring.next_seqs, self._freshness.head
        if head is None:
            return Horizon(heads=here, earliest=(1,) * len(here), here=here)
        return Horizon(heads=tuple(map(max, head.next_seq, here)), earliest=head.earliest_seq, here=here)

    async def read(self) -> Horizon:
        """The log as it is: its head is read again.

        Raises:
            SourceUnavailableError: It cannot be, now.
        """
        asked_at = self._clock.monotonic()
        self._freshness.read(await self._source.head(), asked_at)
        return self.known()
