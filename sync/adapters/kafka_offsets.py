"""From seqs to offsets: where in each partition to begin."""

from collections.abc import Mapping

from confluent_kafka import Message

from infra.runtime.kafka.headers import place_of
from infra.runtime.kafka.lookup import FoundTopic, Lookup
from infra.runtime.lifespan import StartupError
from sync.domain.seek import Record, Seek


def offsets_of(lookup: Lookup, topic: FoundTopic, wanted: Mapping[int, int], log_epoch: str) -> dict[int, int]:
    """By partition, an offset to begin at so that the wanted seq comes, and everything behind it.

    A few earlier records may come first. A partition that has only later seqs is read from its begin, one that has
    only earlier ones from its end.

    Raises:
        StartupError: The topic holds another log.
        BrokerError: The broker does not answer.
    """
    ends = lookup.ends(topic)
    last = lookup.last(topic)
    for message in last.values():
        refuse_other_log(place_of(message).log_epoch, log_epoch, topic.name)
    seeks = {
        partition: Seek.between(*ends[partition], _record(last.get(partition)), seq)
        for partition, seq in wanted.items()
    }
    while unfinished := {partition: seek for partition, seek in seeks.items() if not seek.is_over}:
        found = lookup.first(topic, {partition: seek.probe for partition, seek in unfinished.items()})
        for partition, seek in unfinished.items():
            seek.learn(_record(found.get(partition)))
    return {partition: seek.start for partition, seek in seeks.items()}


def refuse_other_log(found: str, wanted: str, topic: str) -> None:
    """Refuses a record of another log.

    Raises:
        StartupError: The epochs differ.
    """
    if found != wanted:
        raise StartupError(
            f"topic {topic} holds log {found}, not {wanted}: `stateset topics reset` empties it, "
            "another --topic-prefix reads other topics"
        )


def _record(message: Message | None) -> Record | None:
    if message is None:
        return None
    offset = message.offset()
    assert offset is not None, "a record without an offset"  # noqa: S101 - the library's types allow for it
    return Record(offset, place_of(message).seq)
