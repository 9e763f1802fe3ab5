"""Where a stream starts: what its Open asks for, compared with the log and with what is stored."""

from contextlib import suppress
from dataclasses import dataclass, field

from infra.kernel.position import (
    LogEpochChangedError,
    Position,
    PositionAheadError,
    PositionFilterMismatchError,
    check_log,
    check_start,
)
from sync.application.freshness import Freshness
from sync.application.ports import EventSource, Parking, SourceUnavailableError, Subscriptions
from sync.domain.breaker import BreakerPolicy
from sync.domain.delivery import Tracking
from sync.domain.done_set import Floor
from sync.domain.fanout import Selection
from sync.domain.frames import Open, StartPoint
from sync.domain.ring import Ring
from sync.domain.session import Terms
from sync.domain.subscription import Opening, Subscription, SubscriptionKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounting:
    """How account is kept of single events.

    Attributes:
        parking: What is parked.
        unacked_bytes_max: Most bytes of events that a stream has sent and that are not finished.
        breaker: When a stream pauses.
    """

    parking: Parking
    unacked_bytes_max: int
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)


class Openings:
    """Turns what a caller asks into the terms of its stream, or refuses before anything has changed."""

    def __init__(
        self,
        source: EventSource,
        ring: Ring,
        freshness: Freshness,
        subscriptions: Subscriptions,
        accounting: Accounting,
    ) -> None:
        self._accounting = accounting
        self._source = source
        self._ring = ring
        self._freshness = freshness
        self._subscriptions = subscriptions

    async def terms(self, asked: Open, key: SubscriptionKey | None) -> Terms:
        """The terms of the stream.

        Raises:
            PositionError: It cannot start where it asks to.
            SubscriptionFilterChangedError: The subscription was made with another filter.
        """
        selection = Selection.of(asked.shards or tuple(range(len(self._ring.segments))), asked.term)
        stored = await self._subscriptions.find(key) if key else None
        start = await self._checked(self._start(asked, selection, stored), selection.shards)
        epoch, tracking, below = 0, None, None
        if key is not None:
            taken = await self._subscriptions.open(self._opening(asked, key, selection, start))
            epoch = taken.delivery_epoch
            if asked.start is StartPoint.STORED:
                start = tuple(taken.next_seq(shard) or seq for shard, seq in enumerate(start))
            tracking = await self._tracking(asked, key, selection, taken)
            if asked.unacked_events_max and epoch > 1:
                below = await self._newest_heads()
        return Terms(
            log_epoch=self._freshness.position.log_epoch,
            selection=selection,
            next_seqs=tuple(seq if shard in selection.shards else 0 for shard, seq in enumerate(start)),
            delivery_epoch=epoch,
            credit=asked.credit,
            heartbeat_seconds=asked.heartbeat_seconds,
            batch_events_max=asked.batch_events_max,
            tracking=tracking,
            redelivered_below=below,
        )

    async def _tracking(
        self, asked: Open, key: SubscriptionKey, selection: Selection, taken: Subscription
    ) -> Tracking | None:
        """Account is kept where the stream asks for it, and where it must not be sent everything."""
        view = await self._accounting.parking.view(key, selection.shards, replaying_max=0)
        goes_on = asked.start is StartPoint.STORED
        floors = {shard: taken.floors[shard] for shard in selection.shards}
        left_out = goes_on and any(floor.done or floor.attempts for floor in floors.values())
        if not (asked.unacked_events_max or view.marks or left_out):
            return None
        if not goes_on:
            floors = {shard: Floor(next_seq=1, delivery_epoch=taken.delivery_epoch) for shard in floors}
        return Tracking(
            events_max=asked.unacked_events_max or asked.batch_events_max,
            bytes_max=self._accounting.unacked_bytes_max,
            floors=floors,
            marks=view.marks,
            breaker=self._accounting.breaker,
        )

    async def _newest_heads(self) -> tuple[int, ...]:
        with suppress(SourceUnavailableError):
            self._freshness.read(await self._source.head())
        return self._heads()

    def _opening(self, asked: Open, key: SubscriptionKey, selection: Selection, start: tuple[int, ...]) -> Opening:
        return Opening(
            key=key,
            log_epoch=self._freshness.position.log_epoch,
            filter=asked.filter,
            filter_hash=selection.filter_hash,
            start={shard: start[shard] for shard in selection.shards},
            resets=bool(asked.unacked_events_max) and asked.start is not StartPoint.STORED,
        )

    def _start(self, asked: Open, selection: Selection, stored: Subscription | None) -> tuple[int, ...]:
        earliest = self._earliest()
        match asked.start:
            case Position() as position:
                check_log(position, self._freshness.position.log_epoch, len(earliest))
                _check_filter(position, selection.filter_hash)
                return position.next_seq
            case StartPoint.LATEST:
                return self._ring.next_seqs
            case StartPoint.STORED if stored is not None:
                if stored.log_epoch != self._freshness.position.log_epoch:
                    raise LogEpochChangedError(stored.log_epoch, self._freshness.position.log_epoch)
                return tuple(stored.next_seq(shard) or seq for shard, seq in enumerate(earliest))
        return earliest

    def _earliest(self) -> tuple[int, ...]:
        head = self._freshness.head
        return head.earliest_seq if head else (1,) * len(self._ring.segments)

    async def _checked(self, start: tuple[int, ...], shards: tuple[int, ...]) -> tuple[int, ...]:
        try:
            check_start(self._position(start), self._earliest(), self._heads(), shards)
        except PositionAheadError:
            # The log may have grown since its head was last read: whoever was answered by it a moment ago may come
            # here before its events do.
            check_start(self._position(start), self._earliest(), await self._newest_heads(), shards)
        return start

    def _heads(self) -> tuple[int, ...]:
        head = self._freshness.head
        return tuple(map(max, head.next_seq, self._ring.next_seqs)) if head else self._ring.next_seqs

    def _position(self, next_seqs: tuple[int, ...]) -> Position:
        return Position(log_epoch=self._freshness.position.log_epoch, next_seq=next_seqs)


def _check_filter(position: Position, filter_hash: bytes) -> None:
    if position.filter_hash not in (b"", filter_hash):
        raise PositionFilterMismatchError(
            "the position was reached under another filter: open with that filter, or start from EARLIEST"
        )
