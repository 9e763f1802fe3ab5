"""What callers ask, checked: every violation of a request at once."""

from collections.abc import AsyncIterator
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from stateset.stream.v1 import stream_pb2
from stateset.sync.v1 import sync_service_pb2

from infra.kernel.filter import EVERYTHING, FilterError, Term, fields_of, parse
from infra.kernel.position import Position
from infra.runtime.grpc.wire import NO_TIME, is_time, position_from_wire, position_of_token, timestamp_from_wire
from sync.adapters.checked import Checked
from sync.adapters.wire import EVENT_FIELDS
from sync.adapters.wire_parking import ack_items
from sync.domain.frames import (
    AckItems,
    AckThrough,
    Alive,
    ClientFrame,
    Close,
    Grant,
    Open,
    SnapshotStart,
    Start,
    StartPoint,
    StartTime,
)

_NAME_CHARACTERS_MAX: Final = 128
_HEARTBEAT_SECONDS: Final = 5.0
_HEARTBEAT_SECONDS_MIN: Final = 0.5
_HEARTBEAT_SECONDS_MAX: Final = 60.0
_SILENCE_SECONDS_MIN: Final = 0.5
_SILENCE_SECONDS_MAX: Final = 300.0
_DIGEST_SECONDS_MIN: Final = 1.0
_DIGEST_SECONDS_MAX: Final = 3_600.0
_BATCH_EVENTS: Final = 500
_BATCH_EVENTS_MAX: Final = 10_000  # beyond that the frame's bytes are the bound anyway
_UNACKED_EVENTS_MAX: Final = 50_000  # an event that waits costs some 700 bytes, beside its own
_POINTS: Final = {
    stream_pb2.START_POINT_EARLIEST: StartPoint.EARLIEST,
    stream_pb2.START_POINT_LATEST: StartPoint.LATEST,
    stream_pb2.START_POINT_STORED: StartPoint.STORED,
}


def open_from_wire(message: stream_pb2.Open, *, path: str, shards: int, durable: bool) -> Open:
    """What a stream asks for.

    Args:
        message: The Open.
        path: Where it stands in the request, for the names of fields.
        shards: How many shards the log has.
        durable: Whether the stream can have a subscription and credit.

    Raises:
        InvalidRequestError: Something is wrong with it.
    """
    checked = Checked()
    _check_kind(message, checked, path, durable=durable)
    checked.text(message.subscription, f"{path}.subscription")
    asked = Open(
        subscription=message.subscription,
        start=_start(
            message.start, checked, f"{path}.start", StartPoint.STORED if message.subscription else StartPoint.EARLIEST
        ),
        shards=_shards(message, checked, f"{path}.shards", shards),
        filter=message.filter,
        term=_term(checked.text(message.filter, f"{path}.filter"), checked, f"{path}.filter"),
        credit=_grant(message.credit, checked, f"{path}.credit") if durable else None,
        heartbeat_seconds=_heartbeat_seconds(message, checked, f"{path}.heartbeat_interval"),
        silence_seconds=_silence_seconds(message, checked, f"{path}.silence_max", durable=durable),
        batch_events_max=min(message.batch_events_max or _BATCH_EVENTS, _BATCH_EVENTS_MAX),
        checkpoint_epoch=message.checkpoint_epoch,
        unacked_events_max=message.unacked_events_max,
        digest_seconds=_digest_seconds(message, checked, f"{path}.digest_interval"),
    )
    checked.refuse_unless(
        asked.digest_seconds is None or "type" not in fields_of(asked.term),
        f"{path}.digest_interval",
        "needs a filter that does not speak of type: versions that it leaves out are held by nobody",
    )
    checked.refuse_unless(
        not isinstance(asked.start, SnapshotStart) or "type" not in fields_of(asked.term),
        f"{path}.filter",
        "must not speak of type: the orders of a snapshot have none",
    )
    checked.refuse_unless(message.checkpoint_epoch >= 0, f"{path}.checkpoint_epoch", "must not be negative")
    checked.refuse_unless(
        0 <= message.unacked_events_max <= _UNACKED_EVENTS_MAX,
        f"{path}.unacked_events_max",
        f"must be between 0 and {_UNACKED_EVENTS_MAX}",
    )
    checked.refuse_unless(message.batch_events_max >= 0, f"{path}.batch_events_max", "must not be negative")
    checked.done()
    return asked


def name_from_wire(name: str) -> str:
    """The name of a subscription, in a request of its own.

    Raises:
        InvalidRequestError: It cannot be one.
    """
    checked = Checked()
    _check_name(name, checked)
    checked.done()
    return name


