"""A log of real events for tests of the Sync Server, made group by group."""

from collections.abc import Iterator, Sequence
from itertools import count

from stateset.order.v1 import order_event_pb2, order_pb2

from infra.kernel.position import Position
from infra.kernel.shard import shard_of
from infra.runtime.grpc.wire import timestamp_to_wire
from sync.adapters.memory import MemorySource
from sync.adapters.wire import event_from_wire
from sync.domain.log import Batch, Event

EPOCH = "018f3c5e-0000-7000-8000-000000000001"


class LogMaker:
    """Numbers groups of events densely per shard, and records them in `source`."""

    def __init__(self, shards: int = 3, *, log_epoch: str = EPOCH) -> None:
        self.shards = shards
        self.log_epoch = log_epoch
        self.source = MemorySource(log_epoch, shards)
        self.events: list[Event] = []
        self.batches: list[Batch] = []
        self._next_seqs = [1] * shards
        self._versions: dict[str, int] = {}
        self._ids = count(1)

    @property
    def position(self) -> Position:
        return Position(log_epoch=self.log_epoch, next_seq=tuple(self._next_seqs))

    @property
    def earliest(self) -> Position:
        return Position.earliest(self.log_epoch, self.shards)

    def group(
        self,
        order_id: str | None = None,
        *,
        size: int = 1,
        customer_id: str = "c-1",
        products: Sequence[str] = ("p-1",),
        padding: int = 0,
        record_time_us: int = 1_700_000_000_000_000,
    ) -> Batch:
        """One command's events on an order."""
        order_id = order_id or f"o-{next(self._ids)}"
        shard = shard_of(order_id, self.shards)
        first_seq = self._next_seqs[shard]
        events = []
        for index in range(size):
            version = self._versions[order_id] = self._versions.get(order_id, 0) + 1
            message = order_event_pb2.OrderEvent(
                order_id=order_id,
                version=version,
                shard=shard,
                seq=first_seq + index,
                state=order_pb2.ORDER_STATE_FILLED,
                order=order_pb2.Order(
                    order_id=order_id,
                    version=version,
                    state=order_pb2.ORDER_STATE_FILLED,
                    customer_id=customer_id,
                    currency_code="USD",
                    lines=[order_pb2.OrderLine(line_id=product, product_id=product) for product in products],
                ),
                order_accepted=order_event_pb2.OrderAccepted(),
            )
            message.metadata.type = "stateset.order.v1.OrderAccepted"
            message.metadata.log_epoch = self.log_epoch
            message.metadata.reason = "x" * padding
            message.metadata.group_index = index
            message.metadata.group_size = size
            message.metadata.record_time.CopyFrom(timestamp_to_wire(record_time_us))
            events.append(event_from_wire(message.SerializeToString()))
        self._next_seqs[shard] += size
        self.events += events
        batch = Batch(shard=shard, first_seq=first_seq, last_seq=first_seq + size - 1, events=events)
        self.batches.append(batch)
        self.source.append(batch)
        return batch

    def groups(self, number: int, *, size: int = 1, padding: int = 0) -> list[Batch]:
        """Many of them, each on an order of its own."""
        return [self.group(size=size, padding=padding) for _ in range(number)]


def orders_of(shard: int, shards: int) -> Iterator[str]:
    """Ids of orders that lie in one of so many shards; as many as are taken."""
    return (order_id for order_id in map(str, count()) if shard_of(order_id, shards) == shard)
