"""Records that a broker has neither committed nor undone: ours, although their transaction is over, and others'.

A broker that restarts works through the history of its topics. While it is at a time before a topic was made, it ends
transactions without marking their records there (seen with 4.3.1). Readers of committed records then see nothing behind
them, and the next commit under the same transactional id makes them count: a second time, if they were published again.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Final

from infra.runtime.kafka.cluster import Cluster
from infra.runtime.kafka.errors import BrokerError
from infra.runtime.kafka.headers import is_ours
from infra.runtime.kafka.lookup import FoundTopic, Lookup, partition_of
from infra.runtime.kafka.producer import TransactionalProducer
from infra.runtime.log import get_logger

_DECIDED_SECONDS: Final = 3.0  # the broker writes its marks a moment after it has answered
_LOOK_SECONDS: Final = 0.05
_LOOK_AGAIN_SECONDS: Final = 15.0  # above what a transaction of ours takes, from its first record to its mark
_REMEDY: Final = (
    "readers of committed records see nothing behind it until `kafka-transactions.sh` or its time-out ends it"
)
_log = get_logger(__name__)


def undo_undecided(producer: TransactionalProducer, lookup: Lookup, topics: Sequence[str], cluster: Cluster) -> bool:
    """Undoes them in a transaction of the producer, which has taken over; returns whether there were any.

    Its records are copies of the first that is undecided in each partition, so that those who read uncommitted records
    meet nothing that they do not know. Where that is not ours, somebody else's transaction has to end first.

    Raises:
        BrokerError: As always, or some belong to a producer with another transactional id.
    """
    undecided = _undecided(lookup, topics)
    if not undecided:
        return False
    with closing(Lookup(cluster, committed=False)) as reader:
        found = [record for topic, offsets in undecided.items() for record in reader.first(topic, offsets).values()]
    records = [record for record in found if is_ours(record)]
    if not records:
        raise _held_up(undecided)
    producer.begin()
    for record in records:
        producer.send(
            record.topic() or "",
            partition_of(record),
            key=record.key() or b"",
            value=record.value() or b"",
            timestamp_ms=record.timestamp()[1],
            headers=list(dict(record.headers() or ()).items()),
        )
    producer.flush()
    producer.abort()
    deadline = time.monotonic() + _DECIDED_SECONDS
    while undecided := _undecided(lookup, topics):
        if time.monotonic() > deadline:
            raise _held_up(undecided)
        time.sleep(_LOOK_SECONDS)
    _log.warning("undone what the broker had left undecided", partitions=len(records))
    return True


class Watch:
    """Notices transactions of others that stay open on the topics while we publish there."""

    def __init__(self) -> None:
        self._due_at = 0.0
        self._seen: frozenset[tuple[str, int, int]] = frozenset()
        self._told: frozenset[tuple[str, int, int]] = frozenset()

    def look(self, lookup: Lookup, topics: Sequence[str], now: float) -> int | None:
        """In how many partitions somebody has been holding readers up since the last look; none between two looks.

        Raises:
            BrokerError: As always.
        """
        if now < self._due_at:
            return None
        self._due_at = now + _LOOK_AGAIN_SECONDS
        seen = frozenset(_places(_undecided(lookup, topics)))
        stuck, self._seen = seen & self._seen, seen
        for topic, partition, offset in sorted(stuck - self._told):
            _log.warning(
                f"another producer's transaction is open: {_REMEDY}",
                reason="TRANSACTION_OPEN",
                topic=topic,
                partition=partition,
                offset=offset,
            )
        self._told = stuck
        return len(stuck)


def _held_up(undecided: Mapping[FoundTopic, Mapping[int, int]]) -> BrokerError:
    where = ", ".join(f"{topic}-{partition} at {offset}" for topic, partition, offset in _places(undecided))
    return BrokerError(f"another producer has a transaction open on {where}: {_REMEDY}")


def _places(undecided: Mapping[FoundTopic, Mapping[int, int]]) -> Iterator[tuple[str, int, int]]:
    for topic, offsets in undecided.items():
        for partition, offset in sorted(offsets.items()):
            yield topic.name, partition, offset


def _undecided(lookup: Lookup, topics: Sequence[str]) -> Mapping[FoundTopic, Mapping[int, int]]:
    found = {topic: lookup.undecided(topic) for topic in lookup.topics(topics)}
    return {topic: offsets for topic, offsets in found.items() if offsets}
