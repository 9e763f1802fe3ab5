"""Where in a partition a seq is, found in few look-ups."""

from dataclasses import dataclass
from typing import Final

_SLACK_EVENTS: Final = 500  # read in passing, some 10 ms; another look-up costs more
_HALVING_ROUNDS: Final = 3


@dataclass(frozen=True, slots=True)
class Record:
    """A record's offset, and the seq of its event."""

    offset: int
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A partition as it is: its first offset, the one behind its last, and its last record, if there is one."""

    first: int
    behind: int
    last: Record | None


@dataclass(slots=True)
class Seek:
    """The search for one seq.

    Offsets run ahead of seqs, as markers and repeated records lie in between: mostly evenly, so that two records tell
    where a third one should be. Where they lie unevenly, every third probe halves what is left.

    Attributes:
        seq: The wanted one.
        below: A record with a lower seq; at first the place before the partition's begin, and no seq.
        above: The first record at or behind this offset has the wanted seq or a higher one.
        rounds: How often it was looked up.
    """

    seq: int
    below: Record
    above: Record
    rounds: int = 0

    @classmethod
    def between(cls, partition: Partition, seq: int) -> "Seek":
        """A search in the partition."""
        last = partition.last
        if last is None:
            return cls(seq, Record(partition.behind - 1, 0), Record(partition.behind, seq))
        if last.seq < seq:
            return cls(seq, last, Record(last.offset + 1, seq))
        return cls(seq, Record(partition.first - 1, 0), last)

    @property
    def is_over(self) -> bool:
        """Whether `start` is near enough."""
        return self.seq - self.below.seq <= _SLACK_EVENTS or self.above.offset - self.below.offset <= 1

    @property
    def start(self) -> int:
        """Read from here, the wanted seq comes, and everything behind it; before it perhaps a few lower ones."""
        return self.below.offset + 1

    @property
    def probe(self) -> int:
        """The offset to look at next: the begin, then somewhat before where the seq should be."""
        if self.rounds == 0:
            return self.start
        width = self.above.offset - self.below.offset
        if self.rounds % _HALVING_ROUNDS == 0:
            return self.below.offset + width // 2
        into = width * (self.seq - self.below.seq) // (self.above.seq - self.below.seq) - _SLACK_EVENTS // 2
        return self.below.offset + min(max(into, 1), width - 1)

    def learn(self, found: Record | None) -> None:
        """Narrows the search by the first record at or behind the probe."""
        if found is not None and found.seq < self.seq:
            self.below = found
        else:
            self.above = Record(self.probe, found.seq if found else self.above.seq)
        self.rounds += 1
