"""A log of a test on Kafka: what a relay would have published, and what one that failed would have left."""

from collections.abc import Iterable
from typing import Any

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from stateset.order.v1.order_event_pb2 import OrderEvent
from stateset.order.v1.order_frame_pb2 import EventBatch

from infra.runtime.kafka.admin import TopicAdmin
from infra.runtime.kafka.headers import event_headers
from infra.runtime.topics import EVENTS
from sync.domain.log import Batch, Event
from tests.harness.kafka_broker import Kafka
from tests.harness.sync_log import LogMaker


class TopicWriter:
    """Publishes events of a log; `keep_up` those that are new."""

    def __init__(self, kafka: Kafka, log: LogMaker) -> None:
        self.kafka = kafka
        self.log = log
        self.admin = TopicAdmin(kafka.cluster, shards=log.shards, prefix=kafka.prefix)
        self._topic = EVENTS.name(kafka.prefix)
        self._published = 0

    def keep_up(self) -> None:
        """Publishes what was recorded since the last call."""
        events, self._published = self.log.events[self._published :], len(self.log.events)
        self.publish(events)

    def skip(self) -> None:
        """As `keep_up`, but nothing is published."""
        self._published = len(self.log.events)

    def publish(self, events: Iterable[Event], *, times: int = 1) -> None:
        """One transaction for each time; all but the last one are taken back."""
        messages = [message_of(event) for event in events]
        for time in range(times):
            producer = Producer(
                {"bootstrap.servers": self.kafka.servers, "transactional.id": f"test.{self.kafka.prefix}"}
            )
            producer.init_transactions(20)
            producer.begin_transaction()
            for message in messages:
                self.send(producer, message)
            producer.flush(20)
            if time + 1 == times:
                producer.commit_transaction(20)
            else:
                producer.abort_transaction(20)

    def forget(self, shard: int, offset: int) -> None:
        """Makes the broker forget what lies before the offset."""
        client = AdminClient({"bootstrap.servers": self.kafka.servers})
        for future in client.delete_records([TopicPartition(self._topic, shard, offset)]).values():
            future.result(10)

    def send(self, producer: Producer, event: OrderEvent) -> None:
        """Hands one event to the producer."""
        headers = event_headers(event.metadata, key=event.order_id, seq=event.seq)
        producer.produce(self._topic, event.SerializeToString(), event.order_id.encode(), event.shard, headers=headers)


def message_of(event: Event) -> OrderEvent:
    """The event as its message."""
    return EventBatch.FromString(event.chunk).events[0]


class PublishingLog(LogMaker):
    """A log whose every group is on the topic before it can be asked for."""

    def __init__(self, kafka: Kafka) -> None:
        super().__init__()
        self.topic = TopicWriter(kafka, self)
        self._producer = Producer({"bootstrap.servers": kafka.servers, "linger.ms": 0})

    def group(self, order_id: str | None = None, **changes: Any) -> Batch:  # noqa: ANN401 - as LogMaker's
        """See `LogMaker.group`."""
        batch = super().group(order_id, **changes)
        for event in batch.events:
            self.topic.send(self._producer, message_of(event))
        self._producer.flush(20)
        return batch

    def close(self) -> None:
        """Lets go of the broker, which may stop before this is collected."""
        self._producer.close()
