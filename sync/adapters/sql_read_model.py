"""The read model in SQL: orders and position change in one transaction."""

from collections.abc import Collection, Sequence
from operator import attrgetter
from sqlite3 import Cursor
from typing import Any, Final

from sqlalchemy import BigInteger, Column, Connection, Integer, LargeBinary, MetaData, Row, Table, select, text
from sqlalchemy.util import await_only

from infra.kernel.digest import Digest
from infra.kernel.filter import Term
from infra.kernel.position import Position
from infra.runtime.database import Database
from infra.runtime.schema import TEXT
from infra.runtime.sql_digest import digest_of
from infra.runtime.sql_filter import to_sql
from sync.adapters.sql_snapshot import prove_orders, read_orders
from sync.application.ports import AHEAD_OF, OrderPage
from sync.domain.log import OrderRow
from sync.domain.snapshot import Chunk, Wanted

_METADATA: Final = MetaData()
_ORDERS: Final = Table(
    "orders",
    _METADATA,
    Column("order_id", TEXT, primary_key=True),
    Column("customer_id", TEXT),
    Column("store_id", TEXT),
    Column("currency_code", TEXT),
    Column("state", TEXT),
    Column("version", BigInteger),
    Column("body", LargeBinary),
)
_READ_MODEL: Final = Table(
    "read_model",
    _METADATA,
    Column("shard", Integer, primary_key=True),
    Column("log_epoch", TEXT),
    Column("next_seq", BigInteger),
)
_FILTERED: Final = {name: _ORDERS.c[name] for name in ("order_id", "customer_id", "store_id", "currency_code", "state")}

# The version guard stands in the statement itself: a repeated or an older event changes nothing.
_UPSERT: Final = """
    INSERT INTO orders (order_id, customer_id, store_id, currency_code, state, version, body) {rows}
    ON CONFLICT (order_id) DO UPDATE SET
        customer_id = excluded.customer_id, store_id = excluded.store_id, currency_code = excluded.currency_code,
        state = excluded.state, version = excluded.version, body = excluded.body
    WHERE orders.version < excluded.version
"""
_SQLITE_UPSERT: Final = _UPSERT.format(rows="VALUES (?, ?, ?, ?, ?, ?, ?)")
_POSTGRES_UPSERT: Final = _UPSERT.format(
    rows="SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bytea[])"
)
_BEGIN: Final = text(
    """
    INSERT INTO read_model (shard, log_epoch, next_seq) VALUES (:shard, :log_epoch, :next_seq)
    ON CONFLICT (shard) DO NOTHING
    """
)
_MOVE: Final = text("UPDATE read_model SET next_seq = :next_seq WHERE shard = :shard AND next_seq < :next_seq")
_CONDEMN: Final = text(
    """
    UPDATE read_model SET log_epoch = :ahead_of || log_epoch
    WHERE substr(log_epoch, 1, length(:ahead_of)) <> :ahead_of
    """
)
_values: Final = attrgetter("order_id", "customer_id", "store_id", "currency_code", "state", "version", "body")


