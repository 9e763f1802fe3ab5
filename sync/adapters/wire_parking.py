"""Outcomes of single events and the parking place, between the wire and the domain."""

from typing import Final

from stateset.order.v1 import order_event_pb2, order_frame_pb2
from stateset.stream.v1 import stream_pb2
from stateset.sync.v1 import sync_service_pb2

from infra.runtime.grpc.wire import timestamp_to_wire
from sync.adapters.checked import Checked
from sync.domain.done_set import DELAY_SECONDS_MAX
from sync.domain.lines import Redelivery
from sync.domain.outcome import AckItem, Outcome
from sync.domain.parking import Choice, ParkedEvent

_ITEMS_MAX: Final = 1_000
_REASON_CHARACTERS_MAX: Final = 1_000
_OUTCOMES: Final = {stream_pb2.AckOutcome.Value(f"ACK_OUTCOME_{outcome}"): outcome for outcome in Outcome}


def ack_items(message: stream_pb2.Ack, checked: Checked) -> tuple[AckItem, ...]:
    """The items of an ack."""
    few = len(message.items) <= _ITEMS_MAX
    checked.refuse_unless(few, "frame.ack.items", f"must be at most {_ITEMS_MAX}")
    items = message.items if few else ()
    return tuple(_ack_item(item, checked, f"frame.ack.items[{at}]") for at, item in enumerate(items))


def _ack_item(message: stream_pb2.AckItem, checked: Checked, path: str) -> AckItem:
    delay_seconds = message.delay.seconds + message.delay.nanos / 1e9
    checked.refuse_unless(
        message.outcome in _OUTCOMES, f"{path}.outcome", "must be one of the outcomes of the contract"
    )
    checked.refuse_unless(
        0 <= delay_seconds <= DELAY_SECONDS_MAX, f"{path}.delay", f"must be between 0 and {DELAY_SECONDS_MAX} s"
    )
    checked.refuse_unless(
        len(message.reason) <= _REASON_CHARACTERS_MAX,
        f"{path}.reason",
        f"must have at most {_REASON_CHARACTERS_MAX} characters",
    )
    return AckItem(
        shard=message.shard,
        seq=message.seq,
        outcome=_OUTCOMES.get(message.outcome, Outcome.DONE),
        delay_seconds=delay_seconds,
        reason=checked.text(message.reason, f"{path}.reason"),
    )


def redelivery_to_wire(redelivery: Redelivery) -> bytes:
    """A redelivery as one message of the stream."""
    deliveries = [
        order_frame_pb2.RedeliveredEvent(attempt=attempt, event=_event(chunk))
        for attempt, chunk in redelivery.deliveries
    ]
    frame = order_frame_pb2.Redelivery(shard=redelivery.shard, deliveries=deliveries)
    message = sync_service_pb2.SubscribeResponse(frame=order_frame_pb2.ServerFrame(redelivery=frame))
    return message.SerializeToString()


def parked_to_wire(parked: ParkedEvent) -> sync_service_pb2.ParkedEvent:
    """A parked event as its list shows it."""
    return sync_service_pb2.ParkedEvent(
        event=_event(parked.chunk),
        whole_order=parked.whole_order,
        reason=parked.reason,
        attempts=parked.attempts,
        park_time=timestamp_to_wire(parked.parked_time_us),
        replaying=parked.replaying,
    )


def choice_from_wire(
    message: sync_service_pb2.ReplayParkedRequest | sync_service_pb2.DiscardParkedRequest, checked: Checked
) -> Choice:
    """Which parked events are meant."""
    match message.WhichOneof("which"):
        case "event":
            return Choice(event=(message.event.shard, message.event.seq))
        case "order_id":
            checked.refuse_unless(bool(message.order_id), "order_id", "must not be empty")
            return Choice(order_id=checked.text(message.order_id, "order_id"))
        case "all":
            checked.refuse_unless(message.all, "all", "must be true, if it is set")
        case _:
            checked.refuse_unless(holds=False, field="which", description="must be one event, an order, or all")
    return Choice()


def _event(chunk: bytes) -> order_event_pb2.OrderEvent:
    """A chunk is a batch of one event, as the wire spells it."""
    return order_frame_pb2.EventBatch.FromString(chunk).events[0]
