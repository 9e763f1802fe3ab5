"""Tells a shard that stands still although the log has gone on from one whose turn has not come."""

from math import inf

from infra.kernel.position import Position
from sync.domain.log import LogHead


def stalled(before: Position, now: Position, seen: LogHead) -> dict[int, int]:
    """The shards that have not moved between two looks, the first of which saw more of the log; up to where.

    While another shard is on its way to what was seen, none is: a backlog comes in long runs of one shard, and those
    that wait for theirs are not stuck.
    """
    behind = {shard: head for shard, head in enumerate(seen.next_seq) if now.next_seq[shard] < head}
    if any(now.next_seq[shard] > before.next_seq[shard] for shard in behind):
        return {}
    return behind


class Watch:
    """Looks again and again whether a shard stands still. A stall of `stall_seconds` makes two looks, which show it."""

    def __init__(self, stall_seconds: float) -> None:
        self._pause_seconds = stall_seconds / 2
        self._position: Position | None = None
        self._head: LogHead | None = None
        self._due_at = -inf

    def seconds_left(self, now: float) -> float:
        """Until the next look."""
        return max(0.0, self._due_at - now)

    def look(self, position: Position, head: LogHead | None, now: float) -> dict[int, int]:
        """See `stalled`, since the last look. Without the log's head there is nothing to be seen, at this look."""
        before, seen = self._position, self._head
        self._position, self._head = position, head
        self._due_at = now + self._pause_seconds
        return {} if before is None or seen is None else stalled(before, position, seen)
