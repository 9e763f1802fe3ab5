"""What one stream says beside its events."""

from dataclasses import replace
from math import inf

import pytest

from infra.kernel.filter import parse
from infra.kernel.position import Position
from sync.adapters.wire import EVENT_FIELDS, pieces_to_wire
from sync.domain.errors import AckRefusedError, CallerSilentError, LogHoleError
from sync.domain.fanout import Fanout, Frame, Selection
from sync.domain.frames import (
    AckResult,
    AckThrough,
    GoAway,
    Grant,
    Heartbeat,
    Opened,
    Phase,
    PhaseChange,
    Progress,
)
from sync.domain.ring import Ring, Segment
from sync.domain.session import ServerFrame, Session
from sync.domain.subscription import AckOutcome, AckStatus
from sync.domain.terms import Terms
from tests.harness.sync_log import EPOCH, LogMaker

ONE_CUSTOMER = "customer_id = c-1"
TERMS = Terms(
    log_epoch=EPOCH,
    selection=Selection(shards=(0,)),
    next_seqs=(1,),
    delivery_epoch=7,
    credit=None,
    heartbeat_seconds=5,
    batch_events_max=500,
)


class Bench:
    """One shard, one session."""

    def __init__(self, *, credit: Grant | None = None, filter_text: str = "") -> None:
        self.log = LogMaker(1)
        self.fanout = Fanout(Ring((1,), ring_bytes_max=1 << 20), pieces_to_wire)
        selection = Selection.of((0,), parse(filter_text, EVENT_FIELDS))
        self.session = Session(replace(TERMS, credit=credit, selection=selection), self.fanout, now=0)

    def publish(self, number: int, *, customer_id: str = "c-1") -> None:
        self.fanout.ring.append([self.log.group(customer_id=customer_id) for _ in range(number)])
        self.session.offer()

    def read(self, now: float = 0, as_of_us: int = 0) -> list[ServerFrame]:
        return list(iter(lambda: self.session.next_frame(now, as_of_us), None))


def at(next_seq: int, filter_text: str = "") -> Position:
    selection = Selection.of((0,), parse(filter_text, EVENT_FIELDS))
    return Position(log_epoch=EPOCH, next_seq=(next_seq,), filter_hash=selection.filter_hash)


def test_a_stream_opens_then_catches_up_then_is_live() -> None:
    bench = Bench()
    bench.publish(3)
    opened, catching_up, events, live, progress = bench.read(as_of_us=9)
    assert Opened(position=at(1), delivery_epoch=7, heartbeat_seconds=5, shards=(0,), batch_events_max=500) == opened
    assert PhaseChange(phase=Phase.CATCHING_UP) == catching_up
    assert isinstance(events, Frame)
    assert PhaseChange(phase=Phase.LIVE) == live
    assert Progress(at=at(4), as_of_us=9) == progress


def test_every_heartbeat_interval_brings_progress_or_else_a_numbered_heartbeat() -> None:
    bench = Bench()
    bench.read()
    assert bench.read(now=4.8) == []
    assert [Progress(at=at(1), as_of_us=3)] == bench.read(now=5, as_of_us=3)
    assert bench.read(now=9.8) == []
    assert [Progress(at=at(1), as_of_us=4)] == bench.read(now=10, as_of_us=4)
    assert [Heartbeat(heartbeat_seq=1)] == bench.read(now=15, as_of_us=4)
    assert [Heartbeat(heartbeat_seq=2)] == bench.read(now=20, as_of_us=4)


def test_streams_that_are_due_within_the_same_moment_are_due_together_and_none_is_late() -> None:
    fanout = Fanout(Ring((1,), ring_bytes_max=1 << 20), pieces_to_wire)
    dues = {Session(TERMS, fanout, now=1 + thousandth / 1000).due for thousandth in range(1000)}
    assert len(dues) == 8
    assert max(dues) <= 7


def test_a_stream_that_is_behind_claims_no_more_than_it_was_sent() -> None:
    bench = Bench(credit=Grant(events=1, bytes=1 << 20))
    bench.read(as_of_us=3)
    bench.publish(5)
    events, behind = bench.read(as_of_us=4)
    assert isinstance(events, Frame)
    assert PhaseChange(phase=Phase.BEHIND) == behind
    assert [Progress(at=at(2), as_of_us=3)] == bench.read(now=5, as_of_us=9)


