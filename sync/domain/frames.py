"""What goes back and forth on a stream, but for the events themselves (see `fanout.Frame`)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from infra.kernel.filter import Term
from infra.kernel.position import Position
from sync.domain.outcome import AckItem
from sync.domain.subscription import AckStatus


class Phase(StrEnum):
    """How a stream stands towards the head of the log."""

    SNAPSHOT = "SNAPSHOT"
    CATCHING_UP = "CATCHING_UP"
    LIVE = "LIVE"
    BEHIND = "BEHIND"
    PAUSED = "PAUSED"


class LagBound(StrEnum):
    """What keeps a reader from being at the head; see the contract."""

    NONE = "NONE"
    CREDIT = "CREDIT"
    SERVER = "SERVER"
    DELIVERY = "DELIVERY"
    ABSENT = "ABSENT"


class StartPoint(StrEnum):
    """A place to start without knowing a position."""

    EARLIEST = "EARLIEST"
    LATEST = "LATEST"
    STORED = "STORED"


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotStart:
    """With the orders as they stand: all of them, or those behind one order of a snapshot that began at a position."""

    at: Position | None
    after_order_id: str


@dataclass(frozen=True, slots=True)
class StartTime:
    """At the first event of each shard that was recorded then or later."""

    time_us: int


Start = Position | StartPoint | StartTime | SnapshotStart


class Grant(NamedTuple):
    """How much more a stream may be sent; `replace` forgets what was left."""

    events: int
    bytes: int
    replace: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """What a caller asks to read.

    Attributes:
        subscription: Name of a durable subscription, or empty.
        start: A position, or a place that the server finds.
        shards: Empty for all of them.
        filter: As it was written, beside `term`, its meaning.
        credit: The first grant; none where the transport alone bounds what is in flight.
        silence_seconds: The caller's longest silence; none if it may be silent for ever.
        checkpoint_epoch: Delivery epoch of the caller's own checkpoint; 0 if it has none.
        unacked_events_max: Most events that are sent and not finished; 0 where acks name positions only.
        digest_seconds: How often a proof is wanted; none for never.
    """

    subscription: str
    start: Start
    shards: tuple[int, ...]
    filter: str
    term: Term
    credit: Grant | None
    heartbeat_seconds: float
    batch_events_max: int
    silence_seconds: float | None = None
    checkpoint_epoch: int = 0
    unacked_events_max: int = 0
    digest_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AckThrough:
    """The caller has done everything below a position."""

    ack_id: str
    through: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class AckItems:
    """What became of single events."""

    ack_id: str
    items: tuple[AckItem, ...]


@dataclass(frozen=True, slots=True)
class Alive:
    """The caller is alive."""


@dataclass(frozen=True, slots=True)
class Close:
    """The caller has enough."""


ClientFrame = Grant | AckThrough | AckItems | Alive | Close


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The stream is open. Below `redelivered_below` an earlier stream of the subscription may have been."""

    position: Position
    delivery_epoch: int
    heartbeat_seconds: float
    shards: tuple[int, ...]
    filter: str = ""
    batch_events_max: int = 0
    earliest: Position | None = None
    redelivered_below: Position | None = None


class Progress(NamedTuple):
    """Everything matching below `at` was sent; the log is covered up to `as_of_us`."""

    at: Position
    as_of_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseChange:
    """The stream's phase from here on."""

    phase: Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotBegin:
    """Orders behind `after_order_id` follow, then the events from `at` on."""

    at: Position
    after_order_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotOrders:
    """Encoded orders, as all of them stood at `at`; `size` counts their bytes."""

    at: Position
    orders: tuple[bytes, ...]
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotEnd:
    """Every matching order has been sent; events start at `at`."""

    at: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class AckResult:
    """What became of an ack, and of each of its items."""

    ack_id: str
    status: AckStatus
    floor: Position
    items: tuple[tuple[AckItem, AckStatus], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """How far behind a reader is, and why; see the contract."""

    events: int
    unacked: int
    retention_headroom: int
    credit_left: Grant | None
    bound_by: LagBound
    parked: int = 0
    time_us: int | None = None
    blocking_order_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Count and hash over the versions that a reader holds of matching orders, by the events below `at`."""

    at: Position
    count: int
    hash: bytes


class Heartbeat(NamedTuple):
    """The server is alive."""

    heartbeat_seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GoAway:
    """The server ends the stream; everything below the position was sent. None within a snapshot."""

    position: Position | None
    retry_after_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """The stream ends, with an error or without one; everything below the position was sent."""

    error: Exception | None
    position: Position | None


ControlFrame = (
    Opened | Progress | PhaseChange | AckResult | Heartbeat | GoAway | SnapshotBegin | SnapshotEnd | Lag | Proof
)
