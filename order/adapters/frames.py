"""Stream frames on the wire. Events pass through as they were encoded at their commit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from google.protobuf.duration_pb2 import Duration
from stateset.order.v1 import order_frame_pb2, order_service_pb2
from stateset.stream.v1 import stream_pb2

from infra.kernel.position import Position
from infra.runtime.grpc.call import status_of_end
from infra.runtime.grpc.status import InvalidRequestError, Violation
from infra.runtime.grpc.wire import embedded, position_from_wire, position_to_wire, timestamp_to_wire
from order.adapters.grpc_status import DOMAIN, ERRORS
from order.application.feed import Credit, Opening, StartPoint
from order.application.ports import LoggedEvent

_SUBSCRIPTION_MAX: Final = 128
_BATCH_EVENTS_DEFAULT: Final = 500
_BATCH_EVENTS_MAX: Final = 5_000
_HEARTBEAT_SECONDS: Final = (0.5, 5.0, 60.0)  # least, default, most
_UNLIMITED: Final = 1 << 62  # of a stream that HTTP/2's flow control bounds

_FRAME: Final = order_service_pb2.StreamOrderEventsResponse.FRAME_FIELD_NUMBER
_EVENTS: Final = order_frame_pb2.ServerFrame.EVENTS_FIELD_NUMBER
_BATCHES: Final = order_frame_pb2.Events.BATCHES_FIELD_NUMBER
_EVENT: Final = order_frame_pb2.EventBatch.EVENTS_FIELD_NUMBER

_POINTS: Final = {
    stream_pb2.START_POINT_EARLIEST: StartPoint.EARLIEST,
    stream_pb2.START_POINT_LATEST: StartPoint.LATEST,
    stream_pb2.START_POINT_STORED: StartPoint.STORED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What an Open asks for."""

    subscription: str
    start: Position | StartPoint
    shards: tuple[int, ...]
    credit: Credit
    heartbeat_seconds: float
    batch_events_max: int


def open_from_wire(message: stream_pb2.Open, shards: int, *, acknowledged: bool) -> Asked:
    """What the caller asks for.

    Args:
        message: Its Open.
        shards: Number of shards of the log.
        acknowledged: The stream has credit, and may have a subscription.

    Raises:
        InvalidRequestError: Some of it cannot be understood; every violation at once.
    """
    found: list[Violation] = []

    def require(path: str, description: str, *, holds: bool) -> None:
        if not holds:
            found.append(Violation(f"{'frame.' if acknowledged else ''}open.{path}", description))

    named = message.subscription
    least, default, most = _HEARTBEAT_SECONDS
    heartbeat = message.heartbeat_interval.ToMicroseconds() / 1e6 if message.HasField("heartbeat_interval") else default
    require("filter", "is not served here: subscribe to the Sync Server", holds=not message.filter)
    require("heartbeat_interval", f"must be {least} s to {most} s", holds=least <= heartbeat <= most)
    require("batch_events_max", "must not be negative", holds=message.batch_events_max >= 0)
    by_event = "is not served here: subscribe to the Sync Server"
    require("unacked_events_max", by_event, holds=not message.unacked_events_max)
    require("digest_interval", by_event, holds=not message.HasField("digest_interval"))
    require("silence_max", by_event, holds=not message.HasField("silence_max"))
    require("checkpoint_epoch", by_event, holds=not message.checkpoint_epoch)
    require("shards", f"must be different ones of 0 to {shards - 1}", holds=_are_shards(message.shards, shards))
    if acknowledged:
        fits = len(named) <= _SUBSCRIPTION_MAX and (not named or named.isprintable())
        require("subscription", f"must be at most {_SUBSCRIPTION_MAX} printable characters", holds=fits)
        require("credit", "must not be negative", holds=min(message.credit.events, message.credit.bytes) >= 0)
    else:
        require("subscription", "needs SubscribeOrderEvents", holds=not named)
        require("credit", "needs SubscribeOrderEvents", holds=not message.HasField("credit"))
    start = _start(message, StartPoint.STORED if named else StartPoint.EARLIEST)
    require("start", "must be a position or a known point; STORED needs a subscription", holds=_can_start(start, named))
    if found or start is None:
        raise InvalidRequestError(found)
    unlimited = Credit(_UNLIMITED, _UNLIMITED)
    return Asked(
        subscription=named,
        start=start,
        shards=tuple(message.shards) or tuple(range(shards)),
        credit=Credit(message.credit.events, message.credit.bytes) if acknowledged else unlimited,
        heartbeat_seconds=heartbeat,
        batch_events_max=min(message.batch_events_max, _BATCH_EVENTS_MAX) or _BATCH_EVENTS_DEFAULT,
    )


