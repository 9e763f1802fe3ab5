"""Events that are published once more, for a reader that has lost them, on a topic of their own."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from order.application.ports import Log, LoggedEvent
from order.application.read_ports import Orders
from order.application.relay_ports import ReplayBus
from order.domain.errors import NoBusError, OrderNotFoundError

EVENTS_MAX: Final = 2_000  # at a time: a transaction that is done within a call's time …
_BYTES_MAX: Final = 16_777_216  # … and bounded in memory; one page goes beyond it
_READ_MAX: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What was published, and the key from which to go on; none when it is done."""

    topic: str
    events: int
    next_key: tuple[int, int] | None


class Replay:
    """Publishes what the log keeps. A key is a pair of numbers that only grow: of what, and the seq to go on at."""

    def __init__(self, log: Log, orders: Orders, bus: ReplayBus | None) -> None:
        self._log = log
        self._orders = orders
        self._bus = bus

    async def orders(self, replay_id: str, order_ids: Sequence[str], key: tuple[int, int] | None) -> Replayed:
        """Every event that is kept of the orders, one order after the other, each in its sequence.

        Raises:
            OrderNotFoundError: One is not there; nothing was published.
            NoBusError, BusUnavailableError, BusRefusedError: Nothing was published.
        """
        bus = self._need_bus()
        found = await self._orders.find_orders(order_ids)
        for order_id in order_ids:
            if order_id not in found:
                raise OrderNotFoundError(order_id)
        start, from_seq = key or (0, 0)
        return await self._publish(bus, replay_id, self._of_orders(order_ids, start, from_seq))

    async def range(self, replay_id: str, shard: int, from_seq: int, last_seq: int) -> Replayed:
        """The shard's events from one seq up to another, as far as there are.

        Raises:
            PositionExpiredError: They are no longer kept; nothing was published.
            NoBusError, BusUnavailableError, BusRefusedError: Nothing was published.
        """
        return await self._publish(self._need_bus(), replay_id, self._of_range(shard, from_seq, last_seq))

    def _need_bus(self) -> ReplayBus:
        if self._bus is None:
            raise NoBusError
        return self._bus

    async def _publish(
        self, bus: ReplayBus, replay_id: str, found: AsyncGenerator[tuple[int, Sequence[LoggedEvent]]]
    ) -> Replayed:
        events: list[LoggedEvent] = []
        bytes_left = _BYTES_MAX
        next_key: tuple[int, int] | None = None
        async with aclosing(found) as pages:
            async for number, page in pages:
                taken = page[: EVENTS_MAX - len(events)] if bytes_left > 0 else []
                events += taken
                bytes_left -= sum(len(event.body) for event in taken)
                if len(taken) < len(page):
                    next_key = (number, page[len(taken)].seq)
                    break
        topic = await bus.publish(replay_id, events)
        return Replayed(topic=topic, events=len(events), next_key=next_key)

    async def _of_orders(
        self, order_ids: Sequence[str], start: int, from_seq: int
    ) -> AsyncGenerator[tuple[int, Sequence[LoggedEvent]]]:
        for number, order_id in enumerate(order_ids[start:], start):
            after = from_seq - 1 if number == start else 0
            while page := await self._orders.list_order_events(order_id, after, _READ_MAX):
                yield number, page
                after = page[-1].seq

    async def _of_range(
        self, shard: int, from_seq: int, last_seq: int
    ) -> AsyncGenerator[tuple[int, Sequence[LoggedEvent]]]:
        while from_seq <= last_seq:
            page = [event for event in await self._log.read_events(shard, from_seq, _READ_MAX) if event.seq <= last_seq]
            if not page:
                return
            yield shard, page
            from_seq = page[-1].seq + 1
