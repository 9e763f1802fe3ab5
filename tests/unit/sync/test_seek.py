"""Finding a seq among markers and repeated records."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from random import Random

import pytest

from sync.domain.seek import Partition, Record, Seek


def partition(seqs: Sequence[int], gaps: Sequence[int], *, first: int = 0) -> list[Record]:
    """Records of these seqs, a gap of markers before each."""
    records, offset = [], first
    for seq, gap in zip(seqs, gaps, strict=True):
        offset += gap
        records.append(Record(offset, seq))
        offset += 1
    return records


def sought(records: Sequence[Record], seq: int) -> tuple[list[int], int]:
    """The seqs that are read from where the search ends, and the look-ups that it took."""
    offsets = [record.offset for record in records]
    seek = Seek.between(Partition(first=offsets[0], behind=offsets[-1] + 1, last=records[-1]), seq)
    while not seek.is_over:
        at = bisect_left(offsets, seek.probe)
        seek.learn(records[at] if at < len(records) else None)
    return [record.seq for record in records[bisect_left(offsets, seek.start) :]], seek.rounds


def seldom(random: Random, count: int) -> list[int]:
    return [1 if random.random() < 0.001 else 0 for _ in range(count)]


def unevenly(random: Random, count: int) -> list[int]:
    return [random.choice((0, 1, 2)) if at < count // 3 else 0 for at in range(count)]


def everywhere(random: Random, count: int) -> list[int]:
    return [random.choice((0, 0, 0, 50)) for _ in range(count)]


@pytest.mark.parametrize("first_seq", [1, 900_000])
@pytest.mark.parametrize(("markers", "rounds_max"), [(seldom, 2), (unevenly, 9), (everywhere, 5)])
def test_a_seq_is_found_in_few_look_ups_wherever_markers_lie(
    markers: Callable[[Random, int], list[int]], rounds_max: int, first_seq: int
) -> None:
    random, count = Random(4), 100_000  # noqa: S311 - the same every time
    seqs = range(first_seq, first_seq + count)
    records = partition(seqs, markers(random, count), first=first_seq)
    for seq in random.sample(seqs, 200):
        read, rounds = sought(records, seq)
        assert seq in read[:501]
        assert rounds <= rounds_max


def test_what_was_taken_back_and_came_again_is_read_from_before_the_wanted_seq() -> None:
    seqs = [*range(1, 3_000), *range(2_000, 4_000), *range(2_000, 6_000)]
    records = partition(seqs, [0] * len(seqs))
    for seq in range(1, 6_000, 7):
        read, _ = sought(records, seq)
        assert set(range(seq, 6_000)) <= set(read)


def test_a_partition_that_has_only_later_seqs_is_read_from_its_begin() -> None:
    records = partition(range(5_000, 9_000), [1] * 4_000, first=7)
    assert sought(records, 1_000) == (list(range(5_000, 9_000)), 1)


def test_a_partition_that_has_only_earlier_seqs_is_read_from_its_end() -> None:
    records = partition(range(1, 100), [0] * 99)
    assert sought(records, 100) == ([], 0)


def test_a_partition_without_records_is_read_from_its_end() -> None:
    assert Seek.between(Partition(first=3, behind=8, last=None), 5).start == 8
