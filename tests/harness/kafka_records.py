"""What any consumer sees on a topic, read with nothing of ours: committed records only, from the first to the last."""

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition


def read_topic(servers: str, topic: str, partitions: int, *, committed: bool = True) -> dict[int, list[Message]]:
    """By partition every record, in the sequence of offsets."""
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "test",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed" if committed else "read_uncommitted",
        }
    )
    found: dict[int, list[Message]] = {partition: [] for partition in range(partitions)}
    unread = set(found)
    consumer.assign([TopicPartition(topic, partition, 0) for partition in found])
    try:
        while unread:
            message = consumer.poll(10)
            assert message is not None, "the broker does not answer"
            error = message.error()
            partition = message.partition()
            assert partition is not None
            if error is None:
                found[partition].append(message)
            else:
                assert error.code() == KafkaError._PARTITION_EOF, error  # noqa: SLF001 - the library's public name
                unread.discard(partition)
    finally:
        consumer.close()
    return found


def headers_of(message: Message) -> dict[str, str]:
    """The record's headers as text."""
    found = dict(message.headers() or {})
    return {name: value.decode() if isinstance(value, bytes) else value or "" for name, value in found.items()}


def seqs_of(found: dict[int, list[Message]]) -> dict[int, list[int]]:
    """By partition the `ce_sequence` of every record that has one."""
    return {
        partition: [int(headers["ce_sequence"]) for each in each_of if "ce_sequence" in (headers := headers_of(each))]
        for partition, each_of in found.items()
    }
