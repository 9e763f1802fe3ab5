"""What a group of commands reads and writes, in each database's own way. This is the hot path: no ORM, no Core."""

from collections.abc import Callable, Mapping, Sequence
from sqlite3 import Cursor
from typing import Any, Final, NamedTuple, Protocol

from sqlalchemy import Connection
from sqlalchemy.util import await_only

from infra.kernel.shard import shard_of
from infra.runtime.database import DatabaseUnavailableError
from order.adapters.wire_order import order_from_wire
from order.adapters.wire_records import history_from_bytes, history_to_bytes
from order.application.ports import Head, Needs, Outcome, StoredReply, View, Writes
from order.domain.commands import OWN_RECORD_KIND
from order.domain.records import Record, RecordKey, own_record


class Group(Protocol):
    """Reads and writes of one group, inside its transaction."""

    def read(self, connection: Connection, needs: Needs, shards: Sequence[int]) -> View:
        """What is there, and the heads of the shards, locked until the transaction ends."""

    def write(self, connection: Connection, writes: Writes) -> None:
        """All of it.

        Raises:
            DatabaseUnavailableError: Another process has just taken one of the request ids: decide again.
        """


class Rows(NamedTuple):
    """The rows of one group, by table and in its columns' sequence; keys sorted, so that nobody waits in a circle."""

    replies: list[tuple[Any, ...]]
    orders: list[tuple[Any, ...]]
    events: Sequence[tuple[Any, ...]]
    records: list[tuple[Any, ...]]
    personal_before: list[tuple[Any, ...]]
    personal: list[tuple[Any, ...]]
    heads: list[tuple[Any, ...]]


def rows_of(writes: Writes) -> Rows:
    """The rows that the writes make."""
    return Rows(
        replies=[
            (*key, reply.method, reply.content, int(reply.outcome), reply.reply, writes.time_us)
            for key, reply in sorted(writes.replies.items())
        ],
        orders=[
            (
                *(order.order_id, order.customer_id, order.store_id, order.currency_code, order.state, order.version),
                *(body, order.place_time_us, order.due_time_us, _own_content(order.order_id, writes)),
            )
            for order, body in writes.orders.values()
        ],
        events=writes.events,
        records=[
            _record_row(key, record, writes) for key, record in writes.records.items() if key[1] != OWN_RECORD_KIND
        ],
        personal_before=[(order_id,) for order_id in writes.personal],
        personal=[(order_id, body) for order_id, body in writes.personal.items() if body],
        heads=[(shard, head.next_seq, head.record_time_us) for shard, head in writes.heads.items()],
    )


def _own_content(order_id: str, writes: Writes) -> str:
    """Of the order's own record if it is new or an erasure has changed it; nothing where the row keeps what it has."""
    record = writes.records.get(own_record(order_id))
    return "" if record is None else record.content


def _record_row(key: RecordKey, record: Record, writes: Writes) -> tuple[Any, ...]:
    """A record's row; whatever it stands for was made by a command that wrote its order, too."""
    if record.history is None:
        return (*key, record.content, None)
    order, _ = writes.orders[key[0]]
    return (*key, record.content, history_to_bytes(record.history, order.currency_code))


def _record(kind: str, content: str, body: bytes | None) -> Record:
    return Record(content, history_from_bytes(kind, body) if body else None)


def _add_order(view: View, order_id: str, body: bytes, content: str) -> None:
    view.orders[order_id] = order_from_wire(body)
    view.records[own_record(order_id)] = Record(content)


def shards_of(needs: Needs, shards: int) -> list[int]:
    """The shards whose heads a group needs, in the sequence in which everybody locks them."""
    return sorted({shard_of(order_id, shards) for order_id in needs.orders})


def stored_reply(method: str, content: bytes, outcome: int, reply: bytes) -> StoredReply:
    """The reply in a row."""
    return StoredReply(method=method, content=content, outcome=Outcome(outcome), reply=reply)


class SqliteGroup:
    """One look-up a key: in an embedded database a statement costs less than building lists of keys."""

    def read(self, connection: Connection, needs: Needs, shards: Sequence[int]) -> View:
        """See `Group.read`. The transaction holds the database's only write lock from its first statement on."""
        cursor: Cursor = connection.connection.cursor()  # type: ignore[assignment]
        view = View(replies={}, orders={}, records={}, heads={})
        for request in needs.requests:
            for row in cursor.execute(
                "SELECT method, content, outcome, reply FROM idempotency WHERE principal = ? AND request_id = ?",
                request,
            ):
                view.replies[request] = stored_reply(*row)
        for order_id in needs.orders:
            for body, content in cursor.execute("SELECT body, content FROM orders WHERE order_id = ?", (order_id,)):
                _add_order(view, order_id, body, content)
        for key in needs.records:
            for row in cursor.execute(
                "SELECT kind, content, body FROM order_records WHERE order_id = ? AND kind = ? AND record_id = ?", key
            ):
                view.records[key] = _record(*row)
        for shard in shards:
            query = "SELECT next_seq, record_time_us FROM shard_heads WHERE shard = ?"
            for next_seq, time_us in cursor.execute(query, (shard,)):
                view.heads[shard] = Head(next_seq=next_seq, record_time_us=time_us)
        return view

    def write(self, connection: Connection, writes: Writes) -> None:
        """See `Group.write`."""
        cursor: Cursor = connection.connection.cursor()  # type: ignore[assignment]
        for statement, rows in zip(_SQLITE_WRITES, rows_of(writes), strict=True):
            if rows:
                cursor.executemany(statement, rows)


