"""What a broker could not do, in the few kinds that our code tells apart."""

from collections.abc import Mapping
from typing import Final

from confluent_kafka import KafkaError, KafkaException

QUIET: Final[Mapping[str, int]] = {"log_level": 0}
"""librdkafka's own lines, one for each attempt to connect, are not JSON; what matters reaches us as an error."""


class BrokerError(Exception):
    """The broker did not do what it was asked to; asking again later may help."""


class FencedError(BrokerError):
    """A newer producer of the same transactional id has taken over: this one writes nothing any more."""


class TopicMissingError(BrokerError):
    """There is no such topic, or no such partition."""


class OffsetGoneError(BrokerError):
    """The offset is not there: retention has passed it, or the topic is not the one it was."""


class ForeignRecordError(BrokerError):
    """A record that none of ours has written: it lacks our headers."""


_KINDS: Final[Mapping[int, type[BrokerError]]] = {
    KafkaError._FENCED: FencedError,  # noqa: SLF001 - confluent-kafka's public name for librdkafka's own codes
    KafkaError.INVALID_PRODUCER_EPOCH: FencedError,
    KafkaError.PRODUCER_FENCED: FencedError,
    KafkaError._UNKNOWN_TOPIC: TopicMissingError,  # noqa: SLF001 - as above
    KafkaError._UNKNOWN_PARTITION: TopicMissingError,  # noqa: SLF001 - as above
    KafkaError.UNKNOWN_TOPIC_OR_PART: TopicMissingError,
    KafkaError.UNKNOWN_TOPIC_ID: TopicMissingError,
    KafkaError._AUTO_OFFSET_RESET: OffsetGoneError,  # noqa: SLF001 - as above
    KafkaError.OFFSET_OUT_OF_RANGE: OffsetGoneError,
}


def broker_error(error: KafkaError | KafkaException, doing: str) -> BrokerError:
    """The one place that says what a Kafka error means here; `doing` begins its message."""
    said: KafkaError = error.args[0] if isinstance(error, KafkaException) else error
    return _KINDS.get(said.code(), BrokerError)(f"{doing}: {said.name()}: {said.str()}")
