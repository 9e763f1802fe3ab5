"""Durable subscriptions in SQL. What a change does is decided by the domain; here it is loaded and stored, fenced."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import BigInteger, Column, Connection, Integer, LargeBinary, MetaData, Table, func, select, text

from infra.runtime.database import Database
from infra.runtime.schema import TEXT
from infra.runtime.subscriptions import SUBSCRIPTIONS_MAX, refuse_more
from sync.domain.subscription import (
    Ack,
    AckOutcome,
    AckStatus,
    Floor,
    Opening,
    Subscription,
    SubscriptionKey,
    acked,
    blank,
    created,
    opened,
    sought,
)

_METADATA: Final = MetaData()
_SUBSCRIPTIONS: Final = Table(
    "subscriptions",
    _METADATA,
    Column("principal", TEXT, primary_key=True),
    Column("name", TEXT, primary_key=True),
    Column("log_epoch", TEXT),
    Column("filter", TEXT),
    Column("filter_hash", LargeBinary),
    Column("delivery_epoch", BigInteger),
)
_FLOORS: Final = Table(
    "subscription_floors",
    _METADATA,
    Column("principal", TEXT, primary_key=True),
    Column("name", TEXT, primary_key=True),
    Column("shard", Integer, primary_key=True),
    Column("next_seq", BigInteger),
    Column("delivery_epoch", BigInteger),
)
_COUNT: Final = select(func.count()).select_from(_SUBSCRIPTIONS)
_INSERT: Final = """
    INSERT INTO subscriptions (principal, name, log_epoch, filter, filter_hash, delivery_epoch)
    VALUES (:principal, :name, :log_epoch, :filter, :filter_hash, :delivery_epoch)
    ON CONFLICT (principal, name)
