"""What became of requests, as their idempotency keys keep it, in SQL."""

from typing import Final

from sqlalchemy import Connection, select, text

from order.adapters.sql_group import stored_reply
from order.adapters.sql_tables import IDEMPOTENCY
from order.application.ports import Outcome, RequestKey, StoredReply


def reply(connection: Connection, key: RequestKey) -> StoredReply | None:
    """What is stored under the key."""
    found = (IDEMPOTENCY.c.principal == key[0]) & (IDEMPOTENCY.c.request_id == key[1])
    row = connection.execute(_REPLY.where(found)).one_or_none()
    return None if row is None else stored_reply(*row)


def stored(connection: Connection, key: RequestKey, new: StoredReply, time_us: int) -> StoredReply:
    """What is stored under the key: `new`, if nothing was.

    Whoever inserts the key second waits for the first, and finds what it has left.
    """
    row = {"principal": key[0], "request_id": key[1], "time_us": time_us, **new._asdict()}
    connection.execute(_STORE, {**row, "outcome": new.outcome.value})
    found = reply(connection, key)
    assert found is not None  # noqa: S101 - the statement before has seen to it
    return found


def finished(connection: Connection, key: RequestKey, end: bytes) -> bytes:
    """Stores how a request that has begun came to its end; what is stored of it."""
    row = {"principal": key[0], "request_id": key[1], "reply": end}
    connection.execute(_FINISH, {**row, "begun": Outcome.BEGUN.value, "committed": Outcome.COMMITTED.value})
    found = reply(connection, key)
    return end if found is None else found.reply  # none: forgotten meanwhile


def forget(connection: Connection, before_us: int, replies_max: int) -> int:
    """Removes so many of the oldest that are older; how many."""
    return connection.execute(_FORGET, {"before_us": before_us, "replies_max": replies_max}).rowcount


_REPLY: Final = select(IDEMPOTENCY.c.method, IDEMPOTENCY.c.content, IDEMPOTENCY.c.outcome, IDEMPOTENCY.c.reply)
_STORE: Final = text(
    """
    INSERT INTO idempotency (principal, request_id, method, content, outcome, reply, time_us)
    VALUES (:principal, :request_id, :method, :content, :outcome, :reply, :time_us) ON CONFLICT DO NOTHING
    """
)
_FINISH: Final = text(
    """
    UPDATE idempotency SET outcome = :committed, reply = :reply
    WHERE principal = :principal AND request_id = :request_id AND outcome = :begun
    """
)
_FORGET: Final = text(
    """
    DELETE FROM idempotency WHERE (principal, request_id) IN (
        SELECT principal, request_id FROM idempotency WHERE time_us < :before_us ORDER BY time_us LIMIT :replies_max
    )
    """
)
