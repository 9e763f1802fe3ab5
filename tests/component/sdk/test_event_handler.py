"""Events handled one by one, against the real Sync Server on a log in memory."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset.sync.v1 import sync_service_pb2
from stateset_client import (
    AckStatus,
    EventHandler,
    FencedError,
    Outcome,
    PoisonError,
    RetryPolicy,
    Settled,
    StreamLimits,
    Subscription,
)

from sync.adapters.memory import MemorySubscriptions
from sync.domain.subscription import SubscriptionKey
from tests.harness.sync_client import Client, open_server
from tests.harness.sync_log import LogMaker
from tests.harness.waiting import eventually, eventually_async

LIMITS = StreamLimits(unacked_events_max=100)
QUICK = RetryPolicy(attempts_max=3, delay_seconds=0.01)


class Seen:
    """What a handler was called with, by order."""

    def __init__(self, fails: Callable[[OrderEvent, int], Exception | None] = lambda _event, _time: None) -> None:
        self.handled: dict[str, list[int]] = {}
        self.times: Counter[tuple[str, int]] = Counter()
        self.at_work: set[str] = set()
        self._fails = fails

    @property
    def count(self) -> int:
        return sum(map(len, self.handled.values()))

    async def handle(self, event: OrderEvent) -> None:
        assert event.order_id not in self.at_work, "two events of one order at once"
        self.at_work.add(event.order_id)
        await asyncio.sleep(0)
        self.at_work.discard(event.order_id)
        self.times[event.order_id, event.version] += 1
        error = self._fails(event, self.times[event.order_id, event.version])
        if error is not None:
            raise error
        self.handled.setdefault(event.order_id, []).append(event.version)


@pytest.fixture
def log() -> LogMaker:
    return LogMaker()


@pytest.fixture
def subscriptions() -> MemorySubscriptions:
    return MemorySubscriptions()


@pytest.fixture
async def client(log: LogMaker, subscriptions: MemorySubscriptions) -> AsyncIterator[Client]:
    async with open_server(log.source, subscriptions=subscriptions, breaker_outcomes=1_000) as client:
        yield client


@asynccontextmanager
async def handling(
    client: Client, handle: Callable[[OrderEvent], Awaitable[None]], name: str = "s-1"
) -> AsyncIterator["asyncio.Task[None]"]:
    async with Subscription(client.address, name, limits=LIMITS) as subscription:
        await subscription.opened()
        task = asyncio.create_task(EventHandler(subscription, handle, policy=QUICK).run(), name="handling")
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def parked(client: Client) -> list[tuple[int, str]]:
    listed = await client.stub.ListParked(sync_service_pb2.ListParkedRequest(subscription="s-1"))
    return [(each.event.version, each.reason) for each in listed.parked]


async def test_an_orders_events_are_handled_one_after_another_and_not_again_by_the_next_process(
    log: LogMaker, client: Client, subscriptions: MemorySubscriptions
) -> None:
    async def all_settled() -> bool:
        stored = await subscriptions.find(SubscriptionKey(principal="local", name="s-1"))
        floors = stored.floors if stored else {}
        return [floor.next_seq for _, floor in sorted(floors.items())] == list(log.position.next_seq)

    for number in range(60):
        log.group(f"o-{number % 7}", size=1 + number % 3)
    first, second = Seen(), Seen()
    async with handling(client, first.handle):
        await eventually(lambda: first.count == len(log.events))
        assert all(versions == sorted(versions) for versions in first.handled.values())
        await eventually_async(all_settled)
    async with handling(client, second.handle):
        log.group("o-1")
        await eventually(lambda: second.count >= 1)
    assert second.count == 1


async def test_an_event_whose_handler_raises_comes_again_before_the_later_ones_of_its_order(
    log: LogMaker, client: Client
) -> None:
    log.group("o-1", size=4)
    log.group("o-2", size=2)
    seen = Seen(lambda event, time: OSError("away") if (event.order_id, time) == ("o-1", 1) else None)
    async with handling(client, seen.handle):
        await eventually(lambda: seen.count == 6)
    assert seen.handled == {"o-1": [1, 2, 3, 4], "o-2": [1, 2]}
    assert {seen.times["o-1", version] for version in (1, 2, 3, 4)} == {2}


async def test_what_cannot_be_handled_is_parked_with_its_order_and_others_go_on(log: LogMaker, client: Client) -> None:
    log.group("o-1", size=3)
    log.group("o-2", size=3)
    seen = Seen(lambda event, _time: ValueError("never") if (event.order_id, event.version) == ("o-1", 2) else None)
    async with handling(client, seen.handle):
        await eventually(lambda: seen.handled.get("o-2") == [1, 2, 3])

        async def all_parked() -> bool:
            return await parked(client) == [(2, "ValueError: never"), (3, "")]

        await eventually_async(all_parked)
        assert seen.times["o-1", 2] == QUICK.attempts_max
        assert seen.handled["o-1"] == [1]


async def test_poison_is_parked_at_once_and_handled_when_it_is_replayed(log: LogMaker, client: Client) -> None:
    log.group("o-1", size=2)
    seen = Seen(lambda event, time: PoisonError("odd") if (event.version, time) == (1, 1) else None)
    async with handling(client, seen.handle):

        async def all_parked() -> bool:
            return await parked(client) == [(1, "PoisonError: odd"), (2, "")]

        await eventually_async(all_parked)
        log.group("o-1")
        await client.stub.ReplayParked(sync_service_pb2.ReplayParkedRequest(subscription="s-1", all=True))
        await eventually(lambda: seen.handled.get("o-1") is not None and seen.handled["o-1"][:2] == [1, 2])

        async def again() -> bool:
            await client.stub.ReplayParked(sync_service_pb2.ReplayParkedRequest(subscription="s-1", all=True))
            return seen.handled["o-1"] == [1, 2, 3]

        await eventually_async(again)


async def test_a_handler_that_was_superseded_ends(log: LogMaker, client: Client) -> None:
    log.group("o-1")
    seen = Seen()
    async with handling(client, seen.handle) as task:
        await eventually(lambda: seen.count == 1)
        async with Subscription(client.address, "s-1", limits=LIMITS) as newer:
            await newer.opened()
            log.group("o-1")
            with pytest.raises(FencedError):
                await task


async def test_each_item_has_a_result_of_its_own(log: LogMaker, client: Client) -> None:
    log.group("o-1", size=2)
    async with Subscription(client.address, "s-1", limits=LIMITS) as subscription:
        batch = await anext(subscription)
        first, second = batch.events
        result = await subscription.settle(
            Settled(event=first, outcome=Outcome.RETRY, delay_seconds=60), Settled(event=second, outcome=Outcome.DONE)
        )
        assert list(result.items) == [AckStatus.COMMITTED, AckStatus.OUT_OF_ORDER]
