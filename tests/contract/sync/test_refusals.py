"""What a client may ask, and how it is told what it may not, whether the Sync Server or its fake is asked."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import pytest
from stateset.common.v1.position_pb2 import Position
from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset.stream.v1 import stream_pb2 as stream
from stateset.sync.v1 import sync_service_pb2 as sync
from stateset_client import (
    EARLIEST,
    LATEST,
    SNAPSHOT,
    STORED,
    EventStream,
    Outcome,
    Settled,
    StateSetError,
    StreamLimits,
    Subscription,
    SyncClient,
)

from tests.harness.stream_servers import SERVERS, Bed
from tests.harness.waiting import eventually_async

OF_C1: Final = "customer_id = c-1"
OF_TYPE: Final = 'type = "stateset.order.v1.OrderPlaced"'
ITEMS: Final = StreamLimits(unacked_events_max=100)
REST: Final = stream.Start(snapshot=stream.SnapshotStart(after_order_id="o"))


class Side:
    """One of the servers with six events on it, a client of it, and what is asked of both."""

    def __init__(self, bed: Bed, client: SyncClient) -> None:
        self.address = bed.address
        self.bed = bed
        self.client = client

    def place(self, more: int = 0, *, log_epoch: str = "", filter_hash: bytes = b"") -> Position:
        """So many events beyond the head."""
        head = self.bed.head
        seqs = [seq + more for seq in head.next_seq]
        return Position(log_epoch=log_epoch or head.log_epoch, next_seq=seqs, filter_hash=filter_hash)

    async def refused(self, asked: Awaitable[object]) -> tuple[str, list[str]]:
        """The reason of the refusal, and the fields that are wrong."""
        with pytest.raises(StateSetError) as caught:
            async with asyncio.timeout(20):
                await asked
        return caught.value.reason, [each.field for each in caught.value.violations]

    async def opened(self, name: str = "", **spec: Any) -> Position:  # noqa: ANN401 - of either stream
        """Where the stream starts."""
        async with Subscription(self.address, name, **spec) if name else EventStream(self.address, **spec) as reader:
            return (await reader.opened()).position

    async def read(self, subscription: Subscription, count: int) -> list[OrderEvent]:
        events: list[OrderEvent] = []
        async with asyncio.timeout(20):
            while len(events) < count:
                events += (await anext(subscription)).events
        return events

    async def lag(self) -> stream.Lag:
        return (await self.client.get_lag(sync.GetLagRequest(name="s"))).lag


@pytest.fixture(params=sorted(SERVERS))
async def side(request: pytest.FixtureRequest) -> AsyncIterator[Side]:
    async with SERVERS[request.param]() as bed, SyncClient.connect(bed.address) as client:
        for number in range(6):
            await bed.record(f"o-{number}", customer_id=f"c-{number % 2}")
        yield Side(bed, client)


OPENS: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "STORED without a name": ({"start": STORED}, "open.start.point"),
    "a name of 129 characters": ({"name": "x" * 129}, "frame.open.subscription"),
    "a shard twice": ({"shards": [0, 0]}, "open.shards"),
    "a shard that there is not": ({"name": "s", "shards": [3]}, "frame.open.shards"),
    "no filter": ({"filter": "nope"}, "open.filter"),
    "a filter without a value": ({"name": "s", "filter": "customer_id ="}, "frame.open.filter"),
    "a filter with a sign for a value": ({"name": "s", "filter": "customer_id = )"}, "frame.open.filter"),
    "a filter over another field": ({"filter": "state = PLACED"}, "open.filter"),
    "a filter for a value that there is not": ({"filter": "type = OrderPlaced"}, "open.filter"),
    "a filter that is not closed": ({"filter": f"({OF_C1}"}, "open.filter"),
    "a filter with a rest": ({"filter": f"{OF_C1})"}, "open.filter"),
    "a filter of many terms": ({"filter": " ".join([OF_C1] * 101)}, "open.filter"),
    "a filter of many levels": ({"filter": "NOT " * 20 + OF_C1}, "open.filter"),
    "a heartbeat of 0.1 s": ({"limits": StreamLimits(heartbeat_seconds=0.1)}, "open.heartbeat_interval"),
    "a digest twice a second": ({"digest_seconds": 0.5}, "open.digest_interval"),
    "a digest with a filter on type": ({"digest_seconds": 1, "filter": OF_TYPE}, "open.digest_interval"),
    "a digest with items": ({"name": "s", "digest_seconds": 1, "limits": ITEMS}, "frame.open.digest_interval"),
    "a snapshot with a filter on type": ({"start": SNAPSHOT, "filter": OF_TYPE}, "open.filter"),
    "the rest of no snapshot": ({"start": REST}, "open.start.snapshot.at"),
    "an epoch that nobody has given": ({"name": "s", "checkpoint_epoch": 2**62}, "frame.open.checkpoint_epoch"),
    "too many unacked events": (
        {"name": "s", "limits": StreamLimits(unacked_events_max=50_001)},
        "frame.open.unacked_events_max",
    ),
}


@pytest.mark.parametrize("asked", sorted(OPENS))
async def test_a_stream_that_cannot_be_asked_for_is_refused_with_its_field(side: Side, asked: str) -> None:
    spec, field = OPENS[asked]
    assert await side.refused(side.opened(**spec)) == ("INVALID_REQUEST", [field])


async def test_every_wrong_field_is_named(side: Side) -> None:
    limits = StreamLimits(heartbeat_seconds=0.1)
    reason, fields = await side.refused(side.opened(shards=[0, 0], filter="nope", limits=limits))
    assert (reason, sorted(fields)) == ("INVALID_REQUEST", ["open.filter", "open.heartbeat_interval", "open.shards"])


@pytest.mark.parametrize("text", ["", OF_C1, f"{OF_TYPE} AND NOT (product_id:* OR -store_id != 'x y')"])
async def test_a_filter_of_the_contract_is_taken(side: Side, text: str) -> None:
    assert len((await side.opened(filter=text)).filter_hash) == (8 if text else 0)


async def test_positions_that_the_log_does_not_serve_are_refused_alike(side: Side) -> None:
    of_c1 = await side.opened(filter=OF_C1)
    unsaid = side.place()
    unsaid.next_seq[1] = 0
    for position, spec, reason in (
        (side.place(1), {}, "POSITION_AHEAD"),
        (side.place(log_epoch="another"), {}, "LOG_EPOCH_CHANGED"),
        (of_c1, {}, "POSITION_FILTER_MISMATCH"),
        (of_c1, {"filter": "customer_id = c-0"}, "POSITION_FILTER_MISMATCH"),
        (unsaid, {}, "POSITION_MALFORMED"),
        (side.place(-9), {}, "POSITION_MALFORMED"),
    ):
        assert await side.refused(side.opened(start=position, **spec)) == (reason, [])
        assert await side.refused(side.opened("s", start=position, **spec)) == (reason, [])
    assert await side.opened(start=of_c1, filter='customer_id="c-1"') == of_c1


async def test_a_position_need_not_speak_of_shards_that_are_not_read(side: Side) -> None:
    position = side.place()
    position.next_seq[:] = [0, 1, 0]
    assert await side.opened("s", start=position, shards=[1]) == position
    assert list((await side.opened("s", start=STORED, shards=[1])).next_seq) == [0, 1, 0]
    assert list((await side.opened(start=EARLIEST, shards=[2, 0])).next_seq) == [1, 0, 1]
    async with Subscription(side.address, "s", shards=[1]) as subscription:
        events = await side.read(subscription, side.place().next_seq[1] - 1)
        assert {event.shard for event in events} == {1}


async def test_a_subscription_keeps_its_filter(side: Side) -> None:
    await side.opened("s", filter=OF_C1)
    assert await side.refused(side.opened("s")) == ("SUBSCRIPTION_FILTER_CHANGED", [])
    made = sync.CreateSubscriptionRequest(name="s", filter="customer_id = c-0")
    assert await side.refused(side.client.create_subscription(made)) == ("SUBSCRIPTION_FILTER_CHANGED", [])
    await side.opened("s", filter=f" ({OF_C1})")
    found = (await side.client.get_subscription(sync.GetSubscriptionRequest(name="s"))).subscription
    assert (found.filter, found.delivery_epoch) == (OF_C1, 2)


async def test_a_seek_says_where_to(side: Side) -> None:
    await side.opened("s")
    nowhere = sync.SeekSubscriptionRequest(name="s", to=stream.Start(point=stream.START_POINT_UNSPECIFIED))
    assert await side.refused(side.client.seek_subscription(nowhere)) == ("INVALID_REQUEST", ["to"])


async def test_all_that_is_wrong_with_a_request_is_said_at_once(side: Side) -> None:
    name = "n" * 129
    seek = sync.SeekSubscriptionRequest(name=name)
    assert await side.refused(side.client.seek_subscription(seek)) == ("INVALID_REQUEST", ["name", "to"])
    creation = sync.CreateSubscriptionRequest(name=name, filter="(")
    assert await side.refused(side.client.create_subscription(creation)) == ("INVALID_REQUEST", ["name", "filter"])


async def test_an_epoch_that_one_caller_names_locks_no_other_out(side: Side) -> None:
    newest = time.time_ns() // 1_000
    await side.opened("s", checkpoint_epoch=newest)
    await side.client.delete_subscription(sync.DeleteSubscriptionRequest(name="s"))
    for _ in range(3):
        async with Subscription(side.address, "t", checkpoint_epoch=newest) as subscription:
            given = (await subscription.opened()).delivery_epoch
        assert given > newest
        newest = given


async def test_a_subscription_begins_where_it_is_first_opened(side: Side) -> None:
    assert await side.opened("s", start=LATEST) == side.place()
    await side.bed.record("o-9")
    async with Subscription(side.address, "s") as subscription:
        assert [event.order_id for event in await side.read(subscription, 1)] == ["o-9"]


ACKS: Final[dict[str, tuple[Callable[[Side], Position], str, list[str]]]] = {
    "beyond the head": (lambda side: side.place(1), "INVALID_REQUEST", ["frame.ack.through.next_seq"]),
    "of another log": (lambda side: side.place(log_epoch="another"), "LOG_EPOCH_CHANGED", []),
    "of no log": (lambda _: Position(), "POSITION_MALFORMED", []),
}


@pytest.mark.parametrize("through", sorted(ACKS))
async def test_an_ack_that_cannot_be_ends_the_stream(side: Side, through: str) -> None:
    make, *refusal = ACKS[through]
    async with Subscription(side.address, "s") as subscription:
        await side.read(subscription, 6)
        assert list(await side.refused(subscription.ack(make(side)))) == refusal
        assert list(await side.refused(anext(subscription))) == refusal


async def test_an_ack_of_what_the_stream_has_not_sent_ends_it(side: Side) -> None:
    limits = StreamLimits(credit_events=1, batch_events_max=1)
    async with Subscription(side.address, "s", limits=limits) as subscription:
        await side.read(subscription, 1)
        refusal = ("INVALID_REQUEST", ["frame.ack.through.next_seq"])
        assert await side.refused(subscription.ack(side.place())) == refusal
        assert await side.refused(anext(subscription)) == refusal


async def test_single_events_are_settled_only_where_that_was_asked_for(side: Side) -> None:
    async with Subscription(side.address, "s") as subscription:
        (event, *_) = await side.read(subscription, 6)
        refusal = await side.refused(subscription.settle(Settled(event=event, outcome=Outcome.DONE)))
        assert refusal == ("INVALID_REQUEST", ["frame.ack.items"])


async def test_an_ack_of_a_position_of_another_filter_is_refused(side: Side) -> None:
    other = await side.opened(filter="customer_id = c-0")
    async with Subscription(side.address, "s", filter=OF_C1) as subscription:
        opening = await subscription.opened()
        epoch = opening.delivery_epoch
        await side.read(subscription, 3)
        checkpoint = sync.PutCheckpointsRequest(name="s", delivery_epoch=epoch, through=other)
        request = sync.AckSubscriptionRequest(subscription="s", delivery_epoch=epoch, through=other)
        for asked in (
            side.client.ack_subscription(request),
            side.client.put_checkpoints([checkpoint]),
            subscription.ack(other),
            anext(subscription),
        ):
            assert await side.refused(asked) == ("POSITION_FILTER_MISMATCH", [])
    async with Subscription(side.address, "s", filter=OF_C1) as subscription:
        assert (await subscription.opened()).position == opening.position


CALLS: Final[dict[str, tuple[Callable[[Side], Awaitable[object]], str, list[str]]]] = {
    "a subscription ahead of the log": (
        lambda side: side.client.create_subscription(
            sync.CreateSubscriptionRequest(name="s", start=stream.Start(position=side.place(1)))
        ),
        "POSITION_AHEAD",
        [],
    ),
    "a subscription from a snapshot": (
        lambda side: side.client.create_subscription(sync.CreateSubscriptionRequest(name="s", start=SNAPSHOT)),
        "INVALID_REQUEST",
        ["start"],
    ),
    "a subscription without a name": (
        lambda side: side.client.create_subscription(sync.CreateSubscriptionRequest()),
        "INVALID_REQUEST",
        ["name"],
    ),
    "a subscription of no filter": (
        lambda side: side.client.create_subscription(sync.CreateSubscriptionRequest(name="s", filter="nope")),
        "INVALID_REQUEST",
        ["filter"],
    ),
    "a floor ahead of the log": (
        lambda side: side.client.ack_subscription(
            sync.AckSubscriptionRequest(subscription="s", delivery_epoch=1, through=side.place(1))
        ),
        "POSITION_AHEAD",
        [],
    ),
    "a floor of nothing": (
        lambda side: side.client.ack_subscription(sync.AckSubscriptionRequest(subscription="s")),
        "INVALID_REQUEST",
        ["delivery_epoch", "done"],
    ),
    "a place behind junk": (
        lambda side: side.client.resolve_position(sync.ResolvePositionRequest(token="%%")),  # noqa: S106 - of a position
        "POSITION_MALFORMED",
        [],
    ),
    "parked events of nobody": (
        lambda side: side.client.list_parked(sync.ListParkedRequest(subscription="nobody")),
        "SUBSCRIPTION_NOT_FOUND",
        [],
    ),
    "a replay for nobody": (
        lambda side: side.client.replay_parked(sync.ReplayParkedRequest(subscription="nobody", all=True)),
        "SUBSCRIPTION_NOT_FOUND",
        [],
    ),
    "a discard of nothing": (
        lambda side: side.client.discard_parked(sync.DiscardParkedRequest(subscription="nobody")),
        "INVALID_REQUEST",
        ["which"],
    ),
    "a page of orders behind junk": (
        lambda side: side.client.list_orders(sync.ListOrdersRequest(page_token="zz")),  # noqa: S106 - of a page
        "INVALID_REQUEST",
        ["page_token"],
    ),
    "a page of subscriptions behind junk": (
        lambda side: side.client.list_subscriptions(sync.ListSubscriptionsRequest(page_token="zz")),  # noqa: S106 - as above
        "INVALID_REQUEST",
        ["page_token"],
    ),
    "orders of a type of event": (
        lambda side: side.client.list_orders(sync.ListOrdersRequest(filter=OF_TYPE)),
        "INVALID_REQUEST",
        ["filter"],
    ),
}


@pytest.mark.parametrize("asked", sorted(CALLS))
async def test_a_call_that_cannot_be_answered_is_refused(side: Side, asked: str) -> None:
    call, *refusal = CALLS[asked]
    assert list(await side.refused(call(side))) == refusal


async def test_the_token_of_a_page_serves_no_other_list(side: Side) -> None:
    first = await side.client.list_orders(sync.ListOrdersRequest(page_size=1))
    request = sync.ListOrdersRequest(page_size=1, page_token=first.next_page_token, filter=OF_C1)
    assert await side.refused(side.client.list_orders(request)) == ("INVALID_REQUEST", ["page_token"])


async def test_the_lag_of_a_subscription_counts_what_is_parked_and_what_is_not_finished(side: Side) -> None:
    for number in range(8):
        await side.bed.record(f"p-{number}")
    async with Subscription(side.address, "s", limits=ITEMS) as subscription:
        events = await side.read(subscription, 14)
        outcomes = [Outcome.PARK, Outcome.PARK, Outcome.PARK_KEY, Outcome.DONE, Outcome.SKIP]
        await subscription.settle(
            *(Settled(event=event, outcome=outcome) for event, outcome in zip(events, outcomes, strict=False))
        )
        lag = await side.lag()
        assert (lag.parked, lag.unacked, lag.bound_by) == (3, 9, stream.LAG_BOUND_NONE)

    async def is_ended() -> bool:
        lag = await side.lag()
        return (lag.parked, lag.unacked) == (3, 0)

    await eventually_async(is_ended)  # that the stream has gone shows once the server has noticed


async def test_the_lag_of_a_subscription_counts_what_is_sent_and_not_acked(side: Side) -> None:
    async with Subscription(side.address, "s") as subscription:
        await side.read(subscription, 6)
        assert (await side.lag()).unacked == 6
        await subscription.ack(side.place())
        assert (await side.lag()).unacked == 0
