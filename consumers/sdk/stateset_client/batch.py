"""What a subscriber is handed: values of the stream, each with the position that it leads to."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from google.protobuf.timestamp_pb2 import Timestamp
from stateset.common.v1.position_pb2 import Position
from stateset.order.v1.order_event_pb2 import OrderEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A range of one shard. What is missing between `first_seq` and `last_seq` was filtered out.

    Attributes:
        shard: The shard.
        first_seq: The first seq that the batch covers: the one that was due.
        last_seq: The last seq that it covers.
        events: The matching events, by seq.
        position: Where the reader stands after the batch; open with it to go on right there.
        delivery_epoch: Of the opening of the subscription that brought it; 0 without a subscription.
    """

    shard: int
    first_seq: int
    last_seq: int
    events: Sequence[OrderEvent]
    position: Position
    delivery_epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Everything below `at` has been handed out, and `as_of` is the record time up to which that is the whole log."""

    at: Position
    as_of: Timestamp


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """How the server opened the stream: where it starts, and the number of this opening."""

    position: Position
    delivery_epoch: int
    shards: Sequence[int]


class AckStatus(Enum):
    """What became of an ack."""

    COMMITTED = "the floor is durable"
    FENCED = "a newer stream has taken over; nothing changed"
    ALREADY = "the durable floor was already there"


@dataclass(frozen=True, slots=True, kw_only=True)
class AckResult:
    """What became of an ack, and where the durable floor is now."""

    status: AckStatus
    floor: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """How much a stream may send ahead, and how long it may be silent.

    Attributes:
        credit_events: Events that are under way or wait here; more smooths a stutter and costs memory.
        credit_bytes: The same in bytes; whichever is reached first counts.
        batch_events_max: Events in one frame: more is cheaper each, fewer arrive sooner.
        heartbeat_seconds: The server's longest silence. After three times as long it is taken for dead.
    """

    credit_events: int = 10_000
    credit_bytes: int = 8 * 1024 * 1024
    batch_events_max: int = 500
    heartbeat_seconds: float = 5.0
