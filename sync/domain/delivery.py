"""What a stream has sent and not finished, order by order: what an outcome changes, what comes again, what waits.

Pure. The events of one order that are not finished form its line. While something of a line is to come again, what
follows it in the line waits behind it, and what is recorded meanwhile joins at the end.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from operator import attrgetter
from sys import maxsize
from typing import Final

from sync.domain.breaker import Breaker, BreakerPolicy
from sync.domain.done_set import Floor, Retried, Stretch
from sync.domain.lines import Delivery, Line, Lines, State
from sync.domain.outcome import DELAY_SECONDS_MAX, AckItem, Outcome, Verdict
from sync.domain.parking import Mark, Marks, ParkedEvent
from sync.domain.ring import Limits, PassingEvent
from sync.domain.settlement import Changes, Park
from sync.domain.subscription import AckStatus

_FINAL: Final = {State.FINISHING: AckStatus.ALREADY, State.HELD: AckStatus.UNKNOWN}
"""What is said of an event in such a state, whatever its outcome."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracking:
    """What a stream that keeps account of single events begins with.

    Attributes:
        events_max: Most events that are sent and not finished; one group may go beyond. 0 where acks name positions:
            then nothing is remembered of what was sent, and only what must not be sent is left out.
        bytes_max: The same in bytes of encoded events.
        floors: By shard, what is done.
        opened_us: When that was, by the wall clock.
        marks: What is parked.
    """

    events_max: int
    bytes_max: int
    floors: Mapping[int, Floor]
    opened_us: int
    marks: Iterable[Mark]
    breaker: BreakerPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Redelivery:
    """Events of one order that come again, each with the how many-th time it is sent and its chunk."""

    shard: int
    deliveries: tuple[tuple[int, bytes], ...]
    size: int


