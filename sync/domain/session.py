"""One stream's side of the fan-out: its place, its credit, its phase, and which frame is next. Pure and synchronous.

Everything a stream says leaves through `next_frame`, one frame at a time, so nothing can overtake an event: a
progress frame speaks of the place that the frames before it have reached.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import inf
from typing import Final

from infra.kernel.digest import Digest
from infra.kernel.position import Position
from sync.domain.account import Account
from sync.domain.acking import Acking
from sync.domain.credit import Bounded, Credit
from sync.domain.delivery import Deliveries
from sync.domain.errors import AckRefusedError
from sync.domain.fanout import FRAME_BYTES_MAX, Fanout, Frame, Selection
from sync.domain.feeding import Feeding
from sync.domain.frames import (
    AckItems,
    AckResult,
    AckThrough,
    Closed,
    ControlFrame,
    GoAway,
    Grant,
    Phase,
    PhaseChange,
    Progress,
    Proof,
    SnapshotBegin,
    SnapshotEnd,
    SnapshotOrders,
)
from sync.domain.lag import Meter, Standing
from sync.domain.lines import Redelivery
from sync.domain.log import Batch
from sync.domain.outcome import Verdict
from sync.domain.proving import Proving
from sync.domain.pulse import Pulse
from sync.domain.reporting import Reporting
from sync.domain.ring import Limits
from sync.domain.snapshot import Chunk, Snapshot, Wanted
from sync.domain.terms import Terms

_OFFERS_MAX: Final = 64  # appends that a LIVE stream may leave unread before it counts as BEHIND
_RETRY_AFTER_SECONDS: Final = 0.2  # of a drain: long enough for a supervisor to have started the next process
CHUNK_ORDERS_MAX: Final = 2_000  # read in one go, some milliseconds; a frame's bytes are mostly the tighter bound

ServerFrame = ControlFrame | Frame | Redelivery | SnapshotOrders | Closed


class Session:
    """One stream. Its owner calls `next_frame` until there is none, then waits for news or `due`.

    Attributes:
        acking: Its acks.
        proving: Its proofs.
    """

    def __init__(self, terms: Terms, fanout: Fanout, *, now: float, meter: Meter | None = None) -> None:
        self._terms = terms
        self._selection = terms.selection
        self._fanout = fanout
        self._next_seqs = terms.next_seqs
        self._credit = Credit(terms.credit)
        self._most = Limits(events_max=terms.batch_events_max, bytes_max=FRAME_BYTES_MAX)
        tracking = terms.tracking
        self._account = Account(tracking, fanout, terms.selection, terms.next_seqs, now) if tracking else None
        self._allowance = self._credit if self._account is None else Bounded(self._credit, self._account)
        self._feeding = Feeding(fanout, terms.selection)
        self._snapshot = None if terms.snapshot_after is None else Snapshot(terms.snapshot_after)
        self._phase = Phase.CATCHING_UP if self._snapshot is None else Phase.SNAPSHOT
        self._unread_offers = 0
        self._closing = self._leaving = self._ended = False
        self._now = now
        self._pulse = Pulse(terms, now)
        self.proving = Proving(terms.digest_seconds, now)
        self._sends_more = self.proving.promised or self._account is not None
        self._outbox: list[ControlFrame] = [terms.opened, PhaseChange(phase=self._phase)]
        self._reporting = Reporting(terms, fanout, meter, self._outbox.append)
        self.acking = Acking(terms, self.deliveries, self._outbox.append)
        if self._snapshot is not None:
            self._outbox.append(SnapshotBegin(at=self.position, after_order_id=self._snapshot.after))

    @property
    def due(self) -> float:
        """When it has something to say by itself."""
        if self._leaving:
            return self._pulse.silent_at
        if not self._sends_more:
            return self._pulse.due
        again = inf if self._account is None else self._account.deliveries.next_due(self._now)
        return min(again, self.proving.due_at if self._phase is Phase.LIVE else inf, self._pulse.due)

    def hear(self, now: float) -> None:
        """The caller has said something."""
        self._pulse.hear(now)

    @property
    def reached(self) -> Position | None:
        """Where a reader that comes back goes on; none within a snapshot, which is resumed by its own place."""
        return None if self._snapshot else self.position

    @property
    def position(self) -> Position:
        """Everything matching below it has been handed out by `next_frame`."""
        return self._terms.position(self._next_seqs)

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

    @property
    def standing(self) -> Standing:
        """Where the stream is, for its lag."""
        deliveries = self.deliveries
        return Standing(
            shards=self._selection.shards,
            next_seqs=self._next_seqs,
            floors=self.acking.floors,
            credit=self._credit.left,
            unfinished=deliveries.unfinished if deliveries is not None and deliveries.remembers else None,
            parked=deliveries.parked if deliveries is not None else 0,
            term=self._selection.term,
        )

    def offer(self) -> None:
        """Tells of new events in the ring, never waits. A LIVE stream that leaves too many unread falls behind."""
        if self._phase is not Phase.LIVE:
            return
        self._unread_offers += 1
        if self._unread_offers > _OFFERS_MAX and self._fanout.has_more(self._selection, self._next_seqs):
            self._enter(Phase.BEHIND)

    def grant(self, grant: Grant) -> None:
        """Lets more be sent."""
        self._credit.add(grant)

    def needs(self) -> tuple[int, ...]:
        """The shards that must be fed, as the ring no longer holds what comes next; none while nothing may be sent."""
        waits = self._snapshot is not None or self.fed or self._leaving
        if waits or self._allowance.exhausted or (self._account is not None and self._account.stalled):
            return ()
        return self.missing()

    def prove(self, at: Position, digest: Digest, now: float) -> None:
        """Gives the stream the proof that it wanted, taken at a place of its own."""
        self.proving.take(Proof(at=self._read_of(at), count=digest.count, hash=digest.hash), now)

    @property
    def rests(self) -> bool:
        """Whether it was sent all that there is, and nothing comes to it but new events and the time."""
        at_head = self._next_seqs == self._fanout.ring.next_seqs
        return at_head and self._phase is Phase.LIVE and not self._sends_more and not self._outbox

    @property
    def in_snapshot(self) -> bool:
        """Whether orders are still to be sent."""
        return self._snapshot is not None

    def wants_orders(self) -> Wanted | None:
        """The orders that come next; none while none are to be sent, or may be."""
        if self._snapshot is None or not self._snapshot.hungry or self._credit.exhausted or self._leaving:
            return None
        limits = self._credit.within(Limits(events_max=CHUNK_ORDERS_MAX, bytes_max=FRAME_BYTES_MAX))
        return self._snapshot.wanted(self._selection, len(self._next_seqs), limits)

    def take_orders(self, chunk: Chunk) -> None:
        """Gives the stream the orders that it wanted."""
        if self._snapshot is not None:
            self._snapshot.feed(replace(chunk, at=self._read_of(chunk.at)))

    def missing(self) -> tuple[int, ...]:
        """The shards of which the ring no longer holds what comes next."""
        return self._feeding.missing(self._next_seqs)

    @property
    def fed(self) -> bool:
        """Whether something that was fed is still to be sent."""
        return self._feeding.segment is not None

    def feed(self, batch: Batch) -> None:
        """Gives the stream the batch that comes next in its shard.

        Raises:
            LogHoleError: It is not the one that comes next.
        """
        self._feeding.take(batch, self._next_seqs[batch.shard], skips=self._account is not None)

    def starve(self) -> None:
        """Takes back what was fed and not sent."""
        self._feeding.segment = None

    def check_ack(self, ack: AckThrough) -> Mapping[int, int]:
        """Counts an ack as pending and says which shards it moves to where.

        Raises:
            AckRefusedError: It says more than the stream has sent.
        """
        self._refuse_in_snapshot()
        return self.acking.check(ack, self._next_seqs)

    def judge(self, ack: AckItems, now: float, now_us: int) -> Verdict:
        """Counts an ack of single events as pending and says what it changes.

        Raises:
            AckRefusedError: No account is kept of single events.
        """
        self._refuse_in_snapshot()
        return self.acking.judge(ack, now, now_us)

    def close(self) -> None:
        """The caller has enough: what it has acked is still answered."""
        self._closing = self._leaving = True

    def drain(self) -> None:
        """The server is about to leave: the stream ends with GoAway once its acks are answered."""
        self._leaving = True

    def next_frame(self, now: float, as_of_us: int) -> ServerFrame | None:
        """The next frame, counted as sent; none when there is nothing to say yet.

        A `Frame` without a message says nothing: the stream has passed events that did not match, and wants to be
        asked again once others have had their turn.

        Raises:
            CallerSilentError: The caller has said nothing for too long.
        """
        self._now = now
        if self._account is not None:
            self._account.now = now
        if now >= self._pulse.due or self._leaving or self._account is not None:
            self._say_by_itself(as_of_us)
        if self._outbox:
            return self._next_told()
        if self._leaving:
            return None
        if self._snapshot is not None:
            return self._next_orders(self._snapshot)
        if self.rests:
            self._unread_offers = 0
            return None
        beside = self._next_beside() if self._sends_more else None
        return beside or self._next_events() or self._stand(as_of_us)

    def _next_told(self) -> ControlFrame:
        told = self._outbox.pop(0)
        if isinstance(told, AckResult):
            self._excuse_silence()
            self.acking.handed_out(told)
        return told

    def _excuse_silence(self) -> None:
        """Nobody listens to a caller whose acks fill the memory."""
        if self.acking.full:
            self.hear(self._now)

    def _read_of(self, place: Position) -> Position:
        """As much of a place as the stream reads."""
        read = zip(place.next_seq, self._next_seqs, strict=True)
        return self._terms.position(tuple(seq if here else 0 for seq, here in read))

    def _refuse_in_snapshot(self) -> None:
        if self._snapshot is not None:
            raise AckRefusedError("frame.ack", "the snapshot has not been sent to its end: nothing below can be done")

    def _say_by_itself(self, as_of_us: int) -> None:
        self._excuse_silence()
        self._pulse.refuse_silence(self._now)
        if self._now >= self._pulse.leave_at:
            self.drain()
        if self._outbox:
            return
        if self._leaving:
            self._try_to_end()
        elif self._now >= self._pulse.beat_at:
            self._beat(as_of_us)
        elif self._account is not None:
            self._tell_pause(self._account)

    def _next_orders(self, snapshot: Snapshot) -> ControlFrame | SnapshotOrders | None:
        orders = None if self._credit.exhausted else snapshot.take(self._credit.within(self._most))
        if orders is not None:
            self._credit.spend(len(orders.orders), orders.size)
        elif snapshot.over:
            self._snapshot = None
            self._outbox.append(SnapshotEnd(at=self.position))
            self._enter(Phase.CATCHING_UP)
            return self._outbox.pop(0)
        return orders

    def _next_beside(self) -> Proof | Redelivery | None:
        """What comes between new events: a proof of what was sent, or events that come again."""
        if self._phase is Phase.LIVE:
            self.proving.ask(self._now)
        proof = self.proving.reached(self.position, self._now)
        if proof is not None or self._account is None:
            return proof
        redelivery = self._account.redelivery(self._credit.within(self._most))
        if redelivery is not None:
            self._spend(len(redelivery.deliveries), redelivery.size)
        return redelivery

    def _next_events(self) -> Progress | Frame | None:
        """The next frame; before events that follow a range in which nothing matched, the progress that covers it."""
        if self._account is None:
            frame = self._reporting.before(self._cut(), self._next_seqs)
        else:
            frame = self._next_accounted(self._account)
        if isinstance(frame, Frame):
            self._next_seqs = frame.next_seqs
            self._reporting.passed(frame)
            self._spend(frame.events, frame.size)
        self._feeding.pass_by(self._next_seqs)
        return frame

    def _next_accounted(self, account: Account) -> Progress | Frame | None:
        if account.stalled:
            return account.go_on()
        if self._allowance.exhausted:
            return None
        done = account.beyond_done(self._next_seqs)
        frame = self._reporting.before(done or self._cut(), self._next_seqs)
        if done is not None or not isinstance(frame, Frame):
            return frame
        fed = self._feeding.segment
        segments = self._fanout.ring.segments if fed is None else [fed]
        return account.passable(frame, segments, self._next_seqs)

    def _cut(self) -> Frame | None:
        if self._allowance.exhausted:
            return None
        fed = self._feeding.segment
        if fed is not None:
            return self._feeding.cut(fed, self._next_seqs, self._allowance.within(self._most))
        if self.missing():
            return None
        frame = self._fanout.shared(self._selection, self._next_seqs, self._terms.batch_events_max)
        if frame is None or self._allowance.covers(frame.events, frame.size):
            return frame
        return self._fanout.cut(self._selection, self._next_seqs, self._allowance.within(self._most))

    def _spend(self, events: int, size: int) -> None:
        self._credit.spend(events, size)
        if self._account is not None and events:
            self._account.deliveries.breaker.sent()

    def _stand(self, as_of_us: int) -> ControlFrame | None:
        """There is nothing to send: because there is nothing more, or because nothing more may be sent."""
        if self._account is not None and self._account.paused:
            return None
        if self.fed or self._fanout.has_more(self._selection, self._next_seqs):
            if self._phase is Phase.LIVE and self._allowance.exhausted:
                self._enter(Phase.BEHIND)
        else:
            self._unread_offers = 0
            if self._phase is not Phase.LIVE:
                self._enter(Phase.LIVE)
                self._reporting.progress(self._next_seqs, as_of_us, anew=True)
        return self._outbox.pop(0) if self._outbox else None

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        self._outbox.append(PhaseChange(phase=phase))
        self._tell_lag()

    def _tell_pause(self, account: Account) -> None:
        if account.paused is not (self._phase is Phase.PAUSED):
            self._enter(Phase.PAUSED if account.paused else Phase.BEHIND)

    def _beat(self, as_of_us: int) -> None:
        """Breaks the silence with what is new to tell, or else with a sign that the server is alive.

        A message costs the server as much as all that is done to make it, and ten thousand streams as many.
        """
        self._pulse.beat(self._now)
        self.acking.sweep_due = True
        if self._snapshot is not None or not self._reporting.progress(self._next_seqs, as_of_us, anew=False):
            self._outbox.append(self._pulse.heartbeat())
        if self._snapshot is None:
            self._tell_lag()

    def _tell_lag(self) -> None:
        rests_on = (self._next_seqs, self._credit.left, self.acking.floors) if self._account is None else None
        self._reporting.lag(rests_on, lambda: self.standing)

    def _try_to_end(self) -> None:
        if self._ended or self.acking.pending:
            return
        if not self.acking.is_swept(self._next_seqs):
            self.acking.sweep_due = True
            return
        self._ended = True
        if not self._closing:
            self._outbox.append(GoAway(position=self.reached, retry_after_seconds=_RETRY_AFTER_SECONDS))
