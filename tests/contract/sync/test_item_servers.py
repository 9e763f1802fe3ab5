"""What a client that settles single events finds the same, whether the Sync Server or its fake is on the other side."""

import asyncio
import time
from collections.abc import AsyncIterator

import grpc.aio
import pytest
from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset.stream.v1.stream_pb2 import Open
from stateset.sync.v1 import sync_service_pb2 as sync
from stateset_client import (
    EARLIEST,
    STORED,
    AckStatus,
    EventHandler,
    Outcome,
    PoisonError,
    RetryPolicy,
    Settled,
    StreamLimits,
    Subscription,
    SyncClient,
)

from tests.harness.stream_servers import SERVERS, Bed
from tests.harness.sync_client import Client
from tests.harness.waiting import eventually, eventually_async

LIMITS = StreamLimits(unacked_events_max=100)
COMMITTED, ALREADY, OUT_OF_ORDER = AckStatus.COMMITTED, AckStatus.ALREADY, AckStatus.OUT_OF_ORDER


class Reader:
    """What one subscription was sent: events of the log, and those that came again with their attempt."""

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription
        self.events: list[OrderEvent] = []
        self.again: list[tuple[int, OrderEvent]] = []

    async def read(self, events: int = 0, *, again: int = 0) -> None:
        async with asyncio.timeout(20):
            while len(self.events) < events or len(self.again) < again:
                batch = await anext(self.subscription)
                if batch.attempts:
                    self.again += zip(batch.attempts, batch.events, strict=True)
                else:
                    self.events += batch.events

    async def settle(self, *settled: tuple[OrderEvent, Outcome]) -> list[AckStatus]:
        items = [Settled(event=event, outcome=outcome, reason="because") for event, outcome in settled]
        return list((await self.subscription.settle(*items)).items)


class Desk:
    """A server, and those who look after the parking place of `s`."""

    def __init__(self, bed: Bed, client: SyncClient) -> None:
        self.bed = bed
        self._client = client

    def open(self, **spec: object) -> Subscription:
        return Subscription(self.bed.address, "s", limits=LIMITS, **spec)  # type: ignore[arg-type]  # its own names

    async def parked(self) -> list[tuple[str, int, str, bool]]:
        parked = [each async for each in self._client.list_all_parked(sync.ListParkedRequest(subscription="s"))]
        return [(each.event.order_id, each.event.version, each.reason, each.whole_order) for each in parked]

    async def pages_of_parked(self, size: int) -> list[int]:
        """How many there are on each page of that size."""
        request, sizes = sync.ListParkedRequest(subscription="s", page_size=size), []
        while True:
            page = await self._client.list_parked(request)
            sizes.append(len(page.parked))
            if not page.next_page_token:
                return sizes
            request.page_token = page.next_page_token

    async def replay(self, order_id: str) -> int:
        return (await self._client.replay_parked(sync.ReplayParkedRequest(subscription="s", order_id=order_id))).events

    async def discard(self, event: OrderEvent) -> int:
        place = sync.EventPlace(shard=event.shard, seq=event.seq)
        return (await self._client.discard_parked(sync.DiscardParkedRequest(subscription="s", event=place))).events


@pytest.fixture(params=sorted(SERVERS))
async def desk(request: pytest.FixtureRequest) -> AsyncIterator[Desk]:
    async with SERVERS[request.param]() as bed, SyncClient.connect(bed.address) as client:
        yield Desk(bed, client)


def versions(events: list[OrderEvent]) -> list[tuple[str, int]]:
    return [(event.order_id, event.version) for event in events]


async def test_what_is_finished_does_not_come_again_and_what_is_not_does(desk: Desk) -> None:
    for number in range(6):
        await desk.bed.record(f"o-{number}")
    async with desk.open() as subscription:
        reader = Reader(subscription)
        await reader.read(6)
        done = [(event, Outcome.DONE) for event in reader.events if event.order_id != "o-3"]
        assert await reader.settle(*done) == [COMMITTED] * 5
        assert await reader.settle(done[0]) == [ALREADY]
    async with desk.open() as subscription:
        reader = Reader(subscription)
        await desk.bed.record("o-6")
        await reader.read(2)
        assert {event.order_id for event in reader.events} == {"o-3", "o-6"}


