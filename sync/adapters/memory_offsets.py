"""In-memory twin of `ports.Offsets`: a topic of which only offsets and seqs are kept."""

from bisect import bisect_left
from collections.abc import Iterable
from operator import attrgetter

from infra.kernel.position import Position
from sync.domain.log import LogHead
from sync.domain.offsets import UNSAID, TopicOffsets, check_offsets, offset_of, seq_at
from sync.domain.seek import Partition, Record


class MemoryOffsets:
    """See `offset_ports.Offsets`."""

    def __init__(self, topic: str, partitions: int) -> None:
        self._topic = topic
        self._records: list[list[Record]] = [[] for _ in range(partitions)]
        self._ends = [(0, 0)] * partitions

    def publish(self, partition: int, seqs: Iterable[int]) -> None:
        """Records for the seqs, and a marker behind them."""
        first, behind = self._ends[partition]
        for seq in seqs:
            self._records[partition].append(Record(behind, seq))
            behind += 1
        self._ends[partition] = first, behind + 1

    def expire(self, partition: int, first: int) -> None:
        """Forgets what lies before the offset; all there is for -1, as brokers call the end."""
        _, behind = self._ends[partition]
        first = behind if first < 0 else first
        self._ends[partition] = first, behind
        self._records[partition] = [each for each in self._records[partition] if each.offset >= first]

    async def find(self, position: Position, head: LogHead) -> TopicOffsets:
        """See `Offsets.find`."""
        offsets = [
            offset_of(seq, partition, self._first(number, seq, "seq"), head.next_seq[number]) if seq else UNSAID
            for number, (seq, partition) in enumerate(zip(position.next_seq, self._partitions(), strict=True))
        ]
        return TopicOffsets(
            topic=self._topic,
            next_offset=tuple(UNSAID if offset is None else offset for offset in offsets),
            expired=tuple(number for number, offset in enumerate(offsets) if offset is None),
        )

    async def position(self, offsets: TopicOffsets, head: LogHead) -> Position:
        """See `Offsets.position`."""
        partitions = self._partitions()
        check_offsets(offsets, self._topic, partitions)
        seqs = (
            seq_at(number, offset, partitions[number], self._first(number, offset, "offset"), head)
            for number, offset in enumerate(offsets.next_offset)
        )
        return Position(log_epoch=head.log_epoch, next_seq=tuple(seqs))

    def _partitions(self) -> list[Partition]:
        return [
            Partition(first=first, behind=behind, last=records[-1] if records else None)
            for (first, behind), records in zip(self._ends, self._records, strict=True)
        ]

    def _first(self, partition: int, at: int, key: str) -> Record | None:
        records = self._records[partition]
        index = bisect_left(records, at, key=attrgetter(key))
        return records[index] if index < len(records) else None
