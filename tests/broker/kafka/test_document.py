"""docs/kafka.md: its Python consumer is run as it stands, on a broker, with a transaction that was given up."""

import ast
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import Consumer, Producer
from stateset.common.v1.event_metadata_pb2 import EventMetadata
from stateset.order.v1.order_event_pb2 import OrderEvent

from infra.runtime.kafka.admin import TopicAdmin
from infra.runtime.kafka.headers import event_headers
from infra.runtime.topics import EVENTS
from tests.harness.kafka_broker import Kafka
from tests.harness.waiting import eventually

DOCUMENT = (Path(__file__).parents[3] / "docs" / "kafka.md").read_text()
[CONSUMER] = re.findall(r"^```python\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE)


async def test_the_consumer_of_the_document_prints_what_was_committed_and_nothing_else(kafka: Kafka) -> None:
    await TopicAdmin(kafka.cluster, shards=2, prefix=kafka.prefix).apply()
    topic = EVENTS.name(kafka.prefix)
    producer = Producer({"bootstrap.servers": kafka.servers, "transactional.id": kafka.prefix})
    producer.init_transactions(30)
    for versions, end in (
        ({1: 1, 2: 2}, producer.commit_transaction),
        ({3: 99}, producer.abort_transaction),
        ({3: 3}, producer.commit_transaction),
    ):
        producer.begin_transaction()
        for seq, version in versions.items():
            publish(producer, topic, seq, version)
        end(30)
    producer.begin_transaction()
    producer.produce(topic, b"a stray", partition=1)
    publish(producer, topic, 4, 4)
    producer.commit_transaction(30)
    with printed(CONSUMER, kafka.servers, topic) as lines:
        assert [next(lines) for _ in range(4)] == [
            f"1:{seq} stateset.order.v1.OrderPlaced o-1 v{seq}" for seq in (1, 2, 3, 4)
        ]


async def test_the_consumer_of_the_document_goes_on_with_a_partition_that_another_had_meanwhile(kafka: Kafka) -> None:
    await TopicAdmin(kafka.cluster, shards=2, prefix=kafka.prefix).apply()
    topic = EVENTS.name(kafka.prefix)
    producer = Producer({"bootstrap.servers": kafka.servers})
    publish(producer, topic, 1, 1, partition=0)
    publish(producer, topic, 1, 1)
    alone = CONSUMER.replace("order-printer", kafka.prefix)  # a member that was killed is missed for 45 s
    with printed(alone, kafka.servers, topic) as lines:
        assert {next(lines)[:3] for _ in range(2)} == {"0:1", "1:1"}
        another = Consumer({"bootstrap.servers": kafka.servers, "group.id": kafka.prefix})
        another.subscribe([topic])
        await eventually(lambda: another.poll(0.1) is None and another.assignment() != [], within_seconds=30)
        [taken] = [each.partition for each in another.assignment()]
        publish(producer, topic, 2, 2, partition=taken)
        record = another.poll(30)
        assert record is not None
        another.commit(message=record, asynchronous=False)
        another.close()
        publish(producer, topic, 3, 3, partition=taken)
        assert next(lines)[:3] == f"{taken}:3"


def test_the_consumer_of_the_document_needs_nothing_of_ours_but_the_contracts() -> None:
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(CONSUMER))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert imported == {"sys", "confluent_kafka", "stateset"}


def publish(producer: Producer, topic: str, seq: int, version: int, *, partition: int = 1) -> None:
    metadata = EventMetadata(event_id=f"e-{seq}", type="stateset.order.v1.OrderPlaced", group_size=1)
    event = OrderEvent(metadata=metadata, order_id="o-1", version=version, shard=partition, seq=seq)
    headers = [*event_headers(metadata, key="o-1", seq=seq)]
    producer.produce(topic, event.SerializeToString(), key="o-1", partition=partition, headers=dict(headers))
    producer.flush(30)


@contextmanager
def printed(consumer: str, *arguments: str) -> Iterator[Iterator[str]]:
    """The lines that the consumer prints; it is killed when the context ends, or after 60 s."""
    with subprocess.Popen([sys.executable, "-c", consumer, *arguments], stdout=subprocess.PIPE, text=True) as process:
        watchdog = threading.Timer(60, process.kill)
        watchdog.start()
        assert process.stdout is not None
        try:
            yield (line.rstrip("\n") for line in process.stdout)
        finally:
            watchdog.cancel()
            process.kill()
