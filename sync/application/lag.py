"""Measures lag: of streams for their own frames, and of subscriptions for whoever asks."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from infra.kernel.position import Position
from sync.application.freshness import Freshness
from sync.application.horizons import Horizons
from sync.application.ports import Parking, Subscriptions
from sync.domain.errors import SubscriptionNotFoundError
from sync.domain.frames import Lag, LagBound
from sync.domain.lag import Horizon, Standing, lag_of, unacked_by_shard, unacked_of
from sync.domain.log import LogHead
from sync.domain.ring import Ring
from sync.domain.subscription import SubscriptionKey


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionLag:
    """The lag of a subscription, measured from its floor, and how many streams of it are open here."""

    lag: Lag
    floor: Position
    streams: int


class LagMeter:
    """Knows the log's horizon, when it was covered, and the orders of recent events."""

    def __init__(self, horizons: Horizons, ring: Ring, freshness: Freshness) -> None:
        self._horizons = horizons
        self._ring = ring
        self._freshness = freshness
        self._seen: tuple[int, LogHead | None] = (-1, None)
        self._horizon = horizons.known()
        self._measured: dict[Standing, Lag] = {}

    def of(self, standing: Standing) -> Lag:
        """See `Meter.of`."""
        behind = self._freshness.behind_seconds(standing.next_seqs, standing.shards)
        return replace(self.timeless(standing), time_us=None if behind is None else round(behind * 1e6))

    def timeless(self, standing: Standing) -> Lag:
        """See `Meter.timeless`. Readers that stand alike are measured once, until the log or its reading moves."""
        horizon = self.horizon
        lag = self._measured.get(standing)
        if lag is None:
            lag = self._measured[standing] = lag_of(standing, horizon, self._blocking(standing))
        return lag

    @property
    def horizon(self) -> Horizon:
        """See `Meter.horizon`."""
        version, head = self._seen
        if version != self._ring.version or head is not self._freshness.head:
            self._seen = self._ring.version, self._freshness.head
            self._measured.clear()  # with every reading of the head: on a quiet log readers may stand ever differently
            horizon = self._horizons.known()
            if horizon != self._horizon:
                self._horizon = horizon
        return self._horizon

    def _blocking(self, standing: Standing) -> str:
        waiting = unacked_by_shard(standing)
        shard = max(waiting, key=waiting.__getitem__, default=0)
        if standing.floors is None or not waiting.get(shard) or not unacked_of(standing):
            return ""
        segment = self._ring.segments[shard]
        return segment.first_order_id(standing.floors[shard], standing.next_seqs[shard], standing.term)


class Lags:
    """Tells the lag of durable subscriptions."""

    def __init__(self, subscriptions: Subscriptions, parking: Parking, meter: LagMeter, freshness: Freshness) -> None:
        self._subscriptions = subscriptions
        self._parking = parking
        self._meter = meter
        self._freshness = freshness

    async def of(self, key: SubscriptionKey, streams: Iterable[Standing]) -> SubscriptionLag:
        """The lag from the floor on; what its streams here were sent beyond that is unacked.

        Raises:
            SubscriptionNotFoundError: The principal has none of this name, in this log.
        """
        stored = await self._subscriptions.find(key)
        here = self._freshness.position
        if stored is None or stored.log_epoch != here.log_epoch:
            raise SubscriptionNotFoundError(key.name)
        floors = tuple(stored.next_seq(shard) or 0 for shard in range(len(here.next_seq)))
        shards = tuple(shard for shard, seq in enumerate(floors) if seq)
        lag = self._meter.of(Standing(shards=shards, next_seqs=floors, floors=floors, credit=None))
        lags = [self._meter.of(standing) for standing in streams]
        return SubscriptionLag(
            lag=replace(
                lag,
                unacked=sum(each.unacked for each in lags),
                parked=await self._parking.count(key),
                blocking_order_id=next((each.blocking_order_id for each in lags if each.blocking_order_id), ""),
                bound_by=max((each.bound_by for each in lags), key=_gravity, default=LagBound.ABSENT),
            ),
            floor=here._replace(next_seq=floors, filter_hash=stored.filter_hash),
            streams=len(lags),
        )


def _gravity(bound: LagBound) -> int:
    """One stream's bound speaks for all of the subscription's: that of the one that least will happen to by itself."""
    return (LagBound.NONE, LagBound.DELIVERY, LagBound.SERVER, LagBound.CREDIT).index(bound)