def _are_shards(asked: Sequence[int], shards: int) -> bool:
    return len(set(asked)) == len(asked) and all(0 <= shard < shards for shard in asked)


def _can_start(start: Position | StartPoint | None, subscription: str) -> bool:
    return start is not None and (start is not StartPoint.STORED or bool(subscription))


def _start(message: stream_pb2.Open, default: StartPoint) -> Position | StartPoint | None:
    match message.start.WhichOneof("at"):
        case "position":
            return position_from_wire(message.start.position)
        case "point":
            return _POINTS.get(message.start.point)
        case None:
            return default
        case _:
            return None


def grant(credit: Credit, message: stream_pb2.Credit) -> None:
    """Takes in what the caller grants.

    Raises:
        InvalidRequestError: It is negative.
    """
    if message.events < 0 or message.bytes < 0:
        raise InvalidRequestError([Violation("frame.credit", "must not be negative")])
    replace = message.mode == stream_pb2.CREDIT_MODE_SET
    credit.events = message.events + (0 if replace else min(credit.events, _UNLIMITED))
    credit.bytes = message.bytes + (0 if replace else min(credit.bytes, _UNLIMITED))


def opened_frame(opening: Opening, asked: Asked) -> bytes:
    """The first frame."""
    interval = Duration()
    interval.FromMilliseconds(round(asked.heartbeat_seconds * 1000))
    return _frame(
        order_frame_pb2.ServerFrame(
            opened=stream_pb2.Opened(
                position=position_to_wire(opening.start),
                delivery_epoch=opening.delivery_epoch,
                heartbeat_interval=interval,
                shards=opening.shards,
                batch_events_max=asked.batch_events_max,
                earliest=position_to_wire(opening.earliest),
            )
        )
    )


def events_frame(runs: Sequence[Sequence[LoggedEvent]]) -> bytes:
    """One run of events a shard, in one frame."""
    batches = b"".join(embedded(_BATCHES, _batch(run)) for run in runs)
    return embedded(_FRAME, embedded(_EVENTS, batches))


def _batch(run: Sequence[LoggedEvent]) -> bytes:
    head = order_frame_pb2.EventBatch(shard=run[0].shard, first_seq=run[0].seq, last_seq=run[-1].seq)
    return head.SerializeToString() + b"".join(embedded(_EVENT, event.body) for event in run)


def progress_frame(position: Position, as_of_us: int | None) -> bytes:
    """How far the stream is; the time only where it is at the head."""
    as_of = None if as_of_us is None else timestamp_to_wire(as_of_us)
    return _frame(order_frame_pb2.ServerFrame(progress=stream_pb2.Progress(at=position_to_wire(position), as_of=as_of)))


def phase_frame(phase: stream_pb2.Phase.ValueType) -> bytes:
    """The phase from here on."""
    return _frame(order_frame_pb2.ServerFrame(phase_change=stream_pb2.PhaseChange(phase=phase)))


def heartbeat_frame(heartbeat_seq: int) -> bytes:
    """The server is alive."""
    return _frame(order_frame_pb2.ServerFrame(heartbeat=stream_pb2.Heartbeat(heartbeat_seq=heartbeat_seq)))


def go_away_frame(position: Position, retry_after_seconds: float) -> bytes:
    """The server is about to leave."""
    wait = Duration()
    wait.FromMilliseconds(round(retry_after_seconds * 1000))
    go_away = stream_pb2.GoAway(position=position_to_wire(position), retry_after=wait)
    return _frame(order_frame_pb2.ServerFrame(go_away=go_away))


def closed_frame(error: Exception | None, position: Position) -> bytes:
    """The last frame: with what the call will end, and how far it has come."""
    closed = stream_pb2.Closed(status=status_of_end(error, DOMAIN, ERRORS), position=position_to_wire(position))
    return _frame(order_frame_pb2.ServerFrame(closed=closed))


def ack_result_frame(ack_id: str, status: stream_pb2.AckStatus.ValueType, floor: Position) -> bytes:
    """What became of an ack."""
    result = stream_pb2.AckResult(ack_id=ack_id, status=status, floor=position_to_wire(floor))
    return _frame(order_frame_pb2.ServerFrame(ack_result=result))


def _frame(frame: order_frame_pb2.ServerFrame) -> bytes:
    return embedded(_FRAME, frame.SerializeToString())
