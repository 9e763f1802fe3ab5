"""A consumer of the topic and a subscriber of a stream change places: no event is lost, none comes twice."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import grpc.aio
import pytest
from confluent_kafka import Consumer, TopicPartition
from grpc import StatusCode
from stateset.common.v1 import position_pb2
from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset.stream.v1 import stream_pb2
from stateset.sync.v1 import sync_service_pb2 as sync

from infra.kernel.position import Position
from infra.runtime.grpc.wire import position_to_wire
from infra.runtime.kafka.cluster import Cluster
from infra.runtime.topics import EVENTS
from sync.adapters.kafka_places import open_offsets
from tests.harness.kafka_broker import Kafka
from tests.harness.kafka_log import TopicWriter
from tests.harness.kafka_topics import stray
from tests.harness.sync_client import Client, open_server, refusal_of
from tests.harness.sync_log import LogMaker

EventKey = tuple[int, int]


@pytest.fixture
def log() -> LogMaker:
    return LogMaker()


@pytest.fixture
async def topic(kafka: Kafka, log: LogMaker) -> TopicWriter:
    topic = TopicWriter(kafka, log)
    await topic.admin.apply()
    return topic


@pytest.fixture
async def client(topic: TopicWriter, log: LogMaker) -> AsyncIterator[Client]:
    async with AsyncExitStack() as stack:
        kafka = topic.kafka
        offsets = await stack.enter_async_context(open_offsets(kafka.cluster, topic_prefix=kafka.prefix))
        yield await stack.enter_async_context(open_server(log.source, offsets=offsets))


def consumed(kafka: Kafka, at: sync.KafkaOffsets, count: int) -> tuple[list[EventKey], list[int]]:
    """What a consumer of another team reads from there on, and the offsets that it would commit."""
    consumer = Consumer(
        {"bootstrap.servers": kafka.servers, "group.id": "another", "isolation.level": "read_committed"}
    )
    starts = [TopicPartition(at.topic, number, offset) for number, offset in enumerate(at.next_offset)]
    consumer.assign(starts)
    next_offset = list(at.next_offset)
    found: list[EventKey] = []
    try:
        while len(found) < count:
            record = consumer.poll(20)
            assert record is not None
            assert record.error() is None, record.error()
            event = OrderEvent.FromString(record.value() or b"")
            found.append((event.shard, event.seq))
            next_offset[event.shard] = (record.offset() or 0) + 1
    finally:
        consumer.close()
    return found, next_offset


def behind(log: LogMaker, position: Position) -> set[EventKey]:
    return {
        (batch.shard, seq)
        for batch in log.batches
        for seq in range(batch.first_seq, batch.last_seq + 1)
        if seq >= position.next_seq[batch.shard]
    }


async def test_a_subscriber_goes_on_as_a_consumer_and_a_consumer_as_a_subscriber(
    client: Client, topic: TopicWriter, log: LogMaker
) -> None:
    log.groups(40, size=2)
    topic.publish(log.events[:31], times=2)
    topic.publish(log.events[31:])
    topic.skip()
    left_at = log.position
    log.groups(30, size=2)
    topic.keep_up()
    found = await client.stub.ResolvePosition(sync.ResolvePositionRequest(position=position_to_wire(left_at)))
    events, next_offset = consumed(topic.kafka, found.kafka, 45)
    assert len(set(events)) == 45
    assert set(events) <= behind(log, left_at)
    asked = sync.ResolvePositionRequest(kafka=sync.KafkaOffsets(next_offset=next_offset))
    back = (await client.stub.ResolvePosition(asked)).position
    stream = client.stream_events(stream_pb2.Open(start=stream_pb2.Start(position=back)))
    await stream.until_events(15)
    rest = [(event.shard, event.seq) for event in stream.events]
    assert sorted(events + rest) == sorted(behind(log, left_at))


async def test_records_that_are_not_ours_change_no_place(client: Client, topic: TopicWriter, log: LogMaker) -> None:
    places = []
    for _ in range(2):
        stray(topic.kafka, EVENTS.name(topic.kafka.prefix), 0, 1, 2, records=20)
        places.append(log.position)
        log.groups(40, size=2)
        topic.keep_up()
    stray(topic.kafka, EVENTS.name(topic.kafka.prefix), 0, 1, 2, records=20)
    for place in (*places, log.position):
        found = await client.stub.ResolvePosition(sync.ResolvePositionRequest(position=position_to_wire(place)))
        back = await client.stub.ResolvePosition(sync.ResolvePositionRequest(kafka=found.kafka))
        assert position_to_wire(place) == back.position


async def test_another_logs_topic_says_nothing_of_this_one(client: Client, topic: TopicWriter, log: LogMaker) -> None:
    other = LogMaker(log_epoch="another")
    other.groups(10)
    TopicWriter(topic.kafka, other).keep_up()
    log.groups(10)
    for asked in (
        sync.ResolvePositionRequest(position=position_to_wire(log.position)),
        sync.ResolvePositionRequest(kafka=sync.KafkaOffsets(next_offset=[0, 0, 0])),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await client.stub.ResolvePosition(asked)
        assert refusal_of(raised.value) == (StatusCode.FAILED_PRECONDITION, "LOG_EPOCH_CHANGED", [])


async def test_a_topic_that_is_not_there_is_told_with_what_to_do(kafka: Kafka, log: LogMaker) -> None:
    log.groups(3)
    async with (
        open_offsets(kafka.cluster, topic_prefix=f"{kafka.prefix}none.") as offsets,
        open_server(log.source, offsets=offsets) as client,
    ):
        with pytest.raises(grpc.aio.AioRpcError, match=r"stateset topics apply.*makes topic") as raised:
            await client.stub.ResolvePosition(sync.ResolvePositionRequest(position=_wire(log)))
        assert str(raised.value.details()).count("stateset topics") == 1
        assert refusal_of(raised.value) == (StatusCode.FAILED_PRECONDITION, "BUS_REFUSED", [])


async def test_a_broker_that_does_not_answer_is_unavailable(log: LogMaker) -> None:
    log.groups(3)
    async with (
        open_offsets(Cluster(servers="127.0.0.1:1")) as offsets,
        open_server(log.source, offsets=offsets) as client,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await client.stub.ResolvePosition(sync.ResolvePositionRequest(position=_wire(log)), timeout=60)
        assert refusal_of(raised.value) == (StatusCode.UNAVAILABLE, "BUS_UNAVAILABLE", [])


def _wire(log: LogMaker) -> position_pb2.Position:
    return position_to_wire(log.position)
