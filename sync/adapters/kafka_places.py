"""Positions and the offsets of the events topic, one turned into the other; see `ports.Offsets`."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from typing import Final, TypeVar

from confluent_kafka import Message

from infra.kernel.position import LogEpochChangedError, Position
from infra.runtime.kafka.cluster import Cluster
from infra.runtime.kafka.errors import BrokerError, ForeignRecordError, OffsetGoneError, TopicMissingError
from infra.runtime.kafka.headers import is_ours, place_of
from infra.runtime.kafka.lookup import FoundTopic, Lookup, partition_of
from infra.runtime.topics import EVENTS
from sync.adapters.kafka_offsets import OtherLogError, partitions_of, record_of, starts_of
from sync.application.offset_ports import BusBusyError, BusRefusedError, BusUnavailableError
from sync.domain.log import LogHead
from sync.domain.offsets import UNSAID, TopicOffsets, check_offsets, offset_of, seq_at

T = TypeVar("T")

_AT_ONCE: Final = 2  # each is a thread and some connections to the broker, for a tenth of a second mostly
_WAITING_MAX: Final = 16  # behind those a caller would wait in vain
_LOOKS_MAX: Final = 3


class KafkaOffsets:
    """Looks records up that are committed, as other teams' consumers see them. Each question is a look of its own."""

    def __init__(self, cluster: Cluster, topic: str, threads: Executor) -> None:
        self._cluster = cluster
        self._topic = topic
        self._threads = threads
        self._asked = 0

    async def find(self, position: Position, head: LogHead) -> TopicOffsets:
        """See `Offsets.find`."""
        return await self._look(lambda lookup: _find(lookup, self._described(lookup, head), position, head))

    async def position(self, offsets: TopicOffsets, head: LogHead) -> Position:
        """See `Offsets.position`."""
        return await self._look(lambda lookup: _position(lookup, self._described(lookup, head), offsets, head))

    async def _look(self, work: Callable[[Lookup], T]) -> T:
        if self._asked >= _WAITING_MAX:
            raise BusBusyError(_WAITING_MAX)
        self._asked += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._looked, work)
        finally:
            self._asked -= 1

    def _looked(self, work: Callable[[Lookup], T]) -> T:
        with _told_as_ours(self._topic):
            for _ in range(1, _LOOKS_MAX):
                with suppress(OffsetGoneError):  # retention passed between two questions: the next look knows
                    return self._looked_once(work)
            return self._looked_once(work)

    def _looked_once(self, work: Callable[[Lookup], T]) -> T:
        with closing(Lookup(self._cluster, committed=True)) as lookup:
            return work(lookup)

    def _described(self, lookup: Lookup, head: LogHead) -> FoundTopic:
        topic = lookup.topic(self._topic)
        if topic.partitions != len(head.next_seq):
            raise BusRefusedError(
                f"topic {topic.name} has {topic.partitions} partitions, the log {len(head.next_seq)} shards: "
                "`stateset topics diff` shows what differs"
            )
        return topic


@asynccontextmanager
async def open_offsets(cluster: Cluster, *, topic_prefix: str = "") -> AsyncIterator[KafkaOffsets]:
    """Looks at this broker; at the end, waits for whoever looks."""
    threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="kafka-offsets")
    try:
        yield KafkaOffsets(cluster, EVENTS.name(topic_prefix), threads)
    finally:
        await asyncio.to_thread(threads.shutdown, cancel_futures=True)


def _find(lookup: Lookup, topic: FoundTopic, position: Position, head: LogHead) -> TopicOffsets:
    partitions = partitions_of(lookup, topic, position.log_epoch)
    wanted = {
        number: seq
        for number, (seq, partition) in enumerate(zip(position.next_seq, partitions, strict=True))
        if seq and partition.last is not None and seq <= partition.last.seq
    }
    starts = starts_of(lookup, topic, partitions, wanted)

    def is_wanted(record: Message) -> bool:
        return is_ours(record) and place_of(record).seq >= wanted[partition_of(record)]

    found = lookup.first(topic, starts, wanted=is_wanted)
    offsets = [
        offset_of(seq, partitions[number], record_of(found.get(number)), head.next_seq[number]) if seq else UNSAID
        for number, seq in enumerate(position.next_seq)
    ]
    return TopicOffsets(
        topic=topic.name,
        next_offset=tuple(UNSAID if offset is None else offset for offset in offsets),
        expired=tuple(number for number, offset in enumerate(offsets) if offset is None),
    )


def _position(lookup: Lookup, topic: FoundTopic, offsets: TopicOffsets, head: LogHead) -> Position:
    partitions = partitions_of(lookup, topic, head.log_epoch)
    check_offsets(offsets, topic.name, partitions)
    starts = {
        number: offset
        for number, (offset, partition) in enumerate(zip(offsets.next_offset, partitions, strict=True))
        if offset != UNSAID and partition.last is not None and offset <= partition.last.offset
    }
    found = lookup.first(topic, starts, wanted=is_ours)
    seqs = (
        seq_at(number, offset, partitions[number], record_of(found.get(number)), head)
        for number, offset in enumerate(offsets.next_offset)
    )
    return Position(log_epoch=head.log_epoch, next_seq=tuple(seqs))


@contextmanager
def _told_as_ours(topic: str) -> Iterator[None]:
    try:
        yield
    except OtherLogError as error:
        raise LogEpochChangedError(error.found, error.wanted) from error
    except TopicMissingError as error:
        raise BusRefusedError(str(error)) from error
    except ForeignRecordError as error:
        raise BusRefusedError(f"{topic}: {error}") from error
    except BrokerError as error:
        raise BusUnavailableError(str(error)) from error
