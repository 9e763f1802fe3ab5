"""Acks of single events over real gRPC: what each sentence of the contract about them says."""

import time
from collections.abc import AsyncIterator, Sequence

import pytest
from google.protobuf.duration_pb2 import Duration
from grpc import StatusCode
from stateset.order.v1 import order_event_pb2
from stateset.stream.v1 import stream_pb2
from stateset.sync.v1 import sync_service_pb2

from sync.adapters.memory import MemorySubscriptions
from tests.harness.sync_client import PLENTY, Client, Stream, open_server, start_at
from tests.harness.sync_log import LogMaker
from tests.harness.waiting import eventually, eventually_async

STORED = stream_pb2.Start(point=stream_pb2.START_POINT_STORED)
DONE, RETRY, PARK, PARK_KEY, SKIP = (
    stream_pb2.ACK_OUTCOME_DONE,
    stream_pb2.ACK_OUTCOME_RETRY,
    stream_pb2.ACK_OUTCOME_PARK,
    stream_pb2.ACK_OUTCOME_PARK_KEY,
    stream_pb2.ACK_OUTCOME_SKIP,
)
COMMITTED, FENCED, ALREADY, OUT_OF_ORDER, UNKNOWN, FULL = (
    stream_pb2.ACK_STATUS_COMMITTED,
    stream_pb2.ACK_STATUS_FENCED,
    stream_pb2.ACK_STATUS_ALREADY,
    stream_pb2.ACK_STATUS_OUT_OF_ORDER,
    stream_pb2.ACK_STATUS_UNKNOWN,
    stream_pb2.ACK_STATUS_PARKING_FULL,
)
NEVER_PAUSED = {"breaker_outcomes": 1_000}


