"""Another identity for the log that a database holds, in place: for a database that was restored from a backup."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Connection, and_, bindparam, delete, select, true, tuple_, update
from stateset.order.v1 import order_event_pb2, order_service_pb2

from infra.runtime.lifespan import StartupError
from order.adapters import sql_lease
from order.adapters.requests import ERASE_CUSTOMER
from order.adapters.sql_tables import IDEMPOTENCY, LOG, LOG_FLOORS, LOG_SUBSCRIPTIONS, ORDER_EVENTS
from order.application.ports import Outcome

_BATCH: Final = 200  # bodies in memory at once: an order of the largest kind makes them 50 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEpoch:
    """What was changed.

    Attributes:
        before: The epoch that the log had.
        after: The one that it has now.
        events: So many carry it.
        replies: So many stored replies do.
        readers: So many subscriptions to the log were forgotten, with their floors.
    """

    before: str
    after: str
    events: int
    replies: int
    readers: int


def begin_epoch(connection: Connection, log_epoch: str, now_us: int, stopped: Callable[[], bool]) -> NewEpoch:
    """Makes the log another one with the same orders, events and seqs. The caller commits.

    Refusals and fences among the stored answers name no log, nor do orders, records and personal data. Requests are
    kept as they came, for a repeat is compared with them.

    Args:
        connection: To a database that nobody else uses.
        log_epoch: Of the log from now on.
        now_us: The time.
        stopped: Whether to give up.

    Raises:
        StartupError: There is no log; or an event or a reply is of yet another one; or it was stopped.
    """
    before = connection.execute(select(LOG.c.log_epoch)).scalar_one_or_none()
    if before is None:
        raise StartupError("the database holds no log: name the one that was restored")
    exchange = _Exchange(before.encode(), log_epoch.encode())
    connection.execute(update(LOG).values(log_epoch=log_epoch))
    events = _rewrite(connection, ORDER_EVENTS.c.body, true(), exchange.event, stopped)
    replies = _rewrite(connection, IDEMPOTENCY.c.reply, _OF_COMMANDS, exchange.reply, stopped)
    replies += _rewrite(connection, IDEMPOTENCY.c.reply, _OF_ERASURES, exchange.erasure, stopped)
    readers = connection.execute(delete(LOG_SUBSCRIPTIONS)).rowcount
    connection.execute(delete(LOG_FLOORS))
    sql_lease.begin_anew(connection, now_us)
    return NewEpoch(before=before, after=log_epoch, events=events, replies=replies, readers=readers)


class _Exchange:
    """Bodies with one epoch in the place of another.

    An epoch is a string of 36 ASCII characters before and after: no length in the message changes, so that its bytes
    can be exchanged where they lie and all others stay as they are, those of fields that we do not know among them.
    Somebody may have written the epoch into a text of theirs, such as an order's id; that stays. Which place is the
    field's, the parser says.
    """

    def __init__(self, before: bytes, after: bytes) -> None:
        self._before = re.compile(re.escape(before))
        self._after = after

    def event(self, body: bytes) -> bytes | None:
        """The event; none if it is not of the log. Its metadata come first, with only strings before the epoch."""
        return self._exchanged(body, self._places(body), _epoch_of_event)

    def reply(self, body: bytes) -> bytes | None:
        """The reply; none if it is not of the log. Its position comes last, with only numbers behind the epoch."""
        return self._exchanged(body, reversed(self._places(body)), _epoch_of_reply)

    def erasure(self, body: bytes) -> bytes | None:
        """The reply to an erasure of many orders, in which the position is in another field; none if as above."""
        return self._exchanged(body, self._places(body), _epoch_of_erasure)

    def _places(self, body: bytes) -> list[int]:
        return [found.start() for found in self._before.finditer(body)]

    def _exchanged(self, body: bytes, places: Iterable[int], epoch_of: Callable[[bytes], str]) -> bytes | None:
        for place in places:
            exchanged = body[:place] + self._after + body[place + len(self._after) :]
            if epoch_of(exchanged).encode() == self._after:
                return exchanged
        return None


def _epoch_of_event(body: bytes) -> str:
    return order_event_pb2.OrderEvent.FromString(body).metadata.log_epoch


def _epoch_of_reply(body: bytes) -> str:
    """Every command's response has its position in the same field."""
    return order_service_pb2.PlaceOrderResponse.FromString(body).position.log_epoch


def _epoch_of_erasure(body: bytes) -> str:
    return order_service_pb2.EraseCustomerPersonalDataResponse.FromString(body).position.log_epoch


def _rewrite(
    connection: Connection,
    body: Column[bytes],
    which: ColumnElement[bool],
    exchanged: Callable[[bytes], bytes | None],
    stopped: Callable[[], bool],
) -> int:
    """Exchanges the bodies of these rows, a few at a time by the table's key; returns how many they are."""
    keys = tuple(body.table.primary_key)
    page = select(*keys, body).where(which).order_by(*keys).limit(_BATCH)
    store = update(body.table).where(*(key == bindparam(f"of_{key.name}") for key in keys))
    store = store.values({body.name: bindparam("exchanged")})
    count = 0
    found = connection.execute(page).all()
    while found:
        if stopped():
            raise StartupError("stopped before the end: nothing was changed")
        connection.execute(store, [_stored(body, row, exchanged(row[-1])) for row in found])
        count += len(found)
        found = connection.execute(page.where(tuple_(*keys) > tuple_(*found[-1][:-1]))).all()
    return count


def _stored(body: Column[bytes], row: Sequence[Any], exchanged: bytes | None) -> dict[str, Any]:
    if exchanged is None:
        raise StartupError(f"{body.table.name} {tuple(row[:-1])} is of another log: restore another backup")
    keys = {f"of_{key.name}": value for key, value in zip(body.table.primary_key, row, strict=False)}
    return {**keys, "exchanged": exchanged}


_COMMITTED: Final = IDEMPOTENCY.c.outcome == int(Outcome.COMMITTED)
_OF_COMMANDS: Final = and_(_COMMITTED, IDEMPOTENCY.c.method != ERASE_CUSTOMER)
_OF_ERASURES: Final = and_(_COMMITTED, IDEMPOTENCY.c.method == ERASE_CUSTOMER)
