"""Tells a shard that stands still although the log has gone on from one whose turn has not come."""

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
