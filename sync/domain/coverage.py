"""How far a stream that keeps account of single events has come in each shard, and what is done there. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

from sync.domain.done_set import Floor, Retried, Stretch
from sync.domain.settlement import Changes


class Coverage:
    """The stretches that a stream has passed.

    Args:
        floors: By shard, what was done when the stream was opened.
        next_seqs: By shard, where it began.
    """

    def __init__(self, floors: Mapping[int, Floor], next_seqs: Sequence[int]) -> None:
        self._floors = floors
        self._ends = list(next_seqs)
        self._passed: list[tuple[int, Stretch]] = []
        self._ahead: set[tuple[int, int]] = set()

    @property
    def has_passed(self) -> bool:
        """Whether something was passed over, and is not taken."""
        return bool(self._passed)

    def after_done(self, shard: int, seq: int) -> int:
        """The first seq from this one on that was not done."""
        return self._floors[shard].after_done(seq)

    def retried(self, shard: int, seq: int) -> Retried | None:
        """How often the event was answered with RETRY, if it was."""
        return self._floors[shard].attempts.get(seq)

    def reach(self, shard: int, seq: int) -> int:
        """The stream has come to this event; where the stretch begins that ends with it."""
        first, self._ends[shard] = self._ends[shard], seq + 1
        return first

    def is_done(self, shard: int, seq: int) -> bool:
        """Whether the event that the stream comes to was done, or finished ahead of it."""
        if (shard, seq) in self._ahead:
            self._ahead.remove((shard, seq))
            return True
        return self._floors[shard].is_done(seq)

    def pass_over(self, shard: int, stretch: Stretch) -> None:
        """Nothing is left to do in the stretch, and no ack will say so."""
        self._passed.append((shard, stretch))

    def finish_ahead(self, shard: int, seq: int) -> None:
        """An event out of the parking place is finished; the stream may come to it yet, where a Seek moved below it."""
        if seq >= self._ends[shard]:
            self._ahead.add((shard, seq))

    def knows_done(self, shard: int, seq: int) -> bool:
        """Whether an event of which nothing is left to do is done: not if the stream has never come to it."""
        floor = self._floors.get(shard)
        if floor is None:
            return False
        return seq < self._ends[shard] or floor.is_done(seq) or (shard, seq) in self._ahead

    def tails(self, next_seqs: Sequence[int], busy: AbstractSet[int]) -> Iterator[tuple[int, Stretch]]:
        """By shard that is not busy, what was passed since its last event: nothing there matched."""
        for shard, (end, seq) in enumerate(zip(self._ends, next_seqs, strict=True)):
            if seq > end and shard not in busy:
                yield shard, (end, seq)

    def take_passed(self, changes: Changes) -> None:
        """What was passed over is among what is done."""
        for shard, stretch in self._passed:
            changes.finish(shard, stretch)
        self._passed = []

    def take_tails(self, next_seqs: Sequence[int], busy: AbstractSet[int], changes: Changes) -> None:
        """As above, for the tails."""
        for shard, stretch in self.tails(next_seqs, busy):
            changes.finish(shard, stretch)
            self._ends[shard] = stretch[1]