async def test_retry_brings_an_event_again_with_its_order_behind_it(desk: Desk) -> None:
    for order_id in ("o-1", "o-1", "o-2"):
        await desk.bed.record(order_id)
    async with desk.open() as subscription:
        reader = Reader(subscription)
        await reader.read(3)
        first, second = (event for event in reader.events if event.order_id == "o-1")
        (other,) = (event for event in reader.events if event.order_id == "o-2")
        statuses = await reader.settle((first, Outcome.RETRY), (second, Outcome.DONE), (other, Outcome.DONE))
        assert statuses == [COMMITTED, OUT_OF_ORDER, COMMITTED]
        await reader.read(again=2)
        assert [(attempt, event.version) for attempt, event in reader.again] == [(2, 1), (1, 2)]
        assert await reader.settle(*((event, Outcome.DONE) for _, event in reader.again)) == [COMMITTED] * 2


async def test_the_delay_of_a_retry_holds_on_the_next_stream_too(desk: Desk) -> None:
    await desk.bed.record("o-1")
    async with desk.open() as subscription:
        reader = Reader(subscription)
        await reader.read(1)
        began = time.monotonic()
        await subscription.settle(Settled(event=reader.events[0], outcome=Outcome.RETRY, delay_seconds=1.5))
    async with desk.open() as subscription:
        await Reader(subscription).read(again=1)
        assert time.monotonic() - began > 1.4


async def test_a_retry_of_what_came_out_of_the_parking_place_holds_on_the_next_stream_too(desk: Desk) -> None:
    await desk.bed.record("o-1")
    async with desk.open() as subscription:
        reader = Reader(subscription)
        await reader.read(1)
        await reader.settle((reader.events[0], Outcome.PARK))
        await desk.replay("o-1")
        await reader.read(again=1)
        began = time.monotonic()
        await subscription.settle(Settled(event=reader.again[0][1], outcome=Outcome.RETRY, delay_seconds=1.5))
    async with desk.open() as subscription:
        reader = Reader(subscription)
        await reader.read(again=1)
        assert time.monotonic() - began > 1.4
        assert [attempt for attempt, _ in reader.again] == [3]
        assert await reader.settle((reader.again[0][1], Outcome.DONE)) == [COMMITTED]
        assert await desk.parked() == []


async def test_an_order_is_parked_followed_replayed_and_goes_on(desk: Desk) -> None:
    await desk.bed.record("o-1")
    async with desk.open() as subscription:
        reader = Reader(subscription)
        await reader.read(1)
        assert await reader.settle((reader.events[0], Outcome.PARK_KEY)) == [COMMITTED]
        await desk.bed.record("o-1")
        await desk.bed.record("o-2")
        await reader.read(2)

        async def followed() -> bool:
            return await desk.parked() == [("o-1", 1, "because", True), ("o-1", 2, "", True)]

        await eventually_async(followed)
        assert await desk.replay("o-1") == 2
        await reader.read(again=2)
        assert [(attempt, event.version) for attempt, event in reader.again] == [(2, 1), (1, 2)]
        assert await reader.settle(*((event, Outcome.DONE) for _, event in reader.again)) == [COMMITTED] * 2
        assert await desk.parked() == []
        await desk.bed.record("o-1")
        await reader.read(3)
        assert versions(reader.events[1:]) == [("o-2", 1), ("o-1", 3)]


