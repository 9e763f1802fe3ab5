"""The replay topic on Kafka."""

import asyncio
from collections.abc import Sequence
from contextlib import closing

from stateset.order.v1.order_event_pb2 import OrderEvent

from infra.runtime.kafka.cluster import Cluster
from infra.runtime.kafka.errors import BrokerError, TopicMissingError
from infra.runtime.kafka.headers import event_headers, replay_header
from infra.runtime.kafka.lookup import Lookup
from infra.runtime.kafka.producer import TransactionalProducer
from infra.runtime.topics import REPLAY
from order.application.ports import LoggedEvent
from order.application.relay_ports import BusRefusedError, BusUnavailableError


class KafkaReplay:
    """See `relay_ports.ReplayBus`. Its producer is not the relay's, which it must not fence."""

    def __init__(self, cluster: Cluster, *, topic_prefix: str, log_epoch: str, shards: int) -> None:
        self._cluster = cluster
        self._transactional_id = f"stateset.{topic_prefix}{log_epoch}.replay"
        self._topic = REPLAY.name(topic_prefix)
        self._shards = shards
        self._turn = asyncio.Lock()  # a second producer of the id would fence the first

    async def publish(self, replay_id: str, events: Sequence[LoggedEvent]) -> str:
        """See `ReplayBus.publish`."""
        async with self._turn:
            try:
                await asyncio.to_thread(self._publish, replay_id, events)
            except TopicMissingError as error:
                raise BusRefusedError(
                    f"there is no topic {self._topic}: make it with `stateset topics apply`"
                ) from error
            except BrokerError as error:
                raise BusUnavailableError(str(error)) from error
        return self._topic

    def _publish(self, replay_id: str, events: Sequence[LoggedEvent]) -> None:
        with closing(Lookup(self._cluster, committed=True)) as lookup:
            partitions = lookup.topic(self._topic).partitions
        if partitions != self._shards:
            raise BusRefusedError(f"topic {self._topic} has {partitions} partitions, the log {self._shards} shards")
        with closing(TransactionalProducer(self._cluster, self._transactional_id)) as producer:
            producer.take_over()
            producer.begin()
            for event in events:
                self._send(producer, replay_id, event)
            producer.flush()
            producer.commit()

    def _send(self, producer: TransactionalProducer, replay_id: str, event: LoggedEvent) -> None:
        metadata = OrderEvent.FromString(event.body).metadata
        producer.send(
            self._topic,
            event.shard,
            key=event.order_id.encode(),
            value=event.body,
            timestamp_ms=event.record_time_us // 1000,
            headers=[*event_headers(metadata, key=event.order_id, seq=event.seq), replay_header(replay_id)],
        )
