"""What `SyncClient` finds the same, whether the Sync Server or its fake is on the other side."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from hashlib import blake2b

import pytest
from stateset.common.v1.position_pb2 import Position
from stateset.order.v1.order_pb2 import ORDER_VIEW_BASIC
from stateset.stream.v1 import stream_pb2 as stream
from stateset.sync.v1 import sync_service_pb2 as sync
from stateset_client import (
    FencedError,
    InvalidRequestError,
    LogEpochChangedError,
    NoBusError,
    OrderNotFoundError,
    PositionAheadError,
    PositionMalformedError,
    PositionNotReachedError,
    Subscription,
    SubscriptionFilterChangedError,
    SubscriptionNotFoundError,
    SyncClient,
)

from tests.harness.stream_servers import SERVERS, Bed

LATEST = stream.Start(point=stream.START_POINT_LATEST)
EARLIEST = stream.Start(point=stream.START_POINT_EARLIEST)


class Side:
    """One of the servers, with a client of it."""

    def __init__(self, bed: Bed, client: SyncClient) -> None:
        self.bed = bed
        self.client = client

    async def record(self, count: int) -> None:
        for number in range(count):
            await self.bed.record(f"o-{number:02}", customer_id=f"c-{number % 2}")

    async def create(self, name: str, start: stream.Start = EARLIEST, text: str = "") -> sync.Subscription:
        request = sync.CreateSubscriptionRequest(name=name, start=start, filter=text)
        return (await self.client.create_subscription(request)).subscription


@pytest.fixture(params=sorted(SERVERS))
async def side(request: pytest.FixtureRequest) -> AsyncIterator[Side]:
    async with AsyncExitStack() as stack:
        bed = await stack.enter_async_context(SERVERS[request.param]())
        yield Side(bed, await stack.enter_async_context(SyncClient.connect(bed.address)))


def seqs(position: Position) -> list[int]:
    return list(position.next_seq)


async def test_an_order_is_read_at_the_position_that_includes_it(side: Side) -> None:
    await side.bed.record("o-1")
    await side.bed.record("o-1")
    request = sync.GetOrderRequest(order_id="o-1", min_position=side.bed.head)
    reply = await side.client.get_order(request)
    assert (reply.order.order_id, reply.order.version) == ("o-1", 2)
    assert seqs(reply.freshness.position) == seqs(side.bed.head)
    request.view = ORDER_VIEW_BASIC
    assert not (await side.client.get_order(request)).order.lines
    with pytest.raises(OrderNotFoundError):
        await side.client.get_order(sync.GetOrderRequest(order_id="o-2"))


async def test_every_page_of_orders_comes_by_id(side: Side) -> None:
    await side.record(9)
    asked = sync.ListOrdersRequest(page_size=4)
    first = await side.client.list_orders(asked)
    assert len(first.orders) == 4
    assert first.next_page_token
    found = [order.order_id async for order in side.client.list_all_orders(asked)]
    assert found == [f"o-{number:02}" for number in range(9)]
    asked.filter = "customer_id = c-1"
    assert len([order async for order in side.client.list_all_orders(asked)]) == 4
    with pytest.raises(InvalidRequestError):
        await side.client.list_orders(sync.ListOrdersRequest(page_size=-1))


async def test_a_digest_is_that_of_what_the_filter_lists(side: Side) -> None:
    await side.record(4)
    await side.bed.record("o-01", customer_id="c-1")
    reply = await side.client.get_digest(sync.GetDigestRequest(filter="customer_id = c-1"))
    hashes = [blake2b(f"{each}\0{version}".encode(), digest_size=16).digest() for each, version in VERSIONS.items()]
    expected = sum(int.from_bytes(each, "big") for each in hashes) % (1 << 128)
    assert (reply.digest.count, int.from_bytes(reply.digest.hash, "big")) == (2, expected)
    assert seqs(reply.freshness.position) == seqs(side.bed.head)


VERSIONS = {"o-01": 2, "o-03": 1}


async def test_a_read_that_cannot_include_its_position_fails(side: Side) -> None:
    await side.record(3)
    ahead = side.bed.head
    ahead.next_seq[0] += 9
    with pytest.raises(PositionNotReachedError):
        await side.client.get_digest(sync.GetDigestRequest(min_position=ahead), timeout_seconds=0.5)
    ahead.log_epoch = "another"
    with pytest.raises(LogEpochChangedError):
        await side.client.list_orders(sync.ListOrdersRequest(min_position=ahead))


async def test_a_place_is_the_same_in_each_form(side: Side) -> None:
    await side.record(9)
    found = await side.client.resolve_position(sync.ResolvePositionRequest(position=side.bed.head))
    again = await side.client.resolve_position(sync.ResolvePositionRequest(token=found.token))
    assert seqs(side.bed.head) == seqs(found.position) == seqs(again.position)
    earliest = Position(log_epoch=side.bed.head.log_epoch, next_seq=[1, 1, 1])
    first = await side.client.resolve_position(sync.ResolvePositionRequest(position=earliest))
    back = await side.client.resolve_position(sync.ResolvePositionRequest(time=first.time))
    assert seqs(back.position) == [1, 1, 1]
    assert not first.HasField("kafka")


async def test_a_place_that_there_is_not_is_refused(side: Side) -> None:
    await side.record(3)
    ahead, other, unsaid = side.bed.head, side.bed.head, Position(log_epoch=side.bed.head.log_epoch, next_seq=[0, 0, 0])
    ahead.next_seq[0] += 9
    other.log_epoch = "another"
    refused: list[tuple[sync.ResolvePositionRequest, type[Exception]]] = [
        (sync.ResolvePositionRequest(position=ahead), PositionAheadError),
        (sync.ResolvePositionRequest(position=other), LogEpochChangedError),
        (sync.ResolvePositionRequest(position=unsaid), PositionMalformedError),
        (sync.ResolvePositionRequest(token="nonsense"), PositionMalformedError),  # noqa: S106 - of a position
        (sync.ResolvePositionRequest(kafka=sync.KafkaOffsets(next_offset=[0, 0, 0])), NoBusError),
        (sync.ResolvePositionRequest(), InvalidRequestError),
    ]
    for request, kind in refused:
        with pytest.raises(kind):
            await side.client.resolve_position(request)


async def test_a_subscription_is_made_read_listed_and_deleted(side: Side) -> None:
    await side.record(3)
    made = await side.create("b", LATEST, "customer_id = c-1")
    assert (made.name, seqs(made.floor), made.delivery_epoch, made.streams) == ("b", seqs(side.bed.head), 0, 0)
    assert made == await side.create("b", EARLIEST, "customer_id = c-1")
    with pytest.raises(SubscriptionFilterChangedError):
        await side.create("b", EARLIEST, "customer_id = c-0")
    assert made == (await side.client.get_subscription(sync.GetSubscriptionRequest(name="b"))).subscription
    await side.create("a")
    await side.create("c")
    request = sync.ListSubscriptionsRequest(page_size=2)
    assert [each.name async for each in side.client.list_all_subscriptions(request)] == ["a", "b", "c"]
    assert len((await side.client.list_subscriptions(request)).subscriptions) == 2
    for _ in range(2):
        await side.client.delete_subscription(sync.DeleteSubscriptionRequest(name="b"))
    with pytest.raises(SubscriptionNotFoundError):
        await side.client.get_subscription(sync.GetSubscriptionRequest(name="b"))


async def test_a_seek_moves_the_floor_and_ends_the_streams_that_are_open(side: Side) -> None:
    await side.record(6)
    async with Subscription(side.bed.address, "s") as subscription:
        await anext(subscription)
        to = Position(log_epoch=side.bed.head.log_epoch, next_seq=[0, 2, 0])
        request = sync.SeekSubscriptionRequest(name="s", to=stream.Start(position=to))
        moved = (await side.client.seek_subscription(request)).subscription
        assert (seqs(moved.floor)[1], moved.delivery_epoch) == (2, 2)
        with pytest.raises(FencedError):
            await _to_the_end(subscription)


async def _to_the_end(subscription: Subscription) -> None:
    async for _ in subscription:
        pass


async def test_floors_are_moved_from_outside(side: Side) -> None:
    await side.record(6)
    await side.create("s")
    await side.client.seek_subscription(sync.SeekSubscriptionRequest(name="s", to=EARLIEST))
    request = sync.AckSubscriptionRequest(subscription="s", delivery_epoch=1, through=side.bed.head)
    acked = await side.client.ack_subscription(request)
    assert (acked.status, seqs(acked.floor)) == (stream.ACK_STATUS_COMMITTED, seqs(side.bed.head))
    assert (await side.client.ack_subscription(request)).status == stream.ACK_STATUS_ALREADY


async def test_checkpoints_are_counted_by_what_became_of_them(side: Side) -> None:
    await side.record(6)
    for name in ("s-1", "s-2", "s-3"):
        await side.create(name, EARLIEST if name == "s-1" else LATEST)
        await side.client.seek_subscription(
            sync.SeekSubscriptionRequest(name=name, to=EARLIEST if name == "s-1" else LATEST)
        )
    reply = await side.client.put_checkpoints(
        [
            sync.PutCheckpointsRequest(name="s-1", delivery_epoch=1, through=side.bed.head),
            sync.PutCheckpointsRequest(name="s-2", delivery_epoch=1, through=side.bed.head),
            sync.PutCheckpointsRequest(name="s-3", delivery_epoch=0, through=side.bed.head),
        ]
    )
    assert (reply.committed, reply.already, reply.fenced, list(reply.fenced_names)) == (1, 1, 1, ["s-3"])
    ahead = side.bed.head
    ahead.next_seq[0] += 9
    with pytest.raises(PositionAheadError):
        await side.client.put_checkpoints([sync.PutCheckpointsRequest(name="s-1", delivery_epoch=1, through=ahead)])


async def test_what_was_opened_before_a_deletion_moves_no_floor_of_what_is_made_after_it(side: Side) -> None:
    await side.record(6)
    async with Subscription(side.bed.address, "s") as subscription:
        await anext(subscription)
    await side.client.delete_subscription(sync.DeleteSubscriptionRequest(name="s"))
    made = await side.create("s")
    async with Subscription(side.bed.address, "s") as subscription:
        await anext(subscription)
        ack = sync.AckSubscriptionRequest(subscription="s", delivery_epoch=1, through=side.bed.head)
        assert (await side.client.ack_subscription(ack)).status == stream.ACK_STATUS_FENCED
        checkpoint = sync.PutCheckpointsRequest(name="s", delivery_epoch=1, through=side.bed.head)
        assert list((await side.client.put_checkpoints([checkpoint])).fenced_names) == ["s"]
        found = (await side.client.get_subscription(sync.GetSubscriptionRequest(name="s"))).subscription
        assert (seqs(found.floor), found.delivery_epoch) == (seqs(made.floor), made.delivery_epoch + 1)


async def test_the_lag_of_a_subscription_is_told_whether_anybody_reads_it_or_not(side: Side) -> None:
    await side.record(6)
    await side.create("s")
    found = await side.client.get_lag(sync.GetLagRequest(name="s"))
    assert (found.lag.events, found.lag.bound_by, found.streams) == (6, stream.LAG_BOUND_ABSENT, 0)
    assert seqs(found.floor) == [1, 1, 1]
    with pytest.raises(SubscriptionNotFoundError):
        await side.client.get_lag(sync.GetLagRequest(name="nobody"))
