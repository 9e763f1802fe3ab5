"""One stream's side of the fan-out: its place, its credit, its phase, and which frame is next. Pure and synchronous.

Everything a stream says leaves through `next_frame`, one frame at a time, so nothing can overtake an event: a
progress frame speaks of the place that the frames before it have reached.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from infra.kernel.position import Position
from sync.domain.account import Account
from sync.domain.delivery import Deliveries, Redelivery, Tracking, Verdict
from sync.domain.errors import AckRefusedError, LogHoleError
from sync.domain.fanout import FRAME_BYTES_MAX, Fanout, Frame, Selection
from sync.domain.frames import (
    AckItems,
    AckResult,
    AckThrough,
    ControlFrame,
    GoAway,
    Grant,
    Heartbeat,
    Opened,
    Phase,
    PhaseChange,
    Progress,
)
from sync.domain.log import Batch
from sync.domain.ring import Limits, Segment
from sync.domain.settlement import Changes
from sync.domain.subscription import AckOutcome, AckStatus

_OFFERS_MAX: Final = 64  # appends that a LIVE stream may leave unread before it counts as BEHIND
_PENDING_ACKS_MAX: Final = 1_000
_RETRY_AFTER_SECONDS: Final = 0.2  # of a drain: long enough for a supervisor to have started the next process


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a stream was granted at its opening.

    Attributes:
        next_seqs: Where it starts, by shard of the log; 0 for a shard that is not read.
        credit: The first grant; none where the transport alone bounds what is in flight.
        tracking: Whether and how account is kept of single events.
        redelivered_below: By shard, below where an earlier stream may have been; none if there was no such stream.
    """

    log_epoch: str
    selection: Selection
    next_seqs: tuple[int, ...]
    delivery_epoch: int
    credit: Grant | None
    heartbeat_seconds: float
    batch_events_max: int
    tracking: Tracking | None = None
    redelivered_below: tuple[int, ...] | None = None


