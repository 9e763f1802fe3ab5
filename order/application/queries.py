"""Authoritative reads: what was committed before the call is in the answer."""

from collections.abc import Sequence

from infra.kernel.digest import Digest
from infra.kernel.filter import Term
from infra.kernel.position import AtLeast, Position, check_log
from infra.runtime.grpc.draining import Draining
from infra.runtime.grpc.status import StalePositionError
from order.application.grouped_reads import GroupedReads
from order.application.heads import Heads
from order.application.ports import Log, LoggedEvent
from order.application.read_ports import OrderKey, Orders, StoredOrder
from order.domain.errors import OrderNotFoundError


class Queries:
    """Every call waits first until the log includes what its caller has seen; see `reach` for its refusals."""

    def __init__(self, log: Log, orders: Orders, grouped: GroupedReads, heads: Heads, draining: Draining) -> None:
        self._log = log
        self._orders = orders
        self._grouped = grouped
        self._heads = heads
        self._draining = draining

    async def order(self, order_id: str, at_least: AtLeast) -> StoredOrder:
        """One order.

        Raises:
            OrderNotFoundError: There is none.
        """
        await self.reach(at_least)
        found = await self._grouped.find(order_id)
        if found is None:
            raise OrderNotFoundError(order_id)
        return found

    async def orders(self, order_ids: Sequence[str], at_least: AtLeast) -> list[StoredOrder]:
        """All of the orders, in the sequence of their ids, as they stood at one moment.

        Raises:
            OrderNotFoundError: One is not there.
        """
        await self.reach(at_least)
        found = await self._orders.find_orders(order_ids)
        for order_id in order_ids:
            if order_id not in found:
                raise OrderNotFoundError(order_id)
        return [found[order_id] for order_id in order_ids]

    async def page(self, term: Term, after: OrderKey | None, orders_max: int, at_least: AtLeast) -> list[StoredOrder]:
        """Matching orders, newest first, from right behind `after`."""
        await self.reach(at_least)
        return await self._orders.list_orders(term, after, orders_max)

    async def events(self, order_id: str, after_seq: int, events_max: int, at_least: AtLeast) -> list[LoggedEvent]:
        """The order's events that are kept, oldest first, from right behind `after_seq`.

        Raises:
            OrderNotFoundError: There is no such order.
        """
        await self.order(order_id, at_least)
        return await self._orders.list_order_events(order_id, after_seq, events_max)

    async def digest(self, term: Term, at_least: AtLeast) -> tuple[Position, Digest]:
        """The digest of every matching order, and the position that it belongs to."""
        await self.reach(at_least)
        return await self._log.digest(term)

    async def reach(self, at_least: AtLeast) -> None:
        """Waits until the log covers the position, if there is one.

        Raises:
            LogEpochChangedError: It is a position of another log.
            PositionMalformedError: It has another number of shards.
            StalePositionError: The log did not get there in time.
            StoppingError: The service is about to leave, and the log did not get there before.
        """
        wanted = at_least.position
        if wanted is None:
            return
        check_log(wanted, self._log.log_epoch, self._log.shards)
        async with self._draining.waiting():
            reached = await self._heads.reached(wanted, at_least.seconds)
        if not reached:
            raise StalePositionError(
                f"the log is at {list(self._heads.position.next_seq)}, not yet at the position asked"
            )
