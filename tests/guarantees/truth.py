"""What really happened: the order database's own rows, read when all is over, past every service."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from hashlib import blake2b
from itertools import groupby
from sqlite3 import connect
from typing import Any, Final, NamedTuple

import asyncpg
from google.protobuf.message import Message
from sqlalchemy.engine import make_url
from stateset.order.v1.order_event_pb2 import OrderEvent

_SHARDS: Final = "SELECT shards FROM log"
_ROWS: Final = "SELECT shard, seq, group_index, group_size, order_id, body FROM order_events ORDER BY shard, seq"
_SCHEMA: Final = "stateset_order"


class Row(NamedTuple):
    """One row of the log: its columns, and what its body says."""

    shard: int
    seq: int
    group_index: int
    group_size: int
    order_id: str
    version: int
    event_id: str
    request_id: str
    customer_id: str
    record_id: str
    content: str
    order_content: str
    record_time_us: int


class Effect(NamedTuple):
    """The events of one command: where they lie, and the order's versions that they made."""

    shard: int
    first_seq: int
    last_seq: int
    order_id: str
    first_version: int
    last_version: int


class Truth:
    """The log, and ways to look things up in it.

    Args:
        shards: How many it has.
        rows: All of it, by shard and seq.

    Attributes:
        log: By shard, its rows.
        orders: By order, its rows by version.
        effects: By request id, what its command did; more than one effect is a broken promise.
    """

    def __init__(self, shards: int, rows: Iterable[Row]) -> None:
        self.log: list[list[Row]] = [[] for _ in range(shards)]
        self.orders: defaultdict[str, list[Row]] = defaultdict(list)
        self.effects: defaultdict[str, list[Effect]] = defaultdict(list)
        for row in rows:
            self.log[row.shard].append(row)
            self.orders[row.order_id].append(row)
        for shard in self.log:
            for _, group in groupby(shard, key=lambda row: row.seq - row.group_index):
                self._note_effect(list(group))

    @classmethod
    async def of(cls, database: str) -> "Truth":
        """The truth in the Order Service's database."""
        read = _read_sqlite if database.startswith("sqlite") else _read_postgres
        return cls(*await read(database))

    @property
    def heads(self) -> list[int]:
        """By shard, the seq that the next event would have."""
        return [len(shard) + 1 for shard in self.log]

    def row(self, shard: int, seq: int) -> Row | None:
        """The event of this number, if there is one."""
        rows = self.log[shard]
        return rows[seq - 1] if 0 < seq <= len(rows) else None

    def version(self, order_id: str, version: int) -> Row | None:
        """The event that made this version of the order, if there is one."""
        rows = self.orders.get(order_id, [])
        return rows[version - 1] if 0 < version <= len(rows) else None

    def version_at(self, order_id: str, next_seqs: list[int]) -> int:
        """The order's version as of a position; 0 before its first."""
        return sum(1 for row in self.orders.get(order_id, []) if row.seq < next_seqs[row.shard])

    def _note_effect(self, group: list[Row]) -> None:
        first, last = group[0], group[-1]
        effect = Effect(first.shard, first.seq, last.seq, first.order_id, first.version, last.version)
        self.effects[first.request_id].append(effect)


def digest_of(message: Message) -> str:
    """A short hash of everything in the message."""
    return digest_of_bytes(message.SerializeToString(deterministic=True))


def digest_of_bytes(encoded: bytes) -> str:
    """A short hash."""
    return blake2b(encoded, digest_size=8).hexdigest()


def _row(columns: Iterable[Any]) -> Row:
    shard, seq, group_index, group_size, order_id, body = columns
    event = OrderEvent.FromString(body)
    return Row(
        *(shard, seq, group_index, group_size, order_id, event.version),
        *(event.metadata.event_id, event.metadata.request_id, event.order.customer_id, _record_id(event)),
        *(digest_of(event), digest_of(event.order), event.metadata.record_time.ToMicroseconds()),
    )


def _record_id(event: OrderEvent) -> str:
    """What counts once within its order, whoever asks for it; empty for an event that records nothing."""
    change = event.WhichOneof("change") or ""
    named = _RECORDED.get(change)
    return f"{event.order_id}/{change}/{named(event)}" if named else ""


_RECORDED: Final[Mapping[str, Callable[[OrderEvent], str]]] = {
    "order_placed": lambda _event: "",
    "order_fill_recorded": lambda event: event.order_fill_recorded.fill.fill_id,
    "order_held": lambda event: event.order_held.hold.hold_id,
    "order_payment_updated": lambda event: event.order_payment_updated.payment.payment_id,
}


async def _read_sqlite(database: str) -> tuple[int, list[Row]]:
    def read() -> tuple[int, list[Row]]:
        with closing(connect(f"file:{make_url(database).database}?mode=ro", uri=True)) as connection:
            return connection.execute(_SHARDS).fetchone()[0], list(map(_row, connection.execute(_ROWS)))

    return await asyncio.to_thread(read)


async def _read_postgres(database: str) -> tuple[int, list[Row]]:
    connection = await asyncpg.connect(database, server_settings={"search_path": _SCHEMA})
    try:
        async with connection.transaction():
            return await connection.fetchval(_SHARDS), [_row(row) async for row in connection.cursor(_ROWS)]
    finally:
        await connection.close()
