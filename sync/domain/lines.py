"""Events that a stream has sent and that are not finished, by order: each order's form its line. Pure."""

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from enum import Enum, auto
from heapq import heapify, heappop, heappush
from math import inf
from typing import Final

from sync.domain.parking import Mark, ParkedEvent
from sync.domain.ring import PassingEvent
from sync.domain.settlement import Park

_AGENDA_SPARE: Final = 64


class State(Enum):
    """Where an event is that is not finished."""

    HELD = auto()  # in a frame that waits until others are set aside
    SENT = auto()  # with the subscriber
    WAITING = auto()  # to be sent by itself, after what is before it in its line
    FINISHING = auto()  # its outcome is on the way to the database
    PARKING = auto()  # as above, and it is to be set aside


@dataclass(slots=True, kw_only=True)
class Delivery:
    """One event.

    Attributes:
        first: Where the stretch begins that is done with it.
        attempts: How often it was answered with RETRY, or parked.
        parked: It comes out of the parking place.
    """

    event: PassingEvent
    first: int
    state: State = State.SENT
    attempts: int = 0
    parked: bool = False

    @property
    def at(self) -> tuple[int, int]:
        """Its shard and seq."""
        return self.event.shard, self.event.seq

    def park(self, now_us: int, *, whole_order: bool, reason: str = "", replaying: bool = False) -> Park:
        """The event as it is set aside."""
        event = ParkedEvent(
            shard=self.event.shard,
            seq=self.event.seq,
            order_id=self.event.order_id,
            chunk=self.event.chunk,
            whole_order=whole_order,
            reason=reason,
            attempts=self.attempts,
            parked_time_us=now_us,
            replaying=replaying,
        )
        return Park(event=event, first=self.first, again=self.parked)

    def mark(self, *, whole_order: bool, replaying: bool) -> Mark:
        """What is kept in mind of the event while it is set aside."""
        shard, seq = self.at
        return Mark(shard=shard, seq=seq, order_id=self.event.order_id, whole_order=whole_order, replaying=replaying)


@dataclass(frozen=True, slots=True, kw_only=True)
class Redelivery:
    """Events of one order that come again, each with the how many-th time it is sent and its chunk."""

    shard: int
    deliveries: tuple[tuple[int, bytes], ...]
    size: int


@dataclass(slots=True)
class Line:
    """The events of one order.

    Attributes:
        retrying: The seq that must be finished before those behind it; 0 for none.
        due: When the first of what waits may be sent.
    """

    order_id: str
    deliveries: dict[int, Delivery] = field(default_factory=dict)
    retrying: int = 0
    due: float = inf
    _out: list[int] = field(default_factory=list)  # the seqs of those HELD or SENT, sorted
    _waiting: list[int] = field(default_factory=list)

    @property
    def waits(self) -> bool:
        """Whether something is to be sent."""
        return bool(self._waiting)

    def add(self, delivery: Delivery) -> None:
        """The delivery stands in the line."""
        self.deliveries[delivery.event.seq] = delivery
        self._enter(delivery)

    def remove(self, delivery: Delivery) -> None:
        """The delivery stands there no longer."""
        del self.deliveries[delivery.event.seq]
        self._leave(delivery)

    def turn(self, delivery: Delivery, state: State) -> None:
        """The delivery is in another state from now on."""
        self._leave(delivery)
        delivery.state = state
        self._enter(delivery)

    def out(self, since: int) -> list[Delivery]:
        """Those that are HELD or SENT, of this seq and later ones, by seq."""
        return [self.deliveries[seq] for seq in self._out[bisect_left(self._out, since) :]]

    def waiting(self, since: int = 0, *, most: int | None = None) -> list[Delivery]:
        """Those that are to be sent, of this seq and later ones, by seq; not more than so many."""
        return [self.deliveries[seq] for seq in self._waiting[bisect_left(self._waiting, since) :][:most]]

    def _enter(self, delivery: Delivery) -> None:
        seqs = self._seqs(delivery.state)
        if seqs is not None:
            insort(seqs, delivery.event.seq)

    def _leave(self, delivery: Delivery) -> None:
        seqs = self._seqs(delivery.state)
        if seqs is not None:
            del seqs[bisect_left(seqs, delivery.event.seq)]

    def _seqs(self, state: State) -> list[int] | None:
        if state is State.WAITING:
            return self._waiting
        return self._out if state is State.SENT or state is State.HELD else None


class Lines:
    """The lines of all orders, and when something of them is to be sent.

    Attributes:
        events: By shard and seq, every event that is not finished.
        size: Bytes of the encoded events.
    """

    def __init__(self) -> None:
        self.events: dict[tuple[int, int], Delivery] = {}
        self.size = 0
        self._lines: dict[str, Line] = {}
        self._agenda: list[tuple[float, str]] = []

    def of(self, delivery: Delivery) -> Line:
        """The line that an event stands in."""
        return self._lines[delivery.event.order_id]

    def add(self, delivery: Delivery) -> Line:
        """Puts an event at its place; its line."""
        self.events[delivery.at] = delivery
        self.size += delivery.event.size
        order_id = delivery.event.order_id
        line = self._lines.get(order_id) or self._lines.setdefault(order_id, Line(order_id))
        line.add(delivery)
        return line

    def forget(self, delivery: Delivery) -> None:
        """An event is finished."""
        del self.events[delivery.at]
        self.size -= delivery.event.size
        line = self.of(delivery)
        line.remove(delivery)
        if not line.deliveries:
            del self._lines[line.order_id]

    def schedule(self, line: Line, due: float) -> None:
        """What waits in the line is to be sent then."""
        line.due = due
        if len(self._agenda) > 2 * len(self._lines) + _AGENDA_SPARE:  # most of it is of what was finished earlier
            self._agenda = [(each.due, each.order_id) for each in self._lines.values() if each.waits]
            heapify(self._agenda)
        heappush(self._agenda, (due, line.order_id))

    def due_at(self, now: float) -> Line | None:
        """The line of which something is due."""
        return self._lines[self._agenda[0][1]] if self.next_due() <= now else None

    def next_due(self) -> float:
        """When something is due."""
        while self._agenda:
            due, order_id = self._agenda[0]
            line = self._lines.get(order_id)
            if line is not None and line.due == due and line.waits:
                return due
            heappop(self._agenda)
        return inf
