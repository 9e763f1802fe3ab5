"""What the topics hold, judged by the contract that other teams have: docs/kafka.md and the message types."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Self

from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset.order.v1.order_pb2 import Order

from consumers.cli.demo.log_reader import Faults, Reading
from consumers.cli.demo.records import Reader, Record, read_topic
from infra.kernel.digest import Digest
from infra.kernel.position import Position
from infra.kernel.shard import shard_of
from infra.runtime.kafka.cluster import Cluster

_READ_SECONDS: Final = 30.0
_READ_EVENTS_PER_SECOND: Final = 1000
_NOTHING: Final = "nothing"


@dataclass(slots=True)
class EventsTopic:
    """What the records of the events topic say.

    Attributes:
        reading: Their values, as a stream of events.
        faults: Of what travels beside the values.
    """

    reading: Reading
    faults: Faults = field(default_factory=Faults)

    def take(self, record: Record) -> None:
        """See `Reader`."""
        event = OrderEvent.FromString(record.value)
        self.reading.take(event)
        due = {
            "partition": str(event.shard),
            "key": event.order_id,
            "timestamp": str(event.metadata.record_time.ToMilliseconds()),
            **_event_headers(event),
        }
        _compare(self.faults, f"shard {event.shard}, seq {event.seq}", due, record)

    def has_all_of(self, partition: int) -> bool:
        """See `Reader`."""
        return self.reading.has_all_of(partition)


@dataclass(slots=True)
class StateTopic:
    """What the records of the state topic say.

    Attributes:
        log: Where it ends.
        versions: Of the last order of each key.
        faults: Of what travels beside the values.
    """

    log: Position
    versions: dict[str, int] = field(default_factory=dict)
    faults: Faults = field(default_factory=Faults)
    _next_seq: dict[int, int] = field(default_factory=dict)

    @property
    def digest(self) -> Digest:
        """Over the orders as the topic alone tells them."""
        digest = Digest()
        for order_id, version in self.versions.items():
            digest.add(order_id, version)
        return digest

    def take(self, record: Record) -> None:
        """See `Reader`."""
        order = Order.FromString(record.value)
        sequence = record.headers.get("ce_sequence", "")
        seq = int(sequence) if sequence.isdecimal() else 0
        due = {
            "partition": str(shard_of(order.order_id, len(self.log.next_seq))),
            "key": order.order_id,
            "timestamp": str(order.update_time.ToMilliseconds()),
            "content-type": "application/protobuf",
            "ce_sequence": f"{max(seq, self._next_seq.get(record.partition, 1)):020}",  # rises; compaction leaves gaps
            "ce_logepoch": self.log.log_epoch,
        }
        _compare(self.faults, f"{order.order_id}, version {order.version}", due, record)
        self.versions[record.key] = order.version
        self._next_seq[record.partition] = seq + 1

    def has_all_of(self, partition: int) -> bool:
        """See `Reader`."""
        return self._next_seq.get(partition, 1) >= self.log.next_seq[partition]


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The content of both topics."""

    events: EventsTopic
    state: StateTopic

    @classmethod
    async def read(cls, cluster: Cluster, topics: Sequence[str], log: Position) -> Self:
        """Reads the topics of events and of state up to the log's end, or as far as they come.

        Raises:
            DemoError: The broker says no.
        """
        seconds = _READ_SECONDS + sum(log.next_seq) / _READ_EVENTS_PER_SECOND
        events, state = EventsTopic(Reading(log.next_seq)), StateTopic(log)
        readers: tuple[Reader, Reader] = (events, state)
        for topic, reader in zip(topics, readers, strict=True):
            await asyncio.to_thread(read_topic, cluster, topic, len(log.next_seq), reader, seconds)
        return cls(events=events, state=state)


def _event_headers(event: OrderEvent) -> dict[str, str]:
    metadata = event.metadata
    trace = {"ce_traceparent": metadata.traceparent} if metadata.traceparent else {}
    return {
        "content-type": "application/protobuf",
        "ce_specversion": "1.0",
        "ce_id": metadata.event_id,
        "ce_source": metadata.source,
        "ce_type": metadata.type,
        "ce_time": metadata.occur_time.ToDatetime(UTC).isoformat(),
        "ce_subject": f"orders/{event.order_id}",
        "ce_dataschema": "proto:stateset.order.v1.OrderEvent",
        "ce_partitionkey": event.order_id,
        "ce_sequence": f"{event.seq:020}",
        "ce_logepoch": metadata.log_epoch,
        "ce_groupindex": str(metadata.group_index),
        "ce_groupsize": str(metadata.group_size),
        **trace,
    }


def _compare(faults: Faults, what: str, due: Mapping[str, str], record: Record) -> None:
    """Compares everything but the value: nothing may be missing, nothing else may be there."""
    got = {
        "partition": str(record.partition),
        "key": record.key,
        "timestamp": str(record.timestamp_ms),
        **record.headers,
    }
    if "ce_time" in got:
        got["ce_time"] = _instant(got["ce_time"])
    for name in sorted(due.keys() | got.keys()):
        faults.compare(f"{what}: {name}", due.get(name, _NOTHING), got.get(name, _NOTHING))


def _instant(rfc_3339: str) -> str:
    """The same for every way of writing an instant; other text stays as it is."""
    try:
        return datetime.fromisoformat(rfc_3339).astimezone(UTC).isoformat()
    except ValueError:
        return rfc_3339