class Subscriber:
    """One subscription's streams, one after the other."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.stub = client.stub

    async def open(self, *, unacked: int = 1_000, **spec: object) -> Stream:
        spec = {"subscription": "s-1", "start": STORED, "credit": PLENTY, **spec}
        return await self.client.subscribe(stream_pb2.Open(unacked_events_max=unacked, **spec))  # type: ignore[arg-type]  # the contract's own names

    async def parked(self, **page: object) -> sync_service_pb2.ListParkedResponse:
        request = sync_service_pb2.ListParkedRequest(subscription="s-1", **page)  # type: ignore[arg-type]  # as above
        listed: sync_service_pb2.ListParkedResponse = await self.stub.ListParked(request)
        return listed

    async def replay(self, **which: object) -> int:
        request = sync_service_pb2.ReplayParkedRequest(subscription="s-1", **which)  # type: ignore[arg-type]  # as above
        return int((await self.stub.ReplayParked(request)).events)

    async def discard(self, **which: object) -> int:
        request = sync_service_pb2.DiscardParkedRequest(subscription="s-1", **which)  # type: ignore[arg-type]  # as above
        return int((await self.stub.DiscardParked(request)).events)


def item(
    event: order_event_pb2.OrderEvent, outcome: stream_pb2.AckOutcome.ValueType = DONE, delay_ms: int = 0
) -> stream_pb2.AckItem:
    delay = Duration()
    delay.FromMilliseconds(delay_ms)
    return stream_pb2.AckItem(shard=event.shard, seq=event.seq, outcome=outcome, delay=delay, reason="because")


async def settle(stream: Stream, *items: stream_pb2.AckItem) -> list[int]:
    """The statuses of the items, once they are known."""
    await stream.say(ack=stream_pb2.Ack(ack_id="a", items=items))
    result = await stream.until("ack_result")
    assert [(each.shard, each.seq) for each in items] == [(each.shard, each.seq) for each in result.items]
    return [each.status for each in result.items]


async def until_redelivered(stream: Stream, number: int) -> list[tuple[int, str, int]]:
    """Attempt, order and version of what has come again, once it is so much."""
    while len(stream.redelivered) < number:
        await stream.until("redelivery")
    return [(each.attempt, each.event.order_id, each.event.version) for each in stream.redelivered]


def versions(events: Sequence[order_event_pb2.OrderEvent]) -> list[tuple[str, int]]:
    return [(event.order_id, event.version) for event in events]


@pytest.fixture
def log() -> LogMaker:
    return LogMaker()


@pytest.fixture
async def subscriber(log: LogMaker) -> AsyncIterator[Subscriber]:
    async with open_server(log.source, breaker_outcomes=1_000) as client:
        yield Subscriber(client)


async def test_what_was_committed_is_never_delivered_again(log: LogMaker, subscriber: Subscriber) -> None:
    log.groups(20)
    first = await subscriber.open()
    await first.until_events(20)
    kept = {event.seq for event in first.events if event.shard == 1 and event.seq % 2}
    done = [event for event in first.events if event.shard != 1 or event.seq not in kept]
    assert await settle(first, *map(item, done)) == [COMMITTED] * len(done)
    first.call.cancel()
    second = await subscriber.open()
    log.groups(3)
    await second.until_events(len(kept) + 3)
    assert {event.seq for event in second.events if event.shard == 1} >= kept
    assert not {(each.shard, each.seq) for each in done} & {(each.shard, each.seq) for each in second.events}


async def test_a_stream_that_is_opened_again_says_below_where_an_event_may_come_for_the_second_time(
    log: LogMaker, subscriber: Subscriber
) -> None:
    log.groups(9)
    first = await subscriber.open()
    assert not (await first.until("opened")).HasField("redelivered_below")
    await first.until_events(9)
    first.call.cancel()
    second = await subscriber.open()
    assert tuple((await second.until("opened")).redelivered_below.next_seq) == log.position.next_seq


async def test_a_server_that_cannot_ask_how_long_the_log_is_takes_any_event_for_one_that_was_sent(
    log: LogMaker,
) -> None:
    log.groups(3)
    behind = LogMaker()
    behind.groups(3)
    log.groups(9)
    shared = MemorySubscriptions()
    async with (
        open_server(log.source, subscriptions=shared) as ahead,
        open_server(behind.source, subscriptions=shared) as cut_off,
    ):
        await (await Subscriber(ahead).open()).until_events(12)
        behind.source.available = False
        opened = await (await Subscriber(cut_off).open()).until("opened")
        below = opened.redelivered_below.next_seq
        assert all(seq <= bound for seq, bound in zip(log.position.next_seq, below, strict=True))


async def test_retry_of_an_event_covers_the_later_events_of_its_order_and_no_other_order(
    log: LogMaker, subscriber: Subscriber
) -> None:
    log.group("o-1", size=3)
    log.group("o-2", size=2)
    stream = await subscriber.open()
    await stream.until_events(5)
    first, second, third = (event for event in stream.events if event.order_id == "o-1")
    others = [event for event in stream.events if event.order_id == "o-2"]
    assert await settle(stream, item(second, RETRY, 60_000), item(third), *map(item, others)) == [
        COMMITTED,
        OUT_OF_ORDER,
        COMMITTED,
        COMMITTED,
    ]
    assert await settle(stream, item(first)) == [COMMITTED]
    log.group("o-1")
    log.group("o-2")
    await stream.until_events(6)
    assert versions(stream.events[5:]) == [("o-2", 3)]


async def test_a_retried_event_comes_again_with_the_next_attempt_and_its_order_behind_it(
    log: LogMaker, subscriber: Subscriber
) -> None:
    log.group("o-1", size=3)
    stream = await subscriber.open()
    await stream.until_events(3)
    first, second, third = stream.events
    assert await settle(stream, item(first), item(second, RETRY)) == [COMMITTED, COMMITTED]
    assert await until_redelivered(stream, 2) == [(2, "o-1", 2), (1, "o-1", 3)]
    assert await settle(stream, item(third)) == [OUT_OF_ORDER]
    assert await settle(stream, item(second), item(third)) == [COMMITTED, COMMITTED]
    log.group("o-1")
    await stream.until_events(4)


async def test_what_is_recorded_while_an_order_waits_comes_behind_it_and_not_before(
    log: LogMaker, subscriber: Subscriber
) -> None:
    log.group("o-1")
    stream = await subscriber.open()
    await stream.until_events(1)
    assert await settle(stream, item(stream.events[0], RETRY, 300)) == [COMMITTED]
    log.group("o-1", size=2)
    assert await until_redelivered(stream, 3) == [(2, "o-1", 1), (1, "o-1", 2), (1, "o-1", 3)]
    assert len(stream.events) == 1


async def test_a_redelivery_takes_credit(log: LogMaker, subscriber: Subscriber) -> None:
    log.group("o-1", size=3)
    stream = await subscriber.open(credit=stream_pb2.Credit(events=3, bytes=1 << 20))
    await stream.until_events(3)
    assert await settle(stream, item(stream.events[0], RETRY)) == [COMMITTED]
    await stream.say(credit=stream_pb2.Credit(events=1, bytes=0))
    assert await until_redelivered(stream, 1) == [(2, "o-1", 1)]
    await stream.say(credit=stream_pb2.Credit(events=2, bytes=0))
    assert len(await until_redelivered(stream, 3)) == 3


async def test_attempts_outlive_the_stream(log: LogMaker, subscriber: Subscriber) -> None:
    log.group("o-1", size=2)
    log.group("o-2")
    first = await subscriber.open()
    await first.until_events(3)
    retried = first.events[0]
    assert await settle(first, item(retried, RETRY, 500)) == [COMMITTED]
    first.call.cancel()
    second = await subscriber.open()
    assert await until_redelivered(second, 2) == [(2, "o-1", 1), (1, "o-1", 2)]
    await second.until_events(1)
    assert versions(second.events) == [("o-2", 1)]


async def test_what_is_to_come_again_later_does_so_on_another_stream_too(log: LogMaker, subscriber: Subscriber) -> None:
    log.groups(2)
    first = await subscriber.open()
    await first.until_events(2)
    later, soon = first.events
    began = time.monotonic()
    assert await settle(first, item(later, RETRY, 60_000), item(soon, RETRY, 1_500)) == [COMMITTED] * 2
    first.call.cancel()
    second = await subscriber.open()
    assert await until_redelivered(second, 1) == [(2, soon.order_id, soon.version)]
    assert time.monotonic() - began > 1.4


async def test_an_ack_of_an_old_delivery_epoch_is_fenced_and_changes_nothing(
    log: LogMaker, subscriber: Subscriber
) -> None:
    log.groups(5)
    older = await subscriber.open()
    await older.until_events(5)
    newer = await subscriber.open()
    await newer.until_events(5)
    zombie = [item(older.events[0]), item(older.events[1], RETRY), item(older.events[2], PARK)]
    assert await settle(older, *zombie) == [FENCED] * 3
    assert not (await subscriber.parked()).parked
    assert await settle(newer, *map(item, newer.events)) == [COMMITTED] * 5


async def test_members_share_a_subscription_and_fence_each_other_only_where_they_share_a_shard(
    log: LogMaker, subscriber: Subscriber
) -> None:
    log.groups(20)
    members = [await subscriber.open(shards=shards) for shards in ([0], [1, 2])]
    for member in members:
        await member.until_phase(stream_pb2.PHASE_LIVE)
    assert sum(len(member.events) for member in members) == 20
    await (await subscriber.open(shards=[2])).until("opened")
    first, second = members
    lost = next(event for event in second.events if event.shard == 2)
    kept = next(event for event in second.events if event.shard == 1)
    assert await settle(second, item(kept)) == [COMMITTED]
    assert await settle(second, item(lost)) == [FENCED]
    assert set(await settle(first, *map(item, first.events))) == {COMMITTED}


async def test_outcomes_of_events_that_were_not_sent_or_are_finished_change_nothing(
    log: LogMaker, subscriber: Subscriber
) -> None:
    log.group("o-1", size=2)
    stream = await subscriber.open()
    await stream.until_events(2)
    first, second = stream.events
    beyond = stream_pb2.AckItem(shard=second.shard, seq=second.seq + 1, outcome=DONE)
    nowhere = stream_pb2.AckItem(shard=77, seq=1, outcome=DONE)
    assert await settle(stream, item(first), item(first), item(second, SKIP), beyond, nowhere) == [
        COMMITTED,
        ALREADY,
        COMMITTED,
        UNKNOWN,
        UNKNOWN,
    ]
    assert await settle(stream, item(first)) == [ALREADY]


async def test_no_more_is_sent_than_may_be_unfinished(log: LogMaker, subscriber: Subscriber) -> None:
    log.groups(30)
    stream = await subscriber.open(unacked=10)
    await stream.until_events(10)
    assert len(stream.events) == 10
    assert await settle(stream, *map(item, stream.events[:4])) == [COMMITTED] * 4
    await stream.until_events(14)
    assert len(stream.events) == 14


async def test_an_ack_names_a_position_or_events_and_never_both(log: LogMaker, subscriber: Subscriber) -> None:
    log.groups(2)
    stream = await subscriber.open()
    await stream.until_events(2)
    through = start_at(log.position).position
    await stream.say(ack=stream_pb2.Ack(ack_id="a", through=through, items=[item(stream.events[0])]))
    assert await stream.refusal() == (StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", ["frame.ack"])


async def test_items_need_a_stream_that_was_opened_for_them(log: LogMaker, subscriber: Subscriber) -> None:
    log.groups(2)
    stream = await subscriber.open(unacked=0)
    await stream.until_events(2)
    await stream.say(ack=stream_pb2.Ack(ack_id="a", items=[item(stream.events[0])]))
    assert await stream.refusal() == (StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", ["frame.ack.items"])


async def test_a_position_finishes_every_event_below_it_unless_one_is_to_come_again(
    log: LogMaker, subscriber: Subscriber
) -> None:
    log.groups(12)
    stream = await subscriber.open()
    await stream.until_events(12)
    assert await settle(stream, item(stream.events[0], RETRY, 60_000)) == [COMMITTED]
    through = start_at(log.position).position
    await stream.say(ack=stream_pb2.Ack(ack_id="a", through=through))
    refused = await stream.until("ack_result")
    assert (refused.status, refused.floor) == (OUT_OF_ORDER, stream.frames[0].opened.position)
    assert await settle(stream, item(stream.events[0])) == [COMMITTED]
    await stream.say(ack=stream_pb2.Ack(ack_id="b", through=through))
    result = await stream.until("ack_result")
    assert (result.status, tuple(result.floor.next_seq)) == (COMMITTED, log.position.next_seq)


async def test_a_start_that_is_not_stored_puts_the_floor_there(log: LogMaker, subscriber: Subscriber) -> None:
    log.groups(12)
    first = await subscriber.open()
    await first.until_events(12)
    assert set(await settle(first, *map(item, first.events))) == {COMMITTED}
    earlier = await subscriber.open(start=start_at(log.earliest))
    await earlier.until_events(12)
    earlier.call.cancel()
    again = await subscriber.open()
    await again.until_events(12)


async def test_what_waits_after_a_replay_holds_up_no_other_order(log: LogMaker, subscriber: Subscriber) -> None:
    log.groups(70)
    stream = await subscriber.open()
    await stream.until_events(70)
    assert set(await settle(stream, *(item(event, PARK) for event in stream.events))) == {COMMITTED}
    assert await subscriber.replay(all=True) == 70
    await until_redelivered(stream, 64)
    later = [item(each.event, RETRY, 600_000) for each in stream.redelivered]
    assert set(await settle(stream, *later)) == {COMMITTED}
    assert len({order_id for _, order_id, _ in await until_redelivered(stream, 70)}) == 70


async def test_park_sets_one_event_aside_and_its_order_goes_on(log: LogMaker, subscriber: Subscriber) -> None:
    log.group("o-1", size=3)
    stream = await subscriber.open()
    await stream.until_events(3)
    first, second, third = stream.events
    assert await settle(stream, item(first), item(second, PARK), item(third)) == [COMMITTED] * 3
    (parked,) = (await subscriber.parked()).parked
    assert (parked.event, parked.reason, parked.attempts, parked.whole_order) == (second, "because", 1, False)
    log.group("o-1")
    await stream.until_events(4)


async def test_park_key_sets_the_later_events_of_the_order_aside_as_well(log: LogMaker, subscriber: Subscriber) -> None:
    log.group("o-1", size=3)
    stream = await subscriber.open()
    await stream.until_events(3)
    first, second, third = stream.events
    assert await settle(stream, item(first), item(second, PARK_KEY), item(third)) == [
        COMMITTED,
        COMMITTED,
        OUT_OF_ORDER,
    ]
    log.group("o-1", size=2)
    log.group("o-2")
    await stream.until_events(4)
    assert versions(stream.events[3:]) == [("o-2", 1)]

    async def listed() -> bool:
        return [each.event.version for each in (await subscriber.parked()).parked] == [2, 3, 4, 5]

    await eventually_async(listed)
    assert [each.reason for each in (await subscriber.parked()).parked] == ["because", "", "", ""]
    stream.call.cancel()
    again = await subscriber.open()
    log.group("o-1")
    log.group("o-3")
    await again.until_events(2)
    assert sorted(versions(again.events)) == [("o-2", 1), ("o-3", 1)]


async def test_a_replayed_order_goes_on_at_the_next_version(log: LogMaker, subscriber: Subscriber) -> None:
    log.group("o-1", size=2)
    stream = await subscriber.open()
    await stream.until_events(2)
    first, second = stream.events
    assert await settle(stream, item(first), item(second, PARK_KEY)) == [COMMITTED] * 2
    log.group("o-1")
    log.group("o-2")
    await stream.until_events(3)
    assert await subscriber.replay(order_id="o-1") == 2
    assert await until_redelivered(stream, 2) == [(2, "o-1", 2), (1, "o-1", 3)]
    log.group("o-1")
    await stream.until_events(4)
    again = [each.event for each in stream.redelivered]
    assert await settle(stream, *map(item, [*again, stream.events[3]])) == [COMMITTED] * 3
    assert not (await subscriber.parked()).parked
    log.group("o-1")
    await stream.until_events(5)
    assert versions(stream.events[3:]) == [("o-1", 4), ("o-1", 5)]


async def test_a_replay_waits_for_the_next_stream_and_is_repeated_until_it_is_done(
    log: LogMaker, subscriber: Subscriber
) -> None:
    log.groups(3)
    stream = await subscriber.open()
    await stream.until_events(3)
    assert await settle(stream, *(item(each, PARK) for each in stream.events)) == [COMMITTED] * 3
    stream.call.cancel()
    one = stream.events[0]
    assert await subscriber.replay(event=sync_service_pb2.EventPlace(shard=one.shard, seq=one.seq)) == 1
    for _ in range(2):
        again = await subscriber.open()
        assert await until_redelivered(again, 1) == [(2, one.order_id, 1)]
        again.call.cancel()
    again = await subscriber.open()
    await until_redelivered(again, 1)
    assert await settle(again, item(one)) == [COMMITTED]
    assert len((await subscriber.parked()).parked) == 2


async def test_what_is_discarded_while_it_is_sent_again_comes_no_more(log: LogMaker, subscriber: Subscriber) -> None:
    log.group("o-1")
    stream = await subscriber.open()
    await stream.until_events(1)
    [event] = stream.events
    assert await settle(stream, item(event, PARK)) == [COMMITTED]
    assert await subscriber.replay(all=True) == 1
    await until_redelivered(stream, 1)
    assert await subscriber.discard(all=True) == 1

    async def is_forgotten() -> bool:
        if await settle(stream, item(event, RETRY)) == [ALREADY]:
            return True
        await until_redelivered(stream, len(stream.redelivered) + 1)  # the stream had not heard of it yet
        return False

    await eventually_async(is_forgotten)


async def test_what_is_discarded_is_gone_and_its_order_flows_again(log: LogMaker, subscriber: Subscriber) -> None:
    log.group("o-1", size=2)
    stream = await subscriber.open()
    await stream.until_events(2)
    assert await settle(stream, item(stream.events[0], PARK_KEY)) == [COMMITTED]
    assert await subscriber.discard(all=True) == 2

    async def flows() -> bool:
        log.group("o-1")
        log.group("o-2")
        await stream.until("events")
        return any(event.order_id == "o-1" for event in stream.events[2:])

    await eventually_async(flows)


async def test_parked_events_are_listed_page_by_page(log: LogMaker, subscriber: Subscriber) -> None:
    log.groups(7)
    stream = await subscriber.open()
    await stream.until_events(7)
    await settle(stream, *(item(each, PARK) for each in stream.events))
    places, token = [], ""
    while True:
        page = await subscriber.parked(page_size=3, page_token=token)
        places += [(each.event.shard, each.event.seq) for each in page.parked]
        token = page.next_page_token
        if not token:
            break
    assert places == sorted((event.shard, event.seq) for event in stream.events)


async def test_a_parking_place_of_a_subscription_that_is_unknown_is_not_found(subscriber: Subscriber) -> None:
    with pytest.raises(Exception, match="there is no subscription"):
        await subscriber.parked()


async def test_a_full_parking_place_refuses_clearly_and_the_event_comes_again(log: LogMaker) -> None:
    log.groups(2)
    subscriptions = MemorySubscriptions(parked_events_max=1)
    async with open_server(log.source, subscriptions=subscriptions, breaker_pause_seconds=0.05) as client:
        subscriber = Subscriber(client)
        stream = await subscriber.open()
        await stream.until_events(2)
        first, second = stream.events
        assert await settle(stream, item(first, PARK)) == [COMMITTED]
        assert await settle(stream, item(second, PARK)) == [FULL]
        await stream.until_phase(stream_pb2.PHASE_PAUSED)
        assert await until_redelivered(stream, 1) == [(2, second.order_id, 1)]
        assert await settle(stream, item(second)) == [COMMITTED]
        await stream.until_phase(stream_pb2.PHASE_LIVE)


async def test_nobody_is_told_that_an_event_is_passed_before_it_lies_in_the_parking_place(log: LogMaker) -> None:
    log.group("o-1")
    subscriptions = MemorySubscriptions(parked_events_max=1)
    async with open_server(log.source, subscriptions=subscriptions, breaker_pause_seconds=0.05) as client:
        subscriber = Subscriber(client)
        stream = await subscriber.open()
        await stream.until_events(1)
        assert await settle(stream, item(stream.events[0], PARK_KEY)) == [COMMITTED]
        follower = log.group("o-1")
        await stream.until_phase(stream_pb2.PHASE_PAUSED)
        assert stream.next_seqs[follower.shard] == follower.first_seq
        assert await subscriber.discard(all=True) == 1
        assert await until_redelivered(stream, 1) == [(1, "o-1", 2)]


async def test_a_subscription_whose_outcomes_are_mostly_retry_pauses_and_tries_again(log: LogMaker) -> None:
    log.groups(40)
    async with open_server(log.source, breaker_outcomes=10, breaker_pause_seconds=0.05) as client:
        subscriber = Subscriber(client)
        stream = await subscriber.open(unacked=20)
        await stream.until_events(20)
        assert set(await settle(stream, *(item(each, RETRY) for each in stream.events[:10]))) == {COMMITTED}
        await stream.until_phase(stream_pb2.PHASE_PAUSED)
        assert len(await until_redelivered(stream, 1)) == 1
        tried = stream.redelivered[0].event
        assert await settle(stream, item(tried, RETRY)) == [COMMITTED]
        assert len(await until_redelivered(stream, 2)) == 2
        tried = stream.redelivered[1].event
        assert await settle(stream, item(tried)) == [COMMITTED]
        await stream.until_phase(stream_pb2.PHASE_BEHIND)
        assert len(await until_redelivered(stream, 10)) >= 10
        assert not (await subscriber.parked()).parked


async def test_a_filtered_subscription_keeps_account_of_what_matches(log: LogMaker, subscriber: Subscriber) -> None:
    for number in range(30):
        log.group(f"o-{number}", customer_id=f"c-{number % 3}")
    first = await subscriber.open(filter="customer_id = c-1")
    await first.until_events(10)
    assert set(await settle(first, *map(item, first.events[:9]))) == {COMMITTED}
    first.call.cancel()
    second = await subscriber.open(filter="customer_id = c-1")
    await second.until_events(1)
    await second.until_phase(stream_pb2.PHASE_LIVE)
    assert versions(second.events) == versions(first.events[9:])


async def floor_of(subscriber: Subscriber) -> list[int]:
    asked = sync_service_pb2.GetLagRequest(name="s-1")
    return list((await subscriber.stub.GetLag(asked)).floor.next_seq)


async def test_what_is_passed_over_is_done_while_the_stream_lives(log: LogMaker, subscriber: Subscriber) -> None:
    log.group("o-1", customer_id="c-1")
    half_a_second = Duration(nanos=500_000_000)
    stream = await subscriber.open(filter="customer_id = c-1", heartbeat_interval=half_a_second)
    await stream.until_events(1)
    for number in range(30):
        log.group(f"o-{number + 2}", customer_id="c-2")
    [matching] = stream.events
    head = list(log.position.next_seq)

    async def floor_is(next_seq: list[int]) -> bool:
        return await floor_of(subscriber) == next_seq

    unfinished = [matching.seq if shard == matching.shard else seq for shard, seq in enumerate(head)]
    await eventually_async(lambda: floor_is(unfinished))
    assert await settle(stream, item(matching)) == [COMMITTED]
    await eventually_async(lambda: floor_is(head))


async def test_what_was_passed_over_is_done_when_a_stream_ends(log: LogMaker, subscriber: Subscriber) -> None:
    for number in range(30):
        log.group(f"o-{number}", customer_id="c-2")
    stream = await subscriber.open(filter="customer_id = c-1")
    await stream.until_phase(stream_pb2.PHASE_LIVE)
    await stream.say(close=stream_pb2.Close())
    await stream.until("closed")
    assert await floor_of(subscriber) == list(log.position.next_seq)


async def close(stream: Stream) -> None:
    await stream.say(close=stream_pb2.Close())
    await stream.until("closed")


async def test_what_is_parked_and_passed_again_is_done(log: LogMaker, subscriber: Subscriber) -> None:
    log.group("o-1", customer_id="c-1")
    for number in range(30):
        log.group(f"x-{number}", customer_id="c-2")
    stream = await subscriber.open(filter="customer_id = c-1")
    await stream.until_events(1)
    assert await settle(stream, item(stream.events[0], PARK)) == [COMMITTED]
    await close(stream)
    earliest = stream_pb2.Start(point=stream_pb2.START_POINT_EARLIEST)
    await subscriber.stub.SeekSubscription(sync_service_pb2.SeekSubscriptionRequest(name="s-1", to=earliest))
    assert await floor_of(subscriber) == [1, 1, 1]
    again = await subscriber.open(filter="customer_id = c-1")
    await again.until_phase(stream_pb2.PHASE_LIVE)
    await close(again)
    assert await floor_of(subscriber) == list(log.position.next_seq)


async def test_what_was_passed_before_an_event_that_is_done_is_done(log: LogMaker, subscriber: Subscriber) -> None:
    for number in range(40):
        log.group(f"x-{number}", customer_id="c-2")
    middle = log.position
    log.group("o-1", customer_id="c-1")
    earliest = stream_pb2.Start(point=stream_pb2.START_POINT_EARLIEST)
    nothing = stream_pb2.Credit()
    first = await subscriber.open(filter="customer_id = c-1", start=earliest, credit=nothing)
    await first.until("opened")
    ahead = await subscriber.open(filter="customer_id = c-1", start=start_at(middle), checkpoint_epoch=1)
    await ahead.until_events(1)
    assert await settle(ahead, item(ahead.events[0])) == [COMMITTED]
    await close(ahead)
    rest = await subscriber.open(filter="customer_id = c-1")
    await rest.until_phase(stream_pb2.PHASE_LIVE)
    await close(rest)
    assert await floor_of(subscriber) == list(log.position.next_seq)


async def test_a_subscription_that_is_read_by_positions_again_is_not_sent_what_was_committed(
    log: LogMaker, subscriber: Subscriber
) -> None:
    log.groups(20)
    first = await subscriber.open()
    await first.until_events(20)
    assert set(await settle(first, *map(item, first.events[1:]))) == {COMMITTED}
    second = await subscriber.open(unacked=0)
    await second.until_events(1)
    await second.until_phase(stream_pb2.PHASE_LIVE)
    assert versions(second.events) == versions(first.events[:1])
    await eventually(lambda: len(second.events) == 1)


async def test_a_stream_that_is_fenced_ends_once_its_acks_are_answered(log: LogMaker, subscriber: Subscriber) -> None:
    log.groups(3)
    older = await subscriber.open()
    await older.until_events(3)
    newer = await subscriber.open()
    await newer.until("opened")
    assert await settle(older, item(older.events[0])) == [FENCED]
    closed = await older.until("closed")
    assert closed.status.code == StatusCode.ABORTED.value[0]


async def test_a_stream_without_items_leaves_out_what_is_parked_and_remembers_nothing_of_the_rest(
    log: LogMaker, subscriber: Subscriber
) -> None:
    log.group("o-1", size=2)
    log.group("o-2")
    first = await subscriber.open()
    await first.until_events(3)
    poison = next(event for event in first.events if event.order_id == "o-1")
    assert await settle(first, item(poison, PARK_KEY)) == [COMMITTED]
    first.call.cancel()
    earliest = stream_pb2.Start(point=stream_pb2.START_POINT_EARLIEST)
    plain = await subscriber.open(unacked=0, start=earliest, batch_events_max=1)
    log.group("o-1")
    for _ in range(9):
        log.group("o-2")
    await plain.until_events(10)
    assert {event.order_id for event in plain.events} == {"o-2"}

    async def followed() -> bool:
        return [each.event.version for each in (await subscriber.parked()).parked] == [1, 2, 3]

    await eventually_async(followed)


async def test_the_parking_place_goes_with_its_subscription_and_stays_at_a_seek(
    log: LogMaker, subscriber: Subscriber
) -> None:
    log.groups(2)
    stream = await subscriber.open()
    await stream.until_events(2)
    assert await settle(stream, *(item(each, PARK) for each in stream.events)) == [COMMITTED] * 2
    earliest = stream_pb2.Start(point=stream_pb2.START_POINT_EARLIEST)
    await subscriber.stub.SeekSubscription(sync_service_pb2.SeekSubscriptionRequest(name="s-1", to=earliest))
    again = await subscriber.open()
    log.groups(1)
    await again.until_events(1)
    assert len((await subscriber.parked()).parked) == 2
    await subscriber.stub.DeleteSubscription(sync_service_pb2.DeleteSubscriptionRequest(name="s-1"))
    anew = await subscriber.open()
    await anew.until_events(3)
    assert not (await subscriber.parked()).parked


async def test_lag_counts_what_is_not_finished_and_what_is_parked(log: LogMaker, subscriber: Subscriber) -> None:
    log.group("o-1", size=2)
    log.group("o-2", size=3)
    half_a_second = Duration(nanos=500_000_000)
    stream = await subscriber.open(heartbeat_interval=half_a_second)
    await stream.until_events(5)
    first, *others = (event for event in stream.events if event.order_id == "o-2")
    assert await settle(stream, item(first, PARK), *map(item, others)) == [COMMITTED] * 3
    while (lag := await stream.until("lag")).parked == 0:
        pass
    assert (lag.unacked, lag.parked, lag.blocking_order_id) == (2, 1, "o-1")
    assert await settle(stream, *(item(each) for each in stream.events if each.order_id == "o-1")) == [COMMITTED] * 2
    lag = await stream.until("lag")
    assert (lag.unacked, lag.parked, lag.blocking_order_id) == (0, 1, "")
    stream.call.cancel()
    asked = await subscriber.stub.GetLag(sync_service_pb2.GetLagRequest(name="s-1"))
    assert asked.lag.parked == 1
