"""What reading the log from Kafka does beyond what every source promises: it finds its place, and what is missing."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from stateset.stream.v1 import stream_pb2

from infra.kernel.position import Position
from infra.runtime.grpc.channel import open_channel
from infra.runtime.kafka.admin import TopicAdmin
from infra.runtime.lifespan import StartupError
from infra.runtime.topics import EVENTS
from sync.adapters import kafka_source
from sync.adapters.kafka_source import KafkaSource
from sync.adapters.order_source import OrderSource
from sync.domain.errors import LogHoleError
from sync.domain.log import Batch
from tests.harness.kafka_broker import BrokerProcess, Kafka, local_broker
from tests.harness.kafka_log import TopicWriter
from tests.harness.kafka_topics import stray
from tests.harness.sync_client import PLENTY, open_server, start_at
from tests.harness.sync_log import LogMaker
from tests.harness.sync_order_server import FakeOrderService, serve_orders
from tests.harness.waiting import eventually


class OnKafka:
    """A log, the Order Service that has it, the topic that has as much as the test wants, and a source."""

    def __init__(self, kafka: Kafka, orders: OrderSource, fake: FakeOrderService, log: LogMaker) -> None:
        self.kafka = kafka
        self.orders = orders
        self.fake = fake
        self.log = log
        self.topic = TopicWriter(kafka, log)
        self.source = self.reader()

    def reader(self, *, stall_seconds: float = 10.0) -> KafkaSource:
        return KafkaSource(self.orders, self.kafka.cluster, topic_prefix=self.kafka.prefix, stall_seconds=stall_seconds)

    async def read(
        self, start: Position, *, within_seconds: float = 20, source: KafkaSource | None = None, until: int = 0
    ) -> list[Batch]:
        """What the source brings up to the log's end, once it has so many events; dense and in whole groups."""
        found = []
        async with asyncio.timeout(within_seconds), aclosing((source or self.source).follow(start)) as arrivals:
            async for arrival in arrivals:
                for batch in arrival:
                    assert start.next_seq[batch.shard] == batch.first_seq
                    assert list(range(batch.first_seq, batch.last_seq + 1)) == [event.seq for event in batch.events]
                    assert batch.events[-1].ends_group
                    start = start.moved({batch.shard: batch.last_seq + 1})
                    found.append(batch)
                if start == self.log.position and len(self.log.events) >= until:
                    return found
        raise AssertionError("a reader ended by itself")


@pytest.fixture
async def on_kafka(kafka: Kafka) -> AsyncIterator[OnKafka]:
    async with AsyncExitStack() as stack:
        log = LogMaker()
        fake = FakeOrderService(log)
        channel = await stack.enter_async_context(open_channel(await stack.enter_async_context(serve_orders(fake))))
        made = OnKafka(kafka, OrderSource(channel, name="sync-read-model"), fake, log)
        await made.topic.admin.apply()
        yield made


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BrokerProcess]:
    with local_broker(tmp_path) as process:
        yield process


def filled() -> float:
    return REGISTRY.get_sample_value("stateset_sync_filled_events_total") or 0.0


def refused() -> float:
    return REGISTRY.get_sample_value("stateset_sync_consumers_reopened_total", {"why": "refused"}) or 0.0


def reopened() -> float:
    found = [metric for metric in REGISTRY.collect() if metric.name == "stateset_sync_consumers_reopened"]
    return sum(sample.value for metric in found for sample in metric.samples if sample.name.endswith("_total"))


def passed_over(topic: str) -> float:
    return REGISTRY.get_sample_value("stateset_kafka_foreign_records_total", {"topic": topic}) or 0.0


def other_admin(on_kafka: OnKafka) -> TopicAdmin:
    return TopicAdmin(on_kafka.kafka.cluster, shards=on_kafka.log.shards + 1, prefix=on_kafka.kafka.prefix)


async def test_every_position_finds_its_offset_among_markers_and_records_that_were_taken_back(
    on_kafka: OnKafka,
) -> None:
    positions = [on_kafka.log.earliest]
    for size in (1, 2, 3) * 2:
        on_kafka.log.groups(5, size=size)
        on_kafka.topic.keep_up()
        on_kafka.topic.publish(on_kafka.log.events[-7:], times=2)
        positions.append(on_kafka.log.position)
    before = filled()
    on_kafka.log.group()
    on_kafka.topic.keep_up()
    for position in positions:
        await on_kafka.read(position)
    assert before == filled()
    assert on_kafka.fake.openings == []


async def test_records_that_were_taken_back_and_came_again_are_handed_on_once(on_kafka: OnKafka) -> None:
    on_kafka.log.groups(30, size=2)
    on_kafka.topic.publish(on_kafka.log.events[:31], times=2)
    on_kafka.topic.publish(on_kafka.log.events[31:])
    await on_kafka.read(on_kafka.log.earliest)


