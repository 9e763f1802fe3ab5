"""What a stream has sent and not finished, order by order: what an outcome changes, what comes again, what waits.

Pure. The events of one order that are not finished form its line. While something of a line is to come again, what
follows it in the line waits behind it, and what is recorded meanwhile joins at the end.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from heapq import heappop, heappush
from math import inf

from sync.domain.breaker import Breaker, BreakerPolicy
from sync.domain.done_set import Floor, Stretch
from sync.domain.parking import Mark, Marks, ParkedEvent
from sync.domain.ring import Limits, PassingEvent
from sync.domain.settlement import Changes, Park
from sync.domain.subscription import AckStatus


class Outcome(StrEnum):
    """What became of one event, says the subscriber."""

    DONE = "DONE"
    RETRY = "RETRY"
    PARK = "PARK"
    PARK_KEY = "PARK_KEY"
    SKIP = "SKIP"


@dataclass(frozen=True, slots=True, kw_only=True)
class AckItem:
    """One event's outcome. `delay_seconds` is RETRY's, `reason` that of what is parked."""

    shard: int
    seq: int
    outcome: Outcome
    delay_seconds: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracking:
    """What a stream that keeps account of single events begins with.

    Attributes:
        events_max: Most events that are sent and not finished; one group may go beyond.
        bytes_max: The same in bytes of encoded events.
        floors: By shard, what is done.
        marks: What is parked.
    """

    events_max: int
    bytes_max: int
    floors: Mapping[int, Floor]
    marks: Iterable[Mark]
    breaker: BreakerPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Redelivery:
    """Events of one order that come again, each with the how many-th time it is sent and its chunk."""

    shard: int
    deliveries: tuple[tuple[int, bytes], ...]
    size: int


class _State(Enum):
    SENT = auto()  # with the subscriber
    WAITING = auto()  # to be sent by itself, after what is before it in its line
    FINISHING = auto()  # its outcome is on the way to the database
    PARKING = auto()  # as above, and it is to be set aside


@dataclass(slots=True, kw_only=True)
class _Delivery:
    event: PassingEvent
    first: int  # where the stretch begins that is done with it
    state: _State
    attempts: int = 0  # how often it was answered with RETRY, or parked
    parked: bool = False  # it comes out of the parking place

    @property
    def at(self) -> tuple[int, int]:
        return self.event.shard, self.event.seq


@dataclass(slots=True)
class _Line:
    deliveries: dict[int, _Delivery] = field(default_factory=dict)
    retrying: int = 0  # the seq that must be finished before those behind it; 0 for none
    waits: int = 0  # how many of the deliveries are WAITING
    due: float = inf

    def turn(self, delivery: _Delivery, state: _State) -> None:
        self.waits += (state is _State.WAITING) - (delivery.state is _State.WAITING)
        delivery.state = state

    def from_seq(self, seq: int) -> list[_Delivery]:
        return [self.deliveries[each] for each in sorted(self.deliveries) if each >= seq]

    def waiting(self) -> list[_Delivery]:
        return [each for each in self.from_seq(0) if each.state is _State.WAITING]


@dataclass(slots=True, kw_only=True)
class Verdict:
    """How the items of an ack were judged; those without a status share the fate of the changes."""

    items: Sequence[AckItem]
    statuses: list[AckStatus | None] = field(default_factory=list)
    changes: Changes = field(default_factory=Changes)
    finishing: list[_Delivery] = field(default_factory=list)
    parking: list[_Delivery] = field(default_factory=list)

    @property
    def moves_parked(self) -> bool:
        """Whether anything goes into the parking place or out of it."""
        return bool(self.changes.parked or self.changes.unparked)

    def results(self, status: AckStatus, *, parking_full: bool) -> list[AckStatus]:
        """By item, what became of it, once it is known what became of the changes."""
        parks = AckStatus.PARKING_FULL if parking_full else status
        return [
            judged or (parks if item.outcome in (Outcome.PARK, Outcome.PARK_KEY) else status)
            for item, judged in zip(self.items, self.statuses, strict=True)
        ]


class Deliveries:
    """The account of one stream.

    Attributes:
        breaker: Says whether anything may be sent.
        parkings: Grows with whatever happens to the parking place by this stream.
    """

    def __init__(self, tracking: Tracking, next_seqs: Sequence[int]) -> None:
        self.breaker = Breaker(tracking.breaker)
        self.parkings = 0
        self._tracking = tracking
        self._floors = tracking.floors
        self._marks = Marks(tracking.marks)
        self._covered = dict(enumerate(next_seqs))
        self._unfinished: dict[tuple[int, int], _Delivery] = {}
        self._lines: dict[str, _Line] = {}
        self._agenda: list[tuple[float, str]] = []
        self._bytes = 0
        self._parking = 0
        self._diverted: list[_Delivery] = []
        self._diverting = False
        self._passed: list[tuple[int, Stretch]] = []

    @property
    def unfinished(self) -> int:
        """How many events are sent or wait, and are not finished."""
        return len(self._unfinished)

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
        events = self._tracking.events_max - len(self._unfinished)
        return Limits(
            events_max=int(min(events, self.breaker.room(now))), bytes_max=self._tracking.bytes_max - self._bytes
        )

    def after_done(self, shard: int, seq: int) -> int:
        """The first seq from this one on that may have to be sent."""
        return self._floors[shard].after_done(seq)

    def pass_by(self, events: Iterable[PassingEvent], now: float) -> set[tuple[int, int]]:
        """Takes the events that come next into account; says which of them are not to be sent now."""
        kept: set[tuple[int, int]] = set()
        for event in events:
            first, self._covered[event.shard] = self._covered[event.shard], event.seq + 1
            is_parked = self._marks.holds(event.shard, event.seq)
            if is_parked:
                self._passed.append((event.shard, (first, event.seq + 1)))
            is_settled = is_parked or self._floors[event.shard].is_done(event.seq)
            if is_settled or self._enter(event, first, now) is not _State.SENT:
                kept.add((event.shard, event.seq))
        return kept

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
        for shard, stretch in self._passed:
            verdict.changes.finish(shard, stretch)
        self._passed = []
        return verdict

    def finish_through(self, next_seqs: Mapping[int, int], now: float) -> bool:
        """Everything below is done; False, and nothing is, if something of it is to come again."""
        done = [
            each
            for (shard, seq), each in self._unfinished.items()
            if seq < next_seqs.get(shard, 0) and not each.parked and each.state is not _State.FINISHING
        ]
        if any(each.state is not _State.SENT for each in done):
            return False
        for each in done:
            self._release(each, now)
            self._forget(each)
        return True

    def settled(self, verdict: Verdict, now: float, *, parking_full: bool) -> None:
        """The changes are durable, but for what was to be set aside if there was no room."""
        if verdict.moves_parked:
            self._parking -= 1
            self.parkings += 1
        for each in verdict.finishing:
            self._marks.remove(*each.at)
            self._forget(each)
        if verdict.parking and parking_full:
            self._unpark(verdict.parking, now)
        else:
            for each in verdict.parking:
                self._forget(each)

    def diversion(self, now: float, now_us: int) -> Changes | None:
        """What has come of orders that are parked, to be set aside as well; `diverted_settled` is to follow."""
        if not self._diverted or self._diverting or self._parking or self.breaker.room(now) <= 0:
            return None
        changes = Changes()
        for each in self._diverted:
            self._note_parked(each, changes, "", now_us, whole_order=True)
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
            self._mark(each, whole_order=True)
            self._forget(each)
        self._diverted = []

    def next_redelivery(self, now: float, limits: Limits) -> Redelivery | None:
        """What is due to come again, of one order, within the limits; one event at least."""
        order_id = self._due_order(now)
        if order_id is None:
            return None
        line = self._lines[order_id]
        waiting = line.waiting()
        sent, size = waiting[:1], waiting[0].event.size
        for each in waiting[1 : max(1, limits.events_max)]:
            size += each.event.size
            if size > limits.bytes_max:
                size -= each.event.size
                break
            sent.append(each)
        for each in sent:
            line.turn(each, _State.SENT)
        deliveries = tuple((each.attempts + 1, each.event.chunk) for each in sent)
        return Redelivery(shard=sent[0].event.shard, deliveries=deliveries, size=size)

    def next_due(self, now: float) -> float:
        """When there is something to send that may not be sent now; what only lacks credit has no such time."""
        if self.breaker.room(now) <= 0:
            return self.breaker.due(now)
        return inf if self._due_order(now) is not None else self._next_agenda()

    def replay(self, rows: Iterable[ParkedEvent], now: float) -> None:
        """Events out of the parking place are to be sent again."""
        for row in rows:
            if (row.shard, row.seq) in self._unfinished:
                continue
            event = PassingEvent(row.shard, row.seq, row.order_id, row.chunk, len(row.chunk))
            delivery = _Delivery(event=event, first=row.seq, state=_State.SENT, attempts=row.attempts, parked=True)
            line = self._add(delivery)
            line.turn(delivery, _State.WAITING)
            if not line.retrying:
                self._schedule(row.order_id, line, now)

    def remark(self, marks: Iterable[Mark], now: float) -> None:
        """Replaces what is known of the parking place; nothing may be on its way there."""
        self._marks = Marks(marks)
        self._divert_no_more(now)

    # What follows an event that passes.

    def _enter(self, event: PassingEvent, first: int, now: float) -> _State:
        attempts = self._floors[event.shard].attempts.get(event.seq, 0)
        delivery = _Delivery(event=event, first=first, state=_State.SENT, attempts=attempts)
        line = self._add(delivery)
        if self._is_taken(event):
            line.turn(delivery, _State.PARKING)
            self._diverted.append(delivery)
        elif attempts:
            line.turn(delivery, _State.WAITING)
            line.retrying = line.retrying or event.seq
            self._schedule(event.order_id, line, now)
        elif line.waits:
            line.turn(delivery, _State.WAITING)
        return delivery.state

    def _is_taken(self, event: PassingEvent) -> bool:
        """Whether the event follows its order into the parking place: not if what is there is on its way back."""
        span = self._marks.span(event.order_id)
        return span is not None and event.seq > span[0] and (event.shard, span[1]) not in self._unfinished

    def _add(self, delivery: _Delivery) -> _Line:
        self._unfinished[delivery.at] = delivery
        self._bytes += delivery.event.size
        line = self._lines.get(delivery.event.order_id)
        if line is None:
            line = self._lines[delivery.event.order_id] = _Line()
        line.deliveries[delivery.event.seq] = delivery
        return line

    def _forget(self, delivery: _Delivery) -> None:
        del self._unfinished[delivery.at]
        self._bytes -= delivery.event.size
        line = self._lines[delivery.event.order_id]
        line.waits -= delivery.state is _State.WAITING
        del line.deliveries[delivery.event.seq]
        if not line.deliveries:
            del self._lines[delivery.event.order_id]

    # What follows an outcome.

    def _refusal(self, item: AckItem) -> AckStatus | None:
        delivery = self._unfinished.get((item.shard, item.seq))
        if delivery is None:
            return self._refusal_of_none(item)
        line = self._lines[delivery.event.order_id]
        if delivery.state is _State.FINISHING:
            return AckStatus.ALREADY
        if delivery.state is _State.PARKING or 0 < line.retrying < item.seq:
            return AckStatus.OUT_OF_ORDER
        if delivery.state is _State.WAITING:
            if line.retrying != item.seq:
                return AckStatus.OUT_OF_ORDER
            return AckStatus.ALREADY if item.outcome is Outcome.RETRY else None
        return None

    def _refusal_of_none(self, item: AckItem) -> AckStatus:
        if self._marks.follows(item.shard, item.seq):
            return AckStatus.OUT_OF_ORDER
        floor = self._floors.get(item.shard)
        if floor is not None and (item.seq < self._covered[item.shard] or floor.is_done(item.seq)):
            return AckStatus.ALREADY
        return AckStatus.UNKNOWN

    def _take_in(self, item: AckItem, verdict: Verdict, now: float, now_us: int) -> None:
        delivery = self._unfinished[item.shard, item.seq]
        line = self._lines[delivery.event.order_id]
        match item.outcome:
            case Outcome.DONE | Outcome.SKIP:
                line.turn(delivery, _State.FINISHING)
                verdict.finishing.append(delivery)
                self._note_done(delivery, verdict.changes)
                self._release(delivery, now)
            case Outcome.RETRY:
                delivery.attempts += 1
                self._wait_from(item.seq, line, now + item.delay_seconds)
                if not delivery.parked:
                    verdict.changes.attempts.setdefault(item.shard, {})[item.seq] = delivery.attempts
            case Outcome.PARK:
                delivery.attempts += 1
                self._park([delivery], item, verdict, now_us)
                self._release(delivery, now)
            case Outcome.PARK_KEY:
                delivery.attempts += 1
                going = [each for each in line.from_seq(item.seq) if each.state in (_State.SENT, _State.WAITING)]
                self._park(going, item, verdict, now_us)
                line.retrying = 0

    def _wait_from(self, seq: int, line: _Line, due: float) -> None:
        """The event and those behind it in the line come again; it is the one that must be finished first."""
        line.retrying = seq
        for each in line.from_seq(seq):
            if each.state is _State.SENT:
                line.turn(each, _State.WAITING)
        self._schedule(line.deliveries[seq].event.order_id, line, due)

    def _release(self, delivery: _Delivery, now: float) -> None:
        """Those that had to wait for the event wait no longer."""
        order_id = delivery.event.order_id
        line = self._lines[order_id]
        if line.retrying == delivery.event.seq:
            line.retrying, line.due = 0, inf
            if line.waits:
                self._schedule(order_id, line, now)

    def _park(self, going: Iterable[_Delivery], item: AckItem, verdict: Verdict, now_us: int) -> None:
        whole_order = item.outcome is Outcome.PARK_KEY
        for each in going:
            self._lines[each.event.order_id].turn(each, _State.PARKING)
            verdict.parking.append(each)
            reason = item.reason if each.event.seq == item.seq else ""
            self._note_parked(each, verdict.changes, reason, now_us, whole_order=whole_order)
            self._mark(each, whole_order=whole_order)

    def _note_done(self, delivery: _Delivery, changes: Changes) -> None:
        shard, seq = delivery.at
        if delivery.parked:
            changes.unparked.append((shard, seq))
        else:
            changes.finish(shard, (delivery.first, seq + 1))

    def _note_parked(
        self, delivery: _Delivery, changes: Changes, reason: str, now_us: int, *, whole_order: bool
    ) -> None:
        shard, seq = delivery.at
        event = ParkedEvent(
            shard=shard,
            seq=seq,
            order_id=delivery.event.order_id,
            chunk=delivery.event.chunk,
            whole_order=whole_order,
            reason=reason,
            attempts=delivery.attempts,
            parked_time_us=now_us,
        )
        changes.shards.add(shard)
        changes.parked.append(Park(event=event, first=delivery.first, again=delivery.parked))

    def _mark(self, delivery: _Delivery, *, whole_order: bool) -> None:
        shard, seq = delivery.at
        self._marks.add(Mark(shard=shard, seq=seq, order_id=delivery.event.order_id, whole_order=whole_order))

    def _unpark(self, deliveries: Sequence[_Delivery], now: float) -> None:
        """There was no room: they come again after the pause, as after RETRY."""
        self.breaker.pause(now)
        for each in deliveries:
            self._lines[each.event.order_id].turn(each, _State.SENT)
            if not each.parked:
                self._marks.remove(*each.at)
        for each in deliveries:
            if each.state is _State.SENT:
                self._wait_from(each.event.seq, self._lines[each.event.order_id], now)
        self._divert_no_more(now)

    def _divert_no_more(self, now: float) -> None:
        """What was to follow its order into the parking place waits in its line, if the order is not there."""
        staying = [each for each in self._diverted if not self._is_taken(each.event)]
        self._diverted = [each for each in self._diverted if each not in staying]
        for each in staying:
            line = self._lines[each.event.order_id]
            line.turn(each, _State.WAITING)
            if not line.retrying:
                self._schedule(each.event.order_id, line, now)

    # When what comes again.

    def _schedule(self, order_id: str, line: _Line, due: float) -> None:
        line.due = due
        heappush(self._agenda, (due, order_id))

    def _due_order(self, now: float) -> str | None:
        return self._agenda[0][1] if self._next_agenda() <= now else None

    def _next_agenda(self) -> float:
        while self._agenda:
            due, order_id = self._agenda[0]
            line = self._lines.get(order_id)
            if line is not None and line.due == due and line.waits:
                return due
            heappop(self._agenda)
        return inf
