"""The lower end of the log in SQL: from where it is still needed, and how it is trimmed."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, text


def trim(connection: Connection, shard: int, before_us: int, events_max: int) -> int:
    """See `Log.trim`. The head's row is locked by the last statement, for no longer than the commit takes."""
    floor = connection.execute(_FLOOR, {"shard": shard}).scalar_one()
    oldest = connection.execute(_OLDEST, {"shard": shard, "events_max": events_max}).all()
    earliest = _behind_last_group(oldest, before_us, floor)
    if earliest is None:
        return 0
    connection.execute(_FORGET_EVENTS, {"shard": shard, "earliest_seq": earliest})
    connection.execute(_MOVE_EARLIEST, {"shard": shard, "earliest_seq": earliest})
    return earliest - int(oldest[0].seq)


def _behind_last_group(oldest: Sequence[Any], before_us: int, floor: int | None) -> int | None:
    """The seq behind the last whole group that is old enough and below the floor; none if there is none."""
    end: int | None = None
    for row in oldest:
        if row.record_time_us >= before_us or (floor is not None and row.seq >= floor):
            break
        if row.group_index + 1 == row.group_size:
            end = int(row.seq) + 1
    return end


def lowest_floors(connection: Connection, shards: int) -> list[int | None]:
    """See `Log.lowest_floors`."""
    return [connection.execute(_FLOOR, {"shard": shard}).scalar_one() for shard in range(shards)]


# Who has not said yet how far it is may need everything.
_FLOOR: Final = text("""
    SELECT min(next_seq) FROM (
        SELECT coalesce(log_floors.next_seq, 1) AS next_seq FROM log_subscriptions
        LEFT JOIN log_floors ON log_floors.name = log_subscriptions.name AND log_floors.shard = :shard
        UNION ALL
        SELECT next_seq FROM relay_cursors WHERE shard = :shard
    ) AS floors
""")
_OLDEST: Final = text("""
    SELECT seq, group_index, group_size, record_time_us FROM order_events
    WHERE shard = :shard ORDER BY seq LIMIT :events_max
""")
_FORGET_EVENTS: Final = text("DELETE FROM order_events WHERE shard = :shard AND seq < :earliest_seq")
_MOVE_EARLIEST: Final = text("""
    UPDATE shard_heads SET earliest_seq = :earliest_seq WHERE shard = :shard AND earliest_seq < :earliest_seq
""")
