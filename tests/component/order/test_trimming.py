"""A log that is kept for a while: what readers and administrators see of it, and what the relay keeps."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest
from prometheus_client import REGISTRY
from stateset.order.v1 import log_service_pb2, order_service_pb2
from stateset.stream.v1 import stream_pb2
from stateset_client import OrderClient, StateSetError

from infra.runtime.clock import ManualClock
from infra.runtime.sql import open_database
from order.adapters.memory import MemoryLog
from order.adapters.sql_lease import SqlLease
from order.adapters.sql_log import open_log
from order.application.relay_ports import Cursor
from order.application.trimming import Trimming
from order.main import MIGRATIONS
from tests.contract.order.conftest import writing
from tests.harness.order_service import OrderService, first_events, order_service, read_until, refused
from tests.harness.orders import place, submission
from tests.harness.waiting import eventually_async

AT_ONCE_HOURS = 1e-9


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[OrderService]:
    async with order_service(tmp_path, shards=1, log_retention_hours=AT_ONCE_HOURS) as running:
        yield running


async def head(service: OrderService) -> tuple[int, int]:
    told = await service.log.GetLogHead(log_service_pb2.GetLogHeadRequest())
    return told.shards[0].earliest_seq, told.shards[0].next_seq


async def until_earliest(service: OrderService, seq: int) -> None:
    async def is_trimmed() -> bool:
        return (await head(service))[0] == seq

    await eventually_async(is_trimmed, within_seconds=30)


def opening(name: str = "") -> stream_pb2.Open:
    return stream_pb2.Open(subscription=name, credit=stream_pb2.Credit(events=9, bytes=10**6))


async def test_an_older_position_is_refused_with_the_earliest_and_a_new_reader_begins_there(
    service: OrderService,
) -> None:
    placed = await service.place(1, order_id="o-1")
    await service.place(1, order_id="o-2")
    await until_earliest(service, 3)
    old = stream_pb2.Open()
    old.start.position.CopyFrom(placed.position)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await read_until(
            service.orders.StreamOrderEvents(order_service_pb2.StreamOrderEventsRequest(open=old)), "opened"
        )
    told = refused(error.value)
    assert (told.code, told.reason) == (grpc.StatusCode.OUT_OF_RANGE, "POSITION_EXPIRED")
    assert told.metadata == {"shard": "0", "earliest": "3", "snapshot_available": "false"}
    stream = service.orders.StreamOrderEvents(order_service_pb2.StreamOrderEventsRequest())
    assert list((await read_until(stream, "opened")).opened.position.next_seq) == [3]
    await service.place(1, order_id="o-3")
    assert [event.order_id for event in await first_events(stream)] == ["o-3"]
    stream.cancel()


async def test_a_subscription_keeps_what_it_has_not_confirmed_until_it_does_or_is_deleted(
    service: OrderService,
) -> None:
    stream = service.orders.SubscribeOrderEvents()
    await stream.write(order_service_pb2.SubscribeOrderEventsRequest(frame=stream_pb2.ClientFrame(open=opening("s-1"))))
    await read_until(stream, "opened")
    for number in range(3):
        await service.place(1, order_id=f"o-{number}")
    await first_events(stream)
    async with OrderClient.connect(service.address) as client:
        (told,) = (await client.list_log_subscriptions(log_service_pb2.ListLogSubscriptionsRequest())).subscriptions
        assert (told.name, told.delivery_epoch, list(told.floors), told.events_behind) == ("s-1", 1, [0], 3)
        assert await head(service) == (1, 4)
        through = stream_pb2.Ack(ack_id="a")
        through.through.CopyFrom((await client.get_digest(log_service_pb2.GetDigestRequest())).position)
        through.through.next_seq[0] = 2
        await stream.write(order_service_pb2.SubscribeOrderEventsRequest(frame=stream_pb2.ClientFrame(ack=through)))
        await read_until(stream, "ack_result")
        await until_earliest(service, 2)
        await client.delete_log_subscription(log_service_pb2.DeleteLogSubscriptionRequest(name="s-1"))
        with pytest.raises(StateSetError) as gone:
            await client.delete_log_subscription(log_service_pb2.DeleteLogSubscriptionRequest(name="s-1"))
        assert gone.value.reason == "SUBSCRIPTION_NOT_FOUND"
    await until_earliest(service, 4)
    stream.cancel()


async def test_what_the_topics_lack_is_kept_and_so_is_everything_before_that_is_known(tmp_path: Path) -> None:
    clock = ManualClock()
    async with open_database(f"sqlite:///{tmp_path}/order.db", service="order", migrations=MIGRATIONS) as database:
        log, lease = await open_log(database, 1), SqlLease(database, clock, holder="test")
        async with writing(log, clock) as writer:
            await asyncio.gather(*(writer.submit(submission(place(1, order_id=f"o-{n}"))) for n in range(5)))
        clock.advance(60)
        trimming = Trimming(log, lease, clock, retention_seconds=30, topics=["events", "state"])
        assert await trimming.once() == 0
        epoch = await lease.acquire()
        assert epoch is not None
        cursors = {("events", 0): Cursor(topic_id="a", next_seq=6), ("state", 0): Cursor(topic_id="b", next_seq=4)}
        await lease.keep(epoch, cursors)
        assert await trimming.once() == 3
        elsewhere = Trimming(log, lease, clock, retention_seconds=30, topics=[])  # a process without a bus knows, too
        assert await elsewhere.once() == 0
        assert await log.earliest() == [4]


async def test_without_a_retention_everything_is_kept_and_measured(tmp_path: Path) -> None:
    clock, log = ManualClock(), MemoryLog(3)
    async with (
        open_database(f"sqlite:///{tmp_path}/order.db", service="order", migrations=MIGRATIONS) as database,
        writing(log, clock) as writer,
    ):
        await writer.submit(submission(place(1)))
        clock.advance(3600)
        await log.open_subscription("s-1")
        lease = SqlLease(database, clock, holder="test")

        async def is_measured() -> bool:
            return REGISTRY.get_sample_value("stateset_order_log_oldest_event_age_seconds") == 3600

        async with Trimming(log, lease, clock, retention_seconds=0, topics=[]).running():
            await eventually_async(is_measured)
    assert REGISTRY.get_sample_value("stateset_order_log_kept_events") == 1
    assert REGISTRY.get_sample_value("stateset_order_log_floor_lag_events") == 1
    assert await log.earliest() == [1, 1, 1]