def _check_name(name: str, checked: Checked) -> None:
    checked.text(name, "name")
    checked.refuse_unless(
        0 < len(name) <= _NAME_CHARACTERS_MAX, "name", f"must have 1 to {_NAME_CHARACTERS_MAX} characters"
    )


def creation_from_wire(message: sync_service_pb2.CreateSubscriptionRequest) -> tuple[Term, Start]:
    """The filter of a new subscription, and where its floor begins.

    Raises:
        InvalidRequestError: Something is wrong with them.
    """
    checked = Checked()
    _check_name(message.name, checked)
    term = _term(checked.text(message.filter, "filter"), checked, "filter")
    start = _place(message.start, checked, "start")
    checked.done()
    return term, start


def seek_from_wire(message: sync_service_pb2.SeekSubscriptionRequest) -> Start:
    """Where a floor is to be moved.

    Raises:
        InvalidRequestError: It is nowhere that a floor could be.
    """
    checked = Checked()
    _check_name(message.name, checked)
    # A point that nobody has set says nothing: EARLIEST would bring everything again.
    is_set = bool(message.to.point) or message.to.WhichOneof("at") not in (None, "point")
    checked.refuse_unless(is_set, "to", "must be set")
    to = _place(message.to, checked, "to")
    checked.done()
    return to


async def client_frames(requests: AsyncIterator[sync_service_pb2.SubscribeRequest]) -> AsyncIterator[ClientFrame]:
    """The frames that follow the Open.

    Raises:
        InvalidRequestError: One of them is malformed, or a second Open.
    """
    async for request in requests:
        yield _client_frame(request.frame)


def done_from_wire(request: sync_service_pb2.AckSubscriptionRequest) -> Position:
    """Below which position everything is done.

    Raises:
        InvalidRequestError: The request cannot be understood.
        PositionMalformedError: What it gives as a token is none.
    """
    checked = Checked()
    name = checked.text(request.subscription, "subscription")
    checked.refuse_unless(
        0 < len(name) <= _NAME_CHARACTERS_MAX, "subscription", f"must have 1 to {_NAME_CHARACTERS_MAX} characters"
    )
    checked.refuse_unless(request.delivery_epoch > 0, "delivery_epoch", "must be that of an opening, from 1 on")
    checked.refuse_unless(request.WhichOneof("done") is not None, "done", "through or token must be set")
    checked.done()
    return position_of_token(request.token) if request.token else position_from_wire(request.through)


def _client_frame(frame: stream_pb2.ClientFrame) -> ClientFrame:
    checked = Checked()
    match frame.WhichOneof("frame"):
        case "credit":
            grant = _grant(frame.credit, checked, "frame.credit")
            checked.done()
            return grant
        case "ack":
            ack = _ack(frame.ack, checked)
            checked.done()
            return ack
        case "heartbeat":
            return Alive()
        case "close":
            return Close()
        case "open":
            checked.refuse_unless(holds=False, field="frame.open", description="the stream is open already")
        case _:
            checked.refuse_unless(holds=False, field="frame", description="must be one of the frames of the contract")
    checked.done()
    raise AssertionError  # done() has raised


def _ack(message: stream_pb2.Ack, checked: Checked) -> AckThrough | AckItems:
    checked.refuse_unless(
        message.HasField("through") != bool(message.items), "frame.ack", "must have one of through and items"
    )
    checked.refuse_unless(
        len(message.ack_id) <= _NAME_CHARACTERS_MAX,
        "frame.ack.ack_id",
        f"must have at most {_NAME_CHARACTERS_MAX} characters",
    )
    if message.items:
        return AckItems(ack_id=message.ack_id, items=ack_items(message, checked))
    return AckThrough(ack_id=message.ack_id, through=position_from_wire(message.through))


def _check_kind(message: stream_pb2.Open, checked: Checked, path: str, *, durable: bool) -> None:
    named = bool(message.subscription)
    if not durable:
        checked.refuse_unless(not named, f"{path}.subscription", "only Subscribe has durable subscriptions")
        checked.refuse_unless(not message.HasField("credit"), f"{path}.credit", "only Subscribe has credit")
    checked.refuse_unless(
        len(message.subscription) <= _NAME_CHARACTERS_MAX,
        f"{path}.subscription",
        f"must have at most {_NAME_CHARACTERS_MAX} characters",
    )
    checked.refuse_unless(named or not message.unacked_events_max, f"{path}.unacked_events_max", "needs a subscription")
    checked.refuse_unless(
        named or message.start.point != stream_pb2.START_POINT_STORED,
        f"{path}.start.point",
        "STORED needs a subscription",
    )


