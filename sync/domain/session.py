"""One stream's side of the fan-out: its place, its credit, its phase, and which frame is next. Pure and synchronous.

Everything a stream says leaves through `next_frame`, one frame at a time, so nothing can overtake an event: a
progress frame speaks of the place that the frames before it have reached.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import floor, inf
from typing import Final

from infra.kernel.position import Position
from sync.domain.errors import AckRefusedError, CallerSilentError, LogHoleError
from sync.domain.fanout import FRAME_BYTES_MAX, Fanout, Frame, Selection
from sync.domain.frames import (
    AckResult,
    AckThrough,
    Closed,
    ControlFrame,
    GoAway,
    Grant,
    Heartbeat,
    Lag,
    Opened,
    Phase,
    PhaseChange,
    Progress,
    SnapshotBegin,
    SnapshotEnd,
    SnapshotOrders,
)
from sync.domain.lag import Standing
from sync.domain.log import Batch
from sync.domain.ring import Limits, Segment
from sync.domain.snapshot import Chunk, Snapshot, Wanted
from sync.domain.subscription import AckOutcome

_OFFERS_MAX: Final = 64  # appends that a LIVE stream may leave unread before it counts as BEHIND
_PENDING_ACKS_MAX: Final = 1_000
_BEATS_PER_SECOND: Final = (
    8  # streams that are due within an eighth of a second are due together, the earlier one's time
)
_RETRY_AFTER_SECONDS: Final = 0.2  # of a drain: long enough for a supervisor to have started the next process
CHUNK_ORDERS_MAX: Final = 2_000  # read in one go, some milliseconds; a frame's bytes are mostly the tighter bound

ServerFrame = ControlFrame | Frame | SnapshotOrders | Closed


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


class Session:
    """One stream. Its owner calls `next_frame` until there is none, then waits for news or `due`."""

    def __init__(
        self, terms: Terms, fanout: Fanout, *, now: float, lag_of: Callable[[Standing], Lag] | None = None
    ) -> None:
        self._terms = terms
        self._lag_of = lag_of
        self._lag: Lag | None = None
        self._floors = terms.floors
        self._selection = terms.selection
        self._fanout = fanout
        self._next_seqs = terms.next_seqs
        self._credit = None if terms.credit is None else [terms.credit.events, terms.credit.bytes]
        self._fed: Segment | None = None
        self._snapshot = None if terms.snapshot_after is None else Snapshot(terms.snapshot_after)
        self._phase = Phase.CATCHING_UP if self._snapshot is None else Phase.SNAPSHOT
        self._unread_offers = 0
        self._pending_acks = 0
        self._heartbeats = 0
        self._as_of_us = 0
        self._told: Progress | None = None
        self._closing = self._draining = self._ended = self._silent = False
        self._beat_at = self._next_beat(now)
        self._leave_at = now + terms.stream_seconds
        self._silent_at = inf
        self.hear(now)
        opened = Opened(
            position=self.position,
            delivery_epoch=terms.delivery_epoch,
            heartbeat_seconds=terms.heartbeat_seconds,
            shards=self._selection.shards,
            filter=terms.filter,
            batch_events_max=terms.batch_events_max,
            earliest=None if terms.earliest is None else self._position(terms.earliest),
        )
        self._outbox: deque[ControlFrame] = deque((opened, PhaseChange(phase=self._phase)))
        if self._snapshot is not None:
            self._outbox.append(SnapshotBegin(at=self.position, after_order_id=self._snapshot.after))

    @property
    def due(self) -> float:
        """When it has something to say by itself."""
        return min(self._beat_at, self._silent_at, inf if self._draining else self._leave_at)

    def hear(self, now: float) -> None:
        """The caller has said something."""
        if self._terms.silence_seconds is not None:
            self._silent_at = now + self._terms.silence_seconds

    @property
    def reached(self) -> Position | None:
        """Where a reader that comes back goes on; none within a snapshot, which is resumed by its own place."""
        return None if self._snapshot else self.position

    @property
    def position(self) -> Position:
        """Everything matching below it has been handed out by `next_frame`."""
        return self._position(self._next_seqs)

    @property
    def phase(self) -> Phase:
        """How the stream stands towards the head."""
        return self._phase

    @property
    def ended(self) -> bool:
        """Whether the last frame has been handed out."""
        return self._ended and not self._outbox

    @property
    def selection(self) -> Selection:
        """What the stream reads."""
        return self._selection

    @property
    def standing(self) -> Standing:
        """Where the stream is, for its lag."""
        left = None if self._credit is None else Grant(events=self._credit[0], bytes=self._credit[1])
        return Standing(shards=self._selection.shards, next_seqs=self._next_seqs, floors=self._floors, credit=left)

    def offer(self) -> bool:
        """Tells of new events in the ring, never waits; whether the stream is LIVE and keeps up with them."""
        if self._phase is not Phase.LIVE:
            return False
        self._unread_offers += 1
        if self._unread_offers > _OFFERS_MAX and self._fanout.has_more(self._selection, self._next_seqs):
            self._enter(Phase.BEHIND)
        return self._phase is Phase.LIVE

    def grant(self, grant: Grant) -> None:
        """Lets more be sent."""
        if self._credit is None:
            return
        left = [0, 0] if grant.replace else self._credit
        self._credit = [left[0] + grant.events, left[1] + grant.bytes]

    def needs(self) -> tuple[int, ...]:
        """The shards that must be fed, as the ring no longer holds what comes next; none while nothing may be sent."""
        if self._snapshot is not None or self._fed is not None or self._held_back:
            return ()
        return self.missing()

    @property
    def in_snapshot(self) -> bool:
        """Whether orders are still to be sent."""
        return self._snapshot is not None

    def wants_orders(self) -> Wanted | None:
        """The orders that come next; none while none are to be sent, or may be."""
        if self._snapshot is None or not self._snapshot.hungry or self._held_back:
            return None
        return Wanted(
            term=self._selection.term,
            shards=frozenset(self._selection.shards),
            shards_all=len(self._next_seqs),
            after=self._snapshot.after,
            limits=Limits(
                events_max=CHUNK_ORDERS_MAX if self._credit is None else min(self._credit[0], CHUNK_ORDERS_MAX),
                bytes_max=self._limits().bytes_max,
            ),
        )

    def take_orders(self, chunk: Chunk) -> None:
        """Gives the stream the orders that it wanted."""
        if self._snapshot is not None:
            read = zip(chunk.at.next_seq, self._next_seqs, strict=True)
            at = self._position(tuple(seq if begin else 0 for seq, begin in read))
            self._snapshot.feed(replace(chunk, at=at))

    def missing(self) -> tuple[int, ...]:
        """The shards of which the ring no longer holds what comes next."""
        return self._fanout.missing(self._selection, self._next_seqs)

    @property
    def fed(self) -> bool:
        """Whether something that was fed is still to be sent."""
        return self._fed is not None

    def feed(self, batch: Batch) -> None:
        """Gives the stream the batch that comes next in its shard.

        Raises:
            LogHoleError: It is not the one that comes next.
        """
        expected = self._next_seqs[batch.shard]
        if batch.first_seq != expected:
            raise LogHoleError(batch.shard, expected, batch.first_seq)
        self._fed = Segment.of(batch)

    def starve(self) -> None:
        """Takes back what was fed and not sent."""
        self._fed = None

    def check_ack(self, ack: AckThrough) -> Mapping[int, int]:
        """Counts an ack as pending and says which shards it moves to where.

        Raises:
            AckRefusedError: It says more than the stream has sent, or there are too many at once.
        """
        if self._snapshot is not None:
            raise AckRefusedError("frame.ack", "the snapshot has not been sent to its end: nothing below can be done")
        through = {shard: seq for shard, seq in enumerate(ack.through.next_seq) if seq}
        for shard, seq in through.items():
            if seq > self._next_seqs[shard]:
                sent = f"shard {shard} has been sent below {self._next_seqs[shard]} on this stream, not below {seq}"
                raise AckRefusedError("frame.ack.through.next_seq", sent)
        if self._pending_acks >= _PENDING_ACKS_MAX:
            raise AckRefusedError("frame.ack", f"more than {_PENDING_ACKS_MAX} acks wait for their results")
        self._pending_acks += 1
        return through

    def acked(self, ack_id: str, outcome: AckOutcome) -> None:
        """Tells what became of an ack, once it is durable."""
        self._pending_acks -= 1
        floors = tuple(outcome.floors.get(shard, 0) for shard in range(len(self._next_seqs)))
        self._floors = floors if outcome.floors else self._floors
        self._outbox.append(AckResult(ack_id=ack_id, status=outcome.status, floor=self._position(floors)))

    def close(self) -> None:
        """The caller has enough: what it has acked is still answered."""
        self._closing = True

    def drain(self) -> None:
        """The server is about to leave: the stream ends with GoAway once its acks are answered."""
        self._draining = True

    def next_frame(self, now: float, as_of_us: int) -> ServerFrame | None:
        """The next frame, counted as sent; none when there is nothing to say yet.

        A `Frame` without a message says nothing: the stream has passed events that did not match, and wants to be
        asked again once others have had their turn.

        Raises:
            CallerSilentError: The caller has said nothing for too long.
        """
        if now >= self._silent_at and self._terms.silence_seconds is not None:
            raise CallerSilentError(self._terms.silence_seconds)
        self._draining |= now >= self._leave_at
        if not self._outbox:
            if (self._closing or self._draining) and not self._ended:
                self._try_to_end()
            elif now >= self._beat_at and not self._ended:
                self._beat(now, as_of_us)
        if self._outbox:
            return self._outbox.popleft()
        if self._closing or self._draining:
            return None
        if self._snapshot is not None:
            return self._next_orders(self._snapshot)
        return self._next_events() or self._stand(as_of_us)

    @property
    def _exhausted(self) -> bool:
        return self._credit is not None and min(self._credit) <= 0

    @property
    def _held_back(self) -> bool:
        return self._exhausted or self._closing or self._draining

    def _next_orders(self, snapshot: Snapshot) -> ControlFrame | SnapshotOrders | None:
        orders = None if self._exhausted else snapshot.take(self._limits())
        if orders is not None:
            self._spend(len(orders.orders), orders.size)
        elif snapshot.over:
            self._snapshot = None
            self._outbox.append(SnapshotEnd(at=self.position))
            self._enter(Phase.CATCHING_UP)
            return self._outbox.popleft()
        return orders

    def _spend(self, events: int, size: int) -> None:
        if self._credit is not None:
            self._credit[0] -= events
            self._credit[1] -= size

    def _next_events(self) -> ControlFrame | Frame | None:
        """The next frame; before events that follow a range in which nothing matched, the progress that covers it."""
        if self._exhausted:
            return None
        frame = self._due()
        if frame is not None and frame.message and self._silent:
            self._silent = False
            self._told = Progress(at=self.position, as_of_us=self._as_of_us)
            return self._told
        if self._fed is not None and (frame is None or self._fed.next_seq == frame.next_seqs[self._fed.shard]):
            self._fed = None
        if frame is not None:
            self._next_seqs = frame.next_seqs
            self._silent |= frame.silent
            self._spend(frame.events, frame.size)
        return frame

    def _due(self) -> Frame | None:
        if self._fed is not None:
            return self._fanout.cut_from([self._fed], self._selection, self._next_seqs, self._limits())
        if self._fanout.missing(self._selection, self._next_seqs):
            return None
        return self._from_ring()

    def _from_ring(self) -> Frame | None:
        frame = self._fanout.shared(self._selection, self._next_seqs, self._terms.batch_events_max)
        if frame is None or self._credit is None:
            return frame
        if frame.events <= self._credit[0] and frame.size <= self._credit[1]:
            return frame
        return self._fanout.cut(self._selection, self._next_seqs, self._limits())

    def _limits(self) -> Limits:
        events, size = self._credit or (self._terms.batch_events_max, FRAME_BYTES_MAX)
        return Limits(
            events_max=min(events, self._terms.batch_events_max),
            bytes_max=min(size, FRAME_BYTES_MAX),
        )

    def _stand(self, as_of_us: int) -> ControlFrame | None:
        """There is nothing to send: because there is nothing more, or because nothing more may be sent."""
        if self._fed is not None or self._fanout.has_more(self._selection, self._next_seqs):
            if self._phase is Phase.LIVE and self._exhausted:
                self._enter(Phase.BEHIND)
        else:
            self._unread_offers = 0
            if self._phase is not Phase.LIVE:
                self._enter(Phase.LIVE)
                self._tell(self._progress(as_of_us))
        return self._outbox.popleft() if self._outbox else None

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        self._outbox.append(PhaseChange(phase=phase))
        self._tell_lag()

    def _beat(self, now: float, as_of_us: int) -> None:
        """Breaks the silence with what is new to tell, or else with a sign that the server is alive.

        A message costs the server as much as all that is done to make it, and ten thousand streams as many.
        """
        self._beat_at = self._next_beat(now)
        progress = None if self._snapshot is not None else self._progress(as_of_us)
        if progress is not None and progress != self._told:
            self._tell(progress)
        else:
            self._heartbeats += 1
            self._outbox.append(Heartbeat(heartbeat_seq=self._heartbeats))
        if self._snapshot is None:
            self._tell_lag()

    def _next_beat(self, now: float) -> float:
        return floor((now + self._terms.heartbeat_seconds) * _BEATS_PER_SECOND) / _BEATS_PER_SECOND

    def _progress(self, as_of_us: int) -> Progress:
        # What the server covers, the stream covers only where it stands at the server's head.
        if not self._fanout.has_more(self._selection, self._next_seqs):
            self._as_of_us = as_of_us
        return Progress(at=self.position, as_of_us=self._as_of_us)

    def _tell(self, progress: Progress) -> None:
        self._told = progress
        self._silent = False
        self._outbox.append(progress)

    def _tell_lag(self) -> None:
        if self._lag_of is None:
            return
        lag = self._lag_of(self.standing)
        timeless = replace(lag, time_us=None)
        if timeless != self._lag:
            self._lag = timeless
            self._outbox.append(lag)

    def _try_to_end(self) -> None:
        if self._pending_acks:
            return
        self._ended = True
        if self._draining and not self._closing:
            self._outbox.append(GoAway(position=self.reached, retry_after_seconds=_RETRY_AFTER_SECONDS))

    def _position(self, next_seqs: tuple[int, ...]) -> Position:
        return Position(log_epoch=self._terms.log_epoch, next_seq=next_seqs, filter_hash=self._selection.filter_hash)
