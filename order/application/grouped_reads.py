"""Orders by id: reads that wait while one is under way share the next one.

A transaction costs many times what a row costs, so under load most of a read's price is shared. Nothing is kept: a
group is read after its last caller has joined it, and what was committed before a caller asked is in its answer.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from infra.runtime.lifespan import background
from order.application.read_ports import Orders, StoredOrder
from order.domain.errors import OverloadedError

_GROUP_MAX: Final = 256  # orders read at once; more would make the first ones wait
_GATHER_SECONDS: Final = 0.002  # about what a read takes: under load, groups of tens and not of five
_QUEUE_MAX: Final = 4096


class _Waiting(NamedTuple):
    order_id: str
    future: asyncio.Future[StoredOrder | None]


class GroupedReads:
    """Reads one order for each of many callers."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._queue: list[_Waiting] = []
        self._asked = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Reads while the context lasts."""
        async with background(self._run(), name="grouped-reads"):
            yield

    async def find(self, order_id: str) -> StoredOrder | None:
        """The order, if there is one.

        Raises:
            OverloadedError: Too many reads wait.
            DatabaseUnavailableError: The database cannot be used now.
        """
        if len(self._queue) >= _QUEUE_MAX:
            raise OverloadedError(f"{len(self._queue)} reads are waiting")
        future: asyncio.Future[StoredOrder | None] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(order_id, future))
        self._asked.set()
        return await future

    async def _run(self) -> None:
        """One read after the other. Who came in company last time waits a moment for it; a lone caller does not."""
        company = False
        while True:
            await self._asked.wait()
            if company:
                await asyncio.sleep(_GATHER_SECONDS)
            group, self._queue = self._queue[:_GROUP_MAX], self._queue[_GROUP_MAX:]
            if not self._queue:
                self._asked.clear()
            company = len(group) > 1
            await self._answer([each for each in group if not each.future.done()])

    async def _answer(self, group: list[_Waiting]) -> None:
        try:
            found = await self._orders.find_orders({each.order_id for each in group})
        except Exception as error:  # noqa: BLE001 - whatever it is, every caller is answered and the loop goes on
            for each in group:
                if not each.future.done():
                    each.future.set_exception(error)
            return
        for each in group:
            if not each.future.done():  # its caller may have gone away meanwhile
                each.future.set_result(found.get(each.order_id))
