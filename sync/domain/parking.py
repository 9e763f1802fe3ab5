"""The parking place: events that a subscriber could not process, set aside until somebody decides about them."""

from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

PARKED_EVENTS_MAX: Final = 10_000  # of one subscription


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedEvent:
    """One event in the parking place of a subscription.

    Attributes:
        chunk: The event as it stands in a batch on the wire.
        whole_order: The later events of its order go with it.
        attempts: How often it was answered with RETRY, or parked.
        replaying: It is to be sent again, or has been and is not finished.
        due_us: When, by the wall clock, if it was answered with RETRY since; 0 if at once.
        delay_us: So long after that answer; see `Retried`.
    """

    shard: int
    seq: int
    order_id: str
    chunk: bytes
    whole_order: bool
    reason: str
    attempts: int
    parked_time_us: int
    replaying: bool = False
    due_us: int = 0
    delay_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What a stream keeps in mind of a parked event."""

    shard: int
    seq: int
    order_id: str
    whole_order: bool
    replaying: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which of the parked events are meant: one, an order's, or all of them.

    An event of an order that is parked as a whole brings the others, as order is kept.
    """

    event: tuple[int, int] | None = None
    order_id: str | None = None


class Marks:
    """The parked events of a stream's shards, as far as the stream knows."""

    def __init__(self, marks: Iterable[Mark] = ()) -> None:
        self._events: dict[tuple[int, int], Mark] = {}
        self._orders: dict[str, list[int]] = {}  # the seqs of those that are parked as a whole
        for mark in marks:
            self.add(mark)

    def __len__(self) -> int:
        return len(self._events)

    def replace(self, marks: Iterable[Mark]) -> set[tuple[int, int]]:
        """These are parked, and no others; shard and seq of those that are parked no longer."""
        before = set(self._events)
        self._events.clear()
        self._orders.clear()
        for mark in marks:
            self.add(mark)
        return before - self._events.keys()

    def add(self, mark: Mark) -> None:
        """An event is parked."""
        self.remove(mark.shard, mark.seq)
        self._events[mark.shard, mark.seq] = mark
        if mark.whole_order:
            insort(self._orders.setdefault(mark.order_id, []), mark.seq)

    def remove(self, shard: int, seq: int) -> None:
        """An event is parked no longer."""
        mark = self._events.pop((shard, seq), None)
        if mark is not None and mark.whole_order:
            seqs = self._orders[mark.order_id]
            seqs.remove(seq)
            if not seqs:
                del self._orders[mark.order_id]

    def holds(self, shard: int, seq: int) -> bool:
        """Whether the event is parked."""
        return (shard, seq) in self._events

    def follows(self, shard: int, seq: int) -> bool:
        """Whether the event is parked only because an earlier one of its order is."""
        mark = self._events.get((shard, seq))
        return mark is not None and mark.whole_order and seq > self._orders[mark.order_id][0]

    def holds_back(self, shard: int, order_id: str, seq: int) -> bool:
        """Whether an earlier event of the order is parked and not on its way back."""
        earlier = (each for each in self._orders.get(order_id, ()) if each < seq)
        return any(not self._events[shard, each].replaying for each in earlier)

    def replays(self, shard: int, seq: int) -> bool:
        """Whether the event is parked and on its way back."""
        mark = self._events.get((shard, seq))
        return mark is not None and mark.replaying

    def span(self, order_id: str) -> tuple[int, int] | None:
        """The first and the last seq of an order that is parked as a whole."""
        seqs = self._orders.get(order_id)
        return None if seqs is None else (seqs[0], seqs[-1])
