"""The relay's lease and cursors in the Order Service's database."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    MetaData,
    Table,
    Text,
    case,
    delete,
    select,
    text,
    update,
)

from infra.runtime.clock import Clock
from infra.runtime.database import Database
from order.application.relay_ports import Cursor, Cursors

_LEASE_SECONDS: Final = 10.0  # above the longest call of the bus: who keeps it every second does not lose it to a stall
_UNTRUE_SECONDS: Final = 60.0  # so long no lease lasts: a clock that was far ahead, and is set right, has given it

_TABLES: Final = MetaData()
_LEASE: Final = Table(
    "relay_lease",
    _TABLES,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("expire_time_us", BigInteger, nullable=False),
)
_CURSORS: Final = Table(
    "relay_cursors",
    _TABLES,
    Column("topic", Text, primary_key=True),
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("topic_id", Text, nullable=False),
    Column("next_seq", BigInteger, nullable=False),
)
_STORE: Final = text("""
    INSERT INTO relay_cursors (topic, shard, topic_id, next_seq) VALUES (:topic, :shard, :topic_id, :next_seq)
    ON CONFLICT (topic, shard) DO UPDATE SET topic_id = excluded.topic_id, next_seq = excluded.next_seq
""")


class SqlLease:
    """See `relay_ports.Lease`. Clocks that disagree can only make two relays take turns sooner than they should."""

    def __init__(self, database: Database, clock: Clock, *, holder: str) -> None:
        """Holder says in the table, for people, who it is."""
        self._database = database
        self._clock = clock
        self._holder = holder

    async def acquire(self) -> int | None:
        """See `Lease.acquire`."""
        now_us = self._clock.now_us()
        statement = (
            update(_LEASE)
            .where(~_LEASE.c.expire_time_us.between(now_us + 1, now_us + round(_UNTRUE_SECONDS * 1e6)))
            .values(epoch=_LEASE.c.epoch + 1, holder=self._holder, expire_time_us=_expiry(now_us))
            .returning(_LEASE.c.epoch)
        )
        return await self._database.write(lambda connection: connection.execute(statement).scalar_one_or_none())

    async def keep(self, epoch: int, cursors: Cursors) -> bool:
        """See `Lease.keep`."""
        prolong = update(_LEASE).where(_LEASE.c.epoch == epoch).values(expire_time_us=_expiry(self._clock.now_us()))

        def work(connection: Connection) -> bool:
            if connection.execute(prolong).rowcount == 0:
                return False
            rows = [
                {"topic": topic, "shard": shard, "topic_id": cursor.topic_id, "next_seq": cursor.next_seq}
                for (topic, shard), cursor in cursors.items()
            ]
            connection.execute(_STORE, rows)  # the lease's row stays locked by the statement above: the epoch holds
            return True

        return await self._database.write(work)

    async def release(self, epoch: int) -> None:
        """See `Lease.release`."""
        statement = update(_LEASE).where(_LEASE.c.epoch == epoch).values(expire_time_us=0)
        await self._database.write(lambda connection: connection.execute(statement))

    async def cursors(self) -> Cursors:
        """See `Lease.cursors`."""
        rows = await self._database.read(lambda connection: connection.execute(select(_CURSORS)).all())
        return {(row.topic, row.shard): Cursor(topic_id=row.topic_id, next_seq=row.next_seq) for row in rows}


def begin_anew(connection: Connection, now_us: int) -> None:
    """Ends every holding and forgets the cursors: the topics hold another log.

    A restored database does not know the epochs that were given since its backup, and must not give them again to
    another. They are counted by takeovers, which are never a million a second: the time is above them all.
    """
    above = case((_LEASE.c.epoch < now_us, now_us), else_=_LEASE.c.epoch + 1)
    connection.execute(update(_LEASE).values(epoch=above, holder="", expire_time_us=0))
    connection.execute(delete(_CURSORS))


def _expiry(now_us: int) -> int:
    return now_us + round(_LEASE_SECONDS * 1e6)
