"""Between the messages of the wire and the values of the domain: events in, frames and orders out."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from sys import intern
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration
from stateset.order.v1 import order_event_pb2, order_frame_pb2, order_pb2
from stateset.stream.v1 import stream_pb2
from stateset.sync.v1 import sync_service_pb2

from infra.kernel.filter import Field
from infra.runtime.grpc.call import status_of_end
from infra.runtime.grpc.wire import embedded, field_head, position_to_wire, timestamp_from_wire, timestamp_to_wire
from sync.adapters.grpc_status import DOMAIN, ERRORS
from sync.adapters.wire_parking import redelivery_to_wire
from sync.adapters.wire_views import view_of
from sync.domain.fanout import Frame
from sync.domain.frames import (
    AckResult,
    Closed,
    ControlFrame,
    GoAway,
    Heartbeat,
    Lag,
    Opened,
    PhaseChange,
    Progress,
    Proof,
    SnapshotBegin,
    SnapshotEnd,
    SnapshotOrders,
)
from sync.domain.lines import Redelivery
from sync.domain.log import Attributes, Batch, Event, OrderRow
from sync.domain.ring import Piece
from sync.domain.session import ServerFrame
from sync.domain.subscription import AckStatus

# Both kinds of stream spell their messages alike, so that the same bytes serve both.
_FRAME: Final = sync_service_pb2.SubscribeResponse.FRAME_FIELD_NUMBER
_EVENTS: Final = order_frame_pb2.ServerFrame.EVENTS_FIELD_NUMBER
_BATCHES: Final = order_frame_pb2.Events.BATCHES_FIELD_NUMBER
_EVENT: Final = order_frame_pb2.EventBatch.EVENTS_FIELD_NUMBER

_SNAPSHOT_ORDERS: Final = order_frame_pb2.ServerFrame.SNAPSHOT_ORDERS_FIELD_NUMBER
_ORDERS: Final = order_frame_pb2.SnapshotOrders.ORDERS_FIELD_NUMBER

_CHANGES: Final = order_event_pb2.OrderEvent.DESCRIPTOR.oneofs_by_name["change"].fields
_STATE_PREFIX: Final = "ORDER_STATE_"
_STATES: Final = {
    value.number: value.name.removeprefix(_STATE_PREFIX) for value in order_pb2.OrderState.DESCRIPTOR.values
}

# What is not read here is neither parsed nor encoded again: a third of the cost of an event.
_EVENT_VIEW: Final = view_of(
    order_event_pb2.OrderEvent.DESCRIPTOR,
    (
        *("order_id", "version", "seq", "order", "metadata.type", "metadata.log_epoch"),
        *("metadata.record_time.seconds", "metadata.record_time.nanos"),
        *("metadata.group_index", "metadata.group_size"),
    ),
)
_ORDER_VIEW: Final = view_of(
    order_pb2.Order.DESCRIPTOR, ("order_id", "state", "customer_id", "store_id", "currency_code", "lines.product_id")
)

EVENT_FIELDS: Final[Mapping[str, Field]] = {
    "type": Field(values=frozenset(str(change.message_type.full_name) for change in _CHANGES if change.message_type)),
    "order_id": Field(),
    "customer_id": Field(),
    "store_id": Field(),
    "currency_code": Field(),
    "product_id": Field(many=True),
}
ORDER_FIELDS: Final[Mapping[str, Field]] = {
    "order_id": Field(),
    "customer_id": Field(),
    "store_id": Field(),
    "currency_code": Field(),
    "state": Field(values=frozenset(_STATES.values())),
}


def batch_from_wire(message: order_frame_pb2.EventBatch) -> Batch:
    """A batch and its events, each of them encoded once more for those who will read it here."""
    return Batch(
        shard=message.shard,
        first_seq=message.first_seq,
        last_seq=message.last_seq,
        events=[event_from_wire(event.SerializeToString()) for event in message.events],
    )


def event_from_wire(encoded: bytes) -> Event:
    """An encoded `OrderEvent`: what the server needs of it, and its bytes as they are.

    Raises:
        DecodeError: They are no such message.
    """
    event = _EVENT_VIEW.FromString(encoded)
    metadata, order = event.metadata, _ORDER_VIEW.FromString(event.order)
    attributes = {
        "type": intern(metadata.type),  # the ring holds some ten thousands of each of these few
        "order_id": event.order_id,
        "customer_id": order.customer_id,
        "store_id": intern(order.store_id),
        "currency_code": intern(order.currency_code),
        "product_id": tuple({intern(line.product_id) for line in order.lines}),
    }
    return Event(
        seq=event.seq,
        log_epoch=metadata.log_epoch,
        record_time_us=timestamp_from_wire(metadata.record_time),
        ends_group=metadata.group_index + 1 >= metadata.group_size,
        size=len(encoded),
        chunk=embedded(_EVENT, encoded),
        attributes=attributes,
        order=OrderRow(
            order_id=event.order_id,
            customer_id=attributes["customer_id"],
            store_id=attributes["store_id"],
            currency_code=attributes["currency_code"],
            state=_state_of(order),
            version=event.version,
            body=event.order,
        ),
    )


def order_from_wire(order: order_pb2.Order) -> OrderRow:
    """An order as the Order Service shows it: what an event of it would have left, so without personal data."""
    order.ClearField("personal")
    return OrderRow(
        order_id=order.order_id,
        customer_id=order.customer_id,
        store_id=order.store_id,
        currency_code=order.currency_code,
        state=_state_of(order),
        version=order.version,
        body=order.SerializeToString(),
    )


def _state_of(order: Any) -> str:  # noqa: ANN401 - an order, or a view of one
    return _STATES.get(order.state, str(order.state))  # a state of tomorrow is kept by its number


def order_attributes(encoded: bytes) -> Attributes:
    """What a filter of events sees of an encoded `Order`; an order has no type."""
    order = _ORDER_VIEW.FromString(encoded)
    return {
        "order_id": order.order_id,
        "customer_id": order.customer_id,
        "store_id": order.store_id,
        "currency_code": order.currency_code,
        "product_id": {line.product_id for line in order.lines},
    }


def order_to_wire(row: OrderRow, view: order_pb2.OrderView.ValueType) -> order_pb2.Order:
    """The order, as much of it as the view shows."""
    order = order_pb2.Order.FromString(row.body)
    if view == order_pb2.ORDER_VIEW_BASIC:
        order.ClearField("lines")
    return order


def pieces_to_wire(pieces: Sequence[Piece]) -> bytes:
    """One message of events, as `SubscribeResponse` and `StreamEventsResponse` both spell it.

    Nothing is done per event but to join what is there.
    """
    parts: list[bytes] = []
    for piece in pieces:
        batch = order_frame_pb2.EventBatch(shard=piece.shard, first_seq=piece.first_seq, last_seq=piece.last_seq)
        seqs, events = batch.SerializeToString(), b"".join(piece.chunks)
        parts += (field_head(_BATCHES, len(seqs) + len(events)), seqs, events)
    size = sum(map(len, parts))
    head = field_head(_EVENTS, size)
    return b"".join((field_head(_FRAME, len(head) + size), head, *parts))


def server_frame_to_wire(frame: ServerFrame) -> bytes:
    """Any frame as one message of either stream."""
    if isinstance(frame, Frame):
        return frame.message
    if isinstance(frame, SnapshotOrders):
        return _snapshot_orders(frame)
    if isinstance(frame, Closed):
        return _closed(frame)
    if isinstance(frame, Redelivery):
        return redelivery_to_wire(frame)
    return _control_to_wire(frame)


def _closed(frame: Closed) -> bytes:
    closed = stream_pb2.Closed(status=status_of_end(frame.error, DOMAIN, ERRORS))
    if frame.position is not None:
        closed.position.CopyFrom(position_to_wire(frame.position))
    wrapped = order_frame_pb2.ServerFrame(closed=closed)
    return sync_service_pb2.SubscribeResponse(frame=wrapped).SerializeToString()


def _snapshot_orders(frame: SnapshotOrders) -> bytes:
    """Orders as they are stored: none is parsed on the way."""
    head = order_frame_pb2.SnapshotOrders(at=position_to_wire(frame.at)).SerializeToString()
    orders = b"".join(embedded(_ORDERS, order) for order in frame.orders)
    return embedded(_FRAME, embedded(_SNAPSHOT_ORDERS, head + orders))


# Streams that stand at the same place say the same: heartbeats and progress above all.
@lru_cache(maxsize=1_024, typed=True)
def _control_to_wire(frame: ControlFrame) -> bytes:
    return sync_service_pb2.SubscribeResponse(frame=_CONTROL[type(frame)](frame)).SerializeToString()


def _opened(frame: Opened) -> order_frame_pb2.ServerFrame:
    opened = stream_pb2.Opened(
        position=position_to_wire(frame.position),
        delivery_epoch=frame.delivery_epoch,
        heartbeat_interval=_duration(frame.heartbeat_seconds),
        shards=frame.shards,
        filter=frame.filter,
        batch_events_max=frame.batch_events_max,
    )
    if frame.earliest is not None:
        opened.earliest.CopyFrom(position_to_wire(frame.earliest))
    if frame.redelivered_below is not None:
        opened.redelivered_below.CopyFrom(position_to_wire(frame.redelivered_below))
    return order_frame_pb2.ServerFrame(opened=opened)


def _progress(frame: Progress) -> order_frame_pb2.ServerFrame:
    progress = stream_pb2.Progress(at=position_to_wire(frame.at))
    if frame.as_of_us:
        progress.as_of.CopyFrom(timestamp_to_wire(frame.as_of_us))
    return order_frame_pb2.ServerFrame(progress=progress)


def _ack_result(frame: AckResult) -> order_frame_pb2.ServerFrame:
    result = stream_pb2.AckResult(
        ack_id=frame.ack_id,
        status=_status(frame.status),
        floor=position_to_wire(frame.floor),
        items=[
            stream_pb2.AckItemResult(shard=item.shard, seq=item.seq, status=_status(status))
            for item, status in frame.items
        ],
    )
    return order_frame_pb2.ServerFrame(ack_result=result)


def _status(status: AckStatus) -> stream_pb2.AckStatus.ValueType:
    return stream_pb2.AckStatus.Value(f"ACK_STATUS_{status}")


def _phase_change(frame: PhaseChange) -> order_frame_pb2.ServerFrame:
    change = stream_pb2.PhaseChange(phase=stream_pb2.Phase.Value(f"PHASE_{frame.phase}"))
    return order_frame_pb2.ServerFrame(phase_change=change)


def _heartbeat(frame: Heartbeat) -> order_frame_pb2.ServerFrame:
    return order_frame_pb2.ServerFrame(heartbeat=stream_pb2.Heartbeat(heartbeat_seq=frame.heartbeat_seq))


def _go_away(frame: GoAway) -> order_frame_pb2.ServerFrame:
    go_away = stream_pb2.GoAway(retry_after=_duration(frame.retry_after_seconds))
    if frame.position is not None:
        go_away.position.CopyFrom(position_to_wire(frame.position))
    return order_frame_pb2.ServerFrame(go_away=go_away)


def _snapshot_begin(frame: SnapshotBegin) -> order_frame_pb2.ServerFrame:
    begin = stream_pb2.SnapshotBegin(at=position_to_wire(frame.at), after_order_id=frame.after_order_id)
    return order_frame_pb2.ServerFrame(snapshot_begin=begin)


def _snapshot_end(frame: SnapshotEnd) -> order_frame_pb2.ServerFrame:
    return order_frame_pb2.ServerFrame(snapshot_end=stream_pb2.SnapshotEnd(at=position_to_wire(frame.at)))


def lag_to_wire(lag: Lag) -> stream_pb2.Lag:
    """A lag as a message."""
    message = stream_pb2.Lag(
        events=lag.events,
        unacked=lag.unacked,
        blocking_order_id=lag.blocking_order_id,
        parked=lag.parked,
        retention_headroom=lag.retention_headroom,
        bound_by=stream_pb2.LagBound.Value(f"LAG_BOUND_{lag.bound_by}"),
    )
    if lag.time_us is not None:
        message.time.FromMicroseconds(lag.time_us)
    if lag.credit_left is not None:
        message.credit_left.events, message.credit_left.bytes = lag.credit_left.events, lag.credit_left.bytes
    return message


def _proof(frame: Proof) -> order_frame_pb2.ServerFrame:
    digest = stream_pb2.Digest(at=position_to_wire(frame.at), count=frame.count, hash=frame.hash)
    return order_frame_pb2.ServerFrame(digest=digest)


def _lag(frame: Lag) -> order_frame_pb2.ServerFrame:
    return order_frame_pb2.ServerFrame(lag=lag_to_wire(frame))


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromMicroseconds(round(seconds * 1e6))
    return duration


_CONTROL: Final[Mapping[type[ControlFrame], Callable[[Any], order_frame_pb2.ServerFrame]]] = {
    Opened: _opened,
    Progress: _progress,
    AckResult: _ack_result,
    PhaseChange: _phase_change,
    Heartbeat: _heartbeat,
    GoAway: _go_away,
    SnapshotBegin: _snapshot_begin,
    SnapshotEnd: _snapshot_end,
    Lag: _lag,
    Proof: _proof,
}
