"""Events of one size, as a busy log has them."""

from typing import Final

from stateset.common.v1 import event_metadata_pb2, money_pb2
from stateset.order.v1 import order_event_pb2, order_frame_pb2, order_pb2
from stateset.sync.v1 import sync_service_pb2

EVENT_BYTES: Final = 300
SHARDS: Final = 12
LOG_EPOCH: Final = "0199b1c0-0000-7000-8000-00000000e90c"


def encoded_event(shard: int, seq: int) -> bytes:
    """An order accepted, in `EVENT_BYTES`."""
    event = order_event_pb2.OrderEvent(
        metadata=event_metadata_pb2.EventMetadata(
            event_id=f"0199b1c0-0000-7000-9000-{seq:012x}",
            type="stateset.order.v1.OrderAccepted",
            log_epoch=LOG_EPOCH,
            request_id=f"accept-{seq:012x}",
            group_size=1,
            reason=".",
        ),
        order_id=f"order-{shard:03d}-{seq:012x}",
        version=2,
        shard=shard,
        seq=seq,
        previous_state=order_pb2.ORDER_STATE_PENDING,
        state=order_pb2.ORDER_STATE_ACCEPTED,
        order=order_pb2.Order(
            customer_id="household-2375", total=money_pb2.Money(currency_code="USD", minor_units=1199)
        ),
        order_accepted=order_event_pb2.OrderAccepted(),
    )
    event.metadata.reason = "." * (1 + EVENT_BYTES - event.ByteSize())
    encoded = event.SerializeToString()
    if len(encoded) != EVENT_BYTES:
        raise AssertionError(len(encoded))
    return encoded


def recorded_event(shard: int, seq: int, record_time_us: int) -> bytes:
    """The same, somewhat larger for the time at which it was recorded."""
    event = order_event_pb2.OrderEvent.FromString(encoded_event(shard, seq))
    event.metadata.record_time.FromMicroseconds(record_time_us)
    return event.SerializeToString()


def encoded_frame(events: int) -> bytes:
    """One message of a stream with so many events of one shard."""
    batch = order_frame_pb2.EventBatch(
        shard=0,
        first_seq=1,
        last_seq=events,
        events=[order_event_pb2.OrderEvent.FromString(encoded_event(0, seq)) for seq in range(1, events + 1)],
    )
    frame = order_frame_pb2.ServerFrame(events=order_frame_pb2.Events(batches=[batch]))
    return sync_service_pb2.StreamEventsResponse(frame=frame).SerializeToString()
