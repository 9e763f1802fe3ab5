"""How events, replies and refusals are encoded, for one log."""

from collections.abc import Sequence
from typing import Final, get_args

from stateset.common.v1 import event_metadata_pb2, position_pb2
from stateset.order.v1 import order_event_pb2, order_service_pb2

from infra.kernel.shard import shard_of
from infra.runtime.grpc.status import refusal_of, to_status
from infra.runtime.grpc.wire import embedded, set_timestamp, varint
from order.adapters.grpc_status import DOMAIN, ERRORS, STORED_CODES
from order.adapters.requests import differing_fields
from order.adapters.wire_changes import change_to_wire
from order.adapters.wire_order import STATE_TO_WIRE, order_to_wire
from order.application.ports import CausedEvent, Submission
from order.domain.changes import Change
from order.domain.errors import OrderError
from order.domain.order import Order

SOURCE: Final = "//order.stateset.dev"
_PACKAGE: Final = "stateset.order.v1"


class WireCodec:
    """The `Codec` of the contract, for one log. An order is encoded once; event and reply embed its bytes."""

    def __init__(self, log_epoch: str, shards: int) -> None:
        self._log_epoch = log_epoch
        self._log_epoch_bytes = position_pb2.Position(log_epoch=log_epoch).SerializeToString()
        self._shards = shards

    def encode_order(self, order: Order) -> bytes:
        """See `Codec.encode_order`."""
        return order_to_wire(order).SerializeToString()

    def encode_event(
        self, submission: Submission, caused: CausedEvent, before: Order | None, after: Order, order_bytes: bytes
    ) -> bytes:
        """See `Codec.encode_event`."""
        event = order_event_pb2.OrderEvent()
        self._set_metadata(event.metadata, submission, caused, after)
        event.order_id = after.order_id
        event.version = after.version
        event.shard = shard_of(after.order_id, self._shards)
        event.seq = caused.seq
        if before is not None:
            event.previous_state = STATE_TO_WIRE[before.state]
        event.state = STATE_TO_WIRE[after.state]
        name, change = change_to_wire(caused.change, after)
        getattr(event, name).CopyFrom(change)
        return event.SerializeToString() + embedded(order_event_pb2.OrderEvent.ORDER_FIELD_NUMBER, order_bytes)

    def _set_metadata(
        self, metadata: event_metadata_pb2.EventMetadata, submission: Submission, caused: CausedEvent, after: Order
    ) -> None:
        record_time_us, occur_time_us = after.update_time_us, submission.occur_time_us
        metadata.event_id = caused.event_id
        metadata.type = event_type(caused.change)
        metadata.source = SOURCE
        metadata.subject = f"orders/{after.order_id}"
        metadata.log_epoch = self._log_epoch
        set_timestamp(metadata.occur_time, record_time_us if occur_time_us is None else occur_time_us)
        set_timestamp(metadata.record_time, record_time_us)
        metadata.actor = submission.principal
        metadata.request_id = submission.request_id
        metadata.correlation_id = submission.correlation_id
        metadata.causation_id = submission.causation_id
        metadata.traceparent = submission.traceparent
        metadata.group_index = caused.group_index
        metadata.group_size = caused.group_size
        metadata.reason = submission.reason

    def encode_reply(self, order_bytes: bytes, order_id: str, caused: Sequence[CausedEvent], next_seq: int) -> bytes:
        """See `Codec.encode_reply`. Every command's response has the same fields, so one message encodes them all."""
        rest = order_service_pb2.PlaceOrderResponse()
        for each in caused:
            event = rest.events.add()
            event.event_id = each.event_id
            event.type = event_type(each.change)
            event.version = each.version
            event.seq = each.seq
        return b"".join(
            (
                embedded(order_service_pb2.PlaceOrderResponse.ORDER_FIELD_NUMBER, order_bytes),
                rest.SerializeToString(),
                embedded(
                    order_service_pb2.PlaceOrderResponse.POSITION_FIELD_NUMBER, self._position(order_id, next_seq)
                ),
            )
        )

    def _position(self, order_id: str, next_seq: int) -> bytes:
        """Of the order's shard alone; a list of numbers is their encodings, one behind the other."""
        shard = shard_of(order_id, self._shards)
        numbers = bytes(shard) + varint(next_seq) + bytes(self._shards - shard - 1)
        return self._log_epoch_bytes + embedded(position_pb2.Position.NEXT_SEQ_FIELD_NUMBER, numbers)

    def differing_fields(self, method: str, first: bytes, again: bytes) -> list[str]:
        """See `Codec.differing_fields`."""
        return differing_fields(method, first, again)

    def encode_refusal(self, error: OrderError) -> bytes | None:
        """See `Codec.encode_refusal`: the status as it goes over the wire."""
        refusal = refusal_of(error, ERRORS)
        if refusal is None or refusal.code not in STORED_CODES:
            return None
        return to_status(refusal, DOMAIN).SerializeToString()


def event_type(change: Change) -> str:
    """The type that the change's event has on the wire: the full name of its message."""
    return _TYPES[type(change)]


_TYPES: Final = {kind: f"{_PACKAGE}.{kind.__name__}" for kind in get_args(Change)}
