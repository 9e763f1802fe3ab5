"""The recent events of the log in memory, ready to be cut into frames at the ends of groups."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from infra.kernel.filter import EVERYTHING, Term
from sync.domain.log import Attributes, Batch, Event

_SCAN_EVENTS_MAX: Final = 2_000  # matched in one go, about 2 ms of the loop; the rest waits for its turn
_TRIM_SHARE: Final = 8  # an eighth of the ring goes at once, so that the cost of moving lists is spread


class Limits(NamedTuple):
    """Most events and bytes of events to take, but for a first group that is larger."""

    events_max: int
    bytes_max: int

    def within(self, other: "Limits") -> "Limits":
        """What both allow."""
        return Limits(events_max=min(self.events_max, other.events_max), bytes_max=min(self.bytes_max, other.bytes_max))

    def without(self, events: int, size: int) -> "Limits":
        """What is left of them once so much is taken."""
        return Limits(self.events_max - events, self.bytes_max - size)


class Piece(NamedTuple):
    """A range of one shard and what matches in it. `size` counts bytes of encoded events."""

    shard: int
    first_seq: int
    last_seq: int
    chunks: Sequence[bytes]
    size: int


class PassingEvent(NamedTuple):
    """One event on its way to a stream that keeps account of each."""

    shard: int
    seq: int
    order_id: str
    chunk: bytes
    size: int


class Segment:
    """Adjacent events of one shard. Those of a group that has not ended yet are kept, but not shown.

    Attributes:
        shard: Theirs.
        first_seq: The seq of the first one.
        next_seq: The seq after the last whole group.
    """

    def __init__(self, shard: int, first_seq: int) -> None:
        self.shard = shard
        self.first_seq = self.next_seq = first_seq
        self._chunks: list[bytes] = []
        self._attributes: list[Attributes] = []
        self._sizes: list[int] = []  # running totals, so that a byte limit is one bisection
        self._dropped = 0
        self._group_ends: list[int] = []  # the seq after each group

    @classmethod
    def of(cls, batch: Batch) -> "Segment":
        """The events of one batch."""
        segment = cls(batch.shard, batch.first_seq)
        segment.append(batch.events)
        return segment

    @property
    def size(self) -> int:
        """Bytes of the encoded events that are held."""
        return (self._sizes[-1] if self._sizes else self._dropped) - self._dropped

    def first_order_id(self, start: int, end: int, term: Term) -> str:
        """The order of the first matching event from `start` on, below `end`; empty where it is not held, or far."""
        if start < self.first_seq:
            return ""
        end = min(end, self.next_seq, start + _SCAN_EVENTS_MAX)
        return next((event.order_id for event in self.passing(start, end, term)), "")

    def append(self, events: Iterable[Event]) -> None:
        """Adds the events that follow the last one."""
        total = self._dropped + self.size
        for event in events:
            total += event.size
            self._chunks.append(event.chunk)
            self._attributes.append(event.attributes)
            self._sizes.append(total)
            if event.ends_group:
                self.next_seq = event.seq + 1
                self._group_ends.append(self.next_seq)

    def drop(self, bytes_min: int) -> None:
        """Forgets the oldest events, at least this many bytes of them, or all whole groups."""
        count = bisect_left(self._sizes, self._dropped + bytes_min) + 1
        count = min(count, self.next_seq - self.first_seq)
        if count == 0:
            return
        self._dropped = self._sizes[count - 1]
        self.first_seq += count
        del self._chunks[:count], self._attributes[:count], self._sizes[:count]
        # The end of what was dropped stays: it is where an emptied segment stands.
        del self._group_ends[: bisect_left(self._group_ends, self.first_seq)]

    def cut(self, start: int, limits: Limits, term: Term = EVERYTHING) -> Piece:
        """The whole groups from `start` on that the limits allow, at least one; there must be one."""
        if term is EVERYTHING or term == EVERYTHING:
            return self._cut_all(start, limits)
        return self._cut_matching(start, limits, term)

    def passing(self, start: int, end: int, term: Term) -> Iterator[PassingEvent]:
        """The matching events from `start` on, below `end`; all of them must be held."""
        for at in range(start - self.first_seq, end - self.first_seq):
            attributes = self._attributes[at]
            if term is EVERYTHING or term.holds(attributes):
                order_id = str(attributes["order_id"])
                yield PassingEvent(self.shard, self.first_seq + at, order_id, self._chunks[at], self._size_at(at))

    def _cut_all(self, start: int, limits: Limits) -> Piece:
        low = start - self.first_seq
        before = self._sizes[low - 1] if low else self._dropped
        high = bisect_right(self._sizes, before + limits.bytes_max, low, min(low + limits.events_max, len(self._sizes)))
        at = bisect_right(self._group_ends, self.first_seq + high) - 1
        if at < 0 or self._group_ends[at] <= start:
            at += 1
        end = self._group_ends[at]
        high = end - self.first_seq
        return Piece(self.shard, start, end - 1, self._chunks[low:high], self._sizes[high - 1] - before)

    def _cut_matching(self, start: int, limits: Limits, term: Term) -> Piece:
        chunks: list[bytes] = []
        size, end = 0, start
        low = start - self.first_seq
        for number in range(bisect_right(self._group_ends, start), len(self._group_ends)):
            group_end = self._group_ends[number]
            high = group_end - self.first_seq
            matching = [at for at in range(low, high) if term.holds(self._attributes[at])]
            if matching:
                matching_size = sum(map(self._size_at, matching))
                over = len(chunks) + len(matching) > limits.events_max or size + matching_size > limits.bytes_max
                if over and chunks:
                    break
                chunks += map(self._chunks.__getitem__, matching)
                size += matching_size
            low, end = high, group_end
            if end - start >= _SCAN_EVENTS_MAX:
                break
        return Piece(self.shard, start, end - 1, chunks, size)

    def _size_at(self, at: int) -> int:
        return self._sizes[at] - (self._sizes[at - 1] if at else self._dropped)


class Ring:
    """One segment per shard, all of them together within a limit.

    Attributes:
        version: Grows with every append.
        first_seqs: By shard, the seq of the first event that is held.
        next_seqs: By shard, the seq after the last event that is shown.
    """

    def __init__(self, next_seqs: Sequence[int], *, ring_bytes_max: int) -> None:
        self.version = 0
        self.first_seqs = self.next_seqs = tuple(next_seqs)
        self.segments = tuple(Segment(shard, seq) for shard, seq in enumerate(next_seqs))
        self._bytes_max = ring_bytes_max

    @property
    def size(self) -> int:
        """Bytes of the encoded events that are held."""
        return sum(segment.size for segment in self.segments)

    def append(self, batches: Iterable[Batch]) -> None:
        """Adds batches, each of which follows its shard's last event; the oldest events make room."""
        for batch in batches:
            self.segments[batch.shard].append(batch.events)
        while self.size > self._bytes_max:
            before = self.size
            max(self.segments, key=lambda segment: segment.size).drop(max(1, self._bytes_max // _TRIM_SHARE))
            if self.size == before:  # nothing but groups that have not ended
                break
        first_seqs = tuple(segment.first_seq for segment in self.segments)
        if first_seqs != self.first_seqs:  # else the same object stays: `Session.missing` looks no further
            self.first_seqs = first_seqs
        self.next_seqs = tuple(segment.next_seq for segment in self.segments)
        self.version += 1
