"""Places on the topic of events, and the seqs that they stand for: what both ways of translating agree on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from infra.kernel.position import PositionMalformedError
from sync.domain.errors import OffsetAheadError, OffsetExpiredError
from sync.domain.log import LogHead
from sync.domain.seek import Partition, Record

UNSAID: Final = -1
"""Of a partition that offsets say nothing about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicOffsets:
    """By partition the offset of the record to read next, or `UNSAID`.

    Attributes:
        expired: Partitions that no longer hold the event to read next.
    """

    topic: str
    next_offset: tuple[int, ...]
    expired: tuple[int, ...] = ()


def check_offsets(offsets: TopicOffsets, topic: str, partitions: Sequence[Partition]) -> None:
    """Refuses a place that the topic does not have.

    Raises:
        PositionMalformedError: It is of another topic, or of another number of partitions.
        OffsetExpiredError: One lies before what is kept.
        OffsetAheadError: One lies beyond the end.
    """
    if offsets.topic not in ("", topic):
        raise PositionMalformedError(f"offsets of topic {offsets.topic[:200]!r}; this server reads {topic}")
    if len(offsets.next_offset) != len(partitions) or min(offsets.next_offset) < UNSAID:
        raise PositionMalformedError(
            f"topic {topic} has {len(partitions)} partitions: give an offset for each, or -1; "
            f"got {list(offsets.next_offset[:100])}"
        )
    for number, (offset, partition) in enumerate(zip(offsets.next_offset, partitions, strict=True)):
        if offset == UNSAID:
            continue
        if offset < partition.first:
            raise OffsetExpiredError(number, offset, partition.first)
        if offset > partition.behind:
            raise OffsetAheadError(number, offset, partition.behind)


def seq_at(number: int, offset: int, partition: Partition, found: Record | None, head: LogHead) -> int:
    """The seq that a reader at this offset gets next; 0 for `UNSAID`.

    Args:
        number: The partition's.
        offset: Already checked by `check_offsets`.
        partition: As it is.
        found: The first record at or behind the offset, if there is one.
        head: Of the log.

    Raises:
        OffsetExpiredError: Nothing is left that would say it.
    """
    if offset == UNSAID:
        return 0
    if found is not None:
        return found.seq
    if partition.last is not None:
        return partition.last.seq + 1
    if partition.first == 0:  # nothing was ever there: it will begin with the first event that is kept
        return head.earliest_seq[number]
    raise OffsetExpiredError(number, offset, partition.first)


def offset_of(seq: int, partition: Partition, found: Record | None, next_seq: int) -> int | None:
    """The offset at which the seq is read next, or everything before it that the topic lacks; none if it has expired.

    Args:
        seq: From 1 on.
        partition: As it is.
        found: The first record with this seq or a higher one, if there is one.
        next_seq: Of the shard, in the log.
    """
    if partition.last is None and partition.first == 0:  # whatever comes to count here is still to come
        return 0
    if partition.last is None:
        return partition.behind if seq >= next_seq else None
    if seq > partition.last.seq:
        return partition.last.offset + 1
    return found.offset if found is not None and found.seq == seq else None
