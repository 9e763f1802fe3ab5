"""What a stream was granted at its opening."""

from dataclasses import dataclass
from math import inf

from infra.kernel.position import Position
from sync.domain.delivery import Tracking
from sync.domain.fanout import Selection
from sync.domain.frames import Grant, Opened


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a stream was granted at its opening.

    Attributes:
        next_seqs: Where it starts, by shard of the log; 0 for a shard that is not read.
        credit: The first grant; none where the transport alone bounds what is in flight.
        silence_seconds: The caller's longest silence; none if it may be silent for ever.
        stream_seconds: After so long the stream ends itself with GoAway.
        earliest: By shard, the first seq that the log keeps.
        filter: As the caller wrote it.
        floors: By shard, below which everything is done; none where nothing is acknowledged.
        snapshot_after: Orders behind this one come before the events; none if no orders do.
        tracking: Whether and how account is kept of single events.
        redelivered_below: By shard, below where an earlier stream may have been; none if there was no such stream.
        digest_seconds: How often the stream is proved; none for never.
    """

    log_epoch: str
    selection: Selection
    next_seqs: tuple[int, ...]
    delivery_epoch: int
    credit: Grant | None
    heartbeat_seconds: float
    batch_events_max: int
    silence_seconds: float | None = None
    stream_seconds: float = inf
    earliest: tuple[int, ...] | None = None
    filter: str = ""
    floors: tuple[int, ...] | None = None
    snapshot_after: str | None = None
    tracking: Tracking | None = None
    redelivered_below: tuple[int, ...] | None = None
    digest_seconds: float | None = None

    def position(self, next_seqs: tuple[int, ...]) -> Position:
        """A place of the stream."""
        return Position(log_epoch=self.log_epoch, next_seq=next_seqs, filter_hash=self.selection.filter_hash)

    @property
    def opened(self) -> Opened:
        """What the caller is told of them."""
        return Opened(
            position=self.position(self.next_seqs),
            delivery_epoch=self.delivery_epoch,
            heartbeat_seconds=self.heartbeat_seconds,
            shards=self.selection.shards,
            filter=self.filter,
            batch_events_max=self.batch_events_max,
            earliest=None if self.earliest is None else self.position(self.earliest),
            redelivered_below=None if self.redelivered_below is None else self.position(self.redelivered_below),
        )
