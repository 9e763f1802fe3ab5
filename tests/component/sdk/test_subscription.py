"""Subscriptions and streams against a real server in this process."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset_client import (
    EARLIEST,
    LATEST,
    ORDER_LOG,
    AckStatus,
    EventStream,
    GapError,
    LogEpochChangedError,
    PositionAheadError,
    PositionExpiredError,
    PositionMalformedError,
    StreamLimits,
    Subscription,
)
from stateset_client.testing import FakeSync

from tests.harness.fake_sync_events import append_orders, bare_event, eventually

QUICK = StreamLimits(heartbeat_seconds=0.5)


@pytest.fixture
async def sync() -> AsyncIterator[FakeSync]:
    async with FakeSync.start(shards=2) as fake:
        yield fake


async def read(stream: EventStream, count: int) -> list[OrderEvent]:
    events: list[OrderEvent] = []
    async with asyncio.timeout(10):
        while len(events) < count:
            batch = await anext(stream)
            events += batch.events
    return events


def seqs(events: list[OrderEvent], shard: int) -> list[int]:
    return [event.seq for event in events if event.shard == shard]


async def test_every_event_arrives_in_order_with_the_position_behind_it(sync: FakeSync) -> None:
    recorded = append_orders(sync, 3, shard=1)
    async with Subscription(sync.address, "s") as subscription:
        batch = await anext(subscription)
    assert (batch.shard, batch.first_seq, batch.last_seq) == (1, 1, 3)
    assert recorded == list(batch.events)
    assert sync.position([1, 4]) == batch.position


async def test_reading_goes_on_where_it_stood_after_every_way_a_stream_can_end(sync: FakeSync) -> None:
    async with Subscription(sync.address, "s") as subscription:
        events: list[OrderEvent] = []
        for number, fault in enumerate((sync.disconnect, sync.go_away, sync.disconnect)):
            append_orders(sync, 10, first=10 * number)
            events += await read(subscription, 10)
            fault()
        append_orders(sync, 10, first=30)
        events += await read(subscription, 10)
    for shard in (0, 1):
        assert list(range(1, sync.head.next_seq[shard])) == seqs(events, shard)
    assert len(sync.opens) == 4
    assert all(spec.start.HasField("position") for spec in sync.opens[1:])


async def test_what_waits_unread_is_not_sent_again_after_a_break(sync: FakeSync) -> None:
    append_orders(sync, 10, shard=0)
    async with Subscription(sync.address, "s") as subscription:
        await subscription.opened()
        first = await anext(subscription)
        sync.disconnect()
        append_orders(sync, 5, first=10, shard=0)
        await eventually(lambda: len(sync.opens) == 2)
        rest = await read(subscription, 5)
    assert list(range(1, 16)) == [event.seq for event in (*first.events, *rest)]


async def test_a_server_that_falls_silent_is_left_for_a_new_stream(sync: FakeSync) -> None:
    async with Subscription(sync.address, "s", limits=QUICK) as subscription:
        append_orders(sync, 1)
        await read(subscription, 1)
        sync.mute = True
        await eventually(lambda: len(sync.opens) > 1)
        sync.mute = False
        append_orders(sync, 1, first=1)
        assert [event.order_id for event in await read(subscription, 1)] == ["o-1"]


async def test_a_silent_connection_of_heartbeats_alone_stays_open(sync: FakeSync) -> None:
    async with Subscription(sync.address, "s", limits=StreamLimits(heartbeat_seconds=0.5)) as subscription:
        await subscription.opened()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await anext(subscription)
    assert len(sync.opens) == 1


async def test_a_skipped_event_is_an_error_and_nothing_after_it_is_handed_out(sync: FakeSync) -> None:
    async with Subscription(sync.address, "s") as subscription:
        append_orders(sync, 1, shard=0)
        await read(subscription, 1)
        sync.lose(0)
        append_orders(sync, 2, first=1, shard=0)
        with pytest.raises(GapError, match="seq 2"):
            await read(subscription, 1)
        with pytest.raises(GapError):
            await anext(subscription)


async def test_positions_that_cannot_be_read_from_are_raised_and_not_tried_again(sync: FakeSync) -> None:
    append_orders(sync, 3, shard=0)
    sync.forget(0, 2)
    other = sync.position([2, 1])
    other.log_epoch = "another"
    for position, error in (
        (sync.position([1, 1]), PositionExpiredError),
        (sync.position([9, 1]), PositionAheadError),
        (sync.position([2]), PositionMalformedError),
        (other, LogEpochChangedError),
    ):
        async with Subscription(sync.address, "s", start=position) as subscription:
            with pytest.raises(error):
                await anext(subscription)
            with pytest.raises(error):
                await subscription.opened()
            with pytest.raises(error):
                await subscription.ack(position)
    assert sync.opens == []


async def test_a_log_that_is_recreated_under_the_reader_is_raised(sync: FakeSync) -> None:
    async with Subscription(sync.address, "s") as subscription:
        append_orders(sync, 1)
        await read(subscription, 1)
        sync.recreate()
        with pytest.raises(LogEpochChangedError):
            await anext(subscription)


async def test_a_log_that_is_recreated_under_a_reader_of_single_events_is_raised(sync: FakeSync) -> None:
    async with Subscription(sync.address, "s", limits=StreamLimits(unacked_events_max=9)) as subscription:
        append_orders(sync, 1)
        await read(subscription, 1)
        sync.lose_subscriptions()
        sync.recreate()
        append_orders(sync, 1)
        with pytest.raises(LogEpochChangedError):
            await anext(subscription)


async def test_an_ack_becomes_the_floor_from_which_the_next_reader_starts(sync: FakeSync) -> None:
    append_orders(sync, 4, shard=0)
    async with Subscription(sync.address, "s") as subscription:
        batch = await anext(subscription)
        result = await subscription.ack(batch.position)
        assert (AckStatus.COMMITTED, batch.position) == (result.status, result.floor)
        assert AckStatus.ALREADY is (await subscription.ack(batch.position)).status
    append_orders(sync, 1, first=4, shard=0)
    async with Subscription(sync.address, "s") as subscription:
        assert [event.seq for event in await read(subscription, 1)] == [5]


async def test_an_ack_of_a_reader_that_was_overtaken_is_fenced(sync: FakeSync) -> None:
    append_orders(sync, 1, shard=0)
    async with Subscription(sync.address, "s") as subscription:
        batch = await anext(subscription)
        sync.take_over("s")
        assert AckStatus.FENCED is (await subscription.ack(batch.position)).status
    assert sync.earliest == sync.floors["s"]


async def test_an_ack_that_was_lost_with_its_stream_is_sent_on_the_next(sync: FakeSync) -> None:
    append_orders(sync, 1, shard=0)
    async with Subscription(sync.address, "s") as subscription:
        batch = await anext(subscription)
        sync.mute = True
        ack = asyncio.create_task(subscription.ack(batch.position))
        await eventually(lambda: sync.acks)
        sync.disconnect()
        sync.mute = False
        assert AckStatus.ALREADY is (await ack).status
    assert len(sync.acks) == 2


async def test_the_server_sends_no_more_than_the_credit_and_goes_on_when_it_is_returned(sync: FakeSync) -> None:
    append_orders(sync, 100, shard=0)
    limits = StreamLimits(credit_events=10, batch_events_max=5)
    async with Subscription(sync.address, "s", limits=limits) as subscription:
        await subscription.opened()
        await eventually(lambda: sync.sent_events == 10)
        with pytest.raises(TimeoutError):
            await eventually(lambda: sync.sent_events > 10, within_seconds=0.3)
        events = await read(subscription, 100)
    assert list(range(1, 101)) == [event.seq for event in events]


async def test_progress_speaks_of_what_was_handed_out(sync: FakeSync) -> None:
    append_orders(sync, 3, shard=0)
    async with EventStream(sync.address, limits=QUICK) as stream:
        await read(stream, 3)
        async with asyncio.timeout(20):
            await stream.take(events_max=1)
        assert stream.progress is not None
        assert sync.head == stream.progress.at


async def test_a_filtered_range_is_handed_out_as_a_batch_without_events() -> None:
    async with FakeSync.start(shards=1, matches=lambda _filter, event: event.order_id == "wanted") as sync:
        append_orders(sync, 4)
        sync.append(bare_event("wanted", 1))
        async with EventStream(sync.address, filter='order_id = "wanted"') as stream:
            batch = await anext(stream)
    assert (batch.first_seq, batch.last_seq, [event.order_id for event in batch.events]) == (1, 5, ["wanted"])


async def test_a_stream_without_acks_reads_from_latest_and_from_the_order_log(sync: FakeSync) -> None:
    append_orders(sync, 2, shard=1)
    async with (
        EventStream(sync.address, start=LATEST) as tail,
        EventStream(sync.address, start=EARLIEST, shards=[1], source=ORDER_LOG) as log,
    ):
        await tail.opened()
        append_orders(sync, 1, first=2, shard=1)
        assert [event.order_id for event in await read(tail, 1)] == ["o-2"]
        assert [event.order_id for event in await read(log, 3)] == ["o-0", "o-1", "o-2"]


async def test_a_stream_without_credit_stops_reading_while_its_reader_stands_still(sync: FakeSync) -> None:
    limits = StreamLimits(credit_events=10, batch_events_max=5, heartbeat_seconds=0.5)
    async with EventStream(sync.address, limits=limits) as stream:
        await stream.opened()
        append_orders(sync, 200, shard=0)
        assert len(await read(stream, 200)) == 200
    assert len(sync.opens) == 1


async def test_a_reader_may_start_before_its_server(sync: FakeSync) -> None:
    async with Subscription("127.0.0.1:1", "s") as subscription:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await anext(subscription)
