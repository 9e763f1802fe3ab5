"""The log's streams over real gRPC, on a real SQLite file."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from stateset.common.v1 import position_pb2
from stateset.order.v1 import log_service_pb2, order_service_pb2
from stateset.stream.v1 import stream_pb2

from infra.kernel.shard import shard_of
from infra.runtime.grpc.channel import open_channel
from infra.runtime.grpc.wire import timestamp_from_wire
from sync.adapters.order_source import OrderSource
from tests.harness.order_service import OrderService, first_events, order_service, read_until, refused


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[OrderService]:
    async with order_service(tmp_path) as running:
        yield running


def frame(**one: Any) -> order_service_pb2.SubscribeOrderEventsRequest:  # noqa: ANN401 - any frame
    return order_service_pb2.SubscribeOrderEventsRequest(frame=stream_pb2.ClientFrame(**one))


async def test_a_stream_resumes_right_after_its_position_and_goes_on_live(service: OrderService) -> None:
    first = await service.place(1, order_id="o-1")
    await service.place(1, order_id="o-2")
    start = position_pb2.Position(log_epoch=first.position.log_epoch, next_seq=[1, 1, 1])
    start.next_seq[shard_of("o-1", 3)] = first.position.next_seq[shard_of("o-1", 3)]
    request = order_service_pb2.StreamOrderEventsRequest(open=stream_pb2.Open(start=stream_pb2.Start(position=start)))
    stream = service.orders.StreamOrderEvents(request)
    opened = (await stream.read()).frame.opened
    assert opened.position == start
    assert [event.order_id for event in await first_events(stream)] == ["o-2"]
    assert (await read_until(stream, "progress")).progress.at.next_seq[shard_of("o-2", 3)] > 1
    await service.place(1, order_id="o-3")
    assert [event.order_id for event in await first_events(stream)] == ["o-3"]
    stream.cancel()


async def test_credit_bounds_what_is_sent(service: OrderService) -> None:
    for number in range(5):
        await service.place(1, order_id=f"o-{number}")
    stream = service.orders.SubscribeOrderEvents()
    credit = stream_pb2.Credit(events=2, bytes=1_000_000)
    beat = stream_pb2.Open(credit=credit)
    beat.heartbeat_interval.FromMilliseconds(500)
    await stream.write(frame(open=beat))
    seen = 0
    while seen < 2:
        seen += len(await first_events(stream))
    assert seen == 2
    waiting = await read_until(stream, "heartbeat")
    assert waiting.heartbeat.heartbeat_seq == 1
    await stream.write(frame(credit=stream_pb2.Credit(events=10, bytes=1)))
    while seen < 5:
        seen += len(await first_events(stream))
    await stream.write(frame(close=stream_pb2.Close()))
    while (left := await stream.read()) is not grpc.aio.EOF:
        assert left.frame.WhichOneof("frame") != "events"
    assert seen == 5
    assert await stream.code() == grpc.StatusCode.OK


async def test_acks_become_the_floor_that_a_subscription_resumes_from(service: OrderService) -> None:
    await service.place(1, order_id="o-1")
    grant = stream_pb2.Credit(events=100, bytes=1_000_000)
    old = service.orders.SubscribeOrderEvents()
    await old.write(frame(open=stream_pb2.Open(subscription="sync", credit=grant)))
    opened = (await read_until(old, "opened")).opened
    await first_events(old)
    through = (await read_until(old, "progress")).progress.at
    await old.write(frame(ack=stream_pb2.Ack(ack_id="a", through=through)))
    result = (await read_until(old, "ack_result")).ack_result
    assert (result.status, result.floor) == (stream_pb2.ACK_STATUS_COMMITTED, through)
    await old.write(frame(ack=stream_pb2.Ack(ack_id="less", through=opened.position)))
    result = (await read_until(old, "ack_result")).ack_result
    assert (result.status, result.floor) == (stream_pb2.ACK_STATUS_ALREADY, through)

    await service.place(1, order_id="o-2")
    new = service.orders.SubscribeOrderEvents()
    await new.write(frame(open=stream_pb2.Open(subscription="sync", credit=grant)))
    resumed = (await read_until(new, "opened")).opened
    assert resumed.delivery_epoch == opened.delivery_epoch + 1
    assert [event.order_id for event in await first_events(new)] == ["o-2"]

    await first_events(old)
    await old.write(frame(ack=stream_pb2.Ack(ack_id="b", through=through)))
    assert (await read_until(old, "ack_result")).ack_result.status == stream_pb2.ACK_STATUS_FENCED
    old.cancel()
    new.cancel()


@pytest.mark.parametrize(
    ("first", "field"),
    [
        (frame(close=stream_pb2.Close()), "frame.open"),
        (frame(open=stream_pb2.Open(shards=[3])), "frame.open.shards"),
        (frame(open=stream_pb2.Open(filter="type = x")), "frame.open.filter"),
        (frame(open=stream_pb2.Open(start=stream_pb2.Start(point=stream_pb2.START_POINT_STORED))), "frame.open.start"),
        (frame(open=stream_pb2.Open(start=stream_pb2.Start(snapshot=stream_pb2.SnapshotStart()))), "frame.open.start"),
        (frame(open=stream_pb2.Open(credit=stream_pb2.Credit(events=-1))), "frame.open.credit"),
        (frame(open=stream_pb2.Open(subscription="s", unacked_events_max=9)), "frame.open.unacked_events_max"),
        (frame(open=stream_pb2.Open(digest_interval=Duration(seconds=9))), "frame.open.digest_interval"),
        (frame(open=stream_pb2.Open(silence_max=Duration(seconds=9))), "frame.open.silence_max"),
        (frame(open=stream_pb2.Open(subscription="s", checkpoint_epoch=1)), "frame.open.checkpoint_epoch"),
    ],
)
async def test_a_bad_open_is_refused(
    service: OrderService, first: order_service_pb2.SubscribeOrderEventsRequest, field: str
) -> None:
    stream = service.orders.SubscribeOrderEvents()
    await stream.write(first)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await read_until(stream, "opened")
    assert refused(error.value).fields == [field]


async def test_a_stream_that_never_opens_is_told_so(service: OrderService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.runtime.grpc.opening.OPEN_SECONDS", 0.1)
    stream = service.orders.SubscribeOrderEvents(timeout=30)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stream.read()
    assert refused(error.value).fields == ["frame.open"]


async def test_a_caller_that_says_no_more_is_sent_what_it_has_granted(service: OrderService) -> None:
    stream = service.orders.SubscribeOrderEvents(timeout=30)
    await stream.write(frame(open=stream_pb2.Open(credit=stream_pb2.Credit(events=9, bytes=10_000))))
    await stream.done_writing()
    await read_until(stream, "progress")
    await service.place(1, order_id="o-1")
    assert [event.order_id for event in await first_events(stream)] == ["o-1"]
    stream.cancel()


@pytest.mark.parametrize(
    "wrong",
    [
        frame(credit=stream_pb2.Credit(events=-1)),
        frame(open=stream_pb2.Open()),
        frame(ack=stream_pb2.Ack(ack_id="a", through=position_pb2.Position(log_epoch="another", next_seq=[1, 1, 1]))),
    ],
    ids=["credit", "open", "ack"],
)
async def test_a_frame_that_is_refused_ends_the_stream_whatever_it_is_sent_meanwhile(
    service: OrderService, wrong: order_service_pb2.SubscribeOrderEventsRequest
) -> None:
    for number in range(20):
        await service.place(1, order_id=f"o-{number}")
    for _ in range(10):
        stream = service.orders.SubscribeOrderEvents(timeout=30)
        plenty = stream_pb2.Credit(events=1_000, bytes=1_000_000)
        await stream.write(frame(open=stream_pb2.Open(subscription="s", credit=plenty, batch_events_max=1)))
        await stream.write(wrong)
        closed = (await read_until(stream, "closed")).closed
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await stream.read()
        assert error.value.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION)
        assert closed.status.code == error.value.code().value[0]


async def test_opened_and_closed_say_what_holds(service: OrderService) -> None:
    await service.place(1)
    stream = service.orders.SubscribeOrderEvents()
    plenty = stream_pb2.Credit(events=1_000, bytes=1_000_000)
    await stream.write(frame(open=stream_pb2.Open(credit=plenty, batch_events_max=7)))
    opened = (await read_until(stream, "opened")).opened
    assert (opened.batch_events_max, list(opened.earliest.next_seq)) == (7, [1, 1, 1])
    at = (await read_until(stream, "progress")).progress.at
    await stream.write(frame(close=stream_pb2.Close()))
    closed = (await read_until(stream, "closed")).closed
    assert (closed.status.code, closed.position) == (0, at)
    assert await stream.read() is grpc.aio.EOF
    assert await stream.code() == grpc.StatusCode.OK


async def test_positions_that_cannot_be_served_are_refused_for_good(service: OrderService) -> None:
    placed = await service.place(1)
    ahead = position_pb2.Position(log_epoch=placed.position.log_epoch, next_seq=[99, 1, 1])
    foreign = position_pb2.Position(log_epoch="another", next_seq=[1, 1, 1])
    unset = position_pb2.Position(log_epoch=placed.position.log_epoch, next_seq=[0, 1, 1])
    reasons = []
    for position in (ahead, foreign, unset, position_pb2.Position()):
        start = stream_pb2.Start(position=position)
        request = order_service_pb2.StreamOrderEventsRequest(open=stream_pb2.Open(start=start))
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await read_until(service.orders.StreamOrderEvents(request), "opened")
        reasons.append(refused(error.value).reason)
    assert reasons == ["POSITION_AHEAD", "LOG_EPOCH_CHANGED", "POSITION_MALFORMED", "POSITION_MALFORMED"]


async def test_a_stream_that_its_reader_keeps_has_neither_a_subscription_nor_credit(service: OrderService) -> None:
    asked = stream_pb2.Open(subscription="sync", credit=stream_pb2.Credit(events=1))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await service.orders.StreamOrderEvents(order_service_pb2.StreamOrderEventsRequest(open=asked)).read()
    assert refused(raised.value).fields == ["open.subscription", "open.credit"]


async def test_a_drain_says_goodbye_and_ends_streams_well(service: OrderService) -> None:
    stream = service.orders.StreamOrderEvents(order_service_pb2.StreamOrderEventsRequest())
    await read_until(stream, "phase_change")
    service.stop.set()
    assert (await read_until(stream, "go_away")).go_away.HasField("position")
    assert (await read_until(stream, "closed")).closed.status.code == 0
    assert await stream.read() is grpc.aio.EOF
    assert await stream.code() == grpc.StatusCode.OK


async def never() -> AsyncIterator[order_service_pb2.IngestOrdersRequest]:
    await asyncio.Event().wait()
    yield order_service_pb2.IngestOrdersRequest()


@pytest.mark.parametrize("waits", ["SubscribeOrderEvents", "IngestOrders", "GetOrder"])
async def test_a_call_that_only_waits_is_told_that_the_service_stops(service: OrderService, waits: str) -> None:
    position = (await service.place(1, order_id="o-1")).position
    position.next_seq[0] += 1_000_000
    read = order_service_pb2.GetOrderRequest(order_id="o-1", min_position=position)
    arguments = {"SubscribeOrderEvents": (), "IngestOrders": (never(),), "GetOrder": (read,)}[waits]
    call = getattr(service.orders, waits)(*arguments, timeout=60)
    await service.place(1, order_id="o-2")  # so that what was sent before has come
    service.stop.set()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await (call.read() if waits == "SubscribeOrderEvents" else call)
    told = refused(raised.value)
    assert (told.code, told.reason, told.retry_seconds) == (grpc.StatusCode.UNAVAILABLE, "STOPPING", 0.2)


async def test_one_subscription_too_many_is_refused(tmp_path: Path) -> None:
    async with order_service(tmp_path, subscriptions_max=1) as service:
        kept, made_up = service.orders.SubscribeOrderEvents(), service.orders.SubscribeOrderEvents()
        await kept.write(frame(open=stream_pb2.Open(subscription="sync")))
        await read_until(kept, "opened")
        await made_up.write(frame(open=stream_pb2.Open(subscription="made-up")))
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await read_until(made_up, "opened")
        told = refused(raised.value)
        assert (told.code, told.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_SUBSCRIPTIONS")
        kept.cancel()


async def test_a_time_is_a_position_in_the_log(service: OrderService) -> None:
    await service.place(1, order_id="o-1")
    head = await service.log.GetLogHead(log_service_pb2.GetLogHeadRequest())
    async with open_channel(service.address) as channel:
        source = OrderSource(channel, name="sync-read-model")
        assert (await source.position_at(0)).next_seq == (1, 1, 1)
        now_us = timestamp_from_wire(head.read_time)
        assert list((await source.position_at(now_us + 1)).next_seq) == [shard.next_seq for shard in head.shards]
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await service.log.ResolveTime(log_service_pb2.ResolveTimeRequest())
    assert refused(error.value).fields == ["time"]
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await service.log.ResolveTime(log_service_pb2.ResolveTimeRequest(time=Timestamp(seconds=2**62)))
    assert refused(error.value).fields == ["time"]
