"""What turning positions into offsets promises, and back, on a topic in memory and on a real one."""

from collections.abc import AsyncIterator, Callable
from itertools import groupby
from operator import attrgetter
from typing import Protocol

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from infra.kernel.position import Position, PositionMalformedError
from infra.runtime.kafka.lookup import FoundTopic, Lookup
from infra.runtime.topics import EVENTS
from sync.adapters.kafka_places import open_offsets
from sync.adapters.memory_offsets import MemoryOffsets
from sync.application.offset_ports import Offsets
from sync.domain.errors import OffsetAheadError, OffsetExpiredError
from sync.domain.offsets import TopicOffsets
from tests.harness.kafka_broker import Kafka
from tests.harness.kafka_log import TopicWriter, message_of
from tests.harness.sync_log import LogMaker


class Topic(Protocol):
    """The topic under test, in the hands of a relay and of a broker."""

    def keep_up(self) -> None:
        """Publishes what was recorded since the last call, in one transaction."""

    def expire(self, first: int) -> None:
        """Forgets what lies before the offset, in every partition; all there is for -1."""


class Placed:
    """A log, its topic, and what translates between them."""

    def __init__(self, log: LogMaker, topic: Topic, offsets: Offsets) -> None:
        self.log = log
        self.topic = topic
        self.offsets = offsets

    async def find(self, position: Position) -> TopicOffsets:
        return await self.offsets.find(position, await self.log.source.head())

    async def position(self, *next_offset: int, topic: str = "") -> Position:
        asked = TopicOffsets(topic=topic, next_offset=next_offset)
        return await self.offsets.position(asked, await self.log.source.head())

    def grow(self, groups: int, *, size: int = 1) -> Position:
        """More of the log, on the topic; the position before it."""
        before = self.log.position
        self.log.groups(groups, size=size)
        self.topic.keep_up()
        return before


class _InMemory:
    def __init__(self, log: LogMaker, offsets: MemoryOffsets) -> None:
        self._log, self._offsets, self._published = log, offsets, 0

    def keep_up(self) -> None:
        events, self._published = self._log.events[self._published :], len(self._log.events)
        shard = attrgetter("shard")
        for number, messages in groupby(sorted(map(message_of, events), key=shard), key=shard):
            self._offsets.publish(number, [message.seq for message in messages])

    def expire(self, first: int) -> None:
        for partition in range(self._log.shards):
            self._offsets.expire(partition, first)


class _OnKafka(TopicWriter):
    def expire(self, first: int) -> None:
        parts = [TopicPartition(EVENTS.name(self.kafka.prefix), each, first) for each in range(self.log.shards)]
        client = AdminClient({"bootstrap.servers": self.kafka.servers})
        for future in client.delete_records(parts).values():
            future.result(10)


@pytest.fixture(params=["memory", "kafka"])
async def placed(request: pytest.FixtureRequest) -> AsyncIterator[Placed]:
    log = LogMaker()
    if request.param == "memory":
        memory = MemoryOffsets(EVENTS.base_name, log.shards)
        yield Placed(log, _InMemory(log, memory), memory)
        return
    kafka: Kafka = request.getfixturevalue("kafka")
    topic = _OnKafka(kafka, log)
    await topic.admin.apply()
    async with open_offsets(kafka.cluster, topic_prefix=kafka.prefix) as offsets:
        yield Placed(log, topic, offsets)


async def test_every_position_comes_back_from_its_offsets(placed: Placed) -> None:
    for size in (1, 2, 3):
        placed.grow(20, size=size)
    for position in [placed.grow(7), placed.grow(7), placed.log.earliest, placed.log.position]:
        found = await placed.find(position)
        assert found.expired == ()
        assert position == await placed.position(*found.next_offset, topic=found.topic)
    middle = placed.log.earliest.moved({0: 9, 1: 10, 2: 11})
    assert middle == await placed.position(*(await placed.find(middle)).next_offset)


