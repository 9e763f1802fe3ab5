"""What others do to topics. The broker answers before all of it knows: each waits until it says so itself."""

from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

from infra.runtime.topics import EVENTS
from tests.harness.kafka_broker import Kafka
from tests.harness.system_waiting import eventually


async def set_retention(kafka: Kafka, milliseconds: str) -> None:
    """Keeps the events topic's records for another time than the table says."""
    client = AdminClient({"bootstrap.servers": kafka.servers})
    topic, key = EVENTS.name(kafka.prefix), "retention.ms"
    entry = ConfigEntry(key, milliseconds, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    client.incremental_alter_configs([resource])[resource].result(10)

    def is_set() -> bool:
        asked = ConfigResource(ResourceType.TOPIC, topic)
        return bool(client.describe_configs([asked])[asked].result(10)[key].value == milliseconds)

    await eventually(is_set)


async def delete_topic(kafka: Kafka, topic: str) -> None:
    """Deletes one topic."""
    client = AdminClient({"bootstrap.servers": kafka.servers})
    client.delete_topics([topic])[topic].result(10)
    await eventually(lambda: topic not in client.list_topics(timeout=10).topics)


async def make_topic(kafka: Kafka, topic: str, *, partitions: int) -> None:
    """Makes one topic, which need not be as the table says."""
    client = AdminClient({"bootstrap.servers": kafka.servers})
    client.create_topics([NewTopic(topic, partitions)])[topic].result(10)
    await eventually(lambda: topic in client.list_topics(timeout=10).topics)