async def test_records_that_are_not_ours_are_passed_over_and_counted(on_kafka: OnKafka) -> None:
    topic = EVENTS.name(on_kafka.kafka.prefix)
    positions = [on_kafka.log.earliest]
    for _ in range(3):
        stray(on_kafka.kafka, topic, 0, 2, records=20)  # more than a look at the end begins with
        on_kafka.log.groups(600)  # more than a search ends with
        on_kafka.topic.keep_up()
        positions.append(on_kafka.log.position)
    stray(on_kafka.kafka, topic, 0, 2, records=20)
    before = filled(), reopened()
    for position in positions[:-1]:
        await on_kafka.read(position)
    assert passed_over(topic) == 4 * 2 * 20
    reading = asyncio.create_task(on_kafka.read(positions[-1], until=2_000), name="reading")
    on_kafka.log.groups(100)
    on_kafka.topic.keep_up()
    stray(on_kafka.kafka, topic, 1)
    on_kafka.log.groups(100)
    on_kafka.topic.keep_up()
    await reading
    assert before == (filled(), reopened())
    assert on_kafka.fake.openings == []


async def test_a_partition_that_ends_with_too_many_records_that_are_not_ours_is_refused(on_kafka: OnKafka) -> None:
    on_kafka.log.groups(30)
    on_kafka.topic.keep_up()
    topic = EVENTS.name(on_kafka.kafka.prefix)
    stray(on_kafka.kafka, topic, 1, records=5_000)
    with pytest.raises(StartupError, match=rf"topic {topic}: partition 1 .* not ours.*`stateset topics reset`"):
        await on_kafka.read(on_kafka.log.earliest)


async def test_what_retention_has_taken_comes_from_the_order_service(on_kafka: OnKafka) -> None:
    on_kafka.log.groups(60)
    on_kafka.topic.keep_up()
    for shard in range(on_kafka.log.shards):
        on_kafka.topic.forget(shard, 10)
    before = filled()
    await on_kafka.read(on_kafka.log.earliest)
    assert filled() >= before + 30
    assert on_kafka.fake.openings


async def test_a_hole_in_the_topic_is_filled_by_the_order_service(on_kafka: OnKafka) -> None:
    on_kafka.log.groups(30, size=2)
    on_kafka.topic.keep_up()
    on_kafka.log.groups(6, size=2)
    on_kafka.topic.skip()
    on_kafka.log.groups(30, size=2)
    on_kafka.topic.keep_up()
    before = filled()
    await on_kafka.read(on_kafka.log.earliest)
    assert filled() > before


async def test_a_hole_that_the_order_service_has_too_is_a_hole(on_kafka: OnKafka) -> None:
    on_kafka.log.groups(30)
    on_kafka.topic.keep_up()
    [lost] = on_kafka.log.groups(1)
    on_kafka.topic.skip()
    on_kafka.log.groups(30)
    on_kafka.topic.keep_up()
    on_kafka.fake.keep = lambda batch: (
        not batch.first_seq <= lost.first_seq <= batch.last_seq or batch.shard != lost.shard
    )
    with pytest.raises(LogHoleError) as hole:
        await on_kafka.read(on_kafka.log.earliest)
    assert (lost.shard, lost.first_seq) == (hole.value.shard, hole.value.expected)


async def test_what_the_log_was_trimmed_of_comes_from_the_topic(on_kafka: OnKafka) -> None:
    on_kafka.log.groups(60)
    on_kafka.topic.keep_up()
    for shard, seq in enumerate(on_kafka.log.position.next_seq):
        on_kafka.log.source.trim(shard, seq)
    await on_kafka.read(on_kafka.log.earliest)
    assert on_kafka.fake.openings == []


async def test_a_hole_is_none_while_the_order_service_is_away(
    on_kafka: OnKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_source, "_FILL_SECONDS", 0.2)
    on_kafka.log.groups(30)
    on_kafka.topic.skip()
    on_kafka.log.groups(30)
    on_kafka.topic.keep_up()
    on_kafka.fake.keep = lambda _: False
    on_kafka.log.source.available = False
    reading = asyncio.create_task(on_kafka.read(on_kafka.log.earliest), name="reading")
    await eventually(lambda: len(on_kafka.fake.openings) > 2 or reading.done())
    on_kafka.fake.keep = lambda _: True
    on_kafka.log.source.available = True
    await reading


async def test_a_topic_that_stands_still_while_the_log_goes_on_is_made_up_for(on_kafka: OnKafka) -> None:
    on_kafka.log.groups(30)
    on_kafka.topic.keep_up()
    on_kafka.log.groups(30)
    await on_kafka.read(on_kafka.log.earliest, source=on_kafka.reader(stall_seconds=1))


