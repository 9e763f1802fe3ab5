"""Whole groups out of single events that may repeat, from a carrier that knows nothing of groups."""

from collections.abc import Collection, Iterable

from infra.kernel.position import Position
from sync.domain.errors import LogHoleError
from sync.domain.log import Batch, Event


class Assembly:
    """Takes in events of some shards and gives out whole groups, each event once, in sequence.

    Attributes:
        position: Behind the last whole group that was given out.
    """

    def __init__(self, start: Position, shards: Iterable[int]) -> None:
        self.position = start
        self._held: dict[int, list[Event]] = {shard: [] for shard in shards}

    @property
    def shards(self) -> Collection[int]:
        """The shards that it takes in."""
        return self._held.keys()

    def wanted(self) -> dict[int, int]:
        """By shard, where its carrier has to begin; events of a group that is not whole are wanted again."""
        for held in self._held.values():
            held.clear()
        return {shard: self.position.next_seq[shard] for shard in self._held}

    def take(self, shard: int, event: Event) -> None:
        """Holds the event if it is the next one, drops it if it is a repeated one.

        Raises:
            LogHoleError: It is neither.
        """
        held = self._held[shard]
        expected = held[-1].seq + 1 if held else self.position.next_seq[shard]
        if event.seq > expected:
            raise LogHoleError(shard, expected, event.seq)
        if event.seq == expected:
            held.append(event)

    def whole(self) -> list[Batch]:
        """The whole groups that are held, one batch a shard; the position is behind them now."""
        found = []
        for shard, held in self._held.items():
            length = next((n for n in range(len(held), 0, -1) if held[n - 1].ends_group), 0)
            if length:
                events = held[:length]
                del held[:length]
                found.append(Batch(shard=shard, first_seq=events[0].seq, last_seq=events[-1].seq, events=events))
        self._move(found)
        return found

    def pass_by(self, batch: Batch) -> None:
        """Moves behind a batch of whole groups that came another way.

        Raises:
            LogHoleError: It does not begin at the shard's position.
        """
        expected = self.position.next_seq[batch.shard]
        if batch.first_seq != expected:
            raise LogHoleError(batch.shard, expected, batch.first_seq)
        self._held[batch.shard].clear()
        self._move([batch])

    def _move(self, batches: Iterable[Batch]) -> None:
        moves = {batch.shard: batch.last_seq + 1 for batch in batches}
        if moves:
            self.position = self.position.moved(moves)
