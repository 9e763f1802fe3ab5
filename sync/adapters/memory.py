"""In-memory twins of the ports: for tests, and to show what each port promises in the fewest words."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Final

from infra.kernel.digest import Digest
from infra.kernel.filter import Term
from infra.kernel.position import Position, check_log, check_start
from infra.kernel.shard import shard_of
from infra.runtime.subscriptions import SUBSCRIPTIONS_MAX, refuse_more
from sync.adapters.memory_parking import MemoryParking
from sync.adapters.wire import order_attributes
from sync.application.ports import AHEAD_OF, OrderPage, SourceUnavailableError
from sync.domain.log import Batch, LogHead, OrderRow
from sync.domain.parking import PARKED_EVENTS_MAX
from sync.domain.settlement import Settlement, settled
from sync.domain.snapshot import Chunk, Wanted
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

_READ_EVENTS_MAX: Final = 500
_PAGE_ORDERS: Final = 5


class MemorySource:
    """A log in memory; see `ports.EventSource`.

    Attributes:
        confirmed: What the ingest has said to be durable, last.
        available: Whether `head` answers.
    """

    def __init__(self, log_epoch: str, shards: int) -> None:
        self.confirmed: Position | None = None
        self.available = True
        self._log_epoch = log_epoch
        self._shards: list[list[Batch]] = [[] for _ in range(shards)]
        self._earliest = [1] * shards
        self._read_time_us = 0
        self._grown = asyncio.Event()

    def append(self, batch: Batch, *, now_us: int = 0) -> None:
        """Records one group of events, which must be the next of its shard."""
        self._shards[batch.shard].append(batch)
        self._read_time_us = max(now_us, self._read_time_us + 1)
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()

    def trim(self, shard: int, earliest_seq: int) -> None:
        """Forgets what is below."""
        self._earliest[shard] = earliest_seq

    async def head(self) -> LogHead:
        """See `EventSource.head`."""
        if not self.available:
            raise SourceUnavailableError("turned off")
        return LogHead(
            log_epoch=self._log_epoch,
            next_seq=self._heads(),
            earliest_seq=tuple(self._earliest),
            read_time_us=self._read_time_us,
        )

    async def position_at(self, time_us: int) -> Position:
        """See `EventSource.position_at`."""
        events = [[event for batch in batches for event in batch.events] for batches in self._shards]
        seqs = (1 + sum(event.record_time_us < time_us for event in shard) for shard in events)
        return Position(log_epoch=self._log_epoch, next_seq=tuple(map(max, self._earliest, seqs)))

    async def record_times(self, position: Position, shards: Collection[int]) -> Mapping[int, int]:
        """See `EventSource.record_times`."""
        check_log(position, self._log_epoch, len(self._shards))
        check_start(position, self._earliest, self._heads(), list(shards))
        return {shard: self._after(shard, position.next_seq[shard])[0].events[0].record_time_us for shard in shards}

    async def follow(self, start: Position) -> AsyncGenerator[Sequence[Batch], None]:
        """See `EventSource.follow`."""
        async for batch in self.read(start, range(len(self._shards))):
            yield (batch,)

    async def read(self, start: Position, shards: Sequence[int]) -> AsyncGenerator[Batch, None]:
        """See `EventSource.read`."""
        check_log(start, self._log_epoch, len(self._shards))
        check_start(start, self._earliest, self._heads(), shards)
        next_seqs = list(start.next_seq)
        while True:
            grown = self._grown
            for shard in shards:
                for batch in self._after(shard, next_seqs[shard]):
                    next_seqs[shard] = batch.last_seq + 1
                    yield batch
            await grown.wait()

    async def orders(self) -> AsyncGenerator[Sequence[OrderRow], None]:
        """See `EventSource.orders`."""
        events = [event for batches in self._shards for batch in batches for event in batch.events]
        last = {event.order.order_id: event.order for event in events}
        for first in range(0, len(last), _PAGE_ORDERS):
            yield list(last.values())[first : first + _PAGE_ORDERS]

    async def confirm(self, position: Position) -> None:
        """See `EventSource.confirm`."""
        self.confirmed = position

    def _heads(self) -> tuple[int, ...]:
        return tuple(batches[-1].last_seq + 1 if batches else 1 for batches in self._shards)

    def _after(self, shard: int, next_seq: int) -> list[Batch]:
        """What follows, several groups in one batch, as a log would hand it on."""
        merged: list[Batch] = []
        for batch in self._shards[shard]:
            if batch.last_seq < next_seq:
                continue
            events = [event for event in batch.events if event.seq >= next_seq]
            if merged and len(merged[-1].events) < _READ_EVENTS_MAX:
                last = merged[-1]
                merged[-1] = replace(last, last_seq=batch.last_seq, events=[*last.events, *events])
            else:
                merged.append(replace(batch, first_seq=events[0].seq, events=events))
        return merged


class MemoryReadModel:
    """See `ports.ReadModel`."""

    def __init__(self) -> None:
        self._position: Position | None = None
        self._orders: dict[str, OrderRow] = {}

    async def position(self) -> Position | None:
        """See `ReadModel.position`."""
        return self._position

    async def begin(self, position: Position) -> None:
        """See `ReadModel.begin`."""
        self._position = self._position or position

    async def apply(self, orders: Sequence[OrderRow], position: Position) -> None:
        """See `ReadModel.apply`."""
        self._store(orders)
        assert self._position is not None, "apply before begin"  # noqa: S101 - the caller's mistake
        self._position = self._position.merged(position)

    async def fill(self, orders: Sequence[OrderRow]) -> bool:
        """See `ReadModel.fill`."""
        assert self._position is not None, "fill before begin"  # noqa: S101 - the caller's mistake
        if any(self._position.next_seq):
            return False
        self._store(orders)
        return True

    async def condemn(self) -> None:
        """See `ReadModel.condemn`."""
        assert self._position is not None, "condemn before begin"  # noqa: S101 - the caller's mistake
        self._position = self._position._replace(log_epoch=AHEAD_OF + self._position.log_epoch.removeprefix(AHEAD_OF))

    def _store(self, orders: Sequence[OrderRow]) -> None:
        for order in orders:
            there = self._orders.get(order.order_id)
            if there is None or there.version < order.version:
                self._orders[order.order_id] = order

    async def find(self, order_id: str) -> OrderRow | None:
        """See `ReadModel.find`."""
        return self._orders.get(order_id)

    async def page(self, term: Term, *, after: str, limit: int) -> OrderPage:
        """See `ReadModel.page`."""
        found = [
            order
            for order_id, order in sorted(self._orders.items())
            if order_id > after and term.holds(_attributes(order))
        ]
        return OrderPage(orders=found[:limit], more=len(found) > limit)

    async def chunk(self, wanted: Wanted) -> Chunk:
        """See `ReadModel.chunk`."""
        assert self._position is not None, "chunk before begin"  # noqa: S101 - the caller's mistake
        matching: list[bytes] = []
        last, size = "", 0
        for order_id, order in sorted(self._orders.items()):
            if order_id <= wanted.after or shard_of(order_id, wanted.shards_all) not in wanted.shards:
                continue
            if not wanted.term.holds(order_attributes(order.body)):
                continue
            size += len(order.body)
            if len(matching) == wanted.limits.events_max or (matching and size > wanted.limits.bytes_max):
                break
            matching.append(order.body)
            last = order_id
        return Chunk(at=self._position, orders=matching, last_order_id=last)

    async def digest(self, term: Term) -> tuple[Position, Digest]:
        """See `ReadModel.digest`."""
        digest = Digest()
        for order in self._orders.values():
            if term.holds(_attributes(order)):
                digest.add(order.order_id, order.version)
        assert self._position is not None, "digest before begin"  # noqa: S101 - the caller's mistake
        return self._position, digest

    async def prove(self, term: Term, shards: Collection[int]) -> tuple[Position, Digest]:
        """See `ReadModel.prove`."""
        digest = Digest()
        assert self._position is not None, "prove before begin"  # noqa: S101 - the caller's mistake
        for order in self._orders.values():
            shard = shard_of(order.order_id, len(self._position.next_seq))
            if shard in shards and term.holds(order_attributes(order.body)):
                digest.add(order.order_id, order.version)
        return self._position, digest


class MemorySubscriptions:
    """See `ports.Subscriptions`.

    Attributes:
        parking: What has been parked.
    """

    def __init__(
        self, *, subscriptions_max: int = SUBSCRIPTIONS_MAX, parked_events_max: int = PARKED_EVENTS_MAX
    ) -> None:
        self.parking = MemoryParking(parked_events_max=parked_events_max)
        self._stored: dict[SubscriptionKey, Subscription] = {}
        self._retired_epoch = 0
        self._subscriptions_max = subscriptions_max

    async def find(self, key: SubscriptionKey) -> Subscription | None:
        """See `Subscriptions.find`."""
        return self._stored.get(key)

    async def open(self, opening: Opening) -> Subscription:
        """See `Subscriptions.open`."""
        return self._put(opening, opened)

    def _put(
        self, opening: Opening, change: Callable[[Subscription | None, Opening, int], Subscription]
    ) -> Subscription:
        if opening.key not in self._stored:
            refuse_more(len(self._stored), self._subscriptions_max)
        return self._replace(opening.key, change(self._stored.get(opening.key), opening, self._retired_epoch))

    async def create(self, opening: Opening) -> Subscription:
        """See `Subscriptions.create`."""
        return self._put(opening, created)

    async def page(self, principal: str, *, after: str, limit: int) -> Sequence[tuple[str, Subscription]]:
        """See `Subscriptions.page`."""
        found = [
            (key.name, stored)
            for key, stored in self._stored.items()
            if key.principal == principal and key.name > after
        ]
        return sorted(found, key=itemgetter(0))[:limit]

    async def seek(self, key: SubscriptionKey, log_epoch: str, floors: Mapping[int, int]) -> Subscription | None:
        """See `Subscriptions.seek`."""
        stored = self._stored.get(key)
        return None if stored is None else self._replace(key, sought(stored, log_epoch, floors))

    async def delete(self, key: SubscriptionKey) -> None:
        """See `Subscriptions.delete`."""
        stored = self._stored.pop(key, None)
        if stored is not None:
            self._retired_epoch = max(self._retired_epoch, retiring(stored))
        self.parking.clear(key)

    async def commit(self, acks: Sequence[Ack | Settlement]) -> Sequence[AckOutcome]:
        """See `Subscriptions.commit`."""
        outcomes = []
        for ack in acks:
            if isinstance(ack, Ack):
                after, outcome = acked(self._stored.get(ack.key), ack)
            else:
                room = self.parking.room(ack.key)
                after, outcome = settled(self._stored.get(ack.key), ack, parking_room=room)
                if outcome.status is AckStatus.COMMITTED:
                    self.parking.move(ack, parked=not outcome.parking_full)
            if after is not None:
                self._stored[ack.key] = after
            outcomes.append(outcome)
        return outcomes

    def _replace(self, key: SubscriptionKey, subscription: Subscription) -> Subscription:
        stored = self._stored.get(key)
        if stored is not None and stored.log_epoch != subscription.log_epoch:
            self.parking.clear(key)
        self._stored[key] = subscription
        return subscription


def _attributes(order: OrderRow) -> dict[str, str]:
    return {name: getattr(order, name) for name in ("order_id", "customer_id", "store_id", "currency_code", "state")}
