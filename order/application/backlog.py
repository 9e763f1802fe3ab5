"""How much of the log is not on the bus yet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from order.application.ports import Log
from order.application.relay_ports import Lease


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardBacklog:
    """What one topic lacks of one shard.

    Attributes:
        next_seq: The first event that is not on the bus for good, as far as the relay has noted it.
        events: How many the log has from there on.
        oldest_us: Record time of the first of them; none when there are none.
    """

    shard: int
    next_seq: int
    events: int
    oldest_us: int | None


async def backlog(log: Log, lease: Lease) -> Mapping[str, Sequence[ShardBacklog]]:
    """By topic, what each shard lacks; nothing about a topic that no relay has begun to fill."""
    cursors = await lease.cursors()
    heads, earliest = await log.heads(), await log.earliest()  # read after the cursors: the heads are never below them
    found: dict[str, list[ShardBacklog]] = {}
    for (topic, shard), cursor in sorted(cursors.items()):
        begin = max(cursor.next_seq, earliest[shard])  # what is noted of a topic that is no more holds nothing
        events = max(0, heads[shard].next_seq - begin)
        first = await log.read_events(shard, begin, 1) if events else []
        found.setdefault(topic, []).append(
            ShardBacklog(
                shard=shard,
                next_seq=cursor.next_seq,
                events=events,
                oldest_us=first[0].record_time_us if first else None,
            )
        )
    return found