def _place(message: stream_pb2.Start, checked: Checked, path: str) -> Start:
    """A start for a floor, which has no orders and does not rest on another floor."""
    start = _start(message, checked, path, StartPoint.EARLIEST)
    is_place = start is not StartPoint.STORED and not isinstance(start, SnapshotStart)
    checked.refuse_unless(is_place, path, "must be a position, a time, EARLIEST or LATEST")
    return start


def _start(message: stream_pb2.Start, checked: Checked, path: str, default: StartPoint) -> Start:
    match message.WhichOneof("at"):
        case "position":
            return position_from_wire(message.position)
        case "time":
            return _start_time(message.time, checked, f"{path}.time")
        case "snapshot":
            return _snapshot_start(message.snapshot, checked, f"{path}.snapshot")
    if message.point == stream_pb2.START_POINT_UNSPECIFIED:
        return default
    checked.refuse_unless(message.point in _POINTS, f"{path}.point", "must be EARLIEST, LATEST or STORED")
    return _POINTS.get(message.point, StartPoint.EARLIEST)


def _start_time(message: Timestamp, checked: Checked, path: str) -> StartTime:
    valid = is_time(message)
    checked.refuse_unless(valid, path, NO_TIME)
    return StartTime(timestamp_from_wire(message) if valid else 0)


def _snapshot_start(message: stream_pb2.SnapshotStart, checked: Checked, path: str) -> SnapshotStart:
    begun = message.HasField("at")
    after = checked.text(message.after_order_id, f"{path}.after_order_id")
    checked.refuse_unless(begun or not after, f"{path}.at", "must be set: it says which snapshot goes on")
    return SnapshotStart(at=position_from_wire(message.at) if begun else None, after_order_id=after)


def _shards(message: stream_pb2.Open, checked: Checked, path: str, shards: int) -> tuple[int, ...]:
    unknown = [shard for shard in message.shards if not 0 <= shard < shards]
    checked.refuse_unless(not unknown, path, f"this log has the shards 0 to {shards - 1}, not {unknown[:3]}")
    checked.refuse_unless(len(set(message.shards)) == len(message.shards), path, "must name each shard once")
    return tuple(sorted(message.shards))


def _term(text: str, checked: Checked, path: str) -> Term:
    try:
        return parse(text, EVENT_FIELDS)
    except FilterError as error:
        checked.refuse_unless(holds=False, field=path, description=str(error))
        return EVERYTHING


def _grant(message: stream_pb2.Credit, checked: Checked, path: str) -> Grant:
    checked.refuse_unless(message.events >= 0, f"{path}.events", "must not be negative")
    checked.refuse_unless(message.bytes >= 0, f"{path}.bytes", "must not be negative")
    checked.refuse_unless(
        message.mode in stream_pb2.CreditMode.values(), f"{path}.mode", "must be one of the modes of the contract"
    )
    return Grant(events=message.events, bytes=message.bytes, replace=message.mode == stream_pb2.CREDIT_MODE_SET)


def _heartbeat_seconds(message: stream_pb2.Open, checked: Checked, path: str) -> float:
    if not message.HasField("heartbeat_interval"):
        return _HEARTBEAT_SECONDS
    return _seconds(message.heartbeat_interval, checked, path, _HEARTBEAT_SECONDS_MIN, _HEARTBEAT_SECONDS_MAX)


def _digest_seconds(message: stream_pb2.Open, checked: Checked, path: str) -> float | None:
    if not message.HasField("digest_interval"):
        return None
    seconds = _seconds(message.digest_interval, checked, path, _DIGEST_SECONDS_MIN, _DIGEST_SECONDS_MAX)
    checked.refuse_unless(
        not message.unacked_events_max, path, "needs acks that name positions: events that are set aside are not held"
    )
    return seconds


def _silence_seconds(message: stream_pb2.Open, checked: Checked, path: str, *, durable: bool) -> float | None:
    if not message.HasField("silence_max"):
        return None
    checked.refuse_unless(durable, path, "only a caller of Subscribe can break its silence")
    return _seconds(message.silence_max, checked, path, _SILENCE_SECONDS_MIN, _SILENCE_SECONDS_MAX)


def _seconds(message: Duration, checked: Checked, path: str, least: float, most: float) -> float:
    seconds: float = message.seconds + message.nanos / 1e9
    checked.refuse_unless(least <= seconds <= most, path, f"must be between {least:g} s and {most:g} s")
    return seconds
