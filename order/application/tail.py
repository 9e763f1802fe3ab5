"""The newest events of the log in memory: who keeps up with it need not ask the database."""

from collections import defaultdict
from collections.abc import Iterable

from order.application.ports import LoggedEvent


class Tail:
    """For each shard an unbroken run of its newest events, all of them together within a limit.

    Args:
        shards: Number of shards of the log; each may hold its share of the limit.
        bytes_max: Of encoded events. More serves readers that are further behind, and takes that memory.
    """

    def __init__(self, shards: int, *, bytes_max: int) -> None:
        self._share_bytes = bytes_max // shards
        self._runs: defaultdict[int, list[LoggedEvent]] = defaultdict(list)
        self._bytes: defaultdict[int, int] = defaultdict(int)

    def append(self, events: Iterable[LoggedEvent]) -> None:
        """Takes in what was committed: whole groups, of each shard in their sequence.

        Between two calls somebody else may have committed: a shard that leaves out numbers begins anew behind them.
        """
        for event in events:
            run = self._runs[event.shard]
            if run and run[-1].seq + 1 != event.seq:
                self._forget(event.shard, len(run))
            run.append(event)
            self._bytes[event.shard] += len(event.body)
            while self._bytes[event.shard] > self._share_bytes:
                self._forget(event.shard, (len(run) + 1) // 2)  # halves, so that lists are seldom moved

    def read(self, shard: int, from_seq: int, events_max: int) -> list[LoggedEvent]:
        """As `Log.read_events`, from what is held; nothing if that does not begin at or before `from_seq`."""
        run = self._runs[shard]
        if not run or not run[0].seq <= from_seq <= run[-1].seq:
            return []
        start = from_seq - run[0].seq
        return run[start : _group_end(run, start, start + events_max)]

    def _forget(self, shard: int, events: int) -> None:
        run = self._runs[shard]
        self._bytes[shard] -= sum(len(event.body) for event in run[:events])
        del run[:events]


def _group_end(run: list[LoggedEvent], start: int, end: int) -> int:
    """The last end of a group up to `end`, or that of the first group, if it goes beyond."""
    if end >= len(run):
        return len(run)
    begun = end - run[end].group_index
    return begun if begun > start else begun + run[end].group_size
