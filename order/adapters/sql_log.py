"""The log in SQL."""

import asyncio
import time
import uuid
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import Connection, insert, select, text
from sqlalchemy.exc import IntegrityError

from infra.kernel.digest import Digest
from infra.kernel.filter import Term
from infra.kernel.position import Position, PositionExpiredError
from infra.runtime.database import Database, DatabaseLockedError, DatabaseUnavailableError
from infra.runtime.lifespan import StartupError
from infra.runtime.sql_digest import digest_of
from infra.runtime.sql_filter import to_sql
from infra.runtime.subscriptions import SUBSCRIPTIONS_MAX
from order.adapters import sql_open, sql_readers, sql_replies, sql_trim
from order.adapters.sql_group import GROUPS, shards_of
from order.adapters.sql_records import due_query
from order.adapters.sql_tables import (
    FILTERED,
    LOG,
    ORDER_EVENTS,
    ORDERS,
    SHARD_HEADS,
)
from order.application.ports import (
    Head,
    LoggedEvent,
    Needs,
    Outcome,
    Reader,
    RequestKey,
    RowLockedError,
    ShardLockedError,
    StoredReply,
    View,
    Writes,
)
from order.application.tail import Tail
from order.domain.errors import LogHoleError, StoreUnavailableError

T = TypeVar("T")

_TRIES = 8  # of a group whose outcome is not known, or that lost a race
_TRY_SECONDS = 0.2  # with the above: past the server's own time-out for idle transactions, inside a caller's deadline
_TAIL_BYTES_MAX = 16 * 1024 * 1024  # some seconds of a busy log
_EVENT = select(
    ORDER_EVENTS.c.shard,
    ORDER_EVENTS.c.seq,
    ORDER_EVENTS.c.group_index,
    ORDER_EVENTS.c.group_size,
    ORDER_EVENTS.c.record_time_us,
    ORDER_EVENTS.c.order_id,
    ORDER_EVENTS.c.body,
)


async def open_log(
    database: Database,
    shards: int,
    *,
    tail_bytes_max: int = _TAIL_BYTES_MAX,
    subscriptions_max: int = SUBSCRIPTIONS_MAX,
) -> "SqlLog":
    """The log in the database, made with so many shards if there is none yet.

    Args:
        database: Where it is.
        shards: Of a new one.
        tail_bytes_max: Of its own newest events it keeps so much in memory, for readers at the head.
        subscriptions_max: So many durable subscriptions it keeps.

    Raises:
        StartupError: There is one with another number of shards.
    """
    try:
        log_epoch, found = await database.write(lambda connection: _found_or_made(connection, shards))
    except IntegrityError:  # another process has made it at this moment
        log_epoch, found = await database.write(lambda connection: _found_or_made(connection, shards))
    if found != shards:
        raise StartupError(f"the log has {found} shards, not {shards}, and keeps them for ever: use --shards {found}")
    return SqlLog(
        database, log_epoch, Tail(shards, bytes_max=tail_bytes_max), shards, subscriptions_max=subscriptions_max
    )


def _found_or_made(connection: Connection, shards: int) -> tuple[str, int]:
    row = connection.execute(select(LOG.c.log_epoch, LOG.c.shards)).one_or_none()
    if row is not None:
        return row[0], row[1]
    log_epoch = str(uuid.uuid4())
    connection.execute(insert(LOG).values(log_epoch=log_epoch, shards=shards))
    heads = [{"shard": shard, "next_seq": 1, "earliest_seq": 1, "record_time_us": 0} for shard in range(shards)]
    connection.execute(insert(SHARD_HEADS), heads)
    return log_epoch, shards


