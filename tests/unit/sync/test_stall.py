"""When a shard counts as one that stands still."""

import pytest

from infra.kernel.position import Position
from sync.domain.log import LogHead
from sync.domain.stall import stalled

SEEN = LogHead(log_epoch="log-1", next_seq=(10, 20, 30), earliest_seq=(1, 1, 1), read_time_us=0)


def at(*next_seq: int) -> Position:
    return Position(log_epoch="log-1", next_seq=next_seq)


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (at(10, 20, 30), at(10, 20, 30), {}),
        (at(5, 20, 30), at(5, 20, 30), {0: 10}),
        (at(5, 5, 5), at(5, 5, 5), {0: 10, 1: 20, 2: 30}),
        (at(5, 5, 5), at(10, 20, 30), {}),
    ],
    ids=["at the head", "one behind", "all behind", "all arrived"],
)
def test_a_shard_that_is_behind_and_does_not_move_stands_still(
    before: Position, now: Position, expected: dict[int, int]
) -> None:
    assert expected == stalled(before, now, SEEN)


def test_a_shard_that_waits_while_another_catches_up_does_not_stand_still() -> None:
    assert stalled(at(5, 5, 5), at(5, 6, 5), SEEN) == {}


def test_a_shard_stands_still_while_others_keep_up() -> None:
    assert stalled(at(5, 20, 30), at(5, 25, 31), SEEN) == {0: 10}


def test_a_shard_stands_still_when_the_others_have_arrived() -> None:
    assert stalled(at(5, 5, 30), at(5, 20, 30), SEEN) == {0: 10}
