"""Single events in a fake server: what became of each, what comes again, and what is set aside."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from math import inf

from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset.order.v1.order_frame_pb2 import RedeliveredEvent, Redelivery
from stateset.stream.v1 import stream_pb2 as stream

Place = tuple[int, int]
"""Shard and seq."""


def place_of(event: OrderEvent) -> Place:
    """Where the event lies."""
    return event.shard, event.seq


@dataclass(slots=True, kw_only=True)
class Parked:
    """An event in the parking place of a subscription."""

    event: OrderEvent
    whole_order: bool
    reason: str
    attempts: int
    replaying: bool = False
    due: float = 0.0


@dataclass(slots=True)
class Book:
    """What is kept of one subscription, from stream to stream.

    Attributes:
        done: Events that are finished.
        attempts: How often events that are not were answered with RETRY.
        due: When those come again, by the monotonic clock.
        parked: The parking place, by shard and seq.
        first_epoch: Delivery epoch of the first stream; 0 before.
    """

    done: set[Place] = field(default_factory=set)
    attempts: dict[Place, int] = field(default_factory=dict)
    due: dict[Place, float] = field(default_factory=dict)
    parked: dict[Place, Parked] = field(default_factory=dict)
    first_epoch: int = 0

    def moved(self) -> "Book":
        """Where the floor is put somewhere else: what was done is forgotten."""
        return Book(parked=self.parked, first_epoch=self.first_epoch)

    def chosen(self, order_id: str | None, place: Place | None) -> list[Parked]:
        """One parked event, with its order if that is parked as a whole; an order's; or all of them."""
        named = None if place is None else self.parked.get(place)
        if place is not None and (named is None or not named.whole_order):
            return [] if named is None else [named]
        wanted = named.event.order_id if named is not None else order_id
        return [each for _, each in sorted(self.parked.items()) if wanted in (None, each.event.order_id)]

    def leads(self, event: OrderEvent) -> Parked | None:
        """The last of the parked events whose order's later events go with them, if this is one of those."""
        before = [
            each
            for place, each in sorted(self.parked.items())
            if each.whole_order and each.event.order_id == event.order_id and place < place_of(event)
        ]
        return before[-1] if before else None


@dataclass(slots=True)
class _Delivery:
    event: OrderEvent
    attempts: int
    waits: bool = False
    parked: bool = False


