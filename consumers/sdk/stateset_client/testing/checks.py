"""What the Sync Server refuses: of each request what its fields must be like, and which positions it does not serve."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from stateset.common.v1.position_pb2 import Position
from stateset.stream.v1 import stream_pb2 as stream
from stateset.sync.v1 import sync_service_pb2 as sync

from stateset_client.errors import Violation
from stateset_client.testing.filters import ORDER_FIELDS, FilterError, parse
from stateset_client.testing.refusal import Refusal

_NAME_CHARACTERS_MAX: Final = 128
_UNACKED_EVENTS_MAX: Final = 50_000
_ITEMS_MAX: Final = 1_000
_DELAY_SECONDS_MAX: Final = 3_600
_REASON_CHARACTERS_MAX: Final = 1_000

Rule = tuple[str, str, Callable[[Any], object]]
"""Of a message: which field is wrong, and what would be right, unless this holds. It may raise `FilterError`."""


def refuse_open(spec: stream.Open, *, path: str, shards: int, durable: bool) -> None:
    """Refuses what no stream can be opened with.

    Args:
        spec: The Open.
        path: What its fields' paths begin with.
        shards: How many the log has.
        durable: Whether the stream can have a subscription and credit.

    Raises:
        Refusal: Something is wrong with it.
    """
    known: Rule = (
        "shards",
        f"this log has the shards 0 to {shards - 1}",
        lambda spec: all(0 <= shard < shards for shard in spec.shards),
    )
    _refuse(spec, path, (known, *_OPEN, *(() if durable else _ONE_WAY)))


def refuse_frame(frame: stream.ClientFrame) -> None:
    """Refuses a frame that no stream takes.

    Raises:
        Refusal: Something is wrong with it.
    """
    _refuse(frame.credit, "frame.credit.", _CREDIT)
    if frame.HasField("ack"):
        _refuse(frame.ack, "frame.", _ACK)
        for at, item in enumerate(frame.ack.items):
            _refuse(item, f"frame.ack.items[{at}].", _ITEM)


def refuse_request(request: Message) -> None:
    """Refuses a request of a call.

    Raises:
        Refusal: Something is wrong with it.
    """
    _refuse(request, "", _REQUESTS.get(type(request), ()))


def refused(field: str, description: str) -> Refusal:
    """The refusal of one field."""
    return Refusal.of_fields([Violation(field, description)])


def check_log(position: Position, head: Position) -> None:
    """Refuses a position of another log.

    Raises:
        Refusal: It names none or another one, or has not one entry per shard.
    """
    if not position.log_epoch:
        raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, "POSITION_MALFORMED", "an empty position")
    if position.log_epoch != head.log_epoch:
        raise Refusal(grpc.StatusCode.FAILED_PRECONDITION, "LOG_EPOCH_CHANGED", "a position of another log")
    if len(position.next_seq) != len(head.next_seq) or min(position.next_seq) < 0:
        raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, "POSITION_MALFORMED", "not a position of this log")


def check_filter(position: Position, filter_hash: bytes) -> None:
    """Refuses a position that was reached under another filter: what that one left out would be lost.

    Raises:
        Refusal: It was.
    """
    if position.filter_hash not in (b"", filter_hash):
        raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, "POSITION_FILTER_MISMATCH", "a position of another filter")


def check_start(position: Position, earliest: Position, head: Position, shards: Sequence[int]) -> None:
    """Refuses a position from which one of the shards cannot be read.

    Raises:
        Refusal: It says nothing about it, or what it says is not kept, or is not there yet.
    """
    for shard in shards:
        asked = position.next_seq[shard]
        if asked == 0:
            message = f"the position says nothing about shard {shard}, which is to be read"
            raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, "POSITION_MALFORMED", message)
        if asked < earliest.next_seq[shard]:
            raise Refusal(grpc.StatusCode.OUT_OF_RANGE, "POSITION_EXPIRED", "no longer kept")
        if asked > head.next_seq[shard]:
            raise Refusal(grpc.StatusCode.FAILED_PRECONDITION, "POSITION_AHEAD", "ahead of the log")


def check_done(through: Position, ends: Sequence[int], field: str) -> None:
    """Refuses an ack of more than there can be done.

    Args:
        through: The ack's.
        ends: By shard, below which it may be.
        field: Where it stands in the request.

    Raises:
        Refusal: It says more.
    """
    for shard, (seq, end) in enumerate(zip(through.next_seq, ends, strict=True)):
        if seq > end:
            raise refused(f"{field}.next_seq", f"shard {shard} ends below {end}")


def spoken_of(position: Position) -> list[int]:
    """The shards that the position says something about."""
    return [shard for shard, seq in enumerate(position.next_seq) if seq]


def _refuse(message: Any, path: str, rules: Sequence[Rule]) -> None:  # noqa: ANN401 - any message
    wrong = [Violation(path + field, description) for field, description in _broken(message, rules)]
    if wrong:
        raise Refusal.of_fields(wrong)


def _broken(message: Any, rules: Sequence[Rule]) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - any message
    for field, right, holds in rules:
        try:
            if not holds(message):
                yield field, right
        except FilterError as error:
            yield field, str(error)


def _lasts(field: str, least_seconds: float, most_seconds: float) -> Rule:
    """A duration, if it is set."""

    def holds(message: Any) -> bool:  # noqa: ANN401 - any message
        return not message.HasField(field) or least_seconds <= _seconds(getattr(message, field)) <= most_seconds

    return field, f"must be between {least_seconds:g} s and {most_seconds:g} s", holds


def _seconds(duration: Duration) -> float:
    return duration.ToMicroseconds() / 1e6


def _speaks_of_type(spec: stream.Open) -> bool:
    try:
        return "type" in parse(spec.filter).fields
    except FilterError:
        return False  # which is told already


def _is_place(start: stream.Start) -> bool:
    """Whether a floor can be there: it has no orders and does not rest on another floor."""
    return start.point != stream.START_POINT_STORED and not start.HasField("snapshot")


_OPEN: Final[Sequence[Rule]] = (
    (
        "subscription",
        f"must have at most {_NAME_CHARACTERS_MAX} characters",
        lambda spec: len(spec.subscription) <= _NAME_CHARACTERS_MAX,
    ),
    (
        "start.point",
        "STORED needs a subscription",
        lambda spec: spec.subscription or spec.start.point != stream.START_POINT_STORED,
    ),
    (
        "start.snapshot.at",
        "must be set: it says which snapshot goes on",
        lambda spec: spec.start.snapshot.HasField("at") or not spec.start.snapshot.after_order_id,
    ),
    ("shards", "must name each shard once", lambda spec: len(set(spec.shards)) == len(spec.shards)),
    ("filter", "", lambda spec: parse(spec.filter)),
    (
        "filter",
        "must not speak of type: the orders of a snapshot have none",
        lambda spec: not (spec.start.HasField("snapshot") and _speaks_of_type(spec)),
    ),
    ("credit.events", "must not be negative", lambda spec: spec.credit.events >= 0),
    ("credit.bytes", "must not be negative", lambda spec: spec.credit.bytes >= 0),
    _lasts("heartbeat_interval", 0.5, 60),
    _lasts("silence_max", 0.5, 300),
    _lasts("digest_interval", 1, 3_600),
    (
        "digest_interval",
        "needs acks that name positions: events that are set aside are not held",
        lambda spec: not (spec.HasField("digest_interval") and spec.unacked_events_max),
    ),
    (
        "digest_interval",
        "needs a filter that does not speak of type: versions that it leaves out are held by nobody",
        lambda spec: not (spec.HasField("digest_interval") and _speaks_of_type(spec)),
    ),
    (
        "unacked_events_max",
        f"must be between 0 and {_UNACKED_EVENTS_MAX}",
        lambda spec: 0 <= spec.unacked_events_max <= _UNACKED_EVENTS_MAX,
    ),
    ("unacked_events_max", "needs a subscription", lambda spec: spec.subscription or not spec.unacked_events_max),
    ("checkpoint_epoch", "must not be negative", lambda spec: spec.checkpoint_epoch >= 0),
    ("batch_events_max", "must not be negative", lambda spec: spec.batch_events_max >= 0),
)
_ONE_WAY: Final[Sequence[Rule]] = (
    ("subscription", "only Subscribe has durable subscriptions", lambda spec: not spec.subscription),
    ("credit", "only Subscribe has credit", lambda spec: not spec.HasField("credit")),
    ("silence_max", "only a caller of Subscribe can break its silence", lambda spec: not spec.HasField("silence_max")),
)
_CREDIT: Final[Sequence[Rule]] = (
    ("events", "must not be negative", lambda credit: credit.events >= 0),
    ("bytes", "must not be negative", lambda credit: credit.bytes >= 0),
)
_ACK: Final[Sequence[Rule]] = (
    ("ack", "must have one of through and items", lambda ack: ack.HasField("through") != bool(ack.items)),
    (
        "ack.ack_id",
        f"must have at most {_NAME_CHARACTERS_MAX} characters",
        lambda ack: len(ack.ack_id) <= _NAME_CHARACTERS_MAX,
    ),
    ("ack.items", f"must be at most {_ITEMS_MAX}", lambda ack: len(ack.items) <= _ITEMS_MAX),
)
_ITEM: Final[Sequence[Rule]] = (
    (
        "outcome",
        "must be one of the outcomes of the contract",
        lambda item: item.outcome and item.outcome in stream.AckOutcome.values(),
    ),
    (
        "delay",
        f"must be between 0 and {_DELAY_SECONDS_MAX} s",
        lambda item: 0 <= _seconds(item.delay) <= _DELAY_SECONDS_MAX,
    ),
    (
        "reason",
        f"must have at most {_REASON_CHARACTERS_MAX} characters",
        lambda item: len(item.reason) <= _REASON_CHARACTERS_MAX,
    ),
)

_NAME_RIGHT: Final = f"must have 1 to {_NAME_CHARACTERS_MAX} characters"
_NAME: Final[Rule] = ("name", _NAME_RIGHT, lambda request: 0 < len(request.name) <= _NAME_CHARACTERS_MAX)
_FILTER: Final[Rule] = ("filter", "", lambda request: parse(request.filter, ORDER_FIELDS))
_PAGE_SIZE: Final[Rule] = ("page_size", "must not be negative", lambda request: request.page_size >= 0)
_PARKING: Final[Rule] = ("subscription", "must be set", lambda request: request.subscription)
_PARKED: Final[Sequence[Rule]] = (
    _PARKING,
    ("which", "must be one event, an order, or all", lambda request: request.WhichOneof("which")),
    ("order_id", "must not be empty", lambda request: request.order_id or request.WhichOneof("which") != "order_id"),
    ("all", "must be true, if it is set", lambda request: request.all or request.WhichOneof("which") != "all"),
)
_PLACE_RIGHT: Final = "must be a position, a time, EARLIEST or LATEST"
_REQUESTS: Final[Mapping[type[Message], Sequence[Rule]]] = {
    sync.GetOrderRequest: (("order_id", "must be set", lambda request: request.order_id),),
    sync.ListOrdersRequest: (_FILTER, _PAGE_SIZE),
    sync.GetDigestRequest: (_FILTER,),
    sync.ResolvePositionRequest: (
        ("at", "position, token, time or kafka must be set", lambda request: request.WhichOneof("at")),
    ),
    sync.CreateSubscriptionRequest: (
        _NAME,
        ("filter", "", lambda request: parse(request.filter)),
        ("start", _PLACE_RIGHT, lambda request: _is_place(request.start)),
    ),
    sync.GetSubscriptionRequest: (_NAME,),
    sync.ListSubscriptionsRequest: (_PAGE_SIZE,),
    sync.DeleteSubscriptionRequest: (_NAME,),
    sync.SeekSubscriptionRequest: (
        _NAME,
        ("to", "must be set", lambda request: request.to.point or request.to.WhichOneof("at") not in (None, "point")),
        ("to", _PLACE_RIGHT, lambda request: _is_place(request.to)),
    ),
    sync.AckSubscriptionRequest: (
        ("subscription", _NAME_RIGHT, lambda request: 0 < len(request.subscription) <= _NAME_CHARACTERS_MAX),
        ("delivery_epoch", "must be that of an opening, from 1 on", lambda request: request.delivery_epoch > 0),
        ("done", "through or token must be set", lambda request: request.WhichOneof("done")),
    ),
    sync.GetLagRequest: (_NAME,),
    sync.PutCheckpointsRequest: (_NAME, ("through", "must be set", lambda request: request.HasField("through"))),
    sync.ListParkedRequest: (_PARKING, _PAGE_SIZE),
    sync.ReplayParkedRequest: _PARKED,
    sync.DiscardParkedRequest: _PARKED,
}
