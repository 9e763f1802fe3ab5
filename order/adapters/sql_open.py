"""For how long the oldest group has been open that another process may still commit."""

from sqlalchemy import Connection, text


def open_seconds(connection: Connection) -> float:
    """Its age; 0 if there is none, and on SQLite, where there is no other process.

    A group has its time once it holds the heads of its shards, and holds them until it is committed or is no more. What
    the age is measured from, the begin of its transaction, comes before that.
    """
    if connection.dialect.name != "postgresql":
        return 0
    return float(connection.execute(_OLDEST).scalar_one())


_OLDEST = text(
    """
    SELECT coalesce(extract(epoch FROM clock_timestamp() - min(activity.xact_start)), 0)
    FROM pg_locks AS held JOIN pg_stat_activity AS activity USING (pid)
    WHERE held.locktype = 'relation' AND held.relation = CAST('shard_heads' AS regclass)
      AND activity.datname = current_database() AND held.mode IN ('RowShareLock', 'RowExclusiveLock')
    """
)
