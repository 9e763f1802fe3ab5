"""From seqs to offsets: where in each partition to begin."""

from collections.abc import Mapping, Sequence

from confluent_kafka import Message

from infra.runtime.kafka.headers import is_ours, place_of
from infra.runtime.kafka.lookup import FoundTopic, Lookup
from infra.runtime.lifespan import StartupError
from sync.domain.seek import Partition, Record, Seek


class OtherLogError(StartupError):
    """The topic holds another log: no server can read it as this one's."""

    def __init__(self, found: str, wanted: str, topic: str) -> None:
        super().__init__(
            f"topic {topic} holds log {found}, not {wanted}: `stateset topics reset` empties it, "
            "another --topic-prefix reads other topics"
        )
        self.found = found
        self.wanted = wanted


def offsets_of(lookup: Lookup, topic: FoundTopic, wanted: Mapping[int, int], log_epoch: str) -> dict[int, int]:
    """By partition, an offset to begin at so that the wanted seq comes, and everything behind it.

    Records that are not ours are looked past. A few earlier records may come first. A partition that has only later
    seqs is read from its begin, one that has only earlier ones from its end.

    Raises:
        OtherLogError: The topic holds another log.
        ForeignRecordError: It ends with many records that are not ours, or has them where it is looked.
        BrokerError: The broker does not answer.
    """
    return starts_of(lookup, topic, partitions_of(lookup, topic, log_epoch), wanted)


def partitions_of(lookup: Lookup, topic: FoundTopic, log_epoch: str) -> list[Partition]:
    """The topic's partitions as they are.

    Raises:
        OtherLogError: The topic holds another log.
        ForeignRecordError: It ends with many records that are not ours.
        BrokerError: The broker does not answer.
    """
    ends, last = lookup.ends(topic), lookup.last(topic, wanted=is_ours)
    for message in last.values():
        refuse_other_log(place_of(message).log_epoch, log_epoch, topic.name)
    return [
        Partition(first=first, behind=behind, last=record_of(last.get(number)))
        for number, (first, behind) in sorted(ends.items())
    ]


def starts_of(
    lookup: Lookup, topic: FoundTopic, partitions: Sequence[Partition], wanted: Mapping[int, int]
) -> dict[int, int]:
    """As `offsets_of`, of partitions that were looked at.

    Raises:
        ForeignRecordError: Many records that are not ours lie where it is looked.
        BrokerError: The broker does not answer.
    """
    seeks = {number: Seek.between(partitions[number], seq) for number, seq in wanted.items()}
    while unfinished := {number: seek for number, seek in seeks.items() if not seek.is_over}:
        found = lookup.first(topic, {number: seek.probe for number, seek in unfinished.items()}, wanted=is_ours)
        for number, seek in unfinished.items():
            seek.learn(record_of(found.get(number)))
    return {number: seek.start for number, seek in seeks.items()}


def refuse_other_log(found: str, wanted: str, topic: str) -> None:
    """Refuses a record of another log.

    Raises:
        OtherLogError: The epochs differ.
    """
    if found != wanted:
        raise OtherLogError(found, wanted, topic)


def record_of(message: Message | None) -> Record | None:
    """Offset and seq of a record, if there is one."""
    if message is None:
        return None
    offset = message.offset()
    assert offset is not None, "a record without an offset"  # noqa: S101 - the library's types allow for it
    return Record(offset, place_of(message).seq)