class SqlReadModel:
    """See `ports.ReadModel`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def position(self) -> Position | None:
        """See `ReadModel.position`."""
        return await self._database.read(_position)

    async def begin(self, position: Position) -> None:
        """See `ReadModel.begin`."""
        rows = [
            {"shard": shard, "log_epoch": position.log_epoch, "next_seq": seq}
            for shard, seq in enumerate(position.next_seq)
        ]
        await self._database.write(lambda connection: connection.execute(_BEGIN, rows))

    async def apply(self, orders: Sequence[OrderRow], position: Position) -> None:
        """See `ReadModel.apply`."""
        moves = [{"shard": shard, "next_seq": seq} for shard, seq in enumerate(position.next_seq)]
        rows = _rows(orders)

        def work(connection: Connection) -> None:
            _store(connection, rows)
            connection.execute(_MOVE, moves)

        await self._database.write(work)

    async def fill(self, orders: Sequence[OrderRow]) -> bool:
        """See `ReadModel.fill`. The position is held: nobody says that it is filled before this is written."""
        rows = _rows(orders)

        def work(connection: Connection) -> bool:
            filled = any(connection.execute(select(_READ_MODEL.c.next_seq).with_for_update(read=True)).scalars())
            if not filled:
                _store(connection, rows)
            return not filled

        return await self._database.write(work)

    async def condemn(self) -> None:
        """See `ReadModel.condemn`."""
        await self._database.write(lambda connection: connection.execute(_CONDEMN, {"ahead_of": AHEAD_OF}))

    async def find(self, order_id: str) -> OrderRow | None:
        """See `ReadModel.find`."""
        row = await self._database.read(
            lambda connection: connection.execute(select(_ORDERS).where(_ORDERS.c.order_id == order_id)).one_or_none()
        )
        return None if row is None else _order(row)

    async def page(self, term: Term, *, after: str, limit: int) -> OrderPage:
        """See `ReadModel.page`."""
        query = (
            select(_ORDERS)
            .where(_ORDERS.c.order_id > after, to_sql(term, _FILTERED))
            .order_by(_ORDERS.c.order_id)
            .limit(limit + 1)
        )
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return OrderPage(orders=[_order(row) for row in rows[:limit]], more=len(rows) > limit)

    async def chunk(self, wanted: Wanted) -> Chunk:
        """See `ReadModel.chunk`."""

        def work(connection: Connection) -> Chunk:
            orders, last_order_id = read_orders(connection, _ORDERS, wanted)
            return Chunk(at=_begun(connection), orders=orders, last_order_id=last_order_id)

        return await self._database.read(work)

    async def digest(self, term: Term) -> tuple[Position, Digest]:
        """See `ReadModel.digest`."""
        entries = select(_ORDERS.c.order_id, _ORDERS.c.version).where(to_sql(term, _FILTERED))
        return await self._database.read(lambda connection: (_begun(connection), digest_of(connection, entries)))

    async def prove(self, term: Term, shards: Collection[int]) -> tuple[Position, Digest]:
        """See `ReadModel.prove`."""

        def work(connection: Connection) -> tuple[Position, Digest]:
            at = _begun(connection)
            return at, prove_orders(connection, _ORDERS, term, shards, shards_all=len(at.next_seq))

        return await self._database.read(work)


def _rows(orders: Sequence[OrderRow]) -> list[tuple[Any, ...]]:
    """In one sequence for everybody: servers that share the database write the same orders at the same time."""
    return list(map(_values, sorted(orders, key=attrgetter("order_id"))))


def _store(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    if rows:
        _UPSERTS[connection.dialect.name](connection, rows)


def _position(connection: Connection) -> Position | None:
    rows = connection.execute(select(_READ_MODEL).order_by(_READ_MODEL.c.shard)).all()
    if not rows:
        return None
    return Position(log_epoch=rows[0].log_epoch, next_seq=tuple(row.next_seq for row in rows))


def _begun(connection: Connection) -> Position:
    position = _position(connection)
    if position is None:
        raise RuntimeError("the read model was asked before it has begun")
    return position


def _order(row: Row[Any]) -> OrderRow:
    return OrderRow(**row._mapping)  # noqa: SLF001 - SQLAlchemy's documented name


def _upsert_on_sqlite(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    cursor: Cursor = connection.connection.cursor()  # type: ignore[assignment]
    cursor.executemany(_SQLITE_UPSERT, rows)


def _upsert_on_postgres(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """One statement on the driver, an array for each column: a fraction of what a statement per row costs."""
    driver: Any = connection.connection.driver_connection
    await_only(driver.execute(_POSTGRES_UPSERT, *map(list, zip(*rows, strict=True))))


_UPSERTS: Final = {"sqlite": _upsert_on_sqlite, "postgresql": _upsert_on_postgres}
"""By the name of SQLAlchemy's dialect. The hot path: neither ORM nor Core."""
