"""What others do to topics. The broker answers before all of it knows: each waits until it says so itself."""

from collections.abc import Mapping

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from infra.runtime.topics import EVENTS
from tests.harness.kafka_broker import Kafka
from tests.harness.waiting import eventually


async def set_retention(kafka: Kafka, milliseconds: str) -> None:
    """Keeps the events topic's records for another time than the table says."""
    await set_config(kafka, EVENTS.name(kafka.prefix), "retention.ms", milliseconds)


async def set_config(kafka: Kafka, topic: str, key: str, value: str) -> None:
    """Configures one topic otherwise than the table says."""
    client = AdminClient({"bootstrap.servers": kafka.servers})
    entry = ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    client.incremental_alter_configs([resource])[resource].result(10)

    def is_set() -> bool:
        asked = ConfigResource(ResourceType.TOPIC, topic)
        return bool(client.describe_configs([asked])[asked].result(10)[key].value == value)

    await eventually(is_set)


def set_broker_defaults(servers: str, defaults: Mapping[str, str]) -> None:
    """What a broker of ours does with topics that do not say otherwise."""
    client = AdminClient({"bootstrap.servers": servers})
    entries = [ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in defaults.items()]
    resource = ConfigResource(ResourceType.BROKER, "1", incremental_configs=entries)
    client.incremental_alter_configs([resource])[resource].result(10)


async def delete_topic(kafka: Kafka, topic: str) -> None:
    """Deletes one topic."""
    client = AdminClient({"bootstrap.servers": kafka.servers})
    client.delete_topics([topic])[topic].result(10)
    await eventually(lambda: topic not in client.list_topics(timeout=10).topics)


async def make_topic(kafka: Kafka, topic: str, *, partitions: int, config: Mapping[str, str] | None = None) -> None:
    """Makes one topic, which need not be as the table says."""
    client = AdminClient({"bootstrap.servers": kafka.servers})
    client.create_topics([NewTopic(topic, partitions, config=dict(config or {}))])[topic].result(10)
    await eventually(lambda: topic in client.list_topics(timeout=10).topics)


async def add_partition(kafka: Kafka, topic: str) -> None:
    """Gives one topic a partition more than it has."""
    client = AdminClient({"bootstrap.servers": kafka.servers})
    partitions = len(client.list_topics(topic, timeout=10).topics[topic].partitions) + 1
    client.create_partitions([NewPartitions(topic, partitions)])[topic].result(10)
    await eventually(lambda: len(client.list_topics(topic, timeout=10).topics[topic].partitions) == partitions)


def expire(kafka: Kafka, topic: str, partition: int, offset: int) -> None:
    """Makes the broker forget what lies before the offset."""
    client = AdminClient({"bootstrap.servers": kafka.servers})
    for future in client.delete_records([TopicPartition(topic, partition, offset)]).values():
        future.result(10)


def stray(kafka: Kafka, topic: str, *partitions: int, records: int = 1) -> None:
    """Writes records to partitions that are nothing of ours."""
    producer = Producer({"bootstrap.servers": kafka.servers, "linger.ms": 0})
    for partition in partitions:
        for _ in range(records):
            producer.produce(topic, b"\xff garbage", b"stray", partition)
    assert producer.flush(20) == 0


async def allow(servers: str, topic: str, operation: AclOperation) -> None:
    """Lets users of a broker with an authorizer do that with the topic, and nothing else."""
    client = AdminClient({"bootstrap.servers": servers})
    scope = (ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, "User:*", "*", operation, AclPermissionType.ALLOW)
    rule, same = AclBinding(*scope), AclBindingFilter(*scope)
    client.create_acls([rule])[rule].result(10)
    await eventually(lambda: client.describe_acls(same).result(10) != [])