def test_a_range_in_which_nothing_matched_is_covered_before_the_events_that_follow_it() -> None:
    bench = Bench(filter_text=ONE_CUSTOMER)
    bench.read(as_of_us=3)
    bench.publish(2, customer_id="c-2")
    silence = bench.read()
    assert [frame.message for frame in silence if isinstance(frame, Frame)] == [b""]
    bench.publish(1)
    progress, events = bench.read(as_of_us=9)
    assert Progress(at=at(3, ONE_CUSTOMER), as_of_us=3) == progress
    assert isinstance(events, Frame)
    assert events.events == 1
    bench.publish(1)
    [following] = bench.read()
    assert isinstance(following, Frame)


def test_an_ack_is_answered_only_once_it_is_durable() -> None:
    bench = Bench()
    bench.publish(5)
    bench.read()
    assert bench.session.check_ack(AckThrough(ack_id="a", through=at(4))) == {0: 4}
    assert bench.read() == []
    bench.session.acking.acked("a", AckOutcome(status=AckStatus.COMMITTED, floors={0: 4}))
    assert [AckResult(ack_id="a", status=AckStatus.COMMITTED, floor=at(4))] == bench.read()


def test_an_ack_cannot_say_more_than_was_sent() -> None:
    bench = Bench()
    bench.publish(5)
    with pytest.raises(AckRefusedError):
        bench.session.check_ack(AckThrough(ack_id="a", through=at(2)))


def test_a_closed_stream_ends_after_its_acks_and_sends_no_more_events() -> None:
    bench = Bench()
    bench.publish(5)
    bench.read()
    bench.session.check_ack(AckThrough(ack_id="a", through=at(6)))
    bench.session.close()
    bench.publish(5)
    assert bench.read() == []
    assert not bench.session.ended
    bench.session.acking.acked("a", AckOutcome(status=AckStatus.COMMITTED, floors={0: 6}))
    assert [type(frame).__name__ for frame in bench.read()] == ["AckResult"]
    assert bench.session.ended


def test_a_stream_that_only_waits_for_its_last_acks_is_due_for_nothing_of_its_own() -> None:
    bench = Bench()
    bench.publish(5)
    bench.read()
    bench.session.check_ack(AckThrough(ack_id="a", through=at(6)))
    bench.session.drain()
    assert bench.read(now=60) == []
    assert bench.session.due == inf


def test_a_drained_stream_says_where_it_stands_as_its_last_word() -> None:
    bench = Bench()
    bench.publish(5)
    bench.read()
    bench.session.drain()
    (last,) = bench.read()
    assert isinstance(last, GoAway)
    assert at(6) == last.position
    assert bench.session.ended


def test_replacing_credit_forgets_what_was_left() -> None:
    bench = Bench(credit=Grant(events=100, bytes=1 << 20))
    bench.session.grant(Grant(events=2, bytes=1 << 20, replace=True))
    bench.publish(5)
    assert [frame.events for frame in bench.read() if isinstance(frame, Frame)] == [2]


def test_a_batch_that_does_not_come_next_is_a_hole() -> None:
    bench = Bench()
    batches = bench.log.groups(3)
    with pytest.raises(LogHoleError):
        bench.session.feed(batches[1])


def test_a_group_is_shown_only_when_it_is_whole() -> None:
    group = LogMaker(1).group(size=3)
    segment = Segment(0, 1)
    segment.append(group.events[:2])
    assert segment.next_seq == 1
    segment.append(group.events[2:])
    assert segment.next_seq == 4


def test_a_ring_keeps_its_limit_and_says_what_it_has_left() -> None:
    log = LogMaker(1)
    ring = Ring((1,), ring_bytes_max=2_000)
    for _ in range(100):
        ring.append([log.group()])
        assert ring.size <= 2_000
    assert ring.next_seqs == (101,)
    assert 1 < ring.first_seqs[0] < 101


def test_a_caller_whose_acks_are_read_no_further_is_not_taken_for_silent() -> None:
    fanout = Fanout(Ring((1,), ring_bytes_max=1 << 20), pieces_to_wire)
    session = Session(replace(TERMS, silence_seconds=3), fanout, now=0)
    while not session.acking.full:
        session.check_ack(AckThrough(ack_id="a", through=at(1)))
    for now in range(1, 20):
        while session.next_frame(now, 0) is not None:
            pass
    session.acking.acked("a", AckOutcome(status=AckStatus.ALREADY, floors={0: 1}))
    while session.next_frame(20, 0) is not None:
        pass
    assert not session.acking.full
    with pytest.raises(CallerSilentError):
        session.next_frame(24, 0)
