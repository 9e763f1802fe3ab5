"""The in-memory twin of the SQL log: the same contract, nothing durable."""

import uuid
from collections.abc import Callable, Collection, Mapping

from infra.kernel.digest import Digest
from infra.kernel.filter import Term
from infra.kernel.position import Position, PositionExpiredError
from infra.kernel.shard import shard_of
from infra.runtime.subscriptions import SUBSCRIPTIONS_MAX, refuse_more
from order.application.ports import Head, LoggedEvent, Needs, Outcome, Reader, RequestKey, StoredReply, View, Writes
from order.application.read_ports import OrderKey, StoredOrder
from order.domain.order import Order
from order.domain.records import History, Record, RecordKey, own_record


class MemoryLog:
    """A `Log` and its `Orders`, for as long as the process lives."""

    def __init__(self, shards: int, *, subscriptions_max: int = SUBSCRIPTIONS_MAX) -> None:
        self.log_epoch = str(uuid.uuid4())
        self.shards = shards
        self._heads = {shard: Head(next_seq=1, record_time_us=0) for shard in range(shards)}
        self._orders: dict[str, tuple[Order, bytes]] = {}
        self._events: dict[int, list[LoggedEvent]] = {shard: [] for shard in range(shards)}
        self._earliest = dict.fromkeys(range(shards), 1)
        self._records: dict[RecordKey, Record] = {}
        self._replies: dict[RequestKey, StoredReply] = {}
        self._reply_times_us: dict[RequestKey, int] = {}
        self._personal: dict[str, bytes] = {}
        self._epochs: dict[str, int] = {}
        self._forgotten_epoch = 0
        self._subscriptions_max = subscriptions_max
        self._floors: dict[str, dict[int, int]] = {}

    async def commit(self, needs: Needs, decide: Callable[[View], Writes]) -> None:
        """See `Log.commit`."""
        shards = {shard_of(order_id, self.shards) for order_id in needs.orders}
        records = needs.records | {own_record(order_id) for order_id in needs.orders}
        writes = decide(
            View(
                replies={key: self._replies[key] for key in needs.requests & self._replies.keys()},
                orders={order_id: self._orders[order_id][0] for order_id in needs.orders & self._orders.keys()},
                records={key: self._records[key] for key in records & self._records.keys()},
                heads={shard: self._heads[shard] for shard in shards},
            )
        )
        self._replies |= writes.replies
        self._reply_times_us |= dict.fromkeys(writes.replies, writes.time_us)
        self._orders |= writes.orders
        self._records |= writes.records
        self._personal |= writes.personal
        self._personal = {order_id: body for order_id, body in self._personal.items() if body}
        self._heads |= writes.heads
        for event in writes.events:
            self._events[event.shard].append(event)

    async def heads(self) -> list[Head]:
        """See `Log.heads`."""
        return [self._heads[shard] for shard in range(self.shards)]

    async def open_seconds(self) -> float:
        """See `Log.open_seconds`."""
        return 0

    async def earliest(self) -> list[int]:
        """See `Log.earliest`."""
        return [self._earliest[shard] for shard in range(self.shards)]

    async def seqs_at(self, time_us: int) -> list[int]:
        """See `Log.seqs_at`."""
        return [
            1 + sum(event.record_time_us < time_us for event in self._events[shard]) for shard in range(self.shards)
        ]

    async def read_events(self, shard: int, from_seq: int, events_max: int) -> list[LoggedEvent]:
        """See `Log.read_events`."""
        earliest = self._earliest[shard]
        if from_seq < earliest:
            raise PositionExpiredError(shard, from_seq, earliest)
        events = self._events[shard][from_seq - earliest :]
        whole = 0
        for index, event in enumerate(events):
            if event.group_index + 1 == event.group_size and (index < events_max or whole == 0):
                whole = index + 1
        return events[:whole]

    async def trim(self, shard: int, before_us: int, events_max: int) -> int:
        """See `Log.trim`."""
        floor = (await self.lowest_floors())[shard]
        events, trimmed = self._events[shard], 0
        for index, event in enumerate(events[:events_max]):
            if event.record_time_us >= before_us or (floor is not None and event.seq >= floor):
                break
            if event.group_index + 1 == event.group_size:
                trimmed = index + 1
        del events[:trimmed]
        self._earliest[shard] += trimmed
        return trimmed

    async def lowest_floors(self) -> list[int | None]:
        """See `Log.lowest_floors`."""
        return [
            min((floors.get(shard, 1) for floors in self._floors.values()), default=None)
            for shard in range(self.shards)
        ]

    async def find_orders(self, order_ids: Collection[str]) -> dict[str, StoredOrder]:
        """See `Orders.find_orders`."""
        return {order_id: self._stored(order_id) for order_id in order_ids if order_id in self._orders}

    async def list_orders(self, term: Term, after: OrderKey | None, orders_max: int) -> list[StoredOrder]:
        """See `Orders.list_orders`."""
        keys = sorted(
            (order.place_time_us, order.order_id)
            for order, _ in self._orders.values()
            if term.holds(_attributes(order))
        )
        found = [key for key in reversed(keys) if after is None or key < after]
        return [self._stored(order_id) for _, order_id in found[:orders_max]]

    async def list_order_events(self, order_id: str, after_seq: int, events_max: int) -> list[LoggedEvent]:
        """See `Orders.list_order_events`."""
        events = self._events[shard_of(order_id, self.shards)]
        return [event for event in events if event.order_id == order_id and event.seq > after_seq][:events_max]

    async def read_reply(self, key: RequestKey) -> StoredReply | None:
        """See `Log.read_reply`."""
        return self._replies.get(key)

    async def fence(self, key: RequestKey, time_us: int) -> StoredReply:
        """See `Log.fence`."""
        self._reply_times_us.setdefault(key, time_us)
        return self._replies.setdefault(key, StoredReply(outcome=Outcome.NOT_EXECUTED))

    async def begin(self, key: RequestKey, method: str, content: bytes, time_us: int) -> StoredReply:
        """See `Log.begin`."""
        self._reply_times_us.setdefault(key, time_us)
        return self._replies.setdefault(key, StoredReply(Outcome.BEGUN, method, content))

    async def finish(self, key: RequestKey, reply: bytes) -> bytes:
        """See `Log.finish`."""
        stored = self._replies.get(key)
        if stored is None:  # forgotten meanwhile
            return reply
        if stored.outcome is Outcome.BEGUN:
            self._replies[key] = stored._replace(outcome=Outcome.COMMITTED, reply=reply)
        return self._replies[key].reply

    async def forget_replies(self, before_us: int, replies_max: int) -> int:
        """See `Log.forget_replies`."""
        old = sorted((time_us, key) for key, time_us in self._reply_times_us.items() if time_us < before_us)
        for _, key in old[:replies_max]:
            del self._replies[key], self._reply_times_us[key]
        return len(old[:replies_max])

    async def due_orders(self, time_us: int, orders_max: int, skip: int = 0) -> list[str]:
        """See `Log.due_orders`."""
        due = [
            (order.due_time_us, order.order_id) for order, _ in self._orders.values() if order.due_time_us is not None
        ]
        return [order_id for due_time_us, order_id in sorted(due) if due_time_us <= time_us][skip:][:orders_max]

    async def read_record(self, key: RecordKey) -> History | None:
        """See `Records.read_record`."""
        return self._records[key].history if key in self._records else None

    async def list_records(self, order_id: str, kind: str, after: str, records_max: int) -> list[History]:
        """See `Records.list_records`."""
        found = [
            record.history
            for key, record in sorted(self._records.items())
            if key[:2] == (order_id, kind) and key[2] > after and record.history is not None
        ]
        return found[:records_max]

    async def digest(self, term: Term) -> tuple[Position, Digest]:
        """See `Log.digest`."""
        digest = Digest()
        for order, _ in self._orders.values():
            if term.holds(_attributes(order)):
                digest.add(order.order_id, order.version)
        return Position(
            log_epoch=self.log_epoch, next_seq=tuple(head.next_seq for head in self._heads.values())
        ), digest

    async def open_subscription(self, name: str) -> tuple[int, dict[int, int]]:
        """See `Log.open_subscription`."""
        if name not in self._epochs:
            refuse_more(len(self._epochs), self._subscriptions_max)
        self._epochs[name] = self._epochs.get(name, self._forgotten_epoch) + 1
        return self._epochs[name], dict(self._floors.setdefault(name, {}))

    async def readers(self, after: str, readers_max: int) -> list[Reader]:
        """See `Log.readers`."""
        names = sorted(name for name in self._epochs if name > after)[:readers_max]
        return [Reader(name=name, delivery_epoch=self._epochs[name], floors=dict(self._floors[name])) for name in names]

    async def forget_reader(self, name: str) -> bool:
        """See `Log.forget_reader`."""
        self._floors.pop(name, None)
        epoch = self._epochs.pop(name, 0)
        self._forgotten_epoch = max(self._forgotten_epoch, epoch)
        return epoch > 0

    async def scrub(self) -> None:
        """See `Log.scrub`: there is no file."""

    async def move_floors(self, name: str, delivery_epoch: int, floors: Mapping[int, int]) -> bool:
        """See `Log.move_floors`."""
        if self._epochs.get(name) != delivery_epoch:
            return False
        kept = self._floors[name]
        for shard, next_seq in floors.items():
            kept[shard] = max(kept.get(shard, 0), next_seq)
        return True

    def _stored(self, order_id: str) -> StoredOrder:
        order, body = self._orders[order_id]
        return StoredOrder(order_id, order.place_time_us, body, self._personal.get(order_id, b""))


def _attributes(order: Order) -> dict[str, str | int]:
    return {
        "order_id": order.order_id,
        "customer_id": order.customer_id,
        "store_id": order.store_id,
        "currency_code": order.currency_code,
        "state": order.state.value,
        "place_time": order.place_time_us,
    }
