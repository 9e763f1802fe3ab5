"""Durable subscriptions made, read, moved and deleted by their owner, over real gRPC."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import grpc.aio
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode
from stateset.common.v1 import position_pb2
from stateset.stream.v1 import stream_pb2
from stateset.sync.v1 import sync_service_pb2 as sync

from sync.adapters.memory import MemorySubscriptions
from sync.domain.subscription import Subscription, SubscriptionKey
from tests.harness.sync_client import PLENTY, Client, Stream, open_server, refusal_of, start_at
from tests.harness.sync_log import LogMaker
from tests.harness.waiting import eventually

EARLIEST = stream_pb2.Start(point=stream_pb2.START_POINT_EARLIEST)
LATEST = stream_pb2.Start(point=stream_pb2.START_POINT_LATEST)
STORED = stream_pb2.Start(point=stream_pb2.START_POINT_STORED)


async def create(client: Client, name: str, start: stream_pb2.Start, **more: str) -> sync.Subscription:
    reply = await client.stub.CreateSubscription(sync.CreateSubscriptionRequest(name=name, start=start, **more))
    subscription: sync.Subscription = reply.subscription
    return subscription


async def seek(client: Client, to: stream_pb2.Start) -> sync.Subscription:
    reply = await client.stub.SeekSubscription(sync.SeekSubscriptionRequest(name="s-1", to=to))
    subscription: sync.Subscription = reply.subscription
    return subscription


async def opened(client: Client, name: str = "s-1") -> Stream:
    stream = await client.subscribe(stream_pb2.Open(subscription=name, start=STORED, credit=PLENTY))
    await stream.until("opened")
    return stream


async def refused(call: Awaitable[object]) -> tuple[StatusCode, str, list[str]]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return refusal_of(raised.value)


async def test_a_subscription_is_made_once_and_opens_where_it_was_made_to() -> None:
    log = LogMaker()
    log.groups(12)
    middle = log.position
    log.groups(8)
    async with open_server(log.source) as client:
        made = await create(client, "s-1", start_at(middle))
        assert (list(made.floor.next_seq), made.delivery_epoch, made.streams) == (list(middle.next_seq), 0, 0)
        assert made == await create(client, "s-1", EARLIEST), "it stays as it is"
        stream = await opened(client)
        await stream.until_events(8)
        found = await client.stub.GetSubscription(sync.GetSubscriptionRequest(name="s-1"))
        assert (found.subscription.delivery_epoch, found.subscription.streams) == (1, 1)
        request = sync.CreateSubscriptionRequest(name="s-1", filter="customer_id = c-9")
        assert await refused(client.stub.CreateSubscription(request)) == (
            StatusCode.FAILED_PRECONDITION,
            "SUBSCRIPTION_FILTER_CHANGED",
            [],
        )


async def test_subscriptions_are_listed_by_name_page_by_page() -> None:
    async with open_server(LogMaker().source) as client:
        for number in (3, 1, 4, 2, 5):
            await create(client, f"s-{number}", LATEST)
        found, request = [], sync.ListSubscriptionsRequest(page_size=2)
        while True:
            reply = await client.stub.ListSubscriptions(request)
            found.append([each.name for each in reply.subscriptions])
            if not reply.next_page_token:
                break
            request.page_token = reply.next_page_token
        assert found == [["s-1", "s-2"], ["s-3", "s-4"], ["s-5"]]


async def test_a_list_goes_on_behind_every_name_that_a_subscription_may_have() -> None:
    names = [f"{number}{character}" for number, character in enumerate("\u3000\u200d\n\u00a0\x7f\ud7ff\U0010ffff")]
    async with open_server(LogMaker().source) as client:
        for name in names:
            await create(client, name, LATEST)
        found, request = [], sync.ListSubscriptionsRequest(page_size=1)
        while (reply := await client.stub.ListSubscriptions(request)).next_page_token:
            found += [each.name for each in reply.subscriptions]
            request.page_token = reply.next_page_token
        assert [*found, reply.subscriptions[0].name] == names


async def test_a_seek_ends_the_open_streams_as_fenced_and_the_next_one_starts_there() -> None:
    log = LogMaker()
    log.groups(12)
    middle = log.position
    log.groups(8)
    async with open_server(log.source) as client:
        stream = await opened(client)
        await stream.until_events(20)
        await stream.say(ack=stream_pb2.Ack(ack_id="a", through=start_at(log.position).position))
        await stream.until("ack_result")
        sought = await seek(client, start_at(middle))
        assert list(sought.floor.next_seq) == list(middle.next_seq)
        assert sought.delivery_epoch > stream.frames[0].opened.delivery_epoch
        assert await stream.refusal() == (StatusCode.ABORTED, "FENCED", [])
        again = await opened(client)
        await again.until_events(8)
        assert list(again.frames[0].opened.position.next_seq) == list(middle.next_seq)


async def test_a_seek_that_falls_into_an_opening_ends_the_stream_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    log, subscriptions = LogMaker(), MemorySubscriptions()
    log.groups(5)
    reached, go_on, view = asyncio.Event(), asyncio.Event(), subscriptions.parking.view

    async def slow(*asked: Any, **more: Any) -> Any:  # noqa: ANN401 - passed on
        reached.set()
        await go_on.wait()
        return await view(*asked, **more)

    async with open_server(log.source, subscriptions=subscriptions) as client:
        await create(client, "s-1", EARLIEST)
        monkeypatch.setattr(subscriptions.parking, "view", slow)
        stream = await client.subscribe(stream_pb2.Open(subscription="s-1", start=STORED, credit=PLENTY))
        await reached.wait()
        await seek(client, LATEST)
        go_on.set()
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await stream.until_events(6)
        assert refusal_of(ended.value)[1] == "FENCED"


async def test_a_seek_to_a_time_starts_at_the_first_event_of_then_or_later() -> None:
    log = LogMaker()
    log.groups(5)
    async with open_server(log.source) as client:
        await create(client, "s-1", LATEST)
        recorded = Timestamp(seconds=1_700_000_000)
        later = Timestamp(seconds=1_700_000_000, nanos=1_000)
        assert list((await seek(client, stream_pb2.Start(time=recorded))).floor.next_seq) == [1, 1, 1]
        assert list((await seek(client, stream_pb2.Start(time=later))).floor.next_seq) == list(log.position.next_seq)


async def test_a_seek_leaves_the_shards_that_its_position_does_not_speak_of() -> None:
    log = LogMaker()
    log.groups(30)
    async with open_server(log.source) as client:
        await create(client, "s-1", EARLIEST)
        one = position_pb2.Position(log_epoch=log.log_epoch, next_seq=[0, 3, 0])
        assert list((await seek(client, stream_pb2.Start(position=one))).floor.next_seq) == [1, 3, 1]


async def test_a_deleted_subscription_is_gone_and_its_streams_end() -> None:
    log = LogMaker()
    log.groups(3)
    async with open_server(log.source) as client:
        stream = await opened(client)
        for _ in range(2):
            await client.stub.DeleteSubscription(sync.DeleteSubscriptionRequest(name="s-1"))
        assert await stream.refusal() == (StatusCode.ABORTED, "FENCED", [])
        found = await refused(client.stub.GetSubscription(sync.GetSubscriptionRequest(name="s-1")))
        assert found == (StatusCode.NOT_FOUND, "SUBSCRIPTION_NOT_FOUND", [])


class DeletedWhenFound(MemorySubscriptions):
    """Somebody deletes a subscription as soon as an opening has looked it up, once."""

    deleted = False

    async def find(self, key: SubscriptionKey) -> Subscription | None:
        found = await super().find(key)
        if not self.deleted:
            self.deleted = True
            await self.delete(key)
        return found


async def test_a_subscription_that_is_deleted_while_a_stream_opens_it_begins_anew_and_skips_nothing() -> None:
    log = LogMaker()
    log.groups(9)
    async with open_server(log.source, subscriptions=DeletedWhenFound()) as client:
        await create(client, "s-1", LATEST)
        stream = await opened(client)
        assert list(stream.frames[0].opened.position.next_seq) == [1, 1, 1]
        await stream.until_events(9)
        listed = await client.stub.ListSubscriptions(sync.ListSubscriptionsRequest())
        assert [list(each.floor.next_seq) for each in listed.subscriptions] == [[1, 1, 1]]


async def test_a_stream_starts_at_a_time() -> None:
    log = LogMaker()
    log.groups(6)
    async with open_server(log.source) as client:
        await eventually(lambda: log.source.confirmed == log.position)
        recorded = stream_pb2.Start(time=Timestamp(seconds=1_700_000_000))
        stream = client.stream_events(stream_pb2.Open(start=recorded))
        await stream.until_events(6)
        later = stream_pb2.Start(time=Timestamp(seconds=1_700_000_001))
        tail = client.stream_events(stream_pb2.Open(start=later))
        await tail.until_phase(stream_pb2.PHASE_LIVE)
        log.group("o-new")
        await tail.until_events(1)
        assert [event.order_id for event in tail.events] == ["o-new"]


@pytest.mark.parametrize(
    ("to", "code", "reason", "fields"),
    [
        (STORED, StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", ["to"]),
        (stream_pb2.Start(), StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", ["to"]),
        (
            stream_pb2.Start(point=stream_pb2.START_POINT_UNSPECIFIED),
            StatusCode.INVALID_ARGUMENT,
            "INVALID_REQUEST",
            ["to"],
        ),
        (
            stream_pb2.Start(snapshot=stream_pb2.SnapshotStart()),
            StatusCode.INVALID_ARGUMENT,
            "INVALID_REQUEST",
            ["to"],
        ),
        (
            stream_pb2.Start(time=Timestamp(seconds=1 << 62)),
            StatusCode.INVALID_ARGUMENT,
            "INVALID_REQUEST",
            ["to.time"],
        ),
        (
            stream_pb2.Start(position=position_pb2.Position(log_epoch="another", next_seq=[1, 1, 1])),
            StatusCode.FAILED_PRECONDITION,
            "LOG_EPOCH_CHANGED",
            [],
        ),
    ],
)
async def test_a_seek_to_nowhere_is_refused_and_moves_nothing(
    to: stream_pb2.Start, code: StatusCode, reason: str, fields: list[str]
) -> None:
    async with open_server(LogMaker().source) as client:
        made = await create(client, "s-1", EARLIEST)
        request = sync.SeekSubscriptionRequest(name="s-1", to=to)
        assert await refused(client.stub.SeekSubscription(request)) == (code, reason, fields)
        found = await client.stub.GetSubscription(sync.GetSubscriptionRequest(name="s-1"))
        assert found.subscription == made
