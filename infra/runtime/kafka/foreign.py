"""Records on our topics that none of ours has written: one of them must not keep everybody from what lies around it."""

from typing import Final

from confluent_kafka import Message
from prometheus_client import Counter

from infra.runtime.kafka.headers import is_ours
from infra.runtime.kafka.lookup import partition_of
from infra.runtime.log import get_logger

_TOLD_MAX: Final = 10_000  # some megabytes; whoever writes more is known by then
_log = get_logger(__name__)

FOREIGN: Final = Counter(
    "stateset_kafka_foreign_records_total", "Records that none of ours has written: passed over.", ["topic"]
)


class ForeignRecords:
    """Those that a process has met: each is told of and counted once, but for the very many."""

    def __init__(self) -> None:
        self._told: set[tuple[str, int, int]] = set()

    def pass_over(self, message: Message) -> bool:
        """Whether the record is one, by its headers."""
        if is_ours(message):
            return False
        self.tell(message)
        return True

    def tell(self, message: Message) -> None:
        """Tells of it, unless it was told of before."""
        met = topic, partition, offset = message.topic() or "", partition_of(message), message.offset() or 0
        if met in self._told:
            return
        FOREIGN.labels(topic).inc()
        if len(self._told) >= _TOLD_MAX:
            return
        self._told.add(met)
        _log.warning(
            "a record that is not ours is passed over: nobody but the relay should write to the topic",
            topic=topic,
            partition=partition,
            offset=offset,
        )