async def test_a_topic_that_is_made_anew_under_a_reader_leaves_nothing_out(on_kafka: OnKafka) -> None:
    on_kafka.log.groups(60)
    on_kafka.topic.keep_up()
    start = on_kafka.log.earliest
    async with asyncio.timeout(40), aclosing(on_kafka.reader(stall_seconds=2).follow(start)) as arrivals:
        async for arrival in arrivals:
            for batch in arrival:
                assert start.next_seq[batch.shard] == batch.first_seq
                start = start.moved({batch.shard: batch.last_seq + 1})
            if start == on_kafka.log.position:
                if len(on_kafka.log.events) > 60:
                    break
                await on_kafka.topic.admin.reset()
                on_kafka.log.groups(10)
                on_kafka.topic.publish(on_kafka.log.events)


async def test_another_logs_topic_is_refused_in_one_line(on_kafka: OnKafka) -> None:
    other = LogMaker(log_epoch="another")
    other.groups(10)
    TopicWriter(on_kafka.kafka, other).keep_up()
    on_kafka.log.groups(3)
    with pytest.raises(StartupError, match=r"holds log another.*stateset topics reset.*--topic-prefix"):
        await on_kafka.read(on_kafka.log.earliest)


async def test_another_number_of_partitions_is_refused_in_one_line(on_kafka: OnKafka) -> None:
    await other_admin(on_kafka).reset()
    with pytest.raises(StartupError, match=r"has 4 partitions, the log 3 shards: `stateset topics reset --shards 3`"):
        await on_kafka.read(on_kafka.log.earliest)


async def test_a_topic_that_is_made_wrong_under_a_reader_is_waited_for_until_it_is_right(on_kafka: OnKafka) -> None:
    on_kafka.log.groups(30)
    on_kafka.topic.keep_up()
    await on_kafka.read(on_kafka.log.earliest)
    start = on_kafka.log.position
    on_kafka.log.groups(30)
    before = refused()
    await other_admin(on_kafka).reset()
    reading = asyncio.create_task(on_kafka.read(start, within_seconds=60), name="reading")
    await eventually(lambda: refused() > before)
    await on_kafka.topic.admin.reset()
    on_kafka.topic.publish(on_kafka.log.events)
    await reading


async def test_a_topic_that_another_log_has_taken_under_a_reader_is_waited_for_until_it_is_right(
    on_kafka: OnKafka,
) -> None:
    start = on_kafka.log.earliest
    on_kafka.log.groups(30)
    on_kafka.topic.keep_up()
    await on_kafka.read(start)
    await on_kafka.topic.admin.reset()
    other = LogMaker(log_epoch="another")
    other.groups(10)
    TopicWriter(on_kafka.kafka, other).keep_up()
    before = refused()
    reading = asyncio.create_task(on_kafka.read(start, within_seconds=60), name="reading")
    await eventually(lambda: refused() > before)
    await on_kafka.topic.admin.reset()
    on_kafka.topic.publish(on_kafka.log.events)
    await reading


async def test_a_broker_that_is_killed_is_waited_for(broker: BrokerProcess) -> None:
    async with AsyncExitStack() as stack:
        log = LogMaker()
        fake = FakeOrderService(log)
        channel = await stack.enter_async_context(open_channel(await stack.enter_async_context(serve_orders(fake))))
        made = OnKafka(
            Kafka(servers=broker.address, prefix=""), OrderSource(channel, name="sync-read-model"), fake, log
        )
        await made.topic.admin.apply()
        log.groups(30)
        made.topic.keep_up()
        reading = asyncio.create_task(made.read(log.earliest), name="first")
        await reading
        broker.kill()
        start = log.position
        log.groups(30)
        reading = asyncio.create_task(made.read(start, within_seconds=60), name="second")
        await asyncio.to_thread(broker.start)
        await asyncio.to_thread(made.topic.keep_up)
        await reading


async def test_a_subscriber_moves_between_kafka_and_the_direct_stream_by_its_position(on_kafka: OnKafka) -> None:
    on_kafka.log.groups(30, size=2)
    on_kafka.topic.keep_up()
    position = on_kafka.log.earliest
    seen: list[tuple[int, int]] = []
    for source in (on_kafka.source, on_kafka.orders, on_kafka.source):
        async with open_server(source) as client:
            stream = await client.subscribe(stream_pb2.Open(start=start_at(position), credit=PLENTY))
            await stream.until_events(len(on_kafka.log.events) - len(seen), within_seconds=20)
            seen += [(event.shard, event.seq) for event in stream.events]
            position = position._replace(next_seq=tuple(stream.next_seqs[shard] for shard in range(3)))
        on_kafka.log.groups(10, size=2)
        on_kafka.topic.keep_up()
    assert len(seen) == len(set(seen)) == 100