_SQLITE_WRITES: Final = (
    """
    INSERT INTO idempotency (principal, request_id, method, content, outcome, reply, time_us)
    VALUES (?, ?, ?, ?, ?, ?, ?)
    """,
    """
    INSERT INTO orders
        (order_id, customer_id, store_id, currency_code, state, version, body, place_time_us, due_time_us, content)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (order_id) DO UPDATE
    SET state = excluded.state, version = excluded.version, body = excluded.body,
        due_time_us = excluded.due_time_us,
        content = CASE excluded.content WHEN '' THEN orders.content ELSE excluded.content END
    """,
    """
    INSERT INTO order_events (shard, seq, group_index, group_size, record_time_us, order_id, body)
    VALUES (?, ?, ?, ?, ?, ?, ?)
    """,
    """
    INSERT INTO order_records (order_id, kind, record_id, content, body) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (order_id, kind, record_id) DO UPDATE SET body = excluded.body
    """,
    "UPDATE order_personal SET body = zeroblob(length(body)) WHERE order_id = ?",
    "INSERT INTO order_personal (order_id, body) VALUES (?, ?)",
    "UPDATE shard_heads SET next_seq = ?2, record_time_us = ?3 WHERE shard = ?1",
)


class PostgresGroup:
    """Three statements on the driver: lock the heads, read everything, write everything from arrays."""

    def read(self, connection: Connection, needs: Needs, shards: Sequence[int]) -> View:
        """See `Group.read`. The second statement sees what was committed before the lock was had."""
        fetch = _driver(connection).fetch
        view = View(replies={}, orders={}, records={}, heads={})
        for shard, next_seq, time_us in await_only(fetch(_LOCK_HEADS, shards)):
            view.heads[shard] = Head(next_seq=next_seq, record_time_us=time_us)
        requests, records = _columns(list(needs.requests), 2), _columns(list(needs.records), 3)
        for kind, *key, text, content, outcome, body in await_only(
            fetch(_READ, *requests, list(needs.orders), *records)
        ):
            if kind == "reply":
                view.replies[key[0], key[1]] = stored_reply(text, content, outcome, body)
            elif kind == "order":
                _add_order(view, key[0], body, text)
            else:
                view.records[key[0], key[1], key[2]] = _record(key[1], text, body)
        return view

    def write(self, connection: Connection, writes: Writes) -> None:
        """See `Group.write`."""
        rows = rows_of(writes)
        arrays = [column for table, width in zip(rows, _WIDTHS, strict=True) for column in _columns(table, width)]
        if await_only(_driver(connection).fetchval(_WRITE, *arrays)) != len(rows.replies):
            raise DatabaseUnavailableError("a request id was taken by another process at this moment")


_WIDTHS: Final = (7, 10, 7, 5, 1, 2, 3)  # columns of each of `Rows`
_LOCK_HEADS: Final = (
    "SELECT shard, next_seq, record_time_us FROM shard_heads WHERE shard = ANY($1::int[]) ORDER BY shard FOR UPDATE"
)
_READ: Final = """
    SELECT 'reply', principal, request_id, '', method, content, outcome, reply
    FROM idempotency JOIN unnest($1::text[], $2::text[]) AS needed (p, r) ON principal = p AND request_id = r
    UNION ALL
    SELECT 'order', order_id, '', '', content, ''::bytea, 0, body FROM orders WHERE order_id = ANY($3::text[])
    UNION ALL
    SELECT 'record', order_id, kind, record_id, content, ''::bytea, 0, body
    FROM order_records JOIN unnest($4::text[], $5::text[], $6::text[]) AS needed (o, k, r)
      ON order_id = o AND kind = k AND record_id = r
"""
_WRITE: Final = """
    WITH replies AS (
        INSERT INTO idempotency (principal, request_id, method, content, outcome, reply, time_us)
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::int[], $6::bytea[], $7::bigint[])
        ON CONFLICT DO NOTHING RETURNING 1
    ), changed_orders AS (
        INSERT INTO orders
            (order_id, customer_id, store_id, currency_code, state, version, body, place_time_us, due_time_us, content)
        SELECT * FROM unnest(
            $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::bigint[], $14::bytea[], $15::bigint[],
            $16::bigint[], $17::text[]
        )
        ON CONFLICT (order_id) DO UPDATE
        SET state = excluded.state, version = excluded.version, body = excluded.body,
            due_time_us = excluded.due_time_us,
            content = CASE excluded.content WHEN '' THEN orders.content ELSE excluded.content END
    ), events AS (
        INSERT INTO order_events (shard, seq, group_index, group_size, record_time_us, order_id, body)
        SELECT * FROM
            unnest($18::int[], $19::bigint[], $20::int[], $21::int[], $22::bigint[], $23::text[], $24::bytea[])
    ), records AS (
        INSERT INTO order_records (order_id, kind, record_id, content, body)
        SELECT * FROM unnest($25::text[], $26::text[], $27::text[], $28::text[], $29::bytea[])
        ON CONFLICT (order_id, kind, record_id) DO UPDATE SET body = excluded.body
    ), personal_before AS (
        DELETE FROM order_personal WHERE order_id = ANY($30::text[])
    ), personal AS (
        INSERT INTO order_personal (order_id, body) SELECT * FROM unnest($31::text[], $32::bytea[])
    ), heads AS (
        UPDATE shard_heads SET next_seq = moved.next_seq, record_time_us = moved.record_time_us
        FROM unnest($33::int[], $34::bigint[], $35::bigint[]) AS moved (shard, next_seq, record_time_us)
        WHERE shard_heads.shard = moved.shard
    )
    SELECT count(*) FROM replies
"""


def _driver(connection: Connection) -> Any:  # noqa: ANN401 - asyncpg has no types
    return connection.connection.driver_connection


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]


GROUPS: Final[Mapping[str, Callable[[], Group]]] = {"sqlite": SqliteGroup, "postgresql": PostgresGroup}
"""By the name of SQLAlchemy's dialect."""
