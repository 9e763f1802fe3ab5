"""Reads that wait while one is under way share the next one."""

import asyncio
from collections.abc import AsyncIterator, Collection

import pytest

from infra.runtime.database import DatabaseUnavailableError
from order.adapters.memory import MemoryLog
from order.application.grouped_reads import GroupedReads
from order.application.read_ports import StoredOrder
from order.domain.errors import OverloadedError


class HeldOrders(MemoryLog):
    """Orders that are found once `free` is set; it tells what each read has asked for."""

    def __init__(self) -> None:
        super().__init__(shards=1)
        self.reads: list[set[str]] = []
        self.there: set[str] = set()
        self.free = asyncio.Event()
        self.error: Exception | None = None

    async def find_orders(self, order_ids: Collection[str]) -> dict[str, StoredOrder]:
        self.reads.append(set(order_ids))
        found = {each: StoredOrder(each, 0, b"", b"") for each in order_ids if each in self.there}
        await self.free.wait()
        if self.error:
            raise self.error
        return found


@pytest.fixture
def orders() -> HeldOrders:
    return HeldOrders()


@pytest.fixture
async def grouped(orders: HeldOrders) -> AsyncIterator[GroupedReads]:
    reads = GroupedReads(orders)
    async with reads.running():
        yield reads


async def asked(grouped: GroupedReads, *order_ids: str) -> list[asyncio.Task[StoredOrder | None]]:
    """Callers who have all asked by now."""
    tasks = [asyncio.create_task(grouped.find(order_id)) for order_id in order_ids]
    for _ in range(3):  # once around for the callers, once for who answers them
        await asyncio.sleep(0)
    return tasks


async def test_those_who_wait_share_one_read(orders: HeldOrders, grouped: GroupedReads) -> None:
    orders.there = {"a", "b"}
    first = await asked(grouped, "a")
    later = await asked(grouped, "b", "nobody", "b")
    orders.free.set()
    answers = await asyncio.gather(*first, *later)
    assert [answer and answer.order_id for answer in answers] == ["a", "b", None, "b"]
    assert orders.reads == [{"a"}, {"b", "nobody"}]


async def test_what_was_committed_before_a_caller_asked_is_in_its_answer(
    orders: HeldOrders, grouped: GroupedReads
) -> None:
    (early,) = await asked(grouped, "a")
    orders.there.add("a")
    (late,) = await asked(grouped, "a")
    orders.free.set()
    assert (await early, (await late) is not None) == (None, True)


async def test_a_caller_that_goes_away_hurts_nobody(orders: HeldOrders, grouped: GroupedReads) -> None:
    orders.there = {"a", "b"}
    reading, *waiting = await asked(grouped, "a"), *await asked(grouped, "b", "c")
    reading[0].cancel()
    waiting[1].cancel()
    orders.free.set()
    assert await waiting[0] is not None
    assert orders.reads == [{"a"}, {"b"}]


async def test_a_failure_is_told_to_all_who_shared_it_and_to_nobody_else(
    orders: HeldOrders, grouped: GroupedReads
) -> None:
    orders.error = DatabaseUnavailableError("gone")
    orders.free.set()
    answers = await asyncio.gather(*await asked(grouped, "a", "b"), return_exceptions=True)
    assert [type(answer) for answer in answers] == [DatabaseUnavailableError] * 2
    orders.error = None
    assert await grouped.find("a") is None


async def test_more_than_can_be_answered_are_refused(orders: HeldOrders, grouped: GroupedReads) -> None:
    tasks = [*await asked(grouped, "first"), *await asked(grouped, *map(str, range(4096)))]
    with pytest.raises(OverloadedError):
        await grouped.find("one-too-many")
    orders.free.set()
    assert set(await asyncio.gather(*tasks)) == {None}
    assert max(map(len, orders.reads)) == 256