class SqlLog:
    """The `Log` in one service's database."""

    def __init__(
        self, database: Database, log_epoch: str, tail: Tail, shards: int, *, subscriptions_max: int = SUBSCRIPTIONS_MAX
    ) -> None:
        self._database = database
        self._tail = tail
        self.log_epoch = log_epoch
        self.shards = shards
        self._subscriptions_max = subscriptions_max
        self._began: float | None = None  # when the group that is open did

    async def commit(self, needs: Needs, decide: Callable[[View], Writes]) -> None:
        """See `Log.commit`.

        A connection that is lost in the commit leaves open what happened: the group is tried again, finds its own
        replies if it had been committed, and only then is anybody answered.
        """
        shards = shards_of(needs, self.shards)
        heads_are_ours = False

        def work(connection: Connection) -> Writes:
            nonlocal heads_are_ours
            heads_are_ours = False
            self._began = time.monotonic()
            group = GROUPS[connection.dialect.name]()
            view = group.read(connection, needs, shards)
            heads_are_ours = True
            writes = decide(view)
            group.write(connection, writes)
            return writes

        try:
            writes = await self._until_known(work)
        except ShardLockedError as error:
            if heads_are_ours:
                raise RowLockedError(str(error)) from error
            raise
        finally:
            self._began = None
        self._tail.append(writes.events)

    async def _until_known(self, work: Callable[[Connection], T]) -> T:
        doubt: DatabaseUnavailableError | None = None
        for _ in range(_TRIES):
            try:
                return await self._database.write(work)
            except DatabaseUnavailableError as error:
                # After a try whose end is not known it may be that one, still open at the server, that holds the lock.
                if isinstance(error, DatabaseLockedError) and doubt is None:
                    raise ShardLockedError(str(error)) from error
                doubt = error
            await asyncio.sleep(_TRY_SECONDS)
        raise StoreUnavailableError(str(doubt)) from doubt

    async def heads(self) -> list[Head]:
        """See `Log.heads`."""
        rows = await self._read(
            lambda connection: connection.execute(
                select(SHARD_HEADS.c.next_seq, SHARD_HEADS.c.record_time_us).order_by(SHARD_HEADS.c.shard)
            ).all()
        )
        return [Head(next_seq=next_seq, record_time_us=time_us) for next_seq, time_us in rows]

    async def open_seconds(self) -> float:
        """See `Log.open_seconds`."""
        began, now = self._began, time.monotonic()
        return max(await self._read(sql_open.open_seconds), 0 if began is None else now - began)

    async def earliest(self) -> list[int]:
        """See `Log.earliest`."""
        query = select(SHARD_HEADS.c.earliest_seq).order_by(SHARD_HEADS.c.shard)
        return list(await self._read(lambda connection: connection.execute(query).scalars().all()))

    async def seqs_at(self, time_us: int) -> list[int]:
        """See `Log.seqs_at`. Record times never decrease within a shard: a few look-ups by key find the place."""

        def work(connection: Connection) -> list[int]:
            ranges = connection.execute(_RANGES).all()
            return [_seq_at(connection, time_us, *each) for each in ranges]

        return await self._read(work)

    async def read_events(self, shard: int, from_seq: int, events_max: int) -> list[LoggedEvent]:
        """See `Log.read_events`."""
        held = self._tail.read(shard, from_seq, events_max)
        return held or await self._read_events(shard, from_seq, events_max)

    async def _read_events(self, shard: int, from_seq: int, events_max: int) -> list[LoggedEvent]:
        query = (
            _EVENT.where(ORDER_EVENTS.c.shard == shard, ORDER_EVENTS.c.seq >= from_seq)
            .order_by(ORDER_EVENTS.c.seq)
            .limit(events_max)
        )
        rows = await self._read(lambda connection: connection.execute(query).all())
        events = [LoggedEvent(*row) for row in rows]
        if not events or events[0].seq != from_seq:
            earliest = (await self.earliest())[shard]
            if from_seq < earliest:
                raise PositionExpiredError(shard, from_seq, earliest)
        events = _before_a_hole(events, shard, from_seq)
        if len(events) < events_max:
            return events
        last = events[-1]
        if last.group_index + 1 == last.group_size:
            return events
        whole = [event for event in events if event.seq < last.seq - last.group_index]
        return whole or await self._read_events(shard, from_seq, last.group_size)

    async def trim(self, shard: int, before_us: int, events_max: int) -> int:
        """See `Log.trim`."""
        return await self._write(lambda connection: sql_trim.trim(connection, shard, before_us, events_max))

    async def lowest_floors(self) -> list[int | None]:
        """See `Log.lowest_floors`."""
        return await self._read(lambda connection: sql_trim.lowest_floors(connection, self.shards))

    async def read_reply(self, key: RequestKey) -> StoredReply | None:
        """See `Log.read_reply`."""
        return await self._read(lambda connection: sql_replies.reply(connection, key))

    async def fence(self, key: RequestKey, time_us: int) -> StoredReply:
        """See `Log.fence`."""
        new = StoredReply(outcome=Outcome.NOT_EXECUTED)
        return await self._write(lambda connection: sql_replies.stored(connection, key, new, time_us))

    async def begin(self, key: RequestKey, method: str, content: bytes, time_us: int) -> StoredReply:
        """See `Log.begin`."""
        new = StoredReply(Outcome.BEGUN, method, content)
        return await self._write(lambda connection: sql_replies.stored(connection, key, new, time_us))

    async def finish(self, key: RequestKey, reply: bytes) -> bytes:
        """See `Log.finish`."""
        return await self._write(lambda connection: sql_replies.finished(connection, key, reply))

    async def forget_replies(self, before_us: int, replies_max: int) -> int:
        """See `Log.forget_replies`."""
        return await self._write(lambda connection: sql_replies.forget(connection, before_us, replies_max))

    async def due_orders(self, time_us: int, orders_max: int, skip: int = 0) -> list[str]:
        """See `Log.due_orders`."""
        query = due_query(time_us, orders_max, skip)
        return list(await self._read(lambda connection: connection.execute(query).scalars().all()))

    async def digest(self, term: Term) -> tuple[Position, Digest]:
        """See `Log.digest`."""
        entries = select(ORDERS.c.order_id, ORDERS.c.version).where(to_sql(term, FILTERED))

        def work(connection: Connection) -> tuple[Position, Digest]:
            digest = digest_of(connection, entries)
            heads = connection.execute(select(SHARD_HEADS.c.next_seq).order_by(SHARD_HEADS.c.shard)).scalars().all()
            return Position(log_epoch=self.log_epoch, next_seq=tuple(heads)), digest

        return await self._read(work)

    async def open_subscription(self, name: str) -> tuple[int, dict[int, int]]:
        """See `Log.open_subscription`."""
        most = self._subscriptions_max
        return await self._write(lambda connection: sql_readers.opened(connection, name, subscriptions_max=most))

    async def move_floors(self, name: str, delivery_epoch: int, floors: Mapping[int, int]) -> bool:
        """See `Log.move_floors`."""
        return await self._write(lambda connection: sql_readers.moved(connection, name, delivery_epoch, floors))

    async def readers(self, after: str, readers_max: int) -> list[Reader]:
        """See `Log.readers`."""
        return await self._read(lambda connection: sql_readers.readers(connection, after, readers_max))

    async def forget_reader(self, name: str) -> bool:
        """See `Log.forget_reader`."""
        return await self._write(lambda connection: sql_readers.forget(connection, name))

    async def scrub(self) -> None:
        """See `Log.scrub`."""
        with _told_as_ours():
            await self._database.scrub()

    async def _read(self, work: Callable[[Connection], T]) -> T:
        with _told_as_ours():
            return await self._database.read(work)

    async def _write(self, work: Callable[[Connection], T]) -> T:
        with _told_as_ours():
            return await self._database.write(work)


