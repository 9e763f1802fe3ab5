"""What a stream that keeps account of single events begins with."""

from dataclasses import dataclass, field
from typing import Final

from infra.runtime.clock import Clock
from sync.application.ports import Parking
from sync.domain.breaker import BreakerPolicy
from sync.domain.delivery import Tracking
from sync.domain.done_set import Floor
from sync.domain.fanout import Selection
from sync.domain.frames import Open, StartPoint
from sync.domain.subscription import Subscription, SubscriptionKey

_EVERYTHING_OPEN: Final = 1  # a floor below which nothing is


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounting:
    """How account is kept.

    Attributes:
        parking: What is parked.
        clock: Tells when what is to come again later is due.
        unacked_bytes_max: Most bytes of events that a stream has sent and that are not finished.
        breaker: When a stream pauses.
    """

    parking: Parking
    clock: Clock
    unacked_bytes_max: int
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)

    async def tracking(
        self, asked: Open, key: SubscriptionKey, selection: Selection, taken: Subscription
    ) -> Tracking | None:
        """Account is kept where the stream asks for it, and where it must not be sent everything; else none."""
        view = await self.parking.view(key, selection.shards, replaying_max=0)
        goes_on = asked.start is StartPoint.STORED
        floors = {shard: taken.floors[shard] for shard in selection.shards}
        left_out = goes_on and any(floor.done for floor in floors.values())
        if not (asked.unacked_events_max or view.marks or left_out):
            return None
        if not goes_on:
            floors = {shard: Floor(next_seq=_EVERYTHING_OPEN, delivery_epoch=taken.delivery_epoch) for shard in floors}
        return Tracking(
            events_max=asked.unacked_events_max,
            bytes_max=self.unacked_bytes_max,
            floors=floors,
            opened_us=self.clock.now_us(),
            marks=view.marks,
            breaker=self.breaker,
        )
