"""Single records of a topic: the last ones, and the first at or behind an offset. For finding one's place."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from infra.runtime.kafka.cluster import Cluster
from infra.runtime.kafka.errors import BrokerError, Ear, ForeignRecordError, broker_error, kafka_error
from infra.runtime.kafka.headers import is_ours

_ANSWER_SECONDS: Final = 3.0  # of one request, and of the silence between two records
_TAIL_RECORDS: Final = 16  # behind the last record lie markers, and perhaps what an undone transaction has left
_TAIL_GROWTH: Final = 16
_UNWANTED_MAX: Final = 1_000  # one after the other; reading back over more of them may take minutes
_FETCH_BYTES: Final = 65_536  # per partition and request: one record is wanted, not what follows it


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundTopic:
    """A topic as it is now; one that was deleted and made again has another id."""

    name: str
    topic_id: str
    partitions: int


def _any(_message: Message) -> bool:
    return True


class Lookup:
    """Looks records up, by partition. Every call blocks for a bounded time; all of them come from one thread.

    Every call raises BrokerError when the broker does not answer, TopicMissingError when the topic is not there.
    """

    def __init__(self, cluster: Cluster, *, committed: bool) -> None:
        """Readers of `committed` records see no record of a transaction that is open or was undone."""
        self._ear = Ear()
        client = {**cluster.client(self._ear.hear), "socket.nagle.disable": True}
        self._admin = AdminClient(client)
        self._consumer = Consumer(
            {
                **client,
                "group.id": "stateset.lookup",  # never joined, nothing is ever committed
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "isolation.level": "read_committed" if committed else "read_uncommitted",
                "fetch.wait.max.ms": 10,
                "max.partition.fetch.bytes": _FETCH_BYTES,
                "queued.max.messages.kbytes": 16 * _FETCH_BYTES // 1024,
                "fetch.queue.backoff.ms": 1,  # else a full queue stops fetching for a second
            }
        )

    def close(self) -> None:
        """Lets go of the broker at once: a failed call's error may keep this object, but not the clients' threads."""
        self._consumer.close()
        del self._consumer, self._admin

    def topic(self, name: str) -> FoundTopic:
        """The topic."""
        return self.topics([name])[0]

    def topics(self, names: Sequence[str]) -> list[FoundTopic]:
        """The topics, asked for at once."""
        with self._told(f"describing {', '.join(names)}"):
            futures = self._admin.describe_topics(TopicCollection(list(names)), request_timeout=_ANSWER_SECONDS)
            found = [futures[name].result(timeout=2 * _ANSWER_SECONDS) for name in names]
        return [
            FoundTopic(name=name, topic_id=str(each.topic_id), partitions=len(each.partitions))
            for name, each in zip(names, found, strict=True)
        ]

    def ends(self, topic: FoundTopic) -> dict[int, tuple[int, int]]:
        """Per partition its first offset, and the one behind its last. What is there need not be a record."""
        with self._told(f"asking for the ends of {topic.name}"):
            return {
                partition: self._consumer.get_watermark_offsets(
                    TopicPartition(topic.name, partition), timeout=_ANSWER_SECONDS, cached=False
                )
                for partition in range(topic.partitions)
            }

    def undecided(self, topic: FoundTopic) -> dict[int, int]:
        """By partition, the offset from which on it is not said whether records count, where there are such."""
        everything, committed = (
            self._latest(topic, level) for level in (IsolationLevel.READ_UNCOMMITTED, IsolationLevel.READ_COMMITTED)
        )
        return {partition: offset for partition, offset in committed.items() if offset < everything[partition]}

    def last(self, topic: FoundTopic, *, wanted: Callable[[Message], bool] = _any) -> dict[int, Message]:
        """The last record that is wanted, for each partition that has one.

        Raises:
            ForeignRecordError: A partition ends with so many that are not that it was not looked for any further.
        """
        ends = self.ends(topic)
        found: dict[int, Message] = {}
        span = _TAIL_RECORDS
        unread = {partition for partition, (first, behind) in ends.items() if first < behind}
        while unread:
            starts = {partition: max(ends[partition][0], ends[partition][1] - span) for partition in unread}
            unwanted: Counter[int] = Counter()
            for message in self._to_the_end(topic.name, starts):
                partition = partition_of(message)
                if wanted(message):
                    found[partition] = message
                else:
                    unwanted[partition] += 1
            unread = {each for each in unread - found.keys() if starts[each] > ends[each][0]}
            for each in unread:
                if unwanted[each] > _UNWANTED_MAX:
                    raise ForeignRecordError(f"partition {each} ends with {unwanted[each]} records that are not ours")
            span *= _TAIL_GROWTH
        return found

    def first(
        self, topic: FoundTopic, offsets: Mapping[int, int], *, wanted: Callable[[Message], bool] = _any
    ) -> dict[int, Message]:
        """The first record at or behind an offset that is wanted, for each partition that has one there.

        Raises:
            ForeignRecordError: So many that are not ours lie there that it was not looked for any further.
        """
        found: dict[int, Message] = {}
        foreign: Counter[int] = Counter()
        open_partitions = set(offsets)
        for message in self._from(topic.name, offsets):
            partition = partition_of(message)
            if partition not in open_partitions:
                continue
            if message.error() is None:
                if not wanted(message):
                    foreign[partition] += not is_ours(message)
                    if foreign[partition] > _UNWANTED_MAX:
                        raise ForeignRecordError(
                            f"partition {partition} has over {_UNWANTED_MAX} records that are not ours"
                        )
                    continue
                found[partition] = message
            open_partitions.discard(partition)
            if not open_partitions:
                break
            with self._told(f"reading {topic.name}"):  # what follows here would only keep the others waiting
                self._consumer.incremental_unassign([TopicPartition(topic.name, partition)])
        return found

    def _latest(self, topic: FoundTopic, level: IsolationLevel) -> dict[int, int]:
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        asked = {TopicPartition(topic.name, partition): latest for partition in range(topic.partitions)}
        with self._told(f"asking for the ends of {topic.name}"):
            found = self._admin.list_offsets(asked, isolation_level=level, request_timeout=_ANSWER_SECONDS)
            return {each.partition: future.result(timeout=2 * _ANSWER_SECONDS).offset for each, future in found.items()}

    def _to_the_end(self, topic: str, starts: Mapping[int, int]) -> Iterator[Message]:
        unread = set(starts)
        for message in self._from(topic, starts):
            if message.error() is None:
                yield message
                continue
            unread.discard(partition_of(message))
            if not unread:
                return

    def _from(self, topic: str, starts: Mapping[int, int]) -> Iterator[Message]:
        """Records, and per partition an end that is told as an error, for as long as one reads on."""
        if not starts:
            return
        with self._told(f"reading {topic}"):
            self._consumer.assign([TopicPartition(topic, partition, offset) for partition, offset in starts.items()])
        deadline = time.monotonic() + _ANSWER_SECONDS
        while time.monotonic() < deadline:
            message = self._consumer.poll(0.1)
            if message is None:
                continue
            error = message.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                raise broker_error(error, f"reading {topic}")
            deadline = time.monotonic() + _ANSWER_SECONDS
            yield message
        raise BrokerError(f"reading {topic}: no answer within {_ANSWER_SECONDS} s")

    @contextmanager
    def _told(self, doing: str) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            self._admin.poll(0)
            self._consumer.poll(0)
            raise broker_error(self._ear.reason(kafka_error(error)), doing) from error
        except TimeoutError as error:
            raise BrokerError(f"{doing}: no answer") from error


def partition_of(message: Message) -> int:
    """The partition of what a consumer has handed out."""
    partition = message.partition()
    assert partition is not None, "a message that never was on a broker"  # noqa: S101 - the library's types allow for it
    return partition
