"""For how long the oldest group has been open that may still be committed, by whichever process."""

from sqlalchemy import Connection, text


def open_seconds(connection: Connection) -> float | None:
    """Its age, 0 if there is none; None where the database does not tell.

    A group has its time once it holds the heads of its shards, and holds them until it is committed or is no more. What
    the age is measured from, the begin of its transaction, comes before that.
    """
    if connection.dialect.name != "postgresql":
        return None
    return float(connection.execute(_OLDEST).scalar_one())


_OLDEST = text(
    """
    SELECT coalesce(extract(epoch FROM clock_timestamp() - min(activity.xact_start)), 0)
    FROM pg_locks AS held JOIN pg_stat_activity AS activity USING (pid)
    WHERE held.locktype = 'relation' AND held.relation = CAST('shard_heads' AS regclass)
      AND activity.datname = current_database() AND held.mode IN ('RowShareLock', 'RowExclusiveLock')
    """
)