@contextmanager
def _told_as_ours() -> Iterator[None]:
    try:
        yield
    except DatabaseUnavailableError as error:
        raise StoreUnavailableError(str(error)) from error


def _seq_at(connection: Connection, time_us: int, shard: int, earliest_seq: int, next_seq: int) -> int:
    def recorded_us(seq: int) -> int:
        return int(connection.execute(_RECORDED, {"shard": shard, "seq": seq}).scalar_one())

    return earliest_seq + bisect_left(range(earliest_seq, next_seq), time_us, key=recorded_us)


def _before_a_hole(events: list[LoggedEvent], shard: int, from_seq: int) -> list[LoggedEvent]:
    """The events up to the first that is not there, whole groups only.

    Raises:
        LogHoleError: There is none before it.
    """
    if not events or events[-1].seq == from_seq + len(events) - 1:
        return events
    lost = next(seq for seq, event in enumerate(events, from_seq) if event.seq != seq)
    before = events[: lost - from_seq]
    while before and before[-1].group_index + 1 < before[-1].group_size:
        before.pop()
    if not before:
        raise LogHoleError(shard, lost)
    return before


_RANGES = select(SHARD_HEADS.c.shard, SHARD_HEADS.c.earliest_seq, SHARD_HEADS.c.next_seq).order_by(SHARD_HEADS.c.shard)
_RECORDED = text("SELECT record_time_us FROM order_events WHERE shard = :shard AND seq = :seq")
