"""Whole groups out of single events that may repeat."""

import pytest

from sync.domain.assembly import Assembly
from sync.domain.errors import LogHoleError
from tests.harness.sync_log import LogMaker


@pytest.fixture
def log() -> LogMaker:
    made = LogMaker(shards=1)
    made.groups(4, size=3)
    return made


def seqs(assembly: Assembly) -> list[int]:
    return [event.seq for batch in assembly.whole() for event in batch.events]


def test_a_group_is_given_out_when_it_is_whole(log: LogMaker) -> None:
    assembly = Assembly(log.earliest, [0])
    for event in log.events[:5]:
        assembly.take(0, event)
    assert seqs(assembly) == [1, 2, 3]
    assert assembly.position.next_seq == (4,)
    assert seqs(assembly) == []
    assembly.take(0, log.events[5])
    assert seqs(assembly) == [4, 5, 6]


def test_an_event_that_comes_again_is_dropped_whether_or_not_its_group_was_whole(log: LogMaker) -> None:
    assembly = Assembly(log.earliest, [0])
    for event in [*log.events[:5], *log.events[:2], *log.events[1:6]]:
        assembly.take(0, event)
    assert seqs(assembly) == [1, 2, 3, 4, 5, 6]


def test_a_number_that_is_left_out_is_a_hole_behind_what_is_held(log: LogMaker) -> None:
    assembly = Assembly(log.earliest, [0])
    for event in log.events[:4]:
        assembly.take(0, event)
    with pytest.raises(LogHoleError) as hole:
        assembly.take(0, log.events[6])
    assert (hole.value.expected, hole.value.got) == (5, 7)


def test_what_came_another_way_replaces_what_is_held(log: LogMaker) -> None:
    assembly = Assembly(log.earliest, [0])
    assembly.take(0, log.events[0])
    assembly.pass_by(log.batches[0])
    assembly.take(0, log.events[1])
    assembly.take(0, log.events[3])
    assert seqs(assembly) == []
    assert assembly.position.next_seq == (4,)
    with pytest.raises(LogHoleError):
        assembly.pass_by(log.batches[2])


def test_a_new_carrier_begins_before_the_group_that_is_not_whole(log: LogMaker) -> None:
    assembly = Assembly(log.earliest, [0])
    for event in log.events[:5]:
        assembly.take(0, event)
    assembly.whole()
    assert assembly.wanted() == {0: 4}
    assembly.take(0, log.events[3])
    with pytest.raises(LogHoleError):
        assembly.take(0, log.events[5])