class Session:
    """One stream. Its owner calls `next_frame` until there is none, then waits for news or `due`."""

    def __init__(self, terms: Terms, fanout: Fanout, *, now: float) -> None:
        self._terms = terms
        self._selection = terms.selection
        self._fanout = fanout
        self._next_seqs = terms.next_seqs
        self._credit = None if terms.credit is None else [terms.credit.events, terms.credit.bytes]
        tracking = terms.tracking
        self._account = Account(tracking, fanout, terms.selection, terms.next_seqs) if tracking else None
        self._fed: Segment | None = None
        self._phase = Phase.CATCHING_UP
        self._unread_offers = 0
        self._pending_acks = 0
        self._heartbeats = 0
        self._as_of_us = 0
        self._closing = self._draining = self._ended = self._silent = False
        self._now = now
        self._beat_due = self.due = now + terms.heartbeat_seconds
        below = terms.redelivered_below
        opened = Opened(
            position=self.position,
            delivery_epoch=terms.delivery_epoch,
            heartbeat_seconds=terms.heartbeat_seconds,
            shards=self._selection.shards,
            redelivered_below=None if below is None else self._position(below),
        )
        self._outbox: deque[ControlFrame] = deque((opened, PhaseChange(phase=self._phase)))

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
    def deliveries(self) -> Deliveries | None:
        """The account of single events, where one is kept."""
        return None if self._account is None else self._account.deliveries

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
        if self._fed is not None or self._exhausted or self._closing or self._draining:
            return ()
        if self._account is not None and self._account.stalled:
            return ()
        return self.missing()

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
        skips = self._account is not None  # over what is done, while what precedes the batch was read
        if batch.first_seq > expected or (batch.first_seq < expected and not skips):
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
        through = {shard: seq for shard, seq in enumerate(ack.through.next_seq) if seq}
        for shard, seq in through.items():
            if seq > self._next_seqs[shard]:
                sent = f"shard {shard} has been sent below {self._next_seqs[shard]} on this stream, not below {seq}"
                raise AckRefusedError("frame.ack.through.next_seq", sent)
        self._count_ack()
        return through

    def finish_through(self, through: Mapping[int, int]) -> bool:
        """Whether everything below can be done now; where account is kept of single events, it is done with this."""
        return self.deliveries is None or self.deliveries.finish_through(through, self._now)

    def acked(self, ack_id: str, outcome: AckOutcome) -> None:
        """Tells what became of an ack, once it is durable."""
        self._pending_acks -= 1
        self._outbox.append(AckResult(ack_id=ack_id, status=outcome.status, floor=self._floor(outcome)))

    def judge(self, ack: AckItems, now: float, now_us: int) -> Verdict:
        """Counts an ack of single events as pending and says what it changes.

        Raises:
            AckRefusedError: No account is kept of single events, or there are too many acks at once.
        """
        if self.deliveries is None:
            raise AckRefusedError("frame.ack.items", "the stream was opened without unacked_events_max")
        self._count_ack()
        return self.deliveries.judge(ack.items, now, now_us)

    def settled(self, ack_id: str, verdict: Verdict, outcome: AckOutcome, now: float) -> None:
        """Tells what became of an ack of single events, once it is durable."""
        self._pending_acks -= 1
        if self.deliveries is not None:
            self.deliveries.settled(verdict, now, parking_full=outcome.parking_full)
        statuses = verdict.results(outcome.status, parking_full=outcome.parking_full)
        items = tuple(zip(verdict.items, statuses, strict=True))
        floor = self._floor(outcome)
        self._outbox.append(AckResult(ack_id=ack_id, status=outcome.status, floor=floor, items=items))

    def diversion(self, now: float, now_us: int) -> Changes | None:
        """What has come of parked orders and is to be parked as well, before the stream goes on."""
        return None if self.deliveries is None else self.deliveries.diversion(now, now_us)

    def diverted(self, outcome: AckOutcome, now: float) -> None:
        """What became of a diversion. A stream that was superseded does not go on behind it."""
        if self.deliveries is not None and outcome.status is not AckStatus.FENCED:
            self.deliveries.diversion_settled(now, parking_full=outcome.parking_full)

    def close(self) -> None:
        """The caller has enough: what it has acked is still answered."""
        self._closing = True

    def drain(self) -> None:
        """The server is about to leave: the stream ends with GoAway once its acks are answered."""
        self._draining = True

    def next_frame(self, now: float, as_of_us: int) -> ControlFrame | Frame | Redelivery | None:
        """The next frame, counted as sent; none when there is nothing to say yet.

        A `Frame` without a message says nothing: the stream has passed events that did not match, and wants to be
        asked again once others have had their turn.
        """
        self._now = now
        if not self._outbox:
            if (self._closing or self._draining) and not self._ended:
                self._try_to_end()
            elif now >= self._beat_due and not self._ended:
                self._beat(now, as_of_us)
            else:
                self._tell_pause()
        if self._outbox:
            return self._outbox.popleft()
        if self._closing or self._draining:
            return None
        return self._next_redelivery() or self._next_events() or self._stand(as_of_us)

    @property
    def _exhausted(self) -> bool:
        room = self._room()
        return room is not None and (room.events_max <= 0 or room.bytes_max <= 0)

    def _room(self) -> Limits | None:
        """How much may be sent, if anything bounds that."""
        if self._credit is None:
            return None
        credit = Limits(events_max=self._credit[0], bytes_max=self._credit[1])
        return credit if self._account is None else credit.within(self._account.deliveries.room(self._now))

    def _next_redelivery(self) -> Redelivery | None:
        if self._account is None or self._credit is None:
            return None
        limits = self._most.within(Limits(events_max=self._credit[0], bytes_max=self._credit[1]))
        redelivery = self._account.redelivery(limits, self._now)
        if redelivery is not None:
            self._pay(len(redelivery.deliveries), redelivery.size)
        return redelivery

    def _next_events(self) -> ControlFrame | Frame | None:
        """The next frame; before events that follow a range in which nothing matched, the progress that covers it."""
        frame = self._due()
        if isinstance(frame, Frame):
            self._next_seqs = frame.next_seqs
            self._silent |= frame.silent
            self._pay(frame.events, frame.size)
        if self._fed is not None and self._fed.next_seq <= self._next_seqs[self._fed.shard]:
            self._fed = None
        return frame

    def _due(self) -> Progress | Frame | None:
        if self._account is not None and self._account.stalled:
            return self._account.go_on()
        if self._exhausted:
            return None
        done = None if self._account is None else self._account.beyond_done(self._next_seqs)
        frame = done or self._cut()
        if frame is not None and frame.message and self._silent:
            self._silent = False
            return Progress(at=self.position, as_of_us=self._as_of_us)
        if self._account is None or frame is None or done is not None:
            return frame
        segments = self._fanout.ring.segments if self._fed is None else [self._fed]
        return self._account.passable(frame, segments, self._next_seqs, self._now)

    def _cut(self) -> Frame | None:
        if self._fed is not None:
            return self._fanout.cut_from([self._fed], self._selection, self._next_seqs, self._limits())
        if self._fanout.missing(self._selection, self._next_seqs):
            return None
        return self._from_ring()

    def _pay(self, events: int, size: int) -> None:
        if self._credit is not None:
            self._credit[0] -= events
            self._credit[1] -= size
        if self._account is not None and events:
            self._account.deliveries.breaker.sent()

    def _from_ring(self) -> Frame | None:
        frame = self._fanout.shared(self._selection, self._next_seqs, self._terms.batch_events_max)
        room = self._room()
        if frame is None or room is None:
            return frame
        if frame.events <= room.events_max and frame.size <= room.bytes_max:
            return frame
        return self._fanout.cut(self._selection, self._next_seqs, self._limits())

    @property
    def _most(self) -> Limits:
        return Limits(events_max=self._terms.batch_events_max, bytes_max=FRAME_BYTES_MAX)

    def _limits(self) -> Limits:
        room = self._room()
        return self._most if room is None else self._most.within(room)

    def _tell_pause(self) -> None:
        paused = self._account is not None and self._account.paused
        if paused and self._phase is not Phase.PAUSED:
            self._enter(Phase.PAUSED)
        elif not paused and self._phase is Phase.PAUSED:
            self._enter(Phase.BEHIND)

    def _stand(self, as_of_us: int) -> ControlFrame | None:
        """There is nothing to send: because there is nothing more, or because nothing more may be sent."""
        if self._account is not None:
            self.due = min(self._beat_due, self._account.deliveries.next_due(self._now))
            if self._account.paused:
                return None
        if self._fed is not None or self._fanout.has_more(self._selection, self._next_seqs):
            if self._phase is Phase.LIVE and self._exhausted:
                self._enter(Phase.BEHIND)
        else:
            self._unread_offers = 0
            if self._phase is not Phase.LIVE:
                self._enter(Phase.LIVE)
                self._tell_progress(as_of_us)
        return self._outbox.popleft() if self._outbox else None

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        self._outbox.append(PhaseChange(phase=phase))

    def _beat(self, now: float, as_of_us: int) -> None:
        self._heartbeats += 1
        self._beat_due = self.due = now + self._terms.heartbeat_seconds
        self._tell_progress(as_of_us)
        self._outbox.append(Heartbeat(heartbeat_seq=self._heartbeats))

    def _tell_progress(self, as_of_us: int) -> None:
        # What the server covers, the stream covers only where it stands at the server's head.
        if not self._fanout.has_more(self._selection, self._next_seqs):
            self._as_of_us = as_of_us
        self._silent = False
        self._outbox.append(Progress(at=self.position, as_of_us=self._as_of_us))

    def _try_to_end(self) -> None:
        if self._pending_acks:
            return
        self._ended = True
        if self._draining and not self._closing:
            self._outbox.append(GoAway(position=self.position, retry_after_seconds=_RETRY_AFTER_SECONDS))

    def _count_ack(self) -> None:
        if self._pending_acks >= _PENDING_ACKS_MAX:
            raise AckRefusedError("frame.ack", f"more than {_PENDING_ACKS_MAX} acks wait for their results")
        self._pending_acks += 1

    def _floor(self, outcome: AckOutcome) -> Position:
        return self._position(tuple(outcome.floors.get(shard, 0) for shard in range(len(self._next_seqs))))

    def _position(self, next_seqs: tuple[int, ...]) -> Position:
        return Position(log_epoch=self._terms.log_epoch, next_seq=next_seqs, filter_hash=self._selection.filter_hash)
