"""Durable subscriptions to the log in SQL: who reads it, under which epoch, and how far everything is done."""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection, func, select, text, update

from infra.runtime.subscriptions import refuse_more
from order.adapters.sql_tables import LOG, LOG_FLOORS, LOG_SUBSCRIPTIONS
from order.application.ports import Reader


def opened(connection: Connection, name: str, *, subscriptions_max: int) -> tuple[int, dict[int, int]]:
    """See `Log.open_subscription`."""
    newest = connection.execute(
        update(LOG_SUBSCRIPTIONS)
        .where(LOG_SUBSCRIPTIONS.c.name == name)
        .values(delivery_epoch=LOG_SUBSCRIPTIONS.c.delivery_epoch + 1)
        .returning(LOG_SUBSCRIPTIONS.c.delivery_epoch)
    ).scalar_one_or_none()
    if newest is None:
        kept = connection.execute(select(func.count()).select_from(LOG_SUBSCRIPTIONS)).scalar_one()
        refuse_more(kept, subscriptions_max)
        first = 1 + int(connection.execute(select(LOG.c.forgotten_epoch)).scalar_one())
        newest = connection.execute(_MAKE, {"name": name, "first": first}).scalar_one()
    floors = connection.execute(select(LOG_FLOORS.c.shard, LOG_FLOORS.c.next_seq).where(LOG_FLOORS.c.name == name))
    return newest, {row.shard: row.next_seq for row in floors}


def moved(connection: Connection, name: str, delivery_epoch: int, floors: Mapping[int, int]) -> bool:
    """See `Log.move_floors`. The subscription's row is held: nobody opens or forgets it before the commit."""
    newest = select(LOG_SUBSCRIPTIONS.c.name).where(
        LOG_SUBSCRIPTIONS.c.name == name, LOG_SUBSCRIPTIONS.c.delivery_epoch == delivery_epoch
    )
    if connection.execute(newest.with_for_update(read=True)).one_or_none() is None:
        return False
    if floors:
        moves = [{"name": name, "shard": shard, "next_seq": next_seq} for shard, next_seq in floors.items()]
        connection.execute(_MOVE_FLOOR, moves)
    return True


def readers(connection: Connection, after: str, readers_max: int) -> list[Reader]:
    """See `Log.readers`."""
    page = LOG_SUBSCRIPTIONS.select().where(LOG_SUBSCRIPTIONS.c.name > after).order_by(LOG_SUBSCRIPTIONS.c.name)
    rows = connection.execute(page.limit(readers_max)).all()
    floors: dict[str, dict[int, int]] = {row.name: {} for row in rows}
    for floor in connection.execute(LOG_FLOORS.select().where(LOG_FLOORS.c.name.in_(floors))):
        floors[floor.name][floor.shard] = floor.next_seq
    return [Reader(name=row.name, delivery_epoch=row.delivery_epoch, floors=floors[row.name]) for row in rows]


def forget(connection: Connection, name: str) -> bool:
    """See `Log.forget_reader`. The floors go last: until then, whoever is moving them holds the subscription."""
    forget = LOG_SUBSCRIPTIONS.delete().where(LOG_SUBSCRIPTIONS.c.name == name)
    epoch = connection.execute(forget.returning(LOG_SUBSCRIPTIONS.c.delivery_epoch)).scalar_one_or_none()
    if epoch is None:
        return False
    connection.execute(LOG_FLOORS.delete().where(LOG_FLOORS.c.name == name))
    connection.execute(LOG.update().where(LOG.c.forgotten_epoch < epoch).values(forgotten_epoch=epoch))
    return True


_MAKE: Final = text(  # unless another process has made it at this moment
    """
    INSERT INTO log_subscriptions (name, delivery_epoch) VALUES (:name, :first)
    ON CONFLICT (name) DO UPDATE SET delivery_epoch = log_subscriptions.delivery_epoch + 1 RETURNING delivery_epoch
    """
)
_MOVE_FLOOR: Final = text(
    """
    INSERT INTO log_floors (name, shard, next_seq) VALUES (:name, :shard, :next_seq)
    ON CONFLICT (name, shard) DO UPDATE SET next_seq =
        CASE WHEN excluded.next_seq > log_floors.next_seq THEN excluded.next_seq ELSE log_floors.next_seq END
    """
)
