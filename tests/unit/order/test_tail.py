"""The newest events in memory: whole groups, no hole, within the limit."""

from order.application.ports import LoggedEvent
from order.application.tail import Tail

BODY = b"x" * 10


def group(first_seq: int, size: int = 1, shard: int = 0) -> list[LoggedEvent]:
    return [LoggedEvent(shard, first_seq + index, index, size, 1, "o-1", BODY) for index in range(size)]


def tail_of(*groups: list[LoggedEvent], bytes_max: int = 1_000) -> Tail:
    tail = Tail(1, bytes_max=bytes_max)
    for each in groups:
        tail.append(each)
    return tail


def seqs(tail: Tail, from_seq: int, events_max: int = 100) -> list[int]:
    return [event.seq for event in tail.read(0, from_seq, events_max)]


def test_a_reader_gets_what_was_committed_from_its_place_on() -> None:
    tail = tail_of(group(5), group(6), group(7))
    assert seqs(tail, 6) == [6, 7]


def test_what_is_not_held_is_not_answered() -> None:
    tail = tail_of(group(5), group(6))
    assert [seqs(tail, 4), seqs(tail, 7), seqs(Tail(1, bytes_max=1_000), 1)] == [[], [], []]


def test_shards_are_apart() -> None:
    tail = Tail(2, bytes_max=1_000)
    tail.append([*group(1), *group(9, shard=1), *group(2)])
    assert [event.seq for event in tail.read(1, 9, 100)] == [9]
    assert seqs(tail, 1) == [1, 2]


def test_groups_stay_whole_whatever_the_limit() -> None:
    tail = tail_of(group(1, 3), group(4, 2), group(6))
    expected = {1: [1, 2, 3], 3: [1, 2, 3], 4: [1, 2, 3], 5: [1, 2, 3, 4, 5], 6: [1, 2, 3, 4, 5, 6]}
    assert expected == {events_max: seqs(tail, 1, events_max) for events_max in expected}


def test_a_number_that_somebody_else_has_used_begins_the_run_anew() -> None:
    tail = tail_of(group(1), group(2), group(5))
    assert [seqs(tail, 2), seqs(tail, 5)] == [[], [5]]


def test_the_oldest_make_room() -> None:
    tail = tail_of(*(group(seq) for seq in range(1, 12)), bytes_max=10 * len(BODY))
    held = seqs(tail, 11)
    assert held == [11]
    first = next(seq for seq in range(1, 12) if seqs(tail, seq))
    assert list(range(first, 12)) == seqs(tail, first)
    assert 1 < first <= 7


def test_an_event_larger_than_the_limit_is_not_held() -> None:
    assert seqs(tail_of(group(1), bytes_max=1), 1) == []
