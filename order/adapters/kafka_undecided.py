"""Records that a broker has neither committed nor undone, although their transaction is over.

A broker that restarts works through the history of its topics. While it is at a time before a topic was made, it ends
transactions without marking their records there (seen with 4.3.1). Readers of committed records then see nothing behind
them, and the next commit under the same transactional id makes them count: a second time, if they were published again.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Final

from infra.runtime.kafka.cluster import Cluster
from infra.runtime.kafka.errors import BrokerError
from infra.runtime.kafka.lookup import FoundTopic, Lookup, partition_of
from infra.runtime.kafka.producer import TransactionalProducer
from infra.runtime.log import get_logger

_DECIDED_SECONDS: Final = 3.0  # the broker writes its marks a moment after it has answered
_LOOK_SECONDS: Final = 0.05
_log = get_logger(__name__)


def undo_undecided(producer: TransactionalProducer, lookup: Lookup, topics: Sequence[str], cluster: Cluster) -> bool:
    """Undoes them in a transaction of the producer, which has taken over; returns whether there were any.

    Its records are copies of the first that is undecided in each partition, so that those who read uncommitted records
    meet nothing that they do not know.

    Raises:
        BrokerError: As always, or some belong to a producer with another transactional id.
    """
    undecided = _undecided(lookup, topics)
    if not undecided:
        return False
    with closing(Lookup(cluster, committed=False)) as reader:
        records = [record for topic, offsets in undecided.items() for record in reader.first(topic, offsets).values()]
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
    while _undecided(lookup, topics):
        if time.monotonic() > deadline:
            raise BrokerError("another producer has a transaction open on the topics")
        time.sleep(_LOOK_SECONDS)
    _log.warning("undone what the broker had left undecided", partitions=len(records))
    return True


def _undecided(lookup: Lookup, topics: Sequence[str]) -> Mapping[FoundTopic, Mapping[int, int]]:
    found = {topic: lookup.undecided(topic) for topic in lookup.topics(topics)}
    return {topic: offsets for topic, offsets in found.items() if offsets}
