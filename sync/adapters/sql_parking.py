"""Parking places in SQL."""

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    and_,
    func,
    or_,
    select,
    text,
    true,
)

from infra.runtime.database import Database
from infra.runtime.schema import TEXT
from sync.application.ports import ParkedPage, ParkingView
from sync.domain.parking import Choice, Mark, ParkedEvent
from sync.domain.settlement import Settlement
from sync.domain.subscription import SubscriptionKey

_METADATA: Final = MetaData()
_PARKED: Final = Table(
    "parked_events",
    _METADATA,
    Column("principal", TEXT, primary_key=True),
    Column("name", TEXT, primary_key=True),
    Column("shard", Integer, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("order_id", TEXT),
    Column("chunk", LargeBinary),
    Column("whole_order", Boolean),
    Column("reason", TEXT),
    Column("attempts", Integer),
    Column("parked_time_us", BigInteger),
    Column("replaying", Boolean),
    Column("due_us", BigInteger),
    Column("delay_us", BigInteger),
)
_MARK: Final = (_PARKED.c.shard, _PARKED.c.seq, _PARKED.c.order_id, _PARKED.c.whole_order, _PARKED.c.replaying)
_EVENT: Final = tuple(_PARKED.c[each.name] for each in fields(ParkedEvent))
_BY_PLACE: Final = (_PARKED.c.shard, _PARKED.c.seq)
# As with floors: a superseded stream can park nothing and take nothing out.
_HELD: Final = """
    EXISTS (
        SELECT 1 FROM subscription_floors f
        WHERE f.principal = :principal AND f.name = :name AND f.shard = :shard AND f.delivery_epoch = :delivery_epoch
    )
"""
_PARK: Final = text(
    f"""
    INSERT INTO parked_events (
        principal, name, shard, seq, order_id, chunk, whole_order, reason, attempts, parked_time_us, replaying, due_us,
        delay_us
    )
    SELECT
        :principal, :name, :shard, :seq, :order_id, :chunk, :whole_order, :reason, :attempts, :parked_time_us,
        :replaying, :due_us, :delay_us
    WHERE {_HELD}
    ON CONFLICT (principal, name, shard, seq) DO UPDATE SET
        whole_order = excluded.whole_order, reason = excluded.reason, attempts = excluded.attempts,
        parked_time_us = excluded.parked_time_us, replaying = excluded.replaying,
        due_us = excluded.due_us, delay_us = excluded.delay_us
    """
)
_UNPARK: Final = text(
    f"""
    DELETE FROM parked_events
    WHERE principal = :principal AND name = :name AND shard = :shard AND seq = :seq AND {_HELD}
    """  # noqa: S608 - as above
)
_RETRY: Final = text(
    f"""
    UPDATE parked_events SET attempts = :attempts, due_us = :due_us, delay_us = :delay_us
    WHERE principal = :principal AND name = :name AND shard = :shard AND seq = :seq AND {_HELD}
    """  # noqa: S608 - as above
)
_REVISE: Final = text(
    "UPDATE subscriptions SET parking_revision = parking_revision + 1 WHERE principal = :principal AND name = :name"
)
_REVISION: Final = text("SELECT parking_revision FROM subscriptions WHERE principal = :principal AND name = :name")


class SqlParking:
    """See `ports.Parking`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, key: SubscriptionKey, *, after: tuple[int, int], limit: int) -> ParkedPage:
        """See `Parking.page`."""
        shard, seq = after
        behind = or_(_PARKED.c.shard > shard, and_(_PARKED.c.shard == shard, _PARKED.c.seq > seq))
        found = await self._database.read(lambda connection: _events(connection, key, behind, limit + 1))
        return ParkedPage(events=found[:limit], more=len(found) > limit)

    async def replay(self, key: SubscriptionKey, choice: Choice) -> int:
        """See `Parking.replay`."""

        def work(connection: Connection) -> int:
            connection.execute(_REVISE, names(key))
            chosen = _PARKED.update().filter_by(**names(key)).where(_chosen(connection, key, choice))
            return connection.execute(chosen.values(replaying=True, due_us=0)).rowcount

        return await self._database.write(work)

    async def discard(self, key: SubscriptionKey, choice: Choice) -> int:
        """See `Parking.discard`."""

        def work(connection: Connection) -> int:
            connection.execute(_REVISE, names(key))
            chosen = _PARKED.delete().filter_by(**names(key)).where(_chosen(connection, key, choice))
            return connection.execute(chosen).rowcount

        return await self._database.write(work)

    async def count(self, key: SubscriptionKey) -> int:
        """See `Parking.count`."""
        return await self._database.read(lambda connection: _count(connection, key))

    async def revision(self, key: SubscriptionKey) -> int:
        """See `Parking.revision`."""
        return await self._database.read(
            lambda connection: connection.execute(_REVISION, names(key)).scalar_one_or_none() or 0
        )

    async def view(self, key: SubscriptionKey, shards: Sequence[int], *, replaying_max: int) -> ParkingView:
        """See `Parking.view`."""
        of_shards = _PARKED.c.shard.in_(shards)

        def work(connection: Connection) -> ParkingView:
            marks = connection.execute(select(*_MARK).filter_by(**names(key)).where(of_shards).order_by(*_BY_PLACE))
            return ParkingView(
                marks=[Mark(**row) for row in marks.mappings()],
                replaying=_events(connection, key, and_(of_shards, _PARKED.c.replaying == true()), replaying_max),
            )

        return await self._database.read(work)


def room(connection: Connection, key: SubscriptionKey, parked_events_max: int) -> int:
    """For how many more events there is room."""
    return parked_events_max - _count(connection, key)


def move(connection: Connection, settlement: Settlement, *, parked: bool) -> None:
    """Parks and takes out what the settlement says; `parked` is whether there was room."""
    owner = {**names(settlement.key), "delivery_epoch": settlement.delivery_epoch}
    for park in settlement.changes.parked if parked else ():
        connection.execute(_PARK, {**owner, **asdict(park.event)})
    for shard, seq in settlement.changes.unparked:
        connection.execute(_UNPARK, {**owner, "shard": shard, "seq": seq})
    for (shard, seq), retried in settlement.changes.parked_attempts.items():
        connection.execute(_RETRY, {**owner, "shard": shard, "seq": seq, **retried._asdict()})


def clear(connection: Connection, key: SubscriptionKey) -> None:
    """Forgets the place: the subscription is gone, or its log."""
    connection.execute(_PARKED.delete().filter_by(**names(key)))


def names(key: SubscriptionKey) -> dict[str, Any]:
    """The columns that name a subscription."""
    return {"principal": key.principal, "name": key.name}


def _count(connection: Connection, key: SubscriptionKey) -> int:
    count = select(func.count()).select_from(_PARKED).filter_by(**names(key))
    return int(connection.execute(count).scalar_one())


def _events(connection: Connection, key: SubscriptionKey, which: ColumnElement[bool], limit: int) -> list[ParkedEvent]:
    query = select(*_EVENT).filter_by(**names(key)).where(which).order_by(*_BY_PLACE).limit(limit)
    return [ParkedEvent(**row) for row in connection.execute(query).mappings()]


def _chosen(connection: Connection, key: SubscriptionKey, choice: Choice) -> ColumnElement[bool]:
    if choice.event is not None:
        shard, seq = choice.event
        mark = select(*_MARK).filter_by(**names(key), shard=shard, seq=seq)
        row = connection.execute(mark).one_or_none()
        this = and_(_PARKED.c.shard == shard, _PARKED.c.seq == seq)
        return or_(this, _whole(row.order_id)) if row is not None and row.whole_order else this
    return true() if choice.order_id is None else _PARKED.c.order_id == choice.order_id


def _whole(order_id: str) -> ColumnElement[bool]:
    return and_(_PARKED.c.order_id == order_id, _PARKED.c.whole_order == true())
