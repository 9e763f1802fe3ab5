"""What a subscriber is handed: values of the stream, each with the position that it leads to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from google.protobuf.timestamp_pb2 import Timestamp
from stateset.common.v1.position_pb2 import Position
from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset.stream.v1 import stream_pb2 as stream


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
        attempts: By event, the how many-th time it is sent, where the events come again after RETRY or a replay, or
            waited for one that does. Such a batch covers no range and moves no position. Else empty.
        arrival: The how many-th batch it is that has come, where events are settled one by one.
    """

    shard: int
    first_seq: int
    last_seq: int
    events: Sequence[OrderEvent]
    position: Position
    delivery_epoch: int
    attempts: Sequence[int] = ()
    arrival: int = 0

    def without(self, hides: Callable[[OrderEvent], bool]) -> "Batch":
        """The batch without some of its events; it covers the same range."""
        kept = [number for number, event in enumerate(self.events) if not hides(event)]
        attempts = [self.attempts[number] for number in kept] if self.attempts else ()
        return replace(self, events=[self.events[number] for number in kept], attempts=attempts)


def joined(run: Sequence[Batch]) -> list[Batch]:
    """Batches without events that follow one another, as one for each shard; from the same place to the same."""
    first = run[0]
    next_seq = list(first.position.next_seq)
    next_seq[first.shard] = first.first_seq
    begins = {each.shard: each.first_seq for each in reversed(run)}
    ends = {each.shard: each.last_seq for each in run}
    found = []
    for shard, last_seq in ends.items():
        next_seq[shard] = last_seq + 1
        position = Position(
            log_epoch=first.position.log_epoch, next_seq=next_seq, filter_hash=first.position.filter_hash
        )
        found.append(replace(first, shard=shard, first_seq=begins[shard], last_seq=last_seq, position=position))
    return found


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
    ALREADY = "the durable floor was already there, or the event was finished before"
    OUT_OF_ORDER = "an earlier event of the order comes again or was set aside, and this one with it; nothing changed"
    UNKNOWN = "no such event was sent on this stream; nothing changed"
    PARKING_FULL = "there was no room to set the event aside: it comes again"


class Outcome(Enum):
    """What became of one event; see the contract's `AckOutcome`."""

    DONE = stream.ACK_OUTCOME_DONE
    RETRY = stream.ACK_OUTCOME_RETRY
    PARK = stream.ACK_OUTCOME_PARK
    PARK_KEY = stream.ACK_OUTCOME_PARK_KEY
    SKIP = stream.ACK_OUTCOME_SKIP


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """One event's outcome. `delay_seconds` is RETRY's, `reason` that of what is parked."""

    event: OrderEvent
    outcome: Outcome
    delay_seconds: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AckResult:
    """What became of an ack, and where the durable floor is now.

    Attributes:
        items: Of an ack of single events: what became of each, in its sequence.
        arrivals: How many batches had come before it, where events are settled one by one.
    """

    status: AckStatus
    floor: Position
    items: Sequence[AckStatus] = ()
    arrivals: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """How much a stream may send ahead, and how long it may be silent.

    Attributes:
        credit_events: Events that are under way or wait here; more smooths a stutter and costs memory.
        credit_bytes: The same in bytes; whichever is reached first counts.
        batch_events_max: Events in one frame: more is cheaper each, fewer arrive sooner.
        heartbeat_seconds: The server's longest silence. After three times as long it is taken for dead.
        unacked_events_max: Of a `Subscription`: events that may be sent and not settled, at most 50,000. Its events are
            then settled one by one; after a break it goes on at what the server has stored, and what was not settled
            comes again. 0: positions are acked.
    """

    credit_events: int = 10_000
    credit_bytes: int = 8 * 1024 * 1024
    batch_events_max: int = 500
    heartbeat_seconds: float = 5.0
    unacked_events_max: int = 0

    def __post_init__(self) -> None:
        for name in ("credit_events", "credit_bytes"):
            value: object = getattr(self, name)
            if not isinstance(value, int) or not 0 < value < 1 << 63:
                raise ValueError(f"{name} must be a whole number from 1 to 2^63 - 1, not {value!r}")
