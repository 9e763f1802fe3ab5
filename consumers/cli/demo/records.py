"""A topic as any other team reads it: Kafka's own client, committed records only, from the first to the last."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from confluent_kafka import OFFSET_BEGINNING, TIMESTAMP_CREATE_TIME, Consumer, KafkaError, Message, TopicPartition

from consumers.cli.demo.failure import DemoError
from infra.runtime.kafka.cluster import Cluster
from infra.runtime.kafka.errors import Ear

_POLL_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record; keys and headers as text."""

    partition: int
    key: str
    value: bytes
    headers: Mapping[str, str]
    timestamp_ms: int | None


class Reader(Protocol):
    """Whoever makes something of the records."""

    def take(self, record: Record) -> None:
        """One more record; those of a partition come in sequence."""

    def has_all_of(self, partition: int) -> bool:
        """Whether every record has come that is due in the partition."""


def read_topic(cluster: Cluster, topic: str, partitions: int, reader: Reader, seconds: float) -> None:
    """Reads until every partition has all that is due and then ends, or until the time is up; the reader knows which.

    Raises:
        DemoError: The broker says no.
    """
    consumer = Consumer(
        {
            **cluster.client(Ear().hear),
            "group.id": "stateset.demo",  # asked for by the client; never joined
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
        }
    )
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in range(partitions)])
    unread = set(range(partitions))
    deadline = time.monotonic() + seconds
    try:
        while unread and time.monotonic() < deadline:
            message = consumer.poll(_POLL_SECONDS)
            if message is None:
                continue
            error, partition = message.error(), message.partition() or 0
            if error is None:
                reader.take(_record(message))
            elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - the library's public name
                raise DemoError(f"reading {topic}: {error.str()}")
            elif reader.has_all_of(partition):
                unread.discard(partition)
    finally:
        consumer.close()


def _record(message: Message) -> Record:
    kind, timestamp_ms = message.timestamp()
    return Record(
        partition=message.partition() or 0,
        key=_text(message.key()),
        value=bytes(message.value() or b""),
        headers={name: _text(value) for name, value in dict(message.headers() or ()).items()},
        timestamp_ms=timestamp_ms if kind == TIMESTAMP_CREATE_TIME else None,
    )


def _text(value: bytes | str | None) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""