"""
_BEGIN: Final = text(f"{_INSERT} DO NOTHING")
_SAVE: Final = text(
    f"""
    {_INSERT} DO UPDATE SET
        log_epoch = excluded.log_epoch, filter = excluded.filter, filter_hash = excluded.filter_hash,
        delivery_epoch = excluded.delivery_epoch
    """
)
# The delivery epoch stands in the statement that moves the floor: a superseded stream can write nothing.
_MOVE: Final = text(
    """
    UPDATE subscription_floors SET next_seq = :next_seq
    WHERE principal = :principal AND name = :name AND shard = :shard
      AND delivery_epoch = :delivery_epoch AND next_seq < :next_seq
    """
)


class SqlSubscriptions:
    """See `ports.Subscriptions`."""

    def __init__(self, database: Database, *, subscriptions_max: int = SUBSCRIPTIONS_MAX) -> None:
        self._database = database
        self._subscriptions_max = subscriptions_max

    async def find(self, key: SubscriptionKey) -> Subscription | None:
        """See `Subscriptions.find`."""
        return await self._database.read(lambda connection: _load(connection, key))

    async def open(self, opening: Opening) -> Subscription:
        """See `Subscriptions.open`."""
        return await self._database.write(lambda connection: self._put(connection, opening, opened))

    def _put(
        self,
        connection: Connection,
        opening: Opening,
        change: Callable[[Subscription | None, Opening], Subscription],
    ) -> Subscription:
        stored = _load(connection, opening.key, for_update=True)
        if stored is None:
            refuse_more(connection.execute(_COUNT).scalar_one(), self._subscriptions_max)
            connection.execute(_BEGIN, _row(opening.key, blank(opening)))
            begun = _load(connection, opening.key, for_update=True)  # another server may have begun it just now
            stored = None if begun == blank(opening) else begun
        subscription = change(stored, opening)
        _replace(connection, opening.key, subscription)
        return subscription

    async def create(self, opening: Opening) -> Subscription:
        """See `Subscriptions.create`."""
        return await self._database.write(lambda connection: self._put(connection, opening, created))

    async def page(self, principal: str, *, after: str, limit: int) -> Sequence[tuple[str, Subscription]]:
        """See `Subscriptions.page`."""
        names = (
            select(_SUBSCRIPTIONS.c.name)
            .where(_SUBSCRIPTIONS.c.principal == principal, _SUBSCRIPTIONS.c.name > after)
            .order_by(_SUBSCRIPTIONS.c.name)
            .limit(limit)
        )

        def work(connection: Connection) -> list[tuple[str, Subscription]]:
            found = connection.execute(names).scalars().all()
            loaded = ((name, _load(connection, SubscriptionKey(principal=principal, name=name))) for name in found)
            return [(name, stored) for name, stored in loaded if stored is not None]

        return await self._database.read(work)

    async def seek(self, key: SubscriptionKey, log_epoch: str, floors: Mapping[int, int]) -> Subscription | None:
        """See `Subscriptions.seek`."""

        def work(connection: Connection) -> Subscription | None:
            stored = _load(connection, key, for_update=True)
            if stored is not None:
                stored = sought(stored, log_epoch, floors)
                _replace(connection, key, stored)
            return stored

        return await self._database.write(work)

    async def delete(self, key: SubscriptionKey) -> None:
        """See `Subscriptions.delete`."""

        def work(connection: Connection) -> None:
            for table in (_FLOORS, _SUBSCRIPTIONS):
                connection.execute(table.delete().filter_by(**_key(key)))

        await self._database.write(work)

    async def commit(self, acks: Sequence[Ack]) -> Sequence[AckOutcome]:
        """See `Subscriptions.commit`."""
        return await self._database.write(lambda connection: _commit(connection, acks))


def _commit(connection: Connection, acks: Sequence[Ack]) -> list[AckOutcome]:
    keys = {ack.key for ack in acks}
    # In one sequence for everybody, so that two transactions cannot wait for each other.
    stored = {
        key: _load(connection, key, for_update=True) for key in sorted(keys, key=lambda key: (key.principal, key.name))
    }
    outcomes = []
    for ack in acks:
        stored[ack.key], outcome = acked(stored[ack.key], ack)
        if outcome.status is AckStatus.COMMITTED:
            _move(connection, ack, outcome)
        outcomes.append(outcome)
    return outcomes


def _move(connection: Connection, ack: Ack, outcome: AckOutcome) -> None:
    for shard in ack.through:
        connection.execute(
            _MOVE,
            {
                **_key(ack.key),
                "shard": shard,
                "next_seq": outcome.floors[shard],
                "delivery_epoch": ack.delivery_epoch,
            },
        )


def _load(connection: Connection, key: SubscriptionKey, *, for_update: bool = False) -> Subscription | None:
    query = select(_SUBSCRIPTIONS).filter_by(**_key(key))
    row = connection.execute(query.with_for_update() if for_update else query).one_or_none()
    if row is None:
        return None
    floors = connection.execute(select(_FLOORS).filter_by(**_key(key))).all()
    return Subscription(
        log_epoch=row.log_epoch,
        filter=row.filter,
        filter_hash=row.filter_hash,
        delivery_epoch=row.delivery_epoch,
        floors={each.shard: Floor(next_seq=each.next_seq, delivery_epoch=each.delivery_epoch) for each in floors},
    )


def _replace(connection: Connection, key: SubscriptionKey, subscription: Subscription) -> None:
    connection.execute(_SAVE, _row(key, subscription))
    connection.execute(_FLOORS.delete().filter_by(**_key(key)))
    rows = [
        {**_key(key), "shard": shard, "next_seq": floor.next_seq, "delivery_epoch": floor.delivery_epoch}
        for shard, floor in subscription.floors.items()
    ]
    connection.execute(_FLOORS.insert(), rows)


def _row(key: SubscriptionKey, subscription: Subscription) -> dict[str, Any]:
    return {
        **_key(key),
        "log_epoch": subscription.log_epoch,
        "filter": subscription.filter,
        "filter_hash": subscription.filter_hash,
        "delivery_epoch": subscription.delivery_epoch,
    }


def _key(key: SubscriptionKey) -> dict[str, Any]:
    return {"principal": key.principal, "name": key.name}
