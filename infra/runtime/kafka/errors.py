"""What a broker could not do, in the few kinds that our code tells apart."""

from collections.abc import Mapping
from typing import Final

from confluent_kafka import KafkaError, KafkaException

QUIET: Final[Mapping[str, int]] = {"log_level": 0}
"""librdkafka's own lines, one for each attempt to connect, are not JSON; what matters reaches us as an error."""


AWAY: Final = frozenset(
    {
        KafkaError._TRANSPORT,  # noqa: SLF001 - confluent-kafka's public name for librdkafka's own codes
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001 - as above
        KafkaError._RESOLVE,  # noqa: SLF001 - as above
        KafkaError._TIMED_OUT,  # noqa: SLF001 - as above
        KafkaError.REQUEST_TIMED_OUT,
    }
)
"""How calls fail to which nobody answers."""

_REFUSALS: Final = frozenset({KafkaError._AUTHENTICATION, KafkaError._SSL})  # noqa: SLF001 - as above


class BrokerError(Exception):
    """The broker did not do what it was asked to; asking again later may help."""


class FencedError(BrokerError):
    """A newer producer of the same transactional id has taken over: this one writes nothing any more."""


class TopicMissingError(BrokerError):
    """There is no such topic, or no such partition."""


class OffsetGoneError(BrokerError):
    """The offset is not there: retention has passed it, or the topic is not the one it was."""


class ForeignRecordError(BrokerError):
    """A record that none of ours has written: it lacks our headers. Or so many of them that ours were not found."""


_KINDS: Final[Mapping[int, type[BrokerError]]] = {
    KafkaError._FENCED: FencedError,  # noqa: SLF001 - as above
    KafkaError.INVALID_PRODUCER_EPOCH: FencedError,
    KafkaError.PRODUCER_FENCED: FencedError,
    KafkaError._UNKNOWN_TOPIC: TopicMissingError,  # noqa: SLF001 - as above
    KafkaError._UNKNOWN_PARTITION: TopicMissingError,  # noqa: SLF001 - as above
    KafkaError.UNKNOWN_TOPIC_OR_PART: TopicMissingError,
    KafkaError.UNKNOWN_TOPIC_ID: TopicMissingError,
    KafkaError._AUTO_OFFSET_RESET: OffsetGoneError,  # noqa: SLF001 - as above
    KafkaError.OFFSET_OUT_OF_RANGE: OffsetGoneError,
}


_MISSING: Final = "`stateset topics apply` makes topics that are missing"
_REMEDIES: Final[Mapping[int, str]] = {
    KafkaError.MSG_SIZE_TOO_LARGE: (
        "`stateset topics diff` shows whether the topic takes less than it should, `stateset topics apply` mends that"
    ),
    KafkaError._UNKNOWN_TOPIC: _MISSING,  # noqa: SLF001 - as above
    KafkaError.UNKNOWN_TOPIC_OR_PART: _MISSING,
}


def kafka_error(error: KafkaError | KafkaException) -> KafkaError:
    """The library's error, which its exception carries."""
    return error.args[0] if isinstance(error, KafkaException) else error


def broker_error(error: KafkaError | KafkaException, doing: str) -> BrokerError:
    """The one place that says what a Kafka error means here, and where something helps, what; `doing` begins it."""
    said = kafka_error(error)
    remedy = f": {_REMEDIES[said.code()]}" if said.code() in _REMEDIES else ""
    return _KINDS.get(said.code(), BrokerError)(f"{doing}: {said.name()}: {said.str()}{remedy}")


class Ear:
    """What a client hears of its connections. A call that needs one only runs out of time, and cannot say why."""

    def __init__(self) -> None:
        self._heard: KafkaError | None = None

    def hear(self, error: KafkaError) -> None:
        """Keeps what says most. Called in the client's own calls, such as `poll`."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - its public name
            return
        # The library tells now and then of a certificate that is not trusted as of a connection that was lost.
        if self.refusal is None or error.code() in _REFUSALS:
            self._heard = error

    @property
    def refusal(self) -> KafkaError | None:
        """Why a broker does not let us in, or is not the one that we trust; none if that is not what is wrong."""
        return self._heard if self._heard is not None and self._heard.code() in _REFUSALS else None

    def reason(self, error: KafkaError) -> KafkaError:
        """The error that a call has failed with, or what was heard and says more."""
        return self._heard if self._heard is not None and error.code() in AWAY else error