class Deliveries:
    """The account of one stream.

    Attributes:
        breaker: Says whether anything may be sent.
        remembers: Whether acks name single events, so that what was sent is remembered until it is finished.
        parkings: Grows with whatever happens to the parking place by this stream.
    """

    def __init__(self, tracking: Tracking, next_seqs: Sequence[int], now: float) -> None:
        self.breaker = Breaker(tracking.breaker)
        self.remembers = tracking.events_max > 0
        self.parkings = 0
        self._tracking = tracking
        self._opened = now
        self._floors = tracking.floors
        self._marks = Marks(tracking.marks)
        self._covered = dict(enumerate(next_seqs))
        self._lines = Lines()
        self._parking = 0
        self._diverted: list[Delivery] = []
        self._diverting = False
        self._passed: list[tuple[int, Stretch]] = []
        self._finished_ahead: set[tuple[int, int]] = set()

    @property
    def unfinished(self) -> int:
        """How many events are sent or wait, and are not finished."""
        return len(self._lines.events)

    @property
    def parked(self) -> int:
        """How many events are in the parking place, as far as the stream knows."""
        return len(self._marks)

    @property
    def parking(self) -> bool:
        """Whether something is on its way into the parking place or out of it."""
        return self._parking > 0 or self._diverting

    @property
    def diverted(self) -> bool:
        """Whether some events that were passed are still to be set aside: nobody is to be told before that."""
        return bool(self._diverted)

    def room(self, now: float) -> Limits:
        """How much more may be sent."""
        events = self._tracking.events_max - len(self._lines.events) if self.remembers else inf
        return Limits(
            events_max=int(min(events, self.breaker.room(now), maxsize)),
            bytes_max=self._tracking.bytes_max - self._lines.size,
        )

    def after_done(self, shard: int, seq: int) -> int:
        """The first seq from this one on that may have to be sent."""
        return self._floors[shard].after_done(seq)

    def pass_by(self, events: Iterable[PassingEvent], now: float) -> set[tuple[int, int]]:
        """Takes the events that come next into account; says which of them are not to be sent now."""
        kept: set[tuple[int, int]] = set()
        for event in events:
            first, self._covered[event.shard] = self._covered[event.shard], event.seq + 1
            is_settled = self._is_settled(event.shard, event.seq)
            if is_settled and self.remembers:
                self._passed.append((event.shard, (first, event.seq + 1)))
            if is_settled or self._enter(event, first, now) is not State.SENT:
                kept.add((event.shard, event.seq))
        return kept

    def hold(self, events: Iterable[PassingEvent]) -> None:
        """Events that `pass_by` let go wait: what is answered meanwhile for an earlier one of their order counts."""
        for event in events if self.remembers else ():
            delivery = self._lines.events[event.shard, event.seq]
            self._lines.of(delivery).turn(delivery, State.HELD)

    def let_go(self, events: Sequence[PassingEvent]) -> Sequence[PassingEvent]:
        """Those of the events that were held which still are to be sent as they come."""
        if not self.remembers:
            return events
        found = [(event, self._lines.events.get((event.shard, event.seq))) for event in events]
        held = [(event, each) for event, each in found if each is not None and each.state is State.HELD]
        for _, each in held:
            self._lines.of(each).turn(each, State.SENT)
        return [event for event, _ in held]

    def judge(self, items: Sequence[AckItem], now: float, now_us: int) -> Verdict:
        """Takes in what became of events: `settled` is to follow once the changes are durable."""
        verdict = Verdict(items=items)
        for item in items:
            status = self._refusal(item)
            verdict.statuses.append(status)
            if status is None:
                verdict.changes.shards.add(item.shard)
                self.breaker.saw(now, retry=item.outcome is Outcome.RETRY)
                self._take_in(item, verdict, now, now_us)
        if verdict.moves_parked:
            self._parking += 1
            self.parkings += 1
        self._finish_passed(verdict.changes)
        return verdict

    def has_passed_over(self, next_seqs: Sequence[int]) -> bool:
        """Whether something was passed in which nothing is left to do, and is not done by any ack."""
        return bool(self._passed or self._tails(next_seqs))

    def pass_over(self, next_seqs: Sequence[int]) -> Changes | None:
        """What was passed over is done; none if nothing was.

        Args:
            next_seqs: By shard, where the stream stands.
        """
        changes = Changes()
        self._finish_passed(changes)
        for shard, stretch in self._tails(next_seqs).items():
            changes.finish(shard, stretch)
            self._covered[shard] = stretch[1]
        return changes if changes.done else None

    def finish_through(self, next_seqs: Mapping[int, int], now: float) -> bool:
        """Everything below is done; False, and nothing is, if something of it is to come again."""
        done = [
            each
            for (shard, seq), each in self._lines.events.items()
            if seq < next_seqs.get(shard, 0) and not each.parked and each.state is not State.FINISHING
        ]
        if any(each.state is not State.SENT for each in done):
            return False
        for each in done:
            self._release(each, now)
            self._lines.forget(each)
        if done:
            self.breaker.saw(now, retry=False)
        return True

    def settled(self, verdict: Verdict, now: float, *, parking_full: bool) -> None:
        """The changes are durable, but for what was to be set aside if there was no room."""
        if verdict.moves_parked:
            self._parking -= 1
            self.parkings += 1
        for each in verdict.finishing:
            self._marks.remove(*each.at)
            self._lines.forget(each)
            if each.event.seq >= self._covered[each.event.shard]:
                self._finished_ahead.add(each.at)
        if verdict.parking and parking_full:
            self._unpark(verdict.parking, now)
        else:
            for each in verdict.parking:
                self._lines.forget(each)

    def diversion(self, now: float, now_us: int) -> Changes | None:
        """What has come of orders that are parked, to be set aside as well; `diverted_settled` is to follow."""
        if not self._diverted or self._diverting or self._parking or self.breaker.room(now) <= 0:
            return None
        changes = Changes()
        for each in self._diverted:
            event = self._parked(each, now_us, whole_order=True)
            self._note_parked(each, changes, replace(event, replaying=self._comes_back(each.event)))
        self._diverting = True
        self.parkings += 1
        self.breaker.sent()
        return changes

    def diversion_settled(self, now: float, *, parking_full: bool) -> None:
        """It is durable, or there was no room: then it is to be tried again after a pause."""
        self._diverting = False
        self.parkings += 1
        if parking_full:
            self.breaker.pause(now)
            return
        self.breaker.saw(now, retry=False)
        for each in self._diverted:
            self._mark(each, whole_order=True, replaying=self._comes_back(each.event))
            self._lines.forget(each)
        self._diverted = []

    def next_redelivery(self, now: float, limits: Limits) -> Redelivery | None:
        """What is due to come again, of one order, within the limits; one event at least."""
        line = self._lines.due_at(now)
        if line is None:
            return None
        waiting = line.waiting(most=max(1, limits.events_max))
        sent, size = waiting[:1], waiting[0].event.size
        for each in waiting[1:]:
            size += each.event.size
            if size > limits.bytes_max:
                size -= each.event.size
                break
            sent.append(each)
        for each in sent:
            line.turn(each, State.SENT)
        deliveries = tuple((each.attempts + 1, each.event.chunk) for each in sent)
        return Redelivery(shard=sent[0].event.shard, deliveries=deliveries, size=size)

    def _tails(self, next_seqs: Sequence[int]) -> dict[int, Stretch]:
        """By shard of which nothing is unfinished, what has been passed since its last event: nothing matched."""
        if not self.remembers:
            return {}
        busy = {shard for shard, _ in self._lines.events}
        covered = self._covered
        return {
            shard: (covered[shard], seq)
            for shard, seq in enumerate(next_seqs)
            if seq > covered[shard] and shard not in busy
        }

    def _finish_passed(self, changes: Changes) -> None:
        for shard, stretch in self._passed:
            changes.finish(shard, stretch)
        self._passed = []

    def next_due(self, now: float) -> float:
        """When there is something to send that may not be sent now; what only lacks credit has no such time."""
        if self.breaker.room(now) <= 0:
            return self.breaker.due(now)
        due = self._lines.next_due()
        return inf if due <= now else due

    def replay(self, rows: Iterable[ParkedEvent], now: float) -> None:
        """Events out of the parking place are to be sent again; not before earlier ones of their order."""
        for row in rows if self.remembers else ():
            known = (row.shard, row.seq) in self._lines.events
            if known or (row.whole_order and self._marks.holds_back(row.shard, row.order_id, row.seq)):
                continue
            event = PassingEvent(row.shard, row.seq, row.order_id, row.chunk, len(row.chunk))
            delivery = Delivery(event=event, first=row.seq, attempts=row.attempts, parked=True)
            line = self._lines.add(delivery)
            line.turn(delivery, State.WAITING)
            if not line.retrying:
                self._lines.schedule(line, now)

    def replayed_later(self, now: float) -> int:
        """How many events out of the parking place are here and wait: they were answered with RETRY, or follow one."""
        here = (each for each in self._lines.events.values() if each.parked and each.state is State.WAITING)
        return sum(self._lines.of(each).due > now for each in here)

    def remark(self, marks: Iterable[Mark], now: float) -> None:
        """Replaces what is known of the parking place; nothing may be on its way there.

        What came out of it and is there no more was discarded: it is finished, whether or not it has been sent.
        """
        before, self._marks = self._marks, Marks(marks)
        self._finished_ahead |= {at for at in before.places - self._marks.places if at[1] >= self._covered[at[0]]}
        discarded = [each for at, each in self._lines.events.items() if each.parked and not self._marks.holds(*at)]
        if any(each.state is State.SENT for each in discarded):
            self.breaker.lost_try()
        for each in discarded:
            self._lines.of(each).turn(each, State.FINISHING)
            self._release(each, now)
            self._lines.forget(each)

    # What follows an event that passes.

    def _is_settled(self, shard: int, seq: int) -> bool:
        """Whether it is parked, or finished: before the stream was opened, or out of the parking place."""
        if (shard, seq) in self._finished_ahead:
            self._finished_ahead.remove((shard, seq))
            return True
        return self._marks.holds(shard, seq) or self._floors[shard].is_done(seq)

    def _enter(self, event: PassingEvent, first: int, now: float) -> State:
        if not self.remembers and not self._is_taken(event):
            return State.SENT
        retried = self._floors[event.shard].attempts.get(event.seq)
        delivery = Delivery(event=event, first=first, attempts=retried.attempts if retried else 0)
        line = self._lines.add(delivery)
        if self._is_taken(event):
            line.turn(delivery, State.PARKING)
            self._diverted.append(delivery)
        elif retried and not line.retrying:
            self._wait_from(event.seq, line, max(now, self._due(retried)))
        elif retried or line.waits:
            line.turn(delivery, State.WAITING)
        return delivery.state

    def _due(self, retried: Retried) -> float:
        """When it comes again, though another stream was told to wait: never later than any may be told."""
        return self._opened + min((retried.due_us - self._tracking.opened_us) / 1e6, DELAY_SECONDS_MAX)

    def _is_taken(self, event: PassingEvent) -> bool:
        """Whether the event follows its order into the parking place: not if what is there has been sent again."""
        span = self._marks.span(event.order_id)
        if span is None or event.seq <= span[0]:
            return False
        last = self._lines.events.get((event.shard, span[1]))
        if last is None or last.state is State.PARKING:
            return True
        return last.state is State.WAITING and not self._lines.of(last).retrying

    def _comes_back(self, event: PassingEvent) -> bool:
        """Whether what the event follows into the parking place is on its way back, or there no more."""
        span = self._marks.span(event.order_id)
        return span is None or event.seq <= span[0] or self._marks.replays(event.shard, span[1])

    # What follows an outcome.

    def _refusal(self, item: AckItem) -> AckStatus | None:
        delivery = self._lines.events.get((item.shard, item.seq))
        if delivery is None:
            return self._refusal_of_none(item)
        line = self._lines.of(delivery)
        if delivery.state in _FINAL:
            return _FINAL[delivery.state]
        if delivery.state is State.PARKING or 0 < line.retrying < item.seq:
            return AckStatus.OUT_OF_ORDER
        if delivery.state is State.WAITING:
            if line.retrying != item.seq:
                return AckStatus.OUT_OF_ORDER
            return AckStatus.ALREADY if item.outcome is Outcome.RETRY else None
        return None

    def _refusal_of_none(self, item: AckItem) -> AckStatus:
        if self._marks.follows(item.shard, item.seq):
            return AckStatus.OUT_OF_ORDER
        floor = self._floors.get(item.shard)
        if floor is None:
            return AckStatus.UNKNOWN
        is_done = item.seq < self._covered[item.shard] or floor.is_done(item.seq)
        return AckStatus.ALREADY if is_done or (item.shard, item.seq) in self._finished_ahead else AckStatus.UNKNOWN

    def _take_in(self, item: AckItem, verdict: Verdict, now: float, now_us: int) -> None:
        delivery = self._lines.events[item.shard, item.seq]
        line = self._lines.of(delivery)
        match item.outcome:
            case Outcome.DONE | Outcome.SKIP:
                line.turn(delivery, State.FINISHING)
                verdict.finishing.append(delivery)
                self._note_done(delivery, verdict.changes)
                self._release(delivery, now)
            case Outcome.RETRY:
                delivery.attempts += 1
                self._wait_from(item.seq, line, now + item.delay_seconds)
                if not delivery.parked:
                    verdict.changes.attempts.setdefault(item.shard, {})[item.seq] = Retried(
                        delivery.attempts, now_us + round(item.delay_seconds * 1e6)
                    )
            case Outcome.PARK:
                delivery.attempts += 1
                self._park([delivery], item, verdict, now_us)
                self._release(delivery, now)
            case Outcome.PARK_KEY:
                delivery.attempts += 1
                going = [*line.out(item.seq), *line.waiting(item.seq)]
                self._park(sorted(going, key=attrgetter("at")), item, verdict, now_us)
                line.retrying = 0

    def _wait_from(self, seq: int, line: Line, due: float) -> None:
        """The event and those behind it in the line come again; it is the one that must be finished first."""
        line.retrying = seq
        for each in line.out(seq):
            line.turn(each, State.WAITING)
        self._lines.schedule(line, due)

    def _release(self, delivery: Delivery, now: float) -> None:
        """Those that had to wait for the event wait no longer."""
        line = self._lines.of(delivery)
        if line.retrying == delivery.event.seq:
            line.retrying, line.due = 0, inf
            if line.waits:
                self._lines.schedule(line, now)

    def _park(self, going: Iterable[Delivery], item: AckItem, verdict: Verdict, now_us: int) -> None:
        whole_order = item.outcome is Outcome.PARK_KEY
        for each in going:
            self._lines.of(each).turn(each, State.PARKING)
            verdict.parking.append(each)
            reason = item.reason if each.event.seq == item.seq else ""
            event = self._parked(each, now_us, whole_order=whole_order)
            self._note_parked(each, verdict.changes, replace(event, reason=reason))
            self._mark(each, whole_order=whole_order, replaying=False)

    def _note_done(self, delivery: Delivery, changes: Changes) -> None:
        shard, seq = delivery.at
        if delivery.parked:
            changes.unparked.append((shard, seq))
        changes.finish(shard, (delivery.first, seq + 1))  # of what was parked, too: a Seek may have moved below it

    def _parked(self, delivery: Delivery, now_us: int, *, whole_order: bool) -> ParkedEvent:
        shard, seq = delivery.at
        return ParkedEvent(
            shard=shard,
            seq=seq,
            order_id=delivery.event.order_id,
            chunk=delivery.event.chunk,
            whole_order=whole_order,
            reason="",
            attempts=delivery.attempts,
            parked_time_us=now_us,
        )

    def _note_parked(self, delivery: Delivery, changes: Changes, event: ParkedEvent) -> None:
        changes.shards.add(event.shard)
        changes.parked.append(Park(event=event, first=delivery.first, again=delivery.parked))

    def _mark(self, delivery: Delivery, *, whole_order: bool, replaying: bool) -> None:
        shard, seq = delivery.at
        order_id = delivery.event.order_id
        mark = Mark(shard=shard, seq=seq, order_id=order_id, whole_order=whole_order, replaying=replaying)
        self._marks.add(mark)

    def _unpark(self, deliveries: Sequence[Delivery], now: float) -> None:
        """There was no room: they come again after the pause, as after RETRY."""
        self.breaker.pause(now)
        for each in deliveries:
            self._lines.of(each).turn(each, State.SENT)
            if not each.parked:
                self._marks.remove(*each.at)
        for each in deliveries:
            if each.state is State.SENT:
                self._wait_from(each.event.seq, self._lines.of(each), now)
        self._divert_no_more(now)

    def _divert_no_more(self, now: float) -> None:
        """What was to follow its order into the parking place waits in its line, if the order is not there."""
        came, self._diverted = self._diverted, []
        for each in came:
            if self._is_taken(each.event):
                self._diverted.append(each)
                continue
            line = self._lines.of(each)
            line.turn(each, State.WAITING)
            if not line.retrying:
                self._lines.schedule(line, now)
