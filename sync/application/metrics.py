"""What the Sync Server measures of itself."""

from collections.abc import Iterator
from typing import Final

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector


class Tally(Collector):
    """A counter of the event loop's alone: without a lock, as it counts every frame of every stream.

    Attributes:
        total: What was counted; who counts adds to it.
    """

    def __init__(self, name: str, documentation: str) -> None:
        self._name = name
        self._documentation = documentation
        self.total = 0
        REGISTRY.register(self)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """See `Collector`."""
        yield CounterMetricFamily(self._name, self._documentation, value=self.total)


INGESTED: Final = Counter("stateset_sync_ingested_events_total", "Events taken into the read model and the ring.")
REPEATED: Final = Counter("stateset_sync_repeated_events_total", "Events that a source handed on again; dropped.")
HOLES: Final = Counter("stateset_sync_log_holes_total", "Numbers that a source left out; it was opened again.")
NEXT_SEQ: Final = Gauge("stateset_sync_next_seq", "The seq that the read model expects next.", ["shard"])
STALENESS_SECONDS: Final = Gauge("stateset_sync_staleness_seconds", "Time since the log was last covered to its head.")
STALLED_SHARDS: Final = Gauge(
    "stateset_sync_stalled_shards", "Shards that the read model does not go on with although the log does."
)
RING_BYTES: Final = Gauge("stateset_sync_ring_bytes", "Bytes of encoded events in the ring.")
_AGE_BUCKETS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60)
ARRIVED_SECONDS: Final = Histogram(
    "stateset_sync_arrived_seconds",
    "From an event's record time until it has arrived from the source.",
    buckets=_AGE_BUCKETS,
)
HOP_SECONDS: Final = Histogram(
    "stateset_sync_hop_seconds", "From an event's record time until it is ready for streams.", buckets=_AGE_BUCKETS
)
STREAMS: Final = Gauge("stateset_sync_streams", "Open streams by phase.", ["phase"])
DELIVERED: Final = Tally("stateset_sync_delivered_events_total", "Events handed to streams.")
BEHIND: Final = Counter("stateset_sync_behind_total", "Times that a live stream fell behind.")
SNAPSHOT_ORDERS: Final = Counter("stateset_sync_snapshot_orders_total", "Orders read for snapshots.")
CATCH_UPS: Final = Counter("stateset_sync_catch_up_reads_total", "Times that a stream was served from the source.")
ACKS: Final = Counter("stateset_sync_acks_total", "Acks by outcome.", ["status"])
_SUBSCRIPTION: Final = ["subscription"]  # those beyond the first 50 that are open are one, named "other"
SUBSCRIPTION_STREAMS: Final = Gauge(
    "stateset_sync_subscription_streams", "Open streams of a durable subscription by phase.", ["subscription", "phase"]
)
SUBSCRIPTION_LAG_EVENTS: Final = Gauge(
    "stateset_sync_subscription_lag_events", "Events between its open streams and the log's head.", _SUBSCRIPTION
)
SUBSCRIPTION_CREDIT_EVENTS: Final = Gauge(
    "stateset_sync_subscription_credit_events", "Events that its open streams may still be sent.", _SUBSCRIPTION
)
SUBSCRIPTION_UNACKED_EVENTS: Final = Gauge(
    "stateset_sync_subscription_unacked_events",
    "Events that its open streams were sent and that are not done.",
    _SUBSCRIPTION,
)
SUBSCRIPTION_PARKED_EVENTS: Final = Gauge(
    "stateset_sync_subscription_parked_events", "Events in its parking place, as its open streams know.", _SUBSCRIPTION
)