class Settling:
    """What one stream has sent and what is not finished, in the sequence of the log."""

    def __init__(self, book: Book, unacked_events_max: int) -> None:
        self._book = book
        self._unacked_events_max = unacked_events_max
        self._sent: dict[Place, _Delivery] = {}
        self._retrying: dict[str, int] = {}
        self._due: dict[str, float] = {}
        self._passed: set[Place] = set()

    @property
    def full(self) -> bool:
        """Whether nothing more may be sent before something is finished."""
        return 0 < self._unacked_events_max <= len(self._sent)

    @property
    def keeps_nothing(self) -> bool:
        """Whether every event is sent as it comes, and none is remembered."""
        return not (self._unacked_events_max or self._book.done or self._book.parked)

    @property
    def unfinished(self) -> int:
        """How many events are sent or wait, and are not finished."""
        return len(self._sent)

    def passes(self, event: OrderEvent) -> bool:
        """Whether an event that comes next is sent now; it may be done or parked, or wait for an earlier one."""
        place = place_of(event)
        self._passed.add(place)
        if place in self._book.done or place in self._book.parked:
            return False
        leader = self._book.leads(event)
        if leader is not None and place_of(leader.event) not in self._sent:
            self._book.parked[place] = Parked(event=event, whole_order=True, reason="", attempts=0)
            return False
        if not self._unacked_events_max:
            return True
        attempts = self._book.attempts.get(place, 0)
        waits = attempts > 0 or any(each.waits for each in self._line(event.order_id))
        self._sent[place] = _Delivery(event, attempts, waits=waits)
        if attempts:
            self._retrying.setdefault(event.order_id, event.seq)
            self._due.setdefault(event.order_id, self._book.due.get(place, 0.0))
        return not waits

    def judge(self, item: stream.AckItem, now: float) -> stream.AckStatus.ValueType:
        """Takes in what became of an event."""
        place = (item.shard, item.seq)
        delivery = self._sent.get(place)
        if delivery is None:
            return self._status_of_none(place)
        order_id = delivery.event.order_id
        retrying = self._retrying.get(order_id, 0)
        if 0 < retrying < item.seq or (delivery.waits and retrying != item.seq):
            return stream.ACK_STATUS_OUT_OF_ORDER
        if delivery.waits and item.outcome == stream.ACK_OUTCOME_RETRY:
            return stream.ACK_STATUS_ALREADY
        _OUTCOMES[item.outcome](self, delivery, item, now)
        return stream.ACK_STATUS_COMMITTED

    def finish_through(self, next_seq: Iterable[int]) -> bool:
        """Everything below is done; False, and nothing is, if something of it is to come again."""
        ends = dict(enumerate(next_seq))
        below = [each for place, each in self._sent.items() if place[1] < ends[place[0]] and not each.parked]
        if any(each.waits for each in below):
            return False
        for each in below:
            self._finish(each)
        return True

    def replay(self) -> None:
        """Takes in what is to be sent again out of the parking place."""
        for place, parked in sorted(self._book.parked.items()) if self._unacked_events_max else ():
            order_id = parked.event.order_id
            if parked.replaying and place not in self._sent:
                if parked.due and not any(each.waits for each in self._line(order_id)):
                    self._retrying.setdefault(order_id, parked.event.seq)
                self._sent[place] = _Delivery(parked.event, parked.attempts, waits=True, parked=True)
                self._due.setdefault(order_id, parked.due if self._retrying.get(order_id) == parked.event.seq else 0.0)

    def redelivery(self, now: float, events_max: int) -> Redelivery | None:
        """What is due to come again, of one order."""
        for order_id in [each for each, due in sorted(self._due.items()) if due <= now and events_max > 0]:
            waiting = [each for each in self._line(order_id) if each.waits]
            if len(waiting) <= events_max:
                del self._due[order_id]
            for each in waiting[:events_max]:
                each.waits = False
            if waiting:
                deliveries = [RedeliveredEvent(attempt=1 + each.attempts, event=each.event) for each in waiting]
                return Redelivery(shard=waiting[0].event.shard, deliveries=deliveries[:events_max])
        return None

    def next_due(self) -> float:
        """When something comes again."""
        return min(self._due.values(), default=inf)

    def _line(self, order_id: str) -> list[_Delivery]:
        return [each for _, each in sorted(self._sent.items()) if each.event.order_id == order_id]

    def _status_of_none(self, place: Place) -> stream.AckStatus.ValueType:
        parked = self._book.parked.get(place)
        if parked is not None and parked.whole_order and self._book.leads(parked.event) is not None:
            return stream.ACK_STATUS_OUT_OF_ORDER
        known = parked is not None or place in self._book.done or place in self._passed
        return stream.ACK_STATUS_ALREADY if known else stream.ACK_STATUS_UNKNOWN

    def _done(self, delivery: _Delivery, _item: stream.AckItem, _now: float) -> None:
        self._release(delivery)
        self._finish(delivery)

    def _retry(self, delivery: _Delivery, item: stream.AckItem, now: float) -> None:
        delivery.attempts += 1
        order_id, due = delivery.event.order_id, now + item.delay.ToMicroseconds() / 1e6
        place = place_of(delivery.event)
        if delivery.parked:
            parked = self._book.parked[place]
            parked.attempts, parked.due = delivery.attempts, due
        else:
            self._book.attempts[place], self._book.due[place] = delivery.attempts, due
        self._retrying[order_id] = item.seq
        self._due[order_id] = due
        for each in self._behind(delivery):
            each.waits = True

    def _park(self, delivery: _Delivery, item: stream.AckItem, _now: float) -> None:
        delivery.attempts += 1
        self._release(delivery)
        self._set_aside(delivery, item.reason, whole_order=False)

    def _park_key(self, delivery: _Delivery, item: stream.AckItem, _now: float) -> None:
        order_id = delivery.event.order_id
        delivery.attempts += 1
        for each in self._behind(delivery):
            self._set_aside(each, item.reason if each is delivery else "", whole_order=True)
        self._retrying.pop(order_id, None)
        self._due.pop(order_id, None)

    def _behind(self, delivery: _Delivery) -> Iterator[_Delivery]:
        """The event and those behind it in its order."""
        return (each for each in self._line(delivery.event.order_id) if each.event.seq >= delivery.event.seq)

    def _release(self, delivery: _Delivery) -> None:
        """Those that had to wait for the event wait no longer."""
        order_id = delivery.event.order_id
        if self._retrying.get(order_id) == delivery.event.seq:
            del self._retrying[order_id]
            self._due[order_id] = 0.0

    def _set_aside(self, delivery: _Delivery, reason: str, *, whole_order: bool) -> None:
        place = place_of(delivery.event)
        attempts = delivery.attempts
        self._book.parked[place] = Parked(
            event=delivery.event, whole_order=whole_order, reason=reason, attempts=attempts
        )
        del self._sent[place]

    def _finish(self, delivery: _Delivery) -> None:
        place = place_of(delivery.event)
        self._book.done.add(place)
        self._book.parked.pop(place, None)
        self._book.attempts.pop(place, None)
        self._book.due.pop(place, None)
        del self._sent[place]


_OUTCOMES: dict[int, Callable[[Settling, _Delivery, stream.AckItem, float], None]] = {
    stream.ACK_OUTCOME_DONE: Settling._done,  # noqa: SLF001 - the class's own table
    stream.ACK_OUTCOME_SKIP: Settling._done,  # noqa: SLF001 - as above
    stream.ACK_OUTCOME_RETRY: Settling._retry,  # noqa: SLF001 - as above
    stream.ACK_OUTCOME_PARK: Settling._park,  # noqa: SLF001 - as above
    stream.ACK_OUTCOME_PARK_KEY: Settling._park_key,  # noqa: SLF001 - as above
}
