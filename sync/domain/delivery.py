"""What a stream has sent and not finished, order by order: what an outcome changes, what comes again, what waits.

Pure. The events of one order that are not finished form its line. While something of a line is to come again, what
follows it in the line waits behind it, and what is recorded meanwhile joins at the end.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from operator import attrgetter
from sys import maxsize
from typing import Final

from sync.domain.breaker import Breaker, BreakerPolicy
from sync.domain.coverage import Coverage
from sync.domain.diversion import Diversion
from sync.domain.done_set import Floor, Retried
from sync.domain.lines import Delivery, Line, Lines, Redelivery, State
from sync.domain.outcome import PARKS, AckItem, Outcome, Verdict
from sync.domain.parking import Mark, Marks, ParkedEvent
from sync.domain.ring import Limits, PassingEvent
from sync.domain.settlement import Changes
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
        self._marks = Marks(tracking.marks)
        self._coverage = Coverage(tracking.floors, next_seqs)
        self._lines = Lines()
        self._diversion = Diversion(self._lines, self._marks)
        self._parking = 0

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
        return self._parking > 0 or self._diversion.under_way

    @property
    def diverted(self) -> bool:
        """Whether some events that were passed are still to be set aside: nobody is to be told before that."""
        return self._diversion.waits

    @property
    def _busy(self) -> set[int]:
        return {shard for shard, _ in self._lines.events}

    def room(self, now: float) -> Limits:
        """How much more may be sent."""
        events = self._tracking.events_max - len(self._lines.events) if self.remembers else inf
        return Limits(
            events_max=int(min(events, self.breaker.room(now), maxsize)),
            bytes_max=self._tracking.bytes_max - self._lines.size,
        )

    def after_done(self, shard: int, seq: int) -> int:
        """The first seq from this one on that may have to be sent."""
        return self._coverage.after_done(shard, seq)

    def pass_by(self, events: Iterable[PassingEvent], now: float) -> set[tuple[int, int]]:
        """Takes the events that come next into account; says which of them are not to be sent now."""
        kept: set[tuple[int, int]] = set()
        for event in events:
            first = self._coverage.reach(event.shard, event.seq)
            is_settled = self._is_settled(event.shard, event.seq)
            if is_settled and self.remembers:
                self._coverage.pass_over(event.shard, (first, event.seq + 1))
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
                if item.outcome not in PARKS:  # of which `settled` knows more
                    self.breaker.saw(now, retry=item.outcome is Outcome.RETRY)
                self._take_in(item, verdict, now, now_us)
        if verdict.moves_parked:
            self._parking += 1
            self.parkings += 1
        self._coverage.take_passed(verdict.changes)
        return verdict

    def has_passed_over(self, next_seqs: Sequence[int]) -> bool:
        """Whether something was passed in which nothing is left to do, and is not done by any ack."""
        return self.remembers and (self._coverage.has_passed or any(self._coverage.tails(next_seqs, self._busy)))

    def pass_over(self, next_seqs: Sequence[int]) -> Changes | None:
        """What was passed over is done; none if nothing was.

        Args:
            next_seqs: By shard, where the stream stands.
        """
        changes = Changes()
        if self.remembers:
            self._coverage.take_passed(changes)
            self._coverage.take_tails(next_seqs, self._busy, changes)
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
            self._coverage.finish_ahead(*each.at)
        if verdict.parking and parking_full:
            self._unpark(verdict.parking, now)
        elif verdict.parking:
            self.breaker.saw(now, retry=False)
            for each in verdict.parking:
                self._lines.forget(each)

    def diversion(self, now: float, now_us: int) -> Changes | None:
        """What has come of orders that are parked, to be set aside as well; `diverted_settled` is to follow."""
        busy = self._parking or self._diversion.under_way
        if busy or not self._diversion.waits or self.breaker.room(now) <= 0:
            return None
        self.parkings += 1
        self.breaker.sent()
        return self._diversion.begin(now_us)

    def diversion_settled(self, now: float, *, parking_full: bool) -> None:
        """It is durable, or there was no room: then it is to be tried again after a pause."""
        self.parkings += 1
        if parking_full:
            self._diversion.fail()
            self.breaker.pause(now)
            return
        self.breaker.saw(now, retry=False)
        self._diversion.end()

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
            is_retried = row.due_us > 0 and not line.waits  # else it comes with what waits before it
            line.turn(delivery, State.WAITING)
            if not line.retrying and is_retried:
                due = self._due(Retried(row.attempts, row.due_us, row.delay_us))
                self._wait_from(row.seq, line, max(now, due))
            elif not line.retrying:
                self._lines.schedule(line, now)

    def replayed_later(self, now: float) -> int:
        """How many events out of the parking place are here and wait: they were answered with RETRY, or follow one."""
        here = (each for each in self._lines.events.values() if each.parked and each.state is State.WAITING)
        return sum(self._lines.of(each).due > now for each in here)

    def remark(self, marks: Iterable[Mark], now: float) -> None:
        """Replaces what is known of the parking place; nothing may be on its way there.

        What came out of it and is there no more was discarded: it is finished, whether or not it has been sent.
        """
        for at in self._marks.replace(marks):
            self._coverage.finish_ahead(*at)
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
        return self._coverage.is_done(shard, seq) or self._marks.holds(shard, seq)

    def _enter(self, event: PassingEvent, first: int, now: float) -> State:
        if not self.remembers and not self._diversion.takes(event):
            return State.SENT
        retried = self._coverage.retried(event.shard, event.seq)
        delivery = Delivery(event=event, first=first, attempts=retried.attempts if retried else 0)
        line = self._lines.add(delivery)
        if self._diversion.takes(event):
            self._diversion.take(delivery)
        elif retried and not line.retrying:
            self._wait_from(event.seq, line, max(now, self._due(retried)))
        elif retried or line.waits:
            line.turn(delivery, State.WAITING)
        return delivery.state

    def _due(self, retried: Retried) -> float:
        """When it comes again, though another stream was told to wait: never later than after its whole delay."""
        return self._opened + min(retried.due_us - self._tracking.opened_us, retried.delay_us) / 1e6

    # What follows an outcome.

    def _refusal(self, item: AckItem) -> AckStatus | None:
        delivery = self._lines.events.get((item.shard, item.seq))
        if delivery is None or (delivery.state is State.PARKING and self._marks.holds(*delivery.at)):
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
        return AckStatus.ALREADY if self._coverage.knows_done(item.shard, item.seq) else AckStatus.UNKNOWN

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
                delay_us = round(item.delay_seconds * 1e6)
                retried = Retried(delivery.attempts, now_us + delay_us, delay_us)
                if delivery.parked:
                    verdict.changes.parked_attempts[delivery.at] = retried
                else:
                    verdict.changes.attempts.setdefault(item.shard, {})[item.seq] = retried
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
            verdict.changes.park(each.park(now_us, whole_order=whole_order, reason=reason))
            self._marks.add(each.mark(whole_order=whole_order, replaying=False))

    def _note_done(self, delivery: Delivery, changes: Changes) -> None:
        shard, seq = delivery.at
        if delivery.parked:
            changes.unparked.append((shard, seq))
        changes.finish(shard, (delivery.first, seq + 1))  # of what was parked, too: a Seek may have moved below it

    def _unpark(self, deliveries: Sequence[Delivery], now: float) -> None:
        """There was no room: they come again after the pause, as after RETRY."""
        self.breaker.pause(now)
        for each in deliveries:
            self._lines.of(each).turn(each, State.SENT)
            if not each.parked:
                self._marks.remove(*each.at)
        for each in deliveries:
            line = self._lines.of(each)
            if 0 < line.retrying < each.event.seq:
                line.turn(each, State.WAITING)
            elif each.state is State.SENT:
                self._wait_from(each.event.seq, line, now)
        self._diversion.give_up(now)
