"""The orders of a snapshot, and which of the events behind it they already include."""

from collections.abc import Sequence
from dataclasses import dataclass

from stateset.common.v1.position_pb2 import Position
from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset.order.v1.order_frame_pb2 import SnapshotOrders
from stateset.order.v1.order_pb2 import Order
from stateset.stream.v1.stream_pb2 import SnapshotBegin, SnapshotStart, Start


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotPart:
    """Some orders of a snapshot, by id, behind all that came before.

    Attributes:
        orders: The orders as they stand; none in the last part.
        begin: Where the events start that follow the last part.
        start: Open with it to go on behind this part. A new reader does not know what the parts before had: it is yours
            to drop events whose version is not above that of the order you have.
        is_last: Every order has come.
        delivery_epoch: Of the opening of the subscription that brought it; 0 without a subscription.
    """

    orders: Sequence[Order]
    begin: Position
    start: Start
    is_last: bool
    delivery_epoch: int


class SnapshotReader:
    """Where the reader is in a snapshot, and what that has shown it."""

    def __init__(self, begin: SnapshotBegin) -> None:
        self._begin = begin.at
        self._after = begin.after_order_id
        self._versions: dict[str, int] = {}
        self._covered = list(begin.at.next_seq)

    @property
    def start(self) -> Start:
        """Goes on behind the last order that came."""
        return Start(snapshot=SnapshotStart(at=self._begin, after_order_id=self._after))

    def take(self, arrived: SnapshotOrders, delivery_epoch: int) -> SnapshotPart:
        """The part as the reader gets it."""
        if arrived.at.next_seq != self._begin.next_seq:  # else nothing can have changed them since the begin
            self._versions.update((order.order_id, order.version) for order in arrived.orders)
            self._covered = list(map(max, self._covered, arrived.at.next_seq))
        self._after = arrived.orders[-1].order_id
        return self._part(arrived.orders, delivery_epoch, is_last=False)

    def end(self, delivery_epoch: int) -> SnapshotPart:
        """The last part."""
        return self._part((), delivery_epoch, is_last=True)

    def news(self, events: Sequence[OrderEvent]) -> Sequence[OrderEvent]:
        """Those of the events that the snapshot does not include."""
        if not self._versions:
            return events
        return [event for event in events if event.version > self._versions.get(event.order_id, 0)]

    def is_passed(self, reached: Position) -> bool:
        """Whether no event behind this position can be included."""
        return all(map(int.__ge__, reached.next_seq, self._covered))

    def _part(self, orders: Sequence[Order], delivery_epoch: int, *, is_last: bool) -> SnapshotPart:
        return SnapshotPart(
            orders=orders, begin=self._begin, start=self.start, is_last=is_last, delivery_epoch=delivery_epoch
        )