@pytest.mark.parametrize("at_once", [True, False])
async def test_what_is_said_of_a_parked_event_and_of_those_that_go_with_it(desk: Desk, at_once: bool) -> None:  # noqa: FBT001 - a parameter of pytest
    for order_id in ("o-1", "o-1", "o-2", "o-2"):
        await desk.bed.record(order_id)
    async with desk.open() as subscription:
        reader = Reader(subscription)
        await reader.read(4)
        whole = [event for event in reader.events if event.order_id == "o-1"]
        single = [event for event in reader.events if event.order_id == "o-2"]
        said = [(whole[0], Outcome.PARK_KEY), (whole[0], Outcome.DONE), (whole[1], Outcome.DONE)]
        said += [(single[0], Outcome.PARK), (single[0], Outcome.RETRY), (single[1], Outcome.DONE)]
        statuses = await reader.settle(*said) if at_once else [(await reader.settle(each))[0] for each in said]
        assert statuses == [COMMITTED, ALREADY, OUT_OF_ORDER, COMMITTED, ALREADY, COMMITTED]
        assert await desk.pages_of_parked(2) == [2, 1]


async def test_one_event_is_parked_and_discarded_and_its_order_is_not_held_up(desk: Desk) -> None:
    await desk.bed.record("o-1")
    await desk.bed.record("o-1")
    async with desk.open() as subscription:
        reader = Reader(subscription)
        await reader.read(2)
        first, second = reader.events
        assert await reader.settle((first, Outcome.PARK), (second, Outcome.DONE)) == [COMMITTED] * 2
        assert await desk.parked() == [("o-1", 1, "because", False)]
        assert await desk.discard(first) == 1
    async with desk.open() as subscription:
        reader = Reader(subscription)
        await desk.bed.record("o-1")
        await reader.read(1)
        assert versions(reader.events) == [("o-1", 3)]


async def test_a_start_that_is_not_stored_sends_what_was_done_again_and_not_what_is_parked(desk: Desk) -> None:
    for order_id in ("o-1", "o-2"):
        await desk.bed.record(order_id)
    async with desk.open() as subscription:
        reader = Reader(subscription)
        await reader.read(2)
        first, second = sorted(reader.events, key=lambda event: event.order_id)
        assert await reader.settle((first, Outcome.PARK), (second, Outcome.DONE)) == [COMMITTED] * 2
    async with desk.open(start=EARLIEST) as subscription:
        reader = Reader(subscription)
        await desk.bed.record("o-3")
        await reader.read(2)
        assert {event.order_id for event in reader.events} == {"o-2", "o-3"}


async def test_a_handler_retries_and_parks_alike(desk: Desk) -> None:
    handled: list[tuple[str, int]] = []
    failures = 0

    async def handle(event: OrderEvent) -> None:
        nonlocal failures
        if event.order_id == "o-poison":
            raise PoisonError("never")
        if event.order_id == "o-late" and failures < 2:
            failures += 1
            raise ValueError("not yet")
        handled.append((event.order_id, event.version))

    for order_id in ("o-late", "o-late", "o-poison", "o-poison", "o-1"):
        await desk.bed.record(order_id)
    async with desk.open() as subscription:
        policy = RetryPolicy(delay_seconds=0.01)
        task = asyncio.create_task(EventHandler(subscription, handle, policy=policy).run(), name="handling")
        await eventually(lambda: len(handled) == 3)
        task.cancel()
        await asyncio.wait([task])
    assert sorted(handled) == [("o-1", 1), ("o-late", 1), ("o-late", 2)]
    assert [each[:2] for each in await desk.parked()] == [("o-poison", 1), ("o-poison", 2)]


async def test_only_who_was_open_before_is_told_below_where_an_event_may_come_again(desk: Desk) -> None:
    await desk.bed.record("o-1")
    async with grpc.aio.insecure_channel(desk.bed.address) as channel:
        client = Client(channel)
        for name in ("t", "t", "u"):
            await client.stub.CreateSubscription(sync.CreateSubscriptionRequest(name=name))
            for head in (None, desk.bed.head):
                stream = await client.subscribe(Open(subscription=name, start=STORED, unacked_events_max=9))
                opened = await stream.until("opened")
                stream.call.cancel()
                assert opened.HasField("redelivered_below") is (head is not None)
                assert head is None or head == opened.redelivered_below
            await client.stub.DeleteSubscription(sync.DeleteSubscriptionRequest(name=name))