async def test_what_a_position_says_nothing_about_stays_unsaid(placed: Placed) -> None:
    placed.grow(20)
    one = Position(log_epoch=placed.log.log_epoch, next_seq=(0, 4, 0))
    found = await placed.find(one)
    assert (found.next_offset[0], found.next_offset[2]) == (-1, -1)
    assert one == await placed.position(*found.next_offset)


async def test_an_offset_between_records_is_that_of_the_next_one(placed: Placed) -> None:
    """Transactions leave markers behind their records: no record has such an offset."""
    placed.grow(12)
    at = placed.grow(12)
    record = (await placed.find(at)).next_offset
    assert at == await placed.position(*(offset - 1 for offset in record))


async def test_a_position_beyond_the_topic_is_read_from_its_last_record_on(placed: Placed) -> None:
    placed.grow(20)
    published = placed.log.position
    at_the_end = await placed.find(published)
    placed.log.groups(20)
    assert at_the_end == await placed.find(placed.log.position)
    assert published == await placed.position(*at_the_end.next_offset)


async def test_an_empty_topic_begins_with_what_the_log_keeps(placed: Placed) -> None:
    placed.log.groups(20)
    placed.log.source.trim(1, 3)
    assert (await placed.position(0, 0, -1)).next_seq == (1, 3, 0)
    assert (await placed.find(placed.log.earliest.moved({1: 3}))).next_offset == (0, 0, 0)


async def test_what_retention_has_taken_is_told_and_never_jumped_over(placed: Placed) -> None:
    placed.grow(30)
    placed.topic.expire(4)
    found = await placed.find(placed.log.earliest.moved({1: 5}))
    assert (found.expired, found.next_offset) == ((0, 2), (-1, 4, -1))
    assert (await placed.position(4, 4, 4)).next_seq == (5, 5, 5)
    with pytest.raises(OffsetExpiredError, match="offset 3 of partition 1 is no longer kept, the first is 4"):
        await placed.position(4, 3, 4)


async def test_what_retention_takes_during_a_look_is_looked_at_again(
    placed: Placed, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed.grow(30)
    ends = Lookup.ends

    def then_expired(lookup: Lookup, topic: FoundTopic) -> dict[int, tuple[int, int]]:
        found = ends(lookup, topic)
        placed.topic.expire(4)
        return found

    monkeypatch.setattr(Lookup, "ends", then_expired)
    if isinstance(placed.topic, _InMemory):
        placed.topic.expire(4)  # a look of the twin is one instant
    assert (await placed.find(placed.log.earliest)).expired == (0, 1, 2)


async def test_where_retention_has_taken_all_only_the_head_is_left(placed: Placed) -> None:
    placed.grow(30)
    head = placed.log.position
    placed.topic.expire(-1)
    found = await placed.find(head)
    assert found.expired == ()
    assert (await placed.find(placed.log.earliest)).expired == (0, 1, 2)
    with pytest.raises(OffsetExpiredError):  # nothing is left that would say which seq comes there
        await placed.position(*found.next_offset)
    placed.log.groups(30)
    placed.topic.keep_up()
    assert head == await placed.position(*found.next_offset)


@pytest.mark.parametrize(
    ("next_offset", "topic", "refusal", "message"),
    [
        ((0, 0, 999), "", OffsetAheadError, "offset 999 of partition 2 is beyond the topic's end"),
        ((0, 0), "", PositionMalformedError, "has 3 partitions"),
        ((0, 0, 0, 0), "", PositionMalformedError, "has 3 partitions"),
        ((), "", PositionMalformedError, "has 3 partitions"),
        ((0, -2, 0), "", PositionMalformedError, "for each, or -1"),
        ((0, 0, 0), "payments", PositionMalformedError, "offsets of topic 'payments'; this server reads"),
    ],
)
async def test_a_place_that_the_topic_does_not_have_is_refused(
    placed: Placed, next_offset: tuple[int, ...], topic: str, refusal: Callable[..., Exception], message: str
) -> None:
    placed.grow(9)
    with pytest.raises(refusal, match=message):  # type: ignore[call-overload]  # each is a class of errors
        await placed.position(*next_offset, topic=topic)
