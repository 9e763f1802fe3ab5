"""Durable subscriptions in SQL. What a change does is decided by the domain; here it is loaded and stored, fenced."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import BigInteger, Column, Connection, Integer, LargeBinary, MetaData, Table, func, select, text

from infra.runtime.database import Database
from infra.runtime.schema import TEXT
from infra.runtime.subscriptions import SUBSCRIPTIONS_MAX, refuse_more
from sync.adapters import sql_parking
from sync.adapters.sql_parking import names
from sync.domain.done_set import Floor, Retried
from sync.domain.parking import PARKED_EVENTS_MAX
from sync.domain.settlement import Settlement, settled
from sync.domain.subscription import (
    Ack,
    AckOutcome,
    AckStatus,
    Opening,
    Subscription,
    SubscriptionKey,
    acked,
    created,
    opened,
    retiring,
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
    Column("first_epoch", BigInteger),
)
_FLOORS: Final = Table(
    "subscription_floors",
    _METADATA,
    Column("principal", TEXT, primary_key=True),
    Column("name", TEXT, primary_key=True),
    Column("shard", Integer, primary_key=True),
    Column("next_seq", BigInteger),
    Column("delivery_epoch", BigInteger),
    Column(
        "above", TEXT
    ),  # what is done above next_seq, and what was retried: [[stretches], {seq: [count, due_us, …]}]
)
_RETIRED: Final = Table("retired_epoch", _METADATA, Column("delivery_epoch", BigInteger))  # one row
_NOTHING: Final = "[]"
_COUNT: Final = select(func.count()).select_from(_SUBSCRIPTIONS)
_SAVE: Final = text(
    """
    INSERT INTO subscriptions (principal, name, log_epoch, filter, filter_hash, delivery_epoch, first_epoch)
    VALUES (:principal, :name, :log_epoch, :filter, :filter_hash, :delivery_epoch, :first_epoch)
    ON CONFLICT (principal, name) DO UPDATE SET
        log_epoch = excluded.log_epoch, filter = excluded.filter, filter_hash = excluded.filter_hash,
        delivery_epoch = excluded.delivery_epoch, first_epoch = excluded.first_epoch
    """
)
# The delivery epoch stands in the statement that moves the floor: a superseded stream can write nothing.
_MOVE: Final = text(
    """
    UPDATE subscription_floors SET next_seq = :next_seq, above = :above
    WHERE principal = :principal AND name = :name AND shard = :shard
      AND delivery_epoch = :delivery_epoch AND next_seq <= :next_seq
    """
)


class SqlSubscriptions:
    """See `ports.Subscriptions`."""

    def __init__(
        self,
        database: Database,
        *,
        subscriptions_max: int = SUBSCRIPTIONS_MAX,
        parked_events_max: int = PARKED_EVENTS_MAX,
    ) -> None:
        self._database = database
        self._subscriptions_max = subscriptions_max
        self._parked_events_max = parked_events_max

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
        change: Callable[[Subscription | None, Opening, int], Subscription],
    ) -> Subscription:
        stored, retired = _load(connection, opening.key, for_update=True), 0
        if stored is None:
            retired = _retired(connection)
            stored = _load(connection, opening.key, for_update=True)  # another server may have made it just now
        if stored is None:
            refuse_more(connection.execute(_COUNT).scalar_one(), self._subscriptions_max)
        subscription = change(stored, opening, retired)
        _replace(connection, opening.key, stored, subscription)
        return subscription

    async def create(self, opening: Opening) -> Subscription:
        """See `Subscriptions.create`."""
        return await self._database.write(lambda connection: self._put(connection, opening, created))

    async def page(self, principal: str, *, after: str, limit: int) -> Sequence[tuple[str, Subscription]]:
        """See `Subscriptions.page`."""
        listed = (
            select(_SUBSCRIPTIONS.c.name)
            .where(_SUBSCRIPTIONS.c.principal == principal, _SUBSCRIPTIONS.c.name > after)
            .order_by(_SUBSCRIPTIONS.c.name)
            .limit(limit)
        )

        def work(connection: Connection) -> list[tuple[str, Subscription]]:
            found = connection.execute(listed).scalars().all()
            loaded = ((name, _load(connection, SubscriptionKey(principal=principal, name=name))) for name in found)
            return [(name, stored) for name, stored in loaded if stored is not None]

        return await self._database.read(work)

    async def seek(self, key: SubscriptionKey, log_epoch: str, floors: Mapping[int, int]) -> Subscription | None:
        """See `Subscriptions.seek`."""

        def work(connection: Connection) -> Subscription | None:
            stored = _load(connection, key, for_update=True)
            if stored is None:
                return None
            subscription = sought(stored, log_epoch, floors)
            _replace(connection, key, stored, subscription)
            return subscription

        return await self._database.write(work)

    async def delete(self, key: SubscriptionKey) -> None:
        """See `Subscriptions.delete`."""

        def work(connection: Connection) -> None:
            retired = _retired(connection)
            # Its row before what hangs on it, as acks and openings do: they wait for each other in one sequence.
            stored = _load(connection, key, for_update=True)
            if stored is None:
                return
            connection.execute(_RETIRED.update().values(delivery_epoch=max(retired, retiring(stored))))
            sql_parking.clear(connection, key)
            for table in (_FLOORS, _SUBSCRIPTIONS):
                connection.execute(table.delete().filter_by(**names(key)))

        await self._database.write(work)

    async def commit(self, acks: Sequence[Ack | Settlement]) -> Sequence[AckOutcome]:
        """See `Subscriptions.commit`."""
        return await self._database.write(lambda connection: _commit(connection, acks, self._parked_events_max))


def _commit(connection: Connection, acks: Sequence[Ack | Settlement], parked_events_max: int) -> list[AckOutcome]:
    keys = {ack.key for ack in acks}
    # In one sequence for everybody, so that two transactions cannot wait for each other.
    stored = {
        key: _load(connection, key, for_update=True) for key in sorted(keys, key=lambda key: (key.principal, key.name))
    }
    before = dict(stored)
    outcomes = []
    for ack in acks:
        if isinstance(ack, Ack):
            stored[ack.key], outcome = acked(stored[ack.key], ack)
        else:
            room = sql_parking.room(connection, ack.key, parked_events_max) if ack.changes.new_parked else 0
            stored[ack.key], outcome = settled(stored[ack.key], ack, parking_room=room)
            if outcome.status is AckStatus.COMMITTED:
                sql_parking.move(connection, ack, parked=not outcome.parking_full)
        outcomes.append(outcome)
    for key, subscription in stored.items():
        _move(connection, key, before[key], subscription)
    return outcomes


def _move(
    connection: Connection, key: SubscriptionKey, before: Subscription | None, after: Subscription | None
) -> None:
    """Writes the floors that have moved, each once however many acks moved it."""
    if before is None or after is None:
        return
    for shard, floor in after.floors.items():
        if floor != before.floors[shard]:
            connection.execute(_MOVE, {**names(key), "shard": shard, **_floor(floor)})


def _retired(connection: Connection) -> int:
    """The highest epoch that a deletion took. Until this transaction ends, nobody else makes or deletes a subscription.

    To be asked while no subscription's row is locked: who deletes one locks its row behind this one.
    """
    return int(connection.execute(select(_RETIRED).with_for_update()).scalar_one())


def _load(connection: Connection, key: SubscriptionKey, *, for_update: bool = False) -> Subscription | None:
    query = select(_SUBSCRIPTIONS).filter_by(**names(key))
    row = connection.execute(query.with_for_update() if for_update else query).one_or_none()
    if row is None:
        return None
    floors = connection.execute(select(_FLOORS).filter_by(**names(key))).all()
    return Subscription(
        log_epoch=row.log_epoch,
        filter=row.filter,
        filter_hash=row.filter_hash,
        delivery_epoch=row.delivery_epoch,
        first_epoch=row.first_epoch,
        floors={each.shard: _floor_of(each.next_seq, each.delivery_epoch, each.above) for each in floors},
    )


def _replace(
    connection: Connection, key: SubscriptionKey, stored: Subscription | None, subscription: Subscription
) -> None:
    if stored is not None and stored.log_epoch != subscription.log_epoch:
        sql_parking.clear(connection, key)
    connection.execute(_SAVE, _row(key, subscription))
    connection.execute(_FLOORS.delete().filter_by(**names(key)))
    rows = [{**names(key), "shard": shard, **_floor(floor)} for shard, floor in subscription.floors.items()]
    connection.execute(_FLOORS.insert(), rows)


def _row(key: SubscriptionKey, subscription: Subscription) -> dict[str, Any]:
    return {
        **names(key),
        "log_epoch": subscription.log_epoch,
        "filter": subscription.filter,
        "filter_hash": subscription.filter_hash,
        "delivery_epoch": subscription.delivery_epoch,
        "first_epoch": subscription.first_epoch,
    }


def _floor(floor: Floor) -> dict[str, int | str]:
    above = json.dumps([floor.done, floor.attempts]) if floor.done or floor.attempts else _NOTHING
    return {"next_seq": floor.next_seq, "delivery_epoch": floor.delivery_epoch, "above": above}


def _floor_of(next_seq: int, delivery_epoch: int, above: str) -> Floor:
    if above == _NOTHING:
        return Floor(next_seq=next_seq, delivery_epoch=delivery_epoch)
    done, attempts = json.loads(above)
    return Floor(
        next_seq=next_seq,
        delivery_epoch=delivery_epoch,
        done=tuple((first, end) for first, end in done),
        attempts={int(seq): _retried(each) for seq, each in attempts.items()},
    )


def _retried(stored: list[int] | int) -> Retried:
    return Retried(*stored) if isinstance(stored, list) else Retried(stored)  # before there were times, a mere count
