"""What every source of events promises, and what the order stream does beyond it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, closing

import pytest

from infra.kernel.position import (
    LogEpochChangedError,
    Position,
    PositionAheadError,
    PositionError,
    PositionExpiredError,
)
from infra.runtime.grpc import server
from infra.runtime.grpc.channel import open_channel
from sync.adapters import order_source
from sync.adapters.kafka_source import KafkaSource
from sync.adapters.order_source import OrderSource
from sync.application.ports import EventSource, SourceUnavailableError
from sync.domain.log import Batch
from tests.harness.kafka_broker import Kafka
from tests.harness.kafka_log import PublishingLog
from tests.harness.sync_log import LogMaker
from tests.harness.sync_order_server import FakeOrderService, serve_orders
from tests.harness.waiting import eventually


class Sourced:
    """A source and the log behind it."""

    def __init__(self, log: LogMaker, source: EventSource, fake: FakeOrderService | None = None) -> None:
        self.log = log
        self.source = source
        self.fake = fake

    def forget(self, shard: int, seq: int) -> None:
        """Nothing keeps what is below."""
        self.log.source.trim(shard, seq)
        if isinstance(self.log, PublishingLog):
            self.log.topic.forget(shard, seq - 1)


@pytest.fixture(params=["memory", "order stream", "kafka"])
async def sourced(request: pytest.FixtureRequest) -> AsyncIterator[Sourced]:
    if request.param == "kafka":
        kafka: Kafka = request.getfixturevalue("kafka")
        async for each in _on_kafka(kafka):
            yield each
        return
    log = LogMaker()
    if request.param == "memory":
        yield Sourced(log, log.source)
        return
    async for each in _ordered(log):
        yield each


@pytest.fixture(params=["order stream", "kafka"])
async def served(request: pytest.FixtureRequest) -> AsyncIterator[Sourced]:
    """A source that has an Order Service."""
    source = _on_kafka(request.getfixturevalue("kafka")) if request.param == "kafka" else _ordered(LogMaker())
    async for each in source:
        yield each


@pytest.fixture
async def ordered() -> AsyncIterator[Sourced]:
    async for each in _ordered(LogMaker()):
        yield each


async def _ordered(log: LogMaker) -> AsyncIterator[Sourced]:
    fake = FakeOrderService(log)
    async with AsyncExitStack() as stack:
        channel = await stack.enter_async_context(open_channel(await stack.enter_async_context(serve_orders(fake))))
        yield Sourced(log, OrderSource(channel, name="sync-read-model"), fake)


async def _on_kafka(kafka: Kafka) -> AsyncIterator[Sourced]:
    with closing(PublishingLog(kafka)) as log:
        await log.topic.admin.apply()
        async for each in _ordered(log):
            yield Sourced(log, KafkaSource(each.source, kafka.cluster, topic_prefix=kafka.prefix), each.fake)


async def read(
    source: EventSource, start: Position, until: Position, shards: tuple[int, ...] = (0, 1, 2)
) -> list[Batch]:
    """What the source brings from `start` until `until` is reached, checked to be dense."""
    found = []
    async with aclosing(source.read(start, shards)) as batches:
        async for batch in batches:
            assert start.next_seq[batch.shard] == batch.first_seq
            assert list(range(batch.first_seq, batch.last_seq + 1)) == [event.seq for event in batch.events]
            assert batch.events[-1].ends_group
            start = start.moved({batch.shard: batch.last_seq + 1})
            found.append(batch)
            if all(start.next_seq[shard] >= until.next_seq[shard] for shard in shards):
                return found
    raise AssertionError("a reader ended by itself")


async def follow(source: EventSource, start: Position) -> None:
    """What it brings is dropped."""
    async with asyncio.timeout(20), aclosing(source.follow(start)) as arrivals:
        async for _ in arrivals:
            continue


async def test_a_reader_gets_everything_from_its_position_on(sourced: Sourced) -> None:
    sourced.log.groups(20, size=2)
    middle = sourced.log.position
    sourced.log.groups(20, size=2)
    found = await read(sourced.source, middle, sourced.log.position)
    assert sourced.log.events[40:] == sorted(
        (event for batch in found for event in batch.events), key=sourced.log.events.index
    )


async def test_it_says_when_the_events_behind_a_position_were_recorded(sourced: Sourced) -> None:
    for second in range(30):
        sourced.log.group(size=2, record_time_us=1_000_000 * second)
    position = sourced.log.earliest.moved({0: 4, 1: 5, 2: 0})
    expected = {
        batch.shard: event.record_time_us
        for batch in sourced.log.batches
        for event in batch.events
        if event.seq == position.next_seq[batch.shard]
    }
    assert expected == await sourced.source.record_times(position, [0, 1])
    with pytest.raises(PositionAheadError):
        await sourced.source.record_times(position.moved({1: 99}), [1])


async def test_a_reader_gets_the_shards_that_it_asks_for(sourced: Sourced) -> None:
    sourced.log.groups(30)
    start = sourced.log.earliest._replace(next_seq=(0, 1, 0), filter_hash=b"12345678")
    found = await read(sourced.source, start, sourced.log.position, (1,))
    assert {1} == {batch.shard for batch in found}


async def test_many_read_at_once_beside_the_one_who_follows(sourced: Sourced) -> None:
    sourced.log.groups(10)
    start = sourced.log.earliest
    async with aclosing(sourced.source.follow(start)) as arrivals:
        async for arrival in arrivals:
            for _ in range(3):
                await read(sourced.source, sourced.log.earliest, sourced.log.position)
            start = start.moved({batch.shard: batch.last_seq + 1 for batch in arrival})
            if start == sourced.log.position:
                break


async def test_it_knows_the_orders_that_the_log_tells_of_no_longer(sourced: Sourced) -> None:
    sourced.log.groups(20, size=2)
    sourced.forget(1, sourced.log.position.next_seq[1])
    expected = {event.order.order_id: event.order for event in sourced.log.events}
    async with aclosing(sourced.source.orders()) as pages:
        found = [order async for page in pages for order in page]
    assert {order.order_id: order for order in found} == expected


async def test_the_head_is_where_the_log_stands(sourced: Sourced) -> None:
    sourced.log.groups(10)
    sourced.log.source.trim(1, 2)
    head = await sourced.source.head()
    assert (sourced.log.log_epoch, sourced.log.position.next_seq) == (head.log_epoch, head.next_seq)
    assert head.earliest_seq == (1, 2, 1)
    assert head.read_time_us > 0


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"log_epoch": "another"}, LogEpochChangedError),
        ({"next_seq": (99, 1, 1)}, PositionAheadError),
        ({"next_seq": (1, 1, 1)}, PositionExpiredError),
    ],
)
async def test_a_position_that_cannot_be_read_from_is_refused(
    sourced: Sourced, change: dict[str, object], error: type[PositionError]
) -> None:
    sourced.log.groups(10)
    if error is PositionExpiredError:
        sourced.forget(2, 2)
    start = sourced.log.earliest._replace(**change)  # type: ignore[arg-type]  # one field each
    with pytest.raises(error):
        await read(sourced.source, start, sourced.log.position)
    with pytest.raises(error):
        await follow(sourced.source, start)


async def test_go_away_means_to_come_again_where_it_stopped(ordered: Sourced) -> None:
    assert ordered.fake is not None
    ordered.log.groups(30)
    ordered.fake.leave_after_batches = 1
    await read(ordered.source, ordered.log.earliest, ordered.log.position)
    first, second = ordered.fake.openings
    assert list(first.start.position.next_seq) != list(second.start.position.next_seq)


async def test_the_ingest_grants_back_what_it_has_taken() -> None:
    log = LogMaker()
    log.groups(30)
    fake = FakeOrderService(log)
    async with serve_orders(fake) as address, open_channel(address) as channel:
        source = OrderSource(channel, name="sync-read-model")
        async with aclosing(source.follow(log.earliest)) as arrivals:
            for _ in range(3):
                await anext(arrivals)
            log.group()
            await anext(arrivals)
            await eventually(lambda: sum(grant.events for grant in fake.grants) == 30)
        assert fake.openings[0].credit.events > 0
        assert sum(event.size for event in log.events[:30]) == sum(grant.bytes for grant in fake.grants)


async def test_what_is_durable_is_told_to_the_log_whatever_carries_it(
    served: Sourced, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order_source, "_HOLD_SECONDS", 0.0)
    fake, log = served.fake, served.log
    assert fake is not None
    log.groups(30)
    for _ in range(3):
        await served.source.confirm(log.position)
    assert [list(ack.through.next_seq) for ack in fake.acks] == [list(log.position.next_seq)], "once is enough"
    assert [(each.subscription, each.credit.events) for each in fake.subscriptions] == [("sync-read-model", 0)]
    log.groups(5)
    tasks = len(asyncio.all_tasks())
    await served.source.confirm(log.position)
    await eventually(lambda: len(asyncio.all_tasks()) <= tasks)
    assert list(fake.acks[-1].through.next_seq) == list(log.position.next_seq)


async def test_a_log_that_is_away_is_told_later(served: Sourced, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order_source, "_HOLD_SECONDS", 0.0)
    monkeypatch.setattr(order_source, "_HEAD_SECONDS", 0.2)
    assert served.fake is not None
    served.fake.hears.clear()
    await served.source.confirm(served.log.position)
    served.fake.hears.set()
    monkeypatch.setattr(order_source, "_HEAD_SECONDS", 20.0)
    await served.source.confirm(served.log.position)
    assert served.fake.acks


async def test_a_source_outlives_its_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_GOODBYE_SECONDS", 0.0)  # it dies: neither side has said goodbye
    log = LogMaker()
    log.groups(10)
    fake = FakeOrderService(log)
    async with AsyncExitStack() as stack:
        async with serve_orders(fake) as address:
            source = OrderSource(await stack.enter_async_context(open_channel(address)), name="sync-read-model")
            arrivals = await stack.enter_async_context(aclosing(source.follow(log.earliest)))
            seen = {event.seq for batch in await anext(arrivals) for event in batch.events}
            assert seen
        with pytest.raises(SourceUnavailableError):
            await source.head()
        async with serve_orders(fake, address):
            log.groups(5)
            total = len(seen)
            async for arrival in arrivals:
                total += sum(len(batch.events) for batch in arrival)
                if total == 15:
                    break
        assert len(fake.openings) > 1


async def test_streams_that_break_leave_nothing_behind(ordered: Sourced) -> None:
    assert ordered.fake is not None
    ordered.log.groups(3)
    async with aclosing(ordered.source.follow(ordered.log.earliest)) as arrivals:
        await anext(arrivals)
        tasks = len(asyncio.all_tasks())
    ordered.fake.breaks = 5
    async with aclosing(ordered.source.follow(ordered.log.earliest)) as arrivals:
        await anext(arrivals)
        assert len(ordered.fake.openings) == 1 + 6
        await eventually(lambda: len(asyncio.all_tasks()) <= tasks)
